//! Making batches out of records, at the rate of a load generator.
//!
//! The client's producer, the tests and the tools build with it; the broker itself writes no batches but those it is sent.

use bytes::BytesMut;

use crate::codec::Compressor;
use crate::header::BatchHeader;
use crate::varint::{self, VARINT32_BYTES_MAX, VARINT64_BYTES_MAX};
use crate::{Attributes, Codec, Offset};

/// Collects records and gives them out as one batch after the other, base offset 0 and leader epoch −1.
///
/// Records are encoded as they come into one growing buffer. That buffer and the codec's state serve the next batch again as
/// soon as the last one handed out is dropped.
///
/// ```
/// use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, check_produced, read_records};
///
/// let mut builder = BatchBuilder::new(Codec::Zstd, None);
/// builder.push(1_000, Some(b"host"), Some(b"a line"), &[]);
/// let batch = builder.finish();
///
/// check_produced(&batch)?;
/// let records = read_records(&batch, DecompressLimit::default())?;
/// assert_eq!(records.iter().next().unwrap()?.value, Some(&b"a line"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BatchBuilder {
    /// Room for the header, then the records so far; empty before the first record.
    buffer: BytesMut,
    compressor: Compressor,
    producer: Producer,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

#[derive(Clone, Copy)]
struct Producer {
    id: i64,
    epoch: i16,
    base_sequence: i32,
}

/// A batch by nobody in particular.
const ANONYMOUS: Producer = Producer { id: -1, epoch: -1, base_sequence: -1 };

/// The fields of a record before its key: length, attributes, timestamp delta, offset delta, key length.
const PREFIX_BYTES_MAX: usize = VARINT32_BYTES_MAX + 1 + VARINT64_BYTES_MAX + 2 * VARINT32_BYTES_MAX;

impl BatchBuilder {
    /// A builder for batches of this codec. `level`: gzip 0–9, zstd −131072–22, clamped; `None` is the codec's default, and the
    /// others have no levels.
    #[must_use]
    pub fn new(codec: Codec, level: Option<i32>) -> BatchBuilder {
        BatchBuilder {
            buffer: BytesMut::new(),
            compressor: Compressor::new(codec, level),
            producer: ANONYMOUS,
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Names the idempotent producer of the batch at hand and the sequence number of its first record. Holds for one batch.
    pub fn producer(&mut self, id: i64, epoch: i16, base_sequence: i32) {
        assert!(id >= 0 && epoch >= 0 && base_sequence >= 0, "producer {id}, epoch {epoch}, sequence {base_sequence}");
        self.producer = Producer { id, epoch, base_sequence };
    }

    /// Appends a record.
    ///
    /// # Panics
    /// When the batch would outgrow 2 GiB: callers end batches by [`len_bytes`](Self::len_bytes) long before.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.count == 0 {
            self.buffer.resize(BatchHeader::BYTES, 0);
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.count);
        let length = record_length(timestamp_delta, offset_delta, key, value, headers);
        assert!(self.buffer.len() + VARINT32_BYTES_MAX + length <= i32::MAX as usize, "a batch outgrows 2 GiB");

        let mut prefix = [0; PREFIX_BYTES_MAX];
        let mut at = varint::put(&mut prefix, as_varint(length));
        at += 1; // Attributes: a zero.
        at += varint::put(&mut prefix[at..], timestamp_delta);
        at += varint::put(&mut prefix[at..], offset_delta);
        at += varint::put(&mut prefix[at..], key.map_or(-1, |key| as_varint(key.len())));
        self.buffer.reserve(at + length);
        self.buffer.extend_from_slice(&prefix[..at]);
        self.buffer.extend_from_slice(key.unwrap_or_default());
        self.push_nullable(value);
        self.push_varint(as_varint(headers.len()));
        for &(name, value) in headers {
            self.push_nullable(Some(name));
            self.push_nullable(value);
        }
        self.count += 1;
    }

    fn push_varint(&mut self, value: i64) {
        let mut bytes = [0; VARINT64_BYTES_MAX];
        let taken = varint::put(&mut bytes, value);
        self.buffer.extend_from_slice(&bytes[..taken]);
    }

    fn push_nullable(&mut self, bytes: Option<&[u8]>) {
        self.push_varint(bytes.map_or(-1, |bytes| as_varint(bytes.len())));
        self.buffer.extend_from_slice(bytes.unwrap_or_default());
    }

    /// Bytes of the batch as far as it is, uncompressed; 0 without records.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Records so far.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Compresses, writes header and CRC, hands the batch out and starts anew.
    ///
    /// # Panics
    /// Without records: there is no such batch.
    pub fn finish(&mut self) -> BytesMut {
        assert!(self.count > 0, "a batch has at least one record");
        let mut batch = match self.compressor.codec() {
            Codec::None => self.buffer.split(),
            _ => {
                let mut batch = BytesMut::with_capacity(BatchHeader::BYTES + self.buffer.len() / 2);
                batch.resize(BatchHeader::BYTES, 0);
                self.compressor.compress_onto(&self.buffer[BatchHeader::BYTES..], &mut batch);
                self.buffer.clear();
                batch
            }
        };
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: i32::try_from(batch.len() - BatchHeader::LENGTH_PREFIX_BYTES)
                .expect("push keeps below 2 GiB"),
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes::of(self.compressor.codec()),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer.id,
            producer_epoch: self.producer.epoch,
            base_sequence: self.producer.base_sequence,
            record_count: self.count,
        };
        header.seal(&mut batch);
        self.count = 0;
        self.producer = ANONYMOUS;
        batch
    }
}

impl std::fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let codec = self.compressor.codec();
        write!(f, "BatchBuilder({codec}, {} records, {} bytes)", self.count, self.buffer.len())
    }
}

/// What the length in front of a record counts: everything behind it.
fn record_length(
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> usize {
    let headers_bytes: usize =
        headers.iter().map(|&(name, value)| nullable_size(Some(name)) + nullable_size(value)).sum();
    1 + varint::size(timestamp_delta)
        + varint::size(offset_delta)
        + nullable_size(key)
        + nullable_size(value)
        + varint::size(as_varint(headers.len()))
        + headers_bytes
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::size(as_varint(bytes.len())) + bytes.len())
}

fn as_varint(length: usize) -> i64 {
    i64::try_from(length).expect("a slice is never longer than i64::MAX")
}
