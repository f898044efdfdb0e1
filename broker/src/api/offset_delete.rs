//! OffsetDelete (key 47): a group forgets where it has read to, in topics that none of its members reads any more.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::{self, OffsetDelete};
use ringmill_net::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{ask, check_group_id};
use super::{decode, respond, too_many_partitions};
use crate::core::Core;

/// What became of the partitions of each topic.
type Deleted = Vec<Vec<Result<(), ErrorCode>>>;

/// Answers for each partition on its own, or for all where the group itself is the matter.
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

/// Topics that are not there are passed over by the group: it keeps nothing of them.
async fn delete(core: &Rc<Core>, asked: &OffsetDeleteRequest<'_>) -> Result<Deleted, ErrorCode> {
    check_group_id(asked.group_id)?;
    let partitions =
        |topic: &OffsetDeleteRequestTopic<'_>| topic.partitions.iter().map(|each| each.partition_index).collect();
    let topics = asked.topics.iter().map(|topic| (Arc::from(topic.name), partitions(topic))).collect();
    let delete = OffsetDelete { group: asked.group_id.into(), topics };
    match ask(core, asked.group_id, request::Request::DeleteOffsets(delete)).await? {
        Answer::DeleteOffsets(deleted) => deleted,
        other => unreachable!("groups answer in kind, not {other:?}"),
    }
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
