//! A group as a record, and back.

use std::sync::Arc;

use super::not_before::NotBefore;
use super::{ClassicGroup, Member, State};
use crate::context::Context;
use crate::record::{self, Record};
use crate::request::{Client, OfferedProtocol};

impl ClassicGroup {
    /// Leaves the record of the group as it is now.
    pub(crate) fn store(&self, cx: &mut Context<'_>) {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let member = |(id, member): (&Arc<str>, &Member)| record::ClassicMember {
            member_id: Arc::clone(id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client.id),
            client_host: Arc::clone(&member.client.host),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        };
        let value = record::StoredGroup {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_ms: self.state_ms,
            members: self.members.iter().map(member).collect(),
        };
        cx.effects.records.push(Record::Classic { group: Arc::clone(&self.id), value: Some(value) });
    }

    /// The group that a record says. Its members have all the time of a session from [`start`](Self::start) on.
    pub(crate) fn from_stored(id: Arc<str>, stored: &record::StoredGroup) -> ClassicGroup {
        let mut group = ClassicGroup::new(id, stored.state_ms);
        group.generation = stored.generation;
        group.protocol_type = (!stored.protocol_type.is_empty()).then(|| Arc::clone(&stored.protocol_type));
        group.protocol.clone_from(&stored.protocol);
        group.leader.clone_from(&stored.leader);
        let chosen = stored.protocol.clone().unwrap_or_default();
        for member in &stored.members {
            let loaded = Member {
                instance_id: member.instance_id.clone(),
                client: Client { id: Arc::clone(&member.client_id), host: Arc::clone(&member.client_host) },
                session_timeout_ms: member.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                // What else it offered is not stored: until it joins again it knows this one.
                protocols: vec![OfferedProtocol { name: Arc::clone(&chosen), metadata: member.subscription.clone() }],
                assignment: member.assignment.clone(),
                session_ends_ms: 0,
                is_new: false,
                joining: None,
                syncing: None,
            };
            group.insert_member(Arc::clone(&member.member_id), loaded);
        }
        group.state = if group.members.is_empty() { State::Empty } else { State::Stable };
        group
    }

    /// The group was loaded, or its members were refused for a time: their sessions begin now, and so does the time that others have for them.
    /// One that was downgraded and has had no leader yet needs one.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        self.expiry = NotBefore::of(self.pending.values().copied());
        for member in self.members.values_mut() {
            member.begin_session(cx);
            self.expiry.or_at(member.session_ends_ms);
        }
        self.wait_anew(cx);
        if self.state == State::Stable && self.leader.is_none() {
            self.prepare_rebalance(cx);
        }
    }
}
