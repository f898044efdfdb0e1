//! The requests of members of groups, and of those who look at groups, on a simulated connection. What an answer means is its caller's
//! business.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use ringmill_net::wire::embedded_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use ringmill_net::wire::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use ringmill_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use ringmill_net::wire::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ringmill_net::wire::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ringmill_net::wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse, GROUP_KEY_TYPE};
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringmill_net::wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringmill_net::wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ringmill_net::wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ringmill_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringmill_net::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use ringmill_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ringmill_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use ringmill_net::wire::{ErrorCode, Reader, Versioned};

use crate::client::{Client, TopicId, success};

const SYNC_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
const LEAVE_VERSION: i16 = 5;
/// Topics go by their ids in these.
const COMMIT_VERSION: i16 = 10;
const OFFSETS_VERSION: i16 = 10;

/// The one way of sharing out that these members know.
const ASSIGNOR: &str = "range";

/// An answer's header where the version has no tagged fields.
const OLD_HEADER_BYTES: usize = 4;

/// A partition of a topic with this id.
pub(super) type Part = (TopicId, i32);

/// Partitions by their topics' ids.
pub(super) type Parts = BTreeMap<TopicId, Vec<i32>>;

/// Who a member of a group is.
#[derive(Clone, Debug)]
pub(super) struct Who<'a> {
    pub(super) group: &'a str,
    pub(super) id: &'a str,
    /// Its static name.
    pub(super) instance: Option<&'a str>,
    /// Its generation or epoch.
    pub(super) generation: i32,
}

/// How a member of the classic protocol joins.
#[derive(Clone, Debug)]
pub(super) struct Join<'a> {
    pub(super) version: i16,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) topics: Vec<&'a str>,
}

/// A member that is in a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) id: String,
    /// Everybody, if the member is to share out.
    pub(super) to_assign: Option<Vec<String>>,
}

/// What a consumer member says.
#[derive(Clone, Debug)]
pub(super) struct Beat<'a> {
    pub(super) rebalance_timeout_ms: i32,
    pub(super) topics: Option<Vec<&'a str>>,
    pub(super) owned: Option<&'a Parts>,
}

/// What it is told.
#[derive(Clone, Debug)]
pub(super) struct Beaten {
    pub(super) epoch: i32,
    /// `None`: as before.
    pub(super) assigned: Option<Parts>,
}

/// An offset as it was found, with the words beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: i64,
    pub(super) words: String,
}

/// Read off an answer that belongs to `client`.
fn decode<'a, T: Versioned<'a>>(body: &'a Bytes, version: i16) -> T {
    T::decode(&mut Reader::new(body), version).expect("it can be read")
}

impl Client {
    /// Whether there is a coordinator for groups, whose topic is made for this if need be.
    pub(super) async fn find_coordinator(&self, group: &str) -> io::Result<Result<(), ErrorCode>> {
        let coordinator_keys = vec![group];
        let request = FindCoordinatorRequest { key_type: GROUP_KEY_TYPE, coordinator_keys, ..Default::default() };
        let body = self.call(&request, 6).await?;
        let response: FindCoordinatorResponse<'_> = decode(&body, 6);
        Ok(success(response.coordinators[0].error_code))
    }

    /// JoinGroup; a refusal comes with the id to come back with.
    pub(super) async fn join(&self, who: &Who<'_>, join: &Join<'_>) -> io::Result<Result<Joined, (ErrorCode, String)>> {
        let subscription = ConsumerProtocolSubscription { topics: join.topics.clone(), ..Default::default() };
        let metadata = embedded_protocol::encode(&subscription, 1);
        let request = JoinGroupRequest {
            group_id: who.group,
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            member_id: who.id,
            group_instance_id: who.instance,
            protocol_type: embedded_protocol::PROTOCOL_TYPE,
            protocols: vec![JoinGroupRequestProtocol { name: ASSIGNOR, metadata: &metadata }],
            reason: None,
        };
        let body = self.call(&request, join.version).await?;
        let response: JoinGroupResponse<'_> = decode(&body, join.version);
        if let Err(refused) = success(response.error_code) {
            return Ok(Err((refused, response.member_id.to_owned())));
        }
        let assigns = response.leader == response.member_id && !response.skip_assignment;
        let members = response.members.iter().map(|member| member.member_id.to_owned()).collect();
        Ok(Ok(Joined {
            generation: response.generation_id,
            id: response.member_id.to_owned(),
            to_assign: assigns.then_some(members),
        }))
    }

    /// SyncGroup: topics by name with their partitions.
    pub(super) async fn sync(
        &self,
        who: &Who<'_>,
        shares: &[(String, Bytes)],
    ) -> io::Result<Result<Vec<(String, Vec<i32>)>, ErrorCode>> {
        let request = SyncGroupRequest {
            group_id: who.group,
            generation_id: who.generation,
            member_id: who.id,
            group_instance_id: who.instance,
            protocol_type: Some(embedded_protocol::PROTOCOL_TYPE),
            protocol_name: Some(ASSIGNOR),
            assignments: shares
                .iter()
                .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment })
                .collect(),
        };
        let body = self.call(&request, SYNC_VERSION).await?;
        let response: SyncGroupResponse<'_> = decode(&body, SYNC_VERSION);
        if let Err(refused) = success(response.error_code) {
            return Ok(Err(refused));
        }
        let share = embedded_protocol::assignment(response.assignment).expect("a member of this run has made it");
        let topics = share.assigned_partitions.into_iter().map(|topic| (topic.topic.to_owned(), topic.partitions));
        Ok(Ok(topics.collect()))
    }

    /// Heartbeat.
    pub(super) async fn beat(&self, who: &Who<'_>) -> io::Result<Result<(), ErrorCode>> {
        let request = HeartbeatRequest {
            group_id: who.group,
            generation_id: who.generation,
            member_id: who.id,
            group_instance_id: who.instance,
        };
        let body = self.call(&request, HEARTBEAT_VERSION).await?;
        Ok(success(decode::<HeartbeatResponse>(&body, HEARTBEAT_VERSION).error_code))
    }

    /// LeaveGroup.
    pub(super) async fn leave(&self, who: &Who<'_>) -> io::Result<Result<(), ErrorCode>> {
        let leaving = MemberIdentity { member_id: who.id, group_instance_id: who.instance, reason: None };
        let request = LeaveGroupRequest { group_id: who.group, members: vec![leaving], ..Default::default() };
        let body = self.call(&request, LEAVE_VERSION).await?;
        let response: LeaveGroupResponse<'_> = decode(&body, LEAVE_VERSION);
        let each = response.members.first().map_or(0, |member| member.error_code);
        Ok(success(response.error_code).and_then(|()| success(each)))
    }

    /// OffsetCommit; one result for each partition.
    pub(super) async fn commit(
        &self,
        who: &Who<'_>,
        offsets: &[(Part, Found)],
    ) -> io::Result<Vec<Result<(), ErrorCode>>> {
        let topics = offsets.iter().map(|((topic_id, partition_index), found)| OffsetCommitRequestTopic {
            topic_id: *topic_id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: *partition_index,
                committed_offset: found.offset,
                committed_leader_epoch: -1,
                committed_metadata: Some(&found.words),
            }],
            ..Default::default()
        });
        let request = OffsetCommitRequest {
            group_id: who.group,
            generation_id_or_member_epoch: who.generation,
            member_id: who.id,
            group_instance_id: who.instance,
            topics: topics.collect(),
            ..Default::default()
        };
        let body = self.call(&request, COMMIT_VERSION).await?;
        let response: OffsetCommitResponse<'_> = decode(&body, COMMIT_VERSION);
        let answered =
            response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|each| (topic.topic_id, each)));
        let parts = answered.clone().map(|(id, each)| (id, each.partition_index));
        assert!(parts.eq(offsets.iter().map(|(part, _)| *part)), "{offsets:?} are committed, answered is {response:?}");
        Ok(answered.map(|(_, each)| success(each.error_code)).collect())
    }

    /// OffsetFetch of some partitions: of a consumer member, or from outside. An inner error is about one partition.
    pub(super) async fn offsets(
        &self,
        who: &Who<'_>,
        parts: &[Part],
    ) -> io::Result<Result<Vec<Result<Option<Found>, ErrorCode>>, ErrorCode>> {
        let topic = |(topic_id, partition): &Part| OffsetFetchRequestTopics {
            topic_id: *topic_id,
            partition_indexes: vec![*partition],
            ..Default::default()
        };
        let group = OffsetFetchRequestGroup {
            group_id: who.group,
            member_id: (!who.id.is_empty()).then_some(who.id),
            member_epoch: who.generation,
            topics: Some(parts.iter().map(topic).collect()),
        };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let body = self.call(&request, OFFSETS_VERSION).await?;
        let response: OffsetFetchResponse<'_> = decode(&body, OFFSETS_VERSION);
        let group = &response.groups[0];
        if let Err(refused) = success(group.error_code) {
            return Ok(Err(refused));
        }
        let told = group.topics.iter().flat_map(|topic| topic.partitions.iter().map(|each| (topic.topic_id, each)));
        let told_parts = told.clone().map(|(id, each)| (id, each.partition_index));
        assert!(told_parts.eq(parts.iter().copied()), "{parts:?} are looked up, answered is {response:?}");
        let found = told.map(|(_, each)| {
            let (offset, words) = (each.committed_offset, each.metadata.unwrap_or_default().to_owned());
            success(each.error_code).map(|()| (offset >= 0).then_some(Found { offset, words }))
        });
        Ok(Ok(found.collect()))
    }

    /// ConsumerGroupHeartbeat.
    pub(super) async fn consumer_beat(&self, who: &Who<'_>, beat: &Beat<'_>) -> io::Result<Result<Beaten, ErrorCode>> {
        let topics = |parts: &Parts| {
            let topic = |(topic_id, partitions): (&TopicId, &Vec<i32>)| TopicPartitions {
                topic_id: *topic_id,
                partitions: partitions.clone(),
            };
            parts.iter().map(topic).collect()
        };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: who.group,
            member_id: who.id,
            member_epoch: who.generation,
            instance_id: who.instance,
            rebalance_timeout_ms: beat.rebalance_timeout_ms,
            subscribed_topic_names: beat.topics.clone(),
            topic_partitions: beat.owned.map(topics),
            ..Default::default()
        };
        let body = self.call(&request, 1).await?;
        let response: ConsumerGroupHeartbeatResponse<'_> = decode(&body, 1);
        Ok(success(response.error_code).map(|()| Beaten {
            epoch: response.member_epoch,
            assigned: response.assignment.map(|assignment| {
                let topics = assignment.topic_partitions.into_iter();
                topics.map(|topic| (topic.topic_id, topic.partitions)).collect()
            }),
        }))
    }

    /// DescribeGroups: the state, and each member's share as it was made.
    pub(super) async fn describe_classic(&self, group: &str) -> io::Result<Result<(String, Vec<Bytes>), ErrorCode>> {
        let request = DescribeGroupsRequest { groups: vec![group], ..Default::default() };
        let body = self.call(&request, 6).await?;
        let response: DescribeGroupsResponse<'_> = decode(&body, 6);
        let group = &response.groups[0];
        let shares = group.members.iter().map(|member| Bytes::copy_from_slice(member.member_assignment));
        Ok(success(group.error_code).map(|()| (group.group_state.to_owned(), shares.collect())))
    }

    /// ConsumerGroupDescribe: what each member has.
    pub(super) async fn describe_consumer_group(&self, group: &str) -> io::Result<Result<Vec<Parts>, ErrorCode>> {
        let request = ConsumerGroupDescribeRequest { group_ids: vec![group], ..Default::default() };
        let body = self.call(&request, 1).await?;
        let response: ConsumerGroupDescribeResponse<'_> = decode(&body, 1);
        let group = &response.groups[0];
        let parts = group.members.iter().map(|member| {
            let topics = member.assignment.topic_partitions.iter();
            topics.map(|topic| (topic.topic_id, topic.partitions.clone())).collect()
        });
        Ok(success(group.error_code).map(|()| parts.collect()))
    }

    /// ListGroups: the names.
    pub(super) async fn list_groups(&self) -> io::Result<Result<Vec<String>, ErrorCode>> {
        let body = self.call(&ListGroupsRequest::default(), 5).await?;
        let response: ListGroupsResponse<'_> = decode(&body, 5);
        let names = response.groups.iter().map(|group| group.group_id.to_owned());
        Ok(success(response.error_code).map(|()| names.collect()))
    }

    /// DeleteGroups.
    pub(super) async fn delete_group(&self, group: &str) -> io::Result<Result<(), ErrorCode>> {
        let body = self.call(&DeleteGroupsRequest { groups_names: vec![group] }, 3).await?;
        let response: DeleteGroupsResponse<'_> = decode(&body, 3);
        Ok(success(response.results[0].error_code))
    }

    /// OffsetDelete of one partition.
    pub(super) async fn delete_offset(
        &self,
        group: &str,
        name: &str,
        partition_index: i32,
    ) -> io::Result<Result<(), ErrorCode>> {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index }];
        let topics = vec![OffsetDeleteRequestTopic { name, partitions }];
        self.send(&OffsetDeleteRequest { group_id: group, topics }, 0, Vec::new()).await?;
        let body = self.receive(OLD_HEADER_BYTES).await?;
        let response: OffsetDeleteResponse<'_> = decode(&body, 0);
        let each = response.topics.first().and_then(|topic| topic.partitions.first());
        let each = each.map_or(0, |partition| partition.error_code);
        Ok(success(response.error_code).and_then(|()| success(each)))
    }
}

/// The bytes of a share: topics by name, with their partitions.
pub(super) fn share(topics: &BTreeMap<&str, Vec<i32>>) -> Bytes {
    let topics = topics.iter();
    let assigned_partitions =
        topics.map(|(topic, partitions)| TopicPartition { topic, partitions: partitions.clone() }).collect();
    embedded_protocol::encode(&ConsumerProtocolAssignment { assigned_partitions, user_data: None }, 1)
}
