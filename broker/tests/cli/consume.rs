//! `ringmill consume`: every option, bad input, signals and readers that leave.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use super::harness::{Broker, interrupt, ringmill, run};

/// A broker with ten records `v0` to `v9` in topic `t`, a second apart from 2001-09-09T01:46:40Z on, keys `k0` to `k2` in turn.
fn broker_of_ten() -> Broker {
    let broker = Broker::start();
    let line = |number: i64| {
        let timestamp_ms = 1_000_000_000_000 + 1000 * number;
        let headers =
            if number == 3 { r#","headers":[{"name":"h","value":"1"},{"name":"n","value":null}]"# } else { "" };
        format!("{{\"key\":\"k{}\",\"value\":\"v{number}\",\"timestamp_ms\":{timestamp_ms}{headers}}}\n", number % 3)
    };
    broker.pipe(&["produce", "t", "--input", "json"], (0..10).map(line).collect::<String>().as_bytes());
    broker
}

#[test]
fn a_range_of_places_is_read() {
    let broker = broker_of_ten();
    let values = |range: std::ops::Range<u32>| range.map(|number| format!("v{number}\n")).collect::<String>();
    for (arguments, expected) in [
        (&[][..], 0..10),
        (&["--from", "earliest", "--until", "latest"], 0..10),
        (&["--from", "latest"], 0..0),
        (&["--from", "4"], 4..10),
        (&["--from", "-3"], 7..10),
        (&["--from", "-300"], 0..10),
        (&["--from=-1"], 9..10),
        (&["--until", "4"], 0..4),
        (&["--until", "400"], 0..10),
        (&["--until", "-2"], 0..8),
        (&["--from", "3", "--until", "5"], 3..5),
        (&["--from", "5", "--until", "3"], 0..0),
        (&["--from", "2001-09-09T01:46:45Z"], 5..10),
        (&["--from", "2001-09-09T03:46:44.001+02:00"], 5..10),
        (&["--until", "2001-09-09T01:46:45Z"], 0..5),
        (&["--from", "10m-ago"], 0..0),
        (&["--until", "1h30m-ago"], 0..10),
        (&["--from", "5200w-ago", "--max", "2"], 0..2),
        (&["--max", "0"], 0..0),
        (&["--from", "10"], 0..0),
    ] {
        let (code, out, error) = broker.run(&[&["consume", "t"], arguments].concat());
        assert_eq!((code, out.as_str(), error.as_str()), (0, values(expected).as_str(), ""), "{arguments:?}");
    }
}

#[test]
fn what_is_printed_and_what_is_left_out() {
    let broker = broker_of_ten();
    for (arguments, expected) in [
        (&["--grep", "[37]"][..], "v3\nv7\n"),
        (&["--grep", "(?i)V[37]", "--max", "1"], "v3\n"),
        (&["--grep-key", "^k0$", "--from", "5"], "v6\nv9\n"),
        (&["--grep", "nothing"], ""),
        (&["--print", "key,value", "--max", "2"], "k0\tv0\nk1\tv1\n"),
        (&["--print", "value,offset", "--delimiter", ": ", "--from", "-1"], "v9: 9\n"),
        (
            &["--print", "partition,timestamp,headers", "--from", "3", "--max", "1"],
            "0\t2001-09-09T01:46:43.000Z\th=1,n=\n",
        ),
        (&["--grep", "3", "--color", "always"], "v\x1b[1;31m3\x1b[0m\n"),
        (&["--grep", "3", "--color", "never"], "v3\n"),
        (
            &["-o", "json", "--from", "3", "--max", "1"],
            "{\"partition\":0,\"offset\":3,\"timestamp_ms\":1000000003000,\"key\":\"k0\",\"value\":\"v3\",\
             \"headers\":[{\"name\":\"h\",\"value\":\"1\"},{\"name\":\"n\",\"value\":null}]}\n",
        ),
    ] {
        let (code, out, error) = broker.run(&[&["consume", "t"], arguments].concat());
        assert_eq!((code, out.as_str(), error.as_str()), (0, expected, ""), "{arguments:?}");
    }
}

#[test]
fn bytes_are_searched_and_printed_as_they_are() {
    let broker = Broker::start();
    broker.pipe(&["produce", "t"], b"\xff\xfe broken\ncaf\xc3\xa9\n\x00zero\n");
    let raw = |arguments: &[&str]| broker.command(&[&["consume", "t"], arguments].concat()).output().unwrap().stdout;
    assert_eq!(raw(&[]), b"\xff\xfe broken\ncaf\xc3\xa9\n\x00zero\n");
    assert_eq!(raw(&["--grep", r"(?-u:\xfe)"]), b"\xff\xfe broken\n");
    assert_eq!(raw(&["--grep", "CAFÉ"]), b"");
    assert_eq!(raw(&["--grep", "(?i)CAFÉ"]), b"caf\xc3\xa9\n");
    assert_eq!(raw(&["--grep", r"\x00z"]), b"\x00zero\n");
}

#[test]
fn partitions_can_be_chosen() {
    let broker = Broker::start();
    broker.run(&["topic", "create", "t", "-p", "3"]);
    for partition in ["0", "1", "2"] {
        broker.pipe(&["produce", "t", "-p", partition], format!("in {partition}\n").as_bytes());
    }
    assert_eq!(broker.run(&["consume", "t", "-p", "1"]).1, "in 1\n");
    assert_eq!(broker.run(&["consume", "t", "-p", "0,2"]).1.lines().count(), 2);
    assert_eq!(broker.run(&["consume", "t"]).1.lines().count(), 3);
    let (code, _, error) = broker.run(&["consume", "t", "-p", "0,7"]);
    assert!(code == 5 && error.contains("t has no partition 7; it has 3, numbered from 0"), "{error}");
    let (code, _, error) = broker.run(&["consume", "t", "-p", "1", "--from", "9"]);
    assert!(
        code == 5 && error.contains("--from 9 lies behind the end of t-1, which holds offsets from 0 up to 1"),
        "{error}"
    );
    // Of all partitions, those that are shorter have nothing there.
    assert_eq!(broker.run(&["consume", "t", "--from", "9"]), (0, String::new(), String::new()));
}

#[test]
fn mistakes_are_named() {
    for (arguments, expected) in [
        (
            &["--from", "yesterday"][..],
            "expected earliest, latest, an offset (1000), the last so many (-10), so long ago (10m-ago",
        ),
        (&["--until", "10 minutes ago"], "'10 minutes ago' for '--until <WHERE>'"),
        (&["--grep", "("], "unclosed group"),
        (&["--print", "key,colour"], "partition, offset, timestamp, key, headers, value"),
        (&["--follow", "--until", "5"], "cannot be used with"),
        (&["--partition", "-1"], "-1"),
        (&["--max", "few"], "few"),
        (&["-o", "table"], "possible values: raw, json"),
        (&["--color", "red"], "possible values: auto, always, never"),
    ] {
        let (code, out, error) = run(&[&["consume", "t"], arguments].concat());
        assert!(code == 2 && out.is_empty() && error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn what_was_deleted_is_not_passed_over_in_silence() {
    let broker = broker_of_ten();
    assert_eq!(broker.run(&["topic", "trim", "t", "-p", "0", "--before", "8"]).0, 0);
    let (code, out, error) = broker.run(&["consume", "t", "--from", "2"]);
    assert_eq!((code, out.as_str()), (0, "v8\nv9\n"));
    assert!(error.contains("t-0 begins at offset 8; what was before it has been deleted"), "{error}");
    assert_eq!(broker.run(&["consume", "t"]), (0, "v8\nv9\n".to_owned(), String::new()));
}

#[test]
fn a_follow_prints_what_comes_and_ends_by_a_signal_with_0() {
    for signal in [Signal::INT, Signal::TERM] {
        let broker = broker_of_ten();
        let mut command = broker.command(&["consume", "t", "--from", "-1", "--follow"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut next = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line
        };
        assert_eq!(next(), "v9\n");
        broker.pipe(&["produce", "t"], b"later\n");
        assert_eq!(next(), "later\n");
        assert_eq!(interrupt(child, signal), (Some(0), String::new()));
        assert_eq!(next(), "");
    }
}

#[test]
fn an_interrupt_reaches_a_command_whose_reader_does_not_read() {
    let broker = Broker::start();
    let lines = "a line of fifty bytes, to fill pipes and buffers..\n".repeat(40_000);
    broker.pipe(&["produce", "t"], lines.as_bytes());
    let mut command = broker.command(&["consume", "t"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    // The pipe is full by now or soon; two megabytes never fit.
    assert_eq!(interrupt(child, Signal::INT), (Some(130), String::new()));
    drop(out);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let broker = Broker::start();
    let lines: String = (0..50_000).map(|number| format!("{number}\n")).collect();
    broker.pipe(&["produce", "t"], lines.as_bytes());
    let mut command = ringmill(&["consume", "t"]);
    command.env("RINGMILL_ADDRESS", &broker.address).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "0\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
