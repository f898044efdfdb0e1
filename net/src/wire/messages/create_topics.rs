//! CreateTopics (key 19).

use crate::wire::schema::{Uuid, message};

message! {
    /// Topics to create, or only to check.
    CreateTopicsRequest<'a>: CreateTopics, versions 2..=7, flexible 5.. {
        topics: Vec<CreatableTopic<'a>>, 0..;
        timeout_ms: i32, 0.., default 60_000;
        validate_only: bool, 1..;
    }

    /// A topic as it is wanted.
    CreatableTopic<'a> {
        name: &'a str, 0..;
        /// −1: the broker's default, or as many as `assignments` has.
        num_partitions: i32, 0..;
        /// −1: the broker's default, or as in `assignments`.
        replication_factor: i16, 0..;
        assignments: Vec<CreatableReplicaAssignment>, 0..;
        configs: Vec<CreatableTopicConfig<'a>>, 0..;
    }

    /// Where a partition is to live.
    CreatableReplicaAssignment {
        partition_index: i32, 0..;
        broker_ids: Vec<i32>, 0..;
    }

    /// A setting of the topic.
    CreatableTopicConfig<'a> {
        name: &'a str, 0..;
        value: Option<&'a str>, 0.., null 0..;
    }

    /// What became of each.
    CreateTopicsResponse<'a>: CreateTopics, versions 2..=7, flexible 5.. {
        throttle_time_ms: i32, 2..;
        topics: Vec<CreatableTopicResult<'a>>, 0..;
    }

    /// The topic as it is, or why it is not.
    CreatableTopicResult<'a> {
        name: &'a str, 0..;
        topic_id: Uuid, 7..;
        error_code: i16, 0..;
        error_message: Option<&'a str>, 1.., null 0..;
        topic_config_error_code: i16, 5.., tag 0;
        num_partitions: i32, 5.., default -1;
        replication_factor: i16, 5.., default -1;
        /// Null where the client may not see them.
        configs: Option<Vec<CreatableTopicConfigs<'a>>>, 5.., null 5.., default Some(Vec::new());
    }

    /// A setting that is in force.
    CreatableTopicConfigs<'a> {
        name: &'a str, 5..;
        value: Option<&'a str>, 5.., null 5..;
        read_only: bool, 5..;
        /// As in DescribeConfigs: 1 the topic's own, 4 the broker's file, 5 the built-in default; −1 unknown.
        config_source: i8, 5.., default -1;
        is_sensitive: bool, 5..;
    }
}
