//! Ringmill's wire: the Kafka protocol's messages, the connections that carry them, and the one client that the command line, the load
//! generator and the tests share.
//!
//! Knows frames, bytes and sockets; knows nothing of logs or disks, and a topic only as a string.

mod piece;
pub mod wire;

pub use piece::{FileRange, Piece, Response};
