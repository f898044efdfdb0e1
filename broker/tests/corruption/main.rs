//! Flipped bits in every class of position, on the real program: found or harmless, never served as good to a client that checks, named
//! by file and place, and no other partition feels it.
//!
//! A test makes a past ([`stage::Past`]), flips bits in copies of it by a table, and asks for every offset. Seeds choose the bits;
//! `RINGMILL_SEEDS` gives more of them.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

#[path = "../raw/mod.rs"]
mod raw;

mod small_files;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use raw::Raw;
use stage::{Ending, OK, OTHER, Past, Running, Stored, VICTIM, whole_batches};

const CORRUPT_MESSAGE: i16 = 2;
const KAFKA_STORAGE_ERROR: i16 = 56;

/// The fields of a batch: name, first byte, bytes. The checksum covers those from `attributes` on.
const FIELDS: &[(&str, usize, usize)] = &[
    ("base offset", 0, 8),
    ("batch length, high", 8, 1),
    ("batch length, low", 9, 3),
    ("leader epoch", 12, 4),
    ("magic", 16, 1),
    ("crc", 17, 4),
    ("attributes", 21, 2),
    ("last offset delta", 23, 4),
    ("base timestamp", 27, 8),
    ("max timestamp", 35, 8),
    ("producer id", 43, 8),
    ("producer epoch", 51, 2),
    ("base sequence", 53, 4),
    ("record count", 57, 4),
    ("first record", 61, 10),
    ("records", 71, 9_500),
];

/// Batches from one damaged one to the next. Between two in the same interval of the index nothing bears the good ones out.
const APART: usize = 6;

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    /// Flips one bit of `length` bytes of a file from `position` on; gives the byte's place.
    pub(crate) fn flip(&mut self, file: &Path, position: u64, length: usize) -> u64 {
        let mut bytes = fs::read(file).unwrap();
        let at = usize::try_from(position).unwrap() + self.below(length);
        bytes[at] ^= 1 << self.below(8);
        fs::write(file, bytes).unwrap();
        at as u64
    }
}

pub(crate) fn seeds(ordinary: u64) -> impl Iterator<Item = u64> {
    let count = std::env::var("RINGMILL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ordinary);
    1..=count
}

/// What one fetch says about a batch that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The batch, byte for byte.
    Good,
    /// Bytes that a client's own check refuses.
    RefusedByClient,
    /// An error of the broker.
    Error(i16),
}

/// Asks for each batch alone. A batch that passes a client's check must be the one that was acknowledged.
pub(crate) fn ask(client: &mut Raw, topic: &str, acknowledged: &[Stored]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for stored in acknowledged {
        client.send_fetch(topic, stored.base, 0, 1);
        let fetched = client.receive_fetched();
        answers.push(match whole_batches(&fetched.records).first() {
            Some(taken) => {
                assert_eq!(fetched.error, OK);
                assert!(taken.bytes == stored.bytes, "offset {} was served as good, and is not", stored.base);
                Answer::Good
            }
            None if fetched.error != OK => Answer::Error(fetched.error),
            None => Answer::RefusedByClient,
        });
    }
    answers
}

/// The other partition serves and takes records, whatever has become of the victim.
pub(crate) fn others_go_on(past: &Past, client: &mut Raw) {
    assert!(ask(client, OTHER, &past.other).iter().all(|answer| *answer == Answer::Good));
    assert_eq!(client.produce(OTHER, 0, raw::batch(1, 10)).error, OK);
}

/// Rot in many batches of a closed segment at once, each in a field of its own, with good ones between.
#[test]
fn rot_in_a_closed_segment_is_refused_batch_by_batch_and_found_whole_by_the_scrub() {
    let past = Past::new(Ending::Clean);
    let closed = past.batches_in(true);
    for seed in seeds(3) {
        let mut dice = Dice(seed);
        let copy = past.copy();
        let damaged: Vec<(&str, &Stored)> =
            FIELDS.iter().enumerate().map(|(number, (name, ..))| (*name, closed[1 + APART * number])).collect();
        for (&(_, at, length), (_, stored)) in FIELDS.iter().zip(&damaged) {
            let (file, position) = past.place(stored);
            dice.flip(&copy.path().join(file), position + at as u64, length);
        }
        let log = copy.path().join("logs-0/00000000000000000000.log");
        let bytes = fs::read(&log).unwrap();
        let context = |field: &str| format!("seed {seed}, {field}");

        // Plans alone.
        let running = Running::start(copy.path(), false);
        let mut client = running.connect();
        let answers = ask(&mut client, VICTIM, &past.victim);
        for (stored, answer) in past.victim.iter().zip(&answers) {
            match damaged.iter().find(|(_, damaged)| damaged.base == stored.base) {
                Some((field, _)) => assert_ne!(*answer, Answer::Good, "{}", context(field)),
                None => assert_eq!(*answer, Answer::Good, "seed {seed}, offset {}", stored.base),
            }
        }
        for (field, stored) in
            damaged.iter().filter(|(field, _)| ["base offset", "leader epoch", "magic"].contains(field))
        {
            let (_, position) = past.place(stored);
            let parts = ["damaged range", log.to_str().unwrap(), &format!("\"position\":{position},")];
            assert!(running.says(&parts), "{}: {parts:?}\n{}", context(field), running.log());
        }
        others_go_on(&past, &mut client);
        assert_eq!(client.produce(VICTIM, 0, raw::batch(1, 10)).error, OK, "produce goes on");
        running.stop();

        // And with the scrub.
        let running = Running::start(copy.path(), true);
        running.wait_until_it_says(&["looked through closed segments"]);
        let mut client = running.connect();
        let answers = ask(&mut client, VICTIM, &past.victim);
        for (stored, answer) in past.victim.iter().zip(&answers) {
            match damaged.iter().find(|(_, damaged)| damaged.base == stored.base) {
                Some((field, _)) => {
                    assert_eq!(*answer, Answer::Error(CORRUPT_MESSAGE), "{}", context(field));
                    let (_, position) = past.place(stored);
                    let parts = ["damaged range", log.to_str().unwrap(), &format!("\"position\":{position},")];
                    assert!(running.says(&parts), "{}: {parts:?}\n{}", context(field), running.log());
                }
                None => assert_eq!(*answer, Answer::Good, "seed {seed}, offset {}", stored.base),
            }
        }
        others_go_on(&past, &mut client);
        assert_eq!(client.produce(VICTIM, 0, raw::batch(1, 10)).error, OK, "produce goes on");
        drop(client);
        running.stop();
        assert!(fs::read(&log).unwrap() == bytes, "seed {seed}: a byte of the damaged file was changed");
    }
}

/// One flip in the last segment, at each kind of stop and on each side of the recovery point.
#[test]
fn rot_in_the_last_segment_is_quarantined_cut_aside_or_refused_but_never_served() {
    let mut seen = BTreeSet::new();
    for ending in [Ending::Clean, Ending::KilledLate, Ending::KilledEarly] {
        let past = Past::new(ending);
        let active = past.batches_in(false);
        for seed in seeds(1) {
            for (number, &(field, at, length)) in FIELDS.iter().enumerate() {
                let mut dice = Dice(seed * 1000 + number as u64);
                // The last but one stands above the recovery point where anything does.
                let newest = number % 2 == 0;
                let stored = active[if newest { active.len() - 2 } else { 2 + dice.below(active.len() / 2) }];
                let copy = past.copy();
                let (file, position) = past.place(stored);
                let log = copy.path().join(&file);
                dice.flip(&log, position + at as u64, length);
                let context =
                    format!("{ending:?}, seed {seed}, {field} of the batch at {position} of {}", file.display());
                seen.insert((ending as u8, last_segment_case(&past, copy.path(), stored, &context)));
            }
        }
    }
    for expected in [(0, "served"), (0, "quarantined"), (1, "quarantined"), (2, "cut")] {
        assert!(seen.contains(&expected), "no case came out as {expected:?}: {seen:?}");
    }
}

/// Starts over the damage and says what became of the partition.
fn last_segment_case(past: &Past, dir: &Path, damaged: &Stored, context: &str) -> &'static str {
    let (file, position) = past.place(damaged);
    let log = dir.join(file);
    let bytes = fs::read(&log).unwrap();
    let running = Running::start(dir, false);
    let mut client = running.connect();
    others_go_on(past, &mut client);
    let answers = ask(&mut client, VICTIM, &past.victim);
    let damaged_index = past.victim.iter().position(|stored| stored.base == damaged.base).unwrap();
    assert_ne!(answers[damaged_index], Answer::Good, "{context}");
    let name = log.to_str().unwrap();
    let produced = client.produce(VICTIM, 0, raw::batch(1, 10)).error;
    drop(client);
    if answers[0] == Answer::Error(KAFKA_STORAGE_ERROR) {
        assert!(answers.iter().all(|answer| *answer == Answer::Error(KAFKA_STORAGE_ERROR)), "{context}");
        assert_eq!(produced, KAFKA_STORAGE_ERROR, "{context}");
        assert!(running.says(&["quarantined", name, " at byte "]), "{context}\n{}", running.log());
        running.kill();
        assert!(fs::read(&log).unwrap() == bytes, "{context}: a byte was changed");
        return "quarantined";
    }
    assert_eq!(produced, OK, "{context}");
    assert!(answers[..damaged_index].iter().all(|answer| *answer == Answer::Good), "{context}");
    let aside = fs::read_dir(dir.join("logs-0")).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<_> = aside.filter(|path| path.extension().is_some_and(|extension| extension == "torn")).collect();
    if aside.is_empty() {
        assert!(answers[damaged_index + 1..].iter().all(|answer| *answer == Answer::Good), "{context}: {answers:?}");
        running.kill();
        let written: usize = past.batches_in(false).iter().map(|stored| stored.bytes.len()).sum();
        assert!(fs::read(&log).unwrap()[..written] == bytes[..written], "{context}: a byte was changed");
        return "served";
    }
    // Above the recovery point of a killed broker nobody can tell rot from a torn tail: every byte is kept aside.
    assert!(past.ending != Ending::Clean && damaged.base >= past.recovery_point, "{context}: durable bytes were cut");
    assert!(running.says(&["torn tail", name, &format!("\"position\":{position},")]), "{context}\n{}", running.log());
    let kept = fs::read(&aside[0]).unwrap();
    let tail = &bytes[usize::try_from(position).unwrap()..];
    assert!(tail.starts_with(&kept) && tail[kept.len()..].iter().all(|byte| *byte == 0), "{context}: bytes are lost");
    "cut"
}
