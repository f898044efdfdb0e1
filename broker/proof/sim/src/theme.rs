//! What a seed may be about: the themes, of which each run mixes a few, and what all runs together must have reached.

use std::fmt;

/// Something that a run is made to go through. A run has several; what each one adds stands in `plan` and `life`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Theme {
    /// Segments that roll by time, and by size under large records.
    Roll,
    /// Retention by time while consumers read from the start.
    Retain,
    /// DeleteRecords while others produce and read.
    Delete,
    /// A topic with `write.caching`.
    Cache,
    /// Topics made and deleted under the same names, with records in between.
    Churn,
    /// A topic that gets more and more partitions.
    Grow,
    /// Settings of topics changed while they are used.
    Settings,
    /// Several consumers of one partition in long polls.
    Polls,
    /// A device that is full and has space again.
    Full,
    /// Writes and syncs that fail, now and then.
    Errors,
    /// Reads that fail, now and then.
    ReadErrors,
    /// Bits that flip in closed segments.
    Rot,
    /// A time of day that jumps, forward and backward.
    Clock,
    /// A metadata database whose writes and syncs fail.
    Metadata,
    /// Connections that are cut, and that carry little at once.
    Network,
    /// A compacted topic.
    Compact,
    /// Consumer groups of both protocols.
    Groups,
}

impl Theme {
    /// All of them.
    pub const ALL: [Theme; 17] = [
        Theme::Roll,
        Theme::Retain,
        Theme::Delete,
        Theme::Cache,
        Theme::Churn,
        Theme::Grow,
        Theme::Settings,
        Theme::Polls,
        Theme::Full,
        Theme::Errors,
        Theme::ReadErrors,
        Theme::Rot,
        Theme::Clock,
        Theme::Metadata,
        Theme::Network,
        Theme::Compact,
        Theme::Groups,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Theme::Roll => "roll",
            Theme::Retain => "retain",
            Theme::Delete => "delete",
            Theme::Cache => "cache",
            Theme::Churn => "churn",
            Theme::Grow => "grow",
            Theme::Settings => "settings",
            Theme::Polls => "polls",
            Theme::Full => "full",
            Theme::Errors => "errors",
            Theme::ReadErrors => "read-errors",
            Theme::Rot => "rot",
            Theme::Clock => "clock",
            Theme::Metadata => "metadata",
            Theme::Network => "network",
            Theme::Compact => "compact",
            Theme::Groups => "groups",
        }
    }

    /// The theme of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<Theme> {
        Theme::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

impl fmt::Display for Theme {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
