//! OffsetCommit (key 8): where a group has read to. Durable when it is answered.
//!
//! What is committed of topics and partitions that are not there is refused here, for each partition on its own; the rest is the group's
//! to judge.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::{self, OffsetCommit, PartitionCommit};
use ringmill_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::ask;
use super::{decode, respond, too_many_partitions};
use crate::core::Core;
use crate::metadata::{MetadataImage, Topic};

/// From this version on (KIP-848) consumer members commit at their epochs.
const EPOCHS_FROM: i16 = 9;

/// From this version on topics come by id.
const TOPIC_IDS_FROM: i16 = 10;

/// Answers for each partition on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: OffsetCommitRequest<'_> = decode(request)?;
    if let Some(refused) = too_many_partitions(asked.topics.iter().map(|topic| topic.partitions.len())) {
        return Ok(refused);
    }
    let image = core.metadata();
    let by_id = request.header.api_version >= TOPIC_IDS_FROM;
    // A negative time stands for none: Kafka's −1, and what other clients make of it.
    let retention_ms = Some(asked.retention_time_ms).filter(|retention_ms| *retention_ms >= 0);
    let mut offsets = Vec::new();
    // Which partitions are refused, and with what: in the order of the request.
    let mut refused: Vec<Option<ErrorCode>> = Vec::new();
    for topic in &asked.topics {
        let known = find(&image, topic, by_id);
        for partition in &topic.partitions {
            let known = known.and_then(|known| check_partition(known, partition.partition_index));
            refused.push(known.err());
            offsets.extend(known.ok().map(|known| owned(known, partition, retention_ms)));
        }
    }
    let committed = match offsets.len() {
        0 => Vec::new(),
        count => {
            let commit = OffsetCommit {
                group: asked.group_id.into(),
                member_id: asked.member_id.into(),
                instance_id: asked.group_instance_id.map(Arc::from),
                generation: asked.generation_id_or_member_epoch,
                knows_epochs: request.header.api_version >= EPOCHS_FROM,
                offsets,
            };
            match ask(core, asked.group_id, request::Request::Commit(commit)).await {
                Ok(Answer::Commit(committed)) => committed,
                Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
                Err(code) => vec![Err(code); count],
            }
        }
    };
    let mut committed = committed.into_iter();
    let mut codes = refused.into_iter().map(|refused| match refused {
        Some(code) => code,
        None => committed.next().expect("there is a result for each partition").err().unwrap_or(ErrorCode::None),
    });
    let topics = asked.topics.iter().map(|topic| respond_topic(topic, &mut codes)).collect();
    Ok(respond(request, &OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }))
}

fn find<'i>(
    image: &'i MetadataImage,
    asked: &OffsetCommitRequestTopic<'_>,
    by_id: bool,
) -> Result<&'i Arc<Topic>, ErrorCode> {
    match by_id {
        true => image.topic_by_id(&asked.topic_id).ok_or(ErrorCode::UnknownTopicId),
        false => image.topic(asked.name).ok_or(ErrorCode::UnknownTopicOrPartition),
    }
}

fn check_partition(topic: &Arc<Topic>, index: i32) -> Result<&Arc<Topic>, ErrorCode> {
    match (0..topic.partition_count).contains(&index) {
        true => Ok(topic),
        false => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

fn owned(topic: &Topic, asked: &OffsetCommitRequestPartition<'_>, retention_ms: Option<i64>) -> PartitionCommit {
    PartitionCommit {
        topic: Arc::clone(&topic.name),
        topic_id: topic.id,
        partition: asked.partition_index,
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.map(Arc::from),
        retention_ms,
    }
}

fn respond_topic<'a>(
    asked: &OffsetCommitRequestTopic<'a>,
    codes: &mut impl Iterator<Item = ErrorCode>,
) -> OffsetCommitResponseTopic<'a> {
    let partition = |(partition, code): (&OffsetCommitRequestPartition<'_>, ErrorCode)| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code: code.code(),
    };
    OffsetCommitResponseTopic {
        name: asked.name,
        topic_id: asked.topic_id,
        partitions: asked.partitions.iter().zip(codes).map(partition).collect(),
    }
}
