//! Batches that a pass of compaction cannot read, though their bytes are whole: how many there are, and which of them are news.
//!
//! They stay as they are, and so does every tombstone behind them. A log that was always compacted has none, for whoever takes batches for
//! it refuses them ([`CompactionLimits`](crate::CompactionLimits)); one that was altered to be may have any number.

use ringmill_batch::{BatchHeader, Offset};

/// Batches that one pass names; all are counted.
const NAMED_MAX: usize = 16;

/// A batch that is not compacted, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadBatch {
    /// Its first offset.
    pub offset: Offset,
    /// Its records.
    pub records: i32,
    /// Its size as it is stored.
    pub bytes: usize,
    /// What stands against it, with the limit if it is one.
    pub why: String,
}

/// What a pass has met so far.
pub(super) struct Unread {
    pub(super) count: u64,
    pub(super) named: Vec<UnreadBatch>,
    /// Before it all were counted: a segment may be written a second time in one pass.
    counted_to: Offset,
    /// Before it an earlier pass has named them.
    named_to: Offset,
}

impl Unread {
    pub(super) fn new(named_to: Offset) -> Unread {
        Unread { count: 0, named: Vec::new(), counted_to: Offset::ZERO, named_to }
    }

    pub(super) fn note(&mut self, header: &BatchHeader, why: String) {
        if header.base_offset < self.counted_to {
            return;
        }
        self.counted_to = header.next_offset();
        self.count += 1;
        if header.base_offset >= self.named_to && self.named.len() < NAMED_MAX {
            let (offset, records, bytes) = (header.base_offset, header.record_count, header.total_bytes());
            self.named.push(UnreadBatch { offset, records, bytes, why });
        }
    }
}
