//! Settings that are changed while the broker runs take effect on running partitions, at once and without a restart: one test per
//! kind of effect. What the config APIs answer is tested in `configs_api.rs`.

mod configs;
mod raw;

use std::path::Path;

use bytes::Bytes;
use configs::{BROKER, DELETE, TOPIC, change, eventually, ok, set, value};
use raw::{Produced, Raw, batch, config_with, start};
use ringmill::Broker;
use ringmill_batch::{BatchBuilder, Codec, TimestampType};
use ringmill_engine::checkpoint;
use ringmill_engine::disk::block_on;
use ringmill_engine::disk::posix::PosixDisk;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

const OK: i16 = 0;
const LOGS: (i8, &str) = (TOPIC, "logs");

/// A broker with the topic `logs`, and somebody to talk to it.
fn with_topic(dir: &Path, settings: &[(&str, &str)]) -> (Broker, Raw) {
    let broker = start(dir, "auto");
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("logs", 1, settings), OK);
    (broker, client)
}

fn segments(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir.join("logs-0")).expect("the partition has a directory").flatten();
    files.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().ends_with(".log")).count()
}

/// Up to where the partition is known to be durable, as its core's last checkpoint has it.
fn recovery_point(dir: &Path) -> i64 {
    let disk = PosixDisk::new(1).expect("a thread can be started");
    let entries = block_on(&disk, checkpoint::read_all(&disk, dir)).expect("the checkpoints can be read");
    entries.iter().map(|entry| entry.recovery_point.get()).max().unwrap_or(0)
}

/// One record with this timestamp.
fn stamped(timestamp_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(timestamp_ms, None, Some(b"v"), &[]);
    builder.finish().freeze()
}

#[test]
fn a_shorter_retention_removes_what_is_older_now() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_topic(dir.path(), &[]);
    client.produce("logs", 0, batch(5, 100));
    assert_eq!(client.list_offset("logs", -2), (OK, 0));
    set(&mut client, LOGS, "retention.ms", "1");
    eventually("the old records go", || client.list_offset("logs", -2) == (OK, 5));
    assert_eq!(change(&mut client, LOGS, &[("retention.ms", DELETE, None)]), ok());
    client.produce("logs", 0, batch(5, 100));
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(client.list_offset("logs", -2), (OK, 5), "with the default they stay");
    broker.stop();
}

#[test]
fn segments_become_smaller_or_roll_sooner_and_retention_by_bytes_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_topic(dir.path(), &[]);
    for _ in 0..3 {
        client.produce("logs", 0, batch(1, 600_000));
    }
    assert_eq!(segments(dir.path()), 1);
    set(&mut client, LOGS, "segment.bytes", "1048576");
    client.produce("logs", 0, batch(1, 600_000));
    client.produce("logs", 0, batch(1, 600_000));
    assert_eq!(segments(dir.path()), 3, "each batch needs its own now");
    set(&mut client, LOGS, "segment.ms", "1");
    eventually("the active segment is old", || segments(dir.path()) == 4);
    set(&mut client, LOGS, "retention.bytes", "1000000");
    eventually("the first segment goes", || client.list_offset("logs", -2) == (OK, 3));
    assert_eq!(client.list_offset("logs", -1), (OK, 5));
    broker.stop();
}

#[test]
fn the_largest_message_changes_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_topic(dir.path(), &[]);
    let large = || batch(1, 2_000_000);
    let too_large = ErrorCode::MessageTooLarge.code();
    assert_eq!(client.produce("logs", 0, large()).error, too_large);
    set(&mut client, LOGS, "max.message.bytes", "3000000");
    assert_eq!(client.produce("logs", 0, large()), Produced { error: OK, base_offset: 0 });
    set(&mut client, LOGS, "max.message.bytes", "100");
    assert_eq!(client.produce("logs", 0, batch(1, 1000)).error, too_large);
    assert_eq!(client.produce("logs", 0, batch(1, 1)), Produced { error: OK, base_offset: 1 });
    broker.stop();
}

#[test]
fn timestamps_are_judged_and_stamped_as_the_topic_says_now() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_topic(dir.path(), &[]);
    let old_ms = raw::now_ms() - 100_000;
    assert_eq!(client.produce("logs", 0, stamped(old_ms)).error, OK);
    set(&mut client, LOGS, "message.timestamp.before.max.ms", "50000");
    assert_eq!(client.produce("logs", 0, stamped(old_ms)).error, ErrorCode::InvalidTimestamp.code());
    set(&mut client, LOGS, "message.timestamp.type", "LogAppendTime");
    assert_eq!(client.produce("logs", 0, stamped(old_ms)).error, OK);
    set(&mut client, LOGS, "message.timestamp.after.max.ms", "60000");
    let ahead_ms = raw::now_ms() + 1_000_000;
    assert_eq!(client.produce("logs", 0, stamped(ahead_ms)).error, OK, "the broker's own clock stamps it");
    set(&mut client, LOGS, "message.timestamp.type", "CreateTime");
    assert_eq!(client.produce("logs", 0, stamped(ahead_ms)).error, ErrorCode::InvalidTimestamp.code());
    let kinds: Vec<_> = client.fetch_all("logs", 0).iter().map(|header| header.attributes.timestamp_type()).collect();
    assert_eq!(kinds, [TimestampType::CreateTime, TimestampType::LogAppendTime, TimestampType::LogAppendTime]);
    broker.stop();
}

#[test]
fn write_caching_and_its_flush_window_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_topic(dir.path(), &[]);
    client.produce("logs", 0, batch(1, 10));
    eventually("without caching an answered batch is durable", || recovery_point(dir.path()) == 1);
    set(&mut client, LOGS, "flush.ms", "3600000");
    set(&mut client, LOGS, "write.caching", "true");
    assert_eq!(client.produce("logs", 0, batch(1, 10)), Produced { error: OK, base_offset: 1 });
    assert_eq!(client.list_offset("logs", -1), (OK, 2), "it is visible");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(recovery_point(dir.path()), 1, "and not yet synced");
    set(&mut client, LOGS, "flush.ms", "1");
    eventually("the window is over", || recovery_point(dir.path()) == 2);
    set(&mut client, LOGS, "flush.ms", "3600000");
    client.produce("logs", 0, batch(1, 10));
    set(&mut client, LOGS, "max.message.bytes", "1000000");
    set(&mut client, LOGS, "flush.bytes", "1048576");
    assert_eq!(client.produce("logs", 0, batch(1, 800_000)).error, OK);
    eventually("half of the bound begins a sync", || recovery_point(dir.path()) == 4);
    client.produce("logs", 0, batch(1, 10));
    // Its bound is smaller than that of caching: the checkpoint must know of the larger one before.
    set(&mut client, LOGS, "write.caching", "false");
    eventually("what was cached is synced", || recovery_point(dir.path()) == 5);
    assert!(broker.stop());
}

#[test]
fn the_broker_sets_defaults_for_topics_that_have_none_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_topic(dir.path(), &[]);
    assert_eq!(client.create_topic("own", 1, &[("max.message.bytes", "1000000")]), OK);
    let large = |client: &mut Raw, topic: &str| client.produce(topic, 0, batch(1, 5000)).error;
    let too_large = ErrorCode::MessageTooLarge.code();
    set(&mut client, (BROKER, ""), "message.max.bytes", "1000");
    assert_eq!((large(&mut client, "logs"), large(&mut client, "own")), (too_large, OK));
    set(&mut client, (BROKER, "1"), "message.max.bytes", "10000");
    assert_eq!((large(&mut client, "logs"), large(&mut client, "own")), (OK, OK));
    assert_eq!(value(&mut client, LOGS, "max.message.bytes"), ("10000".to_owned(), 2));
    assert_eq!(change(&mut client, (BROKER, "1"), &[("message.max.bytes", DELETE, None)]), ok());
    assert_eq!(value(&mut client, LOGS, "max.message.bytes"), ("1000".to_owned(), 3));
    assert_eq!(client.create_topic("later", 1, &[]), OK);
    assert_eq!(large(&mut client, "later"), too_large);
    client.produce("logs", 0, batch(1, 10));
    set(&mut client, (BROKER, ""), "log.retention.ms", "1");
    eventually("the records go", || client.list_offset("logs", -2) == client.list_offset("logs", -1));
    broker.stop();
}

#[test]
fn partitions_that_are_added_later_go_by_the_settings_of_now() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, mut client) = with_topic(dir.path(), &[]);
    set(&mut client, LOGS, "message.timestamp.type", "LogAppendTime");
    let topics = vec![CreatePartitionsTopic { name: "logs", count: 2, assignments: None }];
    let request = CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only: false };
    let frame = client.call(&request, 3);
    let response: CreatePartitionsResponse<'_> = frame.decode(3);
    assert_eq!(response.results[0].error_code, OK);
    assert_eq!(client.produce("logs", 1, stamped(raw::now_ms() - 100_000)).error, OK);
    let config = value(&mut client, LOGS, "message.timestamp.type");
    assert_eq!(config, ("LogAppendTime".to_owned(), 1));
    let stored = std::fs::read(dir.path().join("logs-1/00000000000000000000.log")).unwrap();
    let header = ringmill_batch::check_stored(&stored).expect("the batch is whole");
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    broker.stop();
}

/// Loki and Mimir do this, with the one resource or the other.
#[test]
fn new_topics_get_as_many_partitions_as_the_broker_was_told_last() {
    let dir = tempfile::tempdir().unwrap();
    let broker = raw_start(dir.path());
    let mut client = Raw::connect(broker.address());
    let partitions = |client: &mut Raw, name: &str| {
        assert_eq!(client.create_topic(name, -1, &[]), OK);
        (0..10).take_while(|index| client.produce(name, *index, batch(1, 1)).error == OK).count()
    };
    assert_eq!(partitions(&mut client, "a"), 2, "as started");
    set(&mut client, (BROKER, ""), "num.partitions", "3");
    assert_eq!(partitions(&mut client, "b"), 3);
    assert_eq!(auto_created(&mut client, "auto"), 3, "made because somebody asked for it");
    set(&mut client, (BROKER, "1"), "num.partitions", "5");
    assert_eq!(partitions(&mut client, "c"), 5);
    drop(client);
    assert!(broker.stop());

    let broker = raw_start(dir.path());
    let mut client = Raw::connect(broker.address());
    assert_eq!(partitions(&mut client, "d"), 5, "a restart keeps it");
    assert_eq!(change(&mut client, (BROKER, "1"), &[("num.partitions", DELETE, None)]), ok());
    assert_eq!(partitions(&mut client, "e"), 3);
    assert_eq!(change(&mut client, (BROKER, ""), &[("num.partitions", DELETE, None)]), ok());
    assert_eq!(partitions(&mut client, "f"), 2);
    broker.stop();
}

/// The partitions of a topic that comes to be by being asked for.
fn auto_created(client: &mut Raw, name: &str) -> usize {
    let topics = Some(vec![MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }]);
    let request = MetadataRequest { topics, allow_auto_topic_creation: true, ..MetadataRequest::default() };
    let frame = client.call(&request, 9);
    let response: MetadataResponse<'_> = frame.decode(9);
    response.topics[0].partitions.len()
}

fn raw_start(dir: &Path) -> Broker {
    Broker::start(config_with(dir, "auto", &[("broker.num.partitions", "2")])).expect("the broker starts")
}
