//! About what a group takes in memory.

use super::{ClassicGroup, Member};
use crate::request::OfferedProtocol;

/// About what a member takes in memory beside what it told.
const MEMBER_BYTES: usize = 400;

/// About what an id that was given out takes in memory, beside its length.
const PENDING_BYTES: usize = 100;

impl ClassicGroup {
    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        debug_assert_eq!(
            self.bytes,
            self.members.iter().map(|(id, member)| member_bytes(id, member)).sum::<usize>()
                + self.pending.keys().map(|id| pending_bytes(id)).sum::<usize>()
        );
        self.bytes
    }

    /// How much the leader has given to all members.
    pub(crate) fn assigned_bytes(&self) -> usize {
        self.members.values().map(|member| member.assignment.len()).sum()
    }

    /// How much a member has told in its JoinGroup; nothing if it is not in.
    pub(crate) fn told_bytes(&self, member_id: &str) -> Option<usize> {
        self.members.get(member_id).map(told_bytes)
    }
}

/// About what a member takes in memory.
pub(super) fn member_bytes(id: &str, member: &Member) -> usize {
    MEMBER_BYTES + 2 * id.len() + told_bytes(member) + member.assignment.len()
}

/// About what an id that was given out takes in memory.
pub(super) fn pending_bytes(id: &str) -> usize {
    PENDING_BYTES + id.len()
}

fn told_bytes(member: &Member) -> usize {
    member.protocols.iter().map(OfferedProtocol::bytes).sum()
}
