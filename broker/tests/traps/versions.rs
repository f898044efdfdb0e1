//! Which versions are spoken, and what happens with those that are not.

use std::collections::BTreeSet;

use ringmill_net::Piece;
use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::*;
use ringmill_net::wire::messages::{
    api_versions::{ApiVersionsRequest, ApiVersionsResponse},
    fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic},
    list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic},
    metadata::{MetadataRequest, MetadataResponse},
};
use ringmill_net::wire::{ApiKey, ErrorCode, Message, encode_request};

use crate::raw::{Raw, batch, start};
use crate::{OK, named, produce, produce_request, with_logs};

/// sarama up to 1.22 (old Telegrafs and Filebeats) asks for no versions and begins with those it thinks right; rskafka fetches with 4 only.
#[test]
fn clients_that_never_ask_for_versions_are_served() {
    for metadata_version in [0, 1, 5] {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(dir.path(), "auto");
        let mut client = Raw::connect(broker.address());
        let ask = MetadataRequest { topics: named("logs"), ..MetadataRequest::default() };
        let frame = client.call(&ask, metadata_version);
        let answer: MetadataResponse<'_> = frame.decode(metadata_version);
        let told = (answer.brokers[0].host, answer.brokers[0].port, answer.topics[0].error_code);
        assert_eq!(told, ("127.0.0.1", i32::from(broker.address().port()), OK), "Metadata {metadata_version}");

        let records = batch(3, 100);
        let request = produce_request("logs", [0; 16], &records);
        let produced = produce(&mut client, &request, 3, records, |told| (told.error_code, told.base_offset));
        assert_eq!(produced, (OK, 0));

        let partitions = vec![ListOffsetsPartition { timestamp: -1, ..ListOffsetsPartition::default() }];
        let topics = vec![ListOffsetsTopic { name: "logs", partitions }];
        let frame = client.call(&ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() }, 1);
        assert_eq!(frame.decode::<ListOffsetsResponse<'_>>(1).topics[0].partitions[0].offset, 3);

        let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() }];
        let topics = vec![FetchTopic { topic: "logs", partitions, ..FetchTopic::default() }];
        let frame = client.call(&FetchRequest { min_bytes: 1, topics, ..FetchRequest::default() }, 4);
        let answer: FetchResponse<'_> = frame.decode(4);
        assert!(answer.responses[0].partitions[0].records.unwrap().length() > 300);
        broker.stop();
    }
}

/// Asks in every version that is served and reads the answer in the same; the API, to be counted.
fn every_version<'a, Response: Message<'static>>(client: &mut Raw, request: &impl Message<'a>) -> ApiKey {
    let Some(api) = SERVED.iter().find(|api| api.key == Response::KEY) else { return Response::KEY };
    assert_eq!(api.version_min..=api.version_max, Response::VERSIONS);
    for version in Response::VERSIONS {
        let frame = Box::leak(Box::new(client.call(request, version)));
        let _: Response = frame.decode(version);
    }
    Response::KEY
}

/// By producers and consumers.
fn ask_as_a_client(client: &mut Raw) -> Vec<ApiKey> {
    let acknowledged = produce::ProduceRequest { acks: 1, ..Default::default() };
    vec![
        every_version::<api_versions::ApiVersionsResponse<'_>>(client, &api_versions::ApiVersionsRequest::default()),
        every_version::<fetch::FetchResponse<'_>>(client, &fetch::FetchRequest::default()),
        every_version::<find_coordinator::FindCoordinatorResponse<'_>>(
            client,
            &find_coordinator::FindCoordinatorRequest::default(),
        ),
        every_version::<init_producer_id::InitProducerIdResponse>(
            client,
            &init_producer_id::InitProducerIdRequest::default(),
        ),
        every_version::<list_offsets::ListOffsetsResponse<'_>>(client, &list_offsets::ListOffsetsRequest::default()),
        every_version::<metadata::MetadataResponse<'_>>(client, &metadata::MetadataRequest::default()),
        every_version::<offset_for_leader_epoch::OffsetForLeaderEpochResponse<'_>>(
            client,
            &offset_for_leader_epoch::OffsetForLeaderEpochRequest::default(),
        ),
        every_version::<produce::ProduceResponse<'_>>(client, &acknowledged),
    ]
}

/// By whoever looks after topics.
fn ask_about_topics(client: &mut Raw) -> Vec<ApiKey> {
    vec![
        every_version::<create_partitions::CreatePartitionsResponse<'_>>(
            client,
            &create_partitions::CreatePartitionsRequest::default(),
        ),
        every_version::<create_topics::CreateTopicsResponse<'_>>(
            client,
            &create_topics::CreateTopicsRequest::default(),
        ),
        every_version::<delete_records::DeleteRecordsResponse<'_>>(
            client,
            &delete_records::DeleteRecordsRequest::default(),
        ),
        every_version::<delete_topics::DeleteTopicsResponse<'_>>(
            client,
            &delete_topics::DeleteTopicsRequest::default(),
        ),
        every_version::<describe_topic_partitions::DescribeTopicPartitionsResponse<'_>>(
            client,
            &describe_topic_partitions::DescribeTopicPartitionsRequest::default(),
        ),
        every_version::<describe_producers::DescribeProducersResponse<'_>>(
            client,
            &describe_producers::DescribeProducersRequest::default(),
        ),
    ]
}

/// By whoever looks after brokers.
fn ask_about_brokers(client: &mut Raw) -> Vec<ApiKey> {
    vec![
        every_version::<alter_configs::AlterConfigsResponse<'_>>(
            client,
            &alter_configs::AlterConfigsRequest::default(),
        ),
        every_version::<describe_cluster::DescribeClusterResponse<'_>>(
            client,
            &describe_cluster::DescribeClusterRequest::default(),
        ),
        every_version::<describe_configs::DescribeConfigsResponse<'_>>(
            client,
            &describe_configs::DescribeConfigsRequest::default(),
        ),
        every_version::<describe_log_dirs::DescribeLogDirsResponse<'_>>(
            client,
            &describe_log_dirs::DescribeLogDirsRequest::default(),
        ),
        every_version::<incremental_alter_configs::IncrementalAlterConfigsResponse<'_>>(
            client,
            &incremental_alter_configs::IncrementalAlterConfigsRequest::default(),
        ),
        every_version::<list_config_resources::ListConfigResourcesResponse<'_>>(
            client,
            &list_config_resources::ListConfigResourcesRequest::default(),
        ),
    ]
}

/// By members of groups, and whoever looks after these.
fn ask_about_groups(client: &mut Raw) -> Vec<ApiKey> {
    vec![
        every_version::<offset_commit::OffsetCommitResponse<'_>>(
            client,
            &offset_commit::OffsetCommitRequest::default(),
        ),
        every_version::<offset_fetch::OffsetFetchResponse<'_>>(client, &offset_fetch::OffsetFetchRequest::default()),
        every_version::<join_group::JoinGroupResponse<'_>>(client, &join_group::JoinGroupRequest::default()),
        every_version::<sync_group::SyncGroupResponse<'_>>(client, &sync_group::SyncGroupRequest::default()),
        every_version::<heartbeat::HeartbeatResponse>(client, &heartbeat::HeartbeatRequest::default()),
        every_version::<leave_group::LeaveGroupResponse<'_>>(client, &leave_group::LeaveGroupRequest::default()),
        every_version::<describe_groups::DescribeGroupsResponse<'_>>(
            client,
            &describe_groups::DescribeGroupsRequest::default(),
        ),
        every_version::<list_groups::ListGroupsResponse<'_>>(client, &list_groups::ListGroupsRequest::default()),
        every_version::<delete_groups::DeleteGroupsResponse<'_>>(
            client,
            &delete_groups::DeleteGroupsRequest::default(),
        ),
        every_version::<offset_delete::OffsetDeleteResponse<'_>>(
            client,
            &offset_delete::OffsetDeleteRequest::default(),
        ),
        every_version::<consumer_group_heartbeat::ConsumerGroupHeartbeatResponse<'_>>(
            client,
            &consumer_group_heartbeat::ConsumerGroupHeartbeatRequest::default(),
        ),
        every_version::<consumer_group_describe::ConsumerGroupDescribeResponse<'_>>(
            client,
            &consumer_group_describe::ConsumerGroupDescribeRequest::default(),
        ),
    ]
}

#[test]
fn every_version_that_is_served_is_answered_in_kind() {
    let (broker, mut client, _dir) = with_logs(2, &[]);
    let asks = [ask_as_a_client, ask_about_topics, ask_about_brokers, ask_about_groups];
    let asked = asks.map(|ask| ask(&mut client)).concat();
    let forgotten: Vec<_> = SERVED.iter().filter(|api| !asked.contains(&api.key)).collect();
    assert!(forgotten.is_empty(), "served, and not asked for here: {forgotten:?}");
    broker.stop();
}

/// An ApiVersions request whose version is then overwritten.
fn api_versions_of(version: i16) -> Vec<u8> {
    let mut request: Vec<u8> = Vec::new();
    for piece in encode_request(&ApiVersionsRequest::default(), 3, 77, Some("future"), Vec::new()) {
        let Piece::Bytes(bytes) = piece else { unreachable!("there are no files in it") };
        request.extend_from_slice(&bytes);
    }
    request[6..8].copy_from_slice(&version.to_be_bytes());
    request
}

#[test]
fn an_unknown_version_of_api_versions_gets_the_whole_list_in_version_zero() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    for version in [6, 99, i16::MAX, -1, i16::MIN] {
        client.send_bytes(&api_versions_of(version));
        let frame = client.receive().expect("it is answered");
        let answer: ApiVersionsResponse<'_> = frame.decode(0);
        assert_eq!((frame.correlation_id(), answer.error_code), (77, ErrorCode::UnsupportedVersion.code()));
        let told: BTreeSet<_> =
            answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        let served: BTreeSet<_> =
            SERVED.iter().map(|api| (api.key.code(), api.advertised_from, api.version_max)).collect();
        assert_eq!(told, served, "version {version}");
    }
    // The connection goes on.
    assert_eq!(client.call(&ApiVersionsRequest::default(), 0).decode::<ApiVersionsResponse<'_>>(0).error_code, OK);
    broker.stop();
}

/// KIP-1242: behind a changed address a client would write to the wrong cluster.
#[test]
fn a_client_that_means_another_broker_is_told_to_begin_anew() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let frame = client.call(&MetadataRequest::default(), 12);
    let metadata: MetadataResponse<'_> = frame.decode(12);
    let (own_cluster, own_id) = (metadata.cluster_id.unwrap(), metadata.brokers[0].node_id);
    let mut ask = |cluster_id, node_id| {
        let frame = client.call(&ApiVersionsRequest { cluster_id, node_id, ..ApiVersionsRequest::default() }, 5);
        let answer: ApiVersionsResponse<'_> = frame.decode(5);
        assert_eq!(answer.api_keys.len(), if answer.error_code == OK { SERVED.len() } else { 0 });
        ErrorCode::from_code(answer.error_code).unwrap()
    };
    assert_eq!(ask(Some(own_cluster), own_id), ErrorCode::None);
    assert_eq!(ask(Some(own_cluster), own_id + 1), ErrorCode::RebootstrapRequired);
    assert_eq!(ask(Some("another"), own_id), ErrorCode::RebootstrapRequired);
    // Both or neither.
    assert_eq!(ask(None, own_id), ErrorCode::InvalidRequest);
    assert_eq!(ask(Some(own_cluster), -1), ErrorCode::InvalidRequest);
    assert_eq!(ask(None, -1), ErrorCode::None);
    broker.stop();
}

/// The log line and the count are looked at in `cli.rs`.
#[test]
fn any_other_unknown_key_or_version_ends_its_connection() {
    let (broker, mut witness, _dir) = with_logs(1, &[]);
    // Produce is advertised from 0, and served from 3.
    let unknown = [
        (0, 2),
        (0, 14),
        (1, 3),
        (1, 19),
        (3, 14),
        (3, -1),
        (11, 10),
        (17, 0),
        (94, 0),
        (95, 0),
        (-1, 0),
        (i16::MAX, 0),
    ];
    for (key, version) in unknown {
        let mut client = Raw::connect(broker.address());
        let head = [&10i32.to_be_bytes()[..], &i16::to_be_bytes(key), &i16::to_be_bytes(version)].concat();
        client.send_bytes(&[&head[..], &[0, 0, 0, 1, 0xff, 0xff]].concat());
        assert!(client.receive().is_none(), "key {key} version {version} was answered");
    }
    assert_eq!(witness.produce("logs", 0, batch(1, 1)).error, OK);
    broker.stop();
}
