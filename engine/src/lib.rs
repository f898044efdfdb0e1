//! The storage engine: partitions as logs of record batches on disk.
//!
//! It knows bytes, batch headers, offsets, epochs, segments, indexes, retention and producer state. It knows no sockets, no
//! requests and no setting's name, and it starts no thread but the plain-call disk's own pool.

pub mod checkpoint;
pub mod clock;
pub mod data_dir;
pub mod disk;
pub mod epochs;
mod fields;
pub mod log;
pub mod partition_meta;
pub mod producer_state;
pub mod segment;
mod turn;
pub mod verify;
