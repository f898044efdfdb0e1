//! What strangers send, and what a machine does to a broker: each gets the error that the protocol or common sense names, and
//! everything else goes on.

mod raw;

use std::thread;

use bytes::Bytes;
use raw::{Produced, Raw, batch, config, config_with, start};
use ringmill::Broker;
use ringmill_batch::{BatchBuilder, Codec, crc32c};
use ringmill_net::Piece;
use ringmill_net::wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringmill_net::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::find_coordinator::FindCoordinatorRequest;
use ringmill_net::wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{ErrorCode, Records, encode_request};

const OK: i16 = 0;

/// A batch with some bytes overwritten and its checksum made right again.
fn forged(changes: &[(usize, &[u8])]) -> Bytes {
    let mut bytes = batch(3, 10).to_vec();
    for (at, with) in changes {
        bytes[*at..at + with.len()].copy_from_slice(with);
    }
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

fn with_timestamp(timestamp_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(timestamp_ms, None, Some(b"v"), &[]);
    builder.finish().freeze()
}

#[test]
fn a_batch_that_no_segment_can_hold_is_refused_and_the_next_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    let configs = [("segment.bytes", "1048576"), ("max.message.bytes", "2000000")];
    assert_eq!(client.create_topic("logs", 1, &configs), ErrorCode::None.code());
    let refused = client.produce("logs", 0, batch(1, 1_100_000));
    assert_eq!(refused.error, ErrorCode::RecordListTooLarge.code());
    assert_eq!(client.produce("logs", 0, batch(1, 100)), Produced { error: 0, base_offset: 0 });
    broker.stop();
}

#[test]
fn bad_batches_get_their_error_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    client.create_topic("logs", 1, &[("max.message.bytes", "2000")]);
    let mut wrong_crc = batch(3, 10).to_vec();
    *wrong_crc.last_mut().unwrap() ^= 1;
    let two = [batch(1, 1), batch(1, 1)].concat();
    let whole = batch(3, 10);
    let hour_ms = 3_600_000;
    let cases: [(&str, Bytes, ErrorCode); 14] = [
        ("wrong crc", wrong_crc.into(), ErrorCode::CorruptMessage),
        ("magic 1", forged(&[(16, &[1])]), ErrorCode::InvalidRecord),
        ("count 0", forged(&[(23, &(-1i32).to_be_bytes()), (57, &0i32.to_be_bytes())]), ErrorCode::InvalidRecord),
        ("count and delta disagree", forged(&[(57, &4i32.to_be_bytes())]), ErrorCode::InvalidRecord),
        ("length past the end", forged(&[(8, &9999i32.to_be_bytes())]), ErrorCode::InvalidRecord),
        ("negative length", forged(&[(8, &(-1i32).to_be_bytes())]), ErrorCode::InvalidRecord),
        ("a control batch", forged(&[(21, &0x20i16.to_be_bytes())]), ErrorCode::InvalidRecord),
        ("LogAppendTime", forged(&[(21, &0x08i16.to_be_bytes())]), ErrorCode::InvalidTimestamp),
        (
            "a transaction",
            forged(&[
                (21, &0x10i16.to_be_bytes()),
                (43, &1i64.to_be_bytes()),
                (51, &0i16.to_be_bytes()),
                (53, &0i32.to_be_bytes()),
            ]),
            ErrorCode::InvalidTxnState,
        ),
        ("a producer without sequence", forged(&[(43, &1i64.to_be_bytes())]), ErrorCode::InvalidRecord),
        ("two batches", two.into(), ErrorCode::InvalidRecord),
        ("half a batch", whole.slice(..whole.len() - 1), ErrorCode::InvalidRecord),
        ("too large", batch(30, 100), ErrorCode::MessageTooLarge),
        ("from the future", with_timestamp(raw::now_ms() + 2 * hour_ms), ErrorCode::InvalidTimestamp),
    ];
    for (what, bytes, expected) in cases {
        let produced = client.produce("logs", 0, bytes);
        assert_eq!(ErrorCode::from_code(produced.error), Some(expected), "{what}");
    }
    assert_eq!(client.produce("logs", 0, Bytes::new()).error, ErrorCode::InvalidRecord.code());
    assert_eq!(client.produce("logs", 7, batch(1, 1)).error, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(client.produce("none", 0, batch(1, 1)).error, ErrorCode::UnknownTopicOrPartition.code());
    client.send_produce("logs", 0, 2, batch(1, 1));
    assert_eq!(client.receive_produced().error, ErrorCode::InvalidRequiredAcks.code());
    assert_eq!(client.list_offset("logs", -1), (OK, 0), "a refused batch left something");
    assert_eq!(client.produce("logs", 0, batch(1, 1)), Produced { error: OK, base_offset: 0 });
    broker.stop();
}

#[test]
fn a_refused_batch_does_not_spoil_its_neighbours_in_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    client.create_topic("logs", 4, &[]);
    let good = batch(1, 50);
    let bad = forged(&[(16, &[0])]);
    let part = |index, bytes: &Bytes| PartitionProduceData { index, records: Some(Records::of_length(bytes.len())) };
    let partition_data =
        vec![part(0, &good), part(1, &bad), part(2, &good), PartitionProduceData { index: 3, records: None }];
    let topic_data = vec![TopicProduceData { name: "logs", partition_data, ..TopicProduceData::default() }];
    let request = ProduceRequest { acks: 1, timeout_ms: 5000, topic_data, ..ProduceRequest::default() };
    let records = [good.clone(), bad, good].into_iter().map(Piece::Bytes).collect();
    let frame = client.call_with(&request, 9, records);
    let response: ProduceResponse<'_> = frame.decode(9);
    let errors: Vec<i16> =
        response.responses[0].partition_responses.iter().map(|partition| partition.error_code).collect();
    let invalid = ErrorCode::InvalidRecord.code();
    assert_eq!(errors, [OK, invalid, OK, invalid]);
    assert!(response.responses[0].partition_responses[1].error_message.is_some());
    broker.stop();
}

#[test]
fn zstd_is_refused_from_clients_too_old_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    client.create_topic("logs", 1, &[]);
    let mut builder = BatchBuilder::new(Codec::Zstd, None);
    builder.push(raw::now_ms(), None, Some(b"value"), &[]);
    let bytes = builder.finish().freeze();
    for (version, expected) in [(6, ErrorCode::UnsupportedCompressionType.code()), (7, OK)] {
        let partition_data = vec![PartitionProduceData { index: 0, records: Some(Records::of_length(bytes.len())) }];
        let topic_data = vec![TopicProduceData { name: "logs", partition_data, ..TopicProduceData::default() }];
        let request = ProduceRequest { acks: 1, timeout_ms: 5000, topic_data, ..ProduceRequest::default() };
        let frame = client.call_with(&request, version, vec![Piece::Bytes(bytes.clone())]);
        let response: ProduceResponse<'_> = frame.decode(version);
        assert_eq!(response.responses[0].partition_responses[0].error_code, expected, "version {version}");
    }
    broker.stop();
}

#[test]
fn broken_frames_and_unknown_requests_end_their_connection_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut witness = Raw::connect(broker.address());
    witness.create_topic("logs", 1, &[]);
    let frame = |body: &[u8]| [&i32::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    // Metadata 1 with an array that claims 2^31 - 1 topics; Fetch 4 with one that claims -2.
    let huge_array = [&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff][..], &i32::MAX.to_be_bytes()].concat();
    let negative_array = [&[0, 1, 0, 4, 0, 0, 0, 1, 0xff, 0xff][..], &[0; 17], &(-2i32).to_be_bytes()].concat();
    let cases: [(&str, Vec<u8>); 9] = [
        ("an oversized frame", i32::MAX.to_be_bytes().to_vec()),
        ("a negative frame", (-1i32).to_be_bytes().to_vec()),
        ("an empty frame", 0i32.to_be_bytes().to_vec()),
        ("a frame that is no Kafka", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("an unknown API", frame(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff])),
        ("an unknown version", frame(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff])),
        ("an array of 2^31", frame(&huge_array)),
        ("a negative array", frame(&negative_array)),
        ("a cut body", frame(&[0, 2, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0])),
    ];
    for (what, bytes) in cases {
        let mut client = Raw::connect(broker.address());
        client.send_bytes(&bytes);
        assert!(client.receive().is_none(), "{what} was answered");
        assert_eq!(witness.produce("logs", 0, batch(1, 1)).error, OK, "after {what}");
    }
    broker.stop();
}

#[test]
fn api_versions_of_an_unknown_version_is_answered_in_version_zero() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    // A well-made request whose version is then raised beyond what anybody knows.
    let mut request: Vec<u8> = Vec::new();
    for piece in encode_request(&ApiVersionsRequest::default(), 3, 77, Some("future"), Vec::new()) {
        let Piece::Bytes(bytes) = piece else { unreachable!() };
        request.extend_from_slice(&bytes);
    }
    request[6..8].copy_from_slice(&99i16.to_be_bytes());
    client.send_bytes(&request);
    let frame = client.receive().expect("it is answered");
    let response: ApiVersionsResponse<'_> = frame.decode(0);
    assert_eq!((frame.correlation_id(), response.error_code), (77, ErrorCode::UnsupportedVersion.code()));
    assert!(response.api_keys.len() >= 9);
    // And the connection goes on.
    assert_eq!(client.call(&ApiVersionsRequest::default(), 2).decode::<ApiVersionsResponse<'_>>(2).error_code, OK);
    broker.stop();
}

#[test]
fn fetches_are_checked_for_sessions_epochs_and_topics() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    client.create_topic("logs", 1, &[]);
    let mut ask = |session_id, session_epoch, current_leader_epoch, topic_id| {
        let partitions =
            vec![FetchPartition { current_leader_epoch, partition_max_bytes: 1000, ..FetchPartition::default() }];
        let topics = vec![FetchTopic { topic: "logs", topic_id, partitions }];
        let version = if topic_id == [0; 16] { 12 } else { 13 };
        let request = FetchRequest { session_id, session_epoch, topics, ..FetchRequest::default() };
        let frame = client.call(&request, version);
        let response: FetchResponse<'_> = frame.decode(version);
        let error = response.responses.first().map_or(response.error_code, |topic| topic.partitions[0].error_code);
        ErrorCode::from_code(error).unwrap()
    };
    let none = [0; 16];
    assert_eq!(ask(0, -1, -1, none), ErrorCode::None);
    assert_eq!(ask(0, 0, -1, none), ErrorCode::None);
    assert_eq!(ask(5, 1, -1, none), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(ask(0, 1, -1, none), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(ask(0, -1, 9, none), ErrorCode::UnknownLeaderEpoch);
    assert_eq!(ask(0, -1, -1, [9; 16]), ErrorCode::UnknownTopicId);
    broker.stop();
}

#[test]
fn a_parked_fetch_gives_back_the_memory_of_a_large_frame() {
    let dir = tempfile::tempdir().unwrap();
    let mib = 1 << 20;
    let limits = [("broker.socket.request.max.bytes", "4194304"), ("ringmill.request.memory.bytes", "6291456")];
    let broker = Broker::start(config_with(dir.path(), "auto", &limits)).unwrap();
    let mut client = Raw::connect(broker.address());
    client.create_topic("logs", 1, &[("max.message.bytes", "4000000")]);
    let partition = FetchPartition { partition_max_bytes: 1000, ..FetchPartition::default() };
    let fetch = |partitions| {
        let topics = vec![FetchTopic { topic: "logs", partitions, ..FetchTopic::default() }];
        FetchRequest { max_wait_ms: 60_000, min_bytes: 1, topics, ..FetchRequest::default() }
    };

    // Three times the memory in all, nearly all of it padding behind the request.
    let mut parked: Vec<Raw> = (0..4).map(|_| Raw::connect(broker.address())).collect();
    for each in &mut parked {
        let mut frame = Vec::new();
        for piece in encode_request(&fetch(vec![partition.clone()]), raw::FETCH_VERSION, 1, None, Vec::new()) {
            let Piece::Bytes(bytes) = piece else { unreachable!() };
            frame.extend_from_slice(&bytes);
        }
        frame.resize(4 * mib, 0);
        let length = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        each.send_bytes(&frame);
    }
    assert_eq!(client.produce("logs", 0, batch(1, 3 * mib)), Produced { error: OK, base_offset: 0 });
    for each in &mut parked {
        assert_eq!(each.receive_fetched().batches().len(), 1);
    }

    // One that really asks for so much does not wait.
    let partition = FetchPartition { fetch_offset: 1, ..partition };
    let began = std::time::Instant::now();
    let frame = client.call(&fetch(vec![partition; 50_000]), raw::FETCH_VERSION);
    assert_eq!(frame.decode::<FetchResponse<'_>>(raw::FETCH_VERSION).responses[0].partitions.len(), 50_000);
    assert!(began.elapsed().as_secs() < 30);
    broker.stop();
}

#[test]
fn topics_that_cannot_be_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("a/b", 1, &[]), ErrorCode::InvalidTopicException.code());
    assert_eq!(client.create_topic("logs", 0, &[]), ErrorCode::InvalidPartitions.code());
    assert_eq!(client.create_topic("logs", i32::MAX, &[]), ErrorCode::InvalidPartitions.code());
    for config in [("cleanup.policy", "archive"), ("no.such.setting", "1"), ("retention.ms", "soon")] {
        assert_eq!(client.create_topic("logs", 1, &[config]), ErrorCode::InvalidConfig.code(), "{config:?}");
    }
    let mut create = |replication_factor, assignments, validate_only| {
        let num_partitions = if Vec::is_empty(&assignments) { 1 } else { -1 };
        let topic = CreatableTopic {
            name: "logs",
            num_partitions,
            replication_factor,
            assignments,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], validate_only, ..CreateTopicsRequest::default() };
        let frame = client.call(&request, 6);
        let response: CreateTopicsResponse<'_> = frame.decode(6);
        ErrorCode::from_code(response.topics[0].error_code).unwrap()
    };
    let assigned = |broker| vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![broker] }];
    assert_eq!(create(3, vec![], false), ErrorCode::InvalidReplicationFactor);
    assert_eq!(create(-1, assigned(8), false), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(create(1, vec![], true), ErrorCode::None);
    assert_eq!(create(-1, assigned(1), false), ErrorCode::None, "the topic that was only checked is not there yet");
    assert_eq!(create(1, vec![], true), ErrorCode::TopicAlreadyExists);
    broker.stop();
}

#[test]
fn answers_do_not_grow_beyond_measure() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("large", 1000, &[]), OK);
    // A large topic, asked for again and again, is told about once.
    // Beside an id no name counts.
    for (version, unknown) in [(9, 0), (12, 4_999)] {
        let topic = |id: u16| MetadataRequestTopic {
            topic_id: [id.to_be_bytes(); 8].as_flattened().try_into().unwrap(),
            name: Some("large"),
        };
        let request = MetadataRequest { topics: Some((0..5_000).map(topic).collect()), ..MetadataRequest::default() };
        let frame = client.call(&request, version);
        let response: MetadataResponse<'_> = frame.decode(version);
        assert_eq!(response.topics[0].partitions.len(), 1000, "version {version}");
        let others = response.topics[1..].iter().map(|topic| (topic.error_code, topic.partitions.len()));
        assert!(others.clone().all(|other| other == (ErrorCode::UnknownTopicId.code(), 0)), "version {version}");
        assert_eq!(others.count(), unknown, "version {version}");
    }
    // Topics that are only to be checked would each be answered with all their settings.
    let names: Vec<String> = (0..10_001).map(|number| format!("t{number}")).collect();
    let topic = |name| CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
    let topics = names.iter().map(|name| topic(name.as_str())).collect();
    client.send(&CreateTopicsRequest { topics, validate_only: true, ..CreateTopicsRequest::default() }, 7, Vec::new());
    assert!(client.receive().is_none());
    // Each partition that is asked for costs ten times its bytes while it is answered.
    let partitions = vec![FetchPartition::default(); 50_001];
    let topic = FetchTopic { topic: "large", partitions, ..FetchTopic::default() };
    let mut client = Raw::connect(broker.address());
    client.send(&FetchRequest { topics: vec![topic.clone(), topic], ..FetchRequest::default() }, 4, Vec::new());
    assert!(client.receive().is_none());
    let partitions = vec![ListOffsetsPartition::default(); 50_001];
    let topic = ListOffsetsTopic { name: "large", partitions };
    let mut client = Raw::connect(broker.address());
    client.send(
        &ListOffsetsRequest { topics: vec![topic.clone(), topic], ..ListOffsetsRequest::default() },
        1,
        Vec::new(),
    );
    assert!(client.receive().is_none());
    let partition_data = vec![PartitionProduceData { index: 0, records: None }; 100_001];
    let topic_data = vec![TopicProduceData { name: "large", partition_data, ..TopicProduceData::default() }];
    let mut client = Raw::connect(broker.address());
    client.send(&ProduceRequest { acks: 1, topic_data, ..ProduceRequest::default() }, 9, Vec::new());
    assert!(client.receive().is_none());
    let keys: Vec<&str> = vec!["g"; 10_001];
    let mut client = Raw::connect(broker.address());
    client.send(&FindCoordinatorRequest { coordinator_keys: keys, ..FindCoordinatorRequest::default() }, 4, Vec::new());
    assert!(client.receive().is_none());
    broker.stop();
}

#[test]
fn a_foreign_directory_and_one_without_permission_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("holiday.jpg"), b"mine").unwrap();
    let error = Broker::start(config(dir.path(), "auto")).map(drop).unwrap_err().to_string();
    assert!(error.contains("holiday.jpg"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a refused directory was changed");
    let error =
        Broker::start(config(std::path::Path::new("/proc/ringmill"), "auto")).map(drop).unwrap_err().to_string();
    assert!(error.contains("/proc/ringmill"), "{error}");
}

#[test]
fn a_congestion_control_that_the_kernel_does_not_know_is_refused_by_name() {
    let start = |name| {
        let dir = tempfile::tempdir().unwrap();
        Broker::start(config_with(dir.path(), "auto", &[("ringmill.tcp.congestion.control", name)])).map(Broker::stop)
    };
    let error = start("nonsense").unwrap_err().to_string();
    assert!(error.contains("tcp.congestion.control = \"nonsense\"") && error.contains("reno"), "{error}");
    assert!(start("reno").unwrap());
}

#[test]
fn a_second_broker_waits_for_directory_and_port_and_then_says_whose_they_are() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = start(dir.path(), "auto");
    let listener = format!("127.0.0.1:{}", broker.address().port());
    let same_dir = config(dir.path(), "auto");
    let same_port = config_with(other.path(), "auto", &[("broker.listeners", &listener)]);
    // Both wait for ten seconds, so they do it together.
    let [first, second] = [same_dir, same_port].map(|config| thread::spawn(|| Broker::start(config).map(drop)));
    let error = first.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    let error = second.join().unwrap().unwrap_err().to_string();
    assert!(error.contains(&listener) && error.contains("in use"), "{error}");
    let mut client = Raw::connect(broker.address());
    client.create_topic("logs", 1, &[]);
    assert_eq!(client.produce("logs", 0, batch(1, 1)).error, OK, "the first broker was disturbed");
    broker.stop();
}

/// A single request could make a million topics, and one that only looked for Kafka's own topics made them. Consumer groups live in one
/// of these: it is made, too.
#[test]
fn asking_makes_a_hundred_topics_at_once_and_none_of_kafkas_own_but_the_groups() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    let names: Vec<String> = (0..130).map(|number| format!("t{number:03}")).collect();
    let own = ["__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"];
    let named = own.into_iter().chain(names.iter().map(String::as_str));
    let topics = named.map(|name| MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() });
    let request = MetadataRequest { topics: Some(topics.collect()), ..MetadataRequest::default() };
    for round in 0..2 {
        let frame = client.call(&request, 9);
        let response: MetadataResponse<'_> = frame.decode(9);
        let count = |error: ErrorCode| response.topics.iter().filter(|topic| topic.error_code == error.code()).count();
        let told = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::LeaderNotAvailable].map(count);
        assert_eq!(told, if round == 0 { [101, 3, 30] } else { [131, 3, 0] }, "round {round}");
    }
    broker.stop();
}
