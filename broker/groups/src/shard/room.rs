//! How much groups may take: all of a shard together of memory, and each of the log's largest batch, in which a classic group is stored whole.

use super::{Groups, own_bytes};
use crate::context::Context;
use crate::request::{JoinGroup, OfferedProtocol, OffsetCommit, PartitionCommit, SyncGroup};
use crate::room::Full;

impl Groups {
    /// Whether a member may tell this. Who is in and tells no more than before goes on even when there is no room.
    pub(super) fn room_to_join(&self, cx: &Context<'_>, request: &JoinGroup) -> Result<(), Full> {
        let told: usize = request.protocols.iter().map(OfferedProtocol::bytes).sum();
        let before = self.by_id.get(&request.group).and_then(|group| group.members.told_bytes(&request.member_id));
        match before {
            Some(before) if told <= before => Ok(()),
            _ => self.room(cx, &request.group, told.saturating_sub(before.unwrap_or(0))),
        }
    }

    /// Whether these offsets may be kept. Those that take the place of others go on when there is no room, or a full shard would stop
    /// everybody's progress.
    pub(super) fn room_to_commit(&self, cx: &Context<'_>, commit: &OffsetCommit) -> Result<(), Full> {
        let group = self.by_id.get(&commit.group);
        let own_bytes = if group.is_some() { 0 } else { own_bytes(&commit.group) };
        let all_bytes = own_bytes + commit.offsets.iter().map(PartitionCommit::bytes).sum::<usize>();
        // That it fits whatever is there already is told without a look at each.
        self.room_in_shard(cx, all_bytes).or_else(|full| {
            match group.map(|group| group.offsets.more_bytes(&commit.offsets)) {
                None => Err(full),
                Some(0) => Ok(()),
                Some(more_bytes) => self.room_in_shard(cx, more_bytes),
            }
        })
    }

    /// Whether a leader may give this to the members, in the place of what they have. No more than that it always may.
    pub(super) fn room_to_sync(&self, cx: &Context<'_>, request: &SyncGroup) -> Result<(), Full> {
        let given: usize = request.assignments.values().map(bytes::Bytes::len).sum();
        if given == 0 {
            // As all but the leader.
            return Ok(());
        }
        let before = self.by_id.get(&request.group).map_or(0, |group| group.members.assigned_bytes());
        match given.checked_sub(before) {
            None | Some(0) => Ok(()),
            Some(more_bytes) => self.room(cx, &request.group, more_bytes),
        }
    }

    /// Whether a group may take so much more.
    pub(super) fn room(&self, cx: &Context<'_>, group: &str, more_bytes: usize) -> Result<(), Full> {
        self.room_in_shard(cx, more_bytes)?;
        let used_bytes = self.by_id.get(group).map_or(0, |group| group.members.bytes());
        let bytes_max = cx.settings.group_bytes_max;
        match used_bytes.saturating_add(more_bytes) <= bytes_max {
            true => Ok(()),
            false => Err(Full::Group { used_bytes, more_bytes, bytes_max }),
        }
    }

    /// Whether all groups together may take so much more.
    fn room_in_shard(&self, cx: &Context<'_>, more_bytes: usize) -> Result<(), Full> {
        let (used_bytes, bytes_max) = (self.bytes, cx.settings.shard_bytes_max);
        match used_bytes.saturating_add(more_bytes) <= bytes_max {
            true => Ok(()),
            false => Err(Full::Shard { used_bytes, more_bytes, bytes_max }),
        }
    }
}
