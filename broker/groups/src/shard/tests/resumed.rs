//! A shard that is started: out of a log that no coordinator has written so, or again after its members were refused for a time.

use super::*;
use crate::record;

fn stored(member_id: &str, instance_id: &str) -> record::ClassicMember {
    record::ClassicMember {
        member_id: member_id.into(),
        instance_id: Some(instance_id.into()),
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 10_000,
        subscription: Bytes::new(),
        assignment: Bytes::new(),
    }
}

/// A shard with a stable group of these members.
fn bench_of(members: Vec<record::ClassicMember>) -> Bench {
    let value = record::StoredGroup {
        protocol_type: "consumer".into(),
        generation: 3,
        protocol: Some("range".into()),
        leader: Some(Arc::clone(&members[0].member_id)),
        state_ms: 0,
        members,
    };
    Bench { records: vec![Record::Classic { group: "g".into(), value: Some(value) }], ..Bench::new() }.reloaded()
}

/// The name that nobody had any more led to a member that was not there, and the core panicked when a process came with it.
#[test]
fn a_stored_member_with_two_static_names_has_the_last_of_them() {
    let mut bench = bench_of(vec![stored("m", "x"), stored("m", "y")]);
    bench.pass(20_000);
    assert_eq!(bench.state(), "Empty", "its session is over");
    for instance in ["x", "y"] {
        let _ = bench.ask(Request::Join(joining("", Some(instance))));
    }
    bench.pass(3_000);
    assert_eq!(bench.state(), "CompletingRebalance");
}

#[test]
fn a_static_name_that_two_stored_members_have_stays_with_the_last_when_the_first_goes() {
    let mut bench = bench_of(vec![stored("first", "x"), stored("last", "x")]);
    let members = vec![LeavingMember { member_id: "first".into(), instance_id: None }];
    let left = bench.answered(Request::Leave(LeaveGroup { group: "g".into(), members }));
    assert!(matches!(&left, Answer::Leave(Ok(results)) if *results == [Ok(())]), "{left:?}");
    let fenced = bench.answered(Request::Heartbeat(Heartbeat {
        group: "g".into(),
        member_id: "first".into(),
        instance_id: Some("x".into()),
        generation: 3,
    }));
    assert!(matches!(fenced, Answer::Heartbeat(Err(ErrorCode::FencedInstanceId))), "{fenced:?}");
}

impl Bench {
    /// The partition takes no records for a time, in which joins and syncs are refused and nothing is done by time; then it goes on.
    fn stall(&mut self, millis: u64) {
        self.now_ms += millis;
        let effects = self.shard.start(self.now(), &NoTopics);
        self.note(effects);
    }
}

/// Those who could not join meanwhile were out as soon as the partition took records again, and who was new with them.
#[test]
fn a_rebalance_waits_anew_for_members_that_were_refused() {
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    let (_, third) = bench.join_new();
    bench.stall(70_000);
    bench.pass(9_000);
    assert_eq!(bench.beat(&follower.member_id, 1), Err(ErrorCode::RebalanceInProgress));
    let one = bench.join(&leader.member_id);
    bench.pass(9_000);
    let other = bench.join(&follower.member_id);
    assert_eq!([third, one, other].map(|ticket| bench.joined(ticket).generation), [2, 2, 2]);
}

#[test]
fn members_that_could_not_ask_for_their_shares_have_time_to_do_so() {
    let mut bench = Bench::new();
    let (first, second) = (bench.join_new().1, bench.join_new().1);
    bench.pass(3_000);
    let (one, other) = (bench.joined(first), bench.joined(second));
    bench.stall(70_000);
    bench.pass(1_000);
    let (leader, follower) = if one.members.is_empty() { (other, one) } else { (one, other) };
    let waiting = bench.sync(&follower, &[]);
    let ticket = bench.sync(&leader, &[(&leader.member_id, "L"), (&follower.member_id, "F")]);
    assert_eq!((bench.share(ticket), bench.share(waiting)), (Ok(Bytes::from("L")), Ok(Bytes::from("F"))));
}

/// The first rebalance of a group, too, in which those who come next are waited for.
#[test]
fn a_first_rebalance_waits_anew_as_well() {
    let mut bench = Bench::new();
    let (_, first) = bench.join_new();
    bench.stall(70_000);
    bench.pass(2_000);
    let (_, second) = bench.join_new();
    bench.pass(3_000);
    assert_eq!([first, second].map(|ticket| bench.joined(ticket).generation), [1, 1]);
}
