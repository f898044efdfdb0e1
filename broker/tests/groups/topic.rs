//! `__consumer_offsets`: made on the first need and in the right way, read by everyone, and harmed by nobody.

use std::net::SocketAddr;
use std::thread;

use ringmill::Broker;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ringmill_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringmill_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ringmill_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use ringmill_net::wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use crate::OK;
use crate::raw::{Raw, batch, config_with, start};

const NAME: &str = "__consumer_offsets";

const TOPIC: i8 = 2;

fn invalid() -> i16 {
    ErrorCode::InvalidTopicException.code()
}

/// What Metadata says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    error: i16,
    id: [u8; 16],
    is_internal: bool,
    partitions: usize,
}

fn told(client: &mut Raw, name: &str, create: bool) -> Told {
    let topic = MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
    let request =
        MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: create, ..MetadataRequest::default() };
    let frame = client.call(&request, 12);
    let answer: MetadataResponse<'_> = frame.decode(12);
    let topic = &answer.topics[0];
    Told {
        error: topic.error_code,
        id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions: topic.partitions.len(),
    }
}

/// Error and port, asked in this version.
fn coordinator(client: &mut Raw, group: &str, version: i16) -> (i16, i32) {
    let request = FindCoordinatorRequest { key: group, coordinator_keys: vec![group], ..Default::default() };
    let frame = client.call(&request, version);
    let answer: FindCoordinatorResponse<'_> = frame.decode(version);
    match answer.coordinators.first() {
        Some(coordinator) => (coordinator.error_code, coordinator.port),
        None => (answer.error_code, answer.port),
    }
}

fn setting(client: &mut Raw, name: &str) -> Option<String> {
    let resource =
        DescribeConfigsResource { resource_type: TOPIC, resource_name: NAME, configuration_keys: Some(vec![name]) };
    let frame = client.call(&DescribeConfigsRequest { resources: vec![resource], ..Default::default() }, 4);
    let answer: DescribeConfigsResponse<'_> = frame.decode(4);
    answer.results[0].configs[0].value.map(str::to_owned)
}

#[test]
fn the_first_question_for_a_coordinator_makes_it_and_a_restart_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let segment = [("broker.offsets.topic.segment.bytes", "2097152"), ("topic.retention.ms", "1")];
    let broker = Broker::start(config_with(dir.path(), "auto", &segment)).unwrap();
    let mut client = Raw::connect(broker.address());
    let port = i32::from(broker.address().port());
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let missing = told(&mut client, NAME, false);
    assert_eq!((missing.error, missing.is_internal, missing.partitions), (unknown, true, 0));
    for version in 0..=6 {
        assert_eq!(coordinator(&mut client, "g", version), (OK, port), "version {version}");
    }
    let made = told(&mut client, NAME, false);
    assert_eq!((made.error, made.is_internal, made.partitions), (OK, true, 16));
    for (name, value) in [("segment.bytes", "2097152"), ("retention.ms", "-1"), ("write.caching", "false")] {
        assert_eq!(setting(&mut client, name).as_deref(), Some(value), "{name}");
    }
    broker.stop();
    let more = [("broker.offsets.topic.num.partitions", "50")];
    let broker = Broker::start(config_with(dir.path(), "auto", &more)).unwrap();
    let mut client = Raw::connect(broker.address());
    assert_eq!(coordinator(&mut client, "g", 6).0, OK);
    assert_eq!(told(&mut client, NAME, true), made, "which partition a group lives in must not change");
    broker.stop();
}

#[test]
fn many_who_ask_at_once_make_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let ask = |address: SocketAddr, number: i32| {
        move || {
            let mut client = Raw::connect(address);
            match number % 2 {
                0 => assert_eq!(coordinator(&mut client, "g", 6).0, OK),
                _ => assert_eq!(told(&mut client, NAME, true).error, OK),
            }
            told(&mut client, NAME, false)
        }
    };
    let asking: Vec<_> = (0..8).map(|number| thread::spawn(ask(broker.address(), number))).collect();
    let answers: Vec<_> = asking.into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(answers.iter().all(|told| told.partitions == 16 && *told == answers[0]), "{answers:?}");
    broker.stop();
}

/// Kafka makes it for whoever names it, where topics are made by naming them.
#[test]
fn who_names_it_gets_the_right_one_and_where_topics_are_not_made_so_none() {
    for (allowed, expected) in [("true", (OK, 16)), ("false", (ErrorCode::UnknownTopicOrPartition.code(), 0))] {
        let dir = tempfile::tempdir().unwrap();
        let settings = [("broker.auto.create.topics.enable", allowed), ("broker.num.partitions", "3")];
        let broker = Broker::start(config_with(dir.path(), "auto", &settings)).unwrap();
        let mut client = Raw::connect(broker.address());
        let told = told(&mut client, NAME, true);
        assert_eq!((told.error, told.partitions), expected, "auto.create.topics.enable={allowed}");
        assert_eq!(coordinator(&mut client, "g", 2).0, OK, "groups need it whatever is set");
        broker.stop();
    }
}

#[test]
fn no_client_makes_a_wrong_one_or_one_that_is_in_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    for name in [NAME, "__consumer.offsets", "._consumer.offsets"] {
        for validate_only in [true, false] {
            let topic = CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
            let frame =
                client.call(&CreateTopicsRequest { topics: vec![topic], validate_only, ..Default::default() }, 7);
            let answer: CreateTopicsResponse<'_> = frame.decode(7);
            let why = answer.topics[0].error_message.unwrap_or_default();
            assert_eq!(answer.topics[0].error_code, invalid(), "{name}: {why}");
            assert!(why.contains("offsets.topic.num.partitions"), "{why}");
        }
    }
    assert_eq!(told(&mut client, "__consumer.offsets", true).error, invalid());
    assert_eq!(coordinator(&mut client, "g", 6).0, OK);
    assert_eq!(client.create_topic(NAME, 1, &[]), ErrorCode::TopicAlreadyExists.code());
    broker.stop();
}

#[test]
fn clients_read_it_and_neither_write_nor_cut_grow_nor_delete_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    let made = told(&mut client, NAME, true);
    assert_eq!(client.produce(NAME, 0, batch(1, 1)).error, invalid());
    let fetched = client.fetch(NAME, 0);
    assert_eq!((fetched.error, fetched.high_watermark), (OK, 0), "nothing was written");
    assert_eq!(client.list_offset(NAME, -1), (OK, 0));

    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: -1 }];
    let topics = vec![DeleteRecordsTopic { name: NAME, partitions }];
    let frame = client.call(&DeleteRecordsRequest { topics, timeout_ms: 1000 }, 2);
    let answer: DeleteRecordsResponse<'_> = frame.decode(2);
    assert_eq!(answer.topics[0].partitions[0].error_code, invalid());

    let topics = vec![CreatePartitionsTopic { name: NAME, count: 17, assignments: None }];
    let frame = client.call(&CreatePartitionsRequest { topics, ..Default::default() }, 3);
    let answer: CreatePartitionsResponse<'_> = frame.decode(3);
    assert_eq!(answer.results[0].error_code, invalid());
    assert!(answer.results[0].error_message.unwrap_or_default().contains("consumer groups live in it"));

    assert_eq!(client.delete_topic(NAME), invalid());
    let topics = vec![DeleteTopicState { name: None, topic_id: made.id }];
    let frame = client.call(&DeleteTopicsRequest { topics, timeout_ms: 1000, ..Default::default() }, 6);
    let answer: DeleteTopicsResponse<'_> = frame.decode(6);
    assert_eq!(answer.responses[0].error_code, invalid(), "by its id");
    assert_eq!(told(&mut client, NAME, false), made);

    let topics = vec![TopicRequest { name: NAME }];
    let request = DescribeTopicPartitionsRequest { topics, response_partition_limit: 100, ..Default::default() };
    let frame = client.call(&request, 0);
    let answer: DescribeTopicPartitionsResponse<'_> = frame.decode(0);
    assert!(answer.topics[0].is_internal && answer.topics[0].partitions.len() == 16);
    broker.stop();
}

/// A feature's name, and its lowest and highest level.
type Feature = (String, i16, i16);

/// The supported and the finalised features in a version of ApiVersions, with the epoch of the latter.
fn features(client: &mut Raw, version: i16) -> (Vec<Feature>, i64, Vec<Feature>) {
    let request =
        ApiVersionsRequest { client_software_name: "raw", client_software_version: "1", ..Default::default() };
    let frame = client.call(&request, version);
    let answer: ApiVersionsResponse<'_> = frame.decode(version);
    let supported =
        answer.supported_features.iter().map(|each| (each.name.to_owned(), each.min_version, each.max_version));
    let finalized = answer
        .finalized_features
        .iter()
        .map(|each| (each.name.to_owned(), each.min_version_level, each.max_version_level));
    (supported.collect(), answer.finalized_features_epoch, finalized.collect())
}

/// Clients before version 4 stumble over a lowest level of 0.
#[test]
fn the_newer_protocol_is_a_finalised_feature_unless_it_is_switched_off() {
    let level = |from| vec![("group.version".to_owned(), from, 1)];
    for (protocols, finalized) in [("classic,consumer", level(1)), ("classic", Vec::new())] {
        let dir = tempfile::tempdir().unwrap();
        let settings = [("broker.group.coordinator.rebalance.protocols", protocols)];
        let broker = Broker::start(config_with(dir.path(), "auto", &settings)).unwrap();
        let mut client = Raw::connect(broker.address());
        assert_eq!(features(&mut client, 2), (Vec::new(), -1, Vec::new()));
        assert_eq!(features(&mut client, 3), (Vec::new(), 1, finalized.clone()));
        assert_eq!(features(&mut client, 4), (level(0), 1, finalized.clone()));
        assert_eq!(features(&mut client, 5), (level(0), 1, finalized));
        broker.stop();
    }
}
