//! What has tripped brokers that speak Kafka's protocol: one small check for each trap that clients are known to fall into, and for each
//! rule by which a request is refused.
//!
//! Over the wire, against the whole broker. `broker.rs` has what goes on without errors, `bad_input.rs` what strangers send.
//!
//! | trap | tests |
//! |---|---|
//! | Produce is advertised from 0 | `versions::an_unknown_version_…`, `broker::produce_is_advertised_from_version_zero`; `scripts/interop` looks at the codec that kcat stored |
//! | no ApiVersions at all, unknown versions, unknown keys | `versions`; the log's line and count: `cli::a_request_that_is_not_served_…` |
//! | a fetch inside a batch; a first batch larger than the limit | `reading::a_fetch_in_the_middle_…`, `reading::the_first_batch_…` |
//! | fetch sessions | `sessions`, `fetch_sessions.rs` |
//! | no other replica is preferred | `reading::no_answer_names_another_replica_…` |
//! | parked requests have a deadline | `broker::a_parked_fetch_…`, `reading::a_fetch_answers_at_once_…`, `park.rs` |
//! | DescribeConfigs shows real values with their sources | `configs_api` |
//! | CreatePartitions answers per topic | `admin::growth_that_is_none_or_too_much_…` |
//! | answers leave in the order of their requests | `broker::produces_are_pipelined_…`; `ringmill-net`: `connection::tests` |
//! | settings are known or refused by name | `finding::every_topic_setting_of_kafka_…` |
//! | compacted topics and null keys | `compacting` |
//! | advertised addresses, NAT | `finding` |
//! | topics made on demand | `finding`, `broker::metadata_makes_a_topic_…` |
//! | bad batches, sizes, timestamps, acks, epochs, sequences | `producing`, `bad_input::bad_batches_…`, `bad_input::a_batch_that_no_segment_…`, `bad_input::zstd_…` |
//! | not durable in time | `simulation::a_produce_that_is_not_durable_in_time_…` |
//! | offsets by time, the ends of the log | `reading`, `broker::a_batch_without_its_largest_timestamp_…` |
//! | an epoch from before a crash | `faults::a_client_from_before_a_crash_…` |
//! | records that lie, compressed bombs | `producing::records_that_lie_…`, `producing::a_search_that_meets_a_bomb_…` |
//! | snappy in xerial frames and raw | `ringmill-batch`: `tests/golden.rs`, `tests/records.rs` |
//! | small requests that cost much memory or time | `amplification`, `bad_input::answers_do_not_grow_…` |
//! | commit metadata comes back as it was sent | `groups::offsets::what_is_committed_in_any_version_…` |
//! | refusals of groups where each version has a place for them | `groups::classic::refusals_can_be_read_…`, `groups::offsets`, `groups::listing` |
//! | members that wait for others hold nothing, and are answered at the stop | `groups::classic::parked_members_…`, `groups::classic::members_that_are_parked_…` |
//! | the broker's own topic | `groups::topic` |
//! | hostile lengths, counts, varints | `hostile`; `ringmill-net`: `wire::reader`, `wire::agreement`, `connection::tests` |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, its helper functions too")]

#[path = "../configs/mod.rs"]
mod configs;
#[path = "../raw/mod.rs"]
mod raw;

mod amplification;
mod compacting;
mod finding;
mod hostile;
mod producing;
mod reading;
mod sessions;
mod versions;

use bytes::Bytes;
use raw::Raw;
use ringmill_net::Piece;
use ringmill_net::wire::messages::metadata::MetadataRequestTopic;
use ringmill_net::wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use ringmill_net::wire::{Records, Uuid};
use tempfile::TempDir;

const OK: i16 = 0;

/// A broker with a topic `logs` of this many partitions and these settings.
fn with_logs(partitions: i32, configs: &[(&str, &str)]) -> (ringmill::Broker, Raw, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = raw::start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("logs", partitions, configs), OK);
    (broker, client, dir)
}

/// A question about one topic.
fn named(name: &str) -> Option<Vec<MetadataRequestTopic<'_>>> {
    Some(vec![MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }])
}

/// A batch for partition 0 of a topic, by name or by id.
fn produce_request<'a>(topic: &'a str, topic_id: Uuid, batch: &Bytes) -> ProduceRequest<'a> {
    let partition_data = vec![PartitionProduceData { index: 0, records: Some(Records::of_length(batch.len())) }];
    let topic_data = vec![TopicProduceData { name: topic, topic_id, partition_data }];
    ProduceRequest { acks: 1, timeout_ms: 10_000, topic_data, ..ProduceRequest::default() }
}

/// Sends it and gives what `read` finds in the answer for the partition.
fn produce<T>(
    client: &mut Raw,
    request: &ProduceRequest<'_>,
    version: i16,
    batch: Bytes,
    read: impl FnOnce(&PartitionProduceResponse<'_>) -> T,
) -> T {
    let frame = client.call_with(request, version, vec![Piece::Bytes(batch)]);
    let answer: ProduceResponse<'_> = frame.decode(version);
    read(&answer.responses[0].partition_responses[0])
}
