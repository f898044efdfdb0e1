//! A step's records may be more than one batch, so that a crash can leave any first part of what a change of protocol wrote.

use super::*;
use crate::request::{OffsetCommit, OffsetFetch, PartitionCommit};

impl Bench {
    /// Another shard, out of the first so many records.
    fn with_the_first(&self, records: usize) -> Bench {
        let mut bench = Bench::with(Settings::clone(&self.settings));
        bench.records = self.records[..records].to_vec();
        (bench.now_ms, bench.tickets) = (self.now_ms, self.tickets);
        bench.restart();
        bench
    }

    fn commit(&mut self, member_id: &str, generation: i32, offset: i64) -> Result<(), ErrorCode> {
        let commit = PartitionCommit {
            topic: "t".into(),
            topic_id: TOPIC,
            partition: 0,
            offset,
            leader_epoch: -1,
            metadata: None,
            retention_ms: None,
        };
        let request = OffsetCommit {
            group: "g".into(),
            member_id: member_id.into(),
            instance_id: None,
            generation,
            knows_epochs: false,
            offsets: vec![commit],
        };
        let Answer::Commit(results) = self.answered(Request::Commit(request)) else { panic!("not its answer") };
        results[0]
    }

    fn committed(&mut self) -> Option<i64> {
        let topics = Some(vec![("t".into(), vec![0])]);
        let fetch = OffsetFetch { group: "g".into(), member_id: None, member_epoch: -1, topics };
        let Answer::Fetch(Ok(topics)) = self.answered(Request::Fetch(fetch)) else { panic!("not its answer") };
        topics[0].partitions[0].1.as_ref().map(|found| found.offset)
    }
}

/// What is promised of a group after every crash, if these two were the members of its last generation.
fn check(torn: &mut Bench, members: [&str; 2], generation: i32) {
    for member in members {
        assert!(torn.commit(member, generation - 1, 1).is_err(), "an old generation's commit");
        if let Err(refused) = torn.beat(member, generation) {
            // Each of these sends a client back to its join.
            let sends_back = [ErrorCode::RebalanceInProgress, ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId];
            assert!(sends_back.contains(&refused), "{refused:?}");
        }
    }
    assert_eq!(torn.committed(), Some(40));

    // Those of before never come again, and one that is new has everything once their sessions have ended.
    let joined = torn.consumer_beat(0, None).unwrap();
    let mut owned: Vec<i32> = joined.assignment.into_iter().flatten().flat_map(|(_, partitions)| partitions).collect();
    let mut epoch = joined.member_epoch;
    for _ in 0..40 {
        torn.pass(3_000);
        let beat = torn.consumer_beat(epoch, Some(&owned)).unwrap();
        epoch = beat.member_epoch;
        if let Some(assignment) = beat.assignment {
            owned = assignment.into_values().flatten().collect();
        }
    }
    assert_eq!((owned, torn.committed()), (vec![0, 1, 2, 3, 4, 5], Some(40)));
}

#[test]
fn a_crash_in_a_change_of_protocol_leaves_a_group_that_goes_on() {
    let mut bench = Bench::new(Migration::Bidirectional);
    let (one, other) = bench.pair();
    bench.commit(&one, 2, 40).unwrap();
    let classic = bench.records.len();
    bench.consumer_beat(0, None).unwrap();
    let upgraded = bench.records.len();
    assert!(upgraded - classic > 8, "a description, a target and a current assignment each");
    for records in classic..=upgraded {
        check(&mut bench.with_the_first(records), [&one, &other], 2);
    }
    bench.consumer_beat(-1, None).unwrap();
    let downgraded = bench.records.len();
    assert!(downgraded - upgraded > 8, "as many tombstones");
    for records in upgraded..=downgraded {
        check(&mut bench.with_the_first(records), [&one, &other], 2);
    }
}
