//! Requests of members of groups, and of those who look after groups: any order of them, of a few members in a few groups.
//!
//! Timeouts are short enough that whoever is parked is answered while its client still listens.

use bytes::Bytes;
use ringmill_net::wire::ApiKey;
use ringmill_net::wire::messages::*;

use super::Maker;

/// What they ask, members most.
pub(super) const APIS: [ApiKey; 16] = [
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::LeaveGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::DeleteGroups,
    ApiKey::OffsetDelete,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::OffsetCommit,
    ApiKey::ConsumerGroupHeartbeat,
];

const GROUPS: [&str; 4] = ["g", "h", "old", ""];

/// Consumer members name themselves.
const CONSUMER_MEMBERS: [&str; 4] = ["one", "two", "three", ""];

/// A subscription to topic `a`, and one to nothing, as consumers put them into JoinGroup.
const SUBSCRIPTIONS: [&[u8]; 3] =
    [&[0, 0, 0, 0, 0, 1, 0, 1, b'a', 255, 255, 255, 255], &[0, 0, 0, 0, 0, 0, 255, 255, 255, 255], b"?"];

/// A member's id and static name.
type Leaving = (String, Option<&'static str>);

impl Maker<'_, '_> {
    fn group(&mut self) -> &'static str {
        self.script.choose(&GROUPS)
    }

    /// A member that was given this id in an answer, or one of nobody.
    fn member(&mut self) -> String {
        let known = &self.known.members;
        match self.script.byte() {
            0..=31 => String::new(),
            32..=47 => self.script.choose(&CONSUMER_MEMBERS).to_owned(),
            other if !known.is_empty() => known[usize::from(other) % known.len()].clone(),
            _ => String::new(),
        }
    }

    fn instance(&mut self) -> Option<&'static str> {
        self.script.choose(&[None, None, None, Some("static"), Some("other"), Some("")])
    }

    fn generation(&mut self) -> i32 {
        match self.script.byte() {
            255 => self.script.number_i32(),
            small => i32::from(small % 6) - 1,
        }
    }

    pub(super) fn join_group(&mut self) -> Bytes {
        let protocol = |maker: &mut Self| join_group::JoinGroupRequestProtocol {
            name: maker.script.choose(&["range", "sticky"]),
            metadata: maker.script.choose(&SUBSCRIPTIONS),
        };
        let protocols = (0..self.count()).map(|_| protocol(self)).collect();
        let member_id = self.member();
        let request = join_group::JoinGroupRequest {
            group_id: self.group(),
            session_timeout_ms: self.script.choose(&[6_000, 6_000, 10_000, 0, -1, i32::MAX]),
            rebalance_timeout_ms: self.script.choose(&[1, 100, 5_000, 0, -1, i32::MIN]),
            member_id: &member_id,
            group_instance_id: self.instance(),
            protocol_type: self.script.choose(&["consumer", "consumer", "consumer", "connect", ""]),
            protocols,
            reason: self.script.choose(&[None, Some("why")]),
        };
        self.encode(&request)
    }

    pub(super) fn sync_group(&mut self) -> Bytes {
        let named: Vec<String> = (0..self.count()).map(|_| self.member()).collect();
        let assignments = named.iter().map(|member_id| sync_group::SyncGroupRequestAssignment {
            member_id,
            assignment: &[0, 0, 0, 0, 0, 0, 255, 255, 255, 255],
        });
        let assignments = assignments.collect();
        let member_id = self.member();
        let request = sync_group::SyncGroupRequest {
            group_id: self.group(),
            generation_id: self.generation(),
            member_id: &member_id,
            group_instance_id: self.instance(),
            protocol_type: self.script.choose(&[Some("consumer"), Some("consumer"), None]),
            protocol_name: self.script.choose(&[Some("range"), Some("range"), Some("sticky"), None]),
            assignments,
        };
        self.encode(&request)
    }

    pub(super) fn heartbeat(&mut self) -> Bytes {
        let member_id = self.member();
        let request = heartbeat::HeartbeatRequest {
            group_id: self.group(),
            generation_id: self.generation(),
            member_id: &member_id,
            group_instance_id: self.instance(),
        };
        self.encode(&request)
    }

    pub(super) fn leave_group(&mut self) -> Bytes {
        let leaving: Vec<Leaving> = (0..self.count()).map(|_| (self.member(), self.instance())).collect();
        let member_id = self.member();
        let request = leave_group::LeaveGroupRequest {
            group_id: self.group(),
            member_id: &member_id,
            members: leaving.iter().map(leaving_member).collect(),
        };
        self.encode(&request)
    }

    pub(super) fn offset_commit(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let name = self.name_to_read();
            let topic_id = self.id_of(name);
            let partitions = (0..self.count()).map(|_| self.committed()).collect();
            topics.push(offset_commit::OffsetCommitRequestTopic { name, topic_id, partitions });
        }
        let member_id = self.member();
        let request = offset_commit::OffsetCommitRequest {
            group_id: self.group(),
            generation_id_or_member_epoch: self.generation(),
            member_id: &member_id,
            group_instance_id: self.instance(),
            retention_time_ms: self.script.choose(&[-1, -1, 0, 1, i64::MAX, i64::MIN]),
            topics,
        };
        self.encode(&request)
    }

    fn committed(&mut self) -> offset_commit::OffsetCommitRequestPartition<'static> {
        offset_commit::OffsetCommitRequestPartition {
            partition_index: self.partition(),
            committed_offset: self.script.number(),
            committed_leader_epoch: self.script.choose(&[-1, 0, 7]),
            committed_metadata: self.script.choose(&[None, Some(""), Some("words")]),
        }
    }

    pub(super) fn offset_fetch(&mut self) -> Bytes {
        let mut alone = Vec::new();
        let mut groups = Vec::new();
        let members: Vec<String> = (0..self.count()).map(|_| self.member()).collect();
        for member_id in &members {
            let name = self.name_to_read();
            let (topic_id, partition_indexes) = (self.id_of(name), vec![self.partition(), 0]);
            let asked = offset_fetch::OffsetFetchRequestTopic { name, partition_indexes: partition_indexes.clone() };
            alone.push(asked);
            let topics = vec![offset_fetch::OffsetFetchRequestTopics { name, topic_id, partition_indexes }];
            groups.push(offset_fetch::OffsetFetchRequestGroup {
                group_id: self.group(),
                member_id: self.script.flag().then_some(member_id),
                member_epoch: self.generation(),
                topics: self.script.flag().then_some(topics),
            });
        }
        let is_all = self.version >= 2 && self.script.flag();
        let request = offset_fetch::OffsetFetchRequest {
            group_id: self.group(),
            topics: (!is_all).then_some(alone),
            groups,
            require_stable: self.script.flag(),
        };
        self.encode(&request)
    }

    pub(super) fn offset_delete(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let partition_index = self.partition();
            let partitions = vec![offset_delete::OffsetDeleteRequestPartition { partition_index }];
            topics.push(offset_delete::OffsetDeleteRequestTopic { name: self.name_to_read(), partitions });
        }
        let request = offset_delete::OffsetDeleteRequest { group_id: self.group(), topics };
        self.encode(&request)
    }

    fn groups(&mut self) -> Vec<&'static str> {
        (0..self.count()).map(|_| self.group()).collect()
    }

    pub(super) fn describe_groups(&mut self) -> Bytes {
        let (groups, include_authorized_operations) = (self.groups(), self.script.flag());
        self.encode(&describe_groups::DescribeGroupsRequest { groups, include_authorized_operations })
    }

    pub(super) fn list_groups(&mut self) -> Bytes {
        let states_filter = (0..self.script.below(3)).map(|_| self.script.choose(&["Stable", "empty", "x"])).collect();
        let types_filter = (0..self.script.below(2)).map(|_| self.script.choose(&["Classic", "consumer"])).collect();
        self.encode(&list_groups::ListGroupsRequest { states_filter, types_filter })
    }

    pub(super) fn delete_groups(&mut self) -> Bytes {
        let groups_names = self.groups();
        self.encode(&delete_groups::DeleteGroupsRequest { groups_names })
    }

    pub(super) fn consumer_group_heartbeat(&mut self) -> Bytes {
        let names = (0..self.count()).map(|_| self.name_to_read()).collect();
        let subscribed_topic_names = self.script.flag().then_some(names);
        let name = self.name_to_read();
        let owned = consumer_group_heartbeat::TopicPartitions {
            topic_id: self.id_of(name),
            partitions: (0..self.count()).map(|_| self.partition()).collect(),
        };
        let owned = if self.script.flag() { vec![owned] } else { Vec::new() };
        let request = consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
            group_id: self.group(),
            member_id: self.script.choose(&CONSUMER_MEMBERS),
            member_epoch: self.script.choose(&[0, 0, 0, 1, 2, 3, 4, 5, -1, -2, -3, i32::MAX]),
            instance_id: self.instance(),
            rack_id: self.script.choose(&[None, Some("rack")]),
            rebalance_timeout_ms: self.script.choose(&[-1, 1_000, 1_000, 0, i32::MAX]),
            subscribed_topic_names,
            subscribed_topic_regex: self.script.choose(&[None, None, Some(""), Some("a|k.*"), Some("(")]),
            server_assignor: self.script.choose(&[None, None, Some("range"), Some("uniform"), Some("x")]),
            topic_partitions: self.script.flag().then_some(owned),
        };
        self.encode(&request)
    }

    pub(super) fn consumer_group_describe(&mut self) -> Bytes {
        let (group_ids, include_authorized_operations) = (self.groups(), self.script.flag());
        self.encode(&consumer_group_describe::ConsumerGroupDescribeRequest { group_ids, include_authorized_operations })
    }
}

fn leaving_member((member_id, instance): &Leaving) -> leave_group::MemberIdentity<'_> {
    leave_group::MemberIdentity { member_id, group_instance_id: *instance, reason: None }
}
