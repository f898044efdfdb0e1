//! ListOffsets (key 2): which offset belongs to a moment; also the first, the last, and the one with the highest timestamp.

use crate::wire::schema::message;

/// Asks for the end of the log, as a consumer sees it.
pub const LATEST_TIMESTAMP: i64 = -1;
/// Asks for the first offset that is still there.
pub const EARLIEST_TIMESTAMP: i64 = -2;
/// Asks for the record with the highest timestamp (from version 7).
pub const MAX_TIMESTAMP: i64 = -3;
/// Asks for the first offset on the broker's own disk (from version 8).
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// Asks for the last offset in tiered storage (from version 9).
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;

message! {
    /// Moments, per partition.
    ListOffsetsRequest<'a>: ListOffsets, versions 1..=11, flexible 6.. {
        /// −1 for a consumer.
        replica_id: i32, 0..;
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8, 2..;
        topics: Vec<ListOffsetsTopic<'a>>, 0..;
        timeout_ms: i32, 10..;
    }

    /// A topic's share of the request.
    ListOffsetsTopic<'a> {
        name: &'a str, 0..;
        partitions: Vec<ListOffsetsPartition>, 0..;
    }

    /// A partition and the moment in milliseconds, or one of the negative values above.
    ListOffsetsPartition {
        partition_index: i32, 0..;
        /// −1: the client does not check epochs.
        current_leader_epoch: i32, 4.., default -1;
        timestamp: i64, 0..;
    }

    /// The offsets.
    ListOffsetsResponse<'a>: ListOffsets, versions 1..=11, flexible 6.. {
        throttle_time_ms: i32, 2..;
        topics: Vec<ListOffsetsTopicResponse<'a>>, 0..;
    }

    /// A topic's share of the answer.
    ListOffsetsTopicResponse<'a> {
        name: &'a str, 0..;
        partitions: Vec<ListOffsetsPartitionResponse>, 0..;
    }

    /// The first record at or after the moment; −1 all over when there is none.
    ListOffsetsPartitionResponse {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        timestamp: i64, 1.., default -1;
        offset: i64, 1.., default -1;
        leader_epoch: i32, 4.., default -1;
    }
}
