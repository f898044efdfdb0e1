//! ListOffsets (key 2): where a partition begins and ends, and which record is the first from a given time on.

use ringmill_engine::log::{LogReader, TimestampOffset};
use ringmill_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{check_epoch, decode, find_reader, named_twice, read_error_code, respond, too_many_partitions};
use crate::core::Core;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The special timestamps, and the version that brought each.
const SPECIAL: [(i64, i16); 6] = [
    (LATEST, 1),
    (EARLIEST, 1),
    (MAX_TIMESTAMP, 7),
    (EARLIEST_LOCAL, 8),
    (LATEST_TIERED, 9),
    (EARLIEST_PENDING_UPLOAD, 11),
];

/// What is found.
#[derive(Clone, Copy)]
struct Found {
    offset: i64,
    timestamp_ms: i64,
    leader_epoch: i32,
}

/// What the protocol says for "there is none", without an error.
const NONE: Found = Found { offset: -1, timestamp_ms: -1, leader_epoch: -1 };

/// Answers for each partition on its own.
pub(super) async fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ListOffsetsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many_partitions(asked.topics.iter().map(|topic| topic.partitions.len())) {
        return Ok(refused);
    }
    let twice = named_twice(
        asked
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name, partition.partition_index))),
    );
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            // A request may name a million partitions; the core's other connections get their turns in between.
            tokio::task::coop::consume_budget().await;
            // As in Kafka. To search by time may be to decompress a batch, so it is not done at will.
            let is_twice = twice.contains(&(topic.name, partition.partition_index));
            let found = match find_reader(core, topic.name, partition.partition_index) {
                _ if is_twice => Err(ErrorCode::InvalidRequest),
                Ok(_) if !means_something(partition.timestamp, request.header.api_version) => {
                    Err(ErrorCode::UnsupportedVersion)
                }
                Ok(reader) => find(core, &reader, partition).await,
                Err(error) => Err(error),
            };
            partitions.push(partition_response(partition.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    Ok(respond(request, &ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }))
}

/// A time, or a special timestamp that this version has.
fn means_something(timestamp: i64, version: i16) -> bool {
    timestamp >= 0 || SPECIAL.iter().any(|(special, since)| *special == timestamp && version >= *since)
}

async fn find(core: &Core, reader: &LogReader, asked: &ListOffsetsPartition) -> Result<Found, ErrorCode> {
    check_epoch(reader, asked.current_leader_epoch)?;
    let watermarks = reader.watermarks();
    let edge = |offset: ringmill_batch::Offset| Found {
        offset: offset.get(),
        timestamp_ms: -1,
        leader_epoch: watermarks.leader_epoch.get(),
    };
    let by_time = |found: Option<TimestampOffset>| {
        found.map_or(NONE, |found| Found {
            offset: found.offset.get(),
            timestamp_ms: found.timestamp_ms,
            leader_epoch: found.leader_epoch.get(),
        })
    };
    match asked.timestamp {
        LATEST => Ok(edge(watermarks.high_watermark)),
        // Nothing is tiered, so all that there is lies here.
        EARLIEST | EARLIEST_LOCAL => Ok(edge(watermarks.log_start)),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NONE),
        MAX_TIMESTAMP => reader.max_timestamp(core.disk()).await.map(by_time).map_err(|error| read_error_code(&error)),
        time => reader.find_timestamp(core.disk(), time).await.map(by_time).map_err(|error| read_error_code(&error)),
    }
}

fn partition_response(partition_index: i32, found: Result<Found, ErrorCode>) -> ListOffsetsPartitionResponse {
    let error = found.err().unwrap_or(ErrorCode::None);
    let found = found.unwrap_or(NONE);
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.code(),
        timestamp: found.timestamp_ms,
        offset: found.offset,
        leader_epoch: found.leader_epoch,
    }
}
