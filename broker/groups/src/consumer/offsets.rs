//! Who may commit and fetch offsets of a group.

use ringmill_net::wire::ErrorCode;

use super::ConsumerGroup;

impl ConsumerGroup {
    /// Whether a commit may be taken: of a member at its epoch, or of a tool while the group has no members.
    pub(crate) fn check_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        member_epoch: i32,
        knows_epochs: bool,
    ) -> Result<(), ErrorCode> {
        if member_epoch < 0 && self.is_empty() {
            return Ok(());
        }
        self.tables.check_holder(instance_id, member_id)?;
        if !knows_epochs && self.tables.members.get(member_id).is_some_and(|member| member.classic.is_none()) {
            return Err(ErrorCode::UnsupportedVersion);
        }
        self.check_committer(member_id, member_epoch)
    }

    /// Whether offsets may be told: to who does not say that it is a member, or to a member at its epoch.
    pub(crate) fn check_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), ErrorCode> {
        match member_id {
            None if member_epoch < 0 => Ok(()),
            None => Err(ErrorCode::UnknownMemberId),
            Some(member_id) => self.check_committer(member_id, member_epoch),
        }
    }

    fn check_committer(&self, member_id: &str, member_epoch: i32) -> Result<(), ErrorCode> {
        let member = self.tables.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        let known = self.tables.current_of(member_id).member_epoch;
        if member_epoch >= 0 && member_epoch == known {
            Ok(())
        } else if member.classic.is_some() {
            Err(ErrorCode::IllegalGeneration)
        } else {
            Err(ErrorCode::StaleMemberEpoch)
        }
    }
}
