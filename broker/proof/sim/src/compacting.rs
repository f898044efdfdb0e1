//! The compacted topic of a run: how it is set and how fast the broker may clean it, who does it harm, and how far compaction came.
//!
//! What may be missing from it the checker knows. Everybody else writes and reads it like any other topic.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ringmill_batch::{BatchBuilder, Codec};
use ringmill_checker::{Event, Made};
use ringmill_net::wire::ErrorCode;
use tokio::time::sleep;

use crate::actors;
use crate::client::{Client, TopicRef};
use crate::history::History;
use crate::life::Life;
use crate::machine::{DATA_DIR, Machine};
use crate::plan::{Kind, PlannedTopic, Topic};
use crate::random::Random;
use crate::theme::Theme;

/// The topic's name.
pub(crate) const NAME: &str = "compacts";

/// What a run that is about compaction alone brings along in every other seed.
const COMPANIONS: [Theme; 6] =
    [Theme::Full, Theme::Errors, Theme::ReadErrors, Theme::Rot, Theme::Clock, Theme::Network];

/// How long lives last in which a topic is to be compacted.
const LIVES_MS: [u64; 3] = [80, 200, 600];

/// Records in a batch of which some have no key.
const UNKEYED_RECORDS_MAX: u64 = 4;

/// How a topic's keys follow from its records, and what of them is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// How many there are.
    pub(crate) count: u32,
    /// How long a tombstone is shown.
    pub(crate) tombstones_kept_ms: u64,
}

/// Adds what a run of compaction alone brings along.
pub(crate) fn bring_along(themes: &mut Vec<Theme>, random: &Random) {
    if random.one_in(2) {
        themes.push(random.pick(&COMPANIONS));
        themes.sort();
    }
}

/// How long a run's lives last at most.
pub(crate) fn life_ms_max(random: &Random) -> u64 {
    random.pick(&LIVES_MS)
}

/// The topic; where the time of day jumps, a tombstone's time may be over at once.
pub(crate) fn planned(random: &Random, time_jumps: bool) -> PlannedTopic {
    let also_deletes = random.one_in(4);
    let tombstones_kept_ms = random.pick(&[0, 10, 60, 300, 5_000]);
    let keys =
        Keys { count: random.pick(&[2, 12, 150]), tombstones_kept_ms: if time_jumps { 0 } else { tombstones_kept_ms } };
    let is_deleted_from = random.one_in(3);
    let kind = Kind { expires: also_deletes, is_deleted_from, rolls: true, keys: Some(keys), ..Kind::default() };
    let mut topic = PlannedTopic::new(NAME, 1, kind)
        .with(("cleanup.policy", if also_deletes { "compact,delete" } else { "compact" }.to_owned()))
        .with(("segment.ms", (4 + random.below(30)).to_string()))
        .with(("segment.bytes", (1 << 20).to_string()))
        .with(("index.interval.bytes", random.pick(&[0, 200, 4096]).to_string()))
        .with(("min.cleanable.dirty.ratio", random.pick(&["0", "0.01", "0.3"]).to_owned()))
        .with(("min.compaction.lag.ms", random.pick(&[0, 0, 5, 40]).to_string()))
        .with(("delete.retention.ms", tombstones_kept_ms.to_string()));
    if also_deletes {
        topic = topic.with(("retention.ms", (100 + random.below(400)).to_string()));
    }
    if random.one_in(3) {
        topic = topic.with(("max.compaction.lag.ms", (40 + random.below(100)).to_string()));
    }
    topic
}

/// How fast every broker of the run compacts.
pub(crate) fn machine_settings(random: &Random) -> Vec<(&'static str, String)> {
    let mut settings = vec![("broker.log.cleaner.backoff.ms", random.pick(&[1, 5, 20]).to_string())];
    if random.one_in(2) {
        let bytes_per_second = random.pick(&[100_000, 1_000_000, 10_000_000]);
        settings.push(("broker.log.cleaner.io.max.bytes.per.second", bytes_per_second.to_string()));
    }
    settings
}

/// Says how the topic that was just announced is compacted, if it is.
pub(crate) fn announce(history: &History, topic: u32, kind: &Kind) {
    if let Some(Keys { count, tombstones_kept_ms }) = kind.keys {
        history.record(Event::Compacted { topic, keys: count, tombstones_kept_us: tombstones_kept_ms * 1_000 });
    }
}

/// Everybody who does the topic harm: those who produce without keys, and, as the run has it, who deletes records and who flips bits.
pub(crate) async fn harass(topic: Topic, life: Rc<Life>, random: Random) {
    let deletes = async {
        if topic.kind.is_deleted_from {
            actors::delete_records(topic.clone(), Rc::clone(&life), random.fork()).await;
        }
    };
    let rots = async {
        if life.plan.has(Theme::Rot) {
            actors::rot(topic.clone(), Rc::clone(&life), random.fork()).await;
        }
    };
    let unkeyed = produce_unkeyed(&topic, &life, random.fork());
    tokio::join!(biased; unkeyed, deletes, rots);
}

async fn produce_unkeyed(topic: &Topic, life: &Life, random: Random) {
    loop {
        let client = life.connect(&random);
        let ended = unkeyed_on(&client, topic, life, &random).await;
        life.history.note((NAME, ended.expect_err("a session ends with its connection").kind()));
        sleep(random.millis(20)).await;
    }
}

/// Produces batches of which some records have no key: all of the batch is refused, and each of those is named.
async fn unkeyed_on(client: &Client, topic: &Topic, life: &Life, random: &Random) -> io::Result<()> {
    let place = topic.place(0);
    let keys = topic.kind.keys.map(|keys| keys.count);
    loop {
        sleep(random.millis(60)).await;
        let producer = life.history.announce_producer(place, false);
        let count = 1 + random.below(UNKEYED_RECORDS_MAX);
        let unkeyed: Vec<bool> = (0..count).map(|_| random.one_in(2)).collect();
        let expected: Vec<i32> = (0..).zip(&unkeyed).filter(|(_, without)| **without).map(|(at, _)| at).collect();
        let mut builder = BatchBuilder::new(if random.one_in(3) { Codec::Lz4 } else { Codec::None }, None);
        for (number, without) in (0..).zip(unkeyed) {
            Made { producer, number }.push_onto(&mut builder, life.now_ms(), keys.filter(|_| !without), 0);
        }
        life.history.record(Event::Sent { producer, first: 0, count });
        let by = TopicRef::Id(topic.id);
        client.send_produce(by, place.partition, builder.finish().freeze()).await?;
        let (answer, named) = client.receive_produced_and_named(by).await?;
        match answer {
            Ok(offset) => {
                assert!(expected.is_empty(), "{place:?}: records without a key were taken");
                life.history.acked(place, producer, 0, count, offset);
            }
            Err(error) => {
                life.history.record(Event::Refused { producer, first: 0, code: error.code() });
                if error == ErrorCode::InvalidRecord {
                    assert_eq!(named, expected, "{place:?}: which records have no key");
                    assert!(!expected.is_empty(), "{place:?}: all of them have one");
                    life.history.count("records without a key refused");
                } else {
                    life.refused_produce(place, error);
                }
            }
        }
    }
}

/// How far compaction is, as the topic's files show when a life has ended.
pub(crate) fn look_at_files(machine: &Machine, history: &History) {
    if names(machine).iter().any(|name| name == "compaction") {
        history.count("compacted");
    }
}

/// What a crash has left of compaction.
pub(crate) fn look_at_wreck(machine: &Machine, history: &History) {
    let names = names(machine);
    let has = |suffix: &str| names.iter().any(|name| name.ends_with(suffix));
    if has(".swap") {
        history.count("swaps left to a start");
    }
    if has(".cleaned.tmp") {
        history.count("compactions interrupted by a crash");
    }
}

fn names(machine: &Machine) -> Vec<String> {
    machine.simulation.names(&dir())
}

fn dir() -> PathBuf {
    Path::new(DATA_DIR).join(format!("{NAME}-0"))
}

/// How many milliseconds whoever deletes records of a topic rests at most, and how much of it may go at once, one part in so many.
pub(crate) fn deletion_habits(kind: &Kind) -> (u64, u64) {
    if kind.keys.is_some() { (100, 4) } else { (30, 1) }
}
