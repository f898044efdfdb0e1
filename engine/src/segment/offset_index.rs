//! Entries of the `.index` file, in Kafka's format: a 4-byte offset relative to the segment's base, then a 4-byte position.
//!
//! The offset is the *last* one of the batch that starts at the position.

use ringmill_batch::Offset;

use super::index::IndexEntry;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    relative_offset: u32,
    pub(crate) position: u32,
}

impl OffsetEntry {
    pub(crate) fn new(base: Offset, last_offset: Offset, position: u64) -> OffsetEntry {
        OffsetEntry {
            relative_offset: relative(base, last_offset),
            position: u32::try_from(position).expect("a segment's length is capped at i32::MAX"),
        }
    }

    /// The last offset of the batch at the position; `None` when the entry is damaged.
    pub(crate) fn last_offset(&self, base: Offset) -> Option<Offset> {
        base.checked_add(u64::from(self.relative_offset))
    }
}

/// The largest distance of an offset from its segment's base that an index can hold.
const RELATIVE_OFFSET_MAX: u64 = i32::MAX as u64;

/// Whether `offset` can lie in the segment that begins at `base`. The checksum does not cover a batch's offset, so a damaged one
/// may be anywhere.
pub(crate) fn lies_in_segment(base: Offset, offset: Offset) -> bool {
    offset >= base && offset.since(base) <= RELATIVE_OFFSET_MAX
}

/// The distance from a segment's base, as both indexes store it.
pub(super) fn relative(base: Offset, offset: Offset) -> u32 {
    assert!(
        lies_in_segment(base, offset),
        "{offset} does not lie in the segment {base}: it rolls before, or refuses it"
    );
    u32::try_from(offset.since(base)).expect("within the largest distance")
}

impl IndexEntry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> OffsetEntry {
        let field = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        OffsetEntry { relative_offset: field(0), position: field(4) }
    }

    fn may_follow(&self, earlier: &OffsetEntry) -> bool {
        self.relative_offset > earlier.relative_offset && self.position > earlier.position
    }
}
