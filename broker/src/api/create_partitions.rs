//! CreatePartitions (key 37): gives topics more partitions, or says whether they could have them.
//!
//! A topic never gets fewer. There is one broker: assignments that name another are refused.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{NewPartitions, Refusal, check_not_internal, decode, each_name_once, respond, too_many, topic_refusal};
use crate::core::Core;
use crate::metadata::Topic;
use crate::topics::{self, TopicError};

/// Answers for each topic on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: CreatePartitionsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.topics.len()) {
        return Ok(refused);
    }
    let mut new_partitions = NewPartitions::default();
    let mut results = Vec::with_capacity(asked.topics.len());
    for (topic, once) in each_name_once(&asked.topics, |topic| topic.name) {
        let result = match once {
            Ok(()) => grow(core, topic, asked.validate_only, &mut new_partitions).await,
            Err(refused) => Err(refused),
        };
        results.push((topic.name, result.err()));
    }
    let results = results
        .iter()
        .map(|(name, refusal)| CreatePartitionsTopicResult {
            name,
            error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code).code(),
            error_message: refusal.as_ref().and_then(|refusal| refusal.why.as_deref()),
        })
        .collect();
    Ok(respond(request, &CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }))
}

async fn grow(
    core: &Rc<Core>,
    asked: &CreatePartitionsTopic<'_>,
    validate_only: bool,
    new_partitions: &mut NewPartitions,
) -> Result<(), Refusal> {
    // Which partition a group lives in follows from their number.
    check_not_internal(asked.name)?;
    let image = core.metadata();
    let topic = image.topic(asked.name).map(Arc::clone).ok_or_else(|| {
        Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic {:?}", asked.name))
    })?;
    let prepared = core.shared().metadata.prepare_partitions(topic.id, asked.count).await;
    prepared.map_err(|error| topic_refusal(&TopicError::Metadata(error)))?;
    check_assignments(core, asked, &topic)?;
    new_partitions.add(asked.count - topic.partition_count)?;
    if validate_only {
        return Ok(());
    }
    topics::add_partitions(core, topic.id, asked.count).await.map(drop).map_err(|error| topic_refusal(&error))
}

/// Assignments are honoured where they say what is true anyway: every new partition on this broker.
fn check_assignments(core: &Core, asked: &CreatePartitionsTopic<'_>, topic: &Topic) -> Result<(), Refusal> {
    let Some(assignments) = &asked.assignments else { return Ok(()) };
    let wrong = |why: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    let new = asked.count - topic.partition_count;
    if i32::try_from(assignments.len()) != Ok(new) {
        return wrong(format!("{new} partitions would be new, and {} assignments are given", assignments.len()));
    }
    let node_id = core.shared().config.node_id;
    if assignments.iter().any(|assignment| assignment.broker_ids != [node_id]) {
        return wrong(format!("the only broker is {node_id}"));
    }
    Ok(())
}
