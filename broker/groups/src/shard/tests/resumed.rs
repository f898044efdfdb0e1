//! A shard that is started: out of a log that no coordinator has written so.

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
    let value = record::ClassicGroup {
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
