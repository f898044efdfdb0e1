//! A group of the classic protocol: clients agree on a protocol, and one of them makes the assignment.
//!
//! The rules are those of Kafka's own coordinator (KIP-62, 345, 394, 814). What happens in a rebalance is in `rebalance.rs`, each
//! request in a file of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::context::Ticket;
use crate::request::{Client, Protocol};

/// A group.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub(crate) id: Arc<str>,
    /// Rises with each rebalance; 0 before the first.
    pub(crate) generation: i32,
    /// None while nobody has joined yet.
    pub(crate) protocol_type: Option<Arc<str>>,
    /// Chosen when a rebalance ends.
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) state: State,
    /// When the state was entered, milliseconds since 1970.
    pub(crate) state_ms: i64,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// Which member has a static name.
    pub(crate) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out (KIP-394), and until when they may join.
    pub(crate) pending: BTreeMap<Arc<str>, u64>,
}

/// Where a group is between two generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody is in it; it may keep offsets.
    Empty,
    /// Waits for its members to join.
    PreparingRebalance {
        /// Then it goes on without those that have not.
        ends_ms: u64,
        /// The first rebalance of an empty group waits for more members; until when at most.
        initial_until_ms: Option<u64>,
    },
    /// Waits for the leader's assignment.
    CompletingRebalance {
        /// Then those that have not asked for theirs are taken for gone.
        ends_ms: u64,
    },
    /// Everybody has an assignment.
    Stable,
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client: Client,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// When it is taken for gone; holds while it waits for no answer.
    pub(crate) session_ends_ms: u64,
    /// Its JoinGroup, parked.
    pub(crate) joining: Option<Ticket>,
    /// Its SyncGroup, parked.
    pub(crate) syncing: Option<Ticket>,
}
