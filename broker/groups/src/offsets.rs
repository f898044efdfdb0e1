//! The committed offsets of one group: taken, given, forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use crate::answer::{FetchedOffset, TopicOffsets};
use crate::context::Context;
use crate::record::{Offset, Record};
use crate::request::{OffsetCommit, PartitionCommit};

/// About what an offset takes in memory beside its words.
const OFFSET_BYTES: usize = 160;

/// By topic and partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Offset>>,
    bytes: usize,
}

impl Offsets {
    /// Whether nothing is committed.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// About what they take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Stores or removes one, as a record says.
    pub(crate) fn apply(&mut self, topic: &Arc<str>, partition: i32, value: Option<&Offset>) {
        match value {
            Some(offset) => {
                let partitions = match self.topics.get_mut(topic) {
                    Some(partitions) => partitions,
                    None => self.topics.entry(Arc::clone(topic)).or_default(),
                };
                self.bytes += size(offset);
                if let Some(before) = partitions.insert(partition, offset.clone()) {
                    self.bytes -= size(&before);
                }
            }
            None => {
                let Some(partitions) = self.topics.get_mut(topic) else { return };
                if let Some(before) = partitions.remove(&partition) {
                    self.bytes -= size(&before);
                }
                if partitions.is_empty() {
                    self.topics.remove(topic);
                }
            }
        }
    }

    /// Takes a commit that its group has allowed; one result for each partition.
    pub(crate) fn commit(&mut self, cx: &mut Context<'_>, request: &OffsetCommit) -> Vec<Result<(), ErrorCode>> {
        request.offsets.iter().map(|each| self.commit_one(cx, &request.group, each)).collect()
    }

    fn commit_one(
        &mut self,
        cx: &mut Context<'_>,
        group: &Arc<str>,
        commit: &PartitionCommit,
    ) -> Result<(), ErrorCode> {
        let metadata = commit.metadata.clone().unwrap_or_else(|| "".into());
        if metadata.len() > cx.settings.offset_metadata_bytes_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        let commit_ms = cx.now.wall_ms;
        let value = Offset {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata,
            commit_ms,
            expire_ms: commit.retention_ms.map_or(-1, |retention_ms| commit_ms.saturating_add(retention_ms)),
            topic_id: commit.topic_id,
        };
        self.apply(&commit.topic, commit.partition, Some(&value));
        let (group, topic) = (Arc::clone(group), Arc::clone(&commit.topic));
        cx.effects.records.push(Record::Offset { group, topic, partition: commit.partition, value: Some(value) });
        Ok(())
    }

    /// What is committed of the topics asked for, or of all.
    pub(crate) fn fetch(&self, topics: Option<&[(Arc<str>, Vec<i32>)]>) -> Vec<TopicOffsets> {
        let fetched = |offset: &Offset| FetchedOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: Arc::clone(&offset.metadata),
        };
        let Some(asked) = topics else {
            let all = |partitions: &BTreeMap<i32, Offset>| {
                partitions.iter().map(|(partition, offset)| (*partition, Some(fetched(offset)))).collect()
            };
            let topics = self.topics.iter();
            return topics
                .map(|(topic, partitions)| TopicOffsets { topic: Arc::clone(topic), partitions: all(partitions) })
                .collect();
        };
        asked
            .iter()
            .map(|(topic, partitions)| {
                let known = self.topics.get(topic);
                let of = |partition: &i32| (*partition, known.and_then(|known| known.get(partition)).map(fetched));
                TopicOffsets { topic: Arc::clone(topic), partitions: partitions.iter().map(of).collect() }
            })
            .collect()
    }

    /// Removes one if it is there.
    pub(crate) fn delete(&mut self, cx: &mut Context<'_>, group: &Arc<str>, topic: &Arc<str>, partition: i32) {
        if self.topics.get(topic).is_some_and(|partitions| partitions.contains_key(&partition)) {
            self.apply(topic, partition, None);
            let (group, topic) = (Arc::clone(group), Arc::clone(topic));
            cx.effects.records.push(Record::Offset { group, topic, partition, value: None });
        }
    }

    /// Removes those that `is_due` names.
    pub(crate) fn delete_where(
        &mut self,
        cx: &mut Context<'_>,
        group: &Arc<str>,
        is_due: impl Fn(&Arc<str>, &Offset) -> bool,
    ) {
        let due: Vec<(Arc<str>, i32)> = self
            .topics
            .iter()
            .flat_map(|(topic, partitions)| {
                partitions.iter().map(move |(partition, offset)| (topic, *partition, offset))
            })
            .filter(|(topic, _, offset)| is_due(topic, offset))
            .map(|(topic, partition, _)| (Arc::clone(topic), partition))
            .collect();
        for (topic, partition) in due {
            self.delete(cx, group, &topic, partition);
        }
    }
}

fn size(offset: &Offset) -> usize {
    OFFSET_BYTES + offset.metadata.len()
}
