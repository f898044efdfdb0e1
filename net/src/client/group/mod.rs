//! Groups: what there is to know and to change about them from outside, and a consumer that is a member of one.
//!
//! `membership` is the consumer protocol (KIP-848) as a pure state machine; `consumer` carries out what it says, on top
//! of `client::consumer`.

mod admin;
mod consumer;
mod coordinator;
mod describe;
mod membership;
#[cfg(test)]
mod tests;

pub use admin::{ListedGroup, Positions};
pub use consumer::{GroupConsumer, GroupEvent, GroupOptions};
pub use describe::{GroupDescription, GroupMember};

/// A position that a group has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// What its reader noted beside it.
    pub metadata: String,
}
