//! When members are taken for gone: they were silent for too long, or took too long to give partitions up.
//!
//! Moments are not stored: after a load everybody has the whole time again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ConsumerGroup, reconcile};
use crate::context::Context;
use crate::record::ConsumerPart;

/// The moments of all members, in milliseconds of the monotonic clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    members: BTreeMap<Arc<str>, Deadlines>,
    /// The earlier of each member's two, in order.
    order: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Deadlines {
    /// Its silence ends by then.
    session_ms: Option<u64>,
    /// It has given up what it must by then.
    rebalance_ms: Option<u64>,
}

impl Deadlines {
    fn first(self) -> Option<u64> {
        self.session_ms.into_iter().chain(self.rebalance_ms).min()
    }
}

impl Timers {
    fn change(&mut self, member_id: &Arc<str>, change: impl FnOnce(&mut Deadlines)) {
        let deadlines = self.members.entry(Arc::clone(member_id)).or_default();
        let before = deadlines.first();
        change(deadlines);
        let after = deadlines.first();
        if before != after {
            before.map(|at| self.order.remove(&(at, Arc::clone(member_id))));
            after.map(|at| self.order.insert((at, Arc::clone(member_id))));
        }
    }

    pub(super) fn set_session(&mut self, member_id: &Arc<str>, ends_ms: u64) {
        self.change(member_id, |deadlines| deadlines.session_ms = Some(ends_ms));
    }

    pub(super) fn set_rebalance(&mut self, member_id: &Arc<str>, ends_ms: Option<u64>) {
        self.change(member_id, |deadlines| deadlines.rebalance_ms = ends_ms);
    }

    /// As [`Timers::set_rebalance`], unless its time runs already.
    pub(super) fn begin_rebalance(&mut self, member_id: &Arc<str>, ends_ms: u64) {
        self.change(member_id, |deadlines| {
            deadlines.rebalance_ms.get_or_insert(ends_ms);
        });
    }

    pub(super) fn remove(&mut self, member_id: &Arc<str>) {
        if let Some(at) = self.members.remove(member_id).and_then(Deadlines::first) {
            self.order.remove(&(at, Arc::clone(member_id)));
        }
    }

    fn next_ms(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    fn due(&self, now_ms: u64) -> Vec<Arc<str>> {
        self.order.iter().take_while(|(at, _)| *at <= now_ms).map(|(_, member_id)| Arc::clone(member_id)).collect()
    }
}

impl ConsumerGroup {
    /// When [`ConsumerGroup::on_time`] has something to do next.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        self.timers.next_ms().into_iter().chain(self.regexes_due_ms).min()
    }

    /// Ends the membership of those whose time is over, and matches regular expressions that waited for it.
    pub(crate) fn on_time(&mut self, cx: &mut Context<'_>) {
        let gone = self.timers.due(cx.now.monotonic_ms);
        for member_id in &gone {
            tracing::debug!(
                group = &*self.id,
                member = &**member_id,
                "a member was silent or gave nothing up in its time: it is out"
            );
            self.remove(cx, member_id);
        }
        let matched = self.match_due_regexes(cx);
        if !gone.is_empty() || matched {
            self.raise_epoch(cx);
        }
    }

    /// After the last record of a load, or after members were refused for a time: they have their whole time from now on, and topics may have
    /// changed meanwhile.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        self.drop_orphans(cx);
        self.idle_since_ms = Some(cx.now.wall_ms);
        let members: Vec<Arc<str>> = self.tables.members.keys().cloned().collect();
        for member_id in &members {
            self.start_session(cx, member_id);
            // One of the classic protocol hears once more that it must join.
            self.timers.set_rebalance(member_id, None);
            self.time_revocation(cx, member_id);
        }
        self.on_topics_changed(cx);
    }

    /// The member was heard of.
    pub(super) fn start_session(&mut self, cx: &Context<'_>, member_id: &Arc<str>) {
        let timeout_ms = match self.tables.members.get(member_id).and_then(|member| member.classic.as_ref()) {
            Some(classic) => classic.session_timeout_ms,
            None => cx.settings.consumer_session_timeout_ms,
        };
        self.timers.set_session(member_id, cx.after_ms(timeout_ms));
    }

    /// Starts or stops the time that a member has to give partitions up; to be called whenever its assignment changed. One of the classic
    /// protocol has a time to join and to sync instead.
    pub(super) fn time_revocation(&mut self, cx: &Context<'_>, member_id: &Arc<str>) {
        if self.tables.members.get(member_id).is_some_and(|member| member.classic.is_some()) {
            return;
        }
        let revokes = self.tables.current_of(member_id).state == reconcile::UNREVOKED;
        let member = self.tables.members.get(member_id).filter(|_| revokes);
        let ends_ms = member.map(|member| cx.after_ms(member.rebalance_timeout_ms));
        self.timers.set_rebalance(member_id, ends_ms);
    }

    /// Assignments without a member hold partitions forever. No step writes such; a log that lost records may have them.
    fn drop_orphans(&mut self, cx: &mut Context<'_>) {
        let known = |id: &Arc<str>| self.tables.members.contains_key(id);
        let current: Vec<Arc<str>> = self.tables.current.keys().filter(|id| !known(id)).cloned().collect();
        let targets: Vec<Arc<str>> = self.tables.targets.keys().filter(|id| !known(id)).cloned().collect();
        for member_id in current {
            self.write(cx, ConsumerPart::Current { member_id, value: None });
        }
        for member_id in targets {
            self.write(cx, ConsumerPart::Target { member_id, value: None });
        }
    }
}
