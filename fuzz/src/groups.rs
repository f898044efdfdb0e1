//! Driver for the coordinator of consumer groups: loaded out of records with any bytes, then asked, and given time.
//!
//! What lies in `__consumer_offsets` has passed its checksum, but may come from another program, or be what compaction has left of it. It is
//! loaded or passed over, never a panic; and what a coordinator writes then, another one that loads it finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_groups::answer::{Answer, ClassicDescription, ConsumerDescription, Listed, TopicOffsets};
use ringmill_groups::listing::ListGroups;
use ringmill_groups::record::Record;
use ringmill_groups::request::{
    Client, ConsumerHeartbeat, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, OfferedProtocol, OffsetCommit,
    OffsetFetch, PartitionCommit, Request, SyncGroup,
};
use ringmill_groups::{Effects, Now, Random, Settings, Shard, Ticket, TopicId, Topics};
use ringmill_net::wire::ErrorCode;

use crate::script::Script;

const KEY_BYTES_MAX: usize = 300;
const VALUE_BYTES_MAX: usize = 2_000;

/// Records of one input.
const RECORDS_MAX: usize = 64;

/// A moment long after any that records of a corpus bear.
const WALL_MS: i64 = 1_800_000_000_000;

/// Deadlines that a pause of an hour may bring.
const DEADLINES_MAX: usize = 10_000;

/// The type of a group of the consumer protocol, in Kafka's words.
const CONSUMER_TYPE: &str = "consumer";

/// Two topics.
struct Known;

impl Topics for Known {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        match name {
            "a" => Some(([1; 16], 3)),
            "b" => Some(([2; 16], 1)),
            _ => None,
        }
    }

    fn name(&self, id: &TopicId) -> Option<&str> {
        ["a", "b"].into_iter().find(|name| self.find(name).is_some_and(|(known, _)| known == *id))
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(["a", "b"].into_iter())
    }
}

/// Records, then what is asked of the shard that is made of them.
pub fn loaded(data: &[u8]) {
    let mut script = Script::new(data);
    let mut run = Run::new();
    for _ in 0..script.below(RECORDS_MAX) {
        let key = script.bytes(KEY_BYTES_MAX);
        let value = script.flag().then(|| script.bytes(VALUE_BYTES_MAX));
        if let Ok(Some(record)) = Record::read(key, value) {
            check_reads_again(&record);
            run.shard.replay(&record);
            run.log.push(record);
        }
    }
    let effects = run.shard.start(run.now(), &Known);
    run.take(effects);
    while let Some(step) = script.step() {
        run.step(step, &mut script);
    }
    run.compare_with_a_reload();
}

/// A rebalance timeout of −1 reads as the session's; whatever else is read is what was written.
fn check_reads_again(record: &Record) {
    let reread = |record: &Record| {
        let read = Record::read(&record.key(), record.value().as_deref());
        read.expect("what is written can be read").expect("it means something here")
    };
    let read = reread(record);
    assert_eq!((read.key(), read.value().is_some()), (record.key(), record.value().is_some()), "{record:?}");
    assert_eq!(reread(&read), read, "it reads the same again");
}

struct Run {
    shard: Shard,
    /// All records so far.
    log: Vec<Record>,
    now_ms: u64,
    tickets: u64,
    /// Who was let in or given an id: group, member and generation or epoch.
    members: Vec<(Arc<str>, Arc<str>, i32)>,
    /// The groups that somebody has asked to join, by the ticket.
    joining: BTreeMap<u64, Arc<str>>,
}

impl Run {
    fn new() -> Run {
        let shard = Shard::new(Arc::new(Settings::default()), Random::new(1));
        Run { shard, log: Vec::new(), now_ms: 0, tickets: 0, members: Vec::new(), joining: BTreeMap::new() }
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall_ms: WALL_MS + self.now_ms.cast_signed() }
    }

    fn take(&mut self, effects: Effects) -> Vec<Answer> {
        for record in &effects.records {
            check_reads_again(record);
        }
        self.log.extend(effects.records);
        effects.answers.into_iter().map(|(_, answer)| answer).collect()
    }

    fn ask(&mut self, request: Request) -> Vec<Answer> {
        let ticket = Ticket(self.tickets);
        if let Request::Join(join) = &request {
            self.joining.insert(self.tickets, Arc::clone(&join.group));
        }
        self.tickets += 1;
        let effects = self.shard.handle(self.now(), &Known, ticket, request);
        self.take(effects)
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        if step.is_multiple_of(8) {
            return self.pass(script.number().unsigned_abs() % 3_600_000);
        }
        let group: Arc<str> = script.choose(&["g", "h", "c"]).into();
        let known = script.byte();
        let (member_id, generation) = self.member(&group, known);
        let answers = match step % 8 {
            1 => self.ask(Request::Join(joining(&group, member_id, script))),
            2 => {
                let assignments = BTreeMap::from([(Arc::clone(&member_id), Bytes::copy_from_slice(script.bytes(100)))]);
                let (instance_id, protocol_type, protocol_name) = (None, None, None);
                self.ask(Request::Sync(SyncGroup {
                    group: Arc::clone(&group),
                    member_id,
                    instance_id,
                    generation,
                    protocol_type,
                    protocol_name,
                    assignments,
                }))
            }
            3 => {
                let beat = Heartbeat { group: Arc::clone(&group), member_id, instance_id: None, generation };
                self.ask(Request::Heartbeat(beat))
            }
            4 => self.ask(Request::Commit(committing(&group, member_id, generation, script))),
            5 => {
                let members = vec![LeavingMember { member_id, instance_id: None }];
                self.ask(Request::Leave(LeaveGroup { group: Arc::clone(&group), members }))
            }
            6 => self.ask(Request::Delete(Arc::clone(&group))),
            _ => self.ask(Request::ConsumerHeartbeat(beating(&group, member_id, generation, script))),
        };
        for answer in answers {
            match answer {
                Answer::Join(Ok(joined)) => {
                    self.members.push((Arc::clone(&group), joined.member_id, joined.generation))
                }
                Answer::Join(Err(refused)) => self.members.push((Arc::clone(&group), refused.member_id, -1)),
                Answer::ConsumerHeartbeat(Ok(beat)) => {
                    self.members.push((Arc::clone(&group), beat.member_id, beat.member_epoch));
                }
                _ => {}
            }
        }
    }

    /// Somebody of the group, or a stranger.
    fn member(&self, group: &Arc<str>, known: u8) -> (Arc<str>, i32) {
        let of_group: Vec<_> = self.members.iter().filter(|(of, ..)| of == group).collect();
        match of_group.len() {
            0 => ("".into(), -1),
            _ if known < 40 => ("".into(), -1),
            members => {
                let (_, id, generation) = of_group[usize::from(known) % members];
                (Arc::clone(id), *generation)
            }
        }
    }

    /// Lets time pass, a deadline at a time.
    fn pass(&mut self, millis: u64) {
        let until_ms = self.now_ms + millis;
        let mut met = 0;
        while let Some(next_ms) = self.shard.next_deadline_ms().filter(|next_ms| *next_ms <= until_ms) {
            met += 1;
            assert!(met <= DEADLINES_MAX, "it is busy with nothing but the time");
            assert!(next_ms > self.now_ms || self.now_ms == 0, "a deadline at {next_ms} is not met at {}", self.now_ms);
            self.now_ms = next_ms.max(self.now_ms + 1);
            let effects = self.shard.on_time(self.now(), &Known);
            for (ticket, answer) in &effects.answers {
                // Whoever waited for the others to join is in now.
                if let (Some(group), Answer::Join(Ok(joined))) = (self.joining.remove(&ticket.0), answer) {
                    self.members.push((group, Arc::clone(&joined.member_id), joined.generation));
                }
            }
            self.take(effects);
        }
        self.now_ms = self.now_ms.max(until_ms);
    }

    /// What others are told of the groups and their offsets, they are told by a shard that was made out of the same records, too.
    fn compare_with_a_reload(mut self) {
        let mut next = Run { now_ms: self.now_ms, ..Run::new() };
        for record in &self.log {
            next.shard.replay(record);
        }
        let effects = next.shard.start(next.now(), &Known);
        next.take(effects);
        for group in self.with_offsets() {
            assert_eq!(next.offsets(&group), self.offsets(&group), "offsets of {group}");
        }
        assert_eq!(next.with_offsets(), self.with_offsets());
        for Listed { group, group_type, .. } in self.listed() {
            if group_type == CONSUMER_TYPE {
                assert_eq!(next.consumer_group(&group), self.consumer_group(&group), "what is said of {group}");
                continue;
            }
            let told = self.classic_group(&group);
            // What members of the classic protocol have not agreed on yet is written nowhere.
            if told.as_ref().is_ok_and(|group| group.state == "Stable") {
                assert_eq!(next.classic_group(&group), told, "what is said of {group}");
            }
        }
    }

    fn classic_group(&mut self, group: &Arc<str>) -> Result<ClassicDescription, ErrorCode> {
        match self.ask(Request::DescribeClassic(Arc::clone(group))).pop() {
            Some(Answer::DescribeClassic(told)) => told,
            other => panic!("{other:?}"),
        }
    }

    fn consumer_group(&mut self, group: &Arc<str>) -> Result<ConsumerDescription, ErrorCode> {
        match self.ask(Request::DescribeConsumer(Arc::clone(group))).pop() {
            Some(Answer::DescribeConsumer(told)) => told,
            other => panic!("{other:?}"),
        }
    }

    fn listed(&mut self) -> Vec<Listed> {
        let mut listed = Vec::new();
        let mut wanted = ListGroups::default();
        loop {
            let part = match self.ask(Request::List(wanted.clone())).pop() {
                Some(Answer::List(part)) => part,
                other => panic!("{other:?}"),
            };
            assert!(part.go_on_after.is_none() || part.go_on_after > wanted.after, "a list that does not get on");
            listed.extend(part.groups);
            wanted.after = part.go_on_after;
            if wanted.after.is_none() {
                return listed;
            }
        }
    }

    /// Groups that have committed something.
    fn with_offsets(&mut self) -> Vec<Arc<str>> {
        let groups: Vec<Arc<str>> = self.listed().into_iter().map(|listed| listed.group).collect();
        groups.into_iter().filter(|group| !self.offsets(group).is_empty()).collect()
    }

    fn offsets(&mut self, group: &Arc<str>) -> Vec<TopicOffsets> {
        let fetch = OffsetFetch { group: Arc::clone(group), member_id: None, member_epoch: -1, topics: None };
        match self.ask(Request::Fetch(fetch)).pop() {
            Some(Answer::Fetch(Ok(offsets))) => offsets,
            other => panic!("who is no member may read: {other:?}"),
        }
    }
}

fn client() -> Client {
    Client { id: "c".into(), host: "/h".into() }
}

fn joining(group: &Arc<str>, member_id: Arc<str>, script: &mut Script<'_>) -> JoinGroup {
    let protocol =
        |name: &str, metadata| OfferedProtocol { name: name.into(), metadata: Bytes::copy_from_slice(metadata) };
    JoinGroup {
        group: Arc::clone(group),
        member_id,
        instance_id: script.choose(&[None, None, Some("s")]).map(Arc::from),
        client: client(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: script.number_i32(),
        protocol_type: script.choose(&["consumer", "consumer", "connect"]).into(),
        protocols: vec![protocol("range", script.bytes(200)), protocol("sticky", script.bytes(50))],
        knows_member_id_required: script.flag(),
        knows_skip_assignment: script.flag(),
    }
}

fn committing(group: &Arc<str>, member_id: Arc<str>, generation: i32, script: &mut Script<'_>) -> OffsetCommit {
    // Versions that say how long the offset is kept know neither the topic's id nor a leader epoch.
    let retention_ms = script.flag().then(|| script.number());
    let is_old = retention_ms.is_some();
    let (topic, id) = script.choose(&[("a", [1; 16]), ("b", [2; 16])]);
    let commit = PartitionCommit {
        topic: topic.into(),
        topic_id: if is_old { [0; 16] } else { script.choose(&[[0; 16], id]) },
        partition: i32::from(script.byte()),
        offset: script.number(),
        leader_epoch: if is_old { -1 } else { script.number_i32() },
        metadata: script.flag().then(|| script.text(60).into()),
        retention_ms,
    };
    let offsets = vec![commit];
    OffsetCommit { group: Arc::clone(group), member_id, instance_id: None, generation, knows_epochs: !is_old, offsets }
}

fn beating(group: &Arc<str>, member_id: Arc<str>, epoch: i32, script: &mut Script<'_>) -> ConsumerHeartbeat {
    let joins = script.flag();
    let of_its_own: Arc<str> = script.choose(&["one", "two"]).into();
    ConsumerHeartbeat {
        group: Arc::clone(group),
        member_id: if member_id.is_empty() { of_its_own } else { member_id },
        member_epoch: if joins { 0 } else { script.choose(&[epoch, epoch, -1, -2]) },
        instance_id: script.choose(&[None, None, Some("s")]).map(Arc::from),
        rack_id: None,
        rebalance_timeout_ms: if joins { 60_000 } else { -1 },
        subscribed_topic_names: joins.then(|| vec![script.choose(&["a", "b"]).into()]),
        subscribed_topic_regex: script.choose(&[None, None, Some(".*"), Some("[ab]")]).map(Arc::from),
        server_assignor: script.choose(&[None, Some("range")]).map(Arc::from),
        topic_partitions: joins.then(BTreeMap::new).or_else(|| script.flag().then(BTreeMap::new)),
        client: client(),
        version: 1,
    }
}
