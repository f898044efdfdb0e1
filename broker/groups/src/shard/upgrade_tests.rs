//! A group goes from the classic protocol to the consumer protocol and back, while its members go on.

mod torn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};

use crate::answer::{Answer, ConsumerBeat, Joined, Refused};
use crate::listing::ListGroups;
use crate::record::Record;
use crate::request::{
    Client, ConsumerHeartbeat, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, OfferedProtocol, Request, SyncGroup,
};
use crate::{Effects, Migration, Now, Random, Settings, Shard, Ticket, TopicId, Topics};

const TOPIC: TopicId = [1; 16];

/// The topic `t` with six partitions.
struct OneTopic;

impl Topics for OneTopic {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        (name == "t").then_some((TOPIC, 6))
    }
    fn name(&self, id: &TopicId) -> Option<&str> {
        (*id == TOPIC).then_some("t")
    }
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::once("t"))
    }
}

struct Bench {
    shard: Shard,
    settings: Arc<Settings>,
    now_ms: u64,
    tickets: u64,
    records: Vec<Record>,
    answers: BTreeMap<Ticket, Answer>,
}

impl Bench {
    fn new(migration: Migration) -> Bench {
        Bench::with(Settings { migration, initial_rebalance_delay_ms: 0, ..Settings::default() })
    }

    fn with(settings: Settings) -> Bench {
        let settings = Arc::new(settings);
        let shard = Shard::new(Arc::clone(&settings), Random::new(1));
        let (records, answers) = (Vec::new(), BTreeMap::new());
        let mut bench = Bench { shard, settings, now_ms: 1_000, tickets: 0, records, answers };
        let effects = bench.shard.start(bench.now(), &OneTopic);
        bench.note(effects);
        bench
    }

    /// A restart: another shard out of what this one has left.
    fn restart(&mut self) {
        self.shard = Shard::new(Arc::clone(&self.settings), Random::new(self.tickets));
        for record in &self.records {
            let read = Record::read(&record.key(), record.value().as_deref());
            assert_eq!(read.as_ref().unwrap().as_ref(), Some(record));
            self.shard.replay(record);
        }
        let effects = self.shard.start(self.now(), &OneTopic);
        self.note(effects);
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall_ms: 1_000_000 + self.now_ms.cast_signed() }
    }

    fn note(&mut self, effects: Effects) {
        self.records.extend(effects.records);
        self.answers.extend(effects.answers);
    }

    fn ask(&mut self, request: Request) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let effects = self.shard.handle(self.now(), &OneTopic, ticket, request);
        self.note(effects);
        ticket
    }

    fn answered(&mut self, request: Request) -> Answer {
        let ticket = self.ask(request);
        self.answers.remove(&ticket).expect("it is answered at once")
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now_ms + millis;
        while let Some(next_ms) = self.shard.next_deadline_ms().filter(|next_ms| *next_ms <= until) {
            self.now_ms = self.now_ms.max(next_ms);
            let effects = self.shard.on_time(self.now(), &OneTopic);
            self.note(effects);
        }
        self.now_ms = until;
    }

    fn ask_join(&mut self, id: &str, owned: &[i32]) -> Ticket {
        let owned_partitions = vec![TopicPartition { topic: "t", partitions: owned.to_vec() }];
        let told = ConsumerProtocolSubscription { topics: vec!["t"], owned_partitions, ..Default::default() };
        self.ask_join_with(id, embedded_protocol::encode(&told, 2))
    }

    fn ask_join_with(&mut self, id: &str, metadata: Bytes) -> Ticket {
        self.ask(Request::Join(JoinGroup {
            group: "g".into(),
            member_id: id.into(),
            instance_id: None,
            client: Client { id: "c".into(), host: "/h".into() },
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![OfferedProtocol { name: "cooperative-sticky".into(), metadata }],
            knows_member_id_required: false,
            knows_skip_assignment: true,
        }))
    }

    fn joined(&mut self, ticket: Ticket) -> Result<Joined, ErrorCode> {
        if !self.answers.contains_key(&ticket) {
            // The first rebalance of a group waits for more members, though not for long.
            self.pass(1);
        }
        match self.answers.remove(&ticket) {
            Some(Answer::Join(result)) => result.map_err(|refused| refused.code),
            other => panic!("it has no answer yet: {other:?}"),
        }
    }

    fn join(&mut self, id: &str, owned: &[i32]) -> i32 {
        let ticket = self.ask_join(id, owned);
        self.joined(ticket).unwrap().generation
    }

    fn ask_sync(&mut self, id: &str, generation: i32, shares: &[(&str, &[i32])]) -> Ticket {
        let share = |(id, partitions): &(&str, &[i32])| {
            let assigned_partitions = vec![TopicPartition { topic: "t", partitions: partitions.to_vec() }];
            let assigned = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
            (Arc::from(*id), embedded_protocol::encode(&assigned, 2))
        };
        self.ask(Request::Sync(SyncGroup {
            group: "g".into(),
            member_id: id.into(),
            instance_id: None,
            generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("cooperative-sticky".into()),
            assignments: shares.iter().map(share).collect(),
        }))
    }

    fn synced(&mut self, ticket: Ticket) -> Result<Vec<i32>, ErrorCode> {
        let Some(Answer::Sync(result)) = self.answers.remove(&ticket) else { panic!("it has no answer yet") };
        result.map(|synced| {
            let assigned = embedded_protocol::assignment(&synced.assignment).unwrap();
            assigned.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
        })
    }

    fn sync(&mut self, id: &str, generation: i32) -> Result<Vec<i32>, ErrorCode> {
        let ticket = self.ask_sync(id, generation, &[]);
        self.synced(ticket)
    }

    fn beat(&mut self, id: &str, generation: i32) -> Result<(), ErrorCode> {
        let beat = Heartbeat { group: "g".into(), member_id: id.into(), instance_id: None, generation };
        let Answer::Heartbeat(result) = self.answered(Request::Heartbeat(beat)) else { panic!("not its answer") };
        result
    }

    fn leave(&mut self, id: &str) {
        let members = vec![LeavingMember { member_id: id.into(), instance_id: None }];
        let Answer::Leave(Ok(results)) = self.answered(Request::Leave(LeaveGroup { group: "g".into(), members }))
        else {
            panic!("nobody leaves")
        };
        assert_eq!(results, [Ok(())]);
    }

    fn consumer_beat(&mut self, epoch: i32, owned: Option<&[i32]>) -> Result<ConsumerBeat, Refused> {
        let joins = epoch == 0;
        let owned = owned.map(|owned| BTreeMap::from([(TOPIC, owned.to_vec())]));
        let request = ConsumerHeartbeat {
            group: "g".into(),
            member_id: "new".into(),
            member_epoch: epoch,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec!["t".into()]),
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: if joins { Some(BTreeMap::new()) } else { owned },
            client: Client { id: "c".into(), host: "/h".into() },
            version: 1,
        };
        let Answer::ConsumerHeartbeat(result) = self.answered(Request::ConsumerHeartbeat(request)) else {
            panic!("not its answer")
        };
        result
    }

    /// Kind and state.
    fn state(&mut self) -> (&'static str, &'static str) {
        let Answer::List(listed) = self.answered(Request::List(ListGroups::default())) else {
            panic!("not its answer")
        };
        listed.groups.first().map_or(("none", "none"), |group| (group.group_type, group.state))
    }

    /// Two classic members that share the topic in a generation; the first leads.
    fn pair(&mut self) -> (Arc<str>, Arc<str>) {
        let first = self.ask_join("", &[]);
        let one = self.joined(first).unwrap();
        let ticket = self.ask_sync(&one.member_id, one.generation, &[(&one.member_id, &[0, 1, 2, 3, 4, 5])]);
        assert_eq!(self.synced(ticket), Ok(vec![0, 1, 2, 3, 4, 5]));
        let second = self.ask_join("", &[]);
        assert_eq!(self.beat(&one.member_id, one.generation), Err(ErrorCode::RebalanceInProgress));
        let again = self.ask_join(&one.member_id, &[0, 1, 2]);
        let (one, other) = (self.joined(again).unwrap(), self.joined(second).unwrap());
        assert_eq!((one.generation, &*one.leader), (2, &*one.member_id));
        let shares: [(&str, &[i32]); 2] = [(&one.member_id, &[0, 1, 2]), (&other.member_id, &[3, 4, 5])];
        let (leads, follows) = (self.ask_sync(&one.member_id, 2, &shares), self.ask_sync(&other.member_id, 2, &[]));
        assert_eq!((self.synced(leads), self.synced(follows)), (Ok(vec![0, 1, 2]), Ok(vec![3, 4, 5])));
        (one.member_id, other.member_id)
    }
}

#[test]
fn a_classic_group_is_upgraded_and_downgraded_again() {
    let mut bench = Bench::new(Migration::Bidirectional);
    let (one, other) = bench.pair();
    let joined = bench.consumer_beat(0, None).unwrap();
    assert_eq!((joined.member_epoch, joined.assignment), (3, Some(BTreeMap::new())), "all is in use");
    assert_eq!(bench.state(), ("consumer", "Reconciling"));
    bench.restart();
    assert_eq!(bench.state(), ("consumer", "Reconciling"));

    // The others give up what they must, each in its own time, and go on with the rest.
    assert_eq!(bench.beat(&one, 2), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.beat(&other, 2), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.join(&one, &[0, 1, 2]), 2, "it has something to give up first");
    assert_eq!(bench.sync(&one, 2), Ok(vec![0, 1]));
    assert_eq!(bench.join(&one, &[0, 1]), 3);
    assert_eq!(bench.sync(&one, 3), Ok(vec![0, 1]));
    assert_eq!(bench.join(&other, &[3, 4]), 3, "it has given up a partition already");
    bench.restart();
    assert_eq!(bench.sync(&other, 3), Ok(vec![3, 4]));
    let given = bench.consumer_beat(3, None).unwrap();
    assert_eq!(given.assignment, Some(BTreeMap::from([(TOPIC, vec![2, 5])])));
    assert_eq!(bench.state(), ("consumer", "Stable"));
    assert_eq!((bench.beat(&one, 3), bench.beat(&other, 3)), (Ok(()), Ok(())));

    // The last consumer member leaves.
    bench.consumer_beat(-1, None).unwrap();
    assert_eq!(bench.state(), ("classic", "PreparingRebalance"));
    assert_eq!(bench.beat(&one, 3), Err(ErrorCode::RebalanceInProgress));
    bench.restart();
    assert_eq!(bench.state(), ("classic", "PreparingRebalance"), "what the last one had is still to be shared");
    let (first, second) = (bench.ask_join(&one, &[0, 1]), bench.ask_join(&other, &[3, 4]));
    let (leads, follows) = (bench.joined(first).unwrap(), bench.joined(second).unwrap());
    assert_eq!((leads.generation, leads.members.len(), follows.members.len()), (4, 2, 0));
}

#[test]
fn after_the_last_consumer_member_the_classic_members_share_anew() {
    let mut bench = Bench::new(Migration::Bidirectional);
    let (one, other) = bench.pair();
    bench.consumer_beat(0, None).unwrap();
    bench.pass(20_000);
    assert_eq!(bench.beat(&one, 2), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.beat(&other, 2), Err(ErrorCode::RebalanceInProgress));
    bench.pass(25_000);
    assert_eq!(bench.state(), ("classic", "PreparingRebalance"), "its session has ended");
    let (first, second) = (bench.ask_join(&one, &[0, 1, 2]), bench.ask_join(&other, &[3, 4, 5]));
    let (leads, follows) = (bench.joined(first).unwrap(), bench.joined(second).unwrap());
    assert_eq!((leads.generation, leads.members.len(), follows.members.len()), (3, 2, 0));
    let shares: [(&str, &[i32]); 2] = [(&one, &[0, 1, 2]), (&other, &[3, 4, 5])];
    let (leads, follows) = (bench.ask_sync(&one, 3, &shares), bench.ask_sync(&other, 3, &[]));
    assert_eq!((bench.synced(leads), bench.synced(follows)), (Ok(vec![0, 1, 2]), Ok(vec![3, 4, 5])));
    bench.restart();
    assert_eq!((bench.state(), bench.beat(&other, 3)), (("classic", "Stable"), Ok(())));
}

#[test]
fn members_that_wait_for_a_rebalance_are_sent_back() {
    let mut bench = Bench::new(Migration::Upgrade);
    let (one, other) = bench.pair();
    let (waiting, new) = (bench.ask_join(&one, &[0, 1, 2]), bench.ask_join("", &[]));
    bench.consumer_beat(0, None).unwrap();
    assert_eq!(bench.joined(waiting), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.joined(new), Err(ErrorCode::RebalanceInProgress));
    let generations: BTreeSet<i32> = [bench.join(&one, &[]), bench.join(&other, &[])].into();
    assert_eq!(generations, BTreeSet::from([3]), "they own nothing, so that nothing holds them back");
    // Without the way back the group stays what it is.
    bench.consumer_beat(-1, None).unwrap();
    assert_eq!(bench.state().0, "consumer");
    bench.leave(&one);
    bench.leave(&other);
    assert_eq!(bench.state(), ("consumer", "Empty"));
    bench.ask_join("", &[]);
    assert_eq!(bench.state().0, "classic", "an empty group takes the protocol of who comes");
}

#[test]
fn a_group_that_may_not_or_cannot_change_stays_as_it_is() {
    let refused = |bench: &mut Bench| {
        let records = bench.records.len();
        let refused = bench.consumer_beat(0, None).expect_err("it must stay classic");
        assert_eq!((refused.code, bench.records.len()), (ErrorCode::GroupIdNotFound, records), "{}", refused.why);
        assert_eq!(bench.state(), ("classic", "Stable"));
    };
    let mut bench = Bench::new(Migration::Downgrade);
    let (one, other) = bench.pair();
    refused(&mut bench);
    assert_eq!((bench.beat(&one, 2), bench.beat(&other, 2)), (Ok(()), Ok(())));

    let mut bench = Bench::new(Migration::Bidirectional);
    let ticket = bench.ask_join_with("", Bytes::from_static(b"not a subscription"));
    let joined = bench.joined(ticket).unwrap();
    let ticket = bench.ask_sync(&joined.member_id, 1, &[(&joined.member_id, &[0])]);
    assert_eq!(bench.synced(ticket), Ok(vec![0]));
    refused(&mut bench);
}

#[test]
fn when_memory_is_full_nobody_joins_or_tells_more_and_those_who_are_in_go_on() {
    let mut bench = Bench::with(Settings { shard_bytes_max: 10_000, ..Settings::default() });
    let joined = bench.consumer_beat(0, None).unwrap();
    let told = |names: usize| ConsumerHeartbeat {
        group: "g".into(),
        member_id: "new".into(),
        member_epoch: joined.member_epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some((0..names).map(|name| format!("a-topic-of-{name:09}").into()).collect()),
        subscribed_topic_regex: None,
        server_assignor: None,
        topic_partitions: Some(BTreeMap::from([(TOPIC, (0..6).collect())])),
        client: Client::default(),
        version: 1,
    };
    let records = bench.records.len();
    let Answer::ConsumerHeartbeat(result) = bench.answered(Request::ConsumerHeartbeat(told(1_000))) else {
        panic!("not its answer")
    };
    assert_eq!(result.unwrap_err().code, ErrorCode::GroupMaxSizeReached);
    assert_eq!((bench.records.len(), bench.consumer_beat(joined.member_epoch, None).is_ok()), (records, true));
    let Answer::ConsumerHeartbeat(result) = bench.answered(Request::ConsumerHeartbeat(told(10))) else {
        panic!("not its answer")
    };
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn a_member_that_is_refused_changes_no_group() {
    let mut bench = Bench::new(Migration::Bidirectional);
    let (one, other) = bench.pair();
    let records = bench.records.len();
    let request = ConsumerHeartbeat {
        group: "g".into(),
        member_id: "new".into(),
        member_epoch: 0,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: None,
        subscribed_topic_regex: Some("(".into()),
        server_assignor: None,
        topic_partitions: Some(BTreeMap::new()),
        client: Client::default(),
        version: 1,
    };
    let answer = bench.answered(Request::ConsumerHeartbeat(request));
    let Answer::ConsumerHeartbeat(Err(refused)) = answer else { panic!("{answer:?}") };
    assert_eq!((refused.code, bench.records.len()), (ErrorCode::InvalidRegularExpression, records));
    assert_eq!((bench.beat(&one, 2), bench.beat(&other, 2)), (Ok(()), Ok(())));
}

/// As soon as the partition took records again they were put out, for they had not joined in time.
#[test]
fn classic_members_that_were_refused_when_they_had_to_join_have_time_to_do_so() {
    let mut bench = Bench::new(Migration::Bidirectional);
    let (one, other) = bench.pair();
    bench.consumer_beat(0, None).unwrap();
    for member in [&one, &other] {
        assert_eq!(bench.beat(member, 2), Err(ErrorCode::RebalanceInProgress));
    }
    bench.now_ms += 70_000;
    let effects = bench.shard.start(bench.now(), &OneTopic);
    bench.note(effects);
    bench.pass(1_000);
    assert_eq!(bench.join(&one, &[0, 1, 2]), 2);
    assert_eq!(bench.beat(&other, 2), Err(ErrorCode::RebalanceInProgress));
    bench.pass(29_000);
    assert_eq!(bench.beat(&other, 2), Err(ErrorCode::RebalanceInProgress));
}

/// The other policies let classic members in, be it that the group never becomes classic by them.
#[test]
fn where_protocols_are_not_to_mix_classic_members_come_to_groups_of_their_own_only() {
    for (migration, joins) in [
        (Migration::Disabled, false),
        (Migration::Upgrade, true),
        (Migration::Downgrade, true),
        (Migration::Bidirectional, true),
    ] {
        let mut bench = Bench::new(migration);
        bench.consumer_beat(0, None).unwrap();
        let ticket = bench.ask_join("", &[]);
        let joined = bench.joined(ticket).map(|_| ());
        assert_eq!(joined, if joins { Ok(()) } else { Err(ErrorCode::InconsistentGroupProtocol) }, "{migration:?}");
        bench.consumer_beat(-1, None).unwrap();
        if !joins {
            let ticket = bench.ask_join("", &[]);
            assert!(bench.joined(ticket).is_ok(), "an empty group takes the protocol of who comes");
        }
    }
}
