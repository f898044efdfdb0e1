//! Walking the records of a batch, decompressed where they must be.
//!
//! Every length is checked against what is left, every number is bounded, and the walk must meet exactly the records that the
//! header announces. The CRC is [`check`](crate::check_stored)'s matter. Consumers, the tools, ListOffsets by time and strict
//! topics walk; ordinary produces and fetches do not.

use std::borrow::Cow;

use crate::codec::{CodecError, DecompressLimit, Decompressor, decompress};
use crate::header::{BatchHeader, HeaderError, RECORD_BYTES_MIN};
use crate::varint::{take_i32, take_i64};
use crate::{Codec, Offset, TimestampType};

/// Why the records of a batch cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum RecordError {
    /// The batch has no sound header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The bytes end before the batch does.
    #[error("{have_bytes} bytes hold only part of a batch of {batch_bytes} bytes")]
    Incomplete { have_bytes: usize, batch_bytes: usize },
    /// The records do not decompress.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// More records than there are bytes for.
    #[error("{record_count} records do not fit into {records_bytes} bytes")]
    Count { record_count: i32, records_bytes: usize },
    /// A field of a record is cut off or out of its range.
    #[error("record {index}: its {field} is cut off or out of range")]
    Field { index: i32, field: &'static str },
    /// A record's offset is past the batch's last, or not after the record before it.
    #[error("record {index}: offset delta {offset_delta} is out of order, the batch's last is {last_offset_delta}")]
    OffsetDelta { index: i32, offset_delta: i32, last_offset_delta: i32 },
    /// A batch's maximum timestamp is that of none of its records, or not the largest.
    #[error("the largest timestamp of the records is {largest_ms}, the batch says {claimed_ms}")]
    MaxTimestamp { largest_ms: i64, claimed_ms: i64 },
    /// Something follows a record's fields or the last record.
    #[error("{trailing_bytes} bytes follow {what}")]
    Trailing { trailing_bytes: usize, what: &'static str },
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since 1970, the producer's or the broker's as the batch says; −1 when unknown.
    pub timestamp_ms: i64,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; none marks a deletion on compacted topics.
    pub value: Option<&'a [u8]>,
    /// Names and values beside the value, in their order, duplicates included.
    pub headers: Headers<'a>,
}

/// A record's headers, sound and still encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Name (UTF-8 by convention, not checked) and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut rest = self.bytes;
        (0..self.count).map(move |_| take_header(&mut rest).expect("headers are checked when their record is read"))
    }
}

/// The records of one batch, decompressed.
#[derive(Debug)]
pub struct RecordSet<'a> {
    header: BatchHeader,
    bytes: Cow<'a, [u8]>,
}

/// Opens the batch at the start of `batch`, decompressing its records.
///
/// # Errors
/// When the header is unsound, the batch is cut off, or its records do not decompress within `limit`.
pub fn read_records(batch: &[u8], limit: DecompressLimit) -> Result<RecordSet<'_>, RecordError> {
    let (header, stored) = open(batch)?;
    let bytes = match header.codec() {
        Codec::None => Cow::Borrowed(stored),
        // A batch that compaction has emptied keeps its codec and has nothing to decompress.
        _ if stored.is_empty() => Cow::Borrowed(stored),
        codec => Cow::Owned(decompress(codec, stored, limit)?),
    };
    RecordSet::new(header, bytes)
}

/// Opens one batch after the other, as [`read_records`] does, in memory that it keeps.
#[derive(Default)]
pub struct RecordReader {
    decompressor: Decompressor,
    plain: Vec<u8>,
}

impl RecordReader {
    /// Opens the batch at the start of `batch`.
    ///
    /// # Errors
    /// Those of [`read_records`].
    pub fn read<'a>(&'a mut self, batch: &'a [u8], limit: DecompressLimit) -> Result<RecordSet<'a>, RecordError> {
        let (header, stored) = open(batch)?;
        if header.codec() == Codec::None || stored.is_empty() {
            return RecordSet::new(header, Cow::Borrowed(stored));
        }
        self.decompressor.decompress_into(&mut self.plain, header.codec(), stored, limit)?;
        RecordSet::new(header, Cow::Borrowed(&self.plain))
    }

    /// Bytes that it keeps for the next batch.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.plain.capacity()
    }
}

impl std::fmt::Debug for RecordReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordReader({} bytes held)", self.plain.capacity())
    }
}

/// The header of the batch at the start of `batch`, and its records as they are stored.
fn open(batch: &[u8]) -> Result<(BatchHeader, &[u8]), RecordError> {
    let header = BatchHeader::parse(batch)?;
    let batch_bytes = header.total_bytes();
    match batch.get(BatchHeader::BYTES..batch_bytes) {
        Some(stored) => Ok((header, stored)),
        None => Err(RecordError::Incomplete { have_bytes: batch.len(), batch_bytes }),
    }
}

/// Walks all records of a produced batch and holds them against its header, which [`check_produced`](crate::check_produced) has passed:
/// with as many records as offsets, the walk leaves no room for a gap. Answers the smallest of the records' timestamps, which no header
/// tells.
///
/// # Errors
/// When the records do not decompress within `limit`, cannot be read, or are not what the header announces.
pub fn check_records(batch: &[u8], limit: DecompressLimit) -> Result<i64, RecordError> {
    let records = read_records(batch, limit)?;
    let (mut smallest_ms, mut largest_ms) = (i64::MAX, i64::MIN);
    for record in &records {
        let timestamp_ms = record?.timestamp_ms;
        smallest_ms = smallest_ms.min(timestamp_ms);
        largest_ms = largest_ms.max(timestamp_ms);
    }
    let claimed_ms = records.header().max_timestamp;
    if largest_ms != claimed_ms {
        return Err(RecordError::MaxTimestamp { largest_ms, claimed_ms });
    }
    Ok(smallest_ms)
}

impl<'a> RecordSet<'a> {
    fn new(header: BatchHeader, bytes: Cow<'a, [u8]>) -> Result<RecordSet<'a>, RecordError> {
        let record_count = header.record_count;
        if u64::from(record_count.unsigned_abs()) * RECORD_BYTES_MIN as u64 > bytes.len() as u64 {
            return Err(RecordError::Count { record_count, records_bytes: bytes.len() });
        }
        Ok(RecordSet { header, bytes })
    }

    /// The batch's header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes of the records, decompressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records, decompressed, one behind the other.
    pub(crate) fn plain_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Walks the records in their order. The first error ends the walk; a walk without one has met every record announced and
    /// every byte.
    #[must_use]
    pub fn iter(&self) -> Records<'_> {
        Records { header: &self.header, rest: &self.bytes, index: 0, offset_delta_min: 0, ended: false }
    }
}

impl<'a> IntoIterator for &'a RecordSet<'_> {
    type Item = Result<Record<'a>, RecordError>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// The walk over a [`RecordSet`].
#[derive(Debug)]
pub struct Records<'a> {
    header: &'a BatchHeader,
    rest: &'a [u8],
    index: i32,
    offset_delta_min: i32,
    ended: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Result<Record<'a>, RecordError>> {
        if self.ended {
            return None;
        }
        if self.index == self.header.record_count {
            self.ended = true;
            let trailing_bytes = self.rest.len();
            let what = "the last record";
            return (trailing_bytes > 0).then_some(Err(RecordError::Trailing { trailing_bytes, what }));
        }
        let record = self.take_record();
        self.ended = record.is_err();
        self.index += 1;
        Some(record)
    }
}

impl<'a> Records<'a> {
    /// Bytes behind the records met so far.
    pub(crate) fn bytes_left(&self) -> usize {
        self.rest.len()
    }

    fn take_record(&mut self) -> Result<Record<'a>, RecordError> {
        let index = self.index;
        let field = |field| move || RecordError::Field { index, field };
        let length = take_i32(&mut self.rest).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(field("length"))?;
        let (mut rest, behind) = self.rest.split_at_checked(length).ok_or_else(field("length"))?;
        self.rest = behind;

        // The attribute byte of a record has no meaning yet.
        rest.split_off_first().ok_or_else(field("attributes"))?;
        let timestamp_delta = take_i64(&mut rest).ok_or_else(field("timestamp delta"))?;
        let offset_delta = take_i32(&mut rest).ok_or_else(field("offset delta"))?;
        let key = take_nullable(&mut rest).ok_or_else(field("key"))?;
        let value = take_nullable(&mut rest).ok_or_else(field("value"))?;
        let headers = take_headers(&mut rest).ok_or_else(field("headers"))?;
        if !rest.is_empty() {
            return Err(RecordError::Trailing { trailing_bytes: rest.len(), what: "a record's fields" });
        }
        let offset = self.offset(offset_delta)?;
        let timestamp_ms = match self.header.timestamp_type() {
            // Kafka's clients add in two's complement too, so a strange timestamp comes back as it went.
            TimestampType::CreateTime => self.header.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        Ok(Record { offset, timestamp_ms, key, value, headers })
    }

    fn offset(&mut self, offset_delta: i32) -> Result<Offset, RecordError> {
        let last_offset_delta = self.header.last_offset_delta;
        if !(self.offset_delta_min..=last_offset_delta).contains(&offset_delta) {
            return Err(RecordError::OffsetDelta { index: self.index, offset_delta, last_offset_delta });
        }
        // Past i32::MAX no further delta can fit, and saturating refuses it.
        self.offset_delta_min = offset_delta.saturating_add(1);
        let offset = self.header.base_offset.checked_add(offset_delta.unsigned_abs().into());
        Ok(offset.expect("a delta up to the header's last is in range"))
    }
}

/// A length and that many bytes; −1 says none.
fn take_nullable<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match take_i32(rest)? {
        -1 => Some(None),
        length => rest.split_off(..usize::try_from(length).ok()?).map(Some),
    }
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    // A header's name, unlike its value, may not be missing.
    let name = take_nullable(rest)??;
    Some((name, take_nullable(rest)?))
}

/// Checks all headers and keeps them encoded: a claimed count costs nothing, each header takes at least two bytes.
fn take_headers<'a>(rest: &mut &'a [u8]) -> Option<Headers<'a>> {
    let count = usize::try_from(take_i32(rest)?).ok()?;
    let all = *rest;
    for _ in 0..count {
        take_header(rest)?;
    }
    Some(Headers { count, bytes: &all[..all.len() - rest.len()] })
}
