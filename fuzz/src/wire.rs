//! Drivers for the wire: the stream into frames, requests and responses into messages.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringmill_net::transport::{Stream, memory};
use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::frame::{LENGTH_BYTES, REQUEST_BYTES_MIN};
use ringmill_net::wire::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use ringmill_net::wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringmill_net::wire::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use ringmill_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use ringmill_net::wire::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsResponse};
use ringmill_net::wire::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use ringmill_net::wire::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ringmill_net::wire::messages::delete_records::{DeleteRecordsRequest, DeleteRecordsResponse};
use ringmill_net::wire::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use ringmill_net::wire::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
use ringmill_net::wire::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ringmill_net::wire::messages::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use ringmill_net::wire::messages::describe_producers::{DescribeProducersRequest, DescribeProducersResponse};
use ringmill_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use ringmill_net::wire::messages::fetch::{FetchRequest, FetchResponse};
use ringmill_net::wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringmill_net::wire::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringmill_net::wire::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use ringmill_net::wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use ringmill_net::wire::messages::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use ringmill_net::wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ringmill_net::wire::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataResponse};
use ringmill_net::wire::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use ringmill_net::wire::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use ringmill_net::wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use ringmill_net::wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use ringmill_net::wire::messages::produce::{ProduceRequest, ProduceResponse};
use ringmill_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use ringmill_net::wire::writer::Writer;
use ringmill_net::wire::{ApiKey, Message, Reader, Records, RequestHeader};
use ringmill_net::{Answer, Budget, Connections, Handler, Limits, Outcome, Piece, Request, serve};

use crate::allocation::peak_of;

/// A decoder may take this much memory at first, whatever a frame claims.
const DECODED_BYTES_BASE: usize = 1 << 20;

/// And so many times the frame's own size: an array's entry may be a byte in the frame, and a struct with lists of its own in memory.
const DECODED_BYTES_FACTOR: usize = 200;

/// The largest frame of these connections: small, so that inputs reach it.
const FRAME_BYTES_MAX: usize = 4096;

/// A whole connection: the first byte says in how large pieces the rest arrives. The handler must get exactly the requests that
/// a plain reading of the bytes gives, up to the first that breaks the protocol.
pub fn frames(data: &[u8]) {
    let Some((&pace, stream)) = data.split_first() else { return };
    let handler = Rc::new(Collect::default());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime takes no resources");
    let collect = Rc::clone(&handler);
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let options = memory::Options {
            seed: pace.into(),
            delay_max: Duration::ZERO,
            chunk_bytes_max: usize::from(pace) + 1,
            capacity_bytes: stream.len() + 1,
            cut_after_bytes: None,
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        let (client, server) = memory::connection(address, address, options);
        let sent = client.send(&mut vec![Piece::Bytes(Bytes::copy_from_slice(stream))]).await;
        sent.expect("the pipe holds the whole stream");
        client.shutdown();
        let limits = Limits { request_bytes_max: FRAME_BYTES_MAX, ..Limits::default() };
        serve(server, collect, Connections::new(limits, Budget::new(1 << 20))).await;
    });
    assert_eq!(*handler.0.borrow(), plainly_split(stream));
}

/// Header and body of every request so far.
type Requests = Vec<(RequestHeader, Vec<u8>)>;

#[derive(Default)]
struct Collect(RefCell<Requests>);

impl Handler for Collect {
    async fn start(&self, request: Request) -> Answer {
        self.0.borrow_mut().push((request.header, request.body.to_vec()));
        Box::pin(std::future::ready(Outcome::Silent))
    }
}

fn plainly_split(mut stream: &[u8]) -> Requests {
    let mut requests = Vec::new();
    while let Some((announced, rest)) = stream.split_first_chunk::<LENGTH_BYTES>() {
        let length = usize::try_from(i32::from_be_bytes(*announced)).ok();
        let length = length.filter(|length| (REQUEST_BYTES_MIN..=FRAME_BYTES_MAX).contains(length));
        let Some((frame, behind)) = length.and_then(|length| rest.split_at_checked(length)) else { break };
        let Ok((header, header_bytes)) = RequestHeader::parse(frame) else { break };
        requests.push((header, frame[header_bytes..].to_vec()));
        stream = behind;
    }
    requests
}

/// A request's frame without its length, as the broker reads it. What decodes is encoded, and that decodes to the same.
pub fn requests(data: &[u8]) {
    let Ok((header, header_bytes)) = RequestHeader::parse(data) else { return };
    let Some(api) = header.api().and_then(|key| SERVED.iter().find(|api| api.key == key)) else { return };
    if api.serves(header.api_version) {
        let canonical =
            REQUESTS.iter().find(|(key, _)| *key == api.key).expect("every API that is served is listed here").1;
        twice(canonical, &data[header_bytes..], header.api_version);
    }
}

/// A response's body, as the client reads it: the first two bytes choose API and version, the rest is decoded.
pub fn responses(data: &[u8]) {
    let Some((&[choice, version], body)) = data.split_first_chunk() else { return };
    let (key, canonical) = RESPONSES[usize::from(choice) % RESPONSES.len()];
    let Some(api) = SERVED.iter().find(|api| api.key == key) else { return };
    let versions = api.version_max - api.version_min + 1;
    twice(canonical, body, api.version_min + i16::from(version) % versions);
}

/// An answer of the broker's: it is what this program writes, to the byte.
///
/// # Panics
/// When it is not.
pub fn is_ours(key: ApiKey, version: i16, body: &[u8]) {
    let canonical =
        RESPONSES.iter().find(|(response, _)| *response == key).expect("every API that is served is listed").1;
    let written = canonical(body, version).unwrap_or_else(|| panic!("{key:?} {version}: an answer cannot be read"));
    assert_eq!(written, body, "{key:?} {version}: there is more in the answer than its message");
}

/// Decodes a body and writes it as we write it; `None` when it is no message of this version.
type Canonical = fn(&[u8], i16) -> Option<Vec<u8>>;

// Tables of APIs that are not served yet are listed too: they take part once they are in SERVED.
const REQUESTS: &[(ApiKey, Canonical)] = &[
    (ApiKey::Produce, |body, version| canonical::<ProduceRequest<'_>>(body, version, produced)),
    (ApiKey::Fetch, |body, version| canonical::<FetchRequest<'_>>(body, version, none)),
    (ApiKey::ListOffsets, |body, version| canonical::<ListOffsetsRequest<'_>>(body, version, none)),
    (ApiKey::Metadata, |body, version| canonical::<MetadataRequest<'_>>(body, version, none)),
    (ApiKey::FindCoordinator, |body, version| canonical::<FindCoordinatorRequest<'_>>(body, version, none)),
    (ApiKey::ApiVersions, |body, version| canonical::<ApiVersionsRequest<'_>>(body, version, none)),
    (ApiKey::CreateTopics, |body, version| canonical::<CreateTopicsRequest<'_>>(body, version, none)),
    (ApiKey::DeleteTopics, |body, version| canonical::<DeleteTopicsRequest<'_>>(body, version, none)),
    (ApiKey::InitProducerId, |body, version| canonical::<InitProducerIdRequest<'_>>(body, version, none)),
    (ApiKey::CreatePartitions, |body, version| canonical::<CreatePartitionsRequest<'_>>(body, version, none)),
    (ApiKey::DeleteRecords, |body, version| canonical::<DeleteRecordsRequest<'_>>(body, version, none)),
    (ApiKey::DescribeConfigs, |body, version| canonical::<DescribeConfigsRequest<'_>>(body, version, none)),
    (ApiKey::AlterConfigs, |body, version| canonical::<AlterConfigsRequest<'_>>(body, version, none)),
    (ApiKey::IncrementalAlterConfigs, |body, version| {
        canonical::<IncrementalAlterConfigsRequest<'_>>(body, version, none)
    }),
    (ApiKey::ListConfigResources, |body, version| canonical::<ListConfigResourcesRequest>(body, version, none)),
    (ApiKey::DescribeCluster, |body, version| canonical::<DescribeClusterRequest>(body, version, none)),
    (ApiKey::DescribeTopicPartitions, |body, version| {
        canonical::<DescribeTopicPartitionsRequest<'_>>(body, version, none)
    }),
    (ApiKey::DescribeLogDirs, |body, version| canonical::<DescribeLogDirsRequest<'_>>(body, version, none)),
    (ApiKey::DescribeProducers, |body, version| canonical::<DescribeProducersRequest<'_>>(body, version, none)),
    (ApiKey::OffsetForLeaderEpoch, |body, version| canonical::<OffsetForLeaderEpochRequest<'_>>(body, version, none)),
    (ApiKey::ConsumerGroupDescribe, |body, version| canonical::<ConsumerGroupDescribeRequest<'_>>(body, version, none)),
    (ApiKey::ConsumerGroupHeartbeat, |body, version| {
        canonical::<ConsumerGroupHeartbeatRequest<'_>>(body, version, none)
    }),
    (ApiKey::DeleteGroups, |body, version| canonical::<DeleteGroupsRequest<'_>>(body, version, none)),
    (ApiKey::DescribeGroups, |body, version| canonical::<DescribeGroupsRequest<'_>>(body, version, none)),
    (ApiKey::Heartbeat, |body, version| canonical::<HeartbeatRequest<'_>>(body, version, none)),
    (ApiKey::JoinGroup, |body, version| canonical::<JoinGroupRequest<'_>>(body, version, none)),
    (ApiKey::LeaveGroup, |body, version| canonical::<LeaveGroupRequest<'_>>(body, version, none)),
    (ApiKey::ListGroups, |body, version| canonical::<ListGroupsRequest<'_>>(body, version, none)),
    (ApiKey::OffsetCommit, |body, version| canonical::<OffsetCommitRequest<'_>>(body, version, none)),
    (ApiKey::OffsetDelete, |body, version| canonical::<OffsetDeleteRequest<'_>>(body, version, none)),
    (ApiKey::OffsetFetch, |body, version| canonical::<OffsetFetchRequest<'_>>(body, version, none)),
    (ApiKey::SyncGroup, |body, version| canonical::<SyncGroupRequest<'_>>(body, version, none)),
];

const RESPONSES: &[(ApiKey, Canonical)] = &[
    (ApiKey::Produce, |body, version| canonical::<ProduceResponse<'_>>(body, version, none)),
    (ApiKey::Fetch, |body, version| canonical::<FetchResponse<'_>>(body, version, fetched)),
    (ApiKey::ListOffsets, |body, version| canonical::<ListOffsetsResponse<'_>>(body, version, none)),
    (ApiKey::Metadata, |body, version| canonical::<MetadataResponse<'_>>(body, version, none)),
    (ApiKey::FindCoordinator, |body, version| canonical::<FindCoordinatorResponse<'_>>(body, version, none)),
    (ApiKey::ApiVersions, |body, version| canonical::<ApiVersionsResponse<'_>>(body, version, none)),
    (ApiKey::CreateTopics, |body, version| canonical::<CreateTopicsResponse<'_>>(body, version, none)),
    (ApiKey::DeleteTopics, |body, version| canonical::<DeleteTopicsResponse<'_>>(body, version, none)),
    (ApiKey::InitProducerId, |body, version| canonical::<InitProducerIdResponse>(body, version, none)),
    (ApiKey::CreatePartitions, |body, version| canonical::<CreatePartitionsResponse<'_>>(body, version, none)),
    (ApiKey::DeleteRecords, |body, version| canonical::<DeleteRecordsResponse<'_>>(body, version, none)),
    (ApiKey::DescribeConfigs, |body, version| canonical::<DescribeConfigsResponse<'_>>(body, version, none)),
    (ApiKey::AlterConfigs, |body, version| canonical::<AlterConfigsResponse<'_>>(body, version, none)),
    (ApiKey::IncrementalAlterConfigs, |body, version| {
        canonical::<IncrementalAlterConfigsResponse<'_>>(body, version, none)
    }),
    (ApiKey::ListConfigResources, |body, version| canonical::<ListConfigResourcesResponse<'_>>(body, version, none)),
    (ApiKey::DescribeCluster, |body, version| canonical::<DescribeClusterResponse<'_>>(body, version, none)),
    (ApiKey::DescribeTopicPartitions, |body, version| {
        canonical::<DescribeTopicPartitionsResponse<'_>>(body, version, none)
    }),
    (ApiKey::DescribeLogDirs, |body, version| canonical::<DescribeLogDirsResponse<'_>>(body, version, none)),
    (ApiKey::DescribeProducers, |body, version| canonical::<DescribeProducersResponse<'_>>(body, version, none)),
    (ApiKey::OffsetForLeaderEpoch, |body, version| canonical::<OffsetForLeaderEpochResponse<'_>>(body, version, none)),
    (ApiKey::ConsumerGroupDescribe, |body, version| {
        canonical::<ConsumerGroupDescribeResponse<'_>>(body, version, none)
    }),
    (ApiKey::ConsumerGroupHeartbeat, |body, version| {
        canonical::<ConsumerGroupHeartbeatResponse<'_>>(body, version, none)
    }),
    (ApiKey::DeleteGroups, |body, version| canonical::<DeleteGroupsResponse<'_>>(body, version, none)),
    (ApiKey::DescribeGroups, |body, version| canonical::<DescribeGroupsResponse<'_>>(body, version, none)),
    (ApiKey::Heartbeat, |body, version| canonical::<HeartbeatResponse>(body, version, none)),
    (ApiKey::JoinGroup, |body, version| canonical::<JoinGroupResponse<'_>>(body, version, none)),
    (ApiKey::LeaveGroup, |body, version| canonical::<LeaveGroupResponse<'_>>(body, version, none)),
    (ApiKey::ListGroups, |body, version| canonical::<ListGroupsResponse<'_>>(body, version, none)),
    (ApiKey::OffsetCommit, |body, version| canonical::<OffsetCommitResponse<'_>>(body, version, none)),
    (ApiKey::OffsetDelete, |body, version| canonical::<OffsetDeleteResponse<'_>>(body, version, none)),
    (ApiKey::OffsetFetch, |body, version| canonical::<OffsetFetchResponse<'_>>(body, version, none)),
    (ApiKey::SyncGroup, |body, version| canonical::<SyncGroupResponse<'_>>(body, version, none)),
];

/// What we write must be read as it was meant: writing it once more changes no byte.
fn twice(canonical: Canonical, body: &[u8], version: i16) {
    let Some(written) = canonical(body, version) else { return };
    let again = canonical(&written, version).expect("what was written can be read");
    assert_eq!(again, written);
}

fn canonical<'a, M: Message<'a>>(
    body: &'a [u8],
    version: i16,
    places: impl Fn(&M) -> Vec<Range<usize>>,
) -> Option<Vec<u8>> {
    // What the broker gives to the arrays of one request.
    const ARRAY_BYTES_MAX: usize = 16 << 20;
    let decode = || M::decode(&mut Reader::bounded(body, ARRAY_BYTES_MAX), version);
    let (message, peak_bytes) = peak_of(decode);
    assert!(
        peak_bytes <= DECODED_BYTES_BASE + DECODED_BYTES_FACTOR * body.len(),
        "{peak_bytes} bytes for {}",
        body.len()
    );
    let message = message.ok()?;
    let places = places(&message);
    assert!(places.iter().all(|place| place.start <= place.end && place.end <= body.len()), "records lie in the body");
    let size = message.size(version);
    let mut writer = Writer::default();
    message.encode(&mut writer, version);
    assert_eq!(writer.bytes.len(), size.own_bytes, "a message is as long as it was counted");

    let mut written = Vec::with_capacity(body.len());
    let (mut taken, mut places) = (0, places.into_iter().filter(|place| !place.is_empty()));
    for splice in writer.splices {
        written.extend_from_slice(&writer.bytes[taken..splice.at]);
        let place = places.next().expect("a splice stands for records");
        assert_eq!(place.len(), splice.length);
        written.extend_from_slice(&body[place]);
        taken = splice.at;
    }
    written.extend_from_slice(&writer.bytes[taken..]);
    Some(written)
}

fn none<M>(_: &M) -> Vec<Range<usize>> {
    Vec::new()
}

fn produced(request: &ProduceRequest<'_>) -> Vec<Range<usize>> {
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.filter_map(|partition| partition.records.map(Records::range)).collect()
}

fn fetched(response: &FetchResponse<'_>) -> Vec<Range<usize>> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.filter_map(|partition| partition.records.map(Records::range)).collect()
}
