//! What may be missing from a compacted topic, and when.

use super::{LATER, opening, recovered, run, whole};
use crate::event::{Event, Place, Run};
use crate::judge::{Judge, Rule};
use crate::keyed::Key;
use crate::made::Made;

const KEPT: Place = Place { topic: 9, partition: 0 };
const KEYS: u32 = 2;

/// How long tombstones are shown.
const TOMBSTONES_KEPT_US: u64 = 1_000_000;

const A: Key = Key { key: 0, is_tombstone: false };
const B: Key = Key { key: 1, is_tombstone: false };
/// The tombstone of `A`.
const NO_A: Key = Key { key: 0, is_tombstone: true };

/// A producer whose first records have these keys.
fn making(of: &[Key]) -> u32 {
    let makes =
        |producer: &u32| (0..).zip(of).all(|(number, key)| Made { producer: *producer, number }.key(KEYS) == *key);
    (100..).find(makes).expect("each pattern comes up")
}

/// Everything that happens, with its time in seconds.
type Timed = Vec<(u64, Event)>;

fn judge(events: &[(u64, Event)]) -> Judge {
    let mut judge = Judge::default();
    let topic = Event::Topic { topic: 9, name: "kept".to_owned(), caching: false, retained_records_min: None };
    let compacted = Event::Compacted { topic: 9, keys: KEYS, tombstones_kept_us: TOMBSTONES_KEPT_US };
    for event in opening().iter().chain(&[topic, compacted, Event::TopicMade { topic: 9 }]) {
        judge.take(0, event);
    }
    for (seconds, event) in events {
        judge.take(seconds * 1_000_000, event);
    }
    judge
}

#[track_caller]
fn check(rule: Rule, good: &[(u64, Event)], change: impl FnOnce(&mut Timed)) {
    assert_eq!(judge(good).violations(), []);
    let mut bad = good.to_vec();
    change(&mut bad);
    assert_ne!(bad, good, "it was not changed");
    let judged = judge(&bad);
    assert_eq!(judged.violations().first().map(|violation| violation.rule), Some(rule), "{:#?}", judged.violations());
}

/// A producer of these records, which are sent and acknowledged from `offset` on.
fn produced(of: &[Key], offset: i64) -> (u32, Timed) {
    let producer = making(of);
    let sent = Event::Sent { producer, first: 0, count: of.len() as u64 };
    let acked = Event::Acked { producer, first: 0, offset: Some(offset) };
    (producer, vec![(0, Event::Producer { producer, place: KEPT, idempotent: true }), (0, sent), (0, acked)])
}

fn shown(from: i64, next: i64, end: i64, runs: &[Run]) -> Event {
    asked_in(LATER, from, next, end, runs)
}

fn asked_in(asked: u64, from: i64, next: i64, end: i64, runs: &[Run]) -> Event {
    let (runs, next) = (runs.to_vec(), Some(next));
    Event::Seen { consumer: 0, place: KEPT, asked, from, log_start: 0, end, runs, next, foreign: None }
}

fn read_whole(end: i64) -> Event {
    let Event::Whole { consumer, log_start, end, .. } = whole(0, end) else { unreachable!("it is") };
    Event::Whole { consumer, place: KEPT, log_start, end }
}

#[test]
fn a_record_may_be_missing_if_a_later_one_of_its_key_is_there() {
    let (maker, mut good) = produced(&[A, B, A], 0);
    good.push((0, shown(0, 3, 3, &[run(1, maker, 1, 2)])));
    good.push((0, read_whole(3)));
    check(Rule::LastOfKey, &good, |events| events[3].1 = shown(0, 3, 3, &[run(2, maker, 2, 1)]));
    check(Rule::LastOfKey, &good, |events| events[3].1 = shown(0, 3, 3, &[run(0, maker, 0, 2)]));
    check(Rule::LastOfKey, &good, |events| events[3].1 = shown(0, 3, 3, &[]));
    // What is left has its offset, and its content.
    check(Rule::ContentStays, &good, |events| events[3].1 = shown(0, 3, 3, &[run(1, maker, 2, 1)]));
    check(Rule::NoDuplicate, &good, |events| events[3].1 = shown(0, 4, 4, &[run(1, maker, 1, 2), run(3, maker, 2, 1)]));
    check(Rule::Readable, &good, |events| events[3].1 = shown(0, 3, 3, &[run(2, maker, 2, 1), run(1, maker, 1, 1)]));
}

#[test]
fn nothing_is_missing_from_a_topic_that_is_not_compacted() {
    let place = super::PLACE;
    let seen = |next| Event::Seen {
        consumer: 0,
        place,
        asked: LATER,
        from: 0,
        log_start: 0,
        end: 2,
        runs: Vec::new(),
        next,
        foreign: None,
    };
    let good = [(0, seen(None)), (0, seen(Some(0)))];
    check(Rule::Readable, &good, |events| events[1].1 = seen(Some(1)));
}

#[test]
fn a_record_may_be_missing_for_one_that_nobody_heard_of_yet() {
    let (maker, mut good) = produced(&[B, A], 0);
    let other = making(&[A, A, NO_A]);
    good.push((0, Event::Producer { producer: other, place: KEPT, idempotent: false }));
    good.push((0, Event::Sent { producer: other, first: 0, count: 1 }));
    good.push((0, shown(0, 2, 3, &[run(0, maker, 0, 1)])));
    good.push((0, shown(2, 3, 3, &[run(2, other, 0, 1)])));
    good.push((0, read_whole(3)));
    check(Rule::LastOfKey, &good, |events| drop(events.drain(3..5)));
    check(Rule::LastOfKey, &good, |events| {
        events.insert(5, (0, Event::Refused { producer: other, first: 0, code: 10 }))
    });
    // It did not come.
    check(Rule::LastOfKey, &good, |events| events[6].1 = shown(2, 3, 3, &[]));
    // What was sent in an earlier life lies before the end that the next one found.
    let between = [Event::Killed, Event::Booted, shown(0, 0, 3, &[])].map(|event| (0, event));
    let mut dead = good.clone();
    dead.splice(5..5, between);
    check(Rule::LastOfKey, &dead, |events| events[7].1 = shown(0, 0, 2, &[]));
}

#[test]
fn a_tombstone_is_shown_for_its_time() {
    let (maker, mut good) = produced(&[A, B, NO_A], 0);
    good.push((1, shown(0, 3, 3, &[run(1, maker, 1, 1)])));
    good.push((1, read_whole(3)));
    assert_eq!(judge(&good).compacted(), crate::Compacted { superseded: 1, tombstones: 1 });
    check(Rule::LastOfKey, &good, |events| (events[3].0, events[4].0) = (0, 0));
    // A value never goes, however old it is.
    check(Rule::LastOfKey, &good, |events| events[3].1 = shown(0, 3, 3, &[run(2, maker, 2, 1)]));
}

#[test]
fn a_whole_reading_may_lack_a_key_for_a_tombstone_that_nobody_heard_of() {
    let (maker, mut good) = produced(&[A, B], 0);
    let other = making(&[NO_A]);
    good.push((0, Event::Producer { producer: other, place: KEPT, idempotent: false }));
    good.push((0, Event::Sent { producer: other, first: 0, count: 1 }));
    good.push((0, shown(0, 3, 3, &[run(1, maker, 1, 1)])));
    good.push((0, read_whole(3)));
    let unlikely = making(&[A, A]);
    check(Rule::LastOfKey, &good, |events| {
        events[3].1 = Event::Producer { producer: unlikely, place: KEPT, idempotent: false };
        events[4].1 = Event::Sent { producer: unlikely, first: 0, count: 1 };
    });
}

#[test]
fn what_is_gone_stays_gone() {
    let (maker, mut good) = produced(&[A, B, A], 0);
    let left = [run(1, maker, 1, 2)];
    let all = [run(0, maker, 0, 3)];
    good.push((0, shown(0, 3, 3, &left)));
    good.extend([Event::PowerCut, Event::Booted, recovered(KEPT, 0, 3)].map(|event| (0, event)));
    // An answer that is older than that may still have it.
    good.push((0, asked_in(1, 0, 3, 3, &all)));
    good.push((0, shown(0, 3, 3, &left)));
    check(Rule::GoneStaysGone, &good, |events| events[8].1 = shown(0, 3, 3, &all));
    // A disk that lies may bring it back.
    let mut lied = good.clone();
    lied[4].1 = Event::LyingCut;
    lied[8].1 = shown(0, 3, 3, &all);
    assert_eq!(judge(&lied).violations(), []);
}

#[test]
fn nothing_is_left_of_a_key_whose_tombstone_is_gone() {
    let (maker, mut good) = produced(&[A, B, NO_A], 0);
    let asked = |events: &Timed| (opening().len() + 3 + events.len()) as u64 + 1;
    good.push((1, shown(2, 3, 3, &[])));
    let before = asked(&good) - 1;
    good.push((1, asked_in(before, 0, 3, 3, &[run(0, maker, 0, 2)])));
    good.push((1, shown(0, 3, 3, &[run(1, maker, 1, 1)])));
    check(Rule::GoneStaysGone, &good, |events| events[4].1 = shown(0, 3, 3, &[run(0, maker, 0, 2)]));
}

#[test]
fn keys_of_a_topic_that_was_not_announced_are_a_bad_history() {
    let good = [(0, Event::Compacted { topic: 9, keys: KEYS, tombstones_kept_us: 0 })];
    check(Rule::BadHistory, &good, |events| {
        events[0].1 = Event::Compacted { topic: 77, keys: 1, tombstones_kept_us: 0 }
    });
}
