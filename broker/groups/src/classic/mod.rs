//! A group of the classic protocol: clients agree on a protocol, and one of them, the leader, makes the assignment.
//!
//! The rules are those of Kafka's own coordinator (KIP-62, 134, 211, 345, 394, 814). A generation begins when a rebalance ends
//! (`rebalance.rs`); each request has a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::ErrorCode;

use crate::context::Ticket;
use crate::request::{Client, OfferedProtocol};
use crate::supporters::Supporters;

mod describe;
mod heartbeat;
mod join;
mod leave;
mod members;
mod not_before;
mod offsets;
mod rebalance;
mod size;
mod stored;
mod sync;

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
    leader: Option<Arc<str>>,
    pub(crate) state: State,
    /// When the state was entered, milliseconds since 1970.
    state_ms: i64,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// From `members`: how many know a protocol.
    supporters: Supporters,
    /// From `members`: how many have their JoinGroup parked. A large group is not looked through at each join.
    parked_joins: usize,
    /// From `members` and `pending`: about what they take in memory.
    bytes: usize,
    /// No session ends before, and no id that was given out lapses.
    expiry: not_before::NotBefore,
    /// Which member has a static name.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out (KIP-394), and until when they may join.
    pending: BTreeMap<Arc<str>, u64>,
    /// Members of this generation that have not asked for their assignment yet.
    unsynced: BTreeSet<Arc<str>>,
    /// Then those in `unsynced` are taken for gone.
    sync_ends_ms: u64,
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
        /// The first rebalance of an empty group waits for more members, until then at most.
        first_until_ms: Option<u64>,
    },
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// There is an assignment.
    Stable,
}

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client: Client,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocols: Vec<OfferedProtocol>,
    pub(crate) assignment: Bytes,
    /// When it is taken for gone, unless it waits for an answer then.
    pub(crate) session_ends_ms: u64,
    /// Has never been in a generation: then its parked JoinGroup does not keep it for ever, for its client may be long gone.
    pub(crate) is_new: bool,
    /// Its JoinGroup, parked.
    pub(crate) joining: Option<Ticket>,
    /// Its SyncGroup, parked.
    pub(crate) syncing: Option<Ticket>,
}

impl ClassicGroup {
    /// A group without members.
    pub(crate) fn new(id: Arc<str>, wall_ms: i64) -> ClassicGroup {
        ClassicGroup {
            id,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            state: State::Empty,
            state_ms: wall_ms,
            members: BTreeMap::new(),
            supporters: Supporters::default(),
            parked_joins: 0,
            bytes: 0,
            expiry: not_before::NotBefore::default(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_ends_ms: 0,
        }
    }

    /// Whether nobody is in it or about to be.
    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// Since when it has had no members, milliseconds since 1970; none while it has, and if it never had any.
    pub(crate) fn idle_since_ms(&self) -> Option<i64> {
        (self.state == State::Empty && self.protocol_type.is_some()).then_some(self.state_ms)
    }

    /// In Kafka's words.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Empty => "Empty",
            State::PreparingRebalance { .. } => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }

    /// Whether a request comes from a member of this group, and from the newest that has its static name (KIP-345).
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if **known != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// As [`check_member`](Self::check_member), and of this generation.
    fn check_generation(&self, member_id: &str, instance_id: Option<&str>, generation: i32) -> Result<(), ErrorCode> {
        self.check_member(member_id, instance_id)?;
        match generation == self.generation {
            true => Ok(()),
            false => Err(ErrorCode::IllegalGeneration),
        }
    }
}
