//! Batches without a record, which stand in place of others, lost or compacted away: whole and well-formed, and nothing but offsets.
//!
//! Version 2 knows such batches. Whoever reads steps over them, so that the offsets of all that is left stay what they were, and
//! batches go on following one another without a gap: what is missing between two is always damage. Repair and compaction write them. They
//! have no timestamps, for they have nothing that could be looked up by time.

use crate::{Attributes, BatchHeader, Codec, Offset};

/// Offsets that one batch can cover.
pub const COVERED_OFFSETS_MAX: u64 = i32::MAX as u64;

/// A batch over the offsets from `first` up to `end`, exclusive, at least one and at most [`COVERED_OFFSETS_MAX`] of them.
///
/// # Panics
/// When there are fewer, or more.
#[must_use]
pub fn covering(first: Offset, end: Offset, leader_epoch: i32) -> Vec<u8> {
    assert!(end > first && end.since(first) <= COVERED_OFFSETS_MAX, "{first} to {end}");
    without_records(BatchHeader {
        base_offset: first,
        batch_length: 0,
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
    })
}

/// The batch of `header` without its records: offsets, epoch, producer and sequence, so that what is known of an idempotent producer can
/// still be read out of the log.
#[must_use]
pub fn emptied(header: &BatchHeader) -> Vec<u8> {
    without_records(BatchHeader {
        attributes: header.attributes.of_emptied(),
        base_timestamp: -1,
        max_timestamp: -1,
        record_count: 0,
        ..*header
    })
}

/// A batch that is its header and nothing else; length and checksum follow from that.
fn without_records(header: BatchHeader) -> Vec<u8> {
    let length = BatchHeader::BYTES - BatchHeader::LENGTH_PREFIX_BYTES;
    let mut bytes = vec![0; BatchHeader::BYTES];
    BatchHeader { batch_length: i32::try_from(length).expect("49 bytes"), ..header }.seal(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, DecompressLimit, LeaderEpoch, check_stored, read_records, stamp};

    #[test]
    fn a_cover_is_a_sound_batch_without_records() {
        let offset = |value| Offset::new(value).unwrap();
        let bytes = covering(offset(100), offset(117), 3);
        let header = check_stored(&bytes).unwrap();
        assert_eq!((header.base_offset.get(), header.next_offset().get(), header.leader_epoch), (100, 117, 3));
        assert_eq!((header.record_count, header.has_producer()), (0, false));
        assert_eq!(read_records(&bytes, DecompressLimit::default()).unwrap().iter().count(), 0);
        let widest = covering(offset(0), offset(i64::from(i32::MAX)), 0);
        assert_eq!(check_stored(&widest).unwrap().next_offset().get(), i64::from(i32::MAX));
    }

    #[test]
    fn an_emptied_batch_keeps_offsets_and_producer() {
        let mut builder = BatchBuilder::new(Codec::Zstd, None);
        builder.producer(7, 1, 20);
        (0..10).for_each(|_| builder.push(1000, Some(b"k"), Some(b"v"), &[]));
        let mut batch = builder.finish();
        stamp(&mut batch, Offset::new(100).unwrap(), LeaderEpoch::new(3).unwrap());
        let old = check_stored(&batch).unwrap();
        let bytes = emptied(&old);
        let new = check_stored(&bytes).unwrap();
        assert_eq!((new.base_offset, new.next_offset(), new.leader_epoch), (old.base_offset, old.next_offset(), 3));
        assert_eq!((new.producer_id, new.producer_epoch, new.last_sequence()), (7, 1, old.last_sequence()));
        assert_eq!((new.record_count, new.max_timestamp, new.codec()), (0, -1, Codec::None));
        assert_eq!(read_records(&bytes, DecompressLimit::default()).unwrap().iter().count(), 0);
    }
}
