//! What others see of a group: DescribeGroups, its size, and which topics it reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::{PROTOCOL_TYPE, subscribed_topics};

use super::{ClassicGroup, State};
use crate::answer::{ClassicDescription, ClassicMemberDescription};
use crate::request::OfferedProtocol;

impl ClassicGroup {
    /// What members told and were given is shown once it is settled.
    pub(crate) fn describe(&self) -> ClassicDescription {
        let is_settled = self.state == State::Stable;
        let protocol = if is_settled { self.protocol.clone().unwrap_or_default() } else { "".into() };
        let describe = |(id, member): (&Arc<str>, &super::Member)| ClassicMemberDescription {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client: member.client.clone(),
            metadata: if is_settled { member.metadata(&protocol) } else { bytes::Bytes::new() },
            assignment: if is_settled { member.assignment.clone() } else { bytes::Bytes::new() },
        };
        ClassicDescription {
            state: self.state_name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self.members.iter().map(describe).collect(),
            protocol,
        }
    }

    /// Which of these topics members may read: while they share anew, or where what one of them told cannot be read, all are to be supposed.
    /// What each told is read once, however many topics are asked for: anybody may ask, and both may be long.
    pub(crate) fn read_of(&self, topics: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        if self.state == State::Empty || topics.is_empty() {
            return BTreeSet::new();
        }
        if self.state != State::Stable || self.protocol_type.as_deref() != Some(PROTOCOL_TYPE) {
            return topics;
        }
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let mut read = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(protocol);
            let Ok(subscribed) = subscribed_topics(&metadata) else { return topics };
            read.extend(subscribed.into_iter().filter_map(|name| topics.get(name).cloned()));
        }
        read
    }

    /// Whether offsets may be deleted of topics that it does not read: what members read is known of consumers alone.
    pub(crate) fn check_delete_offsets(&self) -> Result<(), ErrorCode> {
        match self.state == State::Empty || self.protocol_type.as_deref() == Some(PROTOCOL_TYPE) {
            true => Ok(()),
            false => Err(ErrorCode::NonEmptyGroup),
        }
    }

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

/// About what a member takes in memory beside what it told.
const MEMBER_BYTES: usize = 400;

/// The same of an id that was given out, beside its length.
const PENDING_BYTES: usize = 100;

/// About what a member takes in memory.
pub(super) fn member_bytes(id: &str, member: &super::Member) -> usize {
    MEMBER_BYTES + 2 * id.len() + told_bytes(member) + member.assignment.len()
}

/// About what an id that was given out takes in memory.
pub(super) fn pending_bytes(id: &str) -> usize {
    PENDING_BYTES + id.len()
}

fn told_bytes(member: &super::Member) -> usize {
    member.protocols.iter().map(OfferedProtocol::bytes).sum()
}
