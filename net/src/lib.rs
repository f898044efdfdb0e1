//! Ringmill's wire: the Kafka protocol's messages, the connections that carry them, and the one client that the command line, the load
//! generator and the tests share.
//!
//! Knows frames, bytes and sockets; knows nothing of logs or disks, and a topic only as a string. What a request means is a
//! [`Handler`]'s business, and a file is a descriptor with a range ([`FileRange`]).
//!
//! The way of a request: [`transport::Listener`] accepts a descriptor, the broker hands it to a core, the core wraps it as a
//! [`transport::Stream`] and spawns [`serve`]. There a reader task splits frames off the stream, each reserved from the
//! [`Budget`] before it is allocated; [`Handler::start`] is called in the order read, and a writer sends the answers in that
//! same order, as [`Piece`]s: bytes by `send(2)`, ranges of files by `sendfile(2)`.

mod budget;
pub mod client;
mod connection;
mod line_limit;
mod piece;
pub mod transport;
pub mod wire;

pub use budget::{Budget, Charge};
pub use connection::{Answer, ConnectionInfo, Connections, Counters, Handler, Limits, Outcome, Request, serve};
pub use line_limit::{Line, LineLimit};
pub use piece::{FileRange, Piece, Response};
