//! SyncGroup, Heartbeat and LeaveGroup of classic members in a group of the consumer protocol.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::PROTOCOL_TYPE;

use super::{ConsumerGroup, embedded, reconcile};
use crate::answer::{Answer, Synced};
use crate::context::{Context, Ticket};
use crate::record::ClassicMemberPart;
use crate::request::{Heartbeat, LeaveGroup, LeavingMember, OfferedProtocol, SyncGroup};

impl ConsumerGroup {
    /// SyncGroup: the member's share, as far as it has it.
    pub(crate) fn sync(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &SyncGroup) {
        let synced = self.try_sync(cx, request);
        cx.answer(ticket, Answer::Sync(synced));
    }

    fn try_sync(&mut self, cx: &mut Context<'_>, request: &SyncGroup) -> Result<Synced, ErrorCode> {
        let member_id = &request.member_id;
        let classic = self.check_classic(member_id, request.instance_id.as_ref(), request.generation)?;
        let OfferedProtocol { name: protocol, metadata: told } = classic.protocols.first().cloned().unwrap_or_default();
        let differs = |given: &Option<Arc<str>>, own: &str| given.as_ref().is_some_and(|given| **given != *own);
        if differs(&request.protocol_type, PROTOCOL_TYPE) || differs(&request.protocol_name, &protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let current = self.tables.current_of(member_id).clone();
        self.start_session(cx, member_id);
        // One that must give partitions up hears so by what it is given; it joins again once it did.
        if self.epoch() > current.member_epoch && current.state != reconcile::UNREVOKED {
            self.expect_join(cx, member_id);
            return Err(ErrorCode::RebalanceInProgress);
        }
        let assignment = embedded::assignment_bytes(&current.assigned, &told, cx.topics);
        self.timers.set_rebalance(member_id, None);
        Ok(Synced { protocol_type: Some(Arc::from(PROTOCOL_TYPE)), protocol_name: Some(protocol), assignment })
    }

    /// Heartbeat: the member lives, and hears whether it must join again.
    pub(crate) fn classic_heartbeat(&mut self, cx: &mut Context<'_>, request: &Heartbeat) -> Result<(), ErrorCode> {
        let member_id = &request.member_id;
        self.check_classic(member_id, request.instance_id.as_ref(), request.generation)?;
        self.start_session(cx, member_id);
        if !self.must_join(member_id) {
            // It may have had to before, and what it should have learned by it is no more.
            self.timers.set_rebalance(member_id, None);
            return Ok(());
        }
        self.expect_join(cx, member_id);
        Err(ErrorCode::RebalanceInProgress)
    }

    /// LeaveGroup: one result for each. A tool may name a static member of either protocol.
    pub(crate) fn classic_leave(&mut self, cx: &mut Context<'_>, request: &LeaveGroup) -> Vec<Result<(), ErrorCode>> {
        let members = self.tables.members.len();
        let results = request.members.iter().map(|leaving| self.leave_one(cx, leaving)).collect();
        if self.tables.members.len() < members {
            self.raise_epoch(cx);
        }
        results
    }

    fn leave_one(&mut self, cx: &mut Context<'_>, leaving: &LeavingMember) -> Result<(), ErrorCode> {
        let member_id = match &leaving.instance_id {
            Some(instance_id) if leaving.member_id.is_empty() => {
                Arc::clone(self.tables.static_members.get(instance_id).ok_or(ErrorCode::UnknownMemberId)?)
            }
            instance_id => {
                self.classic_member(&leaving.member_id, instance_id.as_ref())?;
                Arc::clone(&leaving.member_id)
            }
        };
        self.remove(cx, &member_id);
        Ok(())
    }

    /// A member of the classic protocol, and not one whose static name another has by now.
    fn classic_member(
        &self,
        member_id: &Arc<str>,
        instance_id: Option<&Arc<str>>,
    ) -> Result<&ClassicMemberPart, ErrorCode> {
        self.tables.check_holder(instance_id.map(|name| &**name), member_id)?;
        let member = self.tables.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        member.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)
    }

    /// As [`classic_member`](Self::classic_member), and at its epoch.
    fn check_classic(
        &self,
        member_id: &Arc<str>,
        instance_id: Option<&Arc<str>>,
        generation: i32,
    ) -> Result<&ClassicMemberPart, ErrorCode> {
        let classic = self.classic_member(member_id, instance_id)?;
        match generation == self.tables.current_of(member_id).member_epoch {
            true => Ok(classic),
            false => Err(ErrorCode::IllegalGeneration),
        }
    }

    /// Whether a member has something to catch up with: an epoch, what it must give up, or what it waits for and is free now.
    fn must_join(&self, member_id: &Arc<str>) -> bool {
        let current = self.tables.current_of(member_id);
        match current.state {
            _ if current.member_epoch < self.epoch() => true,
            reconcile::STABLE => false,
            reconcile::UNREVOKED => true,
            _ => self.next_step(member_id, None).is_some(),
        }
    }

    /// It is told to join, and must do so within its rebalance timeout.
    fn expect_join(&mut self, cx: &Context<'_>, member_id: &Arc<str>) {
        let timeout_ms = self.tables.members.get(member_id).map_or(0, |member| member.rebalance_timeout_ms);
        self.timers.begin_rebalance(member_id, cx.after_ms(timeout_ms));
    }
}
