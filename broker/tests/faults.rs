//! What a machine does to a broker: the process is killed, rings are refused. Nothing acknowledged is lost, and nothing needs a hand.
//!
//! Disks that are full or read-only are in `disk_full.rs`.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

mod raw;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raw::process::{Process, ready_at};
use raw::{IO_KINDS, Raw, batch};
use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, read_records};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};

const OK: i16 = 0;

fn numbered(number: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(raw::now_ms(), None, Some(format!("record {number}").as_bytes()), &[]);
    builder.finish().freeze()
}

/// Reads everything and says which number stands at which offset.
fn numbers_by_offset(client: &mut Raw) -> Vec<usize> {
    let mut numbers = Vec::new();
    loop {
        let fetched = client.fetch("logs", i64::try_from(numbers.len()).unwrap());
        let before = numbers.len();
        let mut rest = &fetched.records[..];
        for header in fetched.batches() {
            assert_eq!(usize::try_from(header.base_offset.get()).unwrap(), numbers.len(), "offsets are dense");
            let records = read_records(rest, DecompressLimit::default()).unwrap();
            let record = records.iter().next().unwrap().unwrap();
            let text = std::str::from_utf8(record.value.unwrap()).unwrap();
            numbers.push(text.strip_prefix("record ").unwrap().parse().unwrap());
            rest = &rest[header.total_bytes()..];
        }
        if numbers.len() == before {
            return numbers;
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_nine() {
    const CYCLES: usize = 6;
    const IN_FLIGHT: usize = 8;
    for io in IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let mut sent = 0;
        let mut acknowledged: Vec<(i64, usize)> = Vec::new();
        for cycle in 0..CYCLES {
            let process = Process::start(dir.path(), io);
            let mut client = Raw::connect(process.address);
            if cycle == 0 {
                assert_eq!(client.create_topic("logs", 1, &[]), OK);
            }
            let found = numbers_by_offset(&mut client);
            for (offset, number) in &acknowledged {
                assert_eq!(
                    found.get(usize::try_from(*offset).unwrap()),
                    Some(number),
                    "{io}: offset {offset} after {cycle} kills"
                );
            }
            assert!(found.is_sorted(), "{io}: one producer's records are out of order");
            let until = Instant::now() + Duration::from_millis(60);
            let mut waiting = std::collections::VecDeque::new();
            while Instant::now() < until {
                while waiting.len() < IN_FLIGHT {
                    client.send_produce("logs", 0, -1, numbered(sent));
                    waiting.push_back(sent);
                    sent += 1;
                }
                let produced = client.receive_produced();
                assert_eq!(produced.error, OK, "{io}");
                acknowledged.push((produced.base_offset, waiting.pop_front().unwrap()));
            }
            // Dropping it is the SIGKILL.
            drop(process);
        }
        assert!(acknowledged.len() > CYCLES, "{io}: the test did hardly anything");
    }
}

#[test]
fn a_client_from_before_a_crash_is_told_that_its_epoch_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let ask = |address, current_leader_epoch| {
        let partition = FetchPartition { current_leader_epoch, partition_max_bytes: 1000, ..FetchPartition::default() };
        let topics = vec![FetchTopic { topic: "logs", partitions: vec![partition], ..FetchTopic::default() }];
        let frame = Raw::connect(address).call(&FetchRequest { topics, ..FetchRequest::default() }, raw::FETCH_VERSION);
        let response: FetchResponse<'_> = frame.decode(raw::FETCH_VERSION);
        ErrorCode::from_code(response.responses[0].partitions[0].error_code).unwrap()
    };
    let broker = Process::start(&data_dir, "auto");
    let mut client = Raw::connect(broker.address);
    assert_eq!(client.create_topic("logs", 1, &[]), OK);
    assert_eq!(client.produce("logs", 0, batch(1, 1)).error, OK);
    assert_eq!(ask(broker.address, 0), ErrorCode::None);
    assert_eq!(ask(broker.address, 1), ErrorCode::UnknownLeaderEpoch);
    drop(broker);
    let broker = Process::start(&data_dir, "auto");
    assert_eq!(ask(broker.address, 0), ErrorCode::FencedLeaderEpoch);
    assert_eq!(ask(broker.address, 1), ErrorCode::None);
}

/// Runs the program where every ring is refused (with `-D` it is itself the child, and strace its grandchild), and gives its log up to the address or the end.
fn log_without_rings(dir: &Path, io: &str) -> Option<(Vec<String>, Option<SocketAddr>, Child)> {
    let mut child = Command::new("strace")
        .args([
            "-D",
            "-f",
            "-qq",
            "-e",
            "trace=io_uring_setup",
            "-e",
            "inject=io_uring_setup:error=EPERM",
            "-o",
            "/dev/null",
        ])
        .arg(env!("CARGO_BIN_EXE_ringmill"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--io", io, "--data-dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut log = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        let address = ready_at(&line);
        log.push(line);
        if address.is_some() {
            return Some((log, address, child));
        }
    }
    Some((log, None, child))
}

#[test]
fn where_rings_are_refused_auto_falls_back_with_one_warning_and_uring_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let Some((log, address, child)) = log_without_rings(dir.path(), "auto") else {
        eprintln!("SKIPPED: refusing io_uring needs strace");
        return;
    };
    let warnings: Vec<&String> = log.iter().filter(|line| line.contains("\"WARN\"")).collect();
    let address = address.expect("it starts");
    let _running = Process::of(child, address);
    assert!(matches!(warnings[..], [one] if one.contains("io_uring") && one.contains("seccomp")), "{log:#?}");
    let mut client = Raw::connect(address);
    assert_eq!(client.create_topic("logs", 1, &[]), OK);
    assert_eq!(client.produce("logs", 0, batch(1, 1)).error, OK);
    assert_eq!(client.fetch_all("logs", 0).len(), 1);

    let dir = tempfile::tempdir().unwrap();
    let (log, address, mut child) = log_without_rings(dir.path(), "uring").unwrap();
    assert_eq!(address, None, "{log:#?}");
    assert!(log.iter().any(|line| line.contains("io_uring") && line.contains("seccomp")), "{log:#?}");
    assert!(!child.wait().unwrap().success());
}
