//! Record batches as pure bytes: header, checks, stamping, records and codecs of Kafka's format v2.
//!
//! This crate knows no I/O, no time and no other crate of the project; the engine, the wire and the broker all build on it.

mod attributes;
mod check;
mod crc;
mod header;
mod offset;
#[cfg(test)]
mod sample;
mod stamp;

pub use attributes::{Attributes, Codec, TimestampType, UnknownCodec};
pub use check::{BatchError, check_produced, check_stored};
pub use crc::crc32c;
pub use header::{BatchHeader, HeaderError, sequence_after};
pub use offset::{LeaderEpoch, Offset};
pub use stamp::{stamp, stamp_append_time};
