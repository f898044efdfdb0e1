//! Consumer groups as a pure state machine: requests and time in, records and answers out.
//!
//! A [`Shard`] holds the groups and the committed offsets of one partition of `__consumer_offsets`. It knows no socket, no log and no
//! clock: its caller gives it requests and the time, appends the records it returns, and sends the answers on once those records and
//! all before them are durable. So its state may run ahead of the log, but nobody can see that: when an append fails, the caller drops
//! the shard and loads another from the log.
//!
//! Two protocols live here, and a group is of the type of the one it speaks. Their names, here and everywhere:
//!
//! - The *classic protocol*, in which a client makes the assignment (`classic/`); it is spoken by *classic members*.
//! - The *consumer protocol* (KIP-848), in which the coordinator does (`consumer/`); it is spoken by *consumer members*. A group of this
//!   protocol may have classic members as well, for as long as an *upgrade* or a *downgrade* takes.
//! - The *embedded protocol*: what consumers put into JoinGroup and SyncGroup of the classic protocol, which is opaque to that.
//!
//! `broker/src/group/` is the caller.

pub mod answer;
mod classic;
mod consumer;
mod context;
pub mod listing;
mod offsets;
mod random;
pub mod record;
mod record_bytes;
pub mod request;
mod room;
mod settings;
mod shard;
mod supporters;
mod topics;

pub use context::{Effects, Now, Ticket};
pub use random::Random;
pub use room::{Full, NoRoom};
pub use settings::{Migration, Settings};
pub use shard::Shard;
pub use topics::{TopicId, Topics};
