//! How far a log has come, for its owner and for everybody else.
//!
//! [`Ends`] is the owner's: `durable ≤ written ≤ assigned`, asserted at every step. [`Watermarks`] is what readers see.

use std::path::PathBuf;
use std::sync::Arc;

use ringmill_batch::{LeaderEpoch, Offset};

/// What a partition does at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// Produces and fetches.
    Serving,
    /// A write or sync failed: produces are refused, fetches go up to what is durable.
    Sealed(SealCause),
    /// Its meta is missing or damaged, or corruption was found at start: neither, and no byte is changed.
    Quarantined(Arc<Quarantine>),
}

/// Why a log was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealCause {
    /// The disk is full: the log reopens by itself once there is space.
    NoSpace,
    /// Anything else: it waits for a restart.
    Io,
}

/// What is wrong with a quarantined partition, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {position}: {why}", file.display())]
pub struct Quarantine {
    /// The file.
    pub file: PathBuf,
    /// The first byte in question.
    pub position: u64,
    /// What was found there, and what was expected.
    pub why: String,
    /// Everything before this offset was durable, where the finding proves it: a recovery point for later starts that know none, or less.
    pub durable_to: Option<Offset>,
}

/// A place in the log: behind the record before `offset`, at `position` of the active segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) offset: Offset,
    pub(crate) position: u64,
}

/// The three ends of a log that is being written. Their positions all lie in the active segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Behind the last batch that has offsets.
    pub(crate) assigned: End,
    /// Behind the last batch that the page cache has; contiguous.
    pub(crate) written: End,
    /// Behind the last batch that is on the device.
    pub(crate) durable: End,
}

impl Ends {
    /// Nothing is under way at `end`.
    pub(crate) fn at(end: End) -> Ends {
        Ends { assigned: end, written: end, durable: end }
    }

    pub(crate) fn assign(&mut self, end: End) {
        assert!(end.offset > self.assigned.offset && end.position > self.assigned.position, "{end:?} after {self:?}");
        self.assigned = end;
        self.check();
    }

    pub(crate) fn write(&mut self, end: End) {
        assert!(end.offset >= self.written.offset, "written goes back to {end:?} from {self:?}");
        self.written = end;
        self.check();
    }

    pub(crate) fn sync(&mut self, end: End) {
        assert!(end.offset >= self.durable.offset, "durable goes back to {end:?} from {self:?}");
        self.durable = end;
        self.check();
    }

    /// Written, and lost if the power goes now.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.written.position - self.durable.position
    }

    fn check(&self) {
        assert!(self.durable.offset <= self.written.offset && self.written.offset <= self.assigned.offset, "{self:?}");
        assert!(
            self.durable.position <= self.written.position && self.written.position <= self.assigned.position,
            "{self:?}"
        );
    }
}

/// What readers on any core go by. Parked fetches wait for a change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that may be read.
    pub log_start: Offset,
    /// The visible end: the durable end, or the written one with write caching. Also "latest".
    pub high_watermark: Offset,
    /// Today's reign.
    pub leader_epoch: LeaderEpoch,
    /// Whether it serves.
    pub state: LogState,
    /// Where the visible end lies: base offset of its segment, and position in it.
    pub(crate) end_segment: Offset,
    pub(crate) end_position: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(offset: i64, position: u64) -> End {
        End { offset: Offset::new(offset).unwrap(), position }
    }

    #[test]
    fn ends_advance_in_their_order() {
        let mut ends = Ends::at(end(0, 0));
        ends.assign(end(5, 100));
        ends.write(end(5, 100));
        ends.assign(end(9, 180));
        ends.sync(end(5, 100));
        assert_eq!(ends.unsynced_bytes(), 0);
        ends.write(end(9, 180));
        assert_eq!(ends.unsynced_bytes(), 80);
    }

    #[test]
    #[should_panic(expected = "durable: End { offset: @5")]
    fn durable_never_passes_written() {
        let mut ends = Ends::at(end(0, 0));
        ends.assign(end(5, 100));
        ends.sync(end(5, 100));
    }
}
