//! Entries of the `.timeindex` file, in Kafka's format: an 8-byte timestamp, then a 4-byte offset relative to the base.
//!
//! The timestamp is the largest of the segment so far, the offset the last one of the first batch that has it. Both rise
//! strictly from entry to entry.

use ringmill_batch::Offset;

use super::index::IndexEntry;
use super::offset_index::relative;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp_ms: i64,
    relative_offset: u32,
}

impl TimeEntry {
    pub(crate) fn new(base: Offset, timestamp_ms: i64, last_offset: Offset) -> TimeEntry {
        TimeEntry { timestamp_ms, relative_offset: relative(base, last_offset) }
    }

    /// The last offset of the batch that has the timestamp; `None` when the entry is damaged.
    pub(crate) fn last_offset(&self, base: Offset) -> Option<Offset> {
        base.checked_add(u64::from(self.relative_offset))
    }
}

impl IndexEntry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> TimeEntry {
        TimeEntry {
            timestamp_ms: i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes")),
            relative_offset: u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes")),
        }
    }

    fn may_follow(&self, earlier: &TimeEntry) -> bool {
        self.timestamp_ms > earlier.timestamp_ms && self.relative_offset > earlier.relative_offset
    }
}
