//! DeleteTopics (key 20): removes topics, by name or by id.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use ringmill_net::wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode, Uuid};
use ringmill_net::{Outcome, Request};

use super::{Refusal, check_not_internal, decode, respond, too_many, topic_refusal};
use crate::core::Core;
use crate::topics;

/// From this version on topics come in a list of names and ids.
const STATES_FROM: i16 = 6;

/// No id.
const NO_ID: Uuid = [0; 16];

/// What became of one topic.
struct Outlived {
    name: Option<String>,
    id: Uuid,
    refusal: Option<Refusal>,
}

/// Answers for each topic on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DeleteTopicsRequest<'_> = decode(request)?;
    let wanted: Vec<DeleteTopicState<'_>> = if request.header.api_version >= STATES_FROM {
        asked.topics
    } else {
        asked.topic_names.iter().map(|name| DeleteTopicState { name: Some(name), topic_id: NO_ID }).collect()
    };
    if let Some(refused) = too_many(wanted.len()) {
        return Ok(refused);
    }
    let twice = named_twice(core, &wanted);
    let mut told = BTreeSet::new();
    let mut results = Vec::with_capacity(wanted.len());
    // Clients look for one answer to each name or id.
    for (topic, twice) in wanted.iter().zip(twice).filter(|(topic, _)| told.insert((topic.name, topic.topic_id))) {
        results.push(delete(core, topic, twice).await);
    }
    let responses = results
        .iter()
        .map(|result| DeletableTopicResult {
            name: result.name.as_deref(),
            topic_id: result.id,
            error_code: result.refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code).code(),
            error_message: result.refusal.as_ref().and_then(|refusal| refusal.why.as_deref()),
        })
        .collect();
    Ok(respond(request, &DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }))
}

/// For each topic whether the request means it more than once, by name or by id.
fn named_twice(core: &Core, wanted: &[DeleteTopicState<'_>]) -> Vec<bool> {
    let image = core.metadata();
    let meant: Vec<_> = wanted
        .iter()
        .map(|asked| match image.topic_by_id(&asked.topic_id) {
            Some(topic) if asked.name.is_none() => (Some(&*topic.name), NO_ID),
            _ => (asked.name, asked.topic_id),
        })
        .collect();
    let mut times: BTreeMap<_, usize> = BTreeMap::new();
    meant.iter().for_each(|topic| *times.entry(*topic).or_default() += 1);
    meant.iter().map(|topic| times[topic] > 1).collect()
}

async fn delete(core: &Rc<Core>, asked: &DeleteTopicState<'_>, twice: bool) -> Outlived {
    let image = core.metadata();
    let refused =
        |refusal: Refusal| Outlived { name: asked.name.map(str::to_owned), id: asked.topic_id, refusal: Some(refusal) };
    let invalid = |why: &str| refused(Refusal::new(ErrorCode::InvalidRequest, why));
    let topic = match (asked.name, asked.topic_id) {
        (Some(_), id) if id != NO_ID => return invalid("either a name or an id, not both"),
        (None, NO_ID) => return invalid("neither a name nor an id"),
        _ if twice => return invalid("the request names this topic more than once"),
        (Some(name), _) => match image.topic(name) {
            Some(topic) => Arc::clone(topic),
            None => return refused(ErrorCode::UnknownTopicOrPartition.into()),
        },
        (None, id) => match image.topic_by_id(&id) {
            Some(topic) => Arc::clone(topic),
            None => return refused(ErrorCode::UnknownTopicId.into()),
        },
    };
    if let Err(refusal) = check_not_internal(&topic.name) {
        return refused(refusal);
    }
    match topics::delete(core, Arc::clone(&topic)).await {
        Ok(()) => Outlived { name: Some(topic.name.to_string()), id: topic.id, refusal: None },
        Err(error) => refused(topic_refusal(&error)),
    }
}
