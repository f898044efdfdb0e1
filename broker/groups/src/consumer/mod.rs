//! A group of the consumer protocol (KIP-848): the coordinator makes the assignment, members follow it one heartbeat at a time.
//!
//! The rules are those of Kafka's own coordinator, version 4. A change of members, subscriptions or topics raises the *group epoch*. The
//! next heartbeat has an assignor make the *target assignment* of that epoch, in a large group after a pause. From then on each member is led towards its part of it
//! (`reconcile.rs`), and has the target's epoch once it gave up what it shall not keep.
//!
//! The state is what the records say: tables that [`ConsumerGroup::apply`] alone changes, be it while a log is loaded or while a request is
//! served. Only timers are apart: they begin anew after a load.

mod apply;
mod assignment;
mod assignor;
mod check;
mod classic_join;
mod classic_requests;
mod describe;
mod downgrade;
mod embedded;
mod heartbeat;
mod limits;
mod members;
mod offsets;
mod reconcile;
mod regexes;
mod target;
mod timers;
mod upgrade;

#[cfg(test)]
mod classic_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod script;
#[cfg(test)]
mod script_tests;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use crate::TopicId;
use crate::context::Context;
use crate::record::{ConsumerEpoch, ConsumerMember, ConsumerPart, CurrentAssignment, Record, ResolvedRegex};
use crate::request::OfferedProtocol;
use crate::supporters::Supporters;

use assignment::Assignment;
pub(crate) use check::check;
#[cfg(test)]
pub(crate) use limits::REGEX_STEP_PAIRS_MAX;
pub(crate) use regexes::Matching;
use timers::Timers;

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerGroup {
    id: Arc<str>,
    tables: Tables,
    timers: Timers,
    /// From when on the target assignment may be made again, by the monotonic clock; at once after a load.
    assign_from_ms: u64,
    /// When regular expressions were last matched with all topics.
    regexes_matched_ms: Option<u64>,
    /// When they are to be matched again, because topics have changed meanwhile.
    regexes_due_ms: Option<u64>,
    /// Those that were due and of which only a part was matched yet.
    regexes_round: regexes::Round,
    /// Since when it has no members, or is known to have none, milliseconds since 1970.
    idle_since_ms: Option<i64>,
}

/// What the records say, and what follows from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tables {
    epoch: Option<ConsumerEpoch>,
    target_epoch: Option<i32>,
    members: BTreeMap<Arc<str>, ConsumerMember>,
    targets: BTreeMap<Arc<str>, Assignment>,
    current: BTreeMap<Arc<str>, CurrentAssignment>,
    regexes: BTreeMap<Arc<str>, ResolvedRegex>,
    /// From `members`: which has a static name.
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// From `members`: how many name a topic.
    subscribers: BTreeMap<Arc<str>, usize>,
    /// From `members`: the sum of `subscribers`.
    subscriptions: usize,
    /// From `members`: how many have an expression.
    regex_users: BTreeMap<Arc<str>, usize>,
    /// From `members`: how many speak the classic protocol.
    classic_members: usize,
    /// From `members`: how many of these know a protocol.
    supporters: Supporters,
    /// From `current`: who owns a partition, or is still giving it up.
    owners: BTreeMap<(TopicId, i32), Arc<str>>,
    /// From all: about what they take in memory.
    bytes: usize,
}

/// Of a member that no record gives anything.
static NO_ASSIGNMENT: CurrentAssignment = CurrentAssignment {
    member_epoch: 0,
    previous_member_epoch: 0,
    state: reconcile::STABLE,
    assigned: Assignment::new(),
    revoking: Assignment::new(),
};

impl Tables {
    /// What a member owns, and the epoch that it has reached.
    fn current_of(&self, member_id: &str) -> &CurrentAssignment {
        self.current.get(member_id).unwrap_or(&NO_ASSIGNMENT)
    }

    /// Whether a request comes from the newest member that has its static name (KIP-345), if it bears one.
    fn check_holder(&self, instance_id: Option<&str>, member_id: &str) -> Result<(), ErrorCode> {
        let Some(instance_id) = instance_id else { return Ok(()) };
        match self.static_members.get(instance_id) {
            None => Err(ErrorCode::UnknownMemberId),
            Some(holder) if **holder != *member_id => Err(ErrorCode::FencedInstanceId),
            Some(_) => Ok(()),
        }
    }
}

impl ConsumerGroup {
    /// A group that nobody has joined, and of which no record tells.
    pub(crate) fn new(id: Arc<str>) -> ConsumerGroup {
        ConsumerGroup {
            id,
            tables: Tables::default(),
            timers: Timers::default(),
            assign_from_ms: 0,
            regexes_matched_ms: None,
            regexes_due_ms: None,
            regexes_round: regexes::Round::default(),
            idle_since_ms: None,
        }
    }

    /// Takes a record's content over, from the log or from [`ConsumerGroup::write`].
    pub(crate) fn apply(&mut self, part: &ConsumerPart) {
        self.tables.apply(part);
    }

    /// Applies a change and leaves its record.
    fn write(&mut self, cx: &mut Context<'_>, part: ConsumerPart) {
        self.tables.apply(&part);
        cx.effects.records.push(Record::Consumer { group: Arc::clone(&self.id), part });
    }

    /// Whether no record tells of the group: one that was made for a request which was refused, or whose records were all removed.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.tables == Tables::default()
    }

    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.tables.bytes
    }

    /// How much a member has told in its JoinGroup; nothing if it is not in, or is a consumer member.
    pub(crate) fn told_bytes(&self, member_id: &str) -> Option<usize> {
        let classic = self.tables.members.get(member_id)?.classic.as_ref()?;
        Some(classic.protocols.iter().map(OfferedProtocol::bytes).sum())
    }

    /// Since when it has had no members, milliseconds since 1970; none while it has. A load begins that time anew, for no record tells it.
    pub(crate) fn idle_since_ms(&self) -> Option<i64> {
        self.idle_since_ms.filter(|_| self.is_empty())
    }

    /// Whether it has no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.members.is_empty()
    }

    /// In Kafka's words.
    pub(crate) fn state(&self) -> &'static str {
        let reconciled = |member_id| {
            self.tables.current.get(member_id).is_some_and(|current: &CurrentAssignment| {
                current.state == reconcile::STABLE && current.member_epoch == self.target_epoch()
            })
        };
        if self.is_empty() {
            "Empty"
        } else if self.epoch() > self.target_epoch() {
            "Assigning"
        } else if self.tables.members.keys().all(reconciled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Which of these topics members read.
    pub(crate) fn read_of(&self, topics: &BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        let meant = self.tables.regexes.values().flat_map(|resolved: &ResolvedRegex| &resolved.topics);
        let named = topics.iter().filter(|topic| self.tables.subscribers.contains_key(*topic));
        meant.filter_map(|name| topics.get(name)).chain(named).cloned().collect()
    }

    /// The records that remove all of the group.
    pub(crate) fn tombstones(&self) -> Vec<Record> {
        let parts = self.tables.tombstones();
        parts.into_iter().map(|part| Record::Consumer { group: Arc::clone(&self.id), part }).collect()
    }

    /// Rises with each change of members or subscriptions; 0 before the first.
    fn epoch(&self) -> i32 {
        self.tables.epoch.map_or(0, |epoch| epoch.epoch)
    }

    /// The group epoch that the target assignment was made for.
    fn target_epoch(&self) -> i32 {
        self.tables.target_epoch.unwrap_or(0)
    }
}
