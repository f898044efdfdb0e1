//! The scripted broker as a coordinator: one group of one member, to which it gives the partitions that the test names.

use std::collections::{BTreeMap, BTreeSet};

use super::TOPIC;
use crate::Response;
use crate::wire::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JOIN_EPOCH, LEAVE_EPOCH, TopicPartitions,
};
use crate::wire::messages::delete_groups::{DeletableGroupResult, DeleteGroupsResponse};
use crate::wire::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use crate::wire::messages::find_coordinator::{Coordinator, FindCoordinatorResponse};
use crate::wire::messages::list_groups::{ListGroupsResponse, ListedGroup};
use crate::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use crate::wire::{ApiKey, ErrorCode, Reader, RequestHeader, Uuid, Versioned, encode_response};

/// Between two words of the member.
const INTERVAL_MS: i32 = 20;

/// What the coordinator keeps.
pub(in crate::client) struct Group {
    /// The member's epoch; 0 while there is none.
    pub(in crate::client) epoch: i32,
    /// What the member shall have.
    pub(in crate::client) given: BTreeSet<i32>,
    /// What it was told last, and what it said that it has.
    told: BTreeSet<i32>,
    pub(in crate::client) owned: BTreeSet<i32>,
    /// Positions by partition.
    pub(in crate::client) stored: BTreeMap<i32, i64>,
    /// The epochs of all words so far.
    pub(in crate::client) words: Vec<i32>,
}

impl Group {
    pub(super) fn new() -> Group {
        Group {
            epoch: 0,
            given: BTreeSet::new(),
            told: BTreeSet::new(),
            owned: BTreeSet::new(),
            stored: BTreeMap::new(),
            words: Vec::new(),
        }
    }

    pub(super) fn answer(
        &mut self,
        (topic_id, port): (Uuid, u16),
        header: &RequestHeader,
        body: &[u8],
        refused: Option<ErrorCode>,
    ) -> Response {
        let (version, id) = (header.api_version, header.correlation_id);
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let error_code = refused.unwrap_or(ErrorCode::None).code();
        match header.api() {
            Some(ApiKey::FindCoordinator) => {
                let coordinator =
                    Coordinator { error_code, host: "127.0.0.1", port: i32::from(port), ..Default::default() };
                let response = FindCoordinatorResponse { coordinators: vec![coordinator], ..Default::default() };
                encode_response(&response, version, id, Vec::new())
            }
            Some(ApiKey::ConsumerGroupHeartbeat) => {
                let request = ConsumerGroupHeartbeatRequest::decode(reader, version).unwrap();
                encode_response(&self.heartbeat(topic_id, &request, error_code), version, id, Vec::new())
            }
            Some(ApiKey::OffsetCommit) => {
                let request = OffsetCommitRequest::decode(reader, version).unwrap();
                encode_response(&self.commit(&request, error_code), version, id, Vec::new())
            }
            Some(ApiKey::OffsetFetch) => {
                let request = OffsetFetchRequest::decode(reader, version).unwrap();
                encode_response(&self.fetch(&request, error_code), version, id, Vec::new())
            }
            Some(ApiKey::ListGroups) => {
                let listed = ListedGroup { group_id: "old", protocol_type: "consumer", ..Default::default() };
                let response = ListGroupsResponse { error_code, groups: vec![listed], ..Default::default() };
                encode_response(&response, version, id, Vec::new())
            }
            Some(ApiKey::DescribeGroups) => {
                let request = DescribeGroupsRequest::decode(reader, version).unwrap();
                let state = |id: &str| if id == "old" { "Empty" } else { "Dead" };
                let described = request.groups.iter().map(|id| DescribedGroup {
                    error_code,
                    group_id: id,
                    group_state: state(id),
                    ..Default::default()
                });
                let response = DescribeGroupsResponse { groups: described.collect(), ..Default::default() };
                encode_response(&response, version, id, Vec::new())
            }
            Some(ApiKey::DeleteGroups) => {
                let result = DeletableGroupResult { error_code, ..Default::default() };
                let response = DeleteGroupsResponse { results: vec![result], ..Default::default() };
                encode_response(&response, version, id, Vec::new())
            }
            other => panic!("the client does not ask for {other:?}"),
        }
    }

    fn heartbeat(
        &mut self,
        topic_id: Uuid,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        refused: i16,
    ) -> ConsumerGroupHeartbeatResponse<'static> {
        assert_eq!((request.group_id, request.member_id), ("g", "m"));
        self.words.push(request.member_epoch);
        let mut response = ConsumerGroupHeartbeatResponse {
            error_code: refused,
            heartbeat_interval_ms: INTERVAL_MS,
            ..Default::default()
        };
        match request.member_epoch {
            _ if refused != 0 => return response,
            LEAVE_EPOCH => self.epoch = 0,
            JOIN_EPOCH => {
                assert_eq!(request.subscribed_topic_names.as_deref(), Some(&[TOPIC][..]));
                self.epoch += 1;
                self.owned.clear();
            }
            epoch if epoch != self.epoch => {
                response.error_code = ErrorCode::FencedMemberEpoch.code();
                return response;
            }
            _ => {}
        }
        if let Some(owned) = &request.topic_partitions {
            self.owned = owned.iter().flat_map(|topic| topic.partitions.iter().copied()).collect();
        }
        if self.told != self.given || request.member_epoch == JOIN_EPOCH || request.subscribed_topic_names.is_some() {
            self.told = self.given.clone();
            let partitions = self.given.iter().copied().collect();
            let topic_partitions = vec![TopicPartitions { topic_id, partitions }];
            response.assignment = Some(Assignment { topic_partitions });
        }
        response.member_epoch = self.epoch;
        response
    }

    fn commit<'a>(&mut self, request: &OffsetCommitRequest<'a>, refused: i16) -> OffsetCommitResponse<'a> {
        let stale = request.generation_id_or_member_epoch >= 0 && request.generation_id_or_member_epoch != self.epoch;
        let error_code = if stale && refused == 0 { ErrorCode::StaleMemberEpoch.code() } else { refused };
        let topic = &request.topics[0];
        let partition = |index| OffsetCommitResponsePartition { partition_index: index, error_code };
        let partitions = topic.partitions.iter().map(|each| partition(each.partition_index)).collect();
        if error_code == 0 {
            self.stored.extend(topic.partitions.iter().map(|each| (each.partition_index, each.committed_offset)));
        }
        let topic = OffsetCommitResponseTopic { name: topic.name, partitions, ..Default::default() };
        OffsetCommitResponse { topics: vec![topic], ..Default::default() }
    }

    fn fetch<'a>(&self, request: &OffsetFetchRequest<'a>, error_code: i16) -> OffsetFetchResponse<'a> {
        let asked = match &request.groups[0].topics {
            Some(topics) => topics.iter().flat_map(|topic| topic.partition_indexes.clone()).collect(),
            None => self.stored.keys().copied().collect::<Vec<_>>(),
        };
        let partition = |index: &i32| OffsetFetchResponsePartitions {
            partition_index: *index,
            committed_offset: self.stored.get(index).copied().unwrap_or(-1),
            metadata: Some(""),
            ..Default::default()
        };
        let topic = OffsetFetchResponseTopics {
            name: TOPIC,
            partitions: asked.iter().map(partition).collect(),
            ..Default::default()
        };
        let group = OffsetFetchResponseGroup { error_code, topics: vec![topic], ..Default::default() };
        OffsetFetchResponse { groups: vec![group], ..Default::default() }
    }
}
