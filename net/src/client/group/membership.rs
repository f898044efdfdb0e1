//! A member's side of the consumer protocol as a state machine: what to tell the coordinator and when, what to give up and what to
//! take, in the order that keeps every partition with one member.
//!
//! No I/O and no clock: answers and the time come in as arguments, what to do comes out as a [`Step`]. `group::consumer` carries it out.
//!
//! The order of a change: the coordinator names all partitions that the member shall have. What it has and does not find there it gives
//! up first, and says so at once; only then it takes what is new. A member that the coordinator has put out loses everything without a
//! word, and joins again under the same name.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::Uuid;
use crate::wire::messages::consumer_group_heartbeat::{JOIN_EPOCH, LEAVE_EPOCH};

/// How often to tell before the coordinator has said how often it wants to hear.
const FIRST_INTERVAL_MS: u64 = 1_000;
/// Bounds for what it may say.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

/// A partition as the coordinator names it.
pub(super) type Partition = (Uuid, i32);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this, and hand in what comes of it with [`Membership::answered`], [`Membership::unanswered`] or [`Membership::put_out`].
    Tell(Told),
    /// Stop reading these, commit what was done of them, then call [`Membership::gave_up`].
    GiveUp(BTreeSet<Partition>),
    /// Begin to read these, then call [`Membership::took`], or [`Membership::postpone`] if it cannot be done yet.
    Take(BTreeSet<Partition>),
    /// Stop reading these; others may have them already.
    Lose(BTreeSet<Partition>),
    /// Nothing before this time, unless an answer comes.
    Wait {
        /// In the caller's milliseconds.
        until_ms: u64,
    },
}

/// What a heartbeat says. What has not changed since the coordinator heard it is not said again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) epoch: i32,
    /// Whether who the member is and what it wants is to be said too.
    pub(super) everything: bool,
    /// What the member has.
    pub(super) owned: Option<BTreeMap<Uuid, Vec<i32>>>,
}

/// What the coordinator answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) epoch: i32,
    pub(super) interval_ms: i32,
    /// All that the member shall have, if that is said.
    pub(super) assignment: Option<BTreeSet<Partition>>,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Membership {
    epoch: i32,
    /// What the member has.
    owned: BTreeSet<Partition>,
    /// What it shall have.
    target: BTreeSet<Partition>,
    /// What it had when it was put out, and has not yet stopped reading.
    lost: BTreeSet<Partition>,
    /// What was last told of what it has; nothing when the coordinator may not have heard it.
    told: Option<BTreeSet<Partition>>,
    /// Whether the coordinator is to be told everything.
    everything: bool,
    /// Whether it waits to hear that its last assignment is carried out, even if that changed nothing here.
    acknowledge: bool,
    /// Whether an answer is waited for.
    waiting: bool,
    /// Whether it has said anything, so that the coordinator may know it.
    known: bool,
    tell_at_ms: u64,
    take_at_ms: u64,
    interval_ms: u64,
}

impl Membership {
    /// A member that has yet to join.
    pub(super) fn new() -> Membership {
        Membership {
            epoch: JOIN_EPOCH,
            owned: BTreeSet::new(),
            target: BTreeSet::new(),
            lost: BTreeSet::new(),
            told: None,
            everything: true,
            acknowledge: false,
            waiting: false,
            known: false,
            tell_at_ms: 0,
            take_at_ms: 0,
            interval_ms: FIRST_INTERVAL_MS,
        }
    }

    /// The epoch that commits are made in.
    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Whether it is a member and has all that it shall have.
    pub(super) fn is_settled(&self) -> bool {
        self.epoch > JOIN_EPOCH && self.lost.is_empty() && self.owned == self.target
    }

    /// What to do now. The same is said again until the call that the step asks for.
    pub(super) fn next(&mut self, now_ms: u64) -> Step {
        if !self.lost.is_empty() {
            return Step::Lose(self.lost.clone());
        }
        let surplus: BTreeSet<Partition> = self.owned.difference(&self.target).copied().collect();
        if !surplus.is_empty() {
            return Step::GiveUp(surplus);
        }
        if !self.waiting && now_ms >= self.tell_at_ms {
            return Step::Tell(self.tell());
        }
        let missing: BTreeSet<Partition> = self.target.difference(&self.owned).copied().collect();
        // What was given up must have been heard of first: the coordinator holds others back for it.
        let heard = !self.waiting && self.told.as_ref().is_some_and(|told| *told == self.owned);
        if !missing.is_empty() && heard && now_ms >= self.take_at_ms {
            return Step::Take(missing);
        }
        let mut until_ms = if self.waiting { u64::MAX } else { self.tell_at_ms };
        if !missing.is_empty() && heard {
            until_ms = until_ms.min(self.take_at_ms);
        }
        Step::Wait { until_ms }
    }

    fn tell(&mut self) -> Told {
        (self.waiting, self.known) = (true, true);
        let joining = self.epoch == JOIN_EPOCH;
        assert!(!joining || self.owned.is_empty(), "who joins has nothing: {self:?}");
        let acknowledged = self.acknowledge && self.owned == self.target;
        self.acknowledge &= !acknowledged;
        let say_owned = self.everything || acknowledged || self.told.as_ref() != Some(&self.owned);
        let owned = say_owned.then(|| by_topic(&self.owned));
        self.told = Some(self.owned.clone());
        Told { epoch: self.epoch, everything: self.everything, owned }
    }

    /// The coordinator has answered.
    pub(super) fn answered(&mut self, now_ms: u64, heard: Heard) {
        self.waiting = false;
        self.everything = false;
        self.epoch = heard.epoch;
        let interval_ms = u64::try_from(heard.interval_ms).unwrap_or(FIRST_INTERVAL_MS);
        self.interval_ms = interval_ms.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
        self.tell_at_ms = now_ms.saturating_add(self.interval_ms);
        if let Some(assignment) = heard.assignment {
            // Even where nothing changes here, others may wait until it is said that this is all. What was given and taken back may have
            // been lost on the way.
            self.acknowledge = true;
            let changed = assignment != self.target;
            self.target = assignment;
            self.take_at_ms = now_ms;
            if changed && self.owned == self.target {
                self.tell_soon(now_ms);
            }
        }
    }

    /// No answer came, or one that asks to try again: whether the coordinator has heard anything is not known.
    pub(super) fn unanswered(&mut self, now_ms: u64, backoff_ms: u64) {
        self.waiting = false;
        self.everything = true;
        self.told = None;
        self.tell_at_ms = now_ms.saturating_add(backoff_ms);
    }

    /// The coordinator does not know the member any more, or not in this epoch.
    pub(super) fn put_out(&mut self, now_ms: u64) {
        self.lost.append(&mut self.owned);
        let (lost, known) = (std::mem::take(&mut self.lost), self.known);
        *self = Membership { lost, known, tell_at_ms: now_ms, ..Membership::new() };
    }

    /// What was lost is not read any more.
    pub(super) fn lost(&mut self) {
        self.lost.clear();
    }

    /// What was to be given up is given up.
    pub(super) fn gave_up(&mut self, now_ms: u64) {
        self.owned.retain(|partition| self.target.contains(partition));
        self.tell_soon(now_ms);
    }

    /// These are read now.
    pub(super) fn took(&mut self, partitions: BTreeSet<Partition>, now_ms: u64) {
        self.owned.extend(partitions);
        self.tell_soon(now_ms);
    }

    /// What there is to take cannot be taken yet.
    pub(super) fn postpone(&mut self, now_ms: u64, backoff_ms: u64) {
        self.take_at_ms = now_ms.saturating_add(backoff_ms);
    }

    /// Lets the coordinator hear at the next step, for its answer brings the present epoch.
    pub(super) fn tell_soon(&mut self, now_ms: u64) {
        self.tell_at_ms = self.tell_at_ms.min(now_ms);
    }

    /// The last words, after which it has nothing; none from a member that the coordinator cannot know.
    pub(super) fn leave(&mut self) -> Option<Told> {
        let known = self.known;
        *self = Membership::new();
        known.then_some(Told { epoch: LEAVE_EPOCH, everything: false, owned: None })
    }
}

fn by_topic(partitions: &BTreeSet<Partition>) -> BTreeMap<Uuid, Vec<i32>> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(*topic).or_default().push(*partition);
    }
    topics
}

#[cfg(test)]
mod tests;
