//! The batch that stands in place of others, lost or compacted away: whole and well-formed, with offsets and without a record.
//!
//! Version 2 knows such batches. Whoever reads steps over them, so that the offsets of all that is left stay what they were, and
//! batches go on following one another without a gap: what is missing between two is always damage. Repair and compaction write them.

use ringmill_batch::{Attributes, BatchHeader, Codec, Offset, crc32c};

/// Offsets that one batch can cover.
pub(crate) const COVERED_OFFSETS_MAX: u64 = i32::MAX as u64;

/// Where the bytes begin that the checksum covers.
const CRC_COVERS_FROM: usize = 21;

/// A batch over the offsets from `first` up to `end`, exclusive, at least one and at most [`COVERED_OFFSETS_MAX`] of them.
pub(crate) fn cover(first: Offset, end: Offset, leader_epoch: i32) -> Vec<u8> {
    assert!(end > first && end.since(first) <= COVERED_OFFSETS_MAX, "{first} to {end}");
    let mut header = BatchHeader {
        base_offset: first,
        batch_length: i32::try_from(BatchHeader::BYTES - BatchHeader::LENGTH_PREFIX_BYTES).expect("49 bytes"),
        leader_epoch,
        crc: 0,
        attributes: Attributes::of(Codec::None),
        last_offset_delta: i32::try_from(end.since(first) - 1).expect("bounded above"),
        base_timestamp: -1,
        max_timestamp: -1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };
    let mut bytes = vec![0; BatchHeader::BYTES];
    header.write(&mut bytes);
    header.crc = crc32c(&bytes[CRC_COVERS_FROM..]);
    header.write(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_batch::{DecompressLimit, check_stored, read_records};

    #[test]
    fn a_cover_is_a_sound_batch_without_records() {
        let offset = |value| Offset::new(value).unwrap();
        let bytes = cover(offset(100), offset(117), 3);
        let header = check_stored(&bytes).unwrap();
        assert_eq!((header.base_offset.get(), header.next_offset().get(), header.leader_epoch), (100, 117, 3));
        assert_eq!((header.record_count, header.has_producer()), (0, false));
        assert_eq!(read_records(&bytes, DecompressLimit::default()).unwrap().iter().count(), 0);
        let widest = cover(offset(0), offset(i64::from(i32::MAX)), 0);
        assert_eq!(check_stored(&widest).unwrap().next_offset().get(), i64::from(i32::MAX));
    }
}
