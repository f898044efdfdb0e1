//! Regular expressions of many groups when topics change: how much one step matches, and that all groups learn of it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::beating;
use crate::consumer::REGEX_STEP_PAIRS_MAX;
use crate::record::{ConsumerPart, Record};
use crate::request::{ConsumerHeartbeat, Request};
use crate::{Effects, Now, Random, Settings, Shard, Ticket, TopicId, Topics};

const GROUPS: usize = 20;
const EXPRESSIONS: usize = 10;
const TOPICS: usize = 2_000;
/// Each half of a group's expressions: the first are those of every group, the others its own.
const DIFFERENT: usize = EXPRESSIONS / 2 + GROUPS * EXPRESSIONS / 2;

/// Counts the names that it was asked for: each is matched with one expression.
struct Counting {
    names: Vec<String>,
    told: Cell<usize>,
}

impl Topics for Counting {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        self.names.iter().any(|each| each == name).then_some(([1; 16], 1))
    }
    fn name(&self, _: &TopicId) -> Option<&str> {
        None
    }
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.names.iter().map(String::as_str).inspect(|_| self.told.set(self.told.get() + 1)))
    }
}

struct Many {
    shard: Shard,
    topics: Counting,
    now_ms: u64,
    /// Of the steps since the last change of topics: how many names each matched.
    steps: Vec<usize>,
    /// Groups and their expressions that mean the newest topic, as the records tell.
    know: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Many {
    fn new() -> Many {
        let shard = Shard::new(Arc::new(Settings::default()), Random::new(1));
        let names = (0..TOPICS).map(|at| format!("other-{at}")).collect();
        let topics = Counting { names, told: Cell::new(0) };
        let mut many = Many { shard, topics, now_ms: 10_000, steps: Vec::new(), know: BTreeSet::new() };
        for (group, at) in (0..GROUPS).flat_map(|group| (0..EXPRESSIONS).map(move |at| (group, at))) {
            let owner = if at < EXPRESSIONS / 2 { "all".to_owned() } else { group.to_string() };
            let request = ConsumerHeartbeat {
                group: format!("g{group}").into(),
                member_id: format!("m{at}").into(),
                subscribed_topic_names: None,
                subscribed_topic_regex: Some(format!("(of-{owner}-{at})?new-.*").into()),
                ..beating(0)
            };
            many.step(|shard, now, topics| shard.handle(now, topics, Ticket(0), Request::ConsumerHeartbeat(request)));
        }
        many
    }

    fn step(&mut self, act: impl FnOnce(&mut Shard, Now, &dyn Topics) -> Effects) {
        let now = Now { monotonic_ms: self.now_ms, wall_ms: 1 };
        self.topics.told.set(0);
        let effects = act(&mut self.shard, now, &self.topics);
        self.steps.push(self.topics.told.get());
        let newest = self.topics.names.last().expect("there are some");
        for record in effects.records {
            if let Record::Consumer { group, part: ConsumerPart::Regex { regex, value: Some(value) } } = record
                && value.topics.iter().any(|topic| **topic == **newest)
            {
                self.know.insert((group, regex));
            }
        }
    }

    fn add_topic(&mut self, name: &str) {
        self.topics.names.push(name.to_owned());
        self.know.clear();
        self.steps.clear();
        self.step(Shard::on_topics_changed);
    }

    /// Lets less time pass than members may be silent, a deadline at a time.
    fn pass(&mut self, millis: u64) {
        let until = self.now_ms + millis;
        while let Some(at_ms) = self.shard.next_deadline_ms().filter(|at_ms| *at_ms <= until) {
            self.now_ms = self.now_ms.max(at_ms);
            self.step(Shard::on_time);
        }
        self.now_ms = until;
    }
}

#[test]
fn a_step_matches_a_bounded_number_of_names_and_all_groups_learn_of_a_topic() {
    let mut many = Many::new();
    many.add_topic("new-1");
    many.pass(5_000);
    assert_eq!(many.know.len(), GROUPS * EXPRESSIONS);
    let most = many.steps.iter().max().unwrap();
    assert!(*most <= REGEX_STEP_PAIRS_MAX + many.topics.names.len(), "a step matched {most} names");
    let all: usize = many.steps.iter().sum();
    assert_eq!(all, DIFFERENT * many.topics.names.len(), "the same expression is matched once for all groups");
}

#[test]
fn a_topic_that_comes_while_others_are_still_matched_is_seen_by_all() {
    let mut many = Many::new();
    many.add_topic("new-1");
    many.pass(5);
    assert!(!many.know.is_empty() && many.know.len() < GROUPS * EXPRESSIONS, "{} know it already", many.know.len());
    many.add_topic("new-2");
    many.pass(10_000);
    assert_eq!(many.know.len(), GROUPS * EXPRESSIONS);
}
