//! Consumer members: they send heartbeats, take what they are given and say so with the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmill_net::client::Connection;
use ringmill_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JOIN_EPOCH, LEAVE_EPOCH, TopicPartitions,
};

use ringmill_net::wire::ErrorCode;

use super::brokers::{Topic, is_temporary};
use crate::load::error_name;

/// One member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) group: Arc<str>,
    pub(super) id: String,
    pub(super) epoch: i32,
    owned: Vec<i32>,
    /// What it owns has changed, and the broker does not know yet.
    unreported: bool,
}

impl Member {
    /// `number`: within the group.
    pub(super) fn new(group: &Arc<str>, number: usize) -> Member {
        let id = format!("{group}-{number}");
        Member { group: Arc::clone(group), id, epoch: JOIN_EPOCH, owned: Vec::new(), unreported: true }
    }

    /// Whether the broker waits to hear from it.
    pub(super) fn has_news(&self) -> bool {
        self.unreported
    }

    /// Says what is new, and takes what the broker has for it.
    pub(super) async fn heartbeat(
        &mut self,
        connection: &Connection,
        topic: &Topic,
        rebalance_timeout_ms: i32,
    ) -> Result<(), String> {
        let joins = self.epoch == JOIN_EPOCH;
        let owned = TopicPartitions { topic_id: topic.id, partitions: self.owned.clone() };
        let owned = if self.owned.is_empty() { Vec::new() } else { vec![owned] };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: &self.group,
            member_id: &self.id,
            member_epoch: self.epoch,
            rebalance_timeout_ms: if joins { rebalance_timeout_ms } else { -1 },
            subscribed_topic_names: joins.then(|| vec![&*topic.name]),
            topic_partitions: self.unreported.then_some(owned),
            ..Default::default()
        };
        let answer = connection.call(&request).await.map_err(|error| error.to_string())?;
        let response: ConsumerGroupHeartbeatResponse<'_> = answer.decode().map_err(|error| error.to_string())?;
        match response.error_code {
            0 => {}
            // Said again with the next heartbeat.
            code if is_temporary(code) => return Ok(()),
            code => {
                let why = response.error_message.map(|message| format!(" ({message})")).unwrap_or_default();
                return Err(format!("heartbeat of {}: {}{why}", self.id, error_name(code)));
            }
        }
        self.epoch = response.member_epoch;
        self.unreported = false;
        if let Some(assignment) = response.assignment {
            let mut owned: Vec<i32> =
                assignment.topic_partitions.into_iter().flat_map(|each| each.partitions).collect();
            owned.sort_unstable();
            self.unreported = owned != self.owned;
            self.owned = owned;
        }
        Ok(())
    }

    pub(super) async fn leave(&self, connection: &Connection) -> Result<(), String> {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: &self.group,
            member_id: &self.id,
            member_epoch: LEAVE_EPOCH,
            ..Default::default()
        };
        let answer = connection.call(&request).await.map_err(|error| error.to_string())?;
        let response: ConsumerGroupHeartbeatResponse<'_> = answer.decode().map_err(|error| error.to_string())?;
        match response.error_code {
            0 => Ok(()),
            // Given up already, as happens where leaving many takes longer than a session.
            code if code == ErrorCode::UnknownMemberId.code() => Ok(()),
            code => Err(format!("{} cannot leave: {}", self.id, error_name(code))),
        }
    }
}

/// What is known of all members of a group, to tell when a rebalance is over.
#[derive(Debug)]
pub(super) struct Roll {
    partitions: i32,
    expected: usize,
    members: BTreeMap<String, Standing>,
}

#[derive(Debug)]
struct Standing {
    epoch: i32,
    owned: Vec<i32>,
    unreported: bool,
}

impl Roll {
    pub(super) fn new(partitions: i32, expected: usize) -> Roll {
        Roll { partitions, expected, members: BTreeMap::new() }
    }

    pub(super) fn note(&mut self, member: &Member) {
        let standing = Standing { epoch: member.epoch, owned: member.owned.clone(), unreported: member.unreported };
        self.members.insert(member.id.clone(), standing);
    }

    /// Whether all are in one epoch, each with some partitions that it has reported, and all partitions have one owner.
    pub(super) fn is_whole(&self) -> bool {
        let mut all = self.members.values();
        let Some(first) = all.next() else { return false };
        let agrees = |each: &Standing| each.epoch == first.epoch && !each.unreported && !each.owned.is_empty();
        let owned: Vec<i32> = self.members.values().flat_map(|each| each.owned.iter().copied()).collect();
        let partitions = usize::try_from(self.partitions).unwrap_or(0);
        self.members.len() == self.expected
            && self.members.values().all(agrees)
            && owned.len() == partitions
            && owned.iter().collect::<BTreeSet<_>>().len() == partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(members: &[(i32, &[i32], bool)]) -> Roll {
        let mut roll = Roll::new(4, 2);
        for (number, (epoch, owned, unreported)) in members.iter().enumerate() {
            let member = Member::new(&"g".into(), number);
            roll.note(&Member { epoch: *epoch, owned: owned.to_vec(), unreported: *unreported, ..member });
        }
        roll
    }

    #[test]
    fn a_rebalance_is_over_when_all_agree_on_who_has_what() {
        let whole = |members: &[(i32, &[i32], bool)]| roll(members).is_whole();
        assert!(whole(&[(3, &[0, 1], false), (3, &[2, 3], false)]));
        assert!(!whole(&[(3, &[0, 1], false)]), "one is missing");
        assert!(!whole(&[(3, &[0, 1], false), (2, &[2, 3], false)]), "one is behind");
        assert!(!whole(&[(3, &[0, 1], false), (3, &[2, 3], true)]), "one has not said so");
        assert!(!whole(&[(3, &[0, 1], false), (3, &[2], false)]), "nobody has one");
        assert!(!whole(&[(3, &[0, 1, 2, 3], false), (3, &[], false)]), "one has nothing yet");
        assert!(!whole(&[(3, &[0, 1], false), (3, &[1, 2], false)]), "two have one");
    }
}
