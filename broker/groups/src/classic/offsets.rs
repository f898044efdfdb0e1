//! Who may commit and delete offsets of a group.

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::PROTOCOL_TYPE;

use super::{ClassicGroup, State};
use crate::context::Context;

impl ClassicGroup {
    /// Whether this sender may commit offsets now. An empty group takes anybody's that claims no generation: tools and consumers that
    /// assign themselves.
    pub(crate) fn check_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member_id.is_empty() && instance_id.is_none() {
            // Nobody's commit, while the offsets are the members'.
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_generation(member_id, instance_id, generation)?;
        match self.state {
            // The next generation is there but has no assignment: whatever this member read belonged to an older one.
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// A commit shows that the member lives, too.
    pub(crate) fn committed(&mut self, cx: &Context<'_>, member_id: &str) {
        self.touch(cx, member_id);
    }

    /// Whether offsets may be deleted of topics that it does not read: what members read is known of consumers alone.
    pub(crate) fn check_delete_offsets(&self) -> Result<(), ErrorCode> {
        match self.state == State::Empty || self.protocol_type.as_deref() == Some(PROTOCOL_TYPE) {
            true => Ok(()),
            false => Err(ErrorCode::NonEmptyGroup),
        }
    }
}
