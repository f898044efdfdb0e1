//! The bytes that attackers send: requests that are sound, half of a frame, and no frames at all.

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_net::Piece;
use ringmill_net::wire::messages::api_versions::ApiVersionsRequest;
use ringmill_net::wire::messages::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, JOIN_EPOCH};
use ringmill_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use ringmill_net::wire::messages::describe_configs::{
    BROKER_RESOURCE, DescribeConfigsRequest, DescribeConfigsResource, TOPIC_RESOURCE,
};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ringmill_net::wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use ringmill_net::wire::messages::list_groups::ListGroupsRequest;
use ringmill_net::wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ringmill_net::wire::messages::metadata::MetadataRequest;
use ringmill_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ringmill_net::wire::{ApiKey, Message, encode_request};

use super::super::honest::{self, produce_request};

/// A topic of many partitions.
pub(in super::super) const WIDE_TOPIC: &str = "wide";

/// Its partitions.
pub(in super::super) const WIDE_PARTITIONS: i32 = 1000;

/// The last version whose answers end with the error code.
pub(super) const COMMIT_VERSION: i16 = 7;

/// A version in which a new member is in at once.
pub(super) const JOIN_VERSION: i16 = 3;

pub(super) const HEARTBEAT_VERSION: i16 = 1;

/// The broker takes names of 1,024 bytes.
const GROUP_NAME_BYTES: usize = 1_000;

/// What a classic member tells.
const PROTOCOLS: usize = 8;
const PROTOCOL_BYTES: usize = 1_000;

/// What a consumer member tells, and how many are in one group.
const TOPIC_NAMES: usize = 50;
const MEMBERS_OF_A_GROUP: u64 = 20;

/// The longest session that the broker takes.
const PATIENCE_MS: i32 = 1_800_000;

/// A topic with some megabytes of records in its one partition, and whose batches are decompressed as they come.
pub(in super::super) const LARGE_TOPIC: &str = "large";

/// A whole request.
pub(super) fn request<'a, M: Message<'a>>(message: &M, version: i16, records: Vec<Piece>) -> Vec<u8> {
    bytes_of(encode_request(message, version, 1, Some("hostile"), records))
}

/// One frame out of its pieces.
pub(super) fn bytes_of(pieces: Vec<Piece>) -> Vec<u8> {
    let bytes = |piece| match piece {
        Piece::Bytes(bytes) => bytes,
        Piece::File { .. } => Bytes::new(),
    };
    pieces.into_iter().map(bytes).collect::<Vec<_>>().concat()
}

pub(super) fn api_versions() -> Vec<u8> {
    request(&ApiVersionsRequest::default(), 0, Vec::new())
}

/// Asks about all topics.
pub(super) fn metadata_of_all() -> Vec<u8> {
    request(&MetadataRequest { topics: None, ..MetadataRequest::default() }, 9, Vec::new())
}

/// A fetch of `count` partitions, of which the wide topic has the first thousand.
pub(super) fn fetch_wide(count: i32, max_wait_ms: i32, min_bytes: i32, session_epoch: i32) -> Vec<u8> {
    let partition = |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic =
        FetchTopic { topic: WIDE_TOPIC, partitions: (0..count).map(partition).collect(), ..FetchTopic::default() };
    request(
        &FetchRequest { max_wait_ms, min_bytes, session_epoch, topics: vec![topic], ..FetchRequest::default() },
        12,
        Vec::new(),
    )
}

/// A fetch of all that the large topic has.
pub(super) fn fetch_large() -> Vec<u8> {
    let partition = FetchPartition { partition_max_bytes: i32::MAX, ..FetchPartition::default() };
    let topic = FetchTopic { topic: LARGE_TOPIC, partitions: vec![partition], ..FetchTopic::default() };
    let fetch = FetchRequest { max_wait_ms: 0, topics: vec![topic], ..FetchRequest::default() };
    request(&fetch, 12, Vec::new())
}

/// Asks for the first record from a time on, of all partitions of the wide topic.
pub(super) fn list_offsets() -> Vec<u8> {
    let partition =
        |partition_index| ListOffsetsPartition { partition_index, timestamp: 0, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: WIDE_TOPIC, partitions: (0..WIDE_PARTITIONS).map(partition).collect() };
    request(&ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() }, 5, Vec::new())
}

/// Asks for the settings of the broker and of a topic, with what each means.
pub(super) fn describe_configs() -> Vec<u8> {
    let resource = |resource_type, resource_name| DescribeConfigsResource {
        resource_type,
        resource_name,
        ..DescribeConfigsResource::default()
    };
    let request_of_all = DescribeConfigsRequest {
        resources: vec![resource(BROKER_RESOURCE, "1"), resource(TOPIC_RESOURCE, WIDE_TOPIC)],
        include_synonyms: true,
        include_documentation: true,
    };
    request(&request_of_all, 4, Vec::new())
}

/// Wants a topic with many partitions.
pub(super) fn create_topic(name: &str, partitions: i32) -> Vec<u8> {
    let topic = CreatableTopic { name, num_partitions: partitions, replication_factor: 1, ..CreatableTopic::default() };
    request(
        &CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() },
        4,
        Vec::new(),
    )
}

/// A produce of one batch with `value_bytes` of zeros.
pub(super) fn produce(topic: &str, value_bytes: usize, codec: Codec, acks: i16) -> Vec<u8> {
    let mut batch = BatchBuilder::new(codec, None);
    batch.push(0, None, Some(&vec![0; value_bytes]), &[]);
    let batch = batch.finish().freeze();
    request(&produce_request(topic, 0, batch.len(), acks), 9, vec![Piece::Bytes(batch)])
}

/// An offset of a group that nobody is in. Its name is about as long as a name may be, and as no other's.
pub(super) fn commit_as(number: u64) -> Vec<u8> {
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: 1, ..Default::default() }];
    let topics = vec![OffsetCommitRequestTopic { name: honest::TOPIC, partitions, ..Default::default() }];
    let group_id = &format!("{number:0GROUP_NAME_BYTES$}");
    request(&OffsetCommitRequest { group_id, topics, ..Default::default() }, COMMIT_VERSION, Vec::new())
}

/// A classic member alone in a group, with protocols that nobody else has. It may be silent for as long as any may.
pub(super) fn join_as(number: u64) -> Vec<u8> {
    let names: Vec<String> = (0..PROTOCOLS).map(|protocol| format!("{number}-{protocol}")).collect();
    let protocol = |name| JoinGroupRequestProtocol { name, metadata: &[7; PROTOCOL_BYTES] };
    let joins = JoinGroupRequest {
        group_id: &format!("members-{number}"),
        session_timeout_ms: PATIENCE_MS,
        rebalance_timeout_ms: PATIENCE_MS,
        protocol_type: "consumer",
        protocols: names.iter().map(|name| protocol(name.as_str())).collect(),
        ..Default::default()
    };
    request(&joins, JOIN_VERSION, Vec::new())
}

/// A consumer member that names topics which are not there, in a group with some like it.
pub(super) fn heartbeat_as(number: u64) -> Vec<u8> {
    let names: Vec<String> = (0..TOPIC_NAMES).map(|topic| format!("{number:0>100}-{topic}")).collect();
    let joins = ConsumerGroupHeartbeatRequest {
        group_id: &format!("consumers-{}", number / MEMBERS_OF_A_GROUP),
        member_id: &format!("{number}"),
        member_epoch: JOIN_EPOCH,
        rebalance_timeout_ms: PATIENCE_MS,
        subscribed_topic_names: Some(names.iter().map(String::as_str).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    request(&joins, HEARTBEAT_VERSION, Vec::new())
}

/// Asks for all groups.
pub(super) fn list_groups() -> Vec<u8> {
    request(&ListGroupsRequest::default(), 5, Vec::new())
}

/// A request of an API that the broker does not serve.
pub(super) fn unserved() -> Vec<u8> {
    raw(ApiKey::Produce.code() + 999, 0, &[])
}

/// The length of a frame that is to have `bytes`, and a header of a produce.
pub(super) fn claim(bytes: u32) -> Vec<u8> {
    let mut frame = raw(ApiKey::Produce.code(), 9, &[]);
    frame[..4].copy_from_slice(&bytes.to_be_bytes());
    frame
}

fn raw(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let header = [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1], &[0, 7], b"hostile"].concat();
    let length = u32::try_from(header.len() + body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &header, body].concat()
}

/// What speaks something else: TLS, HTTP, nothing at all.
pub(super) const STRANGERS: [&[u8]; 3] =
    [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 64]];
