//! What others see of a group: DescribeGroups, its size, and which topics it reads.

use ringmill_net::wire::consumer_protocol::{PROTOCOL_TYPE, subscribed_topics};

use super::{ClassicGroup, State};
use crate::answer::{ClassicDescription, ClassicMemberDescription};

impl ClassicGroup {
    /// What members told and were given is shown once it is settled.
    pub(crate) fn describe(&self) -> ClassicDescription {
        let is_settled = self.state == State::Stable;
        let protocol = if is_settled { self.protocol.clone().unwrap_or_default() } else { "".into() };
        let describe = |(id, member): (&std::sync::Arc<str>, &super::Member)| ClassicMemberDescription {
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

    /// Whether members may read a topic: while they share anew, or where what they told cannot be read, it is to be supposed.
    pub(crate) fn subscribed_to(&self, topic: &str) -> bool {
        if self.state == State::Empty {
            return false;
        }
        let is_readable = self.state == State::Stable && self.protocol_type.as_deref() == Some(PROTOCOL_TYPE);
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let reads = |member: &super::Member| match subscribed_topics(&member.metadata(protocol)) {
            Ok(topics) => topics.contains(&topic),
            Err(_) => true,
        };
        !is_readable || self.members.values().any(reads)
    }

    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let member = |(id, member): (&std::sync::Arc<str>, &super::Member)| {
            MEMBER_BYTES + 2 * id.len() + told_bytes(member) + member.assignment.len()
        };
        let members: usize = self.members.iter().map(member).sum();
        members + self.pending.keys().map(|id| PENDING_BYTES + id.len()).sum::<usize>()
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

/// About what an id that was given out takes in memory.
const PENDING_BYTES: usize = 100;

fn told_bytes(member: &super::Member) -> usize {
    member.protocols.iter().map(|each| each.name.len() + each.metadata.len()).sum()
}
