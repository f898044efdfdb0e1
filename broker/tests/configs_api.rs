//! What the config APIs answer: real values with their sources, and refusals that name what is wrong. Codes and words are those that
//! Kafka 4.4 answered the same requests with, unless a test says otherwise. Effects are tested in `configs_effects.rs`.

mod configs;
mod raw;

use std::collections::BTreeMap;

use configs::{
    APPEND, Answer, BROKER, Change, DELETE, SET, SUBTRACT, TOPIC, change, describe, describe_at, incrementally, ok,
    replace, set, value,
};
use raw::{Raw, config_with, start};
use ringmill::Broker;
use ringmill::config::tables;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringmill_net::wire::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use ringmill_net::wire::messages::incremental_alter_configs::{AlterConfigsResource, IncrementalAlterConfigsRequest};
use ringmill_net::wire::messages::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};

const OK: i16 = 0;
const LOGS: (i8, &str) = (TOPIC, "logs");
const ME: (i8, &str) = (BROKER, "1");
const ALL: (i8, &str) = (BROKER, "");

/// A broker with the topic `logs`.
fn with_broker(started: &[(&str, &str)], test: impl FnOnce(&mut Raw)) {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let broker = Broker::start(config_with(dir.path(), "posix", started)).expect("the broker starts");
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("logs", 1, &[]), OK);
    test(&mut client);
    drop(client);
    assert!(broker.stop());
}

fn check_refused(answer: &Answer, code: ErrorCode, part: &str) {
    assert!(answer.0 == code.code() && answer.1.contains(part), "{answer:?} is not {code} with {part:?}");
}

#[test]
fn a_topic_shows_every_setting_with_type_source_and_meaning() {
    with_broker(&[("topic.segment.ms", "5000")], |client| {
        set(client, LOGS, "retention.ms", "7");
        set(client, ALL, "log.retention.ms", "8");
        let shown = describe(client, LOGS, None).unwrap();
        assert!(shown.keys().eq(tables::TOPIC.iter().map(|setting| setting.name)));
        assert!(shown.values().all(|each| !each.read_only && each.documentation.is_some() && each.value.is_some()));
        let retention = &shown["retention.ms"];
        let synonyms = ["retention.ms=7 1", "log.retention.ms=8 3", "log.retention.ms=604800000 5"];
        assert_eq!((retention.value.as_deref(), retention.source, retention.value_type), (Some("7"), 1, 5));
        assert_eq!(retention.synonyms, synonyms);
        let segment_ms = &shown["segment.ms"];
        assert_eq!((segment_ms.value.as_deref(), segment_ms.source), (Some("5000"), 4));
        assert_eq!(segment_ms.synonyms, ["log.roll.ms=5000 4", "log.roll.ms=604800000 5"]);
        let cleanup = &shown["cleanup.policy"];
        assert_eq!((cleanup.value.as_deref(), cleanup.source, cleanup.value_type), (Some("delete"), 5, 7));
    });
}

#[test]
fn only_what_is_asked_for_is_shown_and_an_empty_list_means_all() {
    with_broker(&[], |client| {
        let names = |client: &mut Raw, keys: Option<&[&str]>| -> Vec<String> {
            describe(client, LOGS, keys).unwrap().into_keys().collect()
        };
        assert_eq!(
            names(client, Some(&["segment.ms", "nothing", "retention.ms", "segment.ms"])),
            ["retention.ms", "segment.ms"]
        );
        assert_eq!(names(client, Some(&["nothing"])), [""; 0]);
        assert_eq!(names(client, Some(&[])).len(), tables::TOPIC.len());
        assert_eq!(names(client, None).len(), tables::TOPIC.len());
    });
}

#[test]
fn every_version_shows_what_it_has_room_for() {
    with_broker(&[], |client| {
        for version in 1..=4 {
            let shown = describe_at(client, LOGS, Some(&["retention.ms"]), version).unwrap();
            let shown = &shown["retention.ms"];
            assert_eq!((shown.value.as_deref(), shown.source), (Some("604800000"), 5), "version {version}");
            assert_eq!(shown.synonyms, ["log.retention.ms=604800000 5"], "version {version}");
            assert_eq!((shown.value_type == 5, shown.documentation.is_some()), (version >= 3, version >= 3));
        }
    });
}

#[test]
fn a_broker_shows_what_is_true_of_it_under_kafkas_names() {
    with_broker(&[("broker.num.partitions", "2"), ("topic.retention.ms", "7200000")], |client| {
        let shown = describe(client, ME, None).unwrap();
        let check = |name: &str, value: Option<&str>, source: i8, value_type: i8, read_only: bool| {
            let each = shown.get(name).unwrap_or_else(|| panic!("there is no {name}"));
            let got = (each.value.as_deref(), each.source, each.value_type, each.read_only);
            assert_eq!(got, (value, source, value_type, read_only), "{name}");
            assert!(each.documentation.is_some(), "{name}");
        };
        check("num.partitions", Some("2"), 4, 3, false);
        check("log.retention.ms", Some("7200000"), 4, 5, false);
        check("log.retention.hours", Some("2"), 4, 3, true);
        check("log.retention.minutes", None, 5, 3, true);
        check("message.max.bytes", Some("1048588"), 5, 3, false);
        check("min.insync.replicas", Some("1"), 5, 3, false);
        check("default.replication.factor", Some("1"), 5, 3, true);
        check("auto.create.topics.enable", Some("true"), 5, 1, true);
        check("delete.topic.enable", Some("true"), 5, 1, true);
        check("node.id", Some("1"), 5, 3, true);
        check("broker.id", Some("1"), 5, 3, true);
        check("advertised.listeners", None, 5, 7, true);
        check("topic.write.caching", Some("false"), 5, 1, false);
        check("ringmill.io", Some("posix"), 4, 2, true);
        for not_true_of_us in ["inter.broker.protocol.version", "zookeeper.connect", "retention.ms"] {
            assert!(!shown.contains_key(not_true_of_us), "{not_true_of_us}");
        }
        assert_eq!(describe(client, ALL, None), Ok(BTreeMap::new()), "nothing is set for all brokers");
        set(client, ALL, "num.partitions", "3");
        set(client, ME, "num.partitions", "4");
        let synonyms = ["num.partitions=4 2", "num.partitions=3 3", "num.partitions=2 4", "num.partitions=1 5"];
        assert_eq!(describe(client, ME, Some(&["num.partitions"])).unwrap()["num.partitions"].synonyms, synonyms);
        let for_all = describe(client, ALL, None).unwrap();
        assert_eq!(for_all.len(), 1);
        assert_eq!(for_all["num.partitions"].synonyms, ["num.partitions=3 3"]);
    });
}

#[test]
fn resources_that_are_not_there_are_refused_and_those_without_settings_are_empty() {
    with_broker(&[("ringmill.log.level", "warn,ringmill=error")], |client| {
        let mut check = |resource: (i8, &str), code: ErrorCode, part: &str| {
            check_refused(&describe(client, resource, None).unwrap_err(), code, part);
        };
        check((TOPIC, "none"), ErrorCode::UnknownTopicOrPartition, "no topic none");
        check((TOPIC, ""), ErrorCode::InvalidTopicException, "empty");
        check((TOPIC, "a b"), ErrorCode::InvalidTopicException, "other letters");
        let invalid = ErrorCode::InvalidRequest;
        check((BROKER, "2"), invalid, "Unexpected broker id, expected 1 or empty string, but received 2");
        check((BROKER, "x"), invalid, "Broker id must be an integer, but it is: x");
        check((8, ""), invalid, "Broker id must not be empty");
        check((8, "7"), invalid, "Unexpected broker id, expected 1 but received 7");
        check((16, ""), invalid, "Client metrics subscription name must not be empty");
        check((32, ""), invalid, "Group name must not be empty");
        for unknown in [0, 1, 64, -1] {
            check((unknown, "x"), invalid, &format!("Unknown resource type {unknown}"));
        }
        assert_eq!(describe(client, (16, "subscription"), None), Ok(BTreeMap::new()));
        assert_eq!(describe(client, (32, "group"), None), Ok(BTreeMap::new()));
        let loggers = describe(client, (8, "1"), None).unwrap();
        let levels: Vec<_> = loggers.iter().map(|(name, shown)| (name.as_str(), shown.value.as_deref())).collect();
        assert_eq!(levels, [("ringmill", Some("ERROR")), ("root", Some("WARN"))]);
    });
}

#[test]
fn create_topics_and_describe_configs_agree() {
    with_broker(&[("topic.flush.ms", "77")], |client| {
        set(client, ALL, "log.roll.ms", "99000");
        let configs = vec![CreatableTopicConfig { name: "retention.ms", value: Some(" 0088 ") }];
        let topic = CreatableTopic {
            name: "new",
            num_partitions: 1,
            replication_factor: 1,
            configs,
            ..CreatableTopic::default()
        };
        for validate_only in [true, false] {
            let request =
                CreateTopicsRequest { topics: vec![topic.clone()], validate_only, ..CreateTopicsRequest::default() };
            let frame = client.call(&request, 7);
            let response: CreateTopicsResponse<'_> = frame.decode(7);
            let made = response.topics[0].configs.as_ref().expect("the settings are told");
            if validate_only {
                assert_eq!(made.len(), tables::TOPIC.len());
                continue;
            }
            let shown = describe(client, (TOPIC, "new"), None).unwrap();
            assert_eq!(made.len(), shown.len());
            for config in made {
                let shown = &shown[config.name];
                let told = (config.value, config.config_source, config.read_only, config.is_sensitive);
                assert_eq!(told, (shown.value.as_deref(), shown.source, shown.read_only, false), "{}", config.name);
            }
            assert_eq!((shown["retention.ms"].value.as_deref(), shown["retention.ms"].source), (Some("88"), 1));
            assert_eq!((shown["flush.ms"].source, shown["segment.ms"].source), (4, 3));
        }
    });
}

#[test]
fn bad_changes_of_a_topic_are_refused_by_name_and_change_nothing() {
    with_broker(&[], |client| {
        let before = describe(client, LOGS, None).unwrap();
        let check = |client: &mut Raw, changes: &[Change<'_>], code: ErrorCode, part: &str| {
            check_refused(&change(client, LOGS, changes), code, part);
        };
        let (config, request) = (ErrorCode::InvalidConfig, ErrorCode::InvalidRequest);
        let good = ("segment.ms", SET, Some("60000"));
        check(client, &[good, ("nope", SET, Some("1"))], config, "Unknown topic config name: nope");
        check(client, &[good, ("", SET, Some("1"))], config, "Unknown topic config name: ");
        check(
            client,
            &[good, ("retention.ms", SET, Some("soon"))],
            config,
            "Invalid value soon for topic configuration retention.ms",
        );
        check(client, &[good, ("retention.ms", SET, Some("-2"))], config, "expected a whole number of at least -1");
        check(client, &[good, ("retention.ms", SET, Some(""))], config, "retention.ms: expected a whole number");
        check(
            client,
            &[good, ("cleanup.policy", SET, Some("archive"))],
            config,
            "expected at least one of compact, delete",
        );
        check(client, &[good, ("min.insync.replicas", SET, Some("2"))], config, "There is one replica");
        check(client, &[good, ("max.message.bytes", SET, Some("67108865"))], config, "ringmill.unsynced.bytes.max");
        check(client, &[good, ("retention.ms", SET, None)], request, "Null value not supported for : retention.ms");
        check(
            client,
            &[good, ("cleanup.policy", APPEND, None)],
            request,
            "Null value not supported for : cleanup.policy",
        );
        check(client, &[good, good], request, "Error due to duplicate config keys: segment.ms");
        check(client, &[good, ("segment.ms", DELETE, None)], request, "Error due to duplicate config keys");
        for operation in [4, 9, -1, i8::MIN] {
            check(
                client,
                &[good, ("flush.ms", operation, Some("1"))],
                request,
                &format!("Unknown operation {operation} on flush.ms"),
            );
        }
        check(
            client,
            &[good, ("retention.ms", APPEND, Some("5"))],
            config,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        );
        check(client, &[good, ("retention.ms", SUBTRACT, Some("5"))], config, "Can't SUBTRACT to key");
        check(client, &[good, ("cleanup.policy", APPEND, Some("archive"))], config, "delete,archive");
        let endless = "x".repeat(32_767);
        check(client, &[good, (&endless, SET, Some("1"))], config, "(32767 bytes)");
        check(client, &[good, ("retention.ms", SET, Some(&endless))], config, "(32767 bytes)");
        assert_eq!(describe(client, LOGS, None), Ok(before));
    });
}

#[test]
fn good_changes_are_made_together_and_can_be_tried_before() {
    with_broker(&[], |client| {
        let changes = [
            ("retention.ms", SET, Some(" 5 ")),
            ("cleanup.policy", APPEND, Some("delete")),
            ("segment.ms", DELETE, None),
            ("message.format.version", DELETE, Some("which nobody knows any more")),
        ];
        assert_eq!(incrementally(client, &[(TOPIC, "logs", &changes)], true), [ok()]);
        assert_eq!(value(client, LOGS, "retention.ms"), ("604800000".to_owned(), 5), "it was only tried");
        let none: [Change<'_>; 0] = [];
        let several: [(i8, &str, &[Change<'_>]); 4] =
            [(TOPIC, "logs", &changes), (TOPIC, "none", &changes), (BROKER, "1", &none), (TOPIC, "a b", &none)];
        let answers = incrementally(client, &several, false);
        assert_eq!((&answers[0], &answers[2]), (&ok(), &ok()));
        check_refused(&answers[1], ErrorCode::UnknownTopicOrPartition, "there is no topic none");
        check_refused(&answers[3], ErrorCode::InvalidTopicException, "");
        assert_eq!(value(client, LOGS, "retention.ms"), ("5".to_owned(), 1));
        assert_eq!(value(client, LOGS, "cleanup.policy"), ("delete".to_owned(), 1));
        let twice: [(i8, &str, &[Change<'_>]); 2] = [(TOPIC, "logs", &changes), (TOPIC, "logs", &none)];
        for answer in incrementally(client, &twice, false) {
            check_refused(&answer, ErrorCode::InvalidRequest, "Each resource must appear at most once.");
        }
    });
}

#[test]
fn a_replacement_takes_back_what_it_does_not_name() {
    with_broker(&[], |client| {
        set(client, LOGS, "retention.ms", "5");
        set(client, LOGS, "flush.ms", "6");
        assert_eq!(replace(client, LOGS, &[("flush.ms", Some("7"))], true), ok());
        assert_eq!(value(client, LOGS, "flush.ms").0, "6", "it was only tried");
        assert_eq!(replace(client, LOGS, &[("flush.ms", Some("7"))], false), ok());
        assert_eq!(value(client, LOGS, "flush.ms"), ("7".to_owned(), 1));
        assert_eq!(value(client, LOGS, "retention.ms"), ("604800000".to_owned(), 5));
        let (config, request) = (ErrorCode::InvalidConfig, ErrorCode::InvalidRequest);
        check_refused(&replace(client, LOGS, &[("nope", Some("1"))], false), config, "Unknown topic config name: nope");
        check_refused(
            &replace(client, LOGS, &[("flush.ms", None)], false),
            request,
            "Null value not supported for : flush.ms",
        );
        let twice = [("flush.ms", Some("1")), ("flush.ms", Some("2"))];
        check_refused(&replace(client, LOGS, &twice, false), request, "duplicate config keys");
        assert_eq!(value(client, LOGS, "flush.ms"), ("7".to_owned(), 1));
        assert_eq!(replace(client, LOGS, &[], false), ok());
        assert_eq!(value(client, LOGS, "flush.ms"), ("1000".to_owned(), 5));
        set(client, ME, "num.partitions", "3");
        assert_eq!(replace(client, ME, &[("log.retention.ms", Some("9"))], false), ok());
        assert_eq!(value(client, ME, "num.partitions"), ("1".to_owned(), 5));
        assert_eq!(value(client, LOGS, "retention.ms"), ("9".to_owned(), 2));
    });
}

#[test]
fn a_broker_refuses_what_is_fixed_and_what_would_break_a_topic() {
    with_broker(&[], |client| {
        let check = |client: &mut Raw, resource: (i8, &str), change_of: Change<'_>, code: ErrorCode, part: &str| {
            check_refused(&change(client, resource, &[change_of]), code, part);
        };
        let (config, request) = (ErrorCode::InvalidConfig, ErrorCode::InvalidRequest);
        for name in ["listeners", "auto.create.topics.enable", "node.id", "log.retention.hours", "ringmill.io"] {
            let part = format!("Cannot update these configs dynamically: [{name}]");
            for resource in [ME, ALL] {
                check(client, resource, (name, SET, Some("1")), request, &part);
                check(client, resource, (name, DELETE, None), request, &part);
            }
        }
        check(
            client,
            ALL,
            ("num.partitions", SET, Some("0")),
            config,
            "num.partitions: expected a whole number from 1",
        );
        check(client, ALL, ("nope", SET, Some("1")), config, "Unknown broker config name: nope");
        check(client, ALL, ("retention.ms", SET, Some("1")), config, "did you mean log.retention.ms?");
        check(
            client,
            (BROKER, "2"),
            ("num.partitions", SET, Some("2")),
            request,
            "Unexpected broker id, expected 1, but received 2",
        );
        check(client, (8, "1"), ("root", SET, Some("INFO")), request, "ringmill.log.level");
        check(client, (16, "s"), ("interval.ms", SET, Some("1")), request, "no subscriptions");
        check(client, (32, "g"), ("consumer.session.timeout.ms", SET, Some("1")), request, "no settings of groups");
        // The topic's largest message fits into its own flush.bytes, and would not into a smaller bound of the broker's.
        set(client, LOGS, "write.caching", "true");
        set(client, LOGS, "max.message.bytes", "100000000");
        check(
            client,
            ALL,
            ("topic.flush.bytes", SET, Some("1048577")),
            config,
            "logs does not fit this: topic setting max.message.bytes",
        );
        assert_eq!(describe(client, ALL, None), Ok(BTreeMap::new()));
    });
}

#[test]
fn what_was_set_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let broker = start(dir.path(), "auto");
        let mut client = Raw::connect(broker.address());
        if round == 0 {
            client.create_topic("logs", 1, &[("flush.ms", "3")]);
            set(&mut client, LOGS, "retention.ms", "100000");
            set(&mut client, ALL, "message.max.bytes", "1000");
            set(&mut client, ME, "log.roll.ms", "60000");
        }
        assert_eq!(value(&mut client, LOGS, "flush.ms"), ("3".to_owned(), 1));
        assert_eq!(value(&mut client, LOGS, "retention.ms"), ("100000".to_owned(), 1));
        assert_eq!(value(&mut client, LOGS, "max.message.bytes"), ("1000".to_owned(), 3));
        assert_eq!(value(&mut client, LOGS, "segment.ms"), ("60000".to_owned(), 2));
        assert_eq!(client.produce("logs", 0, raw::batch(1, 5000)).error, ErrorCode::MessageTooLarge.code());
        broker.stop();
    }
}

#[test]
fn a_deleted_topics_settings_do_not_return_with_its_name() {
    with_broker(&[], |client| {
        set(client, LOGS, "retention.ms", "5");
        assert_eq!(client.delete_topic("logs"), OK);
        let gone = change(client, LOGS, &[("retention.ms", SET, Some("6"))]);
        check_refused(&gone, ErrorCode::UnknownTopicOrPartition, "there is no topic logs");
        assert_eq!(client.create_topic("logs", 1, &[]), OK);
        assert_eq!(value(client, LOGS, "retention.ms"), ("604800000".to_owned(), 5));
    });
}

/// What was set and the file of today may contradict each other; then the start says what and how to go on.
#[test]
fn a_start_that_contradicts_what_was_set_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "auto");
    set(&mut Raw::connect(broker.address()), ALL, "message.max.bytes", "60000000");
    broker.stop();
    let started = config_with(dir.path(), "auto", &[("ringmill.unsynced.bytes.max", "2000000")]);
    let why = Broker::start(started).err().expect("refused").to_string();
    assert!(why.contains("broker setting message.max.bytes") && why.contains("change the configuration back"), "{why}");
    start(dir.path(), "auto").stop();
}

#[test]
fn resources_are_listed_by_type() {
    with_broker(&[], |client| {
        let mut list = |version: i16, types: &[i8]| {
            let frame = client.call(&ListConfigResourcesRequest { resource_types: types.to_vec() }, version);
            let response: ListConfigResourcesResponse<'_> = frame.decode(version);
            let resources =
                response.config_resources.iter().map(|each| (each.resource_type, each.resource_name.to_owned()));
            (response.error_code, resources.collect::<Vec<_>>())
        };
        let (topic, broker, logger) = ((2, "logs".to_owned()), (4, "1".to_owned()), (8, "1".to_owned()));
        assert_eq!(list(0, &[]), (OK, vec![]), "version 0 asks for clients' metrics only");
        assert_eq!(list(1, &[]), (OK, vec![topic.clone(), broker.clone(), logger]));
        assert_eq!(list(1, &[4, 2]), (OK, vec![topic, broker]));
        assert_eq!(list(1, &[16, 32]), (OK, vec![]));
        assert_eq!(list(1, &[2, 99]), (ErrorCode::UnsupportedVersion.code(), vec![]));
    });
}

#[test]
fn tens_of_thousands_of_resources_end_the_connection_and_thousands_are_answered() {
    with_broker(&[], |client| {
        let resource =
            DescribeConfigsResource { resource_type: TOPIC, resource_name: "logs", configuration_keys: None };
        let mut many = DescribeConfigsRequest { resources: vec![resource; 2000], ..DescribeConfigsRequest::default() };
        client.send(&many, 4, Vec::new());
        assert!(client.receive().is_some());
        many.resources = many.resources.iter().cycle().take(10_001).cloned().collect();
        client.send(&many, 4, Vec::new());
        assert!(client.receive().is_none());
    });
    with_broker(&[], |client| {
        let resource = AlterConfigsResource { resource_type: TOPIC, resource_name: "logs", configs: Vec::new() };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource; 10_001], validate_only: false };
        client.send(&request, 1, Vec::new());
        assert!(client.receive().is_none());
    });
}
