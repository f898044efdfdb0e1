//! DescribeProducers (key 61): what partitions remember of their idempotent producers.
//!
//! The owners of the partitions know; they are asked one partition after the other, so that an answer stays within its limit.

use ringmill_engine::producer_state::ActiveProducer;
use ringmill_net::wire::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};
use tokio::sync::oneshot;

use super::{Refusal, decode, respond, too_many};
use crate::core::Core;
use crate::core::hosting::PartitionId;
use crate::core::mailbox::Message;

/// The most producers in one answer, about four megabytes; partitions beyond it are refused, to be asked for again.
const PRODUCERS_MAX: usize = 100_000;

/// There is no transaction coordinator, so there is no epoch of one.
const NO_COORDINATOR: i32 = -1;

/// Answers for each partition on its own.
pub(super) async fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DescribeProducersRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.topics.iter().map(|topic| topic.partition_indexes.len()).sum()) {
        return Ok(refused);
    }
    // `None` when the answer is full.
    let mut left = Some(PRODUCERS_MAX);
    let mut found = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for &index in &topic.partition_indexes {
            let producers = match left {
                Some(_) => producers(core, topic.name, index).await,
                None => Err(full()),
            };
            let producers = producers.and_then(|producers| {
                left = left.and_then(|left| left.checked_sub(producers.len()));
                left.map(|_| producers).ok_or_else(full)
            });
            partitions.push((index, producers));
        }
        found.push((topic.name, partitions));
    }
    let topics = found
        .iter()
        .map(|(name, partitions)| TopicResponse {
            name,
            partitions: partitions.iter().map(|(index, producers)| describe(*index, producers)).collect(),
        })
        .collect();
    Ok(respond(request, &DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }))
}

fn full() -> Refusal {
    let why = format!("the answer would have more than {PRODUCERS_MAX} producers; ask for fewer partitions");
    Refusal::new(ErrorCode::InvalidRequest, why)
}

async fn producers(core: &Core, topic: &str, index: i32) -> Result<Vec<ActiveProducer>, Refusal> {
    let (partition, owner) = {
        let image = core.metadata();
        let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let hosting = core.hosting();
        let hosted = hosting.find(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if hosted.reader.is_none() {
            return Err(ErrorCode::KafkaStorageError.into());
        }
        (PartitionId { topic: topic.id, index }, hosted.owner)
    };
    let (answer, answered) = oneshot::channel();
    core.tell(owner, Message::DescribeProducers(partition, answer)).await;
    // The topic may be deleted meanwhile, and the owner stopped.
    answered.await.ok().flatten().ok_or_else(|| ErrorCode::NotLeaderOrFollower.into())
}

fn describe(partition_index: i32, producers: &Result<Vec<ActiveProducer>, Refusal>) -> PartitionResponse<'_> {
    match producers {
        Ok(producers) => PartitionResponse {
            partition_index,
            active_producers: producers.iter().map(describe_producer).collect(),
            ..PartitionResponse::default()
        },
        Err(refusal) => PartitionResponse {
            partition_index,
            error_code: refusal.code.code(),
            error_message: refusal.why.as_deref(),
            ..PartitionResponse::default()
        },
    }
}

fn describe_producer(producer: &ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence.unwrap_or(-1),
        last_timestamp: producer.last_timestamp_ms,
        coordinator_epoch: NO_COORDINATOR,
        ..ProducerState::default()
    }
}
