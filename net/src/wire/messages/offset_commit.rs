//! OffsetCommit (key 8): a group's positions are stored.
//!
//! Whoever commits says as which member, in which generation (classic protocol) or member epoch (consumer protocol); a commit from
//! outside the group has generation −1 and no member.

use crate::wire::schema::{Uuid, message};

message! {
    /// Positions of a group.
    OffsetCommitRequest<'a>: OffsetCommit, versions 2..=10, flexible 8.. {
        group_id: &'a str, 0..;
        generation_id_or_member_epoch: i32, 1.., default -1;
        member_id: &'a str, 1..;
        group_instance_id: Option<&'a str>, 7.., null 7..;
        /// −1: as long as the broker is set to keep it. Kafka has not heeded it since KIP-211.
        retention_time_ms: i64, 2..=4, default -1;
        topics: Vec<OffsetCommitRequestTopic<'a>>, 0..;
    }

    /// A topic's share of the request.
    OffsetCommitRequestTopic<'a> {
        name: &'a str, 0..=9;
        topic_id: Uuid, 10..;
        partitions: Vec<OffsetCommitRequestPartition<'a>>, 0..;
    }

    /// The next offset to read in a partition.
    OffsetCommitRequestPartition<'a> {
        partition_index: i32, 0..;
        committed_offset: i64, 0..;
        committed_leader_epoch: i32, 6.., default -1;
        committed_metadata: Option<&'a str>, 0.., null 0..;
    }

    /// What became of each.
    OffsetCommitResponse<'a>: OffsetCommit, versions 2..=10, flexible 8.. {
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetCommitResponseTopic<'a>>, 0..;
    }

    /// A topic's share of the answer.
    OffsetCommitResponseTopic<'a> {
        name: &'a str, 0..=9;
        topic_id: Uuid, 10..;
        partitions: Vec<OffsetCommitResponsePartition>, 0..;
    }

    /// Stored, or why not.
    OffsetCommitResponsePartition {
        partition_index: i32, 0..;
        error_code: i16, 0..;
    }
}
