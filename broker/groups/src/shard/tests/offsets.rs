//! What becomes of committed offsets: when they expire, and with which topics they go or stay.

use ringmill_net::wire::embedded_protocol::{self, ConsumerProtocolSubscription};

use super::*;
use crate::request::OffsetDelete;

#[test]
fn offsets_expire_when_the_group_was_not_used_for_long() {
    let week_ms = 7 * 24 * 3_600_000;
    let mut bench = Bench::new();
    let (leader, follower) = bench.pair();
    assert_eq!(bench.commit(&leader.member_id, 1, 5), Ok(()));
    assert_eq!((bench.leave(&leader.member_id), bench.leave(&follower.member_id)), (Ok(()), Ok(())));
    bench.pass(week_ms - 1_000_000);
    assert_eq!(bench.committed("t"), Some((5, "".into())));
    bench.pass(2_000_000);
    assert_eq!(bench.committed("t"), None);
    assert_eq!(bench.state(), "none");
    assert_eq!(bench.reloaded().state(), "none");
}

#[test]
fn an_old_client_says_itself_when_its_offset_expires() {
    let mut bench = Bench::new();
    let short = PartitionCommit { offset: 3, retention_ms: Some(60_000), ..commit("t", 0) };
    assert_eq!(bench.commit_of("", -1, short), Ok(()));
    let mut next = bench.reloaded();
    next.pass(700_000);
    assert_eq!(next.committed("t"), None);
}

#[test]
fn offsets_of_a_topic_that_is_gone_are_forgotten() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit_of("", -1, commit("gone", 0)), Ok(()));
    assert_eq!(bench.commit_of("", -1, commit("t", 0)), Ok(()));
    let forgotten = |bench: &mut Bench| (bench.committed("gone"), bench.committed("t").is_some()) == (None, true);
    assert!(forgotten(&mut bench.reloaded()), "also when nobody was there to be told of the deletion");
    let effects = bench.shard.on_topics_deleted(bench.now(), &NoTopics);
    bench.note(effects);
    assert!(forgotten(&mut bench) && forgotten(&mut bench.reloaded()));
}

/// Both lists are a stranger's: looked through once for each topic they would keep a core for minutes.
#[test]
fn offsets_of_topics_that_members_read_are_not_deleted_however_many_are_asked_for() {
    let names: Vec<String> = (0..50_000).map(|number| format!("t{number}")).collect();
    let subscription =
        ConsumerProtocolSubscription { topics: names.iter().map(String::as_str).collect(), ..Default::default() };
    let mut bench = Bench::new();
    let mut join = joining("", None);
    join.protocols[0].metadata = embedded_protocol::encode(&subscription, 1);
    join.knows_member_id_required = false;
    let ticket = bench.ask(Request::Join(join));
    bench.pass(3_000);
    let joined = bench.joined(ticket);
    let ticket = bench.sync(&joined, &[(&joined.member_id, "all")]);
    assert_eq!(bench.share(ticket), Ok(Bytes::from("all")));

    let asked = (0..100_000).map(|number| (format!("t{number}").into(), vec![0])).collect();
    let Answer::DeleteOffsets(Ok(answered)) =
        bench.answered(Request::DeleteOffsets(OffsetDelete { group: "g".into(), topics: asked }))
    else {
        panic!("the group is there")
    };
    assert!(answered[..50_000].iter().all(|each| *each == [Err(ErrorCode::GroupSubscribedToTopic)]));
    assert!(answered[50_000..].iter().all(|each| *each == [Ok(())]));
}

/// What members of another protocol than consumers' read is not known: the group has to be empty, and that is said of it as a whole.
#[test]
fn offsets_of_a_group_that_is_not_of_consumers_are_deleted_once_it_is_empty() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit("", -1, 5), Ok(()));
    let join = JoinGroup { protocol_type: "connect".into(), knows_member_id_required: false, ..joining("", None) };
    let ticket = bench.ask(Request::Join(join));
    let delete = |bench: &mut Bench| {
        let request = OffsetDelete { group: "g".into(), topics: vec![("t".into(), vec![0])] };
        match bench.answered(Request::DeleteOffsets(request)) {
            Answer::DeleteOffsets(deleted) => deleted,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut bench), Err(ErrorCode::NonEmptyGroup));
    bench.pass(3_000);
    let joined = bench.joined(ticket);
    assert_eq!(delete(&mut bench), Err(ErrorCode::NonEmptyGroup));
    assert_eq!((bench.leave(&joined.member_id), bench.committed("t").is_some()), (Ok(()), true));
    assert_eq!((delete(&mut bench), bench.committed("t")), (Ok(vec![vec![Ok(())]]), None));
}

/// Whoever asked soon after a topic was deleted and made again was told the old one's offset, and missed records of the new one.
#[test]
fn offsets_of_a_deleted_topic_are_not_those_of_another_one_with_its_name() {
    let mut bench = Bench::new();
    let old = PartitionCommit { offset: 7, topic_id: [2; 16], ..commit("t", 0) };
    assert_eq!((bench.commit_of("", -1, old), bench.committed("t")), (Ok(()), None));
    let new = PartitionCommit { offset: 3, topic_id: [1; 16], ..commit("t", 0) };
    assert_eq!((bench.commit_of("", -1, new), bench.committed("t")), (Ok(()), Some((3, "".into()))));
}

/// A member alone, whose subscription names these topics; it may be silent for half an hour.
fn reader(bench: &mut Bench, member_id: &str, topics: &[&str]) -> Joined {
    let subscription = ConsumerProtocolSubscription { topics: topics.to_vec(), ..Default::default() };
    let mut join = joining(member_id, None);
    join.protocols[0].metadata = embedded_protocol::encode(&subscription, 1);
    (join.session_timeout_ms, join.knows_member_id_required) = (1_800_000, false);
    let ticket = bench.ask(Request::Join(join));
    bench.pass(3_000);
    let joined = bench.joined(ticket);
    let ticket = bench.sync(&joined, &[(&joined.member_id, "all")]);
    assert_eq!(bench.share(ticket), Ok(Bytes::from("all")));
    joined
}

/// Each rebalance began the time of all offsets anew: a group with one a week never forgot anything.
#[test]
fn offsets_of_topics_that_members_read_no_more_expire_however_often_they_share_anew() {
    let mut bench = Bench::new();
    let mut joined = reader(&mut bench, "", &["t"]);
    for topic in ["t", "other"] {
        assert_eq!(bench.commit_of(&joined.member_id, joined.generation, commit(topic, 0)), Ok(()));
    }
    for beat in 0..8 * 48 {
        bench.pass(1_790_000);
        assert_eq!(bench.beat(&joined.member_id, joined.generation), Ok(()));
        if beat % 48 == 47 {
            joined = reader(&mut bench, &joined.member_id, &["t"]);
        }
    }
    assert_eq!(joined.generation, 9);
    assert_eq!((bench.committed("t").is_some(), bench.committed("other")), (true, None));
}

/// The group became a classic one of which nothing was known but its offsets, and those that were committed long ago were gone at once.
#[test]
fn a_classic_member_that_comes_to_an_empty_group_begins_the_time_of_its_offsets_not_anew() {
    for session_timeout_ms in [1, 10_000] {
        let mut bench = Bench::new();
        bench.shard.set_settings(Arc::new(Settings { offsets_retention_ms: 1_800_000, ..Settings::default() }));
        let beat = |bench: &mut Bench, epoch| match bench.answered(Request::ConsumerHeartbeat(beating(epoch))) {
            Answer::ConsumerHeartbeat(Ok(beat)) => beat.member_epoch,
            other => panic!("{other:?}"),
        };
        let epoch = beat(&mut bench, 0);
        assert_eq!(bench.commit("m", epoch, 5), Ok(()));
        for _ in 0..60 {
            bench.pass(40_000);
            assert_eq!(beat(&mut bench, epoch), epoch);
        }
        beat(&mut bench, -1);
        let ticket = bench.ask(Request::Join(JoinGroup { session_timeout_ms, ..joining("", None) }));
        bench.join_error(ticket);
        let mut restarted = bench.reloaded();
        restarted.shard.set_settings(Arc::new(Settings { offsets_retention_ms: 1_800_000, ..Settings::default() }));
        for bench in [&mut bench, &mut restarted] {
            bench.pass(1_300_000);
            assert_eq!(bench.committed("t"), Some((5, "".into())), "after a session of {session_timeout_ms} ms");
            bench.pass(1_300_000);
            assert_eq!((bench.committed("t"), bench.state()), (None, "none"));
        }
    }
}
