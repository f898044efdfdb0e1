//! Topics of which only the last record of each key is kept: what they refuse, and what is left to read.

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, read_records};
use ringmill_engine::CompactionLimits;
use ringmill_net::wire::{ErrorCode, Uuid};

use crate::configs::{TOPIC, set};
use crate::raw::process::Process;
use crate::raw::{Produced, Raw, config_with};
use crate::{OK, produce, produce_request, with_logs};

fn keyed(codec: Codec, records: &[(Option<&str>, &[u8])]) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    for (key, value) in records {
        builder.push(crate::raw::now_ms(), key.map(str::as_bytes), Some(value), &[]);
    }
    builder.finish().freeze()
}

#[test]
fn records_without_a_key_are_refused_one_by_one() {
    let (broker, mut client, _dir) = with_logs(1, &[("cleanup.policy", "compact,delete")]);
    for (codec, version) in [(Codec::None, 7), (Codec::None, 8), (Codec::Lz4, 9), (Codec::Zstd, 12)] {
        let batch = keyed(codec, &[(Some("a"), b"1"), (None, b"2"), (Some(""), b"3"), (None, b"4")]);
        let request = produce_request("logs", Uuid::default(), &batch);
        let (error, why, named) = produce(&mut client, &request, version, batch, |answer| {
            let named: Vec<(i32, String)> = answer
                .record_errors
                .iter()
                .map(|error| (error.batch_index, error.batch_index_error_message.unwrap_or_default().to_owned()))
                .collect();
            (answer.error_code, answer.error_message.unwrap_or_default().to_owned(), named)
        });
        assert_eq!(ErrorCode::from_code(error), Some(ErrorCode::InvalidRecord));
        // Version 7 has no room for more than the code.
        let expected: &[i32] = if version < 8 { &[] } else { &[1, 3] };
        assert_eq!(named.iter().map(|error| error.0).collect::<Vec<_>>(), expected, "version {version}");
        assert!(named.iter().all(|error| error.1.contains("needs a key")), "{named:?}");
        assert_eq!(why.contains("no key"), version >= 8, "{why:?}");
    }
    assert_eq!(client.list_offset("logs", -1), (OK, 0), "nothing of them was taken");
    let sound = keyed(Codec::Lz4, &[(Some("a"), b"1"), (Some(""), b"2")]);
    assert_eq!(client.produce("logs", 0, sound), Produced { error: OK, base_offset: 0 });
    broker.stop();
}

/// They were acknowledged, never compacted, and kept every tombstone behind them, without a word.
#[test]
fn batches_that_no_pass_could_ever_read_are_refused() {
    let (broker, mut client, _dir) = with_logs(1, &[("cleanup.policy", "compact")]);
    assert_eq!(client.create_topic("strict", 1, &[("cleanup.policy", "compact"), ("strict.records", "true")]), OK);
    assert_eq!(client.create_topic("plain", 1, &[]), OK);
    let value = vec![b'v'; CompactionLimits::DECOMPRESSED_BYTES_MAX / 2];
    let large = keyed(Codec::Gzip, &[(Some("a"), &value), (Some("b"), &value)]);
    let beyond_all = keyed(Codec::Gzip, &[(Some("a"), &value[..]); 5]);
    let many = keyed(Codec::Zstd, &vec![(Some("a"), &b""[..]); CompactionLimits::RECORDS_MAX + 1]);
    let fitting = keyed(Codec::Gzip, &[(Some("a"), &value), (Some("b"), &value[100..])]);
    let mut told = |topic: &str, batch: &Bytes| {
        produce(&mut client, &produce_request(topic, Uuid::default(), batch), 9, batch.clone(), |answer| {
            let why = answer.error_message.unwrap_or_default().to_owned();
            (ErrorCode::from_code(answer.error_code).unwrap(), why, answer.record_errors.len())
        })
    };
    for topic in ["logs", "strict"] {
        for (batch, limit) in [(&large, "67108864 bytes"), (&beyond_all, "67108864 bytes"), (&many, "1258290 records")]
        {
            let (error, why, named) = told(topic, batch);
            assert_eq!((error, named), (ErrorCode::MessageTooLarge, 0), "{topic}: {why}");
            assert!(why.contains(limit) && why.contains("cleanup.policy") && why.contains("smaller"), "{why}");
        }
        assert_eq!(told(topic, &fitting).0, ErrorCode::None, "{topic}");
    }
    assert_eq!(told("plain", &large).0, ErrorCode::None, "who keeps everything need not read it");
    assert_eq!(client.list_offset("logs", -1), (OK, 2));
    broker.stop();
}

/// Nothing said why the topic did not shrink.
#[test]
fn a_batch_from_before_the_topic_was_compacted_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start_with(dir.path(), "auto", &["--set", "broker.log.cleaner.backoff.ms=20"]);
    let mut client = Raw::connect(broker.address);
    let settings = [("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0")];
    assert_eq!(client.create_topic("logs", 1, &settings), OK);
    let value = vec![b'v'; CompactionLimits::DECOMPRESSED_BYTES_MAX];
    assert_eq!(client.produce("logs", 0, keyed(Codec::Gzip, &[(Some("a"), &value)])).error, OK);
    for pass in 1..=2 {
        for _ in 0..30 {
            assert_eq!(client.produce("logs", 0, keyed(Codec::None, &[(Some("b"), &value[..100_000])])).error, OK);
        }
        set(&mut client, (TOPIC, "logs"), "cleanup.policy", "compact");
        let begun = std::time::Instant::now();
        while broker.said("\"batches_unread\":1").len() < pass {
            assert!(begun.elapsed().as_secs() < 60, "nothing is compacted: {:#?}", broker.said(""));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let told = broker.said("cannot be compacted");
    let [line] = &told[..] else { panic!("{told:#?}") };
    for part in ["logs-0", "67108864", "\"offset\":\"0\"", "WARN"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_compacted_topic_serves_the_last_record_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let config = config_with(dir.path(), "auto", &[("broker.log.cleaner.backoff.ms", "20")]);
    let broker = ringmill::Broker::start(config).unwrap();
    let mut client = Raw::connect(broker.address());
    let settings = [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0")];
    assert_eq!(client.create_topic("logs", 1, &settings), OK);
    let value = [b'v'; 1000];
    let keys: Vec<String> = (0..50).map(|number| format!("key {number}")).collect();
    let records: Vec<(Option<&str>, &[u8])> = keys.iter().map(|key| (Some(key.as_str()), &value[..])).collect();
    for _ in 0..60 {
        assert_eq!(client.produce("logs", 0, keyed(Codec::None, &records)).error, OK);
    }
    let first = |client: &mut Raw| client.fetch("logs", 0).batches()[0].base_offset.get();
    let begun = std::time::Instant::now();
    // All of it but the active segment and what was last under each key.
    while first(&mut client) < 900 {
        assert!(begun.elapsed().as_secs() < 60, "nothing is compacted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (mut next, mut seen) = (0, std::collections::BTreeMap::new());
    while next < 3000 {
        let fetched = client.fetch("logs", next);
        let mut rest = &fetched.records[..];
        for header in fetched.batches() {
            let records = read_records(rest, DecompressLimit::default()).unwrap();
            seen.extend(records.iter().map(|record| {
                let record = record.unwrap();
                (record.key.unwrap().to_vec(), record.offset.get())
            }));
            rest = &rest[header.total_bytes()..];
            next = header.next_offset().get();
        }
    }
    let expected = keys.iter().enumerate().map(|(number, key)| (key.clone().into_bytes(), 2950 + number as i64));
    assert_eq!(seen, expected.collect());
    assert_eq!((client.list_offset("logs", -2), client.list_offset("logs", -1)), ((OK, 0), (OK, 3000)));
    broker.stop();
}
