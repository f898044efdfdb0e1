//! The rules of consumer groups, on histories made by hand.

use super::{LATER, PLACE, broken, check};
use crate::event::{Event, Line, Place};
use crate::judge::Rule;

const NEXT: Place = Place { topic: 0, partition: 1 };

/// A group of the classic protocol.
const CLASSIC: &str = "c";
/// One of the consumer protocol.
const CONSUMER: &str = "n";

/// Both groups, then what happens.
fn with(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let group = |name: &str, is_consumer| Event::Group { group: name.to_owned(), is_consumer };
    [group(CLASSIC, false), group(CONSUMER, true)].into_iter().chain(events).collect()
}

/// The line that the event at this index of [`with`]'s list will have.
fn line_of(index: usize) -> Line {
    (super::opening().len() + 1 + index) as Line
}

fn assigned(group: &str, member: &str, generation: i32, places: &[Place]) -> Event {
    Event::Assigned { group: group.to_owned(), member: member.to_owned(), generation, places: places.to_vec() }
}

fn gave_up(member: &str, places: &[Place]) -> Event {
    Event::GaveUp { group: CONSUMER.to_owned(), member: member.to_owned(), places: places.to_vec() }
}

fn out(member: &str, told: bool) -> Event {
    Event::MemberOut { group: CONSUMER.to_owned(), member: member.to_owned(), told }
}

fn sent_by(group: &str, member: &str, generation: i32, commit: u64, offset: i64) -> Event {
    let (group, member) = (group.to_owned(), Some(member.to_owned()));
    Event::CommitSent { group, member, generation, commit, place: PLACE, offset }
}

fn sent(commit: u64, offset: i64) -> Event {
    sent_by(CLASSIC, "a", 1, commit, offset)
}

fn taken(group: &str, commit: u64) -> Event {
    Event::Committed { group: group.to_owned(), commit, place: PLACE }
}

fn committed(commit: u64) -> Event {
    taken(CLASSIC, commit)
}

fn refused(commit: u64, code: i16) -> Event {
    Event::CommitRefused { group: CLASSIC.to_owned(), commit, place: PLACE, code }
}

fn found_when(asked: Line, commit: u64, offset: i64) -> Event {
    let (commit, offset) = (Some(commit), Some(offset));
    Event::CommitFound { group: CLASSIC.to_owned(), place: PLACE, asked, offset, commit }
}

fn found(commit: u64, offset: i64) -> Event {
    found_when(LATER, commit, offset)
}

fn nothing_found() -> Event {
    Event::CommitFound { group: CLASSIC.to_owned(), place: PLACE, asked: LATER, offset: None, commit: None }
}

#[test]
fn committed_offsets_never_go_back() {
    let good = with([
        sent(1, 3),
        committed(1),
        // Nobody hears of this one, so either may be found.
        sent(2, 5),
        found(1, 3),
        Event::PowerCut,
        Event::Booted,
        found(2, 5),
        found(2, 5),
    ]);
    let at_last = good.len() - 1;
    check(Rule::GroupOffsets, &good, |events| events[at_last] = found(1, 3));
    check(Rule::GroupOffsets, &good, |events| events[at_last] = nothing_found());
    check(Rule::GroupOffsets, &good, |events| events[at_last] = found(2, 6));
    check(Rule::GroupOffsets, &good, |events| events[at_last] = found(3, 5));
    check(Rule::GroupOffsets, &good, |events| events[5] = nothing_found());
    // It was acknowledged, so the one before it is passed.
    check(Rule::GroupOffsets, &good, |events| events.insert(5, committed(2)));
    assert_eq!(broken(&with([nothing_found(), sent(1, 3), nothing_found(), committed(1)])), []);
}

#[test]
fn a_lookup_that_was_asked_before_the_answer_may_show_what_was_before() {
    let good = with([sent(1, 3), committed(1), sent(2, 5), committed(2), found_when(line_of(4), 1, 3)]);
    let at_last = good.len() - 1;
    check(Rule::GroupOffsets, &good, |events| events[at_last] = found_when(line_of(7), 1, 3));
}

#[test]
fn a_commit_that_nobody_answered_may_overtake_until_the_broker_is_gone() {
    // The first is open while the second is acknowledged, and may be carried out after it.
    let good = with([sent(1, 3), sent(2, 5), committed(2), found(1, 3)]);
    check(Rule::GroupOffsets, &good, |events| events.splice(3..3, [Event::Killed, Event::Booted]).for_each(drop));
}

#[test]
fn a_commit_that_was_refused_never_shows_unless_the_code_leaves_it_open() {
    let not_available = 15;
    let illegal_generation = 22;
    let good = with([sent(1, 3), committed(1), sent(2, 5), refused(2, not_available), found(2, 5)]);
    check(Rule::GroupOffsets, &good, |events| events[5] = refused(2, illegal_generation));
    let order = with([sent(1, 3), found(1, 3), refused(1, not_available)]);
    check(Rule::GroupOffsets, &order, |events| events[4] = refused(1, illegal_generation));
}

#[test]
fn a_lying_disk_may_take_commits_back() {
    let good = with([sent(1, 3), committed(1), sent(2, 5), committed(2), Event::LyingCut, Event::Booted, found(1, 3)]);
    check(Rule::GroupOffsets, &good, |events| events[6] = Event::PowerCut);
}

#[test]
fn a_partition_has_one_owner_in_a_generation() {
    let good = with([
        assigned(CLASSIC, "a", 1, &[PLACE]),
        assigned(CLASSIC, "b", 1, &[NEXT]),
        assigned(CLASSIC, "b", 2, &[PLACE, NEXT]),
        // This answer was long on its way.
        assigned(CLASSIC, "a", 1, &[PLACE]),
        assigned(CLASSIC, "a", 2, &[]),
    ]);
    check(Rule::OneOwner, &good, |events| events[3] = assigned(CLASSIC, "b", 1, &[PLACE]));
    check(Rule::OneOwner, &good, |events| events[6] = assigned(CLASSIC, "a", 2, &[PLACE]));
    check(Rule::OneOwner, &good, |events| events[3] = assigned(CLASSIC, "b", 1, &[NEXT, NEXT]));
}

#[test]
fn a_partition_has_one_owner_at_a_time_where_it_is_handed_over() {
    let good = with([
        assigned(CONSUMER, "a", 1, &[PLACE, NEXT]),
        // What it was not given again is its own until it has given it up.
        assigned(CONSUMER, "a", 1, &[PLACE]),
        gave_up("a", &[NEXT]),
        assigned(CONSUMER, "b", 2, &[NEXT]),
        out("a", false),
        assigned(CONSUMER, "b", 3, &[PLACE, NEXT]),
    ]);
    check(Rule::OneOwner, &good, |events| drop(events.remove(4)));
    check(Rule::OneOwner, &good, |events| drop(events.remove(6)));
    check(Rule::OneOwner, &good, |events| events[4] = gave_up("b", &[NEXT]));
}

#[test]
fn no_commit_of_an_old_generation_is_taken() {
    let good = with([
        assigned(CLASSIC, "a", 1, &[PLACE]),
        sent(1, 3),
        assigned(CLASSIC, "b", 2, &[PLACE]),
        // It was under way before anybody heard of the next generation.
        committed(1),
        sent_by(CLASSIC, "b", 2, 2, 4),
        committed(2),
    ]);
    check(Rule::OldGeneration, &good, |events| events[6] = sent_by(CLASSIC, "a", 1, 2, 4));
    check(Rule::OldGeneration, &good, |events| events.swap(3, 4));
}

#[test]
fn no_commit_of_an_old_epoch_is_taken_nor_of_a_member_that_is_out() {
    let good = with([
        assigned(CONSUMER, "a", 1, &[PLACE]),
        assigned(CONSUMER, "b", 2, &[NEXT]),
        // Each member has an epoch of its own.
        sent_by(CONSUMER, "a", 1, 1, 3),
        taken(CONSUMER, 1),
        out("a", true),
        assigned(CONSUMER, "a", 3, &[PLACE]),
        sent_by(CONSUMER, "a", 3, 2, 4),
        taken(CONSUMER, 2),
    ]);
    check(Rule::OldGeneration, &good, |events| events[8] = sent_by(CONSUMER, "a", 2, 2, 4));
    check(Rule::OldGeneration, &good, |events| drop(events.remove(7)));
    // Only its session may be over: then it may still be in.
    let maybe =
        with([assigned(CONSUMER, "a", 1, &[]), out("a", false), sent_by(CONSUMER, "a", 1, 1, 3), taken(CONSUMER, 1)]);
    check(Rule::OldGeneration, &maybe, |events| events[3] = out("a", true));
    // Who has joined again is in, also if it takes nothing for its own.
    let again = with([
        assigned(CONSUMER, "a", 1, &[PLACE]),
        out("a", true),
        assigned(CONSUMER, "a", 2, &[]),
        out("a", false),
        sent_by(CONSUMER, "a", 2, 1, 3),
        taken(CONSUMER, 1),
    ]);
    check(Rule::OldGeneration, &again, |events| drop(events.remove(4)));
}

#[test]
fn a_history_of_groups_keeps_to_its_own_rules() {
    let good = with([sent(1, 3), committed(1), sent(2, 4)]);
    check(Rule::BadHistory, &good, |events| drop(events.remove(0)));
    check(Rule::BadHistory, &good, |events| events[4] = sent(1, 4));
    check(Rule::BadHistory, &good, |events| events[3] = committed(2));
    check(Rule::BadHistory, &good, |events| events[1] = events[0].clone());
}
