//! LeaveGroup: members go, and the others share what they had.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use super::ClassicGroup;
use crate::context::Context;
use crate::request::{LeaveGroup, LeavingMember};

impl ClassicGroup {
    /// Takes each of them out; one result for each.
    pub(crate) fn leave(&mut self, cx: &mut Context<'_>, request: &LeaveGroup) -> Vec<Result<(), ErrorCode>> {
        let (members, pending) = (self.members.len(), self.pending.len());
        let results = request.members.iter().map(|leaving| self.leave_one(cx, leaving)).collect();
        let members_went = self.members.len() < members;
        if members_went || self.pending.len() < pending {
            self.go_on_without(cx, members_went);
        }
        results
    }

    fn leave_one(&mut self, cx: &mut Context<'_>, leaving: &LeavingMember) -> Result<(), ErrorCode> {
        let id = match &leaving.instance_id {
            // A tool knows only the static name (KIP-345).
            Some(instance) if leaving.member_id.is_empty() => {
                Arc::clone(self.static_members.get(instance).ok_or(ErrorCode::UnknownMemberId)?)
            }
            _ => Arc::clone(&leaving.member_id),
        };
        if self.take_id(&id) {
            return Ok(());
        }
        self.check_member(&id, leaving.instance_id.as_deref())?;
        tracing::debug!(group = %self.id, member = %id, "leaves");
        self.remove_member(cx, &id);
        Ok(())
    }
}
