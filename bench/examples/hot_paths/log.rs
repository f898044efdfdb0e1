//! Appends to a log, and plans of fetches from it.
//!
//! Everything that a call waits for happens within it, so that a future is polled once and is ready.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, Offset};
use ringmill_engine::clock::ManualClock;
use ringmill_engine::disk::{Disk, block_on};
use ringmill_engine::log::{Identity, Log, LogConfig, LogEnv, LogReader};

use super::disk::ImmediateDisk;
use super::{HotPath, Numbers, Operation, batch};

pub(super) const PATHS: &[HotPath] = &[
    HotPath {
        name: "append_one",
        what: "append a batch of 1 KB, write and sync it, answer",
        operations: 1000,
        prepare: |operations| append(groups(operations, 1, alike())),
    },
    HotPath {
        name: "append_group",
        what: "the same with 16 batches at once",
        operations: 200,
        prepare: |operations| append(groups(operations, 16, alike())),
    },
    HotPath {
        name: "append_idempotent",
        what: "append a batch of an idempotent producer",
        operations: 1000,
        prepare: |operations| append(groups(operations, 1, |sequence| batch::of_producer(1, sequence))),
    },
    HotPath {
        name: "plan_at_end",
        what: "plan a fetch where the last reader stopped, of one new batch",
        operations: 1000,
        prepare: |_| plan(1 << 30, 1000, Place::LastBatch),
    },
    HotPath {
        name: "plan_by_index",
        what: "plan a fetch anywhere in one segment of 5000 batches",
        operations: 1000,
        prepare: |_| plan(1 << 30, 5000, Place::Anywhere),
    },
    HotPath {
        name: "plan_segments",
        what: "plan a fetch anywhere in 100 segments",
        operations: 1000,
        prepare: |_| plan(21_800, 2000, Place::Anywhere),
    },
];

/// A log at work.
struct Fixture {
    log: Rc<Log>,
    disk: Rc<dyn Disk>,
    drive: Pin<Box<dyn Future<Output = ()>>>,
}

/// Batches that are appended at once.
type Group = Vec<(BytesMut, BatchHeader)>;

enum Place {
    LastBatch,
    Anywhere,
}

/// Groups of `count` batches; `make` is told the number of each batch.
fn groups(groups: usize, count: usize, make: impl Fn(i32) -> BytesMut) -> Vec<Group> {
    let mut number = 0;
    let mut next = || {
        let batch = make(number);
        number += 1;
        let header = BatchHeader::parse(&batch).expect("what was built is a batch");
        (batch, header)
    };
    (0..groups).map(|_| (0..count).map(|_| next()).collect()).collect()
}

/// The same batch of one record again and again.
fn alike() -> impl Fn(i32) -> BytesMut {
    let batch = batch::of_records(1);
    move |_| batch.clone()
}

fn append(groups: Vec<Group>) -> Operation {
    let mut fixture = Fixture::new(1 << 30);
    let mut groups = groups.into_iter();
    Box::new(move || fixture.append(groups.next().expect("as many were made as are appended")))
}

fn plan(segment_bytes: u64, batches: usize, place: Place) -> Operation {
    let mut fixture = Fixture::new(segment_bytes);
    let reader: Arc<LogReader> = fixture.log.reader();
    let end = || u64::try_from(reader.watermarks().high_watermark.get()).expect("offsets are positive");
    for group in groups(batches, 1, alike()) {
        // A reader at the end leaves a hint of where it stopped: there is one where the last batch begins.
        if let Some(last) = end().checked_sub(1) {
            plan_at(&fixture, &reader, last);
        }
        fixture.append(group);
    }
    let end = end();
    let mut numbers = Numbers::new();
    Box::new(move || {
        let wanted = match place {
            Place::LastBatch => end - 1,
            Place::Anywhere => numbers.below(end),
        };
        plan_at(&fixture, &reader, wanted);
    })
}

fn plan_at(fixture: &Fixture, reader: &LogReader, wanted: u64) {
    let wanted = Offset::ZERO.checked_add(wanted).expect("it is far from the largest offset");
    let planned = ready(reader.plan(&*fixture.disk, wanted, 1 << 20, true));
    black_box(planned).expect("the offset is there");
}

impl Fixture {
    fn new(segment_bytes: u64) -> Fixture {
        let disk: Rc<dyn Disk> = Rc::new(ImmediateDisk::new().expect("a descriptor is left"));
        let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(batch::TIMESTAMP_MS)));
        let config = LogConfig { segment_bytes, retention_ms: None, ..LogConfig::default() };
        let id = Identity { topic_id: [7; 16], partition: 0 };
        let log = block_on(&*disk, Log::create(env, "/hot-0".into(), id, config)).expect("it is a new log");
        Fixture { drive: Box::pin(Rc::clone(&log).drive()), log, disk }
    }

    /// Appends batches at once, and lets the log work until all of them are durable.
    fn append(&mut self, group: Group) {
        /// One is enough for a write and a sync; a roll takes a few.
        const POLLS_MAX: usize = 100;
        let mut answers: Vec<_> = group.into_iter().map(|(batch, header)| self.log.append(batch, header)).collect();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..POLLS_MAX {
            assert!(self.drive.as_mut().poll(&mut context).is_pending(), "nobody closes the log");
            let last = answers.last_mut().expect("there are batches");
            if let Ok(answered) = last.try_recv() {
                black_box(answered).expect("the disk takes everything");
                return;
            }
        }
        panic!("a batch was not durable after {POLLS_MAX} polls");
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the disk completes within the call, so nothing is left to wait for"),
    }
}
