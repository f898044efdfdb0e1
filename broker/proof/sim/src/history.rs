//! What clients of a run were told and saw: put down for the checker, which judges at once; counted, to see that the run reached what
//! it was made for; and hashed, to compare two runs. A broken promise is a panic, which ends the run.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use ringmill_checker::{Decoded, Event, Line, Place, Run, decode};
use ringmill_engine::disk::Simulation;
use ringmill_net::wire::ErrorCode;
use tokio::time::Instant;

use crate::client::Fetched;

/// How often each thing happened.
pub type Counts = BTreeMap<&'static str, u64>;

/// What a run's clients know together.
pub struct History {
    checker: RefCell<ringmill_checker::History>,
    next_topic: Cell<u32>,
    next_producer: Cell<u32>,
    next_consumer: Cell<u32>,
    /// Partitions whose bytes have rotted: what they still serve must be right, and they need not serve all.
    rotten: RefCell<BTreeSet<Place>>,
    /// Partitions that answer before the sync.
    windows: RefCell<BTreeMap<Place, Window>>,
    counts: RefCell<Counts>,
    trace: RefCell<DefaultHasher>,
    began: Instant,
    /// Whose events are printed between those that are noted here.
    printed: Option<Simulation>,
    events_printed: Cell<usize>,
}

/// What a partition with `write.caching` has acknowledged, and how far that is durable by its own word.
#[derive(Debug)]
struct Window {
    /// The longest time that a record stays unsynced.
    length: Duration,
    /// Ends that were acknowledged, and when.
    recent: VecDeque<(Instant, i64)>,
    /// The end before which everything survives a power cut.
    safe: i64,
    /// The farthest end that was acknowledged and not taken back.
    last_acked: i64,
}

impl History {
    /// Nothing has happened yet. With a machine that keeps its log, every event of it and of the clients is printed as it comes.
    #[must_use]
    pub fn new(printed: Option<Simulation>) -> History {
        History {
            checker: RefCell::new(ringmill_checker::History::in_memory()),
            next_topic: Cell::new(0),
            next_producer: Cell::new(0),
            next_consumer: Cell::new(0),
            rotten: RefCell::default(),
            windows: RefCell::default(),
            counts: RefCell::default(),
            // The keys of a default hasher are fixed, so equal runs have equal hashes.
            trace: RefCell::default(),
            began: Instant::now(),
            printed,
            events_printed: Cell::new(0),
        }
    }

    /// Counts something that a run is made to reach.
    pub fn count(&self, what: &'static str) {
        self.count_more(what, 1);
    }

    fn count_more(&self, what: &'static str, count: u64) {
        *self.counts.borrow_mut().entry(what).or_default() += count;
    }

    /// Counts what compaction took away, as readers noticed.
    pub fn count_compacted(&self) {
        let taken = self.checker.borrow().judge().compacted();
        self.count_more("records superseded", taken.superseded);
        self.count_more("tombstones removed", taken.tombstones);
    }

    /// How often each thing happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// Adds something to the run's trace, with its moment.
    pub fn note(&self, what: impl Hash + Debug) {
        if let Some(machine) = &self.printed {
            let events = machine.log_from(self.events_printed.get());
            self.events_printed.set(self.events_printed.get() + events.len());
            events.iter().for_each(|event| eprintln!("    {event}"));
            eprintln!("{:>9?} {what:?}", self.began.elapsed());
        }
        (self.began.elapsed(), what).hash(&mut *self.trace.borrow_mut());
    }

    /// A number for all that was noted so far: equal for equal runs.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.borrow().finish()
    }

    /// Puts an event down and has it judged.
    ///
    /// # Panics
    /// When it breaks a promise.
    pub fn record(&self, event: Event) {
        self.note(&event);
        let us = u64::try_from(self.began.elapsed().as_micros()).expect("a run takes seconds");
        let mut checker = self.checker.borrow_mut();
        checker.record(us, event);
        let broken = checker.violations().first().map(ToString::to_string);
        drop(checker);
        if let Some(broken) = broken {
            panic!("{broken}");
        }
    }

    /// What a lookup that is sent now has to say about when.
    #[must_use]
    pub fn now(&self) -> Line {
        self.checker.borrow().now()
    }

    /// The number of a topic that is about to be created.
    pub fn announce_topic(&self, name: &str, caching: Option<Duration>, expires: bool) -> u32 {
        let topic = take(&self.next_topic);
        let (name, retained_records_min) = (name.to_owned(), expires.then_some(0));
        self.record(Event::Topic { topic, name, caching: caching.is_some(), retained_records_min });
        if let Some(length) = caching {
            let place = Place { topic, partition: 0 };
            self.windows.borrow_mut().insert(place, Window { length, recent: VecDeque::new(), safe: 0, last_acked: 0 });
        }
        topic
    }

    /// The number of a new producer of this partition.
    pub fn announce_producer(&self, place: Place, idempotent: bool) -> u32 {
        let producer = take(&self.next_producer);
        self.record(Event::Producer { producer, place, idempotent });
        producer
    }

    /// The number of a new consumer.
    pub fn announce_consumer(&self) -> u32 {
        take(&self.next_consumer)
    }

    /// A batch was acknowledged.
    pub fn acked(&self, place: Place, producer: u32, first: u64, count: u64, offset: i64) {
        self.count_more("acknowledged", count);
        self.record(Event::Acked { producer, first, offset: Some(offset) });
        if let Some(window) = self.windows.borrow_mut().get_mut(&place) {
            let end = offset.saturating_add_unsigned(count);
            window.recent.push_back((Instant::now(), end));
            window.last_acked = window.last_acked.max(end);
        }
    }

    /// Takes what a fetch brought that was sent at line `asked`, from offset `from` on; the next offset to fetch. A place that rotted may
    /// have something behind it that is no batch; it is counted, and passed over.
    pub fn seen(&self, consumer: u32, place: Place, asked: Line, from: i64, fetched: &Fetched) -> i64 {
        let mut decoded = decode(from, &fetched.records);
        if self.is_rotten(place) && self.cut_at_damage(&mut decoded, place, from) && decoded.next == from {
            return from + 1;
        }
        self.count_more("consumed", decoded.runs.iter().map(|run| run.count).sum());
        let Fetched { log_start, high_watermark: end, .. } = *fetched;
        let next = decoded.next_of_its_own(from);
        let (runs, foreign) = (decoded.runs, decoded.foreign);
        self.record(Event::Seen { consumer, place, asked, from, log_start, end, runs, next, foreign });
        decoded.next
    }

    /// Leaves what a client takes of a fetch in which something has rotted: checksums do not cover a batch's offset, but it has to follow
    /// on the one before.
    fn cut_at_damage(&self, decoded: &mut Decoded, place: Place, from: i64) -> bool {
        let mut next = from;
        let has_gaps = self.checker.borrow().judge().is_compacted(place);
        let follows = |run: &&Run| {
            let is_next = if has_gaps { run.offset >= next } else { run.offset == next };
            next = run.offset.saturating_add_unsigned(run.count);
            is_next
        };
        let sound = decoded.runs.iter().take_while(follows).count();
        let is_damaged = decoded.foreign.is_some() || sound < decoded.runs.len();
        if is_damaged {
            self.count("damage found by the client");
            decoded.runs.truncate(sound);
            decoded.foreign = None;
            decoded.next = decoded.runs.last().map_or(from, |run| run.offset.saturating_add_unsigned(run.count));
        }
        is_damaged
    }

    /// A fetch was refused.
    pub fn read_refused(&self, place: Place, asked: Line, from: i64, error: ErrorCode) {
        if self.is_rotten(place) {
            self.note((place, from, error.code()));
        } else {
            self.record(Event::ReadRefused { place, asked, from, code: error.code() });
        }
    }

    /// The bytes of a partition have been spoilt from outside.
    pub fn rots(&self, place: Place) {
        self.rotten.borrow_mut().insert(place);
    }

    /// Whether they were.
    #[must_use]
    pub fn is_rotten(&self, place: Place) -> bool {
        self.rotten.borrow().contains(&place)
    }

    /// The broker is gone, and with it whoever synced what was not synced yet: nothing more becomes safe by waiting.
    pub fn stops_syncing(&self) {
        let now = Instant::now();
        for window in self.windows.borrow_mut().values_mut() {
            for (since, end) in std::mem::take(&mut window.recent) {
                if now - since > window.length {
                    window.safe = window.safe.max(end);
                }
            }
        }
    }

    /// A broker that answers before the sync has started, and this is what it has found; `exact` says that no disk has failed. What was
    /// older than the stated window must be among it.
    ///
    /// # Panics
    /// When it is not.
    pub fn recovered(&self, place: Place, asked: Line, fetched: &Fetched, exact: bool) {
        let Fetched { log_start, high_watermark: end, .. } = *fetched;
        self.record(Event::Recovered { place, asked, log_start, end });
        let mut windows = self.windows.borrow_mut();
        let Some(window) = windows.get_mut(&place) else { return };
        let Window { length, safe, last_acked, .. } = window;
        if end < *last_acked {
            self.count("unsynced records lost");
            *last_acked = end;
        }
        assert!(!exact || end >= *safe, "{place:?}: {safe} was older than {length:?}, and the log ends at {end}");
        // A start syncs what it finds.
        *safe = end;
    }
}

fn take(counter: &Cell<u32>) -> u32 {
    let number = counter.get();
    counter.set(number + 1);
    number
}
