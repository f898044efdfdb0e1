//! All groups of one partition of `__consumer_offsets`: finds the group that a request means, makes and removes groups, keeps their time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::classic::ClassicGroup;
use crate::consumer::Matching;
use crate::context::{Context, Effects, Now, Ticket};
use crate::offsets::Offsets;
use crate::random::Random;
use crate::request::Request;
use crate::settings::Settings;
use crate::topics::Topics;

mod change_type;
mod consumer_heartbeat;
mod expiry;
mod listing;
mod load;
mod members;
mod requests;
mod room;
mod sweeps;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade_tests;

use members::Members;
use sweeps::Sweeps;

/// About what a group takes in memory beside its id, its members and its offsets.
const GROUP_BYTES: usize = 600;

/// How many looks one step may take where it is about all groups: the others on the core, and the shard's own deadlines and requests, have
/// their turn between. A group is a look, and so are each of its offsets and so much of its members as [`LOOK_BYTES`] says.
const LOOKS_PER_STEP_MAX: usize = 4_000;

/// About what one look takes in of a group's members.
const LOOK_BYTES: usize = 256;

/// The groups of one partition of `__consumer_offsets`.
///
/// It is made out of the partition's records by [`replay`](Shard::replay), and [started](Shard::start). From then on each step takes the
/// time and the topics as they are, and leaves [`Effects`]. It relies on its caller for this:
///
/// - Every durable record is replayed, in the order of the log, and none after the start. Until then only requests are handled that can
///   leave no records.
/// - It is started once, and again whenever requests were refused for a time, as after the partition took no records: members could not
///   be heard of, and have all their time anew.
/// - [Time](Now) never goes back from one step to the next, and no [`Ticket`] is given twice.
/// - [`next_deadline_ms`](Shard::next_deadline_ms) is asked after each step, for each may change it. [`on_time`](Shard::on_time) does
///   nothing where it comes too early; where it comes late, members have more time.
/// - The effects of steps are carried out in the order of the steps; if that fails, the shard is dropped, and another one made out of
///   the log.
pub struct Shard {
    settings: Arc<Settings>,
    random: Random,
    groups: Groups,
    matching: Matching,
}

/// By id, with the times at which they want to be looked at.
#[derive(Default)]
struct Groups {
    by_id: BTreeMap<Arc<str>, Group>,
    deadlines: Deadlines,
    /// Whose time has come is looked at from then on: a step takes a bounded number of them.
    on_time_from_ms: u64,
    /// About what all of them take in memory.
    bytes: usize,
    /// When to look for expired offsets.
    next_expiry_ms: Option<u64>,
    sweeps: Sweeps,
}

/// When each group wants to be looked at, in order.
type Deadlines = BTreeSet<(u64, Arc<str>)>;

struct Group {
    members: Members,
    offsets: Offsets,
    /// Its entry in the deadlines; may be earlier than need be, never later.
    scheduled_ms: Option<u64>,
    /// What of it is counted in the sum.
    counted_bytes: usize,
}

impl Shard {
    /// Without groups yet. Member ids come from `random`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, random: Random) -> Shard {
        Shard { settings, random, groups: Groups::default(), matching: Matching::default() }
    }

    /// Goes by other settings from now on.
    pub fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Takes a request. Its answer is among the effects of this step or of a later one.
    pub fn handle(&mut self, now: Now, topics: &dyn Topics, ticket: Ticket, request: Request) -> Effects {
        self.step(now, topics, |groups, cx| groups.handle(cx, ticket, request))
    }

    /// Does what time has come for.
    pub fn on_time(&mut self, now: Now, topics: &dyn Topics) -> Effects {
        self.step(now, topics, |groups, cx| groups.on_time(cx))
    }

    /// Topics have come, gone or grown: groups that read them share anew. What one step may not do is left to [`on_time`](Self::on_time).
    pub fn on_topics_changed(&mut self, now: Now, topics: &dyn Topics) -> Effects {
        self.step(now, topics, |groups, cx| {
            cx.matching.forget();
            groups.sweeps.begin_changed();
            groups.sweep(cx);
        })
    }

    /// Topics have been deleted: their offsets are forgotten. What one step may not do is left to [`on_time`](Self::on_time).
    pub fn on_topics_deleted(&mut self, now: Now, topics: &dyn Topics) -> Effects {
        self.step(now, topics, |groups, cx| {
            groups.sweeps.begin_deleted();
            groups.sweep(cx);
        })
    }

    /// When to call [`on_time`](Self::on_time) next, in milliseconds of [`Now::monotonic_ms`]. It may be past: then at once.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let first = self.groups.deadlines.first().map(|(at_ms, _)| self.groups.on_time_from_ms.max(*at_ms));
        first.into_iter().chain(self.groups.next_expiry_ms).chain(self.groups.sweeps.due_ms()).min()
    }

    /// How many groups there are.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.by_id.len()
    }

    fn step(&mut self, now: Now, topics: &dyn Topics, act: impl FnOnce(&mut Groups, &mut Context<'_>)) -> Effects {
        let mut effects = Effects::default();
        self.matching.begin_step();
        let (settings, random, matching) = (&*self.settings, &mut self.random, &mut self.matching);
        let mut cx = Context { now, settings, topics, random, effects: &mut effects, matching };
        act(&mut self.groups, &mut cx);
        effects
    }
}

impl Groups {
    fn on_time(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.monotonic_ms;
        let mut looks_left = LOOKS_PER_STEP_MAX;
        while looks_left > 0
            && let Some((at_ms, _)) = self.deadlines.first()
            && *at_ms <= now_ms
        {
            let (_, id) = self.deadlines.pop_first().expect("it was just seen");
            let group = self.by_id.get_mut(&id).expect("a group takes its deadline along");
            group.scheduled_ms = None;
            looks_left = looks_left.saturating_sub(group.looks());
            group.members.on_time(cx);
            self.downgrade_if_due(cx, &id);
            self.settle(&id, now_ms);
        }
        // What is left is due at once, in a step of its own.
        self.on_time_from_ms = now_ms + 1;
        if self.next_expiry_ms.is_none_or(|at_ms| at_ms <= now_ms) {
            self.sweeps.begin_expiry();
            self.next_expiry_ms = Some(now_ms.saturating_add(cx.settings.expiry_interval_ms));
        }
        self.sweep(cx);
    }

    /// The group, made if it is not there.
    fn group(&mut self, cx: &Context<'_>, id: &Arc<str>) -> &mut Group {
        self.by_id.entry(Arc::clone(id)).or_insert_with(|| Group::new(Arc::clone(id), cx.now.wall_ms))
    }

    /// Takes account of what a step has changed in a group: its next deadline, its size; one that was never more than asked for goes.
    fn settle(&mut self, id: &Arc<str>, now_ms: u64) {
        let Some(group) = self.by_id.get_mut(id) else { return };
        if group.was_never_there() {
            return self.remove(id);
        }
        let bytes = own_bytes(id) + group.members.bytes() + group.offsets.bytes();
        self.bytes = self.bytes - group.counted_bytes + bytes;
        group.counted_bytes = bytes;
        group.schedule(&mut self.deadlines, id, now_ms);
    }

    /// Takes account of a step that has changed nothing but deadlines.
    fn settle_deadline(&mut self, id: &Arc<str>, now_ms: u64) {
        let Some(group) = self.by_id.get_mut(id) else { return };
        group.schedule_if_earlier(&mut self.deadlines, id, now_ms);
    }

    /// Takes account of a step that has changed nothing but offsets and deadlines; perhaps in a group that was made for it.
    fn settle_offsets(&mut self, id: &Arc<str>, before_bytes: usize, now_ms: u64) {
        let Some(group) = self.by_id.get_mut(id) else { return };
        if group.was_never_there() {
            // Everything in the commit was refused.
            return self.remove(id);
        }
        let is_new = group.counted_bytes == 0;
        let after_bytes = group.offsets.bytes() + if is_new { own_bytes(id) } else { 0 };
        group.counted_bytes = group.counted_bytes + after_bytes - before_bytes;
        self.bytes = self.bytes + after_bytes - before_bytes;
        group.schedule_if_earlier(&mut self.deadlines, id, now_ms);
    }

    fn remove(&mut self, id: &Arc<str>) {
        let Some(group) = self.by_id.remove(id) else { return };
        self.bytes -= group.counted_bytes;
        if let Some(at_ms) = group.scheduled_ms {
            self.deadlines.remove(&(at_ms, Arc::clone(id)));
        }
    }
}

/// About what a group takes in memory beside its members and its offsets.
fn own_bytes(id: &str) -> usize {
    GROUP_BYTES + id.len()
}

impl Group {
    fn new(id: Arc<str>, wall_ms: i64) -> Group {
        Group {
            members: Members::Classic(ClassicGroup::new(id, wall_ms)),
            offsets: Offsets::default(),
            scheduled_ms: None,
            counted_bytes: 0,
        }
    }

    /// Whether the log may tell of its members.
    fn was_stored(&self) -> bool {
        match &self.members {
            Members::Classic(group) => group.generation > 0,
            Members::Consumer(group) => !group.is_unwritten(),
        }
    }

    /// Has its entry in the deadlines say when it wants to be looked at next.
    fn schedule(&mut self, deadlines: &mut Deadlines, id: &Arc<str>, now_ms: u64) {
        let next_ms = self.next_deadline_ms(now_ms);
        if next_ms == self.scheduled_ms {
            return;
        }
        if let Some(at_ms) = self.scheduled_ms {
            deadlines.remove(&(at_ms, Arc::clone(id)));
        }
        deadlines.extend(next_ms.map(|at_ms| (at_ms, Arc::clone(id))));
        self.scheduled_ms = next_ms;
    }

    /// As [`schedule`](Self::schedule), after what mostly makes deadlines later, as each heartbeat does: then the entry stays, and the group
    /// is found to have nothing to do when that comes.
    fn schedule_if_earlier(&mut self, deadlines: &mut Deadlines, id: &Arc<str>, now_ms: u64) {
        if let Some(next_ms) = self.next_deadline_ms(now_ms)
            && self.scheduled_ms.is_none_or(|at_ms| next_ms < at_ms)
        {
            self.schedule(deadlines, id, now_ms);
        }
    }

    /// When it wants to be looked at next. What is past is due in the next step: it would be due again at once, for ever.
    fn next_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        self.members.next_deadline_ms().map(|at_ms| at_ms.max(now_ms + 1))
    }

    /// What a look at all of its members counts as.
    fn looks(&self) -> usize {
        1 + self.members.bytes() / LOOK_BYTES
    }

    /// Whether nothing of it was ever stored, nor will be.
    fn was_never_there(&self) -> bool {
        !self.was_stored() && self.members.is_empty() && self.offsets.is_empty()
    }
}
