//! The tables of a group: each record sets or removes one entry, and what follows from it.
//!
//! Records may come in any order that a compacted log can have: an assignment before its member, a removal of what was never there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tables;
use super::assignment::{Assignment, normal, pairs};
use crate::record::{ConsumerEpoch, ConsumerMember, ConsumerPart, CurrentAssignment, ResolvedRegex};

impl Tables {
    /// Takes a record's content over.
    pub(super) fn apply(&mut self, part: &ConsumerPart) {
        match part {
            // No coordinator counts below 0. Whatever wrote that, members could not be led to an epoch there.
            ConsumerPart::Epoch(value) => {
                self.epoch = value.map(|value| ConsumerEpoch { epoch: value.epoch.max(0), ..value });
            }
            ConsumerPart::TargetEpoch(value) => self.target_epoch = value.map(|epoch| epoch.max(0)),
            ConsumerPart::Member { member_id, value } => self.set_member(member_id, value.as_ref()),
            ConsumerPart::Target { member_id, value } => self.set_target(member_id, value.as_ref().map(normal)),
            ConsumerPart::Current { member_id, value } => self.set_current(member_id, value.as_ref()),
            ConsumerPart::Regex { regex, value } => self.set_regex(regex, value.clone()),
        }
    }

    fn set_member(&mut self, member_id: &Arc<str>, value: Option<&ConsumerMember>) {
        if let Some(old) = self.members.remove(member_id) {
            self.forget_member(member_id, &old);
        }
        let Some(value) = value else { return };
        let mut member = value.clone();
        for name in &mut member.subscribed_topic_names {
            // One copy of a name serves all members.
            if let Some((known, _)) = self.subscribers.get_key_value(name) {
                *name = Arc::clone(known);
            }
            *self.subscribers.entry(Arc::clone(name)).or_default() += 1;
        }
        self.subscriptions += member.subscribed_topic_names.len();
        if let Some(regex) = &member.subscribed_topic_regex {
            *self.regex_users.entry(Arc::clone(regex)).or_default() += 1;
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(Arc::clone(instance_id), Arc::clone(member_id));
        }
        if let Some(classic) = &member.classic {
            self.classic_members += 1;
            self.supporters.add(&classic.protocols);
        }
        self.bytes += bytes::of_member(member_id, &member);
        self.members.insert(Arc::clone(member_id), member);
    }

    fn forget_member(&mut self, member_id: &Arc<str>, old: &ConsumerMember) {
        for name in &old.subscribed_topic_names {
            count_down(&mut self.subscribers, name);
        }
        self.subscriptions -= old.subscribed_topic_names.len();
        if let Some(regex) = &old.subscribed_topic_regex {
            count_down(&mut self.regex_users, regex);
        }
        if let Some(instance_id) = &old.instance_id
            && self.static_members.get(instance_id) == Some(member_id)
        {
            self.static_members.remove(instance_id);
        }
        if let Some(classic) = &old.classic {
            self.classic_members -= 1;
            self.supporters.remove(&classic.protocols);
        }
        self.bytes -= bytes::of_member(member_id, old);
    }

    fn set_target(&mut self, member_id: &Arc<str>, value: Option<Assignment>) {
        self.bytes += value.as_ref().map_or(0, bytes::of_assignment);
        let old = match value {
            Some(value) => self.targets.insert(Arc::clone(member_id), value),
            None => self.targets.remove(member_id),
        };
        self.bytes -= old.as_ref().map_or(0, bytes::of_assignment);
    }

    fn set_regex(&mut self, regex: &Arc<str>, value: Option<ResolvedRegex>) {
        self.bytes += value.as_ref().map_or(0, bytes::of_topics);
        let old = match value {
            Some(value) => self.regexes.insert(Arc::clone(regex), value),
            None => self.regexes.remove(regex),
        };
        self.bytes -= old.as_ref().map_or(0, bytes::of_topics);
    }

    fn set_current(&mut self, member_id: &Arc<str>, value: Option<&CurrentAssignment>) {
        if let Some(old) = self.current.remove(member_id) {
            self.bytes -= bytes::of_current(&old);
            for (topic, partition) in pairs(&old.assigned).chain(pairs(&old.revoking)) {
                if self.owners.get(&(*topic, partition)) == Some(member_id) {
                    self.owners.remove(&(*topic, partition));
                }
            }
        }
        let Some(value) = value else { return };
        let value =
            CurrentAssignment { assigned: normal(&value.assigned), revoking: normal(&value.revoking), ..value.clone() };
        for (topic, partition) in pairs(&value.assigned).chain(pairs(&value.revoking)) {
            self.owners.insert((*topic, partition), Arc::clone(member_id));
        }
        self.bytes += bytes::of_current(&value);
        self.current.insert(Arc::clone(member_id), value);
    }

    /// What removes every entry. Members come after their parts, the group's epoch comes last.
    pub(super) fn tombstones(&self) -> Vec<ConsumerPart> {
        let copy = Arc::clone;
        let current = self.current.keys().map(|id| ConsumerPart::Current { member_id: copy(id), value: None });
        let targets = self.targets.keys().map(|id| ConsumerPart::Target { member_id: copy(id), value: None });
        let target_epoch = self.target_epoch.map(|_| ConsumerPart::TargetEpoch(None));
        let members = self.members.keys().map(|id| ConsumerPart::Member { member_id: copy(id), value: None });
        let regexes = self.regexes.keys().map(|regex| ConsumerPart::Regex { regex: copy(regex), value: None });
        let epoch = self.epoch.map(|_| ConsumerPart::Epoch(None));
        current.chain(targets).chain(target_epoch).chain(members).chain(regexes).chain(epoch).collect()
    }
}

fn count_down(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// About what entries take in memory, with the allocator's share.
mod bytes {
    use std::sync::Arc;

    use super::super::assignment::{Assignment, count};
    use crate::record::{ConsumerMember, CurrentAssignment, ResolvedRegex};
    use crate::request::OfferedProtocol;

    /// A member's entries in all tables, its timers, and its names for itself.
    const MEMBER: usize = 600;
    /// A topic in an assignment.
    const TOPIC: usize = 60;
    /// A partition in an assignment.
    const PARTITION: usize = 4;
    /// The entry that says who owns a partition.
    const OWNER: usize = 60;
    /// A reference to a name that others may have as well.
    const NAME: usize = 20;

    pub(super) fn of_member(member_id: &str, member: &ConsumerMember) -> usize {
        let told = [&member.instance_id, &member.rack_id, &member.subscribed_topic_regex, &member.server_assignor];
        let told: usize = told.into_iter().flatten().map(|text| text.len()).sum();
        let names: usize = member.subscribed_topic_names.iter().map(|name| NAME + name.len()).sum();
        let protocols = member.classic.iter().flat_map(|classic| &classic.protocols);
        let protocols: usize = protocols.map(OfferedProtocol::bytes).sum();
        MEMBER + 2 * member_id.len() + member.client_id.len() + member.client_host.len() + told + names + protocols
    }

    pub(super) fn of_assignment(set: &Assignment) -> usize {
        set.len() * TOPIC + count(set) * PARTITION
    }

    pub(super) fn of_current(current: &CurrentAssignment) -> usize {
        let owned = count(&current.assigned) + count(&current.revoking);
        of_assignment(&current.assigned) + of_assignment(&current.revoking) + owned * OWNER
    }

    pub(super) fn of_topics(resolved: &ResolvedRegex) -> usize {
        resolved.topics.iter().map(|topic: &Arc<str>| NAME + topic.len()).sum()
    }
}
