//! What surrounds a shard: a log that becomes durable a step at a time, answers that wait for it, crashes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::record::Record;
use ringmill_groups::request::Request;
use ringmill_groups::{Effects, Now, Random, Settings, Shard, Ticket, TopicId, Topics};

struct OneTopic;

impl Topics for OneTopic {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        (name == "t").then_some(([1; 16], super::PARTITIONS))
    }
    fn name(&self, _: &TopicId) -> Option<&str> {
        Some("t")
    }
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(["t"].into_iter())
    }
}

/// A broker with one shard.
pub(crate) struct Broker {
    shard: Shard,
    lives: u64,
    seed: u64,
    now_ms: u64,
    tickets: u64,
    /// What is durable, as bytes are read back.
    log: Vec<Record>,
    held: VecDeque<Effects>,
    answers: BTreeMap<Ticket, Answer>,
}

impl Broker {
    pub(crate) fn new(seed: u64) -> Broker {
        let shard = Shard::new(Arc::default(), Random::new(seed));
        let mut broker = Broker {
            shard,
            lives: 0,
            seed,
            now_ms: 0,
            tickets: 0,
            log: Vec::new(),
            held: VecDeque::new(),
            answers: BTreeMap::new(),
        };
        broker.start();
        broker
    }

    fn start(&mut self) {
        self.lives += 1;
        self.shard = Shard::new(Arc::new(Settings::default()), Random::new(self.seed ^ (self.lives << 40)));
        for record in &self.log {
            let read = Record::read(&record.key(), record.value().as_deref()).unwrap().unwrap();
            assert_eq!(read, *record);
            self.shard.replay(&read);
        }
        let effects = self.shard.start(self.now(), &OneTopic);
        self.leave(effects);
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall_ms: i64::try_from(self.now_ms).unwrap() }
    }

    fn leave(&mut self, effects: Effects) {
        self.held.push_back(effects);
        // Without records in front of it an answer need not wait.
        while self.held.front().is_some_and(|front| front.records.is_empty()) {
            self.flush_one();
        }
    }

    pub(crate) fn ask(&mut self, request: Request) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        let effects = self.shard.handle(self.now(), &OneTopic, ticket, request);
        self.leave(effects);
        ticket
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        let until = self.now_ms + millis;
        while let Some(next_ms) = self.shard.next_deadline_ms().filter(|next_ms| *next_ms <= until) {
            self.now_ms = self.now_ms.max(next_ms);
            let effects = self.shard.on_time(self.now(), &OneTopic);
            self.leave(effects);
        }
        self.now_ms = until;
    }

    /// The oldest step that is not durable becomes so, and its answers go.
    pub(crate) fn flush_one(&mut self) {
        let Some(effects) = self.held.pop_front() else { return };
        self.log.extend(effects.records);
        for (ticket, answer) in effects.answers {
            assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} was answered twice");
        }
        while self.held.front().is_some_and(|front| front.records.is_empty()) {
            self.flush_one();
        }
    }

    pub(crate) fn flush_all(&mut self) {
        while !self.held.is_empty() {
            self.flush_one();
        }
    }

    /// What was not durable is gone, and so is everybody's connection. Gives the steps that were lost.
    pub(crate) fn crash(&mut self) -> usize {
        let lost = self.held.len();
        self.held.clear();
        self.answers.clear();
        self.start();
        lost
    }

    pub(crate) fn has_answered(&self, ticket: Ticket) -> bool {
        self.answers.contains_key(&ticket)
    }

    pub(crate) fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }
}
