//! Fetch (key 1): record batches out, from given offsets on; waits for data where there is too little.

use crate::wire::schema::{Records, Uuid, message};

message! {
    /// From where, how much, and how long to wait for it.
    FetchRequest<'a>: Fetch, versions 4..=18, flexible 12.. {
        cluster_id: Option<&'a str>, 12.., null 12.., tag 0;
        replica_id: i32, 0..=14, default -1;
        replica_state: ReplicaState, 15.., tag 1;
        max_wait_ms: i32, 0..;
        min_bytes: i32, 0..;
        max_bytes: i32, 3.., default i32::MAX;
        /// 0: read uncommitted; 1: read committed.
        isolation_level: i8, 4..;
        session_id: i32, 7..;
        session_epoch: i32, 7.., default -1;
        topics: Vec<FetchTopic<'a>>, 0..;
        forgotten_topics_data: Vec<ForgottenTopic<'a>>, 7..;
        rack_id: &'a str, 11..;
    }

    /// The follower that fetches; −1 for a consumer.
    ReplicaState {
        replica_id: i32, 15.., default -1;
        replica_epoch: i64, 15.., default -1;
    }

    /// A topic's partitions.
    FetchTopic<'a> {
        topic: &'a str, 0..=12;
        topic_id: Uuid, 13..;
        partitions: Vec<FetchPartition>, 0..;
    }

    /// A partition and the first offset that is wanted.
    FetchPartition {
        partition: i32, 0..;
        /// −1: the client does not check epochs.
        current_leader_epoch: i32, 9.., default -1;
        fetch_offset: i64, 0..;
        last_fetched_epoch: i32, 12.., default -1;
        /// Of a follower; −1 from consumers.
        log_start_offset: i64, 5.., default -1;
        partition_max_bytes: i32, 0..;
        replica_directory_id: Uuid, 17.., tag 0;
        high_watermark: i64, 18.., default i64::MAX, tag 1;
    }

    /// Partitions that leave the fetch session.
    ForgottenTopic<'a> {
        topic: &'a str, 7..=12;
        topic_id: Uuid, 13..;
        partitions: Vec<i32>, 7..;
    }

    /// The records.
    FetchResponse<'a>: Fetch, versions 4..=18, flexible 12.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, 7..;
        session_id: i32, 7..;
        responses: Vec<FetchableTopicResponse<'a>>, 0..;
        node_endpoints: Vec<NodeEndpoint<'a>>, 16.., tag 0;
    }

    /// A topic's share of the answer.
    FetchableTopicResponse<'a> {
        topic: &'a str, 0..=12;
        topic_id: Uuid, 13..;
        partitions: Vec<PartitionData>, 0..;
    }

    /// A partition's records and watermarks, or why there are none.
    PartitionData {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        high_watermark: i64, 0..;
        last_stable_offset: i64, 4.., default -1;
        log_start_offset: i64, 5.., default -1;
        diverging_epoch: EpochEndOffset, 12.., tag 0;
        current_leader: LeaderIdAndEpoch, 12.., tag 1;
        snapshot_id: SnapshotId, 12.., tag 2;
        aborted_transactions: Option<Vec<AbortedTransaction>>, 4.., null 4..;
        /// −1: this broker.
        preferred_read_replica: i32, 11.., default -1;
        records: Option<Records>, 0.., null 0..;
    }

    /// Up to where the epochs of client and broker agree.
    EpochEndOffset {
        epoch: i32, 12.., default -1;
        end_offset: i64, 12.., default -1;
    }

    /// Whom to ask instead; −1 for unknown.
    LeaderIdAndEpoch {
        leader_id: i32, 12.., default -1;
        leader_epoch: i32, 12.., default -1;
    }

    /// A snapshot to fetch instead; only the metadata quorum has them.
    SnapshotId {
        end_offset: i64, 0.., default -1;
        epoch: i32, 0.., default -1;
    }

    /// A producer whose records from an offset on were given up.
    AbortedTransaction {
        producer_id: i64, 4..;
        first_offset: i64, 4..;
    }

    /// Where such a leader listens.
    NodeEndpoint<'a> {
        node_id: i32, 16..;
        host: &'a str, 16..;
        port: i32, 16..;
        rack: Option<&'a str>, 16.., null 16..;
    }
}
