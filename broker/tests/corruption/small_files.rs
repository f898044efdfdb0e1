//! Flips in all that is not records: derived files are harmless, authorities are refused by name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::raw;
use crate::stage::{Ending, OK, Past, Running, VICTIM};
use crate::{Answer, Dice, KAFKA_STORAGE_ERROR, ask, others_go_on, seeds};

fn files(dir: &Path, below: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let names = fs::read_dir(dir.join(below)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = names.filter(|name| wanted(name)).map(|name| dir.join(below).join(name)).collect();
    files.sort();
    files
}

fn length(file: &Path) -> usize {
    usize::try_from(fs::metadata(file).unwrap().len()).unwrap()
}

/// Indexes, producer snapshots, checkpoints: everything is served, a producer's repeat is still known.
#[test]
fn damage_to_what_is_derived_is_harmless() {
    for ending in [Ending::Clean, Ending::KilledLate] {
        let past = Past::new(ending);
        for kind in [".index", ".timeindex", ".producers", "recovery-checkpoint-"] {
            let below = if kind.ends_with('-') { "" } else { "logs-0" };
            for seed in seeds(3) {
                let mut dice = Dice(seed);
                let copy = past.copy();
                let files = files(copy.path(), below, |name| name.ends_with(kind) || name.starts_with(kind));
                assert!(!files.is_empty(), "{kind}");
                for file in files.iter().filter(|file| length(file) > 0) {
                    // Several bits, for an index has many entries.
                    for _ in 0..4 {
                        dice.flip(file, 0, length(file));
                    }
                }
                let context = format!("{ending:?}, {kind}, seed {seed}");
                let running = Running::start(copy.path(), seed % 2 == 0);
                let mut client = running.connect();
                let answers = ask(&mut client, VICTIM, &past.victim);
                assert!(answers.iter().all(|answer| *answer == Answer::Good), "{context}\n{}", running.log());
                for asked in [0, raw::now_ms() - 3_600_000] {
                    assert_eq!(client.list_offset(VICTIM, asked), (OK, 0), "{context}");
                }
                let last = past.victim.last().unwrap();
                let repeated = client.produce(VICTIM, 0, unstamped(&last.bytes));
                assert_eq!((repeated.error, repeated.base_offset), (OK, last.base), "{context}: a repeat was appended");
                others_go_on(&past, &mut client);
            }
        }
    }
}

/// As its producer sent it.
fn unstamped(stored: &[u8]) -> bytes::Bytes {
    let mut bytes = stored.to_vec();
    bytes[..8].fill(0);
    bytes[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    bytes.into()
}

#[test]
fn a_damaged_meta_quarantines_its_partition_alone() {
    let past = Past::new(Ending::Clean);
    let length = length(&past.copy().path().join("logs-0/partition.meta"));
    for at in 0..length {
        // Every byte in its turn would take a minute: each seed takes others.
        if at % 8 != 0 {
            continue;
        }
        let copy = past.copy();
        let meta = copy.path().join("logs-0/partition.meta");
        Dice(at as u64).flip(&meta, at as u64, 1);
        let bytes = fs::read(&meta).unwrap();
        let running = Running::start(copy.path(), true);
        let mut client = running.connect();
        assert_eq!(client.fetch(VICTIM, 0).error, KAFKA_STORAGE_ERROR, "byte {at}");
        assert_eq!(client.produce(VICTIM, 0, raw::batch(1, 10)).error, KAFKA_STORAGE_ERROR, "byte {at}");
        assert!(running.says(&["quarantined", meta.to_str().unwrap()]), "byte {at}\n{}", running.log());
        others_go_on(&past, &mut client);
        drop(client);
        running.kill();
        assert!(fs::read(&meta).unwrap() == bytes, "byte {at}: the file was changed");
    }
}

#[test]
fn a_missing_segment_or_meta_quarantines_its_partition_alone() {
    let past = Past::new(Ending::Clean);
    for gone in ["partition.meta", "00000000000000000000.log"] {
        let copy = past.copy();
        let file = copy.path().join("logs-0").join(gone);
        fs::remove_file(&file).unwrap();
        let running = Running::start(copy.path(), true);
        let mut client = running.connect();
        assert_eq!(client.fetch(VICTIM, 0).error, KAFKA_STORAGE_ERROR, "{gone}");
        assert!(running.says(&["quarantined", file.to_str().unwrap()]), "{gone}\n{}", running.log());
        others_go_on(&past, &mut client);
    }
}

/// Without them the broker does not know whose directory it is, or which topics there are: it does not start, and says what to do.
#[test]
fn a_damaged_superblock_or_database_is_refused_by_name() {
    let past = Past::new(Ending::Clean);
    for (name, step, hint) in [("superblock", 9, "restore"), ("metadata.redb", 20_011, "restore")] {
        let length = length(&past.copy().path().join(name));
        let (mut refused, mut harmless) = (0, 0);
        for at in (0..length).step_by(step) {
            let copy = past.copy();
            let file = copy.path().join(name);
            Dice(at as u64).flip(&file, at as u64, 1);
            let bytes = fs::read(&file).unwrap();
            let mut running = Running::start(copy.path(), false);
            if running.has_failed() {
                refused += 1;
                assert!(running.says(&[file.to_str().unwrap(), hint]), "{name}, byte {at}\n{}", running.log());
                assert!(!running.says(&["panicked"]), "{name}, byte {at}\n{}", running.log());
                assert!(fs::read(&file).unwrap() == bytes, "{name}, byte {at}: the file was changed");
            } else {
                harmless += 1;
                let mut client = running.connect();
                let answers = ask(&mut client, VICTIM, &past.victim);
                assert!(answers.iter().all(|answer| *answer == Answer::Good), "{name}, byte {at}\n{}", running.log());
                others_go_on(&past, &mut client);
            }
        }
        assert!(refused > 0, "{name}: {harmless} flips, none refused");
        assert!(name != "superblock" || harmless == 0, "every byte of the superblock counts: {harmless} did not");
    }
}
