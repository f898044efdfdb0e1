//! What a group needs around it in a test: topics, time, and a log of its records, which must always say what the group is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ConsumerGroup, Tables};
use crate::context::{Context, Effects, Now};
use crate::record::{ConsumerPart, Record};
use crate::{Random, Settings, TopicId, Topics};

/// Topics that a test makes.
#[derive(Debug, Default)]
pub(super) struct TestTopics {
    names: BTreeMap<String, (TopicId, i32)>,
    ids: BTreeMap<TopicId, String>,
    made: u8,
}

impl TestTopics {
    /// Makes or grows one; none at all with 0 partitions.
    pub(super) fn set(&mut self, name: &str, partitions: i32) {
        if partitions == 0 {
            self.names.remove(name).map(|(id, _)| self.ids.remove(&id));
        } else if let Some((_, known)) = self.names.get_mut(name) {
            *known = partitions;
        } else {
            self.made += 1;
            self.names.insert(name.to_owned(), ([self.made; 16], partitions));
            self.ids.insert([self.made; 16], name.to_owned());
        }
    }
}

impl Topics for TestTopics {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        self.names.get(name).copied()
    }

    fn name(&self, id: &TopicId) -> Option<&str> {
        self.ids.get(id).map(String::as_str)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.names.keys().map(String::as_str))
    }
}

/// A group and all that it left behind.
pub(super) struct World {
    pub(super) group: ConsumerGroup,
    pub(super) settings: Settings,
    pub(super) topics: TestTopics,
    pub(super) now_ms: u64,
    pub(super) log: Vec<ConsumerPart>,
    random: Random,
    /// Knows of the group by its records alone.
    shadow: ConsumerGroup,
}

impl World {
    pub(super) fn new() -> World {
        World {
            group: ConsumerGroup::new(Arc::from("g")),
            settings: Settings::default(),
            topics: TestTopics::default(),
            now_ms: 1_000_000,
            log: Vec::new(),
            random: Random::new(1),
            shadow: ConsumerGroup::new(Arc::from("g")),
        }
    }

    /// One step of the group; its records must lead to the state that it leaves.
    pub(super) fn step<R>(&mut self, step: impl FnOnce(&mut ConsumerGroup, &mut Context<'_>) -> R) -> R {
        let mut effects = Effects::default();
        let now = Now { monotonic_ms: self.now_ms, wall_ms: 1_700_000_000_000 + self.now_ms.cast_signed() };
        let mut cx = Context {
            now,
            settings: &self.settings,
            topics: &self.topics,
            random: &mut self.random,
            effects: &mut effects,
        };
        let result = step(&mut self.group, &mut cx);
        for record in effects.records {
            let Record::Consumer { group, part } = record else {
                panic!("not a record of a consumer group: {record:?}")
            };
            assert_eq!(&*group, "g");
            self.shadow.apply(&part);
            self.log.push(part);
        }
        assert_eq!(self.shadow.tables, self.group.tables, "the records say something else than the group");
        result
    }

    /// Lets time pass, and tells the group whenever it wanted to be told.
    pub(super) fn pass(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some(at_ms) = self.group.next_deadline_ms().filter(|at_ms| *at_ms <= end_ms) {
            self.now_ms = self.now_ms.max(at_ms);
            self.step(ConsumerGroup::on_time);
            assert!(self.group.next_deadline_ms().is_none_or(|next_ms| next_ms > self.now_ms), "time stands still");
        }
        self.now_ms = end_ms;
    }

    /// Sets a topic, and tells the group.
    pub(super) fn set_topic(&mut self, name: &str, partitions: i32) {
        self.topics.set(name, partitions);
        self.step(ConsumerGroup::on_topics_changed);
    }

    /// A group loaded from all records, and one from the last of each key, are what the group is.
    pub(super) fn check_replay(&self) {
        assert_eq!(tables_of(self.log.iter()), self.group.tables, "replay of all records");
        let mut last = BTreeMap::new();
        for (at, part) in self.log.iter().enumerate() {
            last.insert(key(part), at);
        }
        let mut kept: Vec<usize> = last.into_values().collect();
        kept.sort_unstable();
        assert_eq!(tables_of(kept.iter().map(|at| &self.log[*at])), self.group.tables, "replay of a compacted log");
    }

    /// A start of the broker: the group is loaded from its log.
    pub(super) fn restart(&mut self) {
        self.check_replay();
        let mut loaded = ConsumerGroup::new(Arc::from("g"));
        self.log.iter().for_each(|part| loaded.apply(part));
        self.group = loaded;
        self.step(ConsumerGroup::loaded);
    }
}

fn tables_of<'a>(log: impl Iterator<Item = &'a ConsumerPart>) -> Tables {
    let mut tables = Tables::default();
    log.for_each(|part| tables.apply(part));
    tables
}

/// What compaction goes by.
fn key(part: &ConsumerPart) -> (i16, Arc<str>) {
    match part {
        ConsumerPart::Epoch(_) => (3, Arc::from("")),
        ConsumerPart::Member { member_id, .. } => (5, Arc::clone(member_id)),
        ConsumerPart::TargetEpoch(_) => (6, Arc::from("")),
        ConsumerPart::Target { member_id, .. } => (7, Arc::clone(member_id)),
        ConsumerPart::Current { member_id, .. } => (8, Arc::clone(member_id)),
        ConsumerPart::Regex { regex, .. } => (16, Arc::clone(regex)),
    }
}
