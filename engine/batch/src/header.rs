//! The 61 bytes before the records of a batch: where each field stands, and what must hold among them.
//!
//! Parsing looks at nothing behind the header and computes no checksum; [`check`](crate::check_stored) does both. The wire, the
//! log, recovery and the tools all read headers through here, and the builder writes them.

use crate::attributes::{Attributes, Codec, TimestampType};
use crate::crc::crc32c;
use crate::{LeaderEpoch, Offset};

/// The header of a record batch of format v2, known to agree with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (or of the first one before compaction).
    pub base_offset: Offset,
    /// Bytes after this field, so [`BatchHeader::total_bytes`] is 12 more.
    pub batch_length: i32,
    /// The leader's epoch at the append; −1 in a batch that no broker has stamped.
    pub leader_epoch: i32,
    /// CRC-32C of byte 21 to the end, as the batch claims.
    pub crc: u32,
    /// Codec, timestamp type and the other bits.
    pub attributes: Attributes,
    /// Last offset minus base offset, never negative.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970 that the records' timestamp deltas count from; −1 when unknown.
    pub base_timestamp: i64,
    /// The largest timestamp in the batch, milliseconds since 1970; −1 when unknown. Some producers leave it at −1.
    pub max_timestamp: i64,
    /// Who produced it, negative without idempotence.
    pub producer_id: i64,
    /// The producer's incarnation.
    pub producer_epoch: i16,
    /// Sequence number of the first record; the rest count on from it.
    pub base_sequence: i32,
    /// Records in the batch; 0 only where compaction has emptied it.
    pub record_count: i32,
}

/// Why bytes are no header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum HeaderError {
    /// The bytes end before the header does.
    #[error("{have_bytes} bytes are too few for a batch header of {} bytes", BatchHeader::BYTES)]
    Short { have_bytes: usize },
    /// Another format, or no batch at all.
    #[error("magic {magic} is not 2")]
    Magic { magic: i8 },
    /// A length that does not even cover the header.
    #[error("a batch length of {batch_length} does not cover the header")]
    Length { batch_length: i32 },
    /// A negative base offset, or a last offset past the end of the number range.
    #[error("base offset {base_offset} and last offset delta {last_offset_delta} give no offsets")]
    Offsets { base_offset: i64, last_offset_delta: i32 },
    /// Attribute bits 0–2 hold a number without a meaning.
    #[error("attributes {attributes:#06x} name an unknown codec")]
    UnknownCodec { attributes: i16 },
    /// More records than offsets, or a negative count.
    #[error("{record_count} records do not fit to a last offset delta of {last_offset_delta}")]
    Count { record_count: i32, last_offset_delta: i32 },
    /// More records than the batch has bytes for.
    #[error("{record_count} records do not fit into {records_bytes} bytes")]
    RecordsBytes { record_count: i32, records_bytes: usize },
    /// A producer id without an epoch, or without a sequence in a batch of data.
    #[error("producer {producer_id} comes with epoch {producer_epoch} and sequence {base_sequence}")]
    Producer { producer_id: i64, producer_epoch: i16, base_sequence: i32 },
}

/// The smallest record: length, attributes, timestamp delta, offset delta, key length, value length and header count in one
/// byte each.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

// Where the fields begin.
pub(crate) const AT_BASE_OFFSET: usize = 0;
pub(crate) const AT_BATCH_LENGTH: usize = 8;
pub(crate) const AT_LEADER_EPOCH: usize = 12;
const AT_MAGIC: usize = 16;
pub(crate) const AT_CRC: usize = 17;
pub(crate) const AT_ATTRIBUTES: usize = 21;
const AT_LAST_OFFSET_DELTA: usize = 23;
const AT_BASE_TIMESTAMP: usize = 27;
pub(crate) const AT_MAX_TIMESTAMP: usize = 35;
const AT_PRODUCER_ID: usize = 43;
const AT_PRODUCER_EPOCH: usize = 51;
const AT_BASE_SEQUENCE: usize = 53;
const AT_RECORD_COUNT: usize = 57;

const MAGIC: i8 = 2;

impl BatchHeader {
    /// Bytes of the header; the records follow.
    pub const BYTES: usize = 61;

    /// Bytes of base offset and batch length, which the batch length does not count.
    pub const LENGTH_PREFIX_BYTES: usize = 12;

    /// Reads the header at the start of `bytes`, which may end before the batch does.
    ///
    /// # Errors
    /// The first disagreement inside the header. The CRC is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, HeaderError> {
        let Some((fields, _)) = bytes.split_first_chunk::<{ BatchHeader::BYTES }>() else {
            return Err(HeaderError::Short { have_bytes: bytes.len() });
        };
        // The magic stands at the same place in every format, so it is asked first.
        let magic = i8::from_be_bytes(field(fields, AT_MAGIC));
        if magic != MAGIC {
            return Err(HeaderError::Magic { magic });
        }
        let base_offset = i64::from_be_bytes(field(fields, AT_BASE_OFFSET));
        let last_offset_delta = i32::from_be_bytes(field(fields, AT_LAST_OFFSET_DELTA));
        let attributes = i16::from_be_bytes(field(fields, AT_ATTRIBUTES));
        let header = BatchHeader {
            base_offset: Offset::new(base_offset).ok_or(HeaderError::Offsets { base_offset, last_offset_delta })?,
            batch_length: i32::from_be_bytes(field(fields, AT_BATCH_LENGTH)),
            leader_epoch: i32::from_be_bytes(field(fields, AT_LEADER_EPOCH)),
            crc: u32::from_be_bytes(field(fields, AT_CRC)),
            attributes: Attributes::new(attributes).ok_or(HeaderError::UnknownCodec { attributes })?,
            last_offset_delta,
            base_timestamp: i64::from_be_bytes(field(fields, AT_BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(fields, AT_MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(fields, AT_PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(fields, AT_PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(fields, AT_BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(field(fields, AT_RECORD_COUNT)),
        };
        header.agree()?;
        Ok(header)
    }

    /// Writes the header over the first 61 bytes.
    ///
    /// # Panics
    /// When `bytes` is shorter than a header.
    pub fn write(&self, bytes: &mut [u8]) {
        put(bytes, AT_BASE_OFFSET, self.base_offset.get().to_be_bytes());
        put(bytes, AT_BATCH_LENGTH, self.batch_length.to_be_bytes());
        put(bytes, AT_LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(bytes, AT_MAGIC, MAGIC.to_be_bytes());
        put(bytes, AT_CRC, self.crc.to_be_bytes());
        put(bytes, AT_ATTRIBUTES, self.attributes.get().to_be_bytes());
        put(bytes, AT_LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(bytes, AT_BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(bytes, AT_MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(bytes, AT_PRODUCER_ID, self.producer_id.to_be_bytes());
        put(bytes, AT_PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(bytes, AT_BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(bytes, AT_RECORD_COUNT, self.record_count.to_be_bytes());
    }

    /// Writes the header over the start of `batch`, with the checksum that follows from all of it; answers it as it is now.
    pub(crate) fn seal(self, batch: &mut [u8]) -> BatchHeader {
        self.write(batch);
        let crc = crc32c(&batch[AT_ATTRIBUTES..]);
        put(batch, AT_CRC, crc.to_be_bytes());
        BatchHeader { crc, ..self }
    }

    fn agree(&self) -> Result<(), HeaderError> {
        let &BatchHeader { batch_length, last_offset_delta, record_count, .. } = self;
        let Some(records_bytes) =
            usize::try_from(batch_length).ok().and_then(|length| (length + 12).checked_sub(BatchHeader::BYTES))
        else {
            return Err(HeaderError::Length { batch_length });
        };
        // The offset after the last one must exist too: it is where the log goes on.
        if last_offset_delta < 0
            || self
                .base_offset
                .checked_add(last_offset_delta.unsigned_abs().into())
                .is_none_or(|last| last.get() == i64::MAX)
        {
            return Err(HeaderError::Offsets { base_offset: self.base_offset.get(), last_offset_delta });
        }
        if record_count < 0 || i64::from(record_count) > i64::from(last_offset_delta) + 1 {
            return Err(HeaderError::Count { record_count, last_offset_delta });
        }
        let records_bytes_min = match (self.codec(), u64::from(record_count.unsigned_abs())) {
            (Codec::None, count) => count * RECORD_BYTES_MIN as u64,
            (_, count) => count.min(1),
        };
        if records_bytes_min > records_bytes as u64 {
            return Err(HeaderError::RecordsBytes { record_count, records_bytes });
        }
        let &BatchHeader { producer_id, producer_epoch, base_sequence, .. } = self;
        // Transaction markers carry a producer and no sequence; without a producer the other two fields mean nothing.
        if producer_id >= 0 && (producer_epoch < 0 || (base_sequence < 0 && !self.is_control())) {
            return Err(HeaderError::Producer { producer_id, producer_epoch, base_sequence });
        }
        Ok(())
    }

    /// Bytes of the whole batch, the header included: at least 61, at most 2³¹ + 11.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        BatchHeader::LENGTH_PREFIX_BYTES + usize::try_from(self.batch_length).expect("a batch length is never negative")
    }

    /// Bytes of the records as stored, compressed or not.
    #[must_use]
    pub fn records_bytes(&self) -> usize {
        self.total_bytes() - BatchHeader::BYTES
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset
            .checked_add(self.last_offset_delta.unsigned_abs().into())
            .expect("the last offset is in range: parse refuses others")
    }

    /// The offset that follows the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().checked_add(1).expect("the next offset is in range: parse refuses others")
    }

    /// The header of the same batch after [`stamp`](crate::stamp).
    #[must_use]
    pub fn stamped(self, base_offset: Offset, epoch: LeaderEpoch) -> BatchHeader {
        BatchHeader { base_offset, leader_epoch: epoch.get(), ..self }
    }

    /// How the records are compressed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.attributes.codec()
    }

    /// Whose clock the timestamps show.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Whether its records are transaction markers.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// Whether an idempotent producer made it.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// From when on compaction may remove the tombstones in it, ms since 1970, if that was settled: the base timestamp says so then.
    #[must_use]
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Whether it has a record for each of its offsets, as producers write them; compaction takes records out.
    #[must_use]
    pub fn is_dense(&self) -> bool {
        i64::from(self.record_count) == i64::from(self.last_offset_delta) + 1
    }

    /// Whether the producer left out the maximum timestamp, as sarama did until 2025 (−1 beside a real base timestamp). The
    /// time index needs the true one: see [`stamp_max_timestamp`](crate::stamp_max_timestamp).
    #[must_use]
    pub fn lacks_max_timestamp(&self) -> bool {
        self.timestamp_type() == TimestampType::CreateTime && self.max_timestamp < self.base_timestamp
    }

    /// Sequence number of the last record. Sequences go from 0 to `i32::MAX` and start over at 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }
}

/// The sequence number `records` after `sequence`, starting over at 0 behind `i32::MAX`; neither may be negative.
///
/// ```
/// # use ringmill_batch::sequence_after;
/// assert_eq!(sequence_after(7, 1), 8);
/// assert_eq!(sequence_after(i32::MAX, 1), 0);
/// ```
#[must_use]
pub const fn sequence_after(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
}

fn field<const N: usize>(fields: &[u8; BatchHeader::BYTES], at: usize) -> [u8; N] {
    *fields[at..].first_chunk().expect("every field lies inside the header")
}

/// Writes one field at its place.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of three records in 40 bytes, offsets 10 to 12, as an idempotent producer makes it.
    fn sample() -> BatchHeader {
        BatchHeader {
            base_offset: Offset::new(10).unwrap(),
            batch_length: 49 + 40,
            leader_epoch: 3,
            crc: 0xDEAD_BEEF,
            attributes: Attributes::of(Codec::None),
            last_offset_delta: 2,
            base_timestamp: 1_000,
            max_timestamp: 1_002,
            producer_id: 7,
            producer_epoch: 1,
            base_sequence: 20,
            record_count: 3,
        }
    }

    fn parsed(change: impl FnOnce(&mut BatchHeader)) -> Result<BatchHeader, HeaderError> {
        let mut header = sample();
        change(&mut header);
        let mut bytes = [0; BatchHeader::BYTES];
        header.write(&mut bytes);
        BatchHeader::parse(&bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parsed(|_| ()), Ok(sample()));
        assert_eq!(sample().total_bytes(), 101);
        assert_eq!(sample().records_bytes(), 40);
        assert_eq!(sample().last_offset().get(), 12);
        assert_eq!(sample().next_offset().get(), 13);
        assert_eq!(sample().last_sequence(), 22);
    }

    #[test]
    fn sequences_start_over_behind_the_largest() {
        let header = parsed(|header| header.base_sequence = i32::MAX - 1).unwrap();
        assert_eq!(header.last_sequence(), 0);
        assert_eq!(sequence_after(i32::MAX, i32::MAX), i32::MAX - 1);
    }

    #[test]
    fn every_shorter_slice_is_short() {
        for have_bytes in 0..BatchHeader::BYTES {
            assert_eq!(BatchHeader::parse(&[2; 61][..have_bytes]), Err(HeaderError::Short { have_bytes }));
        }
    }

    #[test]
    fn another_magic_is_refused_before_anything_else() {
        let bytes = [0xFF; 61];
        assert_eq!(BatchHeader::parse(&bytes), Err(HeaderError::Magic { magic: -1 }));
    }

    #[test]
    fn a_length_must_cover_the_header() {
        assert_eq!(parsed(|h| h.batch_length = 48), Err(HeaderError::Length { batch_length: 48 }));
        assert_eq!(parsed(|h| h.batch_length = -1), Err(HeaderError::Length { batch_length: -1 }));
        assert!(parsed(|h| h.batch_length = i32::MAX).is_ok());
        let emptied = |h: &mut BatchHeader| (h.batch_length, h.record_count) = (49, 0);
        assert!(parsed(emptied).is_ok(), "compaction leaves headers without records");
    }

    #[test]
    fn offsets_stay_inside_the_number_range() {
        assert!(matches!(parsed(|h| h.last_offset_delta = -1), Err(HeaderError::Offsets { .. })));
        let base = |base: i64| parsed(move |h| h.base_offset = Offset::new(base).unwrap());
        assert!(base(i64::MAX - 3).is_ok());
        assert!(matches!(base(i64::MAX - 2), Err(HeaderError::Offsets { .. })));
        let mut bytes = [0; BatchHeader::BYTES];
        sample().write(&mut bytes);
        bytes[0] = 0x80;
        assert!(matches!(BatchHeader::parse(&bytes), Err(HeaderError::Offsets { .. })));
    }

    #[test]
    fn a_count_must_fit_to_offsets_and_bytes() {
        assert!(matches!(parsed(|h| h.record_count = -1), Err(HeaderError::Count { .. })));
        assert!(matches!(parsed(|h| h.record_count = 4), Err(HeaderError::Count { .. })));
        let many = |h: &mut BatchHeader| (h.last_offset_delta, h.record_count) = (5, 6);
        assert_eq!(parsed(many), Err(HeaderError::RecordsBytes { record_count: 6, records_bytes: 40 }));
        let compressed = |h: &mut BatchHeader| {
            many(h);
            h.attributes = Attributes::of(Codec::Lz4);
        };
        assert!(parsed(compressed).is_ok(), "compressed records may be small");
    }

    #[test]
    fn unknown_codecs_are_refused() {
        let mut bytes = [0; BatchHeader::BYTES];
        sample().write(&mut bytes);
        bytes[22] = 5;
        assert_eq!(BatchHeader::parse(&bytes), Err(HeaderError::UnknownCodec { attributes: 5 }));
    }

    #[test]
    fn a_producer_needs_an_epoch_and_a_sequence() {
        assert!(matches!(parsed(|h| h.base_sequence = -1), Err(HeaderError::Producer { .. })));
        assert!(matches!(parsed(|h| h.producer_epoch = -1), Err(HeaderError::Producer { .. })));
        let anonymous = |h: &mut BatchHeader| (h.producer_id, h.producer_epoch, h.base_sequence) = (-1, -1, -1);
        assert!(!parsed(anonymous).unwrap().has_producer());
        let marker = |h: &mut BatchHeader| {
            h.base_sequence = -1;
            h.attributes = Attributes::new(0b11_0000).unwrap();
        };
        assert!(parsed(marker).unwrap().is_control());
    }
}
