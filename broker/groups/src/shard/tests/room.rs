//! What groups may take.

use super::*;
use crate::Full;

#[test]
fn what_groups_take_in_memory_is_bounded() {
    let mut bench = Bench::new();
    let settings = Settings { shard_bytes_max: 2_000, ..Settings::default() };
    bench.shard.set_settings(Arc::new(settings));
    let refused = (0..100).find_map(|partition| bench.commit_of("", -1, commit("t", partition)).err());
    assert_eq!(refused, Some(ErrorCode::InvalidCommitOffsetSize));
    let ticket = bench.join("");
    assert_eq!(bench.join_error(ticket), ErrorCode::GroupMaxSizeReached);
}

/// Groups that only keep offsets cost nobody a member, and their names may be long.
#[test]
fn groups_without_members_are_bounded_too_and_one_whose_commits_are_all_refused_is_none() {
    let mut bench = Bench::new();
    let settings = Settings { shard_bytes_max: 100_000, ..Settings::default() };
    bench.shard.set_settings(Arc::new(settings));
    let mut commit_as = |number: usize, metadata: &str| {
        let words = PartitionCommit { metadata: Some(metadata.into()), ..commit("t", 0) };
        let request = OffsetCommit {
            group: format!("{number:01000}").into(),
            member_id: "".into(),
            instance_id: None,
            generation: -1,
            knows_epochs: true,
            offsets: vec![words],
        };
        match bench.answered(Request::Commit(request)) {
            Answer::Commit(results) => (results[0], bench.shard.group_count()),
            other => panic!("{other:?}"),
        }
    };
    let long = "w".repeat(4_097);
    for number in 0..1_000 {
        assert_eq!(commit_as(number, &long), (Err(ErrorCode::OffsetMetadataTooLarge), 0));
    }
    let taken = (0..1_000).take_while(|number| commit_as(*number, "").0.is_ok()).count();
    assert!((40..100).contains(&taken), "{taken} groups of a thousand bytes each");
    assert_eq!(commit_as(2_000, ""), (Err(ErrorCode::InvalidCommitOffsetSize), taken));
}

fn bench_with(shard_bytes_max: usize, group_bytes_max: usize) -> Bench {
    let mut bench = Bench::new();
    bench.shard.set_settings(Arc::new(Settings { shard_bytes_max, group_bytes_max, ..Settings::default() }));
    bench
}

fn joining_with(member_id: &str, told_bytes: usize) -> Request {
    let mut join = joining(member_id, None);
    join.protocols.truncate(1);
    join.protocols[0].metadata = Bytes::from(vec![0; told_bytes]);
    Request::Join(join)
}

/// A group is stored as one record: one that no segment holds would end its coordinator, and with it all groups beside it.
#[test]
fn a_group_is_no_larger_than_its_record_may_be() {
    let mut bench = bench_with(1 << 20, 20_000);
    let (id, ticket) = bench.join_new();
    bench.pass(3_000);
    let joined = bench.joined(ticket);
    assert_eq!((bench.share_of(&joined, 15_000), bench.state()), (Ok(15_000), "Stable"));

    let stranger = bench.ask(joining_with("", 6_000));
    assert_eq!(bench.join_error(stranger), ErrorCode::GroupMaxSizeReached);
    let grown = bench.ask(joining_with(&id, 6_000));
    assert_eq!(bench.join_error(grown), ErrorCode::GroupMaxSizeReached);
    let same = bench.join(&id);
    assert_eq!((bench.joined(same).generation, bench.state()), (2, "CompletingRebalance"), "who is in goes on");

    let joined = Joined { generation: 2, ..joined };
    assert_eq!(bench.share_of(&joined, 25_000), Err(ErrorCode::UnknownServerError));
    assert_eq!(bench.share_of(&joined, 15_500), Ok(15_500), "it takes the place of the one before");
    let largest = bench.records.iter().filter_map(Record::value).map(|value| value.len()).max();
    assert!(largest.unwrap() < 20_000, "{largest:?}");
}

/// Assignments of many groups together are bounded as well.
#[test]
fn a_full_coordinator_takes_no_larger_assignment_and_keeps_who_is_in() {
    let mut bench = bench_with(10_000, 1 << 20);
    let (id, ticket) = bench.join_new();
    bench.pass(3_000);
    let joined = bench.joined(ticket);
    assert_eq!(bench.share_of(&joined, 9_500), Err(ErrorCode::UnknownServerError));
    assert_eq!(bench.share_of(&joined, 8_000), Ok(8_000));
    let filled = (0..100).find_map(|partition| bench.commit_of(&id, 1, commit("t", partition)).err());
    assert_eq!(filled, Some(ErrorCode::InvalidCommitOffsetSize));
    let stranger = bench.ask(joining_with("", 160));
    assert_eq!(bench.join_error(stranger), ErrorCode::GroupMaxSizeReached);
    let same = bench.join(&id);
    assert_eq!(bench.joined(same).generation, 2);
}

/// What only takes another's place must go on: else one group's thousand offsets would stop every other group's progress for a week.
#[test]
fn a_full_coordinator_takes_offsets_in_the_place_of_others() {
    let mut bench = bench_with(2_000, 1 << 20);
    let refused = (0..100).find(|partition| bench.commit_of("", -1, commit("t", *partition)).is_err());
    let of_partition = |partition, offset| PartitionCommit { offset, ..commit("t", partition) };
    assert_eq!(bench.commit_of("", -1, of_partition(0, 7)), Ok(()));
    assert_eq!(bench.committed("t"), Some((7, "".into())));

    let told = PartitionCommit { metadata: Some("w".repeat(1_000).into()), ..of_partition(0, 8) };
    assert_eq!(bench.commit_of("", -1, told), Err(ErrorCode::InvalidCommitOffsetSize), "it takes more than it did");
    let refused = refused.expect("it was filled");
    assert_eq!(bench.commit_of("", -1, of_partition(refused, 1)), Err(ErrorCode::InvalidCommitOffsetSize));
    assert_eq!(bench.committed("t"), Some((7, "".into())));
}

/// A protocol takes memory beside its words.
#[test]
fn protocols_without_a_word_count_too() {
    let mut bench = bench_with(10_000, 1 << 20);
    let mut join = joining("", None);
    let wordless = |number: usize| OfferedProtocol { name: format!("{number}").into(), metadata: Bytes::new() };
    join.protocols = (0..32).map(wordless).collect();
    join.knows_member_id_required = false;
    let mut join_as = |group: usize| {
        let join = JoinGroup { group: format!("{group}").into(), ..join.clone() };
        bench.ask(Request::Join(join));
        bench.shard.group_count()
    };
    assert_eq!((0..5).map(&mut join_as).collect::<Vec<_>>(), [1, 2, 2, 2, 2]);
}

/// Each was refused with words that could mean either limit, or without a word anywhere.
#[test]
fn who_is_refused_for_want_of_room_can_read_which_limit_it_was_and_what_sets_it() {
    let mut full_shard = bench_with(10_000, 1 << 20);
    let mut full_group = bench_with(1 << 20, 10_000);
    for bench in [&mut full_shard, &mut full_group] {
        let (_, ticket) = bench.join_new();
        bench.pass(3_000);
        let joined = bench.joined(ticket);
        assert_eq!(bench.share_of(&joined, 20_000), Err(ErrorCode::UnknownServerError));
        let stranger = bench.ask(joining_with("", 20_000));
        assert_eq!(bench.join_error(stranger), ErrorCode::GroupMaxSizeReached);
        assert_eq!(bench.share_of(&joined, 1_000), Ok(1_000));
        let names = (0..500).map(|name| format!("a-topic-of-{name:09}").into()).collect();
        let beat = ConsumerHeartbeat { subscribed_topic_names: Some(names), ..beating(0) };
        let Answer::ConsumerHeartbeat(Err(refused)) = bench.answered(Request::ConsumerHeartbeat(beat)) else {
            panic!("there is no room for its names")
        };
        assert_eq!(refused.why, bench.no_room.last().expect("it is told").full.to_string());
    }
    let words = PartitionCommit { metadata: Some("w".repeat(9_000).into()), ..commit("t", 0) };
    assert_eq!(full_shard.commit_of("", -1, words), Err(ErrorCode::InvalidCommitOffsetSize));

    let told = |bench: &Bench| bench.no_room.iter().map(|each| (each.request, each.full)).collect::<Vec<_>>();
    let requests = |told: &[(&'static str, Full)]| told.iter().map(|(request, _)| *request).collect::<Vec<_>>();
    let (of_shard, of_group) = (told(&full_shard), told(&full_group));
    let all = ["SyncGroup", "JoinGroup", "ConsumerGroupHeartbeat", "OffsetCommit"];
    assert_eq!(requests(&of_shard), all);
    assert_eq!(requests(&of_group), all[..3], "offsets are no part of a group's record");
    let is_of_shard = |(_, full): &(_, Full)| {
        matches!(full, Full::Shard { bytes_max: 10_000, .. })
            && full.to_string().contains("ringmill.groups.memory.bytes")
    };
    let is_of_group = |(_, full): &(_, Full)| {
        matches!(full, Full::Group { bytes_max: 10_000, .. })
            && full.to_string().contains("offsets.topic.segment.bytes")
    };
    assert!(of_shard.iter().all(is_of_shard), "{of_shard:?}");
    assert!(of_group.iter().all(is_of_group), "{of_group:?}");
}

impl Bench {
    /// The leader gives itself so many bytes, and is told how many it has.
    fn share_of(&mut self, leader: &Joined, bytes: usize) -> Result<usize, ErrorCode> {
        let share: &'static str = "x".repeat(bytes).leak();
        let ticket = self.sync(leader, &[(&leader.member_id, share)]);
        self.share(ticket).map(|share| share.len())
    }
}
