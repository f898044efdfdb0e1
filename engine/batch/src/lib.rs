//! Record batches as pure bytes: header, checks, stamping, records and codecs of Kafka's format v2.
//!
//! This crate knows no I/O, no time and no other crate of the project; the engine, the wire and the broker all build on it.

mod attributes;
mod builder;
mod check;
mod codec;
mod crc;
mod empty;
mod header;
mod offset;
mod records;
mod rewrite;
#[cfg(test)]
mod sample;
mod stamp;
mod varint;

pub use attributes::{Attributes, Codec, TimestampType, UnknownCodec};
pub use builder::BatchBuilder;
pub use check::{BatchError, check_produced, check_stored};
pub use codec::{CodecError, DecompressLimit, compress, decompress};
pub use crc::crc32c;
pub use empty::{COVERED_OFFSETS_MAX, covering, emptied};
pub use header::{BatchHeader, HeaderError, sequence_after};
pub use offset::{LeaderEpoch, Offset};
pub use records::{Headers, Record, RecordError, RecordReader, RecordSet, Records, check_records, read_records};
pub use rewrite::{BatchRewriter, HORIZON_BYTES_MAX, Rewritten};
pub use stamp::{stamp, stamp_append_time, stamp_max_timestamp};
