//! CreatePartitions (key 37): more partitions for topics that are there.

use crate::wire::schema::message;

message! {
    /// Topics to grow, or only to check.
    CreatePartitionsRequest<'a>: CreatePartitions, versions 0..=3, flexible 2.. {
        topics: Vec<CreatePartitionsTopic<'a>>, 0..;
        timeout_ms: i32, 0..;
        validate_only: bool, 0..;
    }

    /// A topic and how many partitions it is to have in all.
    CreatePartitionsTopic<'a> {
        name: &'a str, 0..;
        count: i32, 0..;
        /// Where each of the new partitions is to live; null leaves that to the broker.
        assignments: Option<Vec<CreatePartitionsAssignment>>, 0.., null 0.., default Some(Vec::new());
    }

    /// Where a new partition is to live.
    CreatePartitionsAssignment {
        broker_ids: Vec<i32>, 0..;
    }

    /// What became of each.
    CreatePartitionsResponse<'a>: CreatePartitions, versions 0..=3, flexible 2.. {
        throttle_time_ms: i32, 0..;
        results: Vec<CreatePartitionsTopicResult<'a>>, 0..;
    }

    /// A topic that has grown, or why it has not.
    CreatePartitionsTopicResult<'a> {
        name: &'a str, 0..;
        error_code: i16, 0..;
        error_message: Option<&'a str>, 0.., null 0..;
    }
}
