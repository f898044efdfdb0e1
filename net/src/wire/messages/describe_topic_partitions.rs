//! DescribeTopicPartitions (key 75): topics and partitions as in Metadata, a page at a time.

use crate::wire::messages::metadata::AUTHORIZED_OPERATIONS_UNKNOWN;
use crate::wire::schema::{Uuid, message};

message! {
    /// Topics, how much of them, and from where on.
    DescribeTopicPartitionsRequest<'a>: DescribeTopicPartitions, versions 0..=0, flexible 0.. {
        /// Empty: every topic.
        topics: Vec<TopicRequest<'a>>, 0..;
        /// The most partitions in the answer; more than the broker's own limit is not given.
        response_partition_limit: i32, 0.., default 2_000;
        /// Null: from the first one.
        cursor: Option<Cursor<'a>>, 0.., null 0..;
    }

    /// A topic by its name.
    TopicRequest<'a> {
        name: &'a str, 0..;
    }

    /// The first partition of a page.
    Cursor<'a> {
        topic_name: &'a str, 0..;
        partition_index: i32, 0..;
    }

    /// A page.
    DescribeTopicPartitionsResponse<'a>: DescribeTopicPartitions, versions 0..=0, flexible 0.. {
        throttle_time_ms: i32, 0..;
        topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>, 0..;
        /// Where the next page begins; null: this was the last.
        next_cursor: Option<Cursor<'a>>, 0.., null 0..;
    }

    /// A topic, or why it cannot be told about.
    DescribeTopicPartitionsResponseTopic<'a> {
        error_code: i16, 0..;
        name: Option<&'a str>, 0.., null 0..;
        topic_id: Uuid, 0..;
        is_internal: bool, 0..;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>, 0..;
        topic_authorized_operations: i32, 0.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }

    /// A partition and its brokers.
    DescribeTopicPartitionsResponsePartition {
        error_code: i16, 0..;
        partition_index: i32, 0..;
        leader_id: i32, 0..;
        leader_epoch: i32, 0.., default -1;
        replica_nodes: Vec<i32>, 0..;
        isr_nodes: Vec<i32>, 0..;
        eligible_leader_replicas: Option<Vec<i32>>, 0.., null 0..;
        last_known_elr: Option<Vec<i32>>, 0.., null 0..;
        offline_replicas: Vec<i32>, 0..;
    }
}
