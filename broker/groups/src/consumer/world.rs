//! What a group needs around it in a test: topics, time, and a log of its records, which must always say what the group is.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::{self, ConsumerProtocolSubscription, TopicPartition};

use super::assignment::Assignment;
use super::regexes::Matching;
use super::{ConsumerGroup, Tables};
use crate::answer::{Answer, JoinRefused, Joined};
use crate::context::{Context, Effects, Now, Ticket};
use crate::record::{ConsumerPart, Record};
use crate::request::{Client, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, OfferedProtocol, SyncGroup};
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

/// A member of the classic protocol, as its requests tell of it.
pub(super) struct ClassicClient<'a> {
    pub(super) id: &'a str,
    pub(super) instance_id: Option<&'a Arc<str>>,
    pub(super) names: &'a [Arc<str>],
    pub(super) owned: &'a Assignment,
}

/// A group and all that it left behind.
pub(super) struct World {
    pub(super) group: ConsumerGroup,
    pub(super) settings: Settings,
    pub(super) topics: TestTopics,
    pub(super) now_ms: u64,
    pub(super) log: Vec<ConsumerPart>,
    /// The answer to a request of the classic protocol.
    pub(super) answer: Option<Answer>,
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
            answer: None,
            random: Random::new(1),
            shadow: ConsumerGroup::new(Arc::from("g")),
        }
    }

    /// One step of the group; its records must lead to the state that it leaves.
    pub(super) fn step<R>(&mut self, step: impl FnOnce(&mut ConsumerGroup, &mut Context<'_>) -> R) -> R {
        let mut effects = Effects::default();
        let now = Now { monotonic_ms: self.now_ms, wall_ms: 1_700_000_000_000 + self.now_ms.cast_signed() };
        let mut matching = Matching::default();
        let mut cx = Context {
            now,
            matching: &mut matching,
            settings: &self.settings,
            topics: &self.topics,
            random: &mut self.random,
            effects: &mut effects,
        };
        let result = step(&mut self.group, &mut cx);
        self.answer = effects.answers.pop().map(|(_, answer)| answer);
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

    /// A JoinGroup with one protocol; the subscription says what the member owns.
    pub(super) fn join(&mut self, member: &ClassicClient<'_>) -> Result<Joined, JoinRefused> {
        let named = |(id, partitions): (&TopicId, &Vec<i32>)| {
            Some(TopicPartition { topic: self.topics.name(id)?, partitions: partitions.clone() })
        };
        let told = ConsumerProtocolSubscription {
            topics: member.names.iter().map(|name| &**name).collect(),
            owned_partitions: member.owned.iter().filter_map(named).collect(),
            ..ConsumerProtocolSubscription::default()
        };
        let request = JoinGroup {
            group: Arc::from("g"),
            member_id: Arc::from(member.id),
            instance_id: member.instance_id.cloned(),
            client: Client { id: Arc::from("client"), host: Arc::from("/host") },
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: Arc::from("consumer"),
            protocols: vec![OfferedProtocol {
                name: Arc::from("range"),
                metadata: embedded_protocol::encode(&told, 3),
            }],
            knows_member_id_required: true,
            knows_skip_assignment: true,
        };
        self.step(|group, cx| group.join(cx, Ticket(0), &request));
        match self.answer.take() {
            Some(Answer::Join(result)) => result,
            other => panic!("not an answer to JoinGroup: {other:?}"),
        }
    }

    /// A SyncGroup.
    pub(super) fn sync(&mut self, member: &ClassicClient<'_>, generation: i32) -> Result<Assignment, ErrorCode> {
        let request = SyncGroup {
            group: Arc::from("g"),
            member_id: Arc::from(member.id),
            instance_id: member.instance_id.cloned(),
            generation,
            protocol_type: Some(Arc::from("consumer")),
            protocol_name: Some(Arc::from("range")),
            assignments: BTreeMap::new(),
        };
        self.step(|group, cx| group.sync(cx, Ticket(0), &request));
        let Some(Answer::Sync(result)) = self.answer.take() else { panic!("not an answer to SyncGroup") };
        result.map(|synced| super::embedded::assignment(&synced.assignment, &self.topics).unwrap())
    }

    /// A Heartbeat.
    pub(super) fn classic_beat(&mut self, member: &ClassicClient<'_>, generation: i32) -> Result<(), ErrorCode> {
        let (group, member_id) = (Arc::from("g"), Arc::from(member.id));
        let request = Heartbeat { group, member_id, instance_id: member.instance_id.cloned(), generation };
        self.step(|group, cx| group.classic_heartbeat(cx, &request))
    }

    /// A LeaveGroup.
    pub(super) fn classic_leave(&mut self, member: &ClassicClient<'_>) -> Result<(), ErrorCode> {
        let leaving = LeavingMember { member_id: Arc::from(member.id), instance_id: member.instance_id.cloned() };
        let request = LeaveGroup { group: Arc::from("g"), members: vec![leaving] };
        self.step(|group, cx| group.classic_leave(cx, &request))[0]
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
        self.step(ConsumerGroup::start);
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
