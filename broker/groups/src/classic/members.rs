//! Members come and go: what both mean for the group's tables and for whoever is parked.

use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::ErrorCode;

use super::not_before::NotBefore;
use super::size::{member_bytes, pending_bytes};
use super::{ClassicGroup, Member, State};
use crate::answer::{Answer, JoinRefused};
use crate::context::{Context, Ticket};
use crate::request::{JoinGroup, OfferedProtocol};

/// How long a member that has never been in a generation may stay parked: its client may have given up long ago.
const NEW_MEMBER_PARKED_MAX_MS: i32 = 300_000;

impl ClassicGroup {
    /// Gives out an id to join with (KIP-394), until its time is over.
    pub(super) fn give_id(&mut self, id: Arc<str>, until_ms: u64) {
        self.expiry.or_at(until_ms);
        self.bytes += pending_bytes(&id);
        self.pending.insert(id, until_ms);
    }

    /// Whoever got this id needs it no more. False if nobody did.
    pub(super) fn take_id(&mut self, id: &str) -> bool {
        let was_given = self.pending.remove(id).is_some();
        self.bytes -= if was_given { pending_bytes(id) } else { 0 };
        was_given
    }

    /// Puts a new member in, with its JoinGroup parked.
    pub(super) fn add_member(&mut self, cx: &Context<'_>, id: Arc<str>, ticket: Ticket, request: &JoinGroup) {
        self.take_id(&id);
        self.protocol_type.get_or_insert_with(|| Arc::clone(&request.protocol_type));
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::clone(&request.protocol_type));
        }
        self.leader.get_or_insert_with(|| Arc::clone(&id));
        let member = Member {
            instance_id: request.instance_id.clone(),
            client: request.client.clone(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            session_ends_ms: cx.after_ms(NEW_MEMBER_PARKED_MAX_MS),
            is_new: true,
            joining: Some(ticket),
            syncing: None,
        };
        assert!(!self.members.contains_key(&id), "a new member's id is new");
        self.insert_member(id, member);
    }

    /// The one way for a member to come in.
    pub(crate) fn insert_member(&mut self, id: Arc<str>, member: Member) {
        self.supporters.add(&member.protocols);
        self.parked_joins += usize::from(member.joining.is_some());
        self.bytes += member_bytes(&id, &member);
        self.expiry.or_at(member.session_ends_ms);
        let instance_id = member.instance_id.clone();
        // A stored group may name one twice: what a log says is not asserted.
        if let Some(before) = self.members.insert(Arc::clone(&id), member) {
            self.supporters.remove(&before.protocols);
            self.parked_joins -= usize::from(before.joining.is_some());
            self.bytes -= member_bytes(&id, &before);
            self.release_static_name(&id, &before);
        }
        if let Some(instance_id) = instance_id {
            self.static_members.insert(instance_id, id);
        }
    }

    /// A member has its static name no longer, if no other has taken it over.
    fn release_static_name(&mut self, id: &Arc<str>, member: &Member) {
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id) == Some(id)
        {
            self.static_members.remove(instance_id);
        }
    }

    /// Takes over what a member says of itself when it joins again.
    pub(super) fn update_member(&mut self, cx: &Context<'_>, request: &JoinGroup) {
        let member = self.members.get_mut(&request.member_id).expect("the caller has found it");
        self.bytes -= member_bytes(&request.member_id, member);
        member.client = request.client.clone();
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        if member.protocols != request.protocols {
            self.supporters.remove(&member.protocols);
            self.supporters.add(&request.protocols);
            member.protocols.clone_from(&request.protocols);
        }
        // One that is new has been given its time: its rebalance may take longer than a session.
        if !member.is_new {
            member.session_ends_ms = cx.after_ms(request.session_timeout_ms);
        }
        self.bytes += member_bytes(&request.member_id, member);
        self.expiry.or_at(member.session_ends_ms);
    }

    /// Parks a member's JoinGroup. One that was parked before has a client that no longer waits for it.
    pub(super) fn park_join(&mut self, cx: &mut Context<'_>, id: &str, ticket: Ticket) {
        let member = self.members.get_mut(id).expect("the caller has found it");
        match member.joining.replace(ticket) {
            Some(older) => refuse_join(cx, older, ErrorCode::RebalanceInProgress, id),
            None => self.parked_joins += 1,
        }
    }

    /// A member has shown that it lives.
    pub(super) fn touch(&mut self, cx: &Context<'_>, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.session_ends_ms = cx.after_ms(member.session_timeout_ms);
            self.expiry.or_at(member.session_ends_ms);
        }
    }

    /// Takes a member out; whatever it has parked is refused.
    pub(super) fn remove_member(&mut self, cx: &mut Context<'_>, id: &str) {
        let Some((id, member)) = self.members.remove_entry(id) else { return };
        self.supporters.remove(&member.protocols);
        self.parked_joins -= usize::from(member.joining.is_some());
        self.bytes -= member_bytes(&id, &member);
        self.release_static_name(&id, &member);
        self.unsynced.remove(&id);
        answer_parked(cx, &id, &member, ErrorCode::UnknownMemberId);
        if self.leader.as_ref() == Some(&id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// A static member has come back as a new process: the new id stands for it from now on, and the old one is fenced.
    pub(super) fn replace_static_member(&mut self, cx: &mut Context<'_>, instance: &Arc<str>, new: Arc<str>) {
        let old = self.static_members.insert(Arc::clone(instance), Arc::clone(&new)).expect("the caller has found it");
        let mut member = self.members.remove(&old).expect("static names belong to members");
        self.bytes -= member_bytes(&old, &member);
        self.bytes += member_bytes(&new, &member);
        // It waits no more, so that its session counts.
        self.expiry.or_at(member.session_ends_ms);
        answer_parked(cx, &old, &member, ErrorCode::FencedInstanceId);
        self.parked_joins -= usize::from(member.joining.is_some());
        (member.joining, member.syncing) = (None, None);
        if self.leader.as_ref() == Some(&old) {
            self.leader = Some(Arc::clone(&new));
        }
        if self.unsynced.remove(&old) {
            self.unsynced.insert(Arc::clone(&new));
        }
        self.members.insert(new, member);
    }

    /// The group was upgraded, and finds its members when they join again: whatever they have parked is refused.
    pub(crate) fn refuse_parked(&self, cx: &mut Context<'_>) {
        for (id, member) in &self.members {
            answer_parked(cx, id, member, ErrorCode::RebalanceInProgress);
        }
    }

    /// What time has come for: sessions that ended, and ids that nobody joined with.
    pub(super) fn expire_members(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.monotonic_ms;
        if !self.expiry.has_come(now_ms) {
            return;
        }
        let lapsed: Vec<Arc<str>> =
            self.pending.iter().filter(|(_, ends_ms)| **ends_ms <= now_ms).map(|(id, _)| Arc::clone(id)).collect();
        for id in &lapsed {
            self.take_id(id);
        }
        let gone: Vec<Arc<str>> = self
            .members
            .iter()
            .filter(|(_, member)| member.ends_ms().is_some_and(|ends_ms| ends_ms <= now_ms))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for id in &gone {
            tracing::debug!(group = %self.id, member = %id, "was silent for longer than its session timeout and is out of the group");
            self.remove_member(cx, id);
        }
        let sessions = self.members.values().filter_map(Member::ends_ms);
        self.expiry = NotBefore::of(sessions.chain(self.pending.values().copied()));
        if !gone.is_empty() || !lapsed.is_empty() {
            self.go_on_without(cx, !gone.is_empty());
        }
    }

    /// Members or ids have gone: those that are left share anew, or a rebalance that waited for them may end.
    pub(super) fn go_on_without(&mut self, cx: &mut Context<'_>, members_went: bool) {
        match self.state {
            State::Stable | State::CompletingRebalance if members_went => self.prepare_rebalance(cx),
            State::PreparingRebalance { .. } => self.complete_join_if_all_are_there(cx),
            _ => {}
        }
    }
}

impl Member {
    /// It has the whole time before it is taken for gone.
    pub(super) fn begin_session(&mut self, cx: &Context<'_>) {
        self.session_ends_ms =
            cx.after_ms(if self.is_new { NEW_MEMBER_PARKED_MAX_MS } else { self.session_timeout_ms });
    }

    /// When it is taken for gone; never while it waits for an answer, unless it is new.
    pub(super) fn ends_ms(&self) -> Option<u64> {
        let waits = (self.joining.is_some() && !self.is_new) || self.syncing.is_some();
        (!waits).then_some(self.session_ends_ms)
    }

    /// What it told for a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.offered(protocol).map(|each| each.metadata.clone()).unwrap_or_default()
    }

    /// A protocol, if it is one of those that it offered.
    pub(crate) fn offered(&self, protocol: &str) -> Option<&OfferedProtocol> {
        self.protocols.iter().find(|each| &*each.name == protocol)
    }
}

/// Refuses a JoinGroup.
pub(super) fn refuse_join(cx: &mut Context<'_>, ticket: Ticket, code: ErrorCode, member_id: &str) {
    cx.answer(ticket, Answer::Join(Err(JoinRefused { code, member_id: member_id.into() })));
}

fn answer_parked(cx: &mut Context<'_>, id: &str, member: &Member, code: ErrorCode) {
    if let Some(ticket) = member.joining {
        refuse_join(cx, ticket, code, id);
    }
    if let Some(ticket) = member.syncing {
        cx.answer(ticket, Answer::Sync(Err(code)));
    }
}
