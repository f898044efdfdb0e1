//! DeleteRecords (key 21): raises the log start offset of partitions.

use crate::wire::schema::message;

/// Asks to delete up to the end of the log, as a consumer sees it.
pub const HIGH_WATERMARK: i64 = -1;

message! {
    /// Partitions, and the offset before which each is to be emptied.
    DeleteRecordsRequest<'a>: DeleteRecords, versions 0..=2, flexible 2.. {
        topics: Vec<DeleteRecordsTopic<'a>>, 0..;
        timeout_ms: i32, 0..;
    }

    /// A topic's share of the request.
    DeleteRecordsTopic<'a> {
        name: &'a str, 0..;
        partitions: Vec<DeleteRecordsPartition>, 0..;
    }

    /// A partition and the first offset that stays.
    DeleteRecordsPartition {
        partition_index: i32, 0..;
        /// −1: everything up to the high watermark.
        offset: i64, 0..;
    }

    /// What became of each.
    DeleteRecordsResponse<'a>: DeleteRecords, versions 0..=2, flexible 2.. {
        throttle_time_ms: i32, 0..;
        topics: Vec<DeleteRecordsTopicResult<'a>>, 0..;
    }

    /// A topic's share of the answer.
    DeleteRecordsTopicResult<'a> {
        name: &'a str, 0..;
        partitions: Vec<DeleteRecordsPartitionResult>, 0..;
    }

    /// A partition's new log start, or why it has none.
    DeleteRecordsPartitionResult {
        partition_index: i32, 0..;
        /// The log start offset; −1 beside an error.
        low_watermark: i64, 0..;
        error_code: i16, 0..;
    }
}
