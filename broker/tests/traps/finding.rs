//! How clients find the broker and its topics: advertised addresses, topics that are made on demand, settings that are refused.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;

use assert_cmd::cargo::cargo_bin;
use ringmill::Broker;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ringmill_net::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringmill_net::wire::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::raw::{Produced, Raw, batch, config_with, start};
use crate::{OK, named, with_logs};

/// Where a client is told to come, by both requests that say it.
fn told(client: &mut Raw) -> (String, i32) {
    let frame = client.call(&MetadataRequest::default(), 9);
    let metadata: MetadataResponse<'_> = frame.decode(9);
    let broker = &metadata.brokers[0];
    let group = FindCoordinatorRequest { key: "g", ..FindCoordinatorRequest::default() };
    let frame = client.call(&group, 1);
    let coordinator: FindCoordinatorResponse<'_> = frame.decode(1);
    assert_eq!((coordinator.host, coordinator.port), (broker.host, broker.port));
    (broker.host.to_owned(), broker.port)
}

/// A broker told to listen on every address must not tell its clients 0.0.0.0, nor an IPv4 client an address of the form ::ffff:a.b.c.d.
#[test]
fn the_advertised_address_is_the_one_that_the_client_dialled() {
    let v4 = |last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    let cases = [("0.0.0.0:0", vec![v4(1), v4(7)]), ("[::]:0", vec![v4(1), v4(7), IpAddr::from(Ipv6Addr::LOCALHOST)])];
    for (listener, dialled) in cases {
        let dir = tempfile::tempdir().unwrap();
        let broker = match Broker::start(config_with(dir.path(), "auto", &[("broker.listeners", listener)])) {
            Ok(broker) => broker,
            Err(error) if listener.starts_with('[') => {
                println!("no IPv6 here: {error}");
                continue;
            }
            Err(error) => panic!("{listener}: {error}"),
        };
        for ip in dialled {
            let address = SocketAddr::from((ip, broker.address().port()));
            let expected = (ip.to_string(), i32::from(address.port()));
            assert_eq!(told(&mut Raw::connect(address)), expected, "{listener}");
        }
        broker.stop();
    }
}

#[test]
fn a_configured_address_is_told_to_everyone() {
    let dir = tempfile::tempdir().unwrap();
    let advertised = [("broker.advertised.listeners", "PLAINTEXT://logs.example.org:19092")];
    let broker = Broker::start(config_with(dir.path(), "auto", &advertised)).unwrap();
    assert_eq!(told(&mut Raw::connect(broker.address())), ("logs.example.org".to_owned(), 19092));
    broker.stop();
}

/// Whether a broker that listens on `listener` says that its clients may not find the way back.
fn speaks_of_nat(listener: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(cargo_bin!("ringmill"));
    command.args(["serve", "--listen", listener, "--log-format", "json", "--data-dir"]).arg(dir.path());
    let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"ready\"")), "{listener}: the broker ended");
    // An orderly stop, which waits for what is being said.
    rustix::process::kill_process(rustix::process::Pid::from_child(&process), rustix::process::Signal::TERM).unwrap();
    let spoken = lines.any(|line| line.contains("behind NAT, set advertised.listeners"));
    process.wait().unwrap();
    spoken
}

#[test]
fn a_broker_that_may_stand_behind_nat_says_what_to_set() {
    assert!(!speaks_of_nat("127.0.0.1:0"));
    assert!(speaks_of_nat("0.0.0.0:0"));
}

/// Error and number of partitions.
fn metadata_of(client: &mut Raw, topic: &str, create: bool, version: i16) -> (i16, usize) {
    let request =
        MetadataRequest { topics: named(topic), allow_auto_topic_creation: create, ..MetadataRequest::default() };
    let frame = client.call(&request, version);
    let answer: MetadataResponse<'_> = frame.decode(version);
    (answer.topics[0].error_code, answer.topics[0].partitions.len())
}

/// Most producers write first and ask when that fails.
#[test]
fn a_topic_is_made_by_the_metadata_request_that_follows_a_failed_produce() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config_with(dir.path(), "auto", &[("broker.num.partitions", "3")])).unwrap();
    let mut client = Raw::connect(broker.address());
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(client.produce("logs", 0, batch(1, 1)).error, unknown);
    assert_eq!(client.fetch("logs", 0).error, unknown, "a produce makes no topic");
    assert_eq!(metadata_of(&mut client, "logs", false, 9), (unknown, 0));
    assert_eq!(metadata_of(&mut client, "logs", true, 9), (OK, 3));
    assert_eq!(client.produce("logs", 2, batch(1, 1)), Produced { error: OK, base_offset: 0 });
    broker.stop();
}

#[test]
fn a_topic_that_many_ask_for_at_once_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    let address = broker.address();
    let ask = move || {
        let mut client = Raw::connect(address);
        let frame = client.call(&MetadataRequest { topics: named("logs"), ..MetadataRequest::default() }, 10);
        let answer: MetadataResponse<'_> = frame.decode(10);
        (answer.topics[0].error_code, answer.topics[0].topic_id)
    };
    let asking: Vec<_> = (0..8).map(|_| thread::spawn(ask)).collect();
    let answers: Vec<_> = asking.into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.0 == OK && *answer == answers[0]), "{answers:?}");
    broker.stop();
}

#[test]
fn no_topic_is_made_where_that_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let off = [("broker.auto.create.topics.enable", "false")];
    let broker = Broker::start(config_with(dir.path(), "auto", &off)).unwrap();
    let mut client = Raw::connect(broker.address());
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    for version in [0, 1, 4, 9, 12] {
        assert_eq!(metadata_of(&mut client, "logs", true, version), (unknown, 0), "version {version}");
    }
    assert_eq!(client.create_topic("logs", 1, &[]), OK, "who may not ask may still create");
    broker.stop();
}

/// Tools that make sure of a topic ask for three replicas, and take "it exists" for success.
#[test]
fn a_topic_that_exists_is_said_to_exist_whatever_else_is_wanted() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let wanted = |name| CreatableTopic { name, num_partitions: 7, replication_factor: 3, ..CreatableTopic::default() };
    for (name, expected) in [("logs", ErrorCode::TopicAlreadyExists), ("other", ErrorCode::InvalidReplicationFactor)] {
        let frame = client.call(&CreateTopicsRequest { topics: vec![wanted(name)], ..Default::default() }, 7);
        let answer: CreateTopicsResponse<'_> = frame.decode(7);
        assert_eq!(ErrorCode::from_code(answer.topics[0].error_code), Some(expected), "{name}");
    }
    broker.stop();
}

/// librdkafka gives a whole answer up in which a name stands twice.
#[test]
fn a_topic_that_is_named_twice_is_refused_once() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let twice = (ErrorCode::InvalidRequest.code(), 1);
    let topics =
        vec![CreatableTopic { name: "new", num_partitions: 1, replication_factor: 1, ..Default::default() }; 2];
    let frame = client.call(&CreateTopicsRequest { topics, ..Default::default() }, 7);
    let answer: CreateTopicsResponse<'_> = frame.decode(7);
    assert_eq!((answer.topics[0].error_code, answer.topics.len()), twice);
    let topics = vec![CreatePartitionsTopic { name: "logs", count: 2, assignments: None }; 2];
    let frame = client.call(&CreatePartitionsRequest { topics, ..Default::default() }, 3);
    let answer: CreatePartitionsResponse<'_> = frame.decode(3);
    assert_eq!((answer.results[0].error_code, answer.results.len()), twice);
    let frame = client.call(&DeleteTopicsRequest { topic_names: vec!["logs", "logs"], ..Default::default() }, 5);
    let answer: DeleteTopicsResponse<'_> = frame.decode(5);
    assert_eq!((answer.responses[0].error_code, answer.responses.len()), twice);
    assert_eq!(client.produce("logs", 0, batch(1, 1)).error, OK, "nothing was deleted");
    broker.stop();
}

/// Every public topic setting of Kafka 4.4 (`LogConfig`) with its default there and another value.
const KAFKAS_TOPIC_SETTINGS: [(&str, &str, &str); 37] = [
    ("cleanup.policy", "delete", "compact"),
    ("compression.gzip.level", "-1", "5"),
    ("compression.lz4.level", "9", "5"),
    ("compression.type", "producer", "zstd"),
    ("compression.zstd.level", "3", "5"),
    ("delete.retention.ms", "86400000", "1"),
    ("errors.deadletterqueue.group.enable", "false", "true"),
    ("file.delete.delay.ms", "60000", "1"),
    ("flush.messages", "9223372036854775807", "1"),
    ("flush.ms", "9223372036854775807", "5000"),
    ("follower.replication.throttled.replicas", "", "*"),
    ("index.interval.bytes", "4096", "8192"),
    ("leader.replication.throttled.replicas", "", "*"),
    ("local.retention.bytes", "-2", "1"),
    ("local.retention.ms", "-2", "1"),
    ("max.compaction.lag.ms", "9223372036854775807", "1"),
    ("max.decompressed.message.bytes", "2147483639", "5"),
    ("max.message.bytes", "1048588", "1000"),
    ("message.timestamp.after.max.ms", "3600000", "1"),
    ("message.timestamp.before.max.ms", "9223372036854775807", "1"),
    ("message.timestamp.type", "CreateTime", "LogAppendTime"),
    ("min.cleanable.dirty.ratio", "0.5", "0.1"),
    ("min.compaction.lag.ms", "0", "1"),
    ("min.insync.replicas", "1", "2"),
    ("preallocate", "false", "true"),
    ("remote.copy.lag.bytes", "-1", "5"),
    ("remote.copy.lag.ms", "0", "5"),
    ("remote.log.copy.disable", "false", "true"),
    ("remote.log.delete.on.disable", "false", "true"),
    ("remote.storage.enable", "false", "true"),
    ("retention.bytes", "-1", "1"),
    ("retention.ms", "604800000", "1"),
    ("segment.bytes", "1073741824", "1048576"),
    ("segment.index.bytes", "10485760", "1024"),
    ("segment.jitter.ms", "0", "1"),
    ("segment.ms", "604800000", "1000"),
    ("unclean.leader.election.enable", "false", "true"),
];

/// Error code and message.
fn try_create(client: &mut Raw, setting: (&str, &str)) -> (ErrorCode, String) {
    let configs = vec![CreatableTopicConfig { name: setting.0, value: Some(setting.1) }];
    let topic =
        CreatableTopic { name: "tried", num_partitions: 1, replication_factor: 1, configs, assignments: Vec::new() };
    let request = CreateTopicsRequest { topics: vec![topic], validate_only: true, ..CreateTopicsRequest::default() };
    let frame = client.call(&request, 7);
    let answer: CreateTopicsResponse<'_> = frame.decode(7);
    let topic = &answer.topics[0];
    (ErrorCode::from_code(topic.error_code).unwrap(), topic.error_message.unwrap_or_default().to_owned())
}

/// Tools set what they know of Kafka. What has no effect here is taken at Kafka's default, and never swallowed otherwise.
#[test]
fn every_topic_setting_of_kafka_is_known_and_none_is_swallowed() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    for (name, default, other) in KAFKAS_TOPIC_SETTINGS {
        assert_eq!(try_create(&mut client, (name, default)), (ErrorCode::None, String::new()), "{name} at its default");
        let (error, why) = try_create(&mut client, (name, other));
        let taken = error == ErrorCode::None;
        assert!(taken || error == ErrorCode::InvalidConfig && why.contains(name), "{name}={other}: {error} {why}");
    }
    for setting in [("no.such.setting", "1"), ("retention.ms", "soon"), ("segment.bytes", "-5")] {
        let (error, why) = try_create(&mut client, setting);
        assert!(error == ErrorCode::InvalidConfig && why.contains(setting.0), "{setting:?}: {error} {why}");
    }
    broker.stop();
}
