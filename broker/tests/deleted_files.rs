//! Files that are deleted while somebody reads them: what is being sent arrives whole, and as soon as nobody needs them their space is free,
//! however long a fetch would still have waited.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

mod raw;

use std::path::Path;
use std::time::{Duration, Instant};

use raw::process::Process;
use raw::{IO_KINDS, Raw, batch};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic, HIGH_WATERMARK,
};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};

const OK: i16 = 0;
const PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors of files in `dir` that have no name any more, in the program `process`.
fn deleted_but_open(process: &Process, dir: &Path) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", process.pid().as_raw_nonzero())).unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let targets = targets.map(|target| target.to_string_lossy().into_owned());
    targets.filter(|target| target.starts_with(dir.to_str().unwrap()) && target.ends_with(" (deleted)")).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Asks for more than there is, so that the fetch parks with a plan in its hand.
fn park(client: &mut Raw, offset: i64) {
    let partition =
        FetchPartition { fetch_offset: offset, partition_max_bytes: 100 << 20, ..FetchPartition::default() };
    let topics = vec![FetchTopic { topic: "logs", partitions: vec![partition], ..FetchTopic::default() }];
    let request = FetchRequest {
        max_wait_ms: 300_000,
        min_bytes: 50 << 20,
        max_bytes: 100 << 20,
        topics,
        ..FetchRequest::default()
    };
    client.send(&request, raw::FETCH_VERSION, Vec::new());
    std::thread::sleep(Duration::from_millis(100));
}

fn delete_all_records(client: &mut Raw) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: HIGH_WATERMARK }];
    let topics = vec![DeleteRecordsTopic { name: "logs", partitions }];
    let frame = client.call(&DeleteRecordsRequest { topics, timeout_ms: 5000 }, 2);
    let response: DeleteRecordsResponse<'_> = frame.decode(2);
    assert_eq!(response.topics[0].partitions[0].error_code, OK);
}

#[test]
fn a_waiting_fetch_keeps_no_deleted_file() {
    for io in IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(dir.path(), io);
        let mut client = Raw::connect(process.address);
        for what in ["records", "topic"] {
            assert_eq!(client.create_topic("logs", 1, &[("segment.bytes", "1048576")]), OK);
            for _ in 0..5 {
                client.produce("logs", 0, batch(1, 500_000));
            }
            let mut waiting = [Raw::connect(process.address), Raw::connect(process.address)];
            park(&mut waiting[0], 0);
            park(&mut waiting[1], 5);
            if what == "records" {
                delete_all_records(&mut client);
                assert_eq!(waiting[0].receive_fetched().error, ErrorCode::OffsetOutOfRange.code(), "{io}");
            } else {
                assert_eq!(client.delete_topic("logs"), OK, "{io}");
                let unknown = ErrorCode::UnknownTopicOrPartition.code();
                assert!(waiting.iter_mut().all(|each| each.receive_fetched().error == unknown), "{io}");
            }
            wait_until(&format!("{io}, {what}: deleted files stay open"), || {
                deleted_but_open(&process, dir.path()).is_empty()
            });
            client.delete_topic("logs");
        }
    }
}

#[test]
fn what_is_being_sent_arrives_whole_though_its_topic_is_deleted() {
    for io in IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(dir.path(), io);
        let mut client = Raw::connect(process.address);
        assert_eq!(client.create_topic("logs", 1, &[]), OK);
        for _ in 0..20 {
            client.produce("logs", 0, batch(1, 1_000_000));
        }
        // More than the sockets hold: most of it is sent only when the reader takes it.
        let mut reader = Raw::connect(process.address);
        reader.send_fetch("logs", 0, 0, 50 << 20);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(client.delete_topic("logs"), OK, "{io}");
        wait_until("the files lose their names", || !dir.path().join("logs-0").exists());
        assert_eq!(client.create_topic("logs", 1, &[]), OK, "{io}: the name is free while the old bytes leave");
        client.produce("logs", 0, batch(1, 10));
        let fetched = reader.receive_fetched();
        let batches = fetched.batches();
        assert_eq!((fetched.error, batches.len(), fetched.records.len() / 1_000_000), (OK, 20, 20), "{io}");
        wait_until(&format!("{io}: deleted files stay open"), || deleted_but_open(&process, dir.path()).is_empty());
    }
}
