//! What others see of a group: DescribeGroups, and which topics it reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmill_net::wire::embedded_protocol::{PROTOCOL_TYPE, subscribed_topics};

use super::{ClassicGroup, State};
use crate::answer::{ClassicDescription, ClassicMemberDescription};

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
}
