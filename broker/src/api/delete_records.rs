//! DeleteRecords (key 21): raises the log start of partitions; durable when it is answered.
//!
//! The owners of the partitions do it, one message to each. Records below the new start are not read any more; their bytes go with the
//! segments that hold nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmill_batch::Offset;
use ringmill_engine::log::LogError;
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult, HIGH_WATERMARK,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{decode, respond, too_many_partitions};
use crate::core::Core;
use crate::core::hosting::{CoreId, PartitionId};
use crate::core::mailbox::{Deletion, DeletionRefused, Message};
use crate::internal_topics::is_internal;

/// The least time that a deletion is given: no disk can keep a shorter promise.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// What became of one partition: its log start.
type Deleted = Result<Offset, ErrorCode>;

/// What goes to one owner: the deletions, and each one's place in the request.
type Share = (Vec<Deletion>, Vec<usize>);

/// Answers for each partition on its own.
pub(super) async fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DeleteRecordsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many_partitions(asked.topics.iter().map(|topic| topic.partitions.len())) {
        return Ok(refused);
    }
    let timeout = Duration::from_millis(u64::try_from(asked.timeout_ms).unwrap_or(0)).max(TIMEOUT_MIN);
    let deadline = Instant::now() + timeout;
    let named = asked.topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name, partition)));
    let mut results: Vec<Deleted> = Vec::new();
    let mut by_owner: BTreeMap<CoreId, Share> = BTreeMap::new();
    for (place, (topic, partition)) in named.enumerate() {
        match find(core, topic, partition) {
            Ok((owner, deletion)) => {
                let (deletions, places) = by_owner.entry(owner).or_default();
                deletions.push(deletion);
                places.push(place);
                // Until the owner says otherwise.
                results.push(Err(ErrorCode::RequestTimedOut));
            }
            Err(error) => results.push(Err(error)),
        }
    }
    let mut waiting = Vec::with_capacity(by_owner.len());
    for (owner, (deletions, places)) in by_owner {
        let (answer, answered) = oneshot::channel();
        core.tell(owner, Message::DeleteRecords(deletions, answer)).await;
        waiting.push((places, answered));
    }
    for (places, answered) in waiting {
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(deleted)) => {
                for (place, deleted) in places.into_iter().zip(deleted) {
                    results[place] = deleted.map_err(|error| refusal(&error));
                }
            }
            // The owner has stopped.
            Ok(Err(_)) => places.into_iter().for_each(|place| results[place] = Err(ErrorCode::NotLeaderOrFollower)),
            // They may be deleted yet.
            Err(_) => {}
        }
    }
    let mut results = results.into_iter();
    let topics = asked
        .topics
        .iter()
        .map(|topic| DeleteRecordsTopicResult {
            name: topic.name,
            partitions: topic
                .partitions
                .iter()
                .zip(results.by_ref())
                .map(|(partition, deleted)| describe(partition.partition_index, deleted))
                .collect(),
        })
        .collect();
    Ok(respond(request, &DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }))
}

/// Who deletes, and what.
fn find(core: &Core, topic: &str, asked: &DeleteRecordsPartition) -> Result<(CoreId, Deletion), ErrorCode> {
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let image = core.metadata();
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let hosting = core.hosting();
    let index = asked.partition_index;
    let hosted = hosting.find(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if hosted.reader.is_none() {
        return Err(ErrorCode::KafkaStorageError);
    }
    let before = match asked.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset::new(offset).ok_or(ErrorCode::OffsetOutOfRange)?),
    };
    Ok((hosted.owner, Deletion { partition: PartitionId { topic: topic.id, index }, before }))
}

fn refusal(error: &DeletionRefused) -> ErrorCode {
    match error {
        DeletionRefused::Log(LogError::OffsetOutOfRange(_)) => ErrorCode::OffsetOutOfRange,
        DeletionRefused::Log(LogError::Sealed | LogError::Io { .. }) => {
            tracing::warn!(%error, "records are not deleted");
            ErrorCode::KafkaStorageError
        }
        DeletionRefused::Log(LogError::Closed) | DeletionRefused::NotServed => ErrorCode::NotLeaderOrFollower,
    }
}

fn describe(partition_index: i32, deleted: Deleted) -> DeleteRecordsPartitionResult {
    DeleteRecordsPartitionResult {
        partition_index,
        low_watermark: deleted.map_or(-1, Offset::get),
        error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
    }
}
