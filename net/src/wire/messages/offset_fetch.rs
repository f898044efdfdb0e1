//! OffsetFetch (key 9): a group's stored positions.
//!
//! One group up to version 7, several from 8. Null instead of a list of topics asks for all that the group has stored.

use crate::wire::schema::{Uuid, message};

message! {
    /// Whose positions are wanted, and of what.
    OffsetFetchRequest<'a>: OffsetFetch, versions 1..=10, flexible 6.. {
        group_id: &'a str, 0..=7;
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>>, 0..=7, null 2..=7, default Some(Vec::new());
        groups: Vec<OffsetFetchRequestGroup<'a>>, 8..;
        /// Positions that an open transaction may yet change are to be refused with a retriable error.
        require_stable: bool, 7..;
    }

    /// A topic's share of the request.
    OffsetFetchRequestTopic<'a> {
        name: &'a str, 0..=7;
        partition_indexes: Vec<i32>, 0..=7;
    }

    /// A group, and as whom it is asked; without a member it is asked from outside.
    OffsetFetchRequestGroup<'a> {
        group_id: &'a str, 8..;
        member_id: Option<&'a str>, 9.., null 9..;
        member_epoch: i32, 9.., default -1;
        topics: Option<Vec<OffsetFetchRequestTopics<'a>>>, 8.., null 8.., default Some(Vec::new());
    }

    /// A topic's share of a group's part.
    OffsetFetchRequestTopics<'a> {
        name: &'a str, 8..=9;
        topic_id: Uuid, 10..;
        partition_indexes: Vec<i32>, 8..;
    }

    /// The positions.
    OffsetFetchResponse<'a>: OffsetFetch, versions 1..=10, flexible 6.. {
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetFetchResponseTopic<'a>>, 0..=7;
        error_code: i16, 2..=7;
        groups: Vec<OffsetFetchResponseGroup<'a>>, 8..;
    }

    /// A topic's share of the answer.
    OffsetFetchResponseTopic<'a> {
        name: &'a str, 0..=7;
        partitions: Vec<OffsetFetchResponsePartition<'a>>, 0..=7;
    }

    /// A partition's position; −1 where none is stored, which is no error.
    OffsetFetchResponsePartition<'a> {
        partition_index: i32, 0..=7;
        committed_offset: i64, 0..=7;
        committed_leader_epoch: i32, 5..=7, default -1;
        metadata: Option<&'a str>, 0..=7, null 0..=7;
        error_code: i16, 0..=7;
    }

    /// A group's part of the answer.
    OffsetFetchResponseGroup<'a> {
        group_id: &'a str, 8..;
        topics: Vec<OffsetFetchResponseTopics<'a>>, 8..;
        error_code: i16, 8..;
    }

    /// A topic's share of a group's part.
    OffsetFetchResponseTopics<'a> {
        name: &'a str, 8..=9;
        topic_id: Uuid, 10..;
        partitions: Vec<OffsetFetchResponsePartitions<'a>>, 8..;
    }

    /// A partition's position; −1 where none is stored, which is no error.
    OffsetFetchResponsePartitions<'a> {
        partition_index: i32, 8..;
        committed_offset: i64, 8..;
        committed_leader_epoch: i32, 8.., default -1;
        metadata: Option<&'a str>, 8.., null 8..;
        error_code: i16, 8..;
    }
}
