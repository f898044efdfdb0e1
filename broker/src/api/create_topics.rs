//! CreateTopics (key 19): makes topics, or says whether they could be made.
//!
//! There is one broker: a replication factor other than 1 and assignments to other brokers are refused.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ringmill_net::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode, Uuid};
use ringmill_net::{Outcome, Request};

use super::describe_configs::source_code;
use super::{NewPartitions, Refusal, decode, each_name_once, respond, too_many, too_many_settings, topic_refusal};
use crate::config::topic::{TopicConfig, TopicEntry};
use crate::core::Core;
use crate::internal_topics::{GROUPS, is_reserved};
use crate::metadata::{MetadataError, NewTopic, Topic};
use crate::topics::{self, TopicError};

/// "As many as the broker's default", and "as assigned".
const UNSAID: i32 = -1;

/// The id of a topic that was only checked.
const NO_ID: Uuid = [0; 16];

/// A topic that was made or could be.
struct Made {
    id: Uuid,
    partitions: i32,
    config: Arc<TopicConfig>,
}

impl Made {
    fn of(topic: &Topic) -> Made {
        Made { id: topic.id, partitions: topic.partition_count, config: Arc::clone(&topic.config) }
    }
}

/// Answers for each topic on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: CreateTopicsRequest<'_> = decode(request)?;
    let settings = asked.topics.iter().map(|topic| topic.configs.len());
    if let Some(refused) = too_many(asked.topics.len()).or_else(|| too_many_settings(settings)) {
        return Ok(refused);
    }
    let mut new_partitions = NewPartitions::default();
    let mut results = Vec::with_capacity(asked.topics.len());
    for (topic, once) in each_name_once(&asked.topics, |topic| topic.name) {
        let result = match once {
            Ok(()) => create(core, topic, asked.validate_only, &mut new_partitions).await,
            Err(refused) => Err(refused),
        };
        results.push((topic.name, result));
    }
    let response = CreateTopicsResponse {
        topics: results.iter().map(|(name, result)| describe(name, result)).collect(),
        ..CreateTopicsResponse::default()
    };
    Ok(respond(request, &response))
}

async fn create(
    core: &Rc<Core>,
    asked: &CreatableTopic<'_>,
    validate_only: bool,
    new_partitions: &mut NewPartitions,
) -> Result<Made, Refusal> {
    let wanted = wanted(core, asked)?;
    let prepared = topics::prepare(core, wanted.clone()).await.map_err(|error| topic_refusal(&error))?;
    new_partitions.add(prepared.topic().partition_count)?;
    if validate_only {
        return Ok(Made { id: NO_ID, ..Made::of(prepared.topic()) });
    }
    let topic = topics::create(core, wanted).await.map_err(|error| topic_refusal(&error))?;
    Ok(Made::of(&topic))
}

fn wanted(core: &Core, asked: &CreatableTopic<'_>) -> Result<NewTopic, Refusal> {
    // Before all else: who makes sure that a topic is there takes this for success, whatever else the request says.
    if core.metadata().topic(asked.name).is_some() {
        return Err(topic_refusal(&TopicError::Metadata(MetadataError::Exists(asked.name.to_owned()))));
    }
    if is_reserved(asked.name) {
        let why = format!(
            "the broker makes {GROUPS} itself, when the first consumer group needs it; \
             offsets.topic.num.partitions and offsets.topic.segment.bytes in its configuration say how"
        );
        return Err(Refusal::new(ErrorCode::InvalidTopicException, why));
    }
    if !matches!(asked.replication_factor, -1 | 1) {
        let why = format!("there is one broker, so the replication factor is 1, not {}", asked.replication_factor);
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, why));
    }
    let partition_count = match (asked.num_partitions, asked.assignments.len()) {
        (UNSAID, 0) => core.metadata().running().num_partitions(),
        (count, 0) => count,
        (UNSAID, _) => assigned_partitions(core, asked)?,
        _ => {
            let why = "either a number of partitions or assignments, not both";
            return Err(Refusal::new(ErrorCode::InvalidRequest, why));
        }
    };
    let mut settings = BTreeMap::new();
    for config in &asked.configs {
        let Some(value) = config.value else {
            let why = format!("topic setting {}: null is no value", config.name);
            return Err(Refusal::new(ErrorCode::InvalidConfig, why));
        };
        if settings.insert(config.name.to_owned(), value.to_owned()).is_some() {
            let why = format!("topic setting {}: given twice", config.name);
            return Err(Refusal::new(ErrorCode::InvalidConfig, why));
        }
    }
    Ok(NewTopic { name: asked.name.to_owned(), partition_count, settings })
}

/// Assignments are honoured where they say what is true anyway: every partition on this broker, numbered from 0.
fn assigned_partitions(core: &Core, asked: &CreatableTopic<'_>) -> Result<i32, Refusal> {
    let node_id = core.shared().config.node_id;
    let wrong = |why: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, why));
    let mut indexes: Vec<i32> = asked.assignments.iter().map(|assignment| assignment.partition_index).collect();
    indexes.sort_unstable();
    if !indexes.iter().copied().eq((0..).take(indexes.len())) {
        return wrong("assignments must name the partitions from 0 on, each once".to_owned());
    }
    if asked.assignments.iter().any(|assignment| assignment.broker_ids != [node_id]) {
        return wrong(format!("the only broker is {node_id}"));
    }
    i32::try_from(indexes.len()).or_else(|_| wrong("too many partitions".to_owned()))
}

fn describe<'a>(name: &'a str, result: &'a Result<Made, Refusal>) -> CreatableTopicResult<'a> {
    match result {
        Ok(made) => CreatableTopicResult {
            name,
            topic_id: made.id,
            num_partitions: made.partitions,
            replication_factor: 1,
            configs: Some(made.config.entries().iter().map(describe_setting).collect()),
            ..CreatableTopicResult::default()
        },
        Err(refusal) => CreatableTopicResult {
            name,
            error_code: refusal.code.code(),
            error_message: refusal.why.as_deref(),
            ..CreatableTopicResult::default()
        },
    }
}

fn describe_setting(entry: &TopicEntry) -> CreatableTopicConfigs<'_> {
    CreatableTopicConfigs {
        name: entry.name,
        value: Some(&entry.value),
        config_source: source_code(entry.origin),
        ..CreatableTopicConfigs::default()
    }
}
