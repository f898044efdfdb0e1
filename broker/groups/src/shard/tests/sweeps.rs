//! What all groups are looked at for: a step leaves the rest for the next, others have their turn between, and nobody is left out.

use std::cell::Cell;

use super::*;
use crate::record::ConsumerPart;
use crate::shard::LOOKS_PER_STEP_MAX;

const WEEK_MS: u64 = 7 * 24 * 3_600_000;

impl Bench {
    /// Steps until nothing is due any more, some milliseconds each: how many records each left.
    fn steps_that_follow(&mut self) -> Vec<usize> {
        let mut steps = Vec::new();
        while let Some(at_ms) = self.shard.next_deadline_ms().filter(|at_ms| *at_ms <= self.now_ms + 5) {
            assert!(at_ms > self.now_ms, "a step is due in the past");
            self.now_ms = at_ms;
            steps.push(self.step(Shard::on_time));
        }
        steps
    }

    fn step(&mut self, act: impl FnOnce(&mut Shard, Now, &dyn Topics) -> Effects) -> usize {
        let now = self.now();
        let effects = act(&mut self.shard, now, &NoTopics);
        let records = effects.records.len();
        self.note(effects);
        records
    }
}

/// Expiry looked at all groups in one step: nothing else on the core had its turn meanwhile, and no member's deadline was kept.
#[test]
fn a_step_expires_a_bounded_number_of_groups_and_all_have_expired_at_the_end() {
    let count = 2 * LOOKS_PER_STEP_MAX;
    let mut bench = Bench::new();
    bench.pass(1);
    for number in 0..count {
        bench.commit_as(&format!("g{number:06}"));
    }
    bench.now_ms += WEEK_MS;
    let first = bench.step(Shard::on_time);
    let left = bench.shard.group_count();
    // A group is a look, its offset another; an offset and its group leave a record each.
    assert!(
        (1..=LOOKS_PER_STEP_MAX).contains(&first) && left >= count - LOOKS_PER_STEP_MAX,
        "{first} records, {left} groups"
    );
    assert_eq!(bench.shard.next_deadline_ms(), Some(bench.now_ms + 1), "the rest is due at once");

    // One that is used meanwhile stays, whether expiry has passed its place or not.
    bench.commit_as("a");
    bench.commit_as(&format!("g{:06}", count - 1));
    let steps = bench.steps_that_follow();
    assert!(steps.len() >= 3 && steps.iter().all(|records| *records <= LOOKS_PER_STEP_MAX), "{steps:?}");
    assert_eq!(bench.shard.group_count(), 2);
    assert_eq!(bench.reloaded().shard.group_count(), 2);
}

/// The offsets of a single group may fill the memory of its shard.
#[test]
fn a_step_forgets_a_bounded_number_of_offsets_of_one_group() {
    let count = 3 * LOOKS_PER_STEP_MAX;
    let mut bench = Bench::new();
    bench.pass(1);
    for partition in 0..i32::try_from(count).unwrap() {
        assert_eq!(bench.commit_of("", -1, commit("gone", partition)), Ok(()));
    }
    assert_eq!(bench.commit_of("", -1, commit("t", 0)), Ok(()));
    let first = bench.step(Shard::on_topics_deleted);
    assert_eq!(first, LOOKS_PER_STEP_MAX, "as many offsets as a step may look at");
    assert_eq!(bench.commit_of("", -1, commit("t", 0)), Ok(()), "a request has its turn");
    let steps = bench.steps_that_follow();
    assert!(steps.iter().all(|records| *records <= LOOKS_PER_STEP_MAX), "{steps:?}");
    assert_eq!(first + steps.iter().sum::<usize>(), count);
    let kept = |bench: &mut Bench| (bench.committed("gone"), bench.committed("t").is_some());
    assert_eq!((kept(&mut bench), kept(&mut bench.reloaded())), ((None, true), (None, true)));
}

/// A topic that is deleted while an earlier deletion is still worked on: its offsets may stand where that has passed already.
#[test]
fn offsets_of_a_topic_that_is_deleted_amid_a_sweep_are_forgotten_too() {
    let mut bench = Bench::new();
    bench.pass(1);
    for partition in 0..i32::try_from(2 * LOOKS_PER_STEP_MAX).unwrap() {
        assert_eq!(bench.commit_of("", -1, commit("t", partition)), Ok(()));
    }
    assert_eq!(bench.step(Shard::on_topics_deleted), 0);
    assert_eq!(bench.commit_of("", -1, commit("gone", 0)), Ok(()), "it comes where the sweep has been");
    assert_eq!(bench.step(Shard::on_topics_deleted), 0, "the sweep goes on first");
    assert_eq!(bench.steps_that_follow().iter().sum::<usize>(), 1);
    assert_eq!(bench.committed("gone"), None);
}

/// One topic whose partitions grow. Counts how often it was looked for.
struct Growing {
    partitions: i32,
    found: Cell<usize>,
}

impl Topics for Growing {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        self.found.set(self.found.get() + 1);
        (name == "t").then_some(([1; 16], self.partitions))
    }
    fn name(&self, id: &TopicId) -> Option<&str> {
        (*id == [1; 16]).then_some("t")
    }
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::once("t"))
    }
}

/// Groups whose members name their topics were all looked at in the step that took a change of topics.
#[test]
fn a_step_tells_a_bounded_number_of_groups_of_topics_and_all_share_anew_at_the_end() {
    let count = LOOKS_PER_STEP_MAX;
    let mut bench = Bench::new();
    let mut topics = Growing { partitions: 1, found: Cell::new(0) };
    for number in 0..count {
        let request =
            Request::ConsumerHeartbeat(ConsumerHeartbeat { group: format!("g{number}").into(), ..beating(0) });
        let effects = bench.shard.handle(bench.now(), &topics, Ticket(0), request);
        assert!(matches!(effects.answers[..], [(_, Answer::ConsumerHeartbeat(Ok(_)))]), "{effects:?}");
    }
    // How many groups a step looked for topics of, and those that were told.
    let mut told = 0;
    let mut step = |bench: &mut Bench, topics: &Growing, act: fn(&mut Shard, Now, &dyn Topics) -> Effects| {
        topics.found.set(0);
        let now = bench.now();
        let effects = act(&mut bench.shard, now, topics);
        let is_epoch = |record: &&Record| matches!(record, Record::Consumer { part: ConsumerPart::Epoch(Some(_)), .. });
        told += effects.records.iter().filter(is_epoch).count();
        (topics.found.get(), told)
    };
    topics.partitions = 2;
    let (looked, first) = step(&mut bench, &topics, Shard::on_topics_changed);
    assert!((1..=count / 2).contains(&first) && looked <= LOOKS_PER_STEP_MAX, "{first} groups, {looked} looks");

    // It changes again before all know of it: those who know are told once more.
    topics.partitions = 3;
    step(&mut bench, &topics, Shard::on_topics_changed);
    let mut last = 0;
    while let Some(at_ms) = bench.shard.next_deadline_ms().filter(|at_ms| *at_ms <= bench.now_ms + 5) {
        bench.now_ms = at_ms;
        let (looked, told) = step(&mut bench, &topics, Shard::on_time);
        assert!(looked <= LOOKS_PER_STEP_MAX, "{looked} looks");
        last = told;
    }
    assert_eq!(last, count + first);
}

#[test]
fn a_step_looks_at_a_bounded_number_of_those_whose_time_has_come() {
    let count = 2 * LOOKS_PER_STEP_MAX;
    let mut bench = Bench::new();
    for number in 0..count {
        // Nobody comes back with the id.
        bench.ask(Request::Join(JoinGroup { group: format!("g{number}").into(), ..joining("", None) }));
    }
    assert_eq!(bench.shard.group_count(), count);
    bench.now_ms = bench.shard.next_deadline_ms().unwrap();
    let effects = bench.shard.on_time(bench.now(), &NoTopics);
    bench.note(effects);
    assert!((count - LOOKS_PER_STEP_MAX..count).contains(&bench.shard.group_count()), "{}", bench.shard.group_count());
    assert_eq!(bench.shard.next_deadline_ms(), Some(bench.now_ms + 1), "the others on the core have their turn");
    bench.pass(10);
    assert_eq!(bench.shard.group_count(), 0);
}
