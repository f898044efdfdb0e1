//! The metadata at one moment: immutable, shared by all cores.
//!
//! Only read; the store builds the next one after each commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::RunningConfig;
use crate::config::topic::TopicConfig;

/// A topic's identity: given once, never again, so that a deleted topic's name may return without its records.
pub type TopicId = [u8; 16];

/// All topics, and the broker's own settings, at one moment.
#[derive(Clone, Debug)]
pub struct MetadataImage {
    pub(super) cluster_id: Arc<str>,
    pub(super) running: Arc<RunningConfig>,
    pub(super) topics: BTreeMap<Arc<str>, Arc<Topic>>,
    pub(super) names: BTreeMap<TopicId, Arc<str>>,
    /// As they were found at the start.
    pub(super) deletions: Arc<BTreeSet<TopicId>>,
    /// Topics deleted since the start.
    deleted: u64,
}

impl MetadataImage {
    /// The cluster's id, as clients are told.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// What is in effect of the settings that can change while the broker runs.
    #[must_use]
    pub fn running(&self) -> &Arc<RunningConfig> {
        &self.running
    }

    /// Finds a topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// Finds a topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(id)?)
    }

    /// Topics that were deleted before this start, and whose files may still be there.
    #[must_use]
    pub fn unfinished_deletions(&self) -> &BTreeSet<TopicId> {
        &self.deletions
    }

    /// How many topics were deleted since the start: who remembers it knows whether any has gone meanwhile.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// No topics yet.
    pub(super) fn new(cluster_id: &str, running: RunningConfig) -> MetadataImage {
        MetadataImage {
            cluster_id: cluster_id.into(),
            running: Arc::new(running),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            deletions: Arc::default(),
            deleted: 0,
        }
    }

    pub(super) fn with(&self, topic: Arc<Topic>) -> MetadataImage {
        self.with_all([topic])
    }

    pub(super) fn with_all(&self, topics: impl IntoIterator<Item = Arc<Topic>>) -> MetadataImage {
        let mut next = self.clone();
        for topic in topics {
            next.names.insert(topic.id, Arc::clone(&topic.name));
            next.topics.insert(Arc::clone(&topic.name), topic);
        }
        next
    }

    pub(super) fn without(&self, topic: &Topic) -> MetadataImage {
        let mut next = self.clone();
        next.names.remove(&topic.id);
        next.topics.remove(&topic.name);
        next.deleted += 1;
        next
    }
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: TopicId,
    /// Its partitions are numbered from 0 to this, exclusive.
    pub partition_count: i32,
    /// Which place in the round over the cores its partition 0 has.
    pub placement: u64,
    /// When it was created, milliseconds since 1970.
    pub created_ms: i64,
    /// What is set on it, by name; [`TopicConfig::entries`] has these and the defaults.
    pub settings: BTreeMap<String, String>,
    /// Its configuration in effect.
    pub config: Arc<TopicConfig>,
}

impl Topic {
    /// The core that owns a partition: round-robin over all partitions in the order they were created, so that the load of many
    /// small topics spreads too. Another number of cores at the next start gives other owners, which nothing on disk depends on.
    /// For example partition 2 of a topic with placement 5 on 4 cores belongs to core 3.
    ///
    /// # Panics
    /// When `cores` is 0 or `partition` is negative.
    #[must_use]
    pub fn owner(&self, partition: i32, cores: usize) -> usize {
        let partition = u64::try_from(partition).expect("partitions are numbered from 0");
        let turn = self.placement.wrapping_add(partition) % cores as u64;
        usize::try_from(turn).expect("a remainder is smaller than the number of cores")
    }
}
