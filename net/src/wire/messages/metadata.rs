//! Metadata (key 3): which topics there are, who leads their partitions, and where the brokers listen.

use crate::wire::schema::{Uuid, message};

/// "No answer about rights", in the fields that could hold a set of them.
pub const AUTHORIZED_OPERATIONS_UNKNOWN: i32 = i32::MIN;

message! {
    /// Asks about some topics, or about all.
    MetadataRequest<'a>: Metadata, versions 0..=13, flexible 9.. {
        /// Null means every topic; in version 0, which knows no null, the empty list does.
        topics: Option<Vec<MetadataRequestTopic<'a>>>, 0.., null 1..;
        allow_auto_topic_creation: bool, 4.., default true;
        include_cluster_authorized_operations: bool, 8..=10;
        include_topic_authorized_operations: bool, 8..;
    }

    /// A topic by its name, or from 10 by its id.
    MetadataRequestTopic<'a> {
        topic_id: Uuid, 10..;
        name: Option<&'a str>, 0.., null 10..;
    }

    /// The brokers, and what was asked about topics.
    MetadataResponse<'a>: Metadata, versions 0..=13, flexible 9.. {
        throttle_time_ms: i32, 3..;
        brokers: Vec<MetadataResponseBroker<'a>>, 0..;
        cluster_id: Option<&'a str>, 2.., null 2..;
        controller_id: i32, 1.., default -1;
        topics: Vec<MetadataResponseTopic<'a>>, 0..;
        cluster_authorized_operations: i32, 8..=10, default AUTHORIZED_OPERATIONS_UNKNOWN;
        error_code: i16, 13..;
    }

    /// Where a broker listens.
    MetadataResponseBroker<'a> {
        node_id: i32, 0..;
        host: &'a str, 0..;
        port: i32, 0..;
        rack: Option<&'a str>, 1.., null 1..;
    }

    /// A topic, or why it cannot be told about.
    MetadataResponseTopic<'a> {
        error_code: i16, 0..;
        /// Null only for an unknown id.
        name: Option<&'a str>, 0.., null 12..;
        topic_id: Uuid, 10..;
        is_internal: bool, 1..;
        partitions: Vec<MetadataResponsePartition>, 0..;
        topic_authorized_operations: i32, 8.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }

    /// A partition and its brokers.
    MetadataResponsePartition {
        error_code: i16, 0..;
        partition_index: i32, 0..;
        leader_id: i32, 0..;
        leader_epoch: i32, 7.., default -1;
        replica_nodes: Vec<i32>, 0..;
        isr_nodes: Vec<i32>, 0..;
        offline_replicas: Vec<i32>, 5..;
    }
}
