//! `ringmill produce`: every option, JSON there and back, lines that cannot be sent, and signals in the middle.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::harness::{Broker, interrupt, ringmill, run};

#[test]
fn lines_become_records_as_the_options_say() {
    let broker = Broker::start();
    let file = broker.dir.path().join("lines");
    std::fs::write(&file, "from a file\nunfinished").unwrap();
    let file = file.to_str().unwrap();
    let header = json!([{"name": "source", "value": "web"}, {"name": "empty", "value": ""}]);
    for (topic, arguments, input, expected) in [
        ("plain", &[][..], "a\n\nb\r\nlast", json!([[null, "a"], [null, ""], [null, "b\r"], [null, "last"]])),
        ("nothing", &[], "", json!([])),
        ("separated", &["-K", "\\t"], "k\tv\nplain\n\tv\n", json!([["k", "v"], [null, "plain"], ["", "v"]])),
        ("words", &["--key-separator", "::"], "k::v::w\n", json!([["k", "v::w"]])),
        ("nulls", &["-K", ":", "--empty-as-null"], "k:\n:v\n\n", json!([["k", null], [null, "v"], [null, null]])),
        ("fixed", &["-k", "me", "--acks", "1"], "a\nb\n", json!([["me", "a"], ["me", "b"]])),
        ("unasked", &["--acks", "0", "--linger-ms", "0"], "a\n", json!([[null, "a"]])),
        (
            "file",
            &["-f", file, "--file", file],
            "",
            json!([[null, "from a file"], [null, "unfinished"], [null, "from a file"], [null, "unfinished"]]),
        ),
        (
            "both",
            &["-f", file, "-f", "-"],
            "stdin\n",
            json!([[null, "from a file"], [null, "unfinished"], [null, "stdin"]]),
        ),
        ("headers", &["-H", "source=web", "-H", "empty="], "a\n", json!([[null, "a", header]])),
    ] {
        let (code, out, error) = broker.feed(&[&["produce", topic], arguments].concat(), input.as_bytes());
        assert_eq!((code, out.as_str()), (0, ""), "{topic}: {error}");
        let count = expected.as_array().unwrap().len();
        let start = if count == 1 { "1 record (".to_owned() } else { format!("{count} records (") };
        assert!(error.starts_with(&start) && error.ends_with(" s\n") && error.lines().count() == 1, "{error}");
        let verb = if topic == "unasked" { "sent without asking for an answer to" } else { "delivered to" };
        assert!(error.contains(&format!("{verb} {topic} in ")), "{error}");
        broker.lines(topic, if topic == "unasked" { 1 } else { 0 });
        let short = |record: &Value| {
            let mut fields = vec![record["key"].clone(), record["value"].clone()];
            fields.extend(record.get("headers").cloned());
            fields.into()
        };
        assert_eq!(Value::Array(broker.records(topic).iter().map(short).collect()), expected, "{topic}");
    }
    assert_eq!(broker.feed(&["produce", "plain", "--quiet"], b"a\n"), (0, String::new(), String::new()));
}

#[test]
fn partitions_are_chosen_by_flag_by_key_or_in_turn() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "t", "-p", "4"]);
    broker.pipe(&["produce", "t", "-p", "3", "-k", "a"], b"1\n");
    assert_eq!(broker.records("t")[0]["partition"], 3);
    broker.run(&["topic", "create", "keyed", "-p", "4"]);
    broker.pipe(&["produce", "keyed", "-K", ":"], b"a:1\nb:2\na:3\nb:4\n");
    let of = |key: &str| {
        let records = broker.records("keyed").into_iter().filter(|record| record["key"] == key);
        records.map(|record| record["partition"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((of("a")[0].clone(), of("b")[0].clone()), (of("a")[1].clone(), of("b")[1].clone()));
    let (code, _, error) = broker.run(&["produce", "t", "-p", "4"]);
    assert!(code == 5 && error.contains("t has no partition 4; it has 4, numbered from 0"), "{error}");
}

#[test]
fn json_lines_come_back_byte_for_byte() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "one", "-p", "3"]);
    broker.run(&["topic", "create", "two", "-p", "3"]);
    let mut lines = String::new();
    let odd = [
        r#""value":"""#,
        r#""value":null"#,
        r#""value_hex":"00ff0a0d""#,
        r#""value":"\u0000\n\t\"\\ \u00e9 \ud83d\ude00""#,
    ];
    for (number, value) in odd.iter().cycle().take(400).enumerate() {
        let key = [r#""key":null"#, r#""key":"k""#, r#""key_hex":"fe""#, r#""key":"""#][number / 4 % 4];
        let headers = [
            "",
            r#","headers":[]"#,
            r#","headers":[{"name":"","value":null},{"name_hex":"ff","value_hex":"80"},{"name":"a","value":"x"},{"name":"a","value":""}]"#,
        ][number % 3];
        let timestamp = [-1_i64, 0, 1, 1_700_000_000_000][number % 4];
        lines += &format!("{{{value},{key}{headers},\"timestamp_ms\":{timestamp},\"partition\":{}}}\n", number % 3);
    }
    let (code, _, error) = broker.feed(&["produce", "one", "--input", "json", "-z", "zstd"], lines.as_bytes());
    assert_eq!(code, 0, "{error}");
    // Order is kept inside a partition, so that is how two topics are compared.
    let dump = |topic: &str, partition: &str| broker.run(&["consume", topic, "-p", partition, "-o", "json"]).1;
    let all: String = ["0", "1", "2"].map(|partition| dump("one", partition)).concat();
    assert_eq!(all.lines().count(), 400);
    let (code, _, error) = broker.feed(&["produce", "two", "--input", "json"], all.as_bytes());
    assert_eq!(code, 0, "{error}");
    for partition in ["0", "1", "2"] {
        assert_eq!(dump("one", partition), dump("two", partition));
    }
    // A header on top, another partition, offsets and topics of elsewhere passed over.
    let (code, _, error) = broker.feed(
        &["produce", "three", "--input", "json", "-H", "x=y", "-p", "0"],
        br#"{"topic":"one","offset":77,"partition":9,"value":"v","headers":[{"name":"a","value":null}]}"#,
    );
    assert_eq!(code, 0, "{error}");
    let record = &broker.records("three")[0];
    assert_eq!((&record["offset"], &record["partition"]), (&json!(0), &json!(0)));
    assert_eq!(record["headers"], json!([{"name": "a", "value": null}, {"name": "x", "value": "y"}]));
}

#[test]
fn json_that_is_no_record_is_refused_with_its_line_and_nothing_before_it_is_lost() {
    let broker = Broker::start();
    for (index, (line, expected)) in [
        (r#"{"vaule": 1}"#, "unknown field `vaule`"),
        (r#"{"key": "k"}"#, "there is no \"value\""),
        ("not json", "column 2: expected ident"),
        (r#"{"value": "x", "partition": 5}"#, "cannot be sent: t3 has no partition 5; it has 1, numbered from 0"),
    ]
    .into_iter()
    .enumerate()
    {
        let topic = format!("t{index}");
        let input = format!("{{\"value\":\"good\"}}\n{line}\n{{\"value\":\"after\"}}\n");
        let (code, _, error) = broker.feed(&["produce", &topic, "--input", "json"], input.as_bytes());
        assert!(code != 0 && error.contains("line 2 of standard input") && error.contains(expected), "{code} {error}");
        assert!(error.contains("1 record delivered"), "{error}");
        assert_eq!(broker.run(&["consume", &topic]).1, "good\n", "{error}");
    }
}

#[test]
fn a_record_that_is_too_large_is_named_by_its_line_and_the_others_arrive() {
    let broker = Broker::start();
    let long = "x".repeat(1_100_000);
    let (code, _, error) = broker.feed(&["produce", "t"], format!("1\n2\n{long}\n").as_bytes());
    assert_eq!(code, 5, "{error}");
    for part in [
        "line 3 of standard input was not delivered: a batch for t-0: MESSAGE_TOO_LARGE",
        "max.message.bytes is 1048588",
        "`ringmill topic config t --set max.message.bytes=N` raises it",
        "2 records delivered, 1 not; read standard input up to line 3",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(broker.run(&["consume", "t"]).1, "1\n2\n");
    // Compressed it fits.
    let (code, _, error) = broker.feed(&["produce", "u", "-z", "lz4"], long.as_bytes());
    assert_eq!(code, 0, "{error}");
    // Lines that only together are too large for the topic all arrive.
    broker.run(&["topic", "create", "small", "-s", "max.message.bytes=1000"]);
    let lines: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    let (code, _, error) = broker.feed(&["produce", "small"], lines.as_bytes());
    assert_eq!(code, 0, "{error}");
    assert_eq!(broker.run(&["consume", "small"]).1, lines);
    let endless = vec![b'x'; (32 << 20) + 1000];
    let (code, _, error) = broker.feed(&["produce", "endless"], &endless);
    assert!(code == 1 && error.contains("line 1 on: a line is longer than 33554432 bytes"), "{error}");
    assert!(error.contains("0 records delivered"), "{error}");
}

#[test]
fn mistakes_are_named() {
    for (arguments, expected) in [
        (&["-H", "nothing"][..], "-H nothing: expected NAME=VALUE, for example source=web"),
        (&["-K", ""], "--key-separator is empty"),
        (&["-K", ":", "-k", "a"], "cannot be used with"),
        (&["--follow"], "--file <FILE>"),
        (&["--from-end", "-f", "x"], "--follow"),
        (&["--input", "csv"], "possible values: lines, json"),
        (&["--input", "json", "-k", "a"], "are for lines of text; JSON says key and null itself"),
        (&["--linger-ms", "60001"], "60001"),
        (&["--partition", "-1"], "-1"),
        (&["-z", "brotli"], "brotli"),
    ] {
        let (code, out, error) = run(&[&["produce", "t"], arguments].concat());
        assert!(code == 2 && out.is_empty() && error.contains(expected), "{arguments:?}: {error}");
    }
    for (file, expected) in [("/nonexistent", "No such file"), ("/tmp", "directory")] {
        let (code, _, error) = run(&["produce", "t", "-f", "/dev/null", "-f", file]);
        assert!(code == 1 && error.contains(&format!("cannot read {file}: ")) && error.contains(expected), "{error}");
    }
}

/// A produce that has sent some lines and waits for more.
fn waiting(broker: &Broker) -> Child {
    let mut command = broker.command(&["produce", "t"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"one\ntwo\nhalf a li").unwrap();
    broker.lines("t", 2);
    child
}

#[test]
fn an_interrupt_delivers_what_was_read_and_says_how_far_that_is() {
    for (signal, expected) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let broker = Broker::start();
        broker.run(&["topic", "create", "t"]);
        let (code, error) = interrupt(waiting(&broker), signal);
        let said = "ringmill: interrupted; 2 records delivered; read standard input up to line 2\n";
        assert_eq!((code, error.as_str()), (Some(expected), said));
        assert_eq!(broker.run(&["consume", "t"]).1, "one\ntwo\n");
    }
}

#[test]
fn a_second_interrupt_does_not_wait_for_a_broker_that_is_gone() {
    let mut broker = Broker::start();
    broker.run(&["topic", "create", "t"]);
    let mut child = waiting(&broker);
    broker.signal(Signal::KILL);
    child.stdin.as_mut().unwrap().write_all(b"ne\nthree\n").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let pid = rustix::process::Pid::from_child(&child);
    // What follows at once is an echo, as wrappers make them.
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(child.try_wait().unwrap(), None, "it still tries to deliver");
    let began = Instant::now();
    let (code, _) = interrupt(child, Signal::INT);
    assert!(code == Some(130) && began.elapsed() < Duration::from_secs(5), "{code:?}");
}

#[test]
fn nobody_to_send_to_is_said_at_once() {
    let mut command = ringmill(&["produce", "t", "--broker", "127.0.0.1:1"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4));
}
