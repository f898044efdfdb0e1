//! `ringmill topic`: every subcommand and flag, and what is said when it cannot be done.

use serde_json::json;

use super::harness::{Broker, run};

fn parse(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn topics_are_made_shown_and_removed() {
    let broker = Broker::start();
    assert_eq!(broker.run(&["topic", "create", "logs", "-p", "3", "-s", "retention.ms=5000"]).0, 0);
    let (code, _, error) = broker.run(&["topic", "create", "logs"]);
    assert!(code == 5 && error.contains("TOPIC_ALREADY_EXISTS"), "{code} {error}");
    let (code, _, error) = broker.run(&["topic", "create", "x", "-s", "cleanup.policy=archive"]);
    assert!(code == 5 && error.contains("expected at least one of compact, delete"), "{code} {error}");
    let (_, out, _) = broker.run(&["topic", "list", "-o", "json"]);
    assert_eq!(parse(&out), json!([{"topic": "logs", "partitions": 3}]));
    let (_, out, _) = broker.run(&["topic", "describe", "logs", "-o", "json"]);
    assert_eq!(parse(&out)["partitions"].as_array().unwrap().len(), 3, "{out}");
    assert_eq!(broker.run(&["topic", "delete", "logs"]).0, 0);
    assert_eq!(broker.run(&["topic", "delete", "logs"]).0, 5);
    assert_eq!(broker.run(&["topic", "list"]).1, "TOPIC  PARTITIONS\n");
}

/// Who looks for what he has made does not look for what the broker makes for itself.
#[test]
fn the_brokers_own_topic_is_listed_for_whoever_asks_for_it() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "logs"]);
    let (code, _, error) = broker.run(&["group", "seek", "g", "logs", "--to", "earliest"]);
    assert_eq!(code, 0, "{error}");
    let (_, out, _) = broker.run(&["topic", "list", "-o", "json"]);
    assert_eq!(parse(&out), json!([{"topic": "logs", "partitions": 1}]));
    let (_, out, _) = broker.run(&["topic", "list", "--internal", "-o", "json"]);
    let own = json!({"topic": "__consumer_offsets", "partitions": 16});
    assert_eq!(parse(&out), json!([own, {"topic": "logs", "partitions": 1}]));
    for refused in [&["topic", "delete", "__consumer_offsets"][..], &["topic", "create", "__consumer.offsets"]] {
        let (code, _, error) = broker.run(refused);
        assert!(code == 5 && error.contains("INVALID_TOPIC_EXCEPTION"), "{code} {error}");
    }
}

#[test]
fn what_is_there_already_or_no_longer_can_be_passed_over() {
    let broker = Broker::start();
    let (code, out, _) = broker.run(&["topic", "create", "t", "--if-not-exists"]);
    assert_eq!((code, out.as_str()), (0, "created t\n"));
    let (code, out, _) = broker.run(&["topic", "create", "t", "--if-not-exists", "-p", "7"]);
    assert_eq!((code, out.as_str()), (0, "t is there already\n"));
    let (_, out, _) = broker.run(&["topic", "create", "t", "--if-not-exists", "-o", "json"]);
    assert_eq!(parse(&out), json!({"topic": "t", "created": false}));
    let (code, out, error) = broker.run(&["topic", "create", "no/slash", "--if-not-exists"]);
    assert!(code == 5 && out.is_empty() && error.contains("INVALID_TOPIC"), "{error}");
    let (code, out, _) = broker.run(&["topic", "delete", "t", "u", "--if-exists"]);
    assert_eq!((code, out.as_str()), (0, "deleted t\nu is not there\n"));
    let (code, out, _) = broker.run(&["topic", "delete", "t", "--if-exists", "-o", "json"]);
    assert_eq!((code, parse(&out)), (0, json!([{"topic": "t", "deleted": false}])));
    broker.run(&["topic", "create", "t"]);
    let (code, out, error) = broker.run(&["topic", "delete", "t", "u", "v"]);
    assert!(code == 5 && out == "deleted t\n" && error.contains("delete topic u: UNKNOWN_TOPIC"), "{out} {error}");
}

#[test]
fn settings_are_shown_and_changed_and_taken_back() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "t", "-s", "retention.ms=5000"]);
    let setting = |name: &str| {
        let (code, out, error) = broker.run(&["topic", "config", "t", "-o", "json"]);
        assert_eq!(code, 0, "{error}");
        let all = parse(&out);
        let found = all.as_array().unwrap().iter().find(|each| each["setting"] == name).unwrap().clone();
        assert!(found["meaning"].as_str().is_some_and(|text| text.len() > 20), "{found}");
        (found["value"].clone(), found["source"].clone(), found["type"].clone())
    };
    assert_eq!(setting("retention.ms"), (json!("5000"), json!("topic"), json!("long")));
    assert_eq!(setting("cleanup.policy").1, json!("default"));
    let (_, out, _) = broker.run(&["topic", "config", "t"]);
    assert!(out.starts_with("SETTING") && out.contains("MEANING") && out.contains("retention.ms"), "{out}");
    let (code, out, error) =
        broker.run(&["topic", "config", "t", "-s", "max.message.bytes=2000", "-u", "retention.ms"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "t: max.message.bytes is 2000 now\nt: retention.ms has its default again\n"),
        "{error}"
    );
    assert_eq!(setting("retention.ms"), (json!("604800000"), json!("default"), json!("long")));
    let (_, out, _) = broker.run(&["topic", "describe", "t", "-o", "json"]);
    let expected = json!([{"setting": "max.message.bytes", "value": "2000", "source": "topic"}]);
    assert_eq!(parse(&out)["settings"], expected, "{out}");
    let (_, out, _) = broker.run(&["topic", "describe", "t"]);
    assert!(out.contains("max.message.bytes  2000"), "{out}");
}

#[test]
fn settings_that_cannot_be_are_refused_by_name_and_nothing_is_changed() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "t"]);
    for (arguments, code, expected) in [
        (&["-s", "retention.msx=1"][..], 5, "retention.msx"),
        (&["-s", "flush.ms=7000", "-s", "retention.ms=soon"], 5, "retention.ms"),
        (&["-s", "cleanup.policy=archive"], 5, "expected at least one of compact, delete"),
        (&["-s", "retention.ms"], 2, "--set retention.ms: expected NAME=VALUE"),
        (&["-s", "retention.ms=1", "-u", "retention.ms"], 2, "retention.ms is named twice"),
        (&["-p", "0"], 2, "0"),
        (&["-p", "1"], 5, "partitions of t: INVALID_PARTITIONS"),
    ] {
        let (exit, out, error) = broker.run(&[&["topic", "config", "t"], arguments].concat());
        assert!(exit == code && out.is_empty() && error.contains(expected), "{arguments:?}: {exit} {out} {error}");
    }
    let (_, out, _) = broker.run(&["topic", "describe", "t", "-o", "json"]);
    assert_eq!(parse(&out)["settings"], json!([]), "{out}");
    let (code, _, error) = broker.run(&["topic", "config", "nope"]);
    assert!(code == 5 && error.contains("settings of nope: UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    assert!(error.contains("`ringmill topic list` shows what there is"), "{error}");
}

#[test]
fn a_topic_gets_more_partitions() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "t"]);
    let (code, out, error) = broker.run(&["topic", "config", "t", "--partitions", "3", "-o", "json"]);
    assert_eq!((code, parse(&out)), (0, json!({"topic": "t", "changed": [], "partitions": 3})), "{error}");
    broker.pipe(&["produce", "t", "--partition", "2"], b"there\n");
    assert_eq!(broker.run(&["consume", "t"]).1, "there\n");
    let (code, out, _) = broker.run(&["topic", "config", "t", "-p", "4", "-s", "flush.ms=7"]);
    assert_eq!((code, out.as_str()), (0, "t: flush.ms is 7 now\nt has 4 partitions now\n"));
}

#[test]
fn sizes_and_offsets_are_described() {
    let broker = Broker::start();
    broker.pipe(&["produce", "t"], b"one\ntwo\n");
    let (_, out, _) = broker.run(&["topic", "describe", "t", "-o", "json"]);
    let partition = &parse(&out)["partitions"][0];
    assert_eq!((&partition["start_offset"], &partition["end_offset"]), (&json!(0), &json!(2)), "{out}");
    assert!(partition["size_bytes"].as_i64().is_some_and(|bytes| bytes > 60), "{out}");
    let (_, out, _) = broker.run(&["topic", "describe", "t"]);
    assert!(out.contains("PARTITION  LEADER  LEADER EPOCH  START OFFSET  END OFFSET  SIZE BYTES"), "{out}");
    assert_eq!(broker.run(&["topic", "describe", "nope"]).0, 5);
}

#[test]
fn old_records_are_trimmed_away_by_every_kind_of_place() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "t", "-p", "2"]);
    let lines: String =
        (0..10).map(|number| format!("{{\"value\": \"{number}\", \"timestamp_ms\": {}}}\n", 1000 * number)).collect();
    for partition in ["0", "1"] {
        broker.pipe(&["produce", "t", "-p", partition, "--input", "json"], lines.as_bytes());
    }
    let (code, out, error) = broker.run(&["topic", "trim", "t", "-p", "0", "--before", "2", "-o", "json"]);
    assert_eq!((code, parse(&out)), (0, json!([{"partition": 0, "start_offset": 2, "deleted": 2}])), "{error}");
    assert_eq!(broker.run(&["consume", "t", "-p", "0", "--max", "1"]).1, "2\n");
    let (_, out, _) = broker.run(&["topic", "trim", "t", "--before", "1970-01-01T00:00:04Z", "-o", "json"]);
    let expected = json!([
        {"partition": 0, "start_offset": 4, "deleted": 2},
        {"partition": 1, "start_offset": 4, "deleted": 4},
    ]);
    assert_eq!(parse(&out), expected);
    assert_eq!(broker.run(&["topic", "trim", "t", "--before", "-3"]).0, 0);
    assert_eq!(broker.run(&["consume", "t", "-p", "1"]).1, "7\n8\n9\n");
    let (code, _, error) = broker.run(&["topic", "trim", "t", "--before", "5"]);
    assert!(code == 2 && error.contains("another place in each of the 2 partitions"), "{error}");
    let (code, _, error) = broker.run(&["topic", "trim", "t", "-p", "1", "--before", "11"]);
    assert!(code == 5 && error.contains("--before 11 lies behind the end of t-1, which is 10"), "{error}");
    let (code, _, error) = broker.run(&["topic", "trim", "t", "-p", "9", "--before", "1"]);
    assert!(code == 5 && error.contains("t has no partition 9; it has 2, numbered from 0"), "{error}");
    assert_eq!(run(&["topic", "trim", "t", "--before", "soon"]).0, 2);
    let (_, out, _) = broker.run(&["topic", "trim", "t", "--before", "1h-ago"]);
    assert!(out.starts_with("PARTITION  START OFFSET  DELETED"), "{out}");
    assert_eq!(broker.run(&["consume", "t"]).1, "");
    broker.pipe(&["produce", "t", "-p", "0"], b"new\n");
    assert_eq!(broker.run(&["topic", "trim", "t", "--before", "earliest"]).0, 0);
    assert_eq!(broker.run(&["consume", "t"]).1, "new\n");
    assert_eq!(broker.run(&["topic", "trim", "t", "--before", "latest"]).0, 0);
    assert_eq!(broker.run(&["consume", "t"]).1, "");
}
