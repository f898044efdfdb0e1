//! The classic protocol and the offsets, one rule at a time, through the shard as its caller sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::ErrorCode;

use crate::answer::{Answer, Joined};
use crate::record::Record;
use crate::request::{
    Client, ConsumerHeartbeat, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, OfferedProtocol, OffsetCommit,
    OffsetFetch, PartitionCommit, Request, SyncGroup,
};
use crate::{Effects, NoRoom, Now, Random, Settings, Shard, Ticket, TopicId, Topics};

mod deadlines;
mod listing;
mod offsets;
mod regexes;
mod resumed;
mod room;
mod sweeps;

struct NoTopics;

impl Topics for NoTopics {
    fn find(&self, name: &str) -> Option<(TopicId, i32)> {
        (name != "gone").then_some(([1; 16], 4))
    }
    fn name(&self, _: &TopicId) -> Option<&str> {
        None
    }
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::empty())
    }
}

/// A shard with a clock of its own, and all that it has ever left.
struct Bench {
    shard: Shard,
    now_ms: u64,
    tickets: u64,
    records: Vec<Record>,
    answers: BTreeMap<Ticket, Answer>,
    /// Why requests were refused for want of room, until somebody asks.
    no_room: Vec<NoRoom>,
}

impl Bench {
    fn new() -> Bench {
        let shard = Shard::new(Arc::new(Settings::default()), Random::new(1));
        let mut bench =
            Bench { shard, now_ms: 0, tickets: 0, records: Vec::new(), answers: BTreeMap::new(), no_room: Vec::new() };
        let effects = bench.shard.start(bench.now(), &NoTopics);
        bench.note(effects);
        bench
    }

    /// Another shard out of what this one has left: what a restart finds.
    fn reloaded(&self) -> Bench {
        let mut next = Bench::new();
        next.now_ms = self.now_ms;
        for record in &self.records {
            let read = Record::read(&record.key(), record.value().as_deref());
            next.shard.replay(&read.unwrap().unwrap());
        }
        let effects = next.shard.start(next.now(), &NoTopics);
        next.note(effects);
        next
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall_ms: 1_000_000 + i64::try_from(self.now_ms).unwrap() }
    }

    fn note(&mut self, effects: Effects) {
        self.records.extend(effects.records);
        self.no_room.extend(effects.no_room);
        for (ticket, answer) in effects.answers {
            assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} was answered twice");
        }
    }

    fn ask(&mut self, request: Request) -> Ticket {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        let effects = self.shard.handle(self.now(), &NoTopics, ticket, request);
        self.note(effects);
        ticket
    }

    fn answered(&mut self, request: Request) -> Answer {
        let ticket = self.ask(request);
        self.answers.remove(&ticket).expect("it is answered at once")
    }

    /// Lets time pass, a deadline at a time.
    fn pass(&mut self, millis: u64) {
        let until = self.now_ms + millis;
        while let Some(next_ms) = self.shard.next_deadline_ms().filter(|next_ms| *next_ms <= until) {
            assert!(next_ms > self.now_ms || self.now_ms == 0, "a deadline at {next_ms} is stuck");
            self.now_ms = next_ms;
            let effects = self.shard.on_time(self.now(), &NoTopics);
            self.note(effects);
        }
        self.now_ms = until;
    }

    fn join(&mut self, member_id: &str) -> Ticket {
        self.ask(Request::Join(joining(member_id, None)))
    }

    /// A member that follows KIP-394: asks for an id, then joins with it.
    fn join_new(&mut self) -> (Arc<str>, Ticket) {
        let ticket = self.join("");
        let Some(Answer::Join(Err(refused))) = self.answers.remove(&ticket) else { panic!("it must be given an id") };
        assert_eq!(refused.code, ErrorCode::MemberIdRequired);
        let ticket = self.join(&refused.member_id);
        (refused.member_id, ticket)
    }

    fn joined(&mut self, ticket: Ticket) -> Joined {
        match self.answers.remove(&ticket) {
            Some(Answer::Join(Ok(joined))) => joined,
            other => panic!("the member has not joined: {other:?}"),
        }
    }

    fn join_error(&mut self, ticket: Ticket) -> ErrorCode {
        match self.answers.remove(&ticket) {
            Some(Answer::Join(Err(refused))) => refused.code,
            other => panic!("the member is not refused: {other:?}"),
        }
    }

    fn sync(&mut self, joined: &Joined, shares: &[(&Arc<str>, &'static str)]) -> Ticket {
        let assignments = shares.iter().map(|(id, share)| (Arc::clone(id), Bytes::from_static(share.as_bytes())));
        self.ask(Request::Sync(SyncGroup {
            group: "g".into(),
            member_id: Arc::clone(&joined.member_id),
            instance_id: None,
            generation: joined.generation,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.collect(),
        }))
    }

    fn share(&mut self, ticket: Ticket) -> Result<Bytes, ErrorCode> {
        match self.answers.remove(&ticket) {
            Some(Answer::Sync(synced)) => synced.map(|synced| synced.assignment),
            other => panic!("there is no share: {other:?}"),
        }
    }

    fn beat(&mut self, id: &str, generation: i32) -> Result<(), ErrorCode> {
        let beat = Heartbeat { group: "g".into(), member_id: id.into(), instance_id: None, generation };
        match self.answered(Request::Heartbeat(beat)) {
            Answer::Heartbeat(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, id: &str) -> Result<(), ErrorCode> {
        let members = vec![LeavingMember { member_id: id.into(), instance_id: None }];
        match self.answered(Request::Leave(LeaveGroup { group: "g".into(), members })) {
            Answer::Leave(Ok(results)) => results[0],
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, id: &str, generation: i32, offset: i64) -> Result<(), ErrorCode> {
        self.commit_of(id, generation, PartitionCommit { offset, ..commit("t", 0) })
    }

    fn commit_of(&mut self, id: &str, generation: i32, commit: PartitionCommit) -> Result<(), ErrorCode> {
        let commit = OffsetCommit {
            group: "g".into(),
            member_id: id.into(),
            instance_id: None,
            generation,
            knows_epochs: true,
            offsets: vec![commit],
        };
        match self.answered(Request::Commit(commit)) {
            Answer::Commit(results) => results[0],
            other => panic!("{other:?}"),
        }
    }

    fn committed(&mut self, topic: &str) -> Option<(i64, Arc<str>)> {
        let topics = Some(vec![(topic.into(), vec![0])]);
        let fetch = OffsetFetch { group: "g".into(), member_id: None, member_epoch: -1, topics };
        match self.answered(Request::Fetch(fetch)) {
            Answer::Fetch(Ok(topics)) => {
                topics[0].partitions[0].1.clone().map(|offset| (offset.offset, offset.metadata))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Two members in generation 1, the leader first.
    fn pair(&mut self) -> (Joined, Joined) {
        let (first, second) = (self.join_new().1, self.join_new().1);
        self.pass(3_000);
        let (one, other) = (self.joined(first), self.joined(second));
        let (leader, follower) = if one.members.is_empty() { (other, one) } else { (one, other) };
        let waiting = self.sync(&follower, &[]);
        let shares = [(&leader.member_id, "L"), (&follower.member_id, "F")];
        let ticket = self.sync(&leader, &shares);
        assert_eq!((self.share(ticket), self.share(waiting)), (Ok(Bytes::from("L")), Ok(Bytes::from("F"))));
        (leader, follower)
    }

    fn state(&mut self) -> &'static str {
        match self.answered(Request::DescribeClassic("g".into())) {
            Answer::DescribeClassic(Ok(described)) => described.state,
            Answer::DescribeClassic(Err(ErrorCode::GroupIdNotFound)) => "none",
            other => panic!("{other:?}"),
        }
    }
}

fn joining(member_id: &str, instance: Option<&str>) -> JoinGroup {
    JoinGroup {
        group: "g".into(),
        member_id: member_id.into(),
        instance_id: instance.map(Arc::from),
        client: Client { id: "c".into(), host: "/h".into() },
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![OfferedProtocol { name: "range".into(), metadata: Bytes::from_static(b"m") }],
        knows_member_id_required: true,
        knows_skip_assignment: true,
    }
}

fn commit(topic: &str, partition: i32) -> PartitionCommit {
    PartitionCommit {
        topic: topic.into(),
        topic_id: [0; 16],
        partition,
        offset: 0,
        leader_epoch: -1,
        metadata: None,
        retention_ms: None,
    }
}

#[test]
fn members_that_start_together_share_the_first_generation() {
    let mut bench = Bench::new();
    let (_, first) = bench.join_new();
    bench.pass(2_000);
    let (_, second) = bench.join_new();
    // The second has put the end off.
    bench.pass(2_000);
    assert!(bench.answers.is_empty());
    bench.pass(1_000);
    let (one, other) = (bench.joined(first), bench.joined(second));
    assert_eq!((one.generation, other.generation), (1, 1));
    assert_eq!(one.leader, other.leader);
    assert_eq!(one.members.len() + other.members.len(), 2, "only the leader is told of the members");
    assert!(bench.records.is_empty(), "nothing is stored before there is an assignment");
}

#[test]
fn everybody_gets_the_leaders_share_once_it_is_stored() {
    let mut bench = Bench::new();
    let (leader, _) = bench.pair();
    assert_eq!(bench.records.len(), 1, "{:?}", bench.records);
    let again = bench.sync(&leader, &[]);
    assert_eq!(bench.share(again), Ok(Bytes::from("L")));
}

#[test]
fn a_third_member_makes_the_others_join_again() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    let (_, third) = bench.join_new();
    assert_eq!(bench.beat(&leader.member_id, 1), Err(ErrorCode::RebalanceInProgress));
    let (one, other) = (bench.join(&leader.member_id), bench.join(&follower.member_id));
    let joined = [third, one, other].map(|ticket| bench.joined(ticket).generation);
    assert_eq!(joined, [2, 2, 2]);
    assert_eq!(bench.beat(&leader.member_id, 1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(bench.beat(&leader.member_id, 2), Ok(()));
}

#[test]
fn who_does_not_join_in_time_is_out() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    let (_, third) = bench.join_new();
    let back = bench.join(&leader.member_id);
    for _ in 0..6 {
        bench.pass(9_999);
        let _ = bench.beat(&follower.member_id, 1);
    }
    bench.pass(6);
    assert_eq!((bench.joined(third).generation, bench.joined(back).generation), (2, 2));
    assert_eq!(bench.beat(&follower.member_id, 1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_silent_member_loses_its_share() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    bench.pass(9_000);
    assert_eq!(bench.beat(&leader.member_id, 1), Ok(()));
    bench.pass(1_000);
    assert_eq!(bench.beat(&leader.member_id, 1), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.beat(&follower.member_id, 1), Err(ErrorCode::UnknownMemberId));
    let alone = bench.join(&leader.member_id);
    assert_eq!(bench.joined(alone).generation, 2);
}

#[test]
fn who_never_asks_for_its_share_is_out() {
    let mut bench = Bench::new();
    let (first, second) = (bench.join_new().1, bench.join_new().1);
    bench.pass(3_000);
    let (one, other) = (bench.joined(first), bench.joined(second));
    let waiting = bench.sync(&one, &[(&one.member_id, "x")]);
    for _ in 0..7 {
        bench.pass(9_000);
        let _ = bench.beat(&other.member_id, 1);
        let _ = bench.beat(&one.member_id, 1);
    }
    let _ = bench.answers.remove(&waiting);
    assert_eq!(bench.beat(&other.member_id, 1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn the_last_to_leave_leaves_an_empty_group() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    assert_eq!(bench.commit(&leader.member_id, 1, 7), Ok(()));
    assert_eq!((bench.leave(&leader.member_id), bench.leave(&follower.member_id)), (Ok(()), Ok(())));
    assert_eq!(bench.state(), "Empty");
    assert_eq!(bench.leave(&leader.member_id), Err(ErrorCode::UnknownMemberId));
    // Members' commits are over, a tool's are taken.
    assert_eq!(bench.commit(&leader.member_id, 1, 8), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.commit("", -1, 9), Ok(()));
    assert_eq!(bench.committed("t"), Some((9, "".into())));
}

#[test]
fn commits_of_strangers_and_of_old_generations_are_refused() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    assert_eq!(bench.commit("", -1, 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.commit("nobody", 1, 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.commit(&leader.member_id, 0, 1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(bench.commit(&leader.member_id, 1, 1), Ok(()));
    let (_, third) = bench.join_new();
    // While the others are waited for, what they have read may still be committed.
    assert_eq!(bench.commit(&follower.member_id, 1, 2), Ok(()));
    let tickets = [third, bench.join(&leader.member_id), bench.join(&follower.member_id)];
    assert_eq!(tickets.map(|ticket| bench.joined(ticket).generation), [2, 2, 2]);
    assert_eq!(bench.commit(&follower.member_id, 1, 3), Err(ErrorCode::IllegalGeneration));
    assert_eq!(bench.commit(&follower.member_id, 2, 3), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.committed("t"), Some((2, "".into())));
}

#[test]
fn a_restart_finds_the_group_its_members_and_its_offsets() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    let words = PartitionCommit { offset: 41, metadata: Some("words".into()), ..commit("t", 0) };
    assert_eq!(bench.commit_of(&leader.member_id, 1, words), Ok(()));
    let mut next = bench.reloaded();
    assert_eq!(next.state(), "Stable");
    assert_eq!(next.committed("t"), Some((41, "words".into())));
    assert_eq!((next.beat(&leader.member_id, 1), next.beat(&follower.member_id, 1)), (Ok(()), Ok(())));
    let again = next.sync(&follower, &[]);
    assert_eq!(next.share(again), Ok(Bytes::from("F")));
    // Their sessions have begun anew.
    next.pass(10_001);
    assert_eq!(next.beat(&leader.member_id, 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(next.state(), "Empty");
}

#[test]
fn a_static_member_that_restarts_keeps_its_share_and_fences_its_past() {
    let mut bench = Bench::new();
    let (first, second) =
        (bench.ask(Request::Join(joining("", Some("one")))), bench.ask(Request::Join(joining("", Some("two")))));
    bench.pass(3_000);
    let (one, two) = (bench.joined(first), bench.joined(second));
    let (leader, follower) = if one.members.is_empty() { (&two, &one) } else { (&one, &two) };
    let waiting = bench.sync(follower, &[]);
    let ticket = bench.sync(leader, &[(&one.member_id, "1"), (&two.member_id, "2")]);
    bench.share(ticket).unwrap();
    bench.share(waiting).unwrap();

    let back = bench.ask(Request::Join(joining("", Some("one"))));
    let back = bench.joined(back);
    assert_eq!(back.generation, 1, "no rebalance");
    assert_ne!(back.member_id, one.member_id);
    assert_eq!(back.skip_assignment, back.leader == back.member_id);
    let beat = Heartbeat {
        group: "g".into(),
        member_id: Arc::clone(&one.member_id),
        instance_id: Some("one".into()),
        generation: 1,
    };
    let Answer::Heartbeat(fenced) = bench.answered(Request::Heartbeat(beat)) else { panic!() };
    assert_eq!(fenced, Err(ErrorCode::FencedInstanceId));
    let ticket = bench.sync(&back, &[]);
    assert_eq!(bench.share(ticket), Ok(Bytes::from("1")));
    // It is the same after a restart of the broker.
    let mut next = bench.reloaded();
    let ticket = next.sync(&back, &[]);
    assert_eq!(next.share(ticket), Ok(Bytes::from("1")));
}

#[test]
fn protocols_that_do_not_fit_are_refused() {
    let mut bench = Bench::new();
    let _ = bench.pair();
    let other = vec![OfferedProtocol { name: "sticky".into(), metadata: Bytes::new() }];
    let ticket = bench.ask(Request::Join(JoinGroup { protocols: other, ..joining("", None) }));
    assert_eq!(bench.join_error(ticket), ErrorCode::InconsistentGroupProtocol);
    let ticket = bench.ask(Request::Join(JoinGroup { protocol_type: "connect".into(), ..joining("", None) }));
    assert_eq!(bench.join_error(ticket), ErrorCode::InconsistentGroupProtocol);
    let ticket = bench.ask(Request::Join(JoinGroup { session_timeout_ms: 5_999, ..joining("", None) }));
    assert_eq!(bench.join_error(ticket), ErrorCode::InvalidSessionTimeout);
}

#[test]
fn a_member_id_that_is_not_used_is_forgotten() {
    let mut bench = Bench::new();
    let ticket = bench.join("");
    assert_eq!(bench.join_error(ticket), ErrorCode::MemberIdRequired);
    assert_eq!(bench.state(), "Empty");
    bench.pass(10_001);
    assert_eq!(bench.state(), "none");
    assert!(bench.records.is_empty());
}

/// Its client may have lost the connection and ask again, while the others take their time.
#[test]
fn a_new_member_that_joins_again_waits_for_a_rebalance_that_is_longer_than_its_session() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    let (id, _) = bench.join_new();
    bench.pass(5_000);
    let again = bench.join(&id);
    for _ in 0..11 {
        for member in [&leader, &follower] {
            assert_eq!(bench.beat(&member.member_id, 1), Err(ErrorCode::RebalanceInProgress));
        }
        bench.pass(5_000);
    }
    assert_eq!(bench.joined(again).generation, 2);
}

#[test]
fn only_an_empty_group_can_be_deleted() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    let delete = |bench: &mut Bench| match bench.answered(Request::Delete("g".into())) {
        Answer::Delete(result) => result,
        other => panic!("{other:?}"),
    };
    assert_eq!(delete(&mut bench), Err(ErrorCode::NonEmptyGroup));
    assert_eq!((bench.leave(&leader.member_id), bench.leave(&follower.member_id)), (Ok(()), Ok(())));
    assert_eq!(delete(&mut bench), Ok(()));
    assert_eq!(delete(&mut bench), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(bench.reloaded().state(), "none");
}

#[test]
fn words_that_are_too_long_are_refused() {
    let mut bench = Bench::new();
    let long = "w".repeat(4_097);
    let words = PartitionCommit { metadata: Some(long.as_str().into()), ..commit("t", 0) };
    assert_eq!(bench.commit_of("", -1, words), Err(ErrorCode::OffsetMetadataTooLarge));
    assert_eq!(bench.committed("t"), None);
}

fn beating(member_epoch: i32) -> ConsumerHeartbeat {
    let joins = member_epoch == 0;
    ConsumerHeartbeat {
        group: "g".into(),
        member_id: "m".into(),
        member_epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: if joins { 60_000 } else { -1 },
        subscribed_topic_names: joins.then(|| vec!["t".into()]),
        subscribed_topic_regex: None,
        server_assignor: None,
        topic_partitions: joins.then(BTreeMap::new),
        client: Client { id: "c".into(), host: "/h".into() },
        version: 1,
    }
}

#[test]
fn a_group_of_the_consumer_protocol_lives_beside_its_offsets_and_survives_a_restart() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit("", -1, 3), Ok(()), "offsets may be there before members");
    let beat = |bench: &mut Bench, epoch| match bench.answered(Request::ConsumerHeartbeat(beating(epoch))) {
        Answer::ConsumerHeartbeat(result) => result,
        other => panic!("{other:?}"),
    };
    let joined = beat(&mut bench, 0).unwrap();
    assert_eq!(joined.assignment.unwrap().values().map(Vec::len).sum::<usize>(), 4);
    assert_eq!(bench.commit("", -1, 4), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.commit("m", joined.member_epoch, 4), Ok(()));
    assert_eq!(bench.commit("m", joined.member_epoch - 1, 5), Err(ErrorCode::StaleMemberEpoch));

    let mut next = bench.reloaded();
    assert_eq!(next.committed("t"), Some((4, "".into())));
    assert_eq!(beat(&mut next, joined.member_epoch).unwrap().member_epoch, joined.member_epoch);
    next.pass(45_001);
    assert_eq!(beat(&mut next, joined.member_epoch).unwrap_err().code, ErrorCode::UnknownMemberId);
}

#[test]
fn an_empty_group_takes_the_protocol_of_who_comes() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    let refused = bench.answered(Request::ConsumerHeartbeat(beating(0)));
    assert!(matches!(refused, Answer::ConsumerHeartbeat(Err(_))), "{refused:?}");
    assert_eq!((bench.leave(&leader.member_id), bench.leave(&follower.member_id)), (Ok(()), Ok(())));
    let joined = bench.answered(Request::ConsumerHeartbeat(beating(0)));
    assert!(matches!(joined, Answer::ConsumerHeartbeat(Ok(_))), "{joined:?}");
    assert_eq!(bench.reloaded().state(), "none", "it is no classic group any more");

    let left = bench.answered(Request::ConsumerHeartbeat(ConsumerHeartbeat { topic_partitions: None, ..beating(-1) }));
    assert!(matches!(left, Answer::ConsumerHeartbeat(Ok(_))), "{left:?}");
    let _ = bench.pair();
    let mut next = bench.reloaded();
    assert_eq!((bench.state(), next.state()), ("Stable", "Stable"));
}
