//! The committed offsets of one group: taken, given, forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use crate::answer::{FetchedOffset, TopicOffsets};
use crate::context::Context;
use crate::record::{CommittedOffset, Record};
use crate::request::{OffsetCommit, PartitionCommit};
use crate::topics::{TopicId, Topics};

/// About what an offset takes in memory beside its words.
const OFFSET_BYTES: usize = 160;

/// Topic and partition of an offset.
pub(crate) type Place = (Arc<str>, i32);

/// By topic and partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, CommittedOffset>>,
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
    pub(crate) fn apply(&mut self, topic: &Arc<str>, partition: i32, value: Option<&CommittedOffset>) {
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

    /// How much more they would take in memory with these in their places.
    pub(crate) fn more_bytes(&self, commits: &[PartitionCommit]) -> usize {
        let more = |commit: &PartitionCommit| {
            let before = self.topics.get(&commit.topic).and_then(|partitions| partitions.get(&commit.partition));
            commit.bytes().saturating_sub(before.map_or(0, size))
        };
        commits.iter().map(more).sum()
    }

    /// Those whose place is behind this one, in order.
    fn behind<'a>(
        &'a self,
        place: Option<&'a Place>,
    ) -> impl Iterator<Item = (&'a Arc<str>, i32, &'a CommittedOffset)> {
        let from_topic = place.map_or(Bound::Unbounded, |(topic, _)| Bound::Included(&**topic));
        self.topics.range::<str, _>((from_topic, Bound::Unbounded)).flat_map(move |(topic, partitions)| {
            let amid = place.filter(|(amid, _)| amid == topic);
            let from = amid.map_or(Bound::Unbounded, |(_, partition)| Bound::Excluded(*partition));
            partitions.range((from, Bound::Unbounded)).map(move |(partition, offset)| (topic, *partition, offset))
        })
    }

    /// The topics of those that `is_one` names, of the next `most` behind this place.
    pub(crate) fn topics_where(
        &self,
        place: Option<&Place>,
        most: usize,
        is_one: impl Fn(&CommittedOffset) -> bool,
    ) -> BTreeSet<Arc<str>> {
        let mut topics: BTreeSet<Arc<str>> = BTreeSet::new();
        for (topic, _, _) in self.behind(place).take(most).filter(|(_, _, offset)| is_one(offset)) {
            if !topics.contains(topic) {
                topics.insert(Arc::clone(topic));
            }
        }
        topics
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
        let metadata = commit.metadata.clone().unwrap_or_default();
        if metadata.len() > cx.settings.offset_metadata_bytes_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        let commit_ms = cx.now.wall_ms;
        let value = CommittedOffset {
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

    /// What is committed of the topics asked for, or of all. What is kept of a topic that is gone is not told of another one that has its
    /// name, even before it is forgotten.
    pub(crate) fn fetch(&self, known: &dyn Topics, topics: Option<&[(Arc<str>, Vec<i32>)]>) -> Vec<TopicOffsets> {
        let fetched = |offset: &CommittedOffset| FetchedOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: Arc::clone(&offset.metadata),
        };
        let Some(asked) = topics else {
            let told = |(topic, partitions): (&Arc<str>, &BTreeMap<i32, CommittedOffset>)| {
                let is_told = is_told_of(known, topic);
                let told = partitions.iter().filter(|(_, offset)| is_told(offset));
                let partitions: Vec<_> = told.map(|(partition, offset)| (*partition, Some(fetched(offset)))).collect();
                (!partitions.is_empty()).then(|| TopicOffsets { topic: Arc::clone(topic), partitions })
            };
            return self.topics.iter().filter_map(told).collect();
        };
        asked
            .iter()
            .map(|(topic, partitions)| {
                let (kept, is_told) = (self.topics.get(topic), is_told_of(known, topic));
                let find = |partition: &i32| kept?.get(partition).filter(|offset| is_told(offset));
                let of = |partition: &i32| (*partition, find(partition).map(fetched));
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

    /// Removes all of them.
    pub(crate) fn delete_all(&mut self, cx: &mut Context<'_>, group: &Arc<str>) {
        self.delete_part(cx, group, None, usize::MAX, |_, _| true);
    }

    /// Removes those that `is_due` names, of the next `most` behind this place: how many were looked at, and where that ended if there are
    /// more.
    pub(crate) fn delete_part(
        &mut self,
        cx: &mut Context<'_>,
        group: &Arc<str>,
        place: Option<&Place>,
        most: usize,
        is_due: impl Fn(&Arc<str>, &CommittedOffset) -> bool,
    ) -> (usize, Option<Place>) {
        let (mut looked, mut due, mut last) = (0, Vec::new(), None);
        let mut next = self.behind(place);
        for (topic, partition, offset) in next.by_ref().take(most) {
            looked += 1;
            last = Some((topic, partition));
            if is_due(topic, offset) {
                due.push((Arc::clone(topic), partition));
            }
        }
        let rest = next.next().and(last).map(|(topic, partition)| (Arc::clone(topic), partition));
        drop(next);
        for (topic, partition) in due {
            self.delete(cx, group, &topic, partition);
        }
        (looked, rest)
    }
}

/// Whether an offset may be told of the topic that has this name now.
fn is_told_of(topics: &dyn Topics, name: &str) -> impl Fn(&&CommittedOffset) -> bool {
    let id = topics.find(name).map(|(id, _)| id);
    move |offset| id.is_none_or(|id| !offset.is_of_another(id))
}

impl CommittedOffset {
    /// Whether it was committed of another topic than this, which had the same name.
    pub(crate) fn is_of_another(&self, topic_id: TopicId) -> bool {
        self.topic_id != [0; 16] && self.topic_id != topic_id
    }
}

impl PartitionCommit {
    /// About what it takes in memory once it is kept.
    pub(crate) fn bytes(&self) -> usize {
        OFFSET_BYTES + self.metadata.as_ref().map_or(0, |metadata| metadata.len())
    }
}

fn size(offset: &CommittedOffset) -> usize {
    OFFSET_BYTES + offset.metadata.len()
}
