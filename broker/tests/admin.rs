//! What administrators ask and order over the wire: more partitions, fewer records, and what there is. Good and bad input of every kind,
//! on the whole broker.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

mod raw;

use raw::{Produced, Raw, batch, sequenced, start};
use ringmill::Broker;
use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringmill_net::wire::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use ringmill_net::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use ringmill_net::wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest as ProducersOf,
};
use ringmill_net::wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringmill_net::wire::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ringmill_net::wire::{ErrorCode, Message};

const OK: i16 = 0;

/// A broker with a directory of its own.
fn broker() -> (tempfile::TempDir, Broker, Raw) {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let client = Raw::connect(broker.address());
    (dir, broker, client)
}

fn code(error: ErrorCode) -> i16 {
    error.code()
}

fn partition_count(client: &mut Raw, topic: &str) -> usize {
    let topics = Some(vec![MetadataRequestTopic { name: Some(topic), ..MetadataRequestTopic::default() }]);
    let frame =
        client.call(&MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() }, 12);
    let response: MetadataResponse<'_> = frame.decode(12);
    response.topics[0].partitions.len()
}

fn growth(name: &str, count: i32) -> CreatePartitionsTopic<'_> {
    CreatePartitionsTopic { name, count, assignments: None }
}

fn grow(client: &mut Raw, topics: Vec<CreatePartitionsTopic<'_>>, validate_only: bool) -> Vec<(i16, String)> {
    let request = CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only };
    let mut answers = Vec::new();
    // All versions have the same fields; those that are only checks can be asked of each.
    for version in if validate_only { 0..=3 } else { 3..=3 } {
        let frame = client.call(&request, version);
        let response: CreatePartitionsResponse<'_> = frame.decode(version);
        let told =
            response.results.iter().map(|topic| (topic.error_code, topic.error_message.unwrap_or("").to_owned()));
        answers = told.collect();
    }
    answers
}

#[test]
fn a_topic_gets_more_partitions_that_serve_and_outlive_a_restart() {
    let (dir, broker, mut client) = broker();
    client.create_topic("logs", 2, &[]);
    client.produce("logs", 1, batch(1, 10));
    assert_eq!(grow(&mut client, vec![growth("logs", 5)], true)[0].0, OK);
    assert_eq!(partition_count(&mut client, "logs"), 2, "that was only a check");
    assert_eq!(client.produce("logs", 4, batch(1, 10)).error, code(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(grow(&mut client, vec![growth("logs", 5)], false), [(OK, String::new())]);
    assert_eq!(partition_count(&mut client, "logs"), 5);
    for index in [4, 3, 2] {
        assert_eq!(client.produce("logs", index, batch(2, 10)), Produced { error: OK, base_offset: 0 });
    }
    assert_eq!(client.produce("logs", 1, batch(1, 10)), Produced { error: OK, base_offset: 1 }, "the old go on");
    drop(client);
    assert!(broker.stop());
    let broker = start(dir.path(), "posix");
    let mut client = Raw::connect(broker.address());
    assert_eq!(partition_count(&mut client, "logs"), 5);
    assert_eq!(client.produce("logs", 4, batch(1, 10)), Produced { error: OK, base_offset: 2 });
    assert_eq!(client.delete_topic("logs"), OK);
    assert!(broker.stop());
    assert!(!dir.path().join("logs-4").exists());
}

#[test]
fn growth_that_is_none_or_too_much_is_refused_by_topic_with_the_numbers() {
    let (_dir, broker, mut client) = broker();
    client.create_topic("logs", 3, &[]);
    client.create_topic("other", 1, &[]);
    for (count, part) in [
        (3, "3 partitions; 3 would"),
        (2, "3 partitions; 2 would"),
        (0, "3 partitions; 0 would"),
        (-1, "3 partitions; -1 would"),
        (i32::MIN, "3 partitions"),
        (10_001, "10001 partitions were asked for; a topic has from 1 to 10000"),
        (i32::MAX, "2147483647 partitions were asked for; a topic has from 1 to 10000"),
    ] {
        for validate_only in [true, false] {
            let answers = grow(&mut client, vec![growth("logs", count)], validate_only);
            assert!(answers[0].1.contains(part), "{count} {validate_only}: {answers:?}");
            assert_eq!(answers[0].0, code(ErrorCode::InvalidPartitions), "{count}");
        }
    }
    let answers = grow(
        &mut client,
        vec![
            growth("none", 2),
            growth("a/b", 2),
            growth("", 2),
            growth("logs", 4),
            growth("other", 2),
            growth("logs", 5),
        ],
        false,
    );
    let (unknown, twice) = (code(ErrorCode::UnknownTopicOrPartition), code(ErrorCode::InvalidRequest));
    let codes: Vec<i16> = answers.iter().map(|answer| answer.0).collect();
    assert_eq!(codes, [unknown, unknown, unknown, twice, OK], "each topic has its own answer, and one");
    assert_eq!((partition_count(&mut client, "logs"), partition_count(&mut client, "other")), (3, 2));
    // 2 more would be within the topic's limit, and together they are past the request's.
    let answers = grow(&mut client, vec![growth("logs", 10_000), growth("other", 8)], true);
    assert_eq!([answers[0].0, answers[1].0], [OK, code(ErrorCode::PolicyViolation)], "{answers:?}");
    broker.stop();
}

#[test]
fn assignments_are_taken_where_they_name_this_broker_for_each_new_partition() {
    let (_dir, broker, mut client) = broker();
    client.create_topic("logs", 1, &[]);
    let on = |brokers: &[&[i32]]| {
        let assignments = brokers.iter().map(|ids| CreatePartitionsAssignment { broker_ids: ids.to_vec() }).collect();
        vec![CreatePartitionsTopic { name: "logs", count: 3, assignments: Some(assignments) }]
    };
    let wrong: [&[&[i32]]; 7] =
        [&[], &[&[1]], &[&[1], &[1], &[1]], &[&[1], &[2]], &[&[1], &[1, 2]], &[&[1], &[]], &[&[1], &[-1]]];
    for wrong in wrong {
        let answers = grow(&mut client, on(wrong), false);
        assert_eq!(answers[0].0, code(ErrorCode::InvalidReplicaAssignment), "{wrong:?}: {answers:?}");
    }
    assert_eq!(grow(&mut client, on(&[&[1], &[1]]), false)[0].0, OK);
    assert_eq!(partition_count(&mut client, "logs"), 3);
    broker.stop();
}

fn delete_records(client: &mut Raw, topic: &str, wanted: &[(i32, i64)]) -> Vec<(i16, i64)> {
    let partitions =
        wanted.iter().map(|&(partition_index, offset)| DeleteRecordsPartition { partition_index, offset }).collect();
    let topics = vec![DeleteRecordsTopic { name: topic, partitions }];
    let frame = client.call(&DeleteRecordsRequest { topics, timeout_ms: 5000 }, 2);
    let response: DeleteRecordsResponse<'_> = frame.decode(2);
    response.topics[0].partitions.iter().map(|partition| (partition.error_code, partition.low_watermark)).collect()
}

#[test]
fn records_are_deleted_up_to_an_offset_and_stay_deleted() {
    for io in raw::IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(dir.path(), io);
        let mut client = Raw::connect(broker.address());
        client.create_topic("logs", 2, &[]);
        for _ in 0..4 {
            client.produce("logs", 0, batch(5, 100));
        }
        assert_eq!(delete_records(&mut client, "logs", &[(0, 7)]), [(OK, 7)], "{io}");
        assert_eq!(client.list_offset("logs", -2), (OK, 7));
        assert_eq!(client.fetch("logs", 6).error, code(ErrorCode::OffsetOutOfRange));
        let first = client.fetch("logs", 7).batches()[0].base_offset.get();
        assert_eq!(first, 5, "a batch is whole, whatever of it is deleted");
        // Below the start there is nothing to delete, and that is no error; it never goes back.
        assert_eq!(delete_records(&mut client, "logs", &[(0, 3), (0, 0), (1, 0)]), [(OK, 7), (OK, 7), (OK, 0)], "{io}");
        let range = code(ErrorCode::OffsetOutOfRange);
        for outside in [21, -2, i64::MIN, i64::MAX] {
            assert_eq!(delete_records(&mut client, "logs", &[(0, outside)]), [(range, -1)], "{io} {outside}");
        }
        drop(client);
        assert!(broker.stop(), "{io}");
        let broker = start(dir.path(), io);
        let mut client = Raw::connect(broker.address());
        assert_eq!(client.list_offset("logs", -2), (OK, 7), "{io}");
        assert_eq!(delete_records(&mut client, "logs", &[(1, -1), (0, -1)]), [(OK, 0), (OK, 20)], "{io}");
        assert_eq!(client.fetch("logs", 20).records.len(), 0);
        assert_eq!(client.produce("logs", 0, batch(1, 1)), Produced { error: OK, base_offset: 20 }, "{io}");
        broker.stop();
    }
}

#[test]
fn segments_that_hold_only_deleted_records_go() {
    let (dir, broker, mut client) = broker();
    client.create_topic("logs", 1, &[("segment.bytes", "1048576")]);
    for _ in 0..8 {
        client.produce("logs", 0, batch(1, 400_000));
    }
    let segments = || {
        let names = std::fs::read_dir(dir.path().join("logs-0")).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|suffix| suffix == "log")).count()
    };
    assert_eq!(segments(), 4);
    assert_eq!(delete_records(&mut client, "logs", &[(0, 5)]), [(OK, 5)]);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while segments() != 2 && std::time::Instant::now() < patience {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(segments(), 2, "the records from 4 on lie in the last two");
    assert_eq!(client.fetch_all("logs", 5).len(), 3);
    broker.stop();
}

#[test]
fn deletions_of_what_is_not_there_are_refused_by_partition() {
    let (_dir, broker, mut client) = broker();
    client.create_topic("logs", 1, &[]);
    client.produce("logs", 0, batch(3, 10));
    let unknown = (code(ErrorCode::UnknownTopicOrPartition), -1);
    let answers = delete_records(&mut client, "logs", &[(1, 0), (-1, 0), (i32::MIN, -1), (i32::MAX, 0), (0, 2)]);
    assert_eq!(answers, [unknown, unknown, unknown, unknown, (OK, 2)]);
    for name in ["none", "", "a/b"] {
        assert_eq!(delete_records(&mut client, name, &[(0, 0)]), [unknown], "{name}");
    }
    assert_eq!(delete_records(&mut client, "logs", &[]), []);
    let many = vec![(0, 3); 50_000];
    assert_eq!(delete_records(&mut client, "logs", &many), vec![(OK, 3); 50_000]);
    broker.stop();
}

#[test]
fn the_cluster_is_described_and_controllers_are_not_here() {
    let (_dir, broker, mut client) = broker();
    for version in 0..=2 {
        for asked in [false, true] {
            let request = DescribeClusterRequest { include_cluster_authorized_operations: asked, ..Default::default() };
            let frame = client.call(&request, version);
            let response: DescribeClusterResponse<'_> = frame.decode(version);
            assert_eq!((response.error_code, response.controller_id, response.endpoint_type), (OK, 1, 1));
            assert_eq!(response.cluster_authorized_operations, if asked { 8096 } else { i32::MIN });
            assert!(!response.cluster_id.is_empty());
            let [broker_told] = &response.brokers[..] else { panic!("one broker") };
            assert_eq!((broker_told.broker_id, broker_told.is_fenced), (1, false));
            assert_eq!(format!("{}:{}", broker_told.host, broker_told.port), broker.address().to_string());
        }
    }
    for (endpoint_type, expected) in [
        (2, ErrorCode::MismatchedEndpointType),
        (0, ErrorCode::UnsupportedEndpointType),
        (3, ErrorCode::UnsupportedEndpointType),
        (-1, ErrorCode::UnsupportedEndpointType),
    ] {
        let frame = client.call(&DescribeClusterRequest { endpoint_type, ..Default::default() }, 1);
        let response: DescribeClusterResponse<'_> = frame.decode(1);
        assert_eq!((response.error_code, response.brokers.len()), (code(expected), 0), "{endpoint_type}");
        assert!(response.error_message.is_some());
    }
    broker.stop();
}

/// Names with their partitions, and the cursor.
type Page = (Vec<(i16, String, Vec<i32>)>, Option<(String, i32)>);

fn page(client: &mut Raw, names: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> Page {
    let request = DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name }).collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(topic_name, partition_index)| Cursor { topic_name, partition_index }),
    };
    let frame = client.call(&request, 0);
    let response: DescribeTopicPartitionsResponse<'_> = frame.decode(0);
    let topics = response.topics.iter().map(|topic| {
        let indexes = topic.partitions.iter().map(|partition| {
            assert_eq!((partition.leader_id, partition.leader_epoch, partition.error_code), (1, 0, OK));
            partition.partition_index
        });
        (topic.error_code, topic.name.unwrap_or("null").to_owned(), indexes.collect())
    });
    (topics.collect(), response.next_cursor.map(|cursor| (cursor.topic_name.to_owned(), cursor.partition_index)))
}

#[test]
fn topics_are_described_a_page_at_a_time_in_the_order_of_their_names() {
    let (_dir, broker, mut client) = broker();
    for (name, count) in [("b", 3), ("a", 2), ("c", 1)] {
        client.create_topic(name, count, &[]);
    }
    let topic = |name: &str, partitions: &[i32]| (OK, name.to_owned(), partitions.to_vec());
    let all = [topic("a", &[0, 1]), topic("b", &[0, 1, 2]), topic("c", &[0])];
    assert_eq!(page(&mut client, &[], 2000, None), (all.to_vec(), None));
    assert_eq!(page(&mut client, &["c", "a", "b", "a"], i32::MAX, None), (all.to_vec(), None));
    let next = |name: &str, index| Some((name.to_owned(), index));
    for names in [&[][..], &["c", "b", "a"]] {
        assert_eq!(page(&mut client, names, 2, None), (vec![topic("a", &[0, 1])], next("b", 0)));
        assert_eq!(page(&mut client, names, 2, Some(("b", 0))), (vec![topic("b", &[0, 1])], next("b", 2)));
        assert_eq!(page(&mut client, names, 2, Some(("b", 2))), (vec![topic("b", &[2]), topic("c", &[0])], None));
        // A page has room for one partition at least, and whatever was asked is walked through.
        for limit in [1, 0, -5] {
            let (mut seen, mut cursor) = (0, None::<(String, i32)>);
            loop {
                let (topics, following) =
                    page(&mut client, names, limit, cursor.as_ref().map(|(name, index)| (name.as_str(), *index)));
                seen += topics.iter().map(|topic| topic.2.len()).sum::<usize>();
                cursor = following;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, 6, "limit {limit}");
        }
    }
    // Behind the last partition, at a topic that has gone, behind all.
    assert_eq!(page(&mut client, &[], 10, Some(("b", 3))).0, [topic("b", &[]), topic("c", &[0])]);
    assert_eq!(page(&mut client, &[], 10, Some(("b", i32::MAX))).0, [topic("b", &[]), topic("c", &[0])]);
    assert_eq!(page(&mut client, &[], 10, Some(("aa", 7))).0, all[1..]);
    assert_eq!(page(&mut client, &[], 10, Some(("z", 0))), (Vec::new(), None));
    let (unknown, invalid) = (code(ErrorCode::UnknownTopicOrPartition), code(ErrorCode::InvalidTopicException));
    let bad = page(&mut client, &["none", "a/b", ""], 10, None).0;
    assert_eq!(bad.iter().map(|topic| topic.0).collect::<Vec<_>>(), [invalid, invalid, unknown]);
    let bad = page(&mut client, &["a"], 10, Some(("a", -1))).0;
    assert_eq!(bad[0].0, code(ErrorCode::InvalidRequest));
    assert_eq!(partition_count(&mut client, "none"), 0, "asking makes no topic");
    broker.stop();
}

#[test]
fn log_dirs_tell_sizes_and_the_volume() {
    let (dir, broker, mut client) = broker();
    client.create_topic("logs", 2, &[]);
    client.create_topic("other", 1, &[]);
    client.produce("logs", 1, batch(1, 10_000));
    let ask = |client: &mut Raw, version: i16, topics: Option<Vec<(&str, Vec<i32>)>>| {
        let topics = topics.map(|topics| {
            topics.into_iter().map(|(topic, partitions)| DescribableLogDirTopic { topic, partitions }).collect()
        });
        let frame = client.call(&DescribeLogDirsRequest { topics }, version);
        let response: DescribeLogDirsResponse<'_> = frame.decode(version);
        let [result] = &response.results[..] else { panic!("one directory") };
        assert_eq!((response.error_code, result.error_code, result.is_cordoned), (OK, OK, false));
        assert_eq!(result.log_dir, dir.path().to_str().unwrap());
        assert_eq!(version >= 4, result.total_bytes > 0 && result.usable_bytes > 0, "{version}");
        let partitions = result.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
                (topic.name.to_owned(), partition.partition_index, partition.partition_size)
            })
        });
        partitions.collect::<Vec<_>>()
    };
    let size = |name: &str, index, size| (name.to_owned(), index, size);
    for version in 1..=5 {
        let all = ask(&mut client, version, None);
        assert!(all[1].2 > 10_000 && all[1].2 < 10_200, "bytes of records, not secured space: {all:?}");
        assert_eq!([&all[0], &all[2]], [&size("logs", 0, 0), &size("other", 0, 0)], "{version}");
        let named = vec![("logs", vec![1, 7, -1, 1, i32::MIN]), ("none", vec![0]), ("", vec![0]), ("logs", vec![0])];
        assert_eq!(ask(&mut client, version, Some(named)), all[..2], "{version}");
        assert_eq!(ask(&mut client, version, Some(Vec::new())), []);
    }
    broker.stop();
}

#[test]
fn producers_of_a_partition_are_told() {
    let (dir, broker, mut client) = broker();
    client.create_topic("logs", 2, &[]);
    let before_ms = raw::now_ms();
    for (producer_id, epoch, sequence, count) in [(9, 1, 5, 1), (4, 0, 0, 3), (4, 0, 3, 2)] {
        assert_eq!(client.produce("logs", 0, sequenced(producer_id, epoch, sequence, count)).error, OK);
    }
    client.produce("logs", 0, batch(1, 1));
    let ask = |client: &mut Raw, topic: &str, partition_indexes: Vec<i32>| {
        let topics = vec![ProducersOf { name: topic, partition_indexes }];
        let frame = client.call(&DescribeProducersRequest { topics }, 0);
        let response: DescribeProducersResponse<'_> = frame.decode(0);
        let partitions = response.topics[0].partitions.iter().map(|partition| {
            let producers = partition.active_producers.iter().map(|producer| {
                assert!(producer.last_timestamp >= before_ms);
                assert_eq!((producer.coordinator_epoch, producer.current_txn_start_offset), (-1, -1));
                (producer.producer_id, producer.producer_epoch, producer.last_sequence)
            });
            (partition.error_code, producers.collect::<Vec<_>>())
        });
        partitions.collect::<Vec<_>>()
    };
    let known = (OK, vec![(4, 0, 4), (9, 1, 5)]);
    assert_eq!(ask(&mut client, "logs", vec![0, 1]), [known.clone(), (OK, vec![])]);
    let unknown = (code(ErrorCode::UnknownTopicOrPartition), vec![]);
    assert_eq!(ask(&mut client, "logs", vec![2, -1, i32::MAX]), vec![unknown.clone(); 3]);
    assert_eq!(ask(&mut client, "none", vec![0]), [unknown]);
    drop(client);
    broker.stop();
    let broker = start(dir.path(), "posix");
    assert_eq!(ask(&mut Raw::connect(broker.address()), "logs", vec![0]), [known], "a restart forgets nobody");
    broker.stop();
}

/// Asks with `current` as the client's own epoch where `asked` ended.
fn epoch_end(client: &mut Raw, partition: i32, current: i32, asked: i32) -> (i16, i32, i64) {
    let mut told = None;
    for version in 2..=4 {
        let wanted = OffsetForLeaderPartition { partition, current_leader_epoch: current, leader_epoch: asked };
        let topics = vec![OffsetForLeaderTopic { topic: "logs", partitions: vec![wanted] }];
        let frame = client.call(&OffsetForLeaderEpochRequest { replica_id: -1, topics }, version);
        let response: OffsetForLeaderEpochResponse<'_> = frame.decode(version);
        let end = &response.topics[0].partitions[0];
        let answer = (end.error_code, end.leader_epoch, end.end_offset);
        assert!(told.is_none_or(|told| told == answer), "all versions say the same");
        told = Some(answer);
    }
    told.unwrap()
}

#[test]
fn epochs_end_where_the_next_began() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let broker = start(dir.path(), "auto");
        let mut client = Raw::connect(broker.address());
        client.create_topic("logs", 1, &[]);
        client.produce("logs", 0, batch(10, 10));
        drop(client);
        let superblock = dir.path().join("superblock");
        let running = std::fs::read(&superblock).unwrap();
        assert!(broker.stop());
        // Without the mark of a clean stop the next start begins an epoch, as after a crash.
        std::fs::write(&superblock, running).unwrap();
    }
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    for (asked, expected) in [
        (0, (OK, 0, 10)),
        (1, (OK, 1, 20)),
        (2, (OK, 2, 30)),
        (3, (OK, 3, 30)),
        (4, (OK, -1, -1)),
        (i32::MAX, (OK, -1, -1)),
        (-1, (OK, -1, -1)),
        (i32::MIN, (OK, -1, -1)),
    ] {
        assert_eq!(epoch_end(&mut client, 0, 3, asked), expected, "epoch {asked}");
        assert_eq!(epoch_end(&mut client, 0, -1, asked), expected, "epoch {asked}, without the client's own");
    }
    assert_eq!(epoch_end(&mut client, 0, 2, 1), (code(ErrorCode::FencedLeaderEpoch), -1, -1));
    assert_eq!(epoch_end(&mut client, 0, 4, 1), (code(ErrorCode::UnknownLeaderEpoch), -1, -1));
    for partition in [1, -1, i32::MIN] {
        assert_eq!(epoch_end(&mut client, partition, -1, 0), (code(ErrorCode::UnknownTopicOrPartition), -1, -1));
    }
    // What is deleted belongs to no epoch any more.
    assert_eq!(delete_records(&mut client, "logs", &[(0, 25)]), [(OK, 25)]);
    assert_eq!(epoch_end(&mut client, 0, 3, 0), (OK, 0, 25));
    assert_eq!(epoch_end(&mut client, 0, 3, 2), (OK, 2, 30));
    broker.stop();
}

/// Whether the broker closes the connection instead of answering.
fn is_closed_after<'a, M: Message<'a>>(broker: &Broker, request: &M, version: i16) -> bool {
    let mut client = Raw::connect(broker.address());
    client.send(request, version, Vec::new());
    client.receive().is_none()
}

#[test]
fn requests_for_more_than_an_answer_can_hold_end_their_connection() {
    let (_dir, broker, mut client) = broker();
    client.create_topic("logs", 1, &[]);
    let names: Vec<String> = (0..10_001).map(|number| format!("t{number}")).collect();
    let topics = names.iter().map(|name| growth(name, 2)).collect();
    assert!(is_closed_after(&broker, &CreatePartitionsRequest { topics, timeout_ms: 0, validate_only: true }, 3));
    let topics = names.iter().map(|name| TopicRequest { name }).collect();
    assert!(is_closed_after(&broker, &DescribeTopicPartitionsRequest { topics, ..Default::default() }, 0));
    let topics = vec![ProducersOf { name: "logs", partition_indexes: vec![0; 10_001] }];
    assert!(is_closed_after(&broker, &DescribeProducersRequest { topics }, 0));
    let partitions = vec![DeleteRecordsPartition::default(); 50_001];
    let topics = vec![DeleteRecordsTopic { name: "logs", partitions }; 2];
    assert!(is_closed_after(&broker, &DeleteRecordsRequest { topics, timeout_ms: 0 }, 2));
    let partitions = vec![OffsetForLeaderPartition::default(); 100_001];
    let topics = vec![OffsetForLeaderTopic { topic: "logs", partitions }];
    assert!(is_closed_after(&broker, &OffsetForLeaderEpochRequest { replica_id: -1, topics }, 4));
    let topics = Some(vec![DescribableLogDirTopic { topic: "logs", partitions: vec![0; 100_001] }]);
    assert!(is_closed_after(&broker, &DescribeLogDirsRequest { topics }, 5));
    // As many as are allowed are answered.
    let topics = names[1..].iter().map(|name| growth(name, 2)).collect();
    let answers = grow(&mut client, topics, false);
    assert_eq!(answers.len(), 10_000);
    assert!(answers.iter().all(|answer| answer.0 == code(ErrorCode::UnknownTopicOrPartition)));
    broker.stop();
}

#[test]
fn producers_beyond_an_answers_limit_are_to_be_asked_for_again() {
    let (_dir, broker, mut client) = broker();
    client.create_topic("logs", 1, &[]);
    for producer_id in 0..11 {
        assert_eq!(client.produce("logs", 0, sequenced(producer_id, 0, 0, 1)).error, OK);
    }
    let topics = vec![ProducersOf { name: "logs", partition_indexes: vec![0; 10_000] }];
    let frame = client.call(&DescribeProducersRequest { topics }, 0);
    let response: DescribeProducersResponse<'_> = frame.decode(0);
    let (told, refused): (Vec<_>, Vec<_>) =
        response.topics[0].partitions.iter().partition(|partition| partition.error_code == OK);
    assert_eq!((told.len(), refused.len()), (9090, 910), "100,000 producers are told");
    assert!(told.iter().all(|partition| partition.active_producers.len() == 11));
    let (invalid, why) = (code(ErrorCode::InvalidRequest), refused[0].error_message.unwrap());
    assert!(refused.iter().all(|partition| partition.error_code == invalid) && why.contains("fewer partitions"));
    broker.stop();
}
