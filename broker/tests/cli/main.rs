//! The binary as people and scripts meet it: what it says, how it exits, and one whole way through broker and client.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, its helper functions too")]

use std::io::Write;

use harness::{Broker, finish, ringmill, run};

mod consume;
mod examples;
mod follow;
mod group;
mod harness;
mod log;
mod produce;
mod topic;

#[test]
fn a_request_that_is_not_served_is_one_line_with_its_client_and_a_count() {
    let mut broker = Broker::start();
    // A version of Metadata, and an API, that nobody knows.
    for (key, version) in [(3u8, 99u8), (99, 0), (3, 99)] {
        let mut socket = std::net::TcpStream::connect(&broker.address).unwrap();
        // Correlation id 1, from "old".
        socket.write_all(&[0, 0, 0, 13, 0, key, 0, version, 0, 0, 0, 1, 0, 3, b'o', b'l', b'd']).unwrap();
        assert_eq!(std::io::Read::read(&mut socket, &mut [0; 8]).unwrap(), 0);
    }
    broker.signal(rustix::process::Signal::TERM);
    let said = broker.said.take().unwrap().join().unwrap();
    let lines: Vec<&String> = said.iter().filter(|line| line.contains("WARN")).collect();
    assert_eq!(lines.len(), 3, "{said:?}");
    for part in [r#""client":"old""#, r#""peer":"127.0.0.1:"#] {
        assert!(lines.iter().all(|line| line.contains(part)), "{part}: {lines:?}");
    }
    let with = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(with("Metadata (key 3) version 99 is not served"), 2, "{lines:?}");
    assert_eq!(with("unknown (key 99) version 0 is not served"), 1, "{lines:?}");
    // They were served by two cores, so any may stand last.
    assert_eq!(with("; 3 such requests"), 1, "{lines:?}");
}

#[test]
fn mistakes_on_the_command_line_name_the_flag_and_exit_with_2() {
    for (arguments, expected) in [
        (&["serv"][..], "similar subcommand exists: 'serve'"),
        (&["topic", "create"], "<TOPIC>"),
        (&["topic", "create", "t", "--partitions", "0"], "0"),
        (&["produce", "t", "-z", "brotli"], "brotli"),
        (&["produce", "t", "--acks", "2"], "possible values: all, 1, 0"),
        (
            &["consume", "t", "--from", "yesterday"],
            "expected earliest, latest, an offset (1000), the last so many (-10)",
        ),
        (&["topic", "create", "t", "--set", "retention.ms"], "expected NAME=VALUE"),
        (&["serve", "--set", "topic"], "expected NAME=VALUE"),
    ] {
        let (code, out, error) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn configuration_mistakes_exit_with_3_and_come_all_at_once() {
    let mut command = ringmill(&["config", "check", "--io", "fast", "--set", "topic.retention.msx=1"]);
    let (code, out, error) = finish(command.env("RINGMILL__BROKER__NUM_PARTITIONS", "many"));
    assert_eq!((code, out.as_str()), (3, ""), "{error}");
    for expected in [
        "environment variable RINGMILL__BROKER__NUM_PARTITIONS: broker.num.partitions = \"many\" is refused",
        "flag --io: ringmill.io = \"fast\" is refused: expected one of auto, uring, posix",
        "no such setting: \"retention.msx\" under [topic]; did you mean \"retention.ms\"?",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(run(&["serve", "--config", "/nonexistent.toml"]).0, 3);
}

#[test]
fn config_print_shows_origins_and_feeds_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringmill.toml");
    std::fs::write(&file, "[topic]\n\"retention.ms\" = 1000\n").unwrap();
    let mut command = ringmill(&["config", "print", "--origin", "--cores", "3", "--config", file.to_str().unwrap()]);
    let (code, out, _) = finish(command.env("RINGMILL__BROKER__NODE_ID", "7"));
    assert_eq!(code, 0);
    let row = |name: &str| out.lines().find(|line| line.starts_with(&format!("\"{name}\""))).unwrap().to_owned();
    assert!(row("retention.ms").contains("= 1000 ") && row("retention.ms").contains("# file: "), "{out}");
    assert!(row("retention.ms").ends_with("ringmill.toml:2"), "{out}");
    assert!(row("node.id").ends_with("# environment: environment variable RINGMILL__BROKER__NODE_ID"), "{out}");
    assert!(row("cores").ends_with("# flag: flag --cores"), "{out}");
    std::fs::write(&file, run(&["config", "print"]).1).unwrap();
    assert_eq!(run(&["config", "check", "--config", file.to_str().unwrap()]).0, 0);
}

#[test]
fn a_broker_that_is_not_there_exits_with_4() {
    for arguments in [
        &["topic", "list"][..],
        &["topic", "describe", "t"],
        &["topic", "config", "t"],
        &["topic", "trim", "t", "--before", "1"],
        &["topic", "create", "t"],
        &["topic", "delete", "t"],
        &["consume", "t"],
        &["produce", "t"],
    ] {
        let (code, _, error) = finish(ringmill(arguments).args(["--broker", "127.0.0.1:1"]));
        assert_eq!(code, 4, "{error}");
        assert!(error.contains("cannot connect to 127.0.0.1:1") && error.contains("--broker"), "{error}");
    }
}

#[test]
fn a_data_directory_that_is_not_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("diary.txt"), "dear diary").unwrap();
    let (code, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", dir.path().to_str().unwrap()]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
}

#[test]
fn a_topic_that_nobody_creates_is_refused_soon() {
    let broker = Broker::start_with(tempfile::tempdir().unwrap(), &["--set", "broker.auto.create.topics.enable=false"]);
    let (code, _, error) = broker.run(&["produce", "nope"]);
    assert!(code == 5 && error.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{code} {error}");
    assert_eq!(broker.run(&["topic", "list", "-o", "json"]).1, "[]\n");
}

#[test]
fn a_data_directory_that_cannot_be_made_says_what_to_do() {
    let (code, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "/dev/null/data"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("/dev/null/data cannot be used") && error.contains("choose another"), "{error}");
}

#[test]
fn lines_go_in_and_come_out_and_lie_on_disk_as_they_were() {
    let mut broker = Broker::start();
    let lines: String = (0..5000).map(|number| format!("line {number} of a log\n")).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        broker.pipe(&["produce", codec, "-z", codec], lines.as_bytes());
        let (code, out, error) = broker.run(&["consume", codec]);
        assert_eq!((code, error.as_str()), (0, ""));
        assert!(out == lines, "{codec}: {} bytes came back", out.len());
    }
    broker.pipe(&["produce", "keyed", "-K", ":", "--acks", "1"], b"a:1\nplain");
    let (_, out, _) = broker.run(&["consume", "keyed", "-o", "json"]);
    let records: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = records.iter().map(|record| (&record["key"], &record["value"], &record["offset"])).collect();
    assert_eq!(seen, [(&"a".into(), &"1".into(), &0.into()), (&serde_json::Value::Null, &"plain".into(), &1.into())]);
    let (_, out, _) = broker.run(&["consume", "zstd", "--from", "4990", "--max", "2"]);
    assert_eq!(out, "line 4990 of a log\nline 4991 of a log\n");
    let (code, out, error) = broker.run(&["consume", "zstd", "--partition", "7"]);
    assert!(code == 5 && out.is_empty() && error.contains("has no partition 7; it has 1"), "{error}");
    assert_eq!(broker.run(&["consume", "no-such-topic"]).0, 5);

    assert_eq!(broker.signal(rustix::process::Signal::TERM), Some(0));
    let data_dir = broker.dir.path().join("data");
    let (code, out, error) = run(&["log", "verify", data_dir.to_str().unwrap(), "--records"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let segment = data_dir.join("zstd-0").join("00000000000000000000.log");
    let (code, out, _) = run(&["log", "dump", segment.to_str().unwrap(), "--records"]);
    assert!(code == 0 && out.contains("codec=zstd") && out.contains("line 4999 of a log"), "{out}");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (code, out, _) = run(&["log", "verify", segment.to_str().unwrap()]);
    assert!(code == 6 && out.contains("damage: "), "{code} {out}");
}

#[test]
fn a_lost_metadata_database_is_no_new_beginning() {
    let mut broker = Broker::start();
    broker.pipe(&["produce", "t"], b"one\n");
    broker.signal(rustix::process::Signal::TERM);
    let data_dir = broker.dir.path().join("data");
    std::fs::remove_file(data_dir.join("metadata.redb")).unwrap();
    let (code, _, error) = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(code == 1 && error.contains("metadata.redb is missing"), "{code} {error}");
    assert!(data_dir.join("t-0").exists());
}

#[test]
fn a_second_signal_ends_the_broker_at_once() {
    use rustix::process::{Pid, Signal, kill_process};
    // An orderly stop takes milliseconds and may win the race; then there was nothing left to end, and it is tried again.
    let ended_at_once = (0..20).any(|_| {
        let mut broker = Broker::start();
        let pid = Pid::from_child(&broker.process);
        // Held still, it finds both signals waiting when it goes on.
        for signal in [Signal::STOP, Signal::TERM, Signal::INT] {
            kill_process(pid, signal).unwrap();
        }
        let code = broker.signal(Signal::CONT);
        // Which of two waiting signals is seen second, and names the exit code, is the kernel's choice.
        assert!(matches!(code, Some(0 | 130 | 143)), "{code:?}");
        code != Some(0)
    });
    assert!(ended_at_once);
}

#[test]
fn records_live_across_a_clean_stop_and_a_kill() {
    let mut broker = Broker::start();
    broker.pipe(&["produce", "t"], b"one\n");
    for (signal, line) in [(rustix::process::Signal::INT, "two\n"), (rustix::process::Signal::KILL, "three\n")] {
        let code = broker.signal(signal);
        assert_eq!(code, (signal == rustix::process::Signal::INT).then_some(0));
        let dir = std::mem::replace(&mut broker.dir, tempfile::tempdir().unwrap());
        broker = Broker::start_in(dir);
        broker.pipe(&["produce", "t"], line.as_bytes());
    }
    assert_eq!(broker.run(&["consume", "t"]).1, "one\ntwo\nthree\n");
}
