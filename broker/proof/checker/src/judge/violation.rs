//! A broken promise as a value: which rule, where in the history, and in words what was promised when and what was found.

use std::fmt::{Display, Formatter, Result as Formatted};

use crate::event::Line;

/// What every history must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// What was acknowledged or seen is still there.
    NothingLost,
    /// An offset holds one record for ever.
    ContentStays,
    /// What was produced once is there once.
    NoDuplicate,
    /// An idempotent producer's records have no gap, and its batches are not refused as out of order.
    NoGap,
    /// A producer's records have rising offsets.
    InOrder,
    /// What was refused for good is not there.
    RefusedIsAbsent,
    /// Only what producers made is there, and where they sent it.
    NothingForeign,
    /// Every offset between log start and high watermark can be read, and none behind it.
    Readable,
    /// The log start rises only, and only by what was asked or by retention.
    LogStart,
    /// The last record of a key is there in a compacted topic, unless it is a tombstone whose time is over.
    LastOfKey,
    /// What compaction has taken away does not come back.
    GoneStaysGone,
    /// Deleted topics stay away; others stay.
    Topics,
    /// A group's committed offset is the last that was acknowledged, or a later one; none that was refused, or never sent.
    GroupOffsets,
    /// A partition has one owner at a time in a group.
    OneOwner,
    /// Nothing is committed in a generation that is over, or by a member that was told that it is out.
    OldGeneration,
    /// The history does not follow its own rules: a fault of whoever wrote it.
    BadHistory,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// The line of the history that shows it.
    pub line: Line,
    /// Partition, offset, producer; what was promised in which line, and what was found.
    pub words: String,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        write!(f, "line {}, {:?}: {}", self.line, self.rule, self.words)
    }
}
