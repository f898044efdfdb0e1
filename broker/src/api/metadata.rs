//! Metadata (key 3): topics, their partitions and where to reach them; makes a topic that is asked for, where that is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use ringmill_net::wire::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringmill_net::wire::{DecodeError, ErrorCode, Uuid};
use ringmill_net::{Outcome, Request};

use super::{
    CLUSTER_OPERATIONS, NewPartitions, PARTITIONS_MAX, TOPIC_OPERATIONS, advertised, decode, more_than, operations,
    respond, topic_refusal,
};
use crate::core::Core;
use crate::core::turns::LONG_PARTITIONS;
use crate::internal_topics::{group_topic, is_internal, is_reserved};
use crate::metadata::{MetadataError, NewTopic, Topic, check_topic_name};
use crate::topics::{self, TopicError};

/// No id.
const NO_ID: Uuid = [0; 16];

/// The most topics that one request makes by asking for them: each takes some syncs, one after the other. The others are
/// "not available" for now, so that the client asks again.
const CREATED_MAX: usize = 100;

/// Kafka's own topics, which clients ask for to look into them. Here are none of these, and none is made by asking.
const KAFKAS_OWN: [&str; 3] = ["__cluster_metadata", "__share_group_state", "__transaction_state"];

/// What is said about one topic that was asked for.
enum Found {
    Topic(Arc<Topic>),
    Not { name: Option<String>, id: Uuid, error: ErrorCode },
}

impl Found {
    fn partitions(&self) -> usize {
        match self {
            Found::Topic(topic) => usize::try_from(topic.partition_count).unwrap_or(0),
            Found::Not { .. } => 1,
        }
    }
}

/// Answers for the topics that were named, or for all.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: MetadataRequest<'_> = decode(request)?;
    let found = match asked.topics {
        Some(topics) if !(topics.is_empty() && request.header.api_version == 0) => {
            if let Some(refused) = more_than(PARTITIONS_MAX, "topics", topics.len()) {
                return Ok(refused);
            }
            let mut creation = Creation {
                is_allowed: asked.allow_auto_topic_creation && core.shared().config.auto_create_topics,
                left: CREATED_MAX,
                new_partitions: NewPartitions::default(),
            };
            let mut found = Vec::new();
            let mut named = BTreeSet::new();
            for topic in topics {
                // A request may name very many topics; the core's other connections get their turns in between.
                tokio::task::coop::consume_budget().await;
                // Each once: a large topic named a million times would be an answer of gigabytes. Beside an id no
                // name counts: Java's admin client sends an empty one.
                let name = topic.name.filter(|_| topic.topic_id == NO_ID);
                if named.insert((name, topic.topic_id)) {
                    found.push(find(core, name, topic.topic_id, &mut creation).await);
                }
            }
            found
        }
        _ => core.metadata().topics().map(|topic| Found::Topic(Arc::clone(topic))).collect(),
    };
    let shared = core.shared();
    let (host, port) = advertised(core, request);
    let node_id = shared.config.node_id;
    let broker = MetadataResponseBroker { node_id, host: &host, port: i32::from(port), rack: None };
    let image = core.metadata();
    let topic_operations = operations(asked.include_topic_authorized_operations, TOPIC_OPERATIONS);
    let _turn = core.turns().to_read(found.iter().map(Found::partitions).sum::<usize>() > LONG_PARTITIONS).await;
    let mut topics = Vec::with_capacity(found.len());
    let mut since_turn = 0;
    for found in &found {
        since_turn += found.partitions();
        if since_turn > LONG_PARTITIONS {
            since_turn = 0;
            tokio::task::yield_now().await;
        }
        topics.push(describe(core, node_id, found, topic_operations));
    }
    let response = MetadataResponse {
        brokers: vec![broker],
        cluster_id: Some(image.cluster_id()),
        controller_id: node_id,
        topics,
        cluster_authorized_operations: operations(asked.include_cluster_authorized_operations, CLUSTER_OPERATIONS),
        ..MetadataResponse::default()
    };
    Ok(respond(request, &response))
}

/// What is left of a request's right to make topics by asking for them.
struct Creation {
    is_allowed: bool,
    left: usize,
    new_partitions: NewPartitions,
}

async fn find(core: &Rc<Core>, name: Option<&str>, id: Uuid, creation: &mut Creation) -> Found {
    let not = |error| Found::Not { name: name.map(str::to_owned), id, error };
    let Some(name) = name else {
        return match core.metadata().topic_by_id(&id) {
            Some(topic) => Found::Topic(Arc::clone(topic)),
            None => not(ErrorCode::UnknownTopicId),
        };
    };
    if let Some(topic) = core.metadata().topic(name) {
        return Found::Topic(Arc::clone(topic));
    }
    if check_topic_name(name).is_err() || (is_reserved(name) && !is_internal(name)) {
        return not(ErrorCode::InvalidTopicException);
    }
    if !creation.is_allowed || KAFKAS_OWN.contains(&name) {
        return not(ErrorCode::UnknownTopicOrPartition);
    }
    if is_internal(name) {
        return found(name, group_topic(core).await, core).unwrap_or_else(not);
    }
    let partition_count = core.metadata().running().num_partitions();
    if creation.left == 0 || creation.new_partitions.add(partition_count).is_err() {
        return not(ErrorCode::LeaderNotAvailable);
    }
    creation.left -= 1;
    create(core, name, partition_count).await.unwrap_or_else(not)
}

async fn create(core: &Rc<Core>, name: &str, partition_count: i32) -> Result<Found, ErrorCode> {
    let new = NewTopic { name: name.to_owned(), partition_count, settings: BTreeMap::new() };
    found(name, topics::create(core, new).await, core)
}

/// What has come of making a topic.
fn found(name: &str, made: Result<Arc<Topic>, TopicError>, core: &Core) -> Result<Found, ErrorCode> {
    match made {
        Ok(topic) => Ok(Found::Topic(topic)),
        // Another connection was faster.
        Err(TopicError::Metadata(MetadataError::Exists(_))) => {
            core.metadata().topic(name).cloned().map(Found::Topic).ok_or(ErrorCode::UnknownTopicOrPartition)
        }
        // Nothing is wrong here, and a client may ask as often as it likes.
        Err(error @ TopicError::Metadata(MetadataError::TooManyPartitions { .. })) => Err(topic_refusal(&error).code),
        Err(error) => {
            tracing::warn!(topic = name, %error, "the topic that was asked for cannot be created");
            Err(topic_refusal(&error).code)
        }
    }
}

fn describe<'a>(core: &Core, node_id: i32, found: &'a Found, topic_operations: i32) -> MetadataResponseTopic<'a> {
    match found {
        Found::Not { name, id, error } => MetadataResponseTopic {
            error_code: error.code(),
            name: name.as_deref(),
            topic_id: *id,
            is_internal: name.as_deref().is_some_and(is_internal),
            ..MetadataResponseTopic::default()
        },
        Found::Topic(topic) => MetadataResponseTopic {
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions: (0..topic.partition_count).map(|index| partition(core, node_id, topic, index)).collect(),
            topic_authorized_operations: topic_operations,
            ..MetadataResponseTopic::default()
        },
    }
}

/// A partition that takes no produces is still led by this broker: who asks it gets the reason.
fn partition(core: &Core, node_id: i32, topic: &Topic, index: i32) -> MetadataResponsePartition {
    let hosting = core.hosting();
    let reader = hosting.find(topic, index).and_then(|hosted| hosted.reader.clone());
    MetadataResponsePartition {
        partition_index: index,
        leader_id: node_id,
        leader_epoch: reader.map_or(-1, |reader| reader.watermarks().leader_epoch.get()),
        replica_nodes: vec![node_id],
        isr_nodes: vec![node_id],
        ..MetadataResponsePartition::default()
    }
}
