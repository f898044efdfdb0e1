//! Members come, change and go, whichever protocol they speak: the steps that their requests have in common.

use std::sync::Arc;

use super::ConsumerGroup;
use super::assignment::Assignment;
use super::check::invalid;
use super::limits::{GROUP_SUBSCRIPTIONS_MAX, REGEXES_MAX};
use super::{reconcile, regexes};
use crate::answer::Refused;
use crate::context::Context;
use crate::record::{ConsumerMember, ConsumerPart, CurrentAssignment};

/// How a member stands to the group.
pub(super) enum Entry {
    /// It is new.
    Joins,
    /// It is in, at an epoch that it may have.
    Stays,
    /// It is in, but begins anew: it owns nothing any more.
    Returns,
    /// It is new, and takes the place of the static member of this id.
    Replaces(Arc<str>),
}

impl ConsumerGroup {
    /// Who was in the member's place before.
    pub(super) fn before(&self, entry: &Entry, member_id: &Arc<str>) -> Option<&ConsumerMember> {
        match entry {
            Entry::Joins => None,
            Entry::Stays | Entry::Returns => self.tables.members.get(member_id),
            Entry::Replaces(old_id) => self.tables.members.get(old_id),
        }
    }

    /// Takes a member in or its new description over, and leads it one step on; says whether it is to own something else now.
    pub(super) fn carry_out(
        &mut self,
        cx: &mut Context<'_>,
        entry: &Entry,
        member_id: &Arc<str>,
        described: Option<ConsumerMember>,
        owned: Option<&Assignment>,
    ) -> bool {
        let replaces = matches!(entry, Entry::Replaces(_));
        let before = self.before(entry, member_id).filter(|_| described.is_some() || replaces).cloned();
        match entry {
            Entry::Joins | Entry::Stays => {}
            Entry::Returns => self.begin_anew(cx, member_id, member_id),
            Entry::Replaces(old_id) => self.replace(cx, old_id, member_id),
        }
        let described = described.or_else(|| before.clone().filter(|_| replaces));
        let subscribes = described.is_some_and(|described| self.describe_anew(cx, member_id, before, described));
        if subscribes {
            self.raise_epoch(cx);
        }
        if self.epoch() > self.target_epoch() && self.may_assign(cx, member_id) {
            self.assign(cx);
        }
        self.reconcile(cx, member_id, owned)
    }

    pub(super) fn check_subscription(
        &self,
        before: Option<&ConsumerMember>,
        described: &ConsumerMember,
    ) -> Result<(), Refused> {
        let named_before = before.map_or(0, |before| before.subscribed_topic_names.len());
        let named = self.tables.subscriptions - named_before + described.subscribed_topic_names.len();
        if named > GROUP_SUBSCRIPTIONS_MAX && described.subscribed_topic_names.len() > named_before {
            return Err(invalid(format!(
                "All members of the group name {named} topics, the limit is {GROUP_SUBSCRIPTIONS_MAX}: a SubscribedTopicRegex takes less."
            )));
        }
        match &described.subscribed_topic_regex {
            Some(regex) if !self.tables.regex_users.contains_key(regex) => {
                if self.tables.regex_users.len() >= REGEXES_MAX {
                    return Err(invalid(format!(
                        "The members have {REGEXES_MAX} different SubscribedTopicRegex, which is the limit."
                    )));
                }
                regexes::compile(regex).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Takes a member's new description over; says whether others may be given other partitions by it.
    fn describe_anew(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &Arc<str>,
        before: Option<ConsumerMember>,
        described: ConsumerMember,
    ) -> bool {
        let changes = before.as_ref().is_none_or(|before| {
            before.subscribed_topic_names != described.subscribed_topic_names
                || before.subscribed_topic_regex != described.subscribed_topic_regex
                || before.server_assignor != described.server_assignor
        });
        let regex = described.subscribed_topic_regex.clone();
        let was_classic = before.as_ref().is_some_and(|before| before.classic.is_some());
        self.write(cx, ConsumerPart::Member { member_id: Arc::clone(member_id), value: Some(described) });
        if was_classic {
            // Its time to join or to sync ends, should it be a consumer member now.
            self.time_revocation(cx, member_id);
        }
        if let Some(old_regex) = before.and_then(|before| before.subscribed_topic_regex) {
            self.forget_unused(cx, &old_regex);
        }
        if let Some(regex) = regex.filter(|regex| !self.tables.regexes.contains_key(regex)) {
            self.resolve(cx, &regex);
        }
        changes
    }

    /// A member comes in place of `old_id`, which may be itself, and owns nothing; what was its share is given to it anew.
    fn begin_anew(&mut self, cx: &mut Context<'_>, old_id: &Arc<str>, member_id: &Arc<str>) {
        let assigned = self.tables.current_of(old_id).assigned.clone();
        if old_id != member_id {
            self.write(cx, ConsumerPart::Current { member_id: Arc::clone(old_id), value: None });
        }
        let value = Some(CurrentAssignment { assigned, ..CurrentAssignment::default() });
        self.write(cx, ConsumerPart::Current { member_id: Arc::clone(member_id), value });
        self.time_revocation(cx, member_id);
    }

    /// A static member is there again under another id; its description follows.
    fn replace(&mut self, cx: &mut Context<'_>, old_id: &Arc<str>, member_id: &Arc<str>) {
        let copy = Arc::clone;
        self.begin_anew(cx, old_id, member_id);
        if let Some(target) = self.tables.targets.get(old_id).cloned() {
            self.write(cx, ConsumerPart::Target { member_id: copy(old_id), value: None });
            self.write(cx, ConsumerPart::Target { member_id: copy(member_id), value: Some(target) });
        }
        self.write(cx, ConsumerPart::Member { member_id: copy(old_id), value: None });
        self.timers.remove(old_id);
    }

    /// Leads a member one step on; says whether it is to own something else now.
    fn reconcile(&mut self, cx: &mut Context<'_>, member_id: &Arc<str>, owned: Option<&Assignment>) -> bool {
        let Some(next) = self.next_step(member_id, owned) else { return false };
        let changed = next.assigned != self.tables.current_of(member_id).assigned;
        self.write(cx, ConsumerPart::Current { member_id: Arc::clone(member_id), value: Some(next) });
        self.time_revocation(cx, member_id);
        changed
    }

    /// What [`reconcile::next`] says of a member.
    pub(super) fn next_step(&self, member_id: &Arc<str>, owned: Option<&Assignment>) -> Option<CurrentAssignment> {
        let nothing = Assignment::new();
        let current = self.tables.current_of(member_id);
        let target = self.tables.targets.get(member_id).unwrap_or(&nothing);
        let owners = &self.tables.owners;
        let is_free = |topic: &_, partition| owners.get(&(*topic, partition)).is_none_or(|owner| owner == member_id);
        reconcile::next(current, target, self.target_epoch(), owned, is_free)
    }

    /// Takes a member out. The caller raises the epoch.
    pub(super) fn remove(&mut self, cx: &mut Context<'_>, member_id: &Arc<str>) {
        let copy = Arc::clone;
        if self.tables.current.contains_key(member_id) {
            self.write(cx, ConsumerPart::Current { member_id: copy(member_id), value: None });
        }
        if self.tables.targets.contains_key(member_id) {
            self.write(cx, ConsumerPart::Target { member_id: copy(member_id), value: None });
        }
        let regex = self.tables.members.get(member_id).and_then(|member| member.subscribed_topic_regex.clone());
        self.write(cx, ConsumerPart::Member { member_id: copy(member_id), value: None });
        if let Some(regex) = regex {
            self.forget_unused(cx, &regex);
        }
        self.timers.remove(member_id);
        self.idle_since_ms = Some(cx.now.wall_ms);
    }
}
