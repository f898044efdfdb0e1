//! Heartbeat: a member lives, and hears whether it must join again.

use ringmill_net::wire::ErrorCode;

use super::{ClassicGroup, State};
use crate::context::Context;
use crate::request::Heartbeat;

impl ClassicGroup {
    /// Whether all is well with the member.
    pub(crate) fn heartbeat(&mut self, cx: &Context<'_>, request: &Heartbeat) -> Result<(), ErrorCode> {
        self.check_generation(&request.member_id, request.instance_id.as_deref(), request.generation)?;
        self.touch(cx, &request.member_id);
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance { .. } => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }
}
