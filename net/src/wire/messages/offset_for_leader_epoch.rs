//! OffsetForLeaderEpoch (key 23): up to which offset the log was written in an epoch, so that a client can see what it lost.

use crate::wire::schema::message;

/// A consumer, in `replica_id`; it may read only what is committed.
pub const CONSUMER_REPLICA_ID: i32 = -1;
/// Something that debugs, in `replica_id`.
pub const DEBUGGING_REPLICA_ID: i32 = -2;

message! {
    /// Epochs, per partition.
    OffsetForLeaderEpochRequest<'a>: OffsetForLeaderEpoch, versions 2..=4, flexible 4.. {
        replica_id: i32, 3.., default DEBUGGING_REPLICA_ID;
        topics: Vec<OffsetForLeaderTopic<'a>>, 0..;
    }

    /// A topic's share of the request.
    OffsetForLeaderTopic<'a> {
        topic: &'a str, 0..;
        partitions: Vec<OffsetForLeaderPartition>, 0..;
    }

    /// A partition and the epoch in question.
    OffsetForLeaderPartition {
        partition: i32, 0..;
        /// −1: the client does not check epochs.
        current_leader_epoch: i32, 2.., default -1;
        leader_epoch: i32, 0..;
    }

    /// The offsets.
    OffsetForLeaderEpochResponse<'a>: OffsetForLeaderEpoch, versions 2..=4, flexible 4.. {
        throttle_time_ms: i32, 2..;
        topics: Vec<OffsetForLeaderTopicResult<'a>>, 0..;
    }

    /// A topic's share of the answer.
    OffsetForLeaderTopicResult<'a> {
        topic: &'a str, 0..;
        partitions: Vec<EpochEndOffset>, 0..;
    }

    /// The largest epoch that is not larger than the one in question, and the offset after its last record; −1 where there is none.
    EpochEndOffset {
        error_code: i16, 0..;
        partition: i32, 0..;
        leader_epoch: i32, 1.., default -1;
        end_offset: i64, 0.., default -1;
    }
}
