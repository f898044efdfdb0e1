//! Downgrade: a group of the consumer protocol becomes classic once its last consumer member has gone (KIP-848, "Downgrade").
//!
//! Its classic members are left. They join again at once, and one of them makes the assignment.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmill_net::wire::embedded_protocol::PROTOCOL_TYPE;

use super::{ConsumerGroup, embedded};
use crate::classic::{ClassicGroup, Member, State};
use crate::context::Context;
use crate::record::ConsumerMember;
use crate::request::Client;

impl ConsumerGroup {
    /// Whether only members of the classic protocol are in it, and may be among themselves.
    pub(crate) fn is_due_for_downgrade(&self, cx: &Context<'_>) -> bool {
        let members = self.tables.members.len();
        cx.settings.migration.allows_downgrade()
            && members > 0
            && members == self.tables.classic_members
            && members <= cx.settings.classic_members_max
    }

    /// The classic group that it becomes; its records are left.
    pub(crate) fn downgraded(&self, cx: &mut Context<'_>) -> ClassicGroup {
        cx.effects.records.extend(self.tombstones());
        let mut group = ClassicGroup::new(Arc::clone(&self.id), cx.now.wall_ms);
        // None of them has heard of a later generation than this.
        group.generation = self.tables.current.values().map(|current| current.member_epoch).max().unwrap_or(0);
        group.protocol_type = Some(Arc::from(PROTOCOL_TYPE));
        for (id, member) in self.classic_members(cx) {
            group.insert_member(id, member);
        }
        group.protocol = group.vote();
        group.state = State::Stable;
        // No member made this assignment: a record without a leader has a load begin with a rebalance as well.
        group.store(cx);
        tracing::debug!(
            group = &*self.id,
            members = group.members.len(),
            "only classic members are left: it is a classic group"
        );
        group.prepare_rebalance(cx);
        group
    }

    /// The classic group that one without members becomes when a classic member comes; its records are left. It goes on being empty since
    /// it was, whatever becomes of who came: by that its offsets expire.
    pub(crate) fn downgraded_empty(&self, cx: &mut Context<'_>) -> ClassicGroup {
        cx.effects.records.extend(self.tombstones());
        let empty_since_ms = self.idle_since_ms().unwrap_or(cx.now.wall_ms);
        let mut group = ClassicGroup::new(Arc::clone(&self.id), empty_since_ms);
        group.generation = self.epoch();
        group.protocol_type = Some(Arc::from(PROTOCOL_TYPE));
        if !self.is_unwritten() {
            group.store(cx);
        }
        group
    }

    fn classic_members(&self, cx: &Context<'_>) -> BTreeMap<Arc<str>, Member> {
        let converted = |(id, member): (&Arc<str>, &ConsumerMember)| {
            let classic = member.classic.clone().unwrap_or_default();
            let current = self.tables.current_of(id);
            let told = classic.protocols.first().map(|first| first.metadata.clone()).unwrap_or_default();
            let converted = Member {
                instance_id: member.instance_id.clone(),
                client: Client { id: Arc::clone(&member.client_id), host: Arc::clone(&member.client_host) },
                session_timeout_ms: classic.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                protocols: classic.protocols,
                assignment: embedded::assignment_bytes(&current.assigned, &told, cx.topics),
                session_ends_ms: cx.after_ms(classic.session_timeout_ms),
                is_new: false,
                joining: None,
                syncing: None,
            };
            (Arc::clone(id), converted)
        };
        self.tables.members.iter().map(converted).collect()
    }
}
