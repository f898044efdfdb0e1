//! JoinGroup: a member comes, or comes back, and waits for the rebalance to end.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use super::members::refuse_join;
use super::{ClassicGroup, Member, State};
use crate::answer::{Answer, Joined, JoinedMember};
use crate::context::{Context, Ticket};
use crate::request::{JoinGroup, OfferedProtocol, PROTOCOLS_MAX};

impl ClassicGroup {
    /// Answers at once, or parks the request until the rebalance ends.
    pub(crate) fn join(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinGroup) {
        if let Err(code) = self.check_join(cx, request) {
            return refuse_join(cx, ticket, code, &request.member_id);
        }
        match &request.instance_id {
            Some(instance) if request.member_id.is_empty() => self.join_static(cx, ticket, request, instance),
            None if request.member_id.is_empty() => self.join_new(cx, ticket, request),
            _ => self.join_again(cx, ticket, request),
        }
    }

    fn check_join(&self, cx: &Context<'_>, request: &JoinGroup) -> Result<(), ErrorCode> {
        let settings = cx.settings;
        let timeouts = settings.session_timeout_min_ms..=settings.session_timeout_max_ms;
        if !timeouts.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        let is_known = self.members.contains_key(&request.member_id) || self.pending.contains_key(&request.member_id);
        let replaces = request.instance_id.as_ref().is_some_and(|instance| self.static_members.contains_key(instance));
        if !is_known && !replaces && self.members.len() + self.pending.len() >= settings.classic_members_max {
            return Err(ErrorCode::GroupMaxSizeReached);
        }
        let offered = &request.protocols;
        if request.protocol_type.is_empty() || offered.is_empty() || offered.len() > PROTOCOLS_MAX {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let others_agree = self.members.is_empty()
            || (self.protocol_type.as_ref() == Some(&request.protocol_type)
                && offered.iter().any(|protocol| self.all_know(&protocol.name)));
        match others_agree {
            true => Ok(()),
            false => Err(ErrorCode::InconsistentGroupProtocol),
        }
    }

    /// Whether every member can follow a protocol.
    pub(super) fn all_know(&self, protocol: &str) -> bool {
        let knows = |member: &Member| member.offered(protocol).is_some();
        let count = self.supporters.count(protocol);
        debug_assert_eq!(count, self.members.values().filter(|member| knows(member)).count(), "{protocol}");
        count == self.members.len()
    }

    fn join_new(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinGroup) {
        let id = new_member_id(cx, &request.client.id);
        if request.knows_member_id_required {
            // KIP-394: a client whose answer is lost would come as yet another member; with an id of its own it comes as the same.
            self.give_id(Arc::clone(&id), cx.after_ms(request.session_timeout_ms));
            return refuse_join(cx, ticket, ErrorCode::MemberIdRequired, &id);
        }
        self.add_member(cx, id, ticket, request);
        self.rebalance_for_join(cx);
    }

    fn join_static(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinGroup, instance: &Arc<str>) {
        let id = new_member_id(cx, instance);
        if !self.static_members.contains_key(instance) {
            self.add_member(cx, id, ticket, request);
            return self.rebalance_for_join(cx);
        }
        let leader_before = self.leader.clone().unwrap_or_default();
        self.replace_static_member(cx, instance, Arc::clone(&id));
        let request = JoinGroup { member_id: Arc::clone(&id), ..request.clone() };
        self.update_member(cx, &request);
        if self.state == State::Stable && self.vote() == self.protocol {
            // Nothing has changed for anybody else, so that a restart of this process moves no partition.
            self.store(cx);
            let is_leader = self.leader.as_ref() == Some(&id);
            let skips = is_leader && request.knows_skip_assignment;
            // An older client must not find itself named: it would make an assignment that nobody waits for.
            let leader =
                if request.knows_skip_assignment { self.leader.clone().unwrap_or_default() } else { leader_before };
            let members = if skips { self.joined_members() } else { Vec::new() };
            let joined = Joined { leader, skip_assignment: skips, members, ..self.joined(&id) };
            return cx.answer(ticket, Answer::Join(Ok(joined)));
        }
        self.park_join(cx, &id, ticket);
        self.rebalance_for_join(cx);
    }

    fn join_again(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinGroup) {
        let id = &request.member_id;
        if self.pending.contains_key(id) {
            if request.instance_id.is_some() {
                return refuse_join(cx, ticket, ErrorCode::UnknownMemberId, id);
            }
            self.add_member(cx, Arc::clone(id), ticket, request);
            return self.rebalance_for_join(cx);
        }
        if let Err(code) = self.check_member(id, request.instance_id.as_deref()) {
            return refuse_join(cx, ticket, code, id);
        }
        let changed = !self.offers_the_same(id, &request.protocols);
        let is_leader = self.leader.as_ref() == Some(id);
        self.update_member(cx, request);
        match self.state {
            // Its answer was lost, or it heard late of a rebalance that others began.
            State::CompletingRebalance if !changed => {
                let members = if is_leader { self.joined_members() } else { Vec::new() };
                let joined = Joined { members, ..self.joined(id) };
                cx.answer(ticket, Answer::Join(Ok(joined)));
            }
            State::Stable if !changed && !is_leader => cx.answer(ticket, Answer::Join(Ok(self.joined(id)))),
            // A leader comes back when what it assigns has changed: topics, for example.
            _ => {
                self.park_join(cx, id, ticket);
                self.rebalance_for_join(cx);
            }
        }
    }

    fn offers_the_same(&self, id: &str, protocols: &[OfferedProtocol]) -> bool {
        self.members.get(id).is_some_and(|member| member.protocols == protocols)
    }

    /// Begins a rebalance, or ends the one under way if this was the last to join.
    fn rebalance_for_join(&mut self, cx: &mut Context<'_>) {
        match &mut self.state {
            State::PreparingRebalance { ends_ms, first_until_ms: Some(until_ms) } => {
                *ends_ms = cx.after_ms(cx.settings.initial_rebalance_delay_ms).min(*until_ms);
            }
            State::PreparingRebalance { .. } => self.complete_join_if_all_are_there(cx),
            _ => self.prepare_rebalance(cx),
        }
    }

    /// What a member is told of its generation, if it is not the leader.
    pub(super) fn joined(&self, id: &Arc<str>) -> Joined {
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: Arc::clone(id),
            members: Vec::new(),
        }
    }

    /// Everybody, for the leader.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let joined = |(id, member): (&Arc<str>, &super::Member)| JoinedMember {
            member_id: Arc::clone(id),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(joined).collect()
    }
}

/// The name that the client has for itself or for the member, and something that makes it unlike any other.
fn new_member_id(cx: &mut Context<'_>, name: &str) -> Arc<str> {
    format!("{name}-{}", cx.random.uuid()).into()
}
