//! Produce (key 0): record batches in, base offsets out.
//!
//! Versions below 3 carry record formats from before 2017 and are not read, though the broker advertises from 0 (see `wire::api`).

use crate::wire::schema::{Records, Uuid, message};

message! {
    /// Batches for partitions.
    ProduceRequest<'a>: Produce, versions 3..=13, flexible 9.. {
        transactional_id: Option<&'a str>, 3.., null 3..;
        /// 0: no answer wanted; 1: the leader's word; −1: that of all replicas.
        acks: i16, 0..;
        timeout_ms: i32, 0..;
        topic_data: Vec<TopicProduceData<'a>>, 0..;
    }

    /// A topic's share of the request.
    TopicProduceData<'a> {
        name: &'a str, 0..=12;
        topic_id: Uuid, 13..;
        partition_data: Vec<PartitionProduceData>, 0..;
    }

    /// A partition's batch.
    PartitionProduceData {
        index: i32, 0..;
        records: Option<Records>, 0.., null 0..;
    }

    /// What became of each batch.
    ProduceResponse<'a>: Produce, versions 3..=13, flexible 9.. {
        responses: Vec<TopicProduceResponse<'a>>, 0..;
        throttle_time_ms: i32, 1..;
        node_endpoints: Vec<NodeEndpoint<'a>>, 10.., tag 0;
    }

    /// A topic's share of the answer.
    TopicProduceResponse<'a> {
        name: &'a str, 0..=12;
        topic_id: Uuid, 13..;
        partition_responses: Vec<PartitionProduceResponse<'a>>, 0..;
    }

    /// Where a batch went, or why it did not.
    PartitionProduceResponse<'a> {
        index: i32, 0..;
        error_code: i16, 0..;
        base_offset: i64, 0..;
        /// −1 where the topic keeps the producers' timestamps.
        log_append_time_ms: i64, 2.., default -1;
        log_start_offset: i64, 5.., default -1;
        record_errors: Vec<BatchIndexAndErrorMessage<'a>>, 8..;
        error_message: Option<&'a str>, 8.., null 8..;
        current_leader: LeaderIdAndEpoch, 10.., tag 0;
    }

    /// A record that spoiled its batch.
    BatchIndexAndErrorMessage<'a> {
        batch_index: i32, 8..;
        batch_index_error_message: Option<&'a str>, 8.., null 8..;
    }

    /// Whom to ask instead; −1 for unknown.
    LeaderIdAndEpoch {
        leader_id: i32, 10.., default -1;
        leader_epoch: i32, 10.., default -1;
    }

    /// Where such a leader listens.
    NodeEndpoint<'a> {
        node_id: i32, 10..;
        host: &'a str, 10..;
        port: i32, 10..;
        rack: Option<&'a str>, 10.., null 10..;
    }
}
