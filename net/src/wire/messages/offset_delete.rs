//! OffsetDelete (key 47): a group forgets its positions in partitions that it does not read any more.

use crate::wire::schema::message;

message! {
    /// Which positions.
    OffsetDeleteRequest<'a>: OffsetDelete, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
        topics: Vec<OffsetDeleteRequestTopic<'a>>, 0..;
    }

    /// A topic's share of the request.
    OffsetDeleteRequestTopic<'a> {
        name: &'a str, 0..;
        partitions: Vec<OffsetDeleteRequestPartition>, 0..;
    }

    /// A partition.
    OffsetDeleteRequestPartition {
        partition_index: i32, 0..;
    }

    /// What became of each.
    OffsetDeleteResponse<'a>: OffsetDelete, versions 0..=0, flexible none {
        error_code: i16, 0..;
        throttle_time_ms: i32, 0..;
        topics: Vec<OffsetDeleteResponseTopic<'a>>, 0..;
    }

    /// A topic's share of the answer.
    OffsetDeleteResponseTopic<'a> {
        name: &'a str, 0..;
        partitions: Vec<OffsetDeleteResponsePartition>, 0..;
    }

    /// Forgotten, or why not.
    OffsetDeleteResponsePartition {
        partition_index: i32, 0..;
        error_code: i16, 0..;
    }
}
