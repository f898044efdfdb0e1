//! Fetch and ListOffsets: when they answer, where they begin, how much they bring, and what they say beside the records.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use ringmill_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringmill_net::wire::{ErrorCode, Records};

use crate::raw::{Raw, batch, now_ms};
use crate::{OK, with_logs};

/// Longer than a test may take: whoever waits for it has failed.
const LONG_MS: i32 = 20_000;
const SOON: Duration = Duration::from_secs(5);

fn partition(index: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition { partition: index, fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() }
}

fn fetch_request(partitions: Vec<FetchPartition>) -> FetchRequest<'static> {
    let topics = vec![FetchTopic { topic: "logs", partitions, ..FetchTopic::default() }];
    FetchRequest { max_wait_ms: LONG_MS, min_bytes: 1, topics, ..FetchRequest::default() }
}

/// The answer's partitions, in the order of the request.
fn fetch(client: &mut Raw, request: &FetchRequest<'_>, version: i16) -> Vec<PartitionData> {
    let frame = client.call(request, version);
    let mut answer: FetchResponse<'_> = frame.decode(version);
    assert_eq!(answer.error_code, OK);
    assert_eq!(answer.session_id != 0, request.session_epoch == 0, "a session for who asks for one");
    answer.responses.iter_mut().flat_map(|topic| std::mem::take(&mut topic.partitions)).collect()
}

fn length(partition: &PartitionData) -> usize {
    partition.records.map_or(0, Records::length)
}

#[test]
fn a_fetch_answers_at_once_when_waiting_could_not_help() {
    let (broker, mut client, _dir) = with_logs(2, &[]);
    let patient = |partitions| fetch_request(partitions);
    let cases = [
        ("max_wait is 0", FetchRequest { max_wait_ms: 0, ..patient(vec![partition(0, 0)]) }),
        ("max_wait is negative", FetchRequest { max_wait_ms: -1, ..patient(vec![partition(0, 0)]) }),
        ("min_bytes is 0", FetchRequest { min_bytes: 0, ..patient(vec![partition(0, 0)]) }),
        ("nothing was asked", FetchRequest { topics: Vec::new(), ..patient(Vec::new()) }),
        ("no partition was asked", patient(Vec::new())),
        ("one of two partitions is unknown", patient(vec![partition(0, 0), partition(9, 0)])),
        ("one of two offsets is out of range", patient(vec![partition(0, 0), partition(1, 5)])),
    ];
    for (what, request) in cases {
        let began = Instant::now();
        fetch(&mut client, &request, 12);
        assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
    }
    broker.stop();
}

#[test]
fn the_first_batch_of_the_first_partition_that_has_one_comes_whole() {
    let (broker, mut client, _dir) = with_logs(4, &[]);
    let large = batch(1, 5000);
    let bytes = large.len();
    for index in [1, 3] {
        client.produce("logs", index, large.clone());
    }
    // Partitions take turns at being the first, so it may be either; the empty ones before it never are.
    for _ in 0..8 {
        let asked = (0..4).map(|index| FetchPartition { partition_max_bytes: 1, ..partition(index, 0) }).collect();
        let request = FetchRequest { max_bytes: 1, ..fetch_request(asked) };
        let lengths: Vec<usize> = fetch(&mut client, &request, 12).iter().map(length).collect();
        assert!([[0, bytes, 0, 0], [0, 0, 0, bytes]].iter().any(|expected| lengths == expected), "{lengths:?}");
    }
    broker.stop();
}

#[test]
fn a_fetch_in_the_middle_of_a_batch_begins_with_the_whole_batch() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    for codec in [Codec::None, Codec::Zstd] {
        let first = client.list_offset("logs", -1).1;
        client.produce("logs", 0, at_times(codec, &[1, 2, 3, 4, 5]));
        for inside in 0..5 {
            let batches = client.fetch("logs", first + inside).batches();
            assert_eq!((batches[0].base_offset.get(), batches.len()), (first, 1), "{codec:?} {inside}");
        }
    }
    broker.stop();
}

#[test]
fn no_answer_names_another_replica_within_a_session_or_without() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    client.produce("logs", 0, batch(2, 10));
    for version in 7..=18 {
        for (session_id, session_epoch) in [(0, -1), (0, 0), (7, -1), (7, 0)] {
            let by_name =
                FetchRequest { session_id, session_epoch, max_wait_ms: 0, ..fetch_request(vec![partition(0, 0)]) };
            // From 13 on topics come by id, and id 0 is none: the answer is an error, and still names no replica.
            let told = fetch(&mut client, &by_name, version);
            assert_eq!(told[0].preferred_read_replica, -1, "version {version}");
        }
    }
    broker.stop();
}

#[test]
fn read_committed_ends_at_the_last_stable_offset_and_lists_what_was_given_up() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    client.produce("logs", 0, batch(3, 10));
    for (isolation_level, aborted) in [(0, None), (1, Some(Vec::new()))] {
        let request = FetchRequest { isolation_level, ..fetch_request(vec![partition(0, 0)]) };
        let told = fetch(&mut client, &request, 12).remove(0);
        let watermarks = (told.high_watermark, told.last_stable_offset, told.log_start_offset);
        assert_eq!((watermarks, told.aborted_transactions), ((3, 3, 0), aborted), "isolation level {isolation_level}");
    }
    broker.stop();
}

#[test]
fn offsets_outside_the_log_and_epochs_of_the_future_are_refused() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    client.produce("logs", 0, batch(3, 10));
    let cases = [
        ("the end", partition(0, 3), ErrorCode::None),
        ("behind the end", partition(0, 4), ErrorCode::OffsetOutOfRange),
        ("before the start", partition(0, -1), ErrorCode::OffsetOutOfRange),
        ("no epoch", FetchPartition { current_leader_epoch: -1, ..partition(0, 0) }, ErrorCode::None),
        ("a newer epoch", FetchPartition { current_leader_epoch: 9, ..partition(0, 0) }, ErrorCode::UnknownLeaderEpoch),
    ];
    for (what, asked, expected) in cases {
        let request = FetchRequest { max_wait_ms: 0, ..fetch_request(vec![asked]) };
        let told = fetch(&mut client, &request, 12).remove(0);
        assert_eq!(ErrorCode::from_code(told.error_code), Some(expected), "{what}");
        // Whoever is out of range needs to know the range.
        if expected == ErrorCode::OffsetOutOfRange {
            assert_eq!((told.log_start_offset, told.high_watermark), (0, 3), "{what}");
        }
    }
    broker.stop();
}

fn at_times(codec: Codec, times_ms: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    for time_ms in times_ms {
        builder.push(*time_ms, Some(b"key"), Some(b"value value value value value value"), &[]);
    }
    builder.finish().freeze()
}

/// Error, offset, timestamp, leader epoch.
fn list(client: &mut Raw, timestamp: i64, epoch: i32, version: i16) -> (ErrorCode, i64, i64, i32) {
    let partitions = vec![ListOffsetsPartition { timestamp, current_leader_epoch: epoch, ..Default::default() }];
    let topics = vec![ListOffsetsTopic { name: "logs", partitions }];
    let frame = client.call(&ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() }, version);
    let answer: ListOffsetsResponse<'_> = frame.decode(version);
    let told = &answer.topics[0].partitions[0];
    (ErrorCode::from_code(told.error_code).unwrap(), told.offset, told.timestamp, told.leader_epoch)
}

#[test]
fn a_search_by_time_finds_the_first_record_of_that_time_or_later() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let (broker, mut client, _dir) = with_logs(1, &[]);
        let t = now_ms() - 60_000;
        // Offsets 0 to 2 and 3 to 5; times fall inside and between batches.
        client.produce("logs", 0, at_times(codec, &[t, t + 10, t + 20]));
        client.produce("logs", 0, at_times(codec, &[t + 15, t + 30, t + 30]));
        let cases = [
            (0, 0, t),
            (t, 0, t),
            (t + 1, 1, t + 10),
            (t + 10, 1, t + 10),
            (t + 15, 2, t + 20),
            (t + 21, 4, t + 30),
            (t + 30, 4, t + 30),
        ];
        for version in [1, 4, 11] {
            for (time, offset, found) in cases {
                let told = list(&mut client, time, -1, version);
                assert_eq!((told.0, told.1, told.2), (ErrorCode::None, offset, found), "{codec:?} {}", time - t);
            }
            let none = list(&mut client, t + 31, -1, version);
            assert_eq!((none.0, none.1, none.2), (ErrorCode::None, -1, -1), "{codec:?}: later than all is no error");
        }
        broker.stop();
    }
}

#[test]
fn the_special_times_name_the_ends_of_the_log() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let t = now_ms();
    client.produce("logs", 0, at_times(Codec::None, &[t, t + 9, t + 5]));
    // Each with the version that brought it; before, it means nothing.
    let special = [
        ("latest", -1, 1, 3, -1),
        ("earliest", -2, 1, 0, -1),
        ("max", -3, 7, 1, t + 9),
        ("local", -4, 8, 0, -1),
        ("tiered", -5, 9, -1, -1),
        ("not yet tiered", -6, 11, -1, -1),
        ("none", -7, 12, -1, -1),
    ];
    for (what, timestamp, since, offset, time) in special {
        for version in 1..=11 {
            let told = list(&mut client, timestamp, -1, version);
            let expected = match version >= since {
                true => (ErrorCode::None, offset, time),
                false => (ErrorCode::UnsupportedVersion, -1, -1),
            };
            assert_eq!((told.0, told.1, told.2), expected, "{what} in version {version}");
        }
    }
    assert_eq!(list(&mut client, -1, 9, 11).0, ErrorCode::UnknownLeaderEpoch);
    // The epoch of the records is told from version 4 on.
    assert_eq!((list(&mut client, -1, -1, 3).3, list(&mut client, -1, -1, 4).3 >= 0), (-1, true));
    broker.stop();
}
