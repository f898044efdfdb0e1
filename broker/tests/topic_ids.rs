//! Topic ids, wherever the protocol has them: a topic is meant by its id alone, an id is never given twice, and one that is not known is
//! told so, whatever there is under the name.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

mod raw;

use bytes::Bytes;
use raw::{Produced, Raw, batch, sequenced, start};
use ringmill::Broker;
use ringmill_net::Piece;
use ringmill_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use ringmill_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{ErrorCode, Records, Uuid};

const OK: i16 = 0;
const ZERO: Uuid = [0; 16];
const NOBODYS: Uuid = [7; 16];

fn broker() -> (tempfile::TempDir, Broker, Raw) {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let client = Raw::connect(broker.address());
    (dir, broker, client)
}

fn unknown_id() -> i16 {
    ErrorCode::UnknownTopicId.code()
}

fn create(client: &mut Raw, name: &str, validate_only: bool) -> Uuid {
    let topic = CreatableTopic { name, num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: vec![topic], validate_only, ..CreateTopicsRequest::default() };
    let frame = client.call(&request, 7);
    let response: CreateTopicsResponse<'_> = frame.decode(7);
    assert_eq!(response.topics[0].error_code, OK);
    response.topics[0].topic_id
}

/// Error, name and id of what is told about each.
fn metadata(client: &mut Raw, version: i16, asked: &[(Option<&str>, Uuid)]) -> Vec<(i16, Option<String>, Uuid)> {
    let topics = asked.iter().map(|&(name, topic_id)| MetadataRequestTopic { name, topic_id }).collect();
    let request = MetadataRequest { topics: Some(topics), ..MetadataRequest::default() };
    let frame = client.call(&request, version);
    let response: MetadataResponse<'_> = frame.decode(version);
    response.topics.iter().map(|topic| (topic.error_code, topic.name.map(str::to_owned), topic.topic_id)).collect()
}

/// One batch to partition 0 of each; errors and offsets.
fn produce(client: &mut Raw, to: &[(Uuid, Bytes)]) -> Vec<Produced> {
    let topic_data = to.iter().map(|(topic_id, batch)| TopicProduceData {
        topic_id: *topic_id,
        partition_data: vec![PartitionProduceData { index: 0, records: Some(Records::of_length(batch.len())) }],
        ..TopicProduceData::default()
    });
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: topic_data.collect(), ..ProduceRequest::default() };
    let frame = client.call_with(&request, 13, to.iter().map(|(_, batch)| Piece::Bytes(batch.clone())).collect());
    let response: ProduceResponse<'_> = frame.decode(13);
    let ids: Vec<Uuid> = response.responses.iter().map(|topic| topic.topic_id).collect();
    assert_eq!(ids, to.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "each is answered under its id");
    let answers = response.responses.iter().map(|topic| &topic.partition_responses[0]);
    answers.map(|answer| Produced { error: answer.error_code, base_offset: answer.base_offset }).collect()
}

/// Error and bytes of partition 0 of each, from the start.
fn fetch(client: &mut Raw, version: i16, of: &[Uuid]) -> Vec<(i16, usize)> {
    let topics = of.iter().map(|&topic_id| FetchTopic {
        topic_id,
        partitions: vec![FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() }],
        ..FetchTopic::default()
    });
    let frame = client.call(&FetchRequest { topics: topics.collect(), ..FetchRequest::default() }, version);
    let response: FetchResponse<'_> = frame.decode(version);
    assert_eq!(response.error_code, OK);
    let answers = response.responses.iter().map(|topic| &topic.partitions[0]);
    answers.map(|data| (data.error_code, data.records.map_or(0, |records| records.length()))).collect()
}

fn delete(client: &mut Raw, asked: &[(Option<&str>, Uuid)]) -> Vec<(i16, Option<String>, Uuid)> {
    let topics = asked.iter().map(|&(name, topic_id)| DeleteTopicState { name, topic_id }).collect();
    let request = DeleteTopicsRequest { topics, timeout_ms: 1000, ..DeleteTopicsRequest::default() };
    let frame = client.call(&request, 6);
    let response: DeleteTopicsResponse<'_> = frame.decode(6);
    let answers = response.responses.iter();
    answers.map(|topic| (topic.error_code, topic.name.map(str::to_owned), topic.topic_id)).collect()
}

#[test]
fn a_new_topic_says_its_id_and_every_api_knows_it() {
    let (dir, broker, mut client) = broker();
    assert_eq!(create(&mut client, "logs", true), ZERO, "a check gives no id");
    let id = create(&mut client, "logs", false);
    let told = [(OK, Some("logs".to_owned()), id)];
    for version in 10..=13 {
        assert_eq!(metadata(&mut client, version, &[(Some("logs"), ZERO)]), told, "{version}");
        assert_eq!(metadata(&mut client, version, &[(None, id)]), told, "{version}");
    }
    assert_eq!(produce(&mut client, &[(id, batch(1, 10))]), [Produced { error: OK, base_offset: 0 }]);
    for version in 13..=18 {
        assert!(matches!(fetch(&mut client, version, &[id])[..], [(OK, 1..)]), "{version}");
    }
    drop(client);
    broker.stop();
    let broker = start(dir.path(), "posix");
    let mut client = Raw::connect(broker.address());
    assert_eq!(metadata(&mut client, 12, &[(None, id)]), told, "a restart keeps it");
    assert_eq!(delete(&mut client, &[(None, id)]), told);
    broker.stop();
}

#[test]
fn ids_that_are_not_known_are_told_so_beside_those_that_are() {
    let (_dir, broker, mut client) = broker();
    let id = create(&mut client, "logs", false);
    let written = [(NOBODYS, batch(1, 10)), (id, batch(2, 10)), (ZERO, batch(1, 10))];
    let refused = Produced { error: unknown_id(), base_offset: -1 };
    assert_eq!(produce(&mut client, &written), [refused, Produced { error: OK, base_offset: 0 }, refused]);
    for version in [13, 18] {
        let answers = fetch(&mut client, version, &[ZERO, id, NOBODYS]);
        assert!(matches!(answers[..], [(100, 0), (OK, 1..), (100, 0)]), "{version}: {answers:?}");
    }
    for version in 10..=13 {
        let no_name = (version < 12).then(String::new);
        let answers = metadata(&mut client, version, &[(None, NOBODYS), (None, id)]);
        assert_eq!(answers, [(unknown_id(), no_name, NOBODYS), (OK, Some("logs".to_owned()), id)], "{version}");
    }
    broker.stop();
}

#[test]
fn beside_an_id_no_name_counts() {
    let (_dir, broker, mut client) = broker();
    let (one, other) = (create(&mut client, "one", false), create(&mut client, "other", false));
    let answers = metadata(&mut client, 12, &[(Some("one"), other), (Some("one"), NOBODYS), (Some("new"), NOBODYS)]);
    let unknown = (unknown_id(), None, NOBODYS);
    assert_eq!(answers, [(OK, Some("other".to_owned()), other), unknown], "each id once");
    let answers = metadata(&mut client, 12, &[(Some("one"), ZERO), (Some("new"), ZERO), (None, ZERO)]);
    assert_eq!(answers[0], (OK, Some("one".to_owned()), one));
    assert_eq!((answers[1].0, &answers[1].1), (OK, &Some("new".to_owned())), "by name it is made");
    assert_eq!(answers[2], (unknown_id(), None, ZERO));
    broker.stop();
}

#[test]
fn deletions_name_a_topic_once_and_in_one_way() {
    let (_dir, broker, mut client) = broker();
    let invalid = ErrorCode::InvalidRequest.code();
    let (one, other) = (create(&mut client, "one", false), create(&mut client, "other", false));
    let asked = [(Some("one"), one), (Some("one"), other), (None, ZERO), (Some("none"), NOBODYS)];
    assert_eq!(delete(&mut client, &asked).iter().map(|answer| answer.0).collect::<Vec<_>>(), [invalid; 4]);
    // By name and by id it is the same topic, and nobody knows what was meant by naming it twice.
    for (twice, answers) in [
        (&[(Some("one"), ZERO), (Some("one"), ZERO)], 1),
        (&[(None, one), (None, one)], 1),
        (&[(Some("one"), ZERO), (None, one)], 2),
    ] {
        assert_eq!(
            delete(&mut client, twice).iter().map(|answer| answer.0).collect::<Vec<_>>(),
            vec![invalid; answers]
        );
    }
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let asked = [(None, NOBODYS), (Some("none"), ZERO), (Some("one"), ZERO), (Some(""), ZERO)];
    let answers: Vec<_> = delete(&mut client, &asked).iter().map(|answer| (answer.0, answer.2)).collect();
    assert_eq!(answers, [(unknown_id(), NOBODYS), (unknown, ZERO), (OK, one), (unknown, ZERO)]);
    assert_eq!(metadata(&mut client, 12, &[(None, other)])[0].0, OK);
    broker.stop();
}

#[test]
fn a_topic_made_anew_under_its_name_is_another_one() {
    for io in raw::IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(dir.path(), io);
        let mut client = Raw::connect(broker.address());
        let old = create(&mut client, "logs", false);
        produce(&mut client, &[(old, batch(5, 100))]);
        assert_eq!(client.delete_topic("logs"), OK);
        let new = create(&mut client, "logs", false);
        assert_ne!(old, new);
        let refused = Produced { error: unknown_id(), base_offset: -1 };
        let written = produce(&mut client, &[(old, batch(1, 10)), (new, batch(1, 10))]);
        assert_eq!(written, [refused, Produced { error: OK, base_offset: 0 }], "{io}");
        let answers = fetch(&mut client, 13, &[old, new]);
        assert!(matches!(answers[..], [(100, 0), (OK, 1..200)]), "{io}: {answers:?}");
        assert_eq!(metadata(&mut client, 12, &[(None, old)]), [(unknown_id(), None, old)]);
        assert_eq!(delete(&mut client, &[(None, old)])[0].0, unknown_id(), "{io}: it is not the one that was meant");
        assert_eq!(client.list_offset("logs", -1), (OK, 1), "{io}");
        broker.stop();
    }
}

#[test]
fn a_fetch_that_waits_for_a_topic_by_its_id_hears_of_its_end_even_when_the_name_is_taken_again() {
    let (_dir, broker, mut client) = broker();
    let old = create(&mut client, "logs", false);
    let mut consumer = Raw::connect(broker.address());
    let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() }];
    let topics = vec![FetchTopic { topic_id: old, partitions, ..FetchTopic::default() }];
    let request = FetchRequest { max_wait_ms: 20_000, min_bytes: 1, topics, ..FetchRequest::default() };
    consumer.send(&request, 13, Vec::new());
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(client.delete_topic("logs"), OK);
    create(&mut client, "logs", false);
    client.produce("logs", 0, batch(1, 10));
    let frame = consumer.receive().unwrap();
    let response: FetchResponse<'_> = frame.decode(13);
    assert_eq!(response.responses[0].partitions[0].error_code, unknown_id());
    broker.stop();
}

/// As with Kafka: the new topic's log knows nobody, so whoever goes on by name is taken as he comes, and then held to his sequence.
#[test]
fn an_idempotent_producer_goes_on_in_a_topic_made_anew_from_where_it_is() {
    let (_dir, broker, mut client) = broker();
    let old = create(&mut client, "logs", false);
    for sequence in 0..3 {
        assert_eq!(client.produce("logs", 0, sequenced(5, 0, sequence, 1)).error, OK);
    }
    assert_eq!(client.delete_topic("logs"), OK);
    let new = create(&mut client, "logs", false);
    assert_eq!(client.produce("logs", 0, sequenced(5, 0, 3, 1)), Produced { error: OK, base_offset: 0 });
    assert_eq!(client.produce("logs", 0, sequenced(5, 0, 3, 1)), Produced { error: OK, base_offset: 0 }, "a repeat");
    let gap = ErrorCode::OutOfOrderSequenceNumber.code();
    assert_eq!(client.produce("logs", 0, sequenced(5, 0, 5, 1)).error, gap);
    // By the old id nothing is appended anywhere, whatever its sequence.
    assert_eq!(produce(&mut client, &[(old, sequenced(5, 0, 4, 1))])[0].error, unknown_id());
    assert_eq!(produce(&mut client, &[(new, sequenced(5, 0, 4, 1))]), [Produced { error: OK, base_offset: 1 }]);
    broker.stop();
}

/// The files of a topic with a long name stayed for ever: their directory's new name was too long.
#[test]
fn the_files_of_a_deleted_topic_go_whatever_its_name() {
    let (dir, broker, mut client) = broker();
    let longest = "n".repeat(249);
    create(&mut client, &longest, false);
    client.produce(&longest, 0, batch(1, 1000));
    assert_eq!(client.delete_topic(&longest), OK);
    let directories = || std::fs::read_dir(dir.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while directories().count() > 0 && std::time::Instant::now() < patience {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(directories().count(), 0);
    broker.stop();
}

/// Such a partition has no owner that could remove it; its directory was set aside with all its bytes, for ever.
#[test]
fn a_quarantined_partition_that_is_deleted_goes_with_the_next_start() {
    let (dir, broker, mut client) = broker();
    create(&mut client, "logs", false);
    create(&mut client, "other", false);
    client.produce("logs", 0, batch(1, 1000));
    drop(client);
    assert!(broker.stop());
    let segment = dir.path().join("logs-0/00000000000000000000.log");
    std::fs::rename(&segment, dir.path().join("logs-0/taken-away")).unwrap();
    let broker = start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.fetch("logs", 0).error, ErrorCode::KafkaStorageError.code(), "it is quarantined");
    assert_eq!(client.delete_topic("logs"), OK);
    broker.stop();
    let broker = start(dir.path(), "auto");
    assert!(!dir.path().join("logs-0").exists() && !dir.path().join("orphans").exists());
    assert!(dir.path().join("other-0").exists());
    broker.stop();
}
