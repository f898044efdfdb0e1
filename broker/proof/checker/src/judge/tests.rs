//! Every rule, on histories made by hand: one that keeps it, and the smallest change that breaks it.

use super::{Judge, Rule};
use crate::event::{Event, Line, Place, Run};
use crate::made::Foreign;

mod compacted;
mod groups;

const PLACE: Place = Place { topic: 0, partition: 0 };
const CACHED: Place = Place { topic: 1, partition: 0 };
const SHORT: Place = Place { topic: 2, partition: 0 };

/// Two producers, 0 idempotent and 1 plain, write to a topic; 2 and 3, 4 and 5 the same to one with write caching and to one with retention.
fn opening() -> Vec<Event> {
    let topic = |topic, caching, retained_records_min| Event::Topic {
        topic,
        name: format!("t{topic}"),
        caching,
        retained_records_min,
    };
    let mut events = vec![topic(0, false, None), topic(1, true, None), topic(2, false, Some(3))];
    events.extend((0..3).map(|topic| Event::TopicMade { topic }));
    for (producer, place) in (0..).zip([PLACE, PLACE, CACHED, CACHED, SHORT, SHORT]) {
        events.push(Event::Producer { producer, place, idempotent: producer % 2 == 0 });
    }
    events.push(Event::Booted);
    events
}

fn judge(events: &[Event]) -> Judge {
    let mut judge = Judge::default();
    for event in opening().iter().chain(events) {
        judge.take(0, event);
    }
    judge
}

/// The rules that a history breaks, each once.
fn broken(events: &[Event]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = judge(events).violations().iter().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

/// The good history passes, and so changed it breaks this rule; what follows from that may break others.
#[track_caller]
fn check(rule: Rule, good: &[Event], change: impl FnOnce(&mut Vec<Event>)) {
    assert_eq!(judge(good).violations(), []);
    let mut bad = good.to_vec();
    change(&mut bad);
    assert_ne!(bad, good, "it was not changed");
    assert_eq!(broken(&bad).first(), Some(&rule), "{:#?}", judge(&bad).violations());
}

/// A line that everything put down before stands above.
const LATER: Line = Line::MAX;

fn sent(producer: u32, first: u64, count: u64) -> Event {
    Event::Sent { producer, first, count }
}

fn acked(producer: u32, first: u64, offset: i64) -> Event {
    Event::Acked { producer, first, offset: Some(offset) }
}

fn refused(producer: u32, first: u64, code: i16) -> Event {
    Event::Refused { producer, first, code }
}

fn run(offset: i64, producer: u32, number: u64, count: u64) -> Run {
    Run { offset, producer, number, count }
}

fn seen_at(place: Place, log_start: i64, end: i64, from: i64, runs: &[Run]) -> Event {
    let runs = runs.to_vec();
    Event::Seen { consumer: 0, place, asked: LATER, from, log_start, end, runs, next: None, foreign: None }
}

fn seen(end: i64, from: i64, runs: &[Run]) -> Event {
    seen_at(PLACE, 0, end, from, runs)
}

fn recovered(place: Place, log_start: i64, end: i64) -> Event {
    Event::Recovered { place, asked: LATER, log_start, end }
}

fn whole(log_start: i64, end: i64) -> Event {
    Event::Whole { consumer: 0, place: PLACE, log_start, end }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let good = [sent(0, 0, 2), acked(0, 0, 0), Event::Killed, Event::Booted, recovered(PLACE, 0, 2)];
    check(Rule::NothingLost, &good, |events| events[4] = recovered(PLACE, 0, 1));
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let good = [sent(0, 0, 2), acked(0, 0, 0), Event::PowerCut, Event::Booted, recovered(PLACE, 0, 2)];
    check(Rule::NothingLost, &good, |events| events[4] = recovered(PLACE, 0, 1));
}

#[test]
fn what_was_seen_survives_a_crash_though_nobody_was_answered() {
    let good = [sent(1, 0, 1), seen(1, 0, &[run(0, 1, 0, 1)]), Event::PowerCut, Event::Booted, recovered(PLACE, 0, 1)];
    check(Rule::NothingLost, &good, |events| events[4] = recovered(PLACE, 0, 0));
}

#[test]
fn what_is_acknowledged_is_visible_to_whoever_asks_afterwards() {
    let early = Event::Seen {
        consumer: 0,
        place: PLACE,
        asked: opening().len() as Line,
        from: 0,
        log_start: 0,
        end: 0,
        runs: Vec::new(),
        next: None,
        foreign: None,
    };
    let good = [sent(0, 0, 1), acked(0, 0, 0), early];
    check(Rule::NothingLost, &good, |events| events[2] = seen(0, 0, &[]));
}

#[test]
fn what_nobody_heard_of_may_be_gone() {
    assert_eq!(broken(&[sent(0, 0, 2), Event::Killed, Event::Booted, recovered(PLACE, 0, 0)]), []);
}

#[test]
fn a_power_cut_may_take_what_write_caching_had_not_synced() {
    let good = [
        sent(2, 0, 2),
        acked(2, 0, 0),
        Event::Stopped,
        Event::Booted,
        recovered(CACHED, 0, 2),
        sent(2, 2, 2),
        acked(2, 2, 2),
        Event::PowerCut,
        Event::Booted,
        recovered(CACHED, 0, 3),
        // The third record is there, the fourth was lost, and offset 3 is given anew.
        seen_at(CACHED, 0, 3, 0, &[run(0, 2, 0, 3)]),
        sent(3, 0, 1),
        acked(3, 0, 3),
    ];
    check(Rule::NothingLost, &good, |events| events[7] = Event::Killed);
    // What an earlier recovery found was synced by it.
    let bad_end = |events: &mut Vec<Event>| {
        events.truncate(9);
        events.push(recovered(CACHED, 0, 1));
    };
    check(Rule::NothingLost, &good, bad_end);
    // What is left must be what it was.
    let changed = |events: &mut Vec<Event>| events[10] = seen_at(CACHED, 0, 3, 0, &[run(0, 2, 0, 2), run(2, 2, 3, 1)]);
    check(Rule::ContentStays, &good, changed);
}

#[test]
fn a_failing_sync_may_take_the_watermark_of_write_caching_back_while_an_answer_is_made() {
    let seen_behind = |place, producer| seen_at(place, 0, 0, 0, &[run(0, producer, 0, 2)]);
    let good = [Event::Faults { on: true }, sent(2, 0, 2), sent(0, 0, 2), seen_behind(CACHED, 2)];
    check(Rule::Readable, &good, |events| events[3] = seen_behind(PLACE, 0));
    check(Rule::Readable, &good, |events| events[0] = Event::Faults { on: false });
}

#[test]
fn a_clean_stop_takes_nothing_of_write_caching() {
    let good = [sent(2, 0, 2), acked(2, 0, 0), Event::Stopped, Event::Booted, recovered(CACHED, 0, 2)];
    check(Rule::NothingLost, &good, |events| events[4] = recovered(CACHED, 0, 1));
}

#[test]
fn a_lying_disk_may_lose_and_not_invent() {
    let good = [
        sent(0, 0, 3),
        acked(0, 0, 0),
        Event::LyingCut,
        Event::Booted,
        recovered(PLACE, 0, 1),
        seen(1, 0, &[run(0, 0, 0, 1)]),
    ];
    check(Rule::NothingLost, &good, |events| events[2] = Event::PowerCut);
    let invented = seen(2, 0, &[run(0, 0, 0, 1), run(1, 1, 0, 1)]);
    check(Rule::NothingForeign, &good, |events| events[5] = invented);
    check(Rule::ContentStays, &good, |events| events[5] = seen(1, 0, &[run(0, 0, 1, 1)]));
}

#[test]
fn an_offset_keeps_its_content() {
    let good =
        [sent(0, 0, 2), sent(1, 0, 2), acked(0, 0, 0), acked(1, 0, 2), seen(4, 0, &[run(0, 0, 0, 2), run(2, 1, 0, 2)])];
    check(Rule::ContentStays, &good, |events| events[3] = acked(1, 0, 1));
    check(Rule::ContentStays, &good, |events| events[4] = seen(4, 0, &[run(0, 0, 0, 2), run(2, 1, 1, 1)]));
}

#[test]
fn nothing_is_there_twice() {
    let good = [sent(0, 0, 2), acked(0, 0, 0), seen(2, 0, &[run(0, 0, 0, 2)])];
    check(Rule::NoDuplicate, &good, |events| events[2] = seen(3, 0, &[run(0, 0, 0, 2), run(2, 0, 1, 1)]));
    // A repeat is answered with the place of the first.
    let repeated = [sent(0, 0, 2), acked(0, 0, 0), sent(0, 0, 2), acked(0, 0, 0)];
    check(Rule::NoDuplicate, &repeated, |events| events[3] = acked(0, 0, 2));
    assert_eq!(broken(&[sent(0, 0, 1), Event::Acked { producer: 0, first: 0, offset: None }]), []);
}

#[test]
fn an_idempotent_producer_has_no_gap() {
    let good =
        [sent(0, 0, 1), sent(0, 1, 1), sent(0, 2, 1), seen(3, 0, &[run(0, 0, 0, 3)]), Event::Killed, Event::Booted];
    check(Rule::NoGap, &good, |events| events[3] = seen(2, 0, &[run(0, 0, 0, 1), run(1, 0, 2, 1)]));
    check(Rule::NoGap, &good, |events| events[3] = seen(1, 0, &[run(0, 0, 1, 1)]));
    // A reading that began later does not know what came before, and what follows on it must.
    let later =
        [sent(0, 0, 1), sent(0, 1, 1), sent(0, 2, 1), seen(3, 1, &[run(1, 0, 1, 1)]), seen(3, 2, &[run(2, 0, 2, 1)])];
    assert_eq!(broken(&later), []);
    // A plain one, which sends nothing twice, may have one.
    let plain = [sent(1, 0, 1), sent(1, 1, 1), seen(1, 0, &[run(0, 1, 1, 1)])];
    assert_eq!(broken(&plain), []);
}

#[test]
fn a_batch_that_follows_what_was_acknowledged_is_in_sequence() {
    let good = [sent(0, 0, 1), sent(0, 1, 1), refused(0, 0, 56), refused(0, 1, 45)];
    check(Rule::NoGap, &good, |events| events[2] = acked(0, 0, 0));
}

#[test]
fn a_start_from_a_failing_disk_may_not_know_its_producers_and_none_later() {
    let (on, off) = (Event::Faults { on: true }, Event::Faults { on: false });
    let step = [sent(0, 1, 1), refused(0, 1, 45)];
    let good = [&[sent(0, 0, 1), acked(0, 0, 0), Event::Killed, on.clone(), off, Event::Booted], &step[..]].concat();
    check(Rule::NoGap, &good, |events| events.swap(3, 5));
    check(Rule::NoGap, &good, |events| events.splice(6..6, [Event::Killed, Event::Booted]).for_each(drop));
    check(Rule::NoGap, &good, |events| events.splice(2..6, [on]).for_each(drop));
}

#[test]
fn what_a_failing_disk_does_not_give_is_missed_in_this_life_only() {
    let faults = |on| Event::Faults { on };
    let read_refused = Event::ReadRefused { place: PLACE, asked: LATER, from: 0, code: 2 };
    let good = [sent(0, 0, 2), acked(0, 0, 0), Event::PowerCut, faults(true), Event::Booted, read_refused, whole(0, 2)];
    check(Rule::Readable, &good, |events| events[3] = faults(false));
    check(Rule::Readable, &good, |events| drop(events.remove(5)));
    check(Rule::Readable, &good, |events| events.splice(6..6, [faults(false), Event::Booted]).for_each(drop));
}

#[test]
fn a_producers_records_keep_their_order() {
    let good = [sent(1, 0, 1), sent(1, 1, 1), acked(1, 1, 1), acked(1, 0, 0)];
    check(Rule::InOrder, &good, |events| events[3] = acked(1, 0, 2));
}

#[test]
fn what_was_refused_for_good_is_not_there() {
    let message_too_large = 10;
    let good = [sent(1, 0, 1), refused(1, 0, 56), seen(1, 0, &[run(0, 1, 0, 1)])];
    check(Rule::RefusedIsAbsent, &good, |events| events[1] = refused(1, 0, message_too_large));
    let order = [sent(1, 0, 1), seen(1, 0, &[run(0, 1, 0, 1)]), refused(1, 0, 7)];
    check(Rule::RefusedIsAbsent, &order, |events| events[2] = refused(1, 0, message_too_large));
    // It was sent twice, and only one was refused for good.
    let twice = [sent(0, 0, 1), sent(0, 0, 1), refused(0, 0, message_too_large), seen(1, 0, &[run(0, 0, 0, 1)])];
    check(Rule::RefusedIsAbsent, &twice, |events| drop(events.remove(1)));
}

#[test]
fn only_what_was_made_is_there() {
    let good = [sent(0, 0, 1), sent(1, 0, 1), sent(2, 0, 1), seen(2, 0, &[run(0, 0, 0, 1), run(1, 1, 0, 1)])];
    check(Rule::NothingForeign, &good, |events| drop(events.remove(1)));
    check(Rule::NothingForeign, &good, |events| events[3] = seen(2, 0, &[run(0, 0, 0, 1), run(1, 2, 0, 1)]));
    check(Rule::NothingForeign, &good, |events| {
        let Event::Seen { foreign, .. } = &mut events[3] else { unreachable!("it is") };
        *foreign = Some(Foreign { offset: 2, words: "bytes".to_owned() });
    });
}

#[test]
fn every_offset_can_be_read_and_none_behind_the_end() {
    let good =
        [sent(1, 0, 2), sent(1, 2, 1), seen(3, 0, &[run(0, 1, 0, 2)]), seen(3, 2, &[run(2, 1, 2, 1)]), whole(0, 3)];
    check(Rule::Readable, &good, |events| drop(events.remove(3)));
    check(Rule::Readable, &good, |events| events[2] = seen(1, 0, &[run(0, 1, 0, 2)]));
    check(Rule::Readable, &good, |events| events[3] = seen(4, 2, &[run(3, 1, 2, 1)]));
}

#[test]
fn a_fetch_of_what_was_promised_is_not_refused() {
    let read_refused = |from, code| Event::ReadRefused { place: PLACE, asked: LATER, from, code };
    let good = [sent(0, 0, 2), acked(0, 0, 0), read_refused(3, 1)];
    check(Rule::Readable, &good, |events| events[2] = read_refused(2, 1));
    check(Rule::Readable, &good, |events| events[2] = read_refused(0, 56));
    check(Rule::Readable, &good, |events| events[2] = read_refused(0, 3));
    assert_eq!(
        broken(&[Event::Faults { on: true }, read_refused(0, 2), Event::Faults { on: false }, read_refused(0, 2)]),
        []
    );
    assert_eq!(
        broken(&[
            sent(0, 0, 1),
            Event::Faults { on: true },
            Event::Faults { on: false },
            Event::Booted,
            read_refused(0, 2)
        ]),
        [Rule::Readable]
    );
}

#[test]
fn the_log_start_rises_as_far_as_it_was_asked_to() {
    let good = [
        sent(0, 0, 4),
        acked(0, 0, 0),
        Event::TrimSent { place: PLACE, before: 2 },
        Event::Trimmed { place: PLACE, log_start: 2 },
        Event::PowerCut,
        Event::Booted,
        recovered(PLACE, 2, 4),
        seen_at(PLACE, 2, 4, 2, &[run(2, 0, 2, 2)]),
    ];
    check(Rule::LogStart, &good, |events| events[6] = recovered(PLACE, 1, 4));
    check(Rule::LogStart, &good, |events| events[6] = recovered(PLACE, 3, 4));
    check(Rule::LogStart, &good, |events| events[3] = Event::Trimmed { place: PLACE, log_start: 3 });
}

#[test]
fn retention_leaves_what_it_must() {
    let good = [sent(4, 0, 9), acked(4, 0, 0), recovered(SHORT, 6, 9)];
    check(Rule::LogStart, &good, |events| events[2] = recovered(SHORT, 7, 9));
}

#[test]
fn deleted_topics_stay_away_and_others_stay() {
    let found = |topic| Event::TopicFound { topic, asked: LATER };
    let absent = |topic| Event::TopicAbsent { topic, asked: LATER };
    let drop_sent = Event::TopicDropSent { topic: 0 };
    let dropped = Event::TopicDropped { topic: 0 };
    let good = [drop_sent.clone(), found(0), dropped.clone(), Event::Killed, absent(0), found(1)];
    check(Rule::Topics, &good, |events| events[4] = found(0));
    check(Rule::Topics, &good, |events| events[5] = absent(1));
    let gone = [sent(0, 0, 1), acked(0, 0, 0), drop_sent, seen(0, 0, &[])];
    check(Rule::Topics, &gone, |events| events.insert(3, dropped));
}

#[test]
fn a_history_keeps_to_its_own_rules() {
    let good = [sent(1, 0, 2), acked(1, 0, 0), sent(1, 2, 1)];
    check(Rule::BadHistory, &good, |events| drop(events.remove(0)));
    check(Rule::BadHistory, &good, |events| events[2] = sent(1, 3, 1));
    check(Rule::BadHistory, &good, |events| events[2] = sent(1, 0, 2));
    check(Rule::BadHistory, &good, |events| events[2] = opening()[0].clone());
    check(Rule::BadHistory, &good, |events| events[2] = sent(9, 0, 1));
}

#[test]
fn a_violation_says_what_was_promised_when_and_what_was_found() {
    let events = [sent(0, 0, 2), acked(0, 0, 0), Event::Killed, Event::Booted, recovered(PLACE, 0, 1)];
    let judged = judge(&events);
    let expected = "line 18, NothingLost: t0-0 offset 1 was acknowledged as record 1 of producer 0 in line 15, and is gone: \
                    the log ends at 1, and its end was promised to be 2 in line 15";
    assert_eq!(judged.violations()[0].to_string(), expected);
}
