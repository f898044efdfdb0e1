//! What members of the classic protocol tell and are told in bytes: subscriptions and assignments of the `consumer` protocol type.

use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::DecodeError;
use ringmill_net::wire::embedded_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};

use super::assignment::{Assignment, normal};
use super::limits::{NAME_BYTES_MAX, OWNED_PARTITIONS_MAX, SUBSCRIBED_TOPICS_MAX, TOPIC_BYTES_MAX};
use crate::topics::Topics;

/// The newest version of an assignment.
const VERSION_MAX: i16 = 3;

/// A subscription.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// In order, once each.
    pub(super) names: Vec<Arc<str>>,
    /// Nothing in members that give everything up before they join.
    pub(super) owned: Assignment,
    pub(super) rack_id: Option<Arc<str>>,
}

/// Reads what a member told; nothing if it cannot be read or is larger than what a member may tell.
pub(super) fn subscription(metadata: &[u8], topics: &dyn Topics) -> Option<Subscription> {
    let told = embedded_protocol::subscription(metadata).or_else(|_| {
        let topics = embedded_protocol::subscribed_topics(metadata)?;
        Ok::<_, DecodeError>(ConsumerProtocolSubscription { topics, ..ConsumerProtocolSubscription::default() })
    });
    let told = told.ok()?;
    let owned: usize = told.owned_partitions.iter().map(|topic| topic.partitions.len()).sum();
    let fits = told.topics.len() <= SUBSCRIBED_TOPICS_MAX
        && told.topics.iter().all(|name| name.len() <= TOPIC_BYTES_MAX)
        && told.rack_id.is_none_or(|rack_id| rack_id.len() <= NAME_BYTES_MAX)
        && owned <= OWNED_PARTITIONS_MAX;
    fits.then(|| {
        let mut names: Vec<Arc<str>> = told.topics.iter().map(|name| Arc::from(*name)).collect();
        names.sort_unstable();
        names.dedup();
        let rack_id = told.rack_id.filter(|rack_id| !rack_id.is_empty()).map(Arc::from);
        Subscription { names, owned: by_id(&told.owned_partitions, topics), rack_id }
    })
}

/// Reads an assignment. `None` if it cannot be read, or if an assignor keeps something of its own in it, which would be lost.
pub(super) fn assignment(bytes: &[u8], topics: &dyn Topics) -> Option<Assignment> {
    let assigned = embedded_protocol::assignment(bytes).ok()?;
    let is_plain = assigned.user_data.is_none_or(<[u8]>::is_empty);
    is_plain.then(|| by_id(&assigned.assigned_partitions, topics))
}

/// The bytes of an assignment, in the version of what the member told.
pub(super) fn assignment_bytes(set: &Assignment, told: &[u8], topics: &dyn Topics) -> Bytes {
    let named = |(id, partitions): (&crate::TopicId, &Vec<i32>)| {
        Some(TopicPartition { topic: topics.name(id)?, partitions: partitions.clone() })
    };
    let mut assigned_partitions: Vec<TopicPartition<'_>> = set.iter().filter_map(named).collect();
    assigned_partitions.sort_by_key(|topic| topic.topic);
    let version = told.first_chunk().map_or(0, |version| i16::from_be_bytes(*version));
    let assigned = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    embedded_protocol::encode(&assigned, version.clamp(0, VERSION_MAX))
}

/// Partitions by the topic's id; those of topics that are gone are left out.
fn by_id(partitions: &[TopicPartition<'_>], topics: &dyn Topics) -> Assignment {
    let mut set = Assignment::new();
    for topic in partitions {
        if let Some((id, _)) = topics.find(topic.topic) {
            set.entry(id).or_default().extend(&topic.partitions);
        }
    }
    normal(&set)
}
