//! DescribeProducers (key 61): what partitions know of their idempotent and transactional producers.

use crate::wire::schema::message;

message! {
    /// Partitions.
    DescribeProducersRequest<'a>: DescribeProducers, versions 0..=0, flexible 0.. {
        topics: Vec<TopicRequest<'a>>, 0..;
    }

    /// A topic's share of the request.
    TopicRequest<'a> {
        name: &'a str, 0..;
        partition_indexes: Vec<i32>, 0..;
    }

    /// The producers.
    DescribeProducersResponse<'a>: DescribeProducers, versions 0..=0, flexible 0.. {
        throttle_time_ms: i32, 0..;
        topics: Vec<TopicResponse<'a>>, 0..;
    }

    /// A topic's share of the answer.
    TopicResponse<'a> {
        name: &'a str, 0..;
        partitions: Vec<PartitionResponse<'a>>, 0..;
    }

    /// A partition's producers, or why they cannot be told.
    PartitionResponse<'a> {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<&'a str>, 0.., null 0..;
        active_producers: Vec<ProducerState>, 0..;
    }

    /// What the partition remembers of a producer.
    ProducerState {
        producer_id: i64, 0..;
        producer_epoch: i32, 0..;
        last_sequence: i32, 0.., default -1;
        last_timestamp: i64, 0.., default -1;
        coordinator_epoch: i32, 0..;
        /// −1: no transaction is open.
        current_txn_start_offset: i64, 0.., default -1;
    }
}
