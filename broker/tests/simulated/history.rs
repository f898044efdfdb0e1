//! What happened in a run, as clients saw it, and the laws that it must keep; and the run's randomness.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use ringmill_batch::{DecompressLimit, check_stored, read_records};
use tokio::time::Instant;

/// Randomness that follows from a seed (splitmix64).
pub struct Random(Cell<u64>);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(Cell::new(seed))
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut value = self.0.get();
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// 0 to `bound`, exclusive.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A partition of a run.
pub type Place = (&'static str, i32);

/// One record as its producer made it; unique in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Made {
    pub producer: u64,
    pub number: u64,
}

impl Made {
    pub fn text(self) -> String {
        format!("{}:{}", self.producer, self.number)
    }

    fn parse(value: &[u8]) -> Option<Made> {
        let (producer, number) = std::str::from_utf8(value).ok()?.split_once(':')?;
        Some(Made { producer: producer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// What is known of the records of all partitions.
pub struct History {
    /// Acknowledged, or seen by a consumer: this record stands at this offset, for ever.
    certain: RefCell<BTreeMap<(Place, i64), Made>>,
    /// Refused for good: these must never appear.
    refused: RefCell<BTreeMap<Made, String>>,
    /// How often each thing happened, to see that a run did what it was made for.
    pub counts: RefCell<BTreeMap<&'static str, u64>>,
    trace: RefCell<DefaultHasher>,
    began: Instant,
}

impl History {
    pub fn new() -> History {
        History {
            certain: RefCell::default(),
            refused: RefCell::default(),
            counts: RefCell::default(),
            // The keys of a default hasher are fixed, so equal runs have equal hashes.
            trace: RefCell::default(),
            began: Instant::now(),
        }
    }

    pub fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }

    /// Adds something to the run's trace, with its moment.
    pub fn note(&self, what: impl Hash) {
        (self.began.elapsed(), what).hash(&mut *self.trace.borrow_mut());
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.borrow().finish()
    }

    pub fn certain(&self, place: Place, offset: i64, made: Made, how: &'static str) {
        self.count(how);
        self.note((place, offset, made, how));
        let before = self.certain.borrow_mut().insert((place, offset), made);
        assert!(
            before.is_none_or(|before| before == made),
            "{place:?} offset {offset} was {before:?} and is now {made:?} ({how})"
        );
    }

    pub fn refused(&self, made: Made, why: String) {
        self.count("refused");
        self.refused.borrow_mut().insert(made, why);
    }

    /// Takes what a fetch brought: the next offset to fetch.
    pub fn fetched(&self, place: Place, mut offset: i64, records: &Bytes) -> i64 {
        for (found, made) in decode(records) {
            if found >= offset {
                assert_eq!(found, offset, "{place:?}: the offsets have a gap");
                self.certain(place, found, made, "consumed");
                offset = found + 1;
            }
        }
        offset
    }

    /// The laws, over everything that is in the partitions at the end.
    pub fn check(&self, places: &[Place], logs: &BTreeMap<Place, Vec<Made>>, idempotent: impl Fn(u64) -> bool) {
        for ((place, offset), made) in &*self.certain.borrow() {
            let found = logs[place].get(usize::try_from(*offset).expect("offsets are not negative"));
            assert_eq!(found, Some(made), "{place:?} offset {offset} was acknowledged or seen, and is lost");
        }
        for place in places {
            let mut last: BTreeMap<u64, u64> = BTreeMap::new();
            for made in &logs[place] {
                let refused = self.refused.borrow();
                assert!(
                    !refused.contains_key(made),
                    "{place:?}: {made:?} was refused ({}), and is there",
                    refused[made]
                );
                let before = last.insert(made.producer, made.number);
                let in_order = before.is_none_or(|before| before < made.number);
                assert!(in_order, "{place:?}: {made:?} comes after {before:?}");
                if idempotent(made.producer) {
                    let expected = before.map_or(0, |before| before + 1);
                    assert_eq!(made.number, expected, "{place:?}: a gap in the records of an idempotent producer");
                }
            }
        }
    }
}

/// The records of whole batches; a cut last batch is legal.
pub fn decode(records: &Bytes) -> Vec<(i64, Made)> {
    let mut rest = &records[..];
    let mut all = Vec::new();
    while let Ok(header) = check_stored(rest) {
        for record in read_records(rest, DecompressLimit::default()).expect("what is stored can be read").iter() {
            let record = record.expect("a record can be read");
            let made = record.value.and_then(Made::parse).expect("every record was made by the workload");
            all.push((record.offset.get(), made));
        }
        rest = &rest[header.total_bytes()..];
    }
    all
}
