//! A rebalance: everybody joins, a protocol is chosen, a generation begins.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use super::{ClassicGroup, State};
use crate::answer::{Answer, Joined};
use crate::context::Context;

/// How often to look, at most, whether one of the static members has come that are waited for: their rebalance timeout may be 0.
const LEADERLESS_MS_MIN: i32 = 1_000;

impl ClassicGroup {
    /// Waits for everybody to join again.
    pub(crate) fn prepare_rebalance(&mut self, cx: &mut Context<'_>) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                cx.answer(ticket, Answer::Sync(Err(ErrorCode::RebalanceInProgress)));
                member.session_ends_ms = cx.after_ms(member.session_timeout_ms);
                self.expiry.or_at(member.session_ends_ms);
            }
        }
        self.unsynced.clear();
        self.state = self.preparing(cx, self.state == State::Empty);
        self.state_ms = cx.now.wall_ms;
        self.complete_join_if_all_are_there(cx);
    }

    /// A rebalance that begins now.
    fn preparing(&self, cx: &Context<'_>, is_first: bool) -> State {
        let longest_ms = self.longest_rebalance_timeout_ms();
        match is_first {
            true => State::PreparingRebalance {
                // Members are usually started together: with the first alone, each of the others would cost a rebalance (KIP-134).
                ends_ms: cx.after_ms(cx.settings.initial_rebalance_delay_ms.min(longest_ms)),
                first_until_ms: Some(cx.after_ms(longest_ms)),
            },
            false => State::PreparingRebalance { ends_ms: cx.after_ms(longest_ms), first_until_ms: None },
        }
    }

    /// Nobody could join or ask for its assignment for a time: who is waited for has all of it again.
    pub(super) fn wait_anew(&mut self, cx: &Context<'_>) {
        if let State::PreparingRebalance { first_until_ms, .. } = self.state {
            self.state = self.preparing(cx, first_until_ms.is_some());
        }
        self.sync_ends_ms = cx.after_ms(self.longest_rebalance_timeout_ms());
    }

    fn longest_rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    pub(super) fn complete_join_if_all_are_there(&mut self, cx: &mut Context<'_>) {
        let State::PreparingRebalance { first_until_ms, .. } = self.state else { return };
        debug_assert_eq!(self.parked_joins, self.members.values().filter(|member| member.joining.is_some()).count());
        let all_have_joined = self.pending.is_empty() && self.parked_joins == self.members.len();
        if all_have_joined && (first_until_ms.is_none() || self.members.is_empty()) {
            self.complete_join(cx);
        }
    }

    /// Begins the next generation with those that have joined. Static members stay though they have not: their session decides.
    pub(super) fn complete_join(&mut self, cx: &mut Context<'_>) {
        let is_late = |member: &super::Member| member.joining.is_none() && member.instance_id.is_none();
        let late: Vec<Arc<str>> =
            self.members.iter().filter(|(_, member)| is_late(member)).map(|(id, _)| Arc::clone(id)).collect();
        for id in late {
            tracing::debug!(group = %self.id, member = %id, "did not join in time and is out of the group");
            self.remove_member(cx, &id);
        }
        if !self.elect_leader() {
            // Only static members, none of which has come: there is nobody to make an assignment.
            let ends_ms = cx.after_ms(self.longest_rebalance_timeout_ms().max(LEADERLESS_MS_MIN));
            self.state = State::PreparingRebalance { ends_ms, first_until_ms: None };
            return;
        }
        // After i32::MAX, Kafka's own begins anew as well.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.state_ms = cx.now.wall_ms;
        if self.members.is_empty() {
            (self.protocol, self.leader, self.state) = (None, None, State::Empty);
            tracing::debug!(group = %self.id, generation = self.generation, "is empty");
            return self.store(cx);
        }
        self.protocol = self.vote();
        self.state = State::CompletingRebalance;
        self.sync_ends_ms = cx.after_ms(self.longest_rebalance_timeout_ms());
        self.unsynced = self.members.keys().cloned().collect();
        tracing::debug!(group = %self.id, generation = self.generation, members = self.members.len(), "waits for its leader's assignment");
        self.answer_joins(cx);
    }

    fn answer_joins(&mut self, cx: &mut Context<'_>) {
        let everybody = self.joined_members();
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let is_leader = self.leader.as_ref() == Some(&id);
            let members = if is_leader { everybody.clone() } else { Vec::new() };
            let joined = Joined { members, ..self.joined(&id) };
            let member = self.members.get_mut(&id).expect("its key was just read");
            // A static member that has not joined goes on under its session.
            let Some(ticket) = member.joining.take() else { continue };
            self.parked_joins -= 1;
            member.session_ends_ms = cx.after_ms(member.session_timeout_ms);
            self.expiry.or_at(member.session_ends_ms);
            member.is_new = false;
            cx.answer(ticket, Answer::Join(Ok(joined)));
        }
    }

    /// Makes sure that the leader is one that has joined. False if there are members, but none has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &Arc<str>| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.leader.as_ref().is_some_and(has_joined) {
            let joined = self.members.keys().find(|id| has_joined(id)).cloned();
            if joined.is_none() && !self.members.is_empty() {
                return false;
            }
            self.leader = joined;
        }
        true
    }

    /// The protocol that most members like best of those that all know; the leader's liking decides between equals.
    pub(crate) fn vote(&self) -> Option<Arc<str>> {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id)).or(self.members.values().next())?;
        let candidates: Vec<&Arc<str>> =
            leader.protocols.iter().map(|each| &each.name).filter(|name| self.all_know(name)).collect();
        let favourite = |member: &super::Member| {
            member.protocols.iter().find_map(|each| candidates.iter().position(|name| **name == each.name))
        };
        let mut votes = vec![0_usize; candidates.len()];
        for place in self.members.values().filter_map(favourite) {
            votes[place] += 1;
        }
        let most = votes.iter().copied().max()?;
        let chosen = votes.iter().position(|votes| *votes == most)?;
        Some(Arc::clone(candidates[chosen]))
    }

    /// Does what its time has come for.
    pub(crate) fn on_time(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.monotonic_ms;
        if let State::PreparingRebalance { ends_ms, .. } = self.state
            && ends_ms <= now_ms
        {
            // Ids that were given out and not come back hold it up no longer, but may join the next.
            self.complete_join(cx);
        }
        self.expire_members(cx);
        if !self.unsynced.is_empty() && self.sync_ends_ms <= now_ms {
            self.expire_unsynced(cx);
        }
    }

    fn expire_unsynced(&mut self, cx: &mut Context<'_>) {
        for id in std::mem::take(&mut self.unsynced) {
            tracing::debug!(group = %self.id, member = %id, "did not ask for its assignment in time and is out of the group");
            self.remove_member(cx, &id);
        }
        self.go_on_without(cx, true);
    }

    /// When to call [`on_time`](Self::on_time) next.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let rebalance = match self.state {
            State::PreparingRebalance { ends_ms, .. } => Some(ends_ms),
            _ => None,
        };
        let sync = (!self.unsynced.is_empty()).then_some(self.sync_ends_ms);
        debug_assert!(
            self.members.values().filter_map(super::Member::ends_ms).all(|ends_ms| self.expiry.has_come(ends_ms))
        );
        rebalance.into_iter().chain(sync).chain(self.expiry.ms()).min()
    }
}
