//! A partition that was quarantined stays so: no later start takes for a torn tail what an earlier one knew to be durable.

mod raw;

use std::path::{Path, PathBuf};

use raw::{Raw, batch, start};

const OK: i16 = 0;
const KAFKA_STORAGE_ERROR: i16 = 56;

/// The core that quarantined a partition wrote its next checkpoint without it. The start after that knew no recovery point, took the
/// flipped byte for the tail of a crash, and cut off records that had been acknowledged long ago.
#[test]
fn a_quarantined_partition_is_not_cut_by_the_starts_that_follow() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path(), "posix");
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("logs", 1, &[]), OK);
    assert_eq!(client.create_topic("others", 1, &[]), OK);
    for _ in 0..10 {
        assert_eq!(client.produce("logs", 0, batch(3, 100)).error, OK);
    }
    drop(client);
    assert!(broker.stop(), "a clean stop");
    let log = dir.path().join("logs-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    for life in 0..3 {
        let broker = start(dir.path(), "posix");
        let mut client = Raw::connect(broker.address());
        assert_eq!(client.produce("logs", 0, batch(1, 1)).error, KAFKA_STORAGE_ERROR, "life {life}");
        // The others go on, and their checkpoint is written.
        assert_eq!(client.produce("others", 0, batch(1, 1)).error, OK, "life {life}");
        drop(client);
        assert!(!broker.stop(), "nobody calls this stop clean");
        assert!(std::fs::read(&log).unwrap() == bytes, "life {life}: a byte of the quarantined partition was changed");
    }
}

/// A clean stop proves that everything is durable. When the checkpoint was lost besides, only the first start knew: it quarantined, and the
/// next one, which was no clean one any more, cut at the damage and took the good batches behind it along.
#[test]
fn what_a_clean_stop_has_proved_is_known_to_the_starts_that_follow_without_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    produce_and_stop(dir.path(), 10, true);
    for checkpoint in checkpoints(dir.path()) {
        std::fs::remove_file(checkpoint).unwrap();
    }
    let log = dir.path().join("logs-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let fifth = bytes.len() / 10 * 4;
    // The magic byte.
    bytes[fifth + 16] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    for life in 0..3 {
        let broker = start(dir.path(), "posix");
        let mut client = Raw::connect(broker.address());
        assert_eq!(client.produce("logs", 0, batch(1, 1)).error, KAFKA_STORAGE_ERROR, "life {life}");
        drop(client);
        assert!(!broker.stop(), "nobody calls this stop clean");
        assert!(std::fs::read(&log).unwrap() == bytes, "life {life}: durable bytes were cut");
    }
}

/// The last checkpoint of a clean stop may fail to be written, and an older one stays. What the clean stop proved beyond it was thrown
/// away at the first start, so that the second took the damage for a torn tail and cut acknowledged records.
#[test]
fn what_a_clean_stop_has_proved_beats_an_older_checkpoint() {
    // In the middle, where good batches follow, and in the very last batch, where nothing does.
    for damaged_batch in [6, 9] {
        let dir = tempfile::tempdir().unwrap();
        produce_and_stop(dir.path(), 4, true);
        let checkpoints: Vec<_> = checkpoints(dir.path()).map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        assert!(!checkpoints.is_empty());
        produce_and_stop(dir.path(), 6, false);
        let is_later = checkpoints.iter().any(|(bytes, path)| std::fs::read(path).unwrap() != *bytes);
        assert!(is_later, "the later checkpoint says more");
        for (bytes, path) in checkpoints {
            std::fs::write(path, bytes).unwrap();
        }
        let log = dir.path().join("logs-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&log).unwrap();
        // The magic byte: damage that a walk over headers meets too.
        let damaged_at = bytes.len() / 10 * damaged_batch + 16;
        bytes[damaged_at] ^= 1;
        std::fs::write(&log, &bytes).unwrap();
        for life in 0..3 {
            let broker = start(dir.path(), "posix");
            let mut client = Raw::connect(broker.address());
            let error = client.produce("logs", 0, batch(1, 1)).error;
            assert_eq!(error, KAFKA_STORAGE_ERROR, "batch {damaged_batch}, life {life}");
            drop(client);
            assert!(!broker.stop(), "nobody calls this stop clean");
            let is_unchanged = std::fs::read(&log).unwrap() == bytes;
            assert!(is_unchanged, "batch {damaged_batch}, life {life}: durable bytes were cut");
        }
    }
}

fn produce_and_stop(dir: &Path, batches: usize, is_new: bool) {
    let broker = start(dir, "posix");
    let mut client = Raw::connect(broker.address());
    if is_new {
        assert_eq!(client.create_topic("logs", 1, &[]), OK);
    }
    for _ in 0..batches {
        assert_eq!(client.produce("logs", 0, batch(3, 100)).error, OK);
    }
    drop(client);
    assert!(broker.stop(), "a clean stop");
}

fn checkpoints(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(dir).expect("the data directory is there");
    let files = files.map(|entry| entry.expect("an entry of the data directory").path());
    files.filter(|path| path.to_string_lossy().contains("/recovery-checkpoint-"))
}
