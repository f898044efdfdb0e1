//! Record batches as pure bytes: header, checks, stamping, records and codecs of Kafka's format v2.
//!
//! This crate knows no I/O, no time and no other crate of the project; the engine, the wire and the broker all build on it.

mod offset;

pub use offset::{LeaderEpoch, Offset};
