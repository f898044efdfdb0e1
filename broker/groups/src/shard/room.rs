//! How much groups may take: all of a shard together of memory, and each of the log's largest batch, in which a classic group is stored whole.

use super::{Group, Groups, own_bytes};
use crate::context::Context;
use crate::request::{JoinGroup, OffsetCommit, PartitionCommit, Protocol, SyncGroup};

impl Groups {
    /// Whether a member may tell this. Who is in and tells no more than before goes on even when there is no room.
    pub(super) fn has_room_to_join(&self, cx: &Context<'_>, request: &JoinGroup) -> bool {
        let told: usize = request.protocols.iter().map(Protocol::bytes).sum();
        let before = self.by_id.get(&request.group).and_then(|group| group.members.told_bytes(&request.member_id));
        before.is_some_and(|before| told <= before)
            || self.has_room(cx, &request.group, told.saturating_sub(before.unwrap_or(0)))
    }

    /// Whether these offsets may be kept. Those that take the place of others go on when there is no room, or a full shard would stop
    /// everybody's progress.
    pub(super) fn has_room_to_commit(&self, cx: &Context<'_>, commit: &OffsetCommit) -> bool {
        let group = self.by_id.get(&commit.group);
        let own_bytes = if group.is_some() { 0 } else { own_bytes(&commit.group) };
        let all_bytes = own_bytes + commit.offsets.iter().map(PartitionCommit::bytes).sum::<usize>();
        let more_bytes = |group: &Group| group.offsets.more_bytes(&commit.offsets);
        !self.is_full(cx, all_bytes)
            || group.is_some_and(|group| more_bytes(group) == 0 || !self.is_full(cx, more_bytes(group)))
    }

    /// Whether a leader may give this to the members, in the place of what they have. No more than that it always may.
    pub(super) fn has_room_to_sync(&self, cx: &Context<'_>, request: &SyncGroup) -> bool {
        let given: usize = request.assignments.values().map(bytes::Bytes::len).sum();
        if given == 0 {
            // As all but the leader.
            return true;
        }
        let before = self.by_id.get(&request.group).map_or(0, |group| group.members.assigned_bytes());
        given <= before || self.has_room(cx, &request.group, given - before)
    }

    /// Whether a group may take so much more.
    pub(super) fn has_room(&self, cx: &Context<'_>, group: &str, more_bytes: usize) -> bool {
        let members_bytes = self.by_id.get(group).map_or(0, |group| group.members.bytes());
        !self.is_full(cx, more_bytes) && members_bytes.saturating_add(more_bytes) <= cx.settings.group_bytes_max
    }

    /// Whether there is no room for so much more in all groups together.
    pub(super) fn is_full(&self, cx: &Context<'_>, more_bytes: usize) -> bool {
        self.bytes.saturating_add(more_bytes) > cx.settings.shard_bytes_max
    }
}
