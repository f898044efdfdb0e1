//! OffsetDelete (key 47): a group forgets where it has read to, in topics that none of its members reads any more.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::{self, OffsetDelete};
use ringmill_net::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{ask, check_group_id};
use super::{decode, respond, too_many_partitions};
use crate::core::Core;

/// What became of the partitions of each topic.
type Deleted = Vec<Vec<Result<(), ErrorCode>>>;

/// Answers for each partition on its own, or for all where the group itself is the matter. Of partitions that are not there nothing is kept, and
/// who names one may have meant another: they are refused, as in Kafka.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: OffsetDeleteRequest<'_> = decode(request)?;
    if let Some(refused) = too_many_partitions(asked.topics.iter().map(|topic| topic.partitions.len())) {
        return Ok(refused);
    }
    let response = match delete(core, &asked).await {
        Ok(deleted) => OffsetDeleteResponse {
            topics: asked.topics.iter().zip(&deleted).map(|(topic, deleted)| describe(topic, deleted)).collect(),
            ..OffsetDeleteResponse::default()
        },
        Err(refused) => OffsetDeleteResponse { error_code: refused.code(), ..OffsetDeleteResponse::default() },
    };
    Ok(respond(request, &response))
}

async fn delete(core: &Rc<Core>, asked: &OffsetDeleteRequest<'_>) -> Result<Deleted, ErrorCode> {
    check_group_id(asked.group_id)?;
    let image = core.metadata();
    let known =
        |topic: &OffsetDeleteRequestTopic<'_>| 0..image.topic(topic.name).map_or(0, |topic| topic.partition_count);
    let partitions = |topic: &OffsetDeleteRequestTopic<'_>| {
        let (known, named) = (known(topic), topic.partitions.iter().map(|each| each.partition_index));
        named.filter(|index| known.contains(index)).collect()
    };
    let topics = asked.topics.iter().map(|topic| (Arc::from(topic.name), partitions(topic))).collect();
    let delete = OffsetDelete { group: asked.group_id.into(), topics };
    let deleted = match ask(core, asked.group_id, request::Request::DeleteOffsets(delete)).await? {
        Answer::DeleteOffsets(deleted) => deleted?,
        other => unreachable!("groups answer in kind, not {other:?}"),
    };
    let of_all = |(topic, deleted): (&OffsetDeleteRequestTopic<'_>, Vec<Result<(), ErrorCode>>)| {
        let (known, mut deleted) = (known(topic), deleted.into_iter());
        let result = |each: &OffsetDeleteRequestPartition| match known.contains(&each.partition_index) {
            true => deleted.next().expect("there is a result for each partition that was asked for"),
            false => Err(ErrorCode::UnknownTopicOrPartition),
        };
        topic.partitions.iter().map(result).collect()
    };
    Ok(asked.topics.iter().zip(deleted).map(of_all).collect())
}

fn describe<'a>(
    asked: &OffsetDeleteRequestTopic<'a>,
    deleted: &[Result<(), ErrorCode>],
) -> OffsetDeleteResponseTopic<'a> {
    let partitions = asked.partitions.iter().zip(deleted).map(|(partition, deleted)| OffsetDeleteResponsePartition {
        partition_index: partition.partition_index,
        error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
    });
    OffsetDeleteResponseTopic { name: asked.name, partitions: partitions.collect() }
}
