//! Deadlines that a step brings nearer: the group is looked at by then, and not when the one before would have come.

use super::*;

impl Bench {
    fn consumer_beat(&mut self, epoch: i32) -> Result<i32, ErrorCode> {
        match self.answered(Request::ConsumerHeartbeat(beating(epoch))) {
            Answer::ConsumerHeartbeat(result) => result.map(|beat| beat.member_epoch).map_err(|refused| refused.code),
            other => panic!("{other:?}"),
        }
    }
}

/// The member was put out when the session that it began with the longer timeout would have ended.
#[test]
fn a_lowered_session_timeout_holds_from_a_consumer_members_next_heartbeat_on() {
    let mut bench = Bench::new();
    let epoch = bench.consumer_beat(0).unwrap();
    bench.shard.set_settings(Arc::new(Settings { consumer_session_timeout_ms: 10_000, ..Settings::default() }));
    assert_eq!(bench.consumer_beat(epoch), Ok(epoch));
    let records = bench.records.len();
    bench.pass(9_999);
    assert_eq!(bench.records.len(), records, "it may be silent for so long");
    bench.pass(1);
    assert!(bench.records.len() > records, "it is out");
    assert_eq!(bench.consumer_beat(epoch), Err(ErrorCode::UnknownMemberId));
}

/// The group was looked at only when the first rebalance was to end, so that the member was in the generation though it had been silent.
#[test]
fn a_new_member_that_is_heard_of_while_it_waits_has_a_session_from_then_on() {
    for commits in [false, true] {
        let mut bench = Bench::new();
        bench.shard.set_settings(Arc::new(Settings { initial_rebalance_delay_ms: 30_000, ..Settings::default() }));
        let (id, ticket) = bench.join_new();
        // Past the moment when its id would have lapsed.
        bench.pass(10_000);
        match commits {
            true => assert_eq!(bench.commit(&id, 0, 5), Ok(())),
            false => assert_eq!(bench.beat(&id, 0), Err(ErrorCode::RebalanceInProgress)),
        }
        bench.pass(9_999);
        assert!(bench.answers.is_empty(), "it may be silent for so long");
        bench.pass(1);
        assert_eq!(bench.join_error(ticket), ErrorCode::UnknownMemberId);
    }
}
