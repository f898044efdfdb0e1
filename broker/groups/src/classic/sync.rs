//! SyncGroup: the leader brings the assignment, everybody gets a share.

use ringmill_net::wire::ErrorCode;

use super::{ClassicGroup, State};
use crate::answer::{Answer, Synced};
use crate::context::{Context, Ticket};
use crate::request::SyncGroup;
use crate::room::Full;

impl ClassicGroup {
    /// Answers at once, or parks the request until the leader has brought the assignment.
    ///
    /// Without room for the assignment it is refused, as Kafka refuses one that makes its record too large; the leader's client gives up then.
    pub(crate) fn sync(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &SyncGroup, room: Result<(), Full>) {
        if let Err(code) = self.check_sync(request) {
            return cx.answer(ticket, Answer::Sync(Err(code)));
        }
        let id = &request.member_id;
        let assigns = self.leader.as_ref() == Some(id) && self.state == State::CompletingRebalance;
        if assigns && let Err(full) = room {
            cx.no_room(&self.id, "SyncGroup", full);
            return cx.answer(ticket, Answer::Sync(Err(ErrorCode::UnknownServerError)));
        }
        self.unsynced.remove(id);
        self.touch(cx, id);
        if self.state == State::Stable {
            let synced = self.synced(id);
            return cx.answer(ticket, Answer::Sync(Ok(synced)));
        }
        let member = self.members.get_mut(id).expect("it was checked");
        if let Some(older) = member.syncing.replace(ticket) {
            cx.answer(older, Answer::Sync(Err(ErrorCode::RebalanceInProgress)));
        }
        if assigns {
            self.assign(cx, request);
        }
    }

    fn check_sync(&self, request: &SyncGroup) -> Result<(), ErrorCode> {
        self.check_generation(&request.member_id, request.instance_id.as_deref(), request.generation)?;
        let differs = |given: &Option<_>, own: &Option<_>| given.is_some() && given != own;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance { .. } => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// The leader has spoken: whom it does not name gets nothing.
    fn assign(&mut self, cx: &mut Context<'_>, request: &SyncGroup) {
        for (id, member) in &mut self.members {
            let assignment = request.assignments.get(id).cloned().unwrap_or_default();
            self.bytes = self.bytes - member.assignment.len() + assignment.len();
            member.assignment = assignment;
        }
        (self.state, self.state_ms) = (State::Stable, cx.now.wall_ms);
        self.store(cx);
        tracing::debug!(group = %self.id, generation = self.generation, members = self.members.len(), "is stable");
        let waiting: Vec<_> = self.members.keys().cloned().collect();
        for id in waiting {
            let Some(ticket) = self.members.get_mut(&id).and_then(|member| member.syncing.take()) else { continue };
            self.touch(cx, &id);
            let synced = self.synced(&id);
            cx.answer(ticket, Answer::Sync(Ok(synced)));
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }
}
