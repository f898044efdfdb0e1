//! DescribeTopicPartitions (key 75): topics and partitions as in Metadata, sorted by name and a page at a time; never makes a topic.
//!
//! A page that is full ends with a cursor: the topic and partition with which the next one begins.

use std::collections::BTreeSet;

use ringmill_net::wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{TOPIC_OPERATIONS, decode, respond, too_many};
use crate::core::Core;
use crate::core::hosting::HostingImage;
use crate::internal_topics::is_internal;
use crate::metadata::{Topic, check_topic_name};

/// The most partitions on a page, whatever the client asks for; Kafka's default of `max.request.partition.size.limit`.
const PAGE_PARTITIONS_MAX: usize = 2000;

/// The answer's topics and the next page's cursor, as they grow.
struct Page<'a> {
    node_id: i32,
    hosting: &'a HostingImage,
    left: usize,
    response: DescribeTopicPartitionsResponse<'a>,
}

/// Answers at once.
pub(super) fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DescribeTopicPartitionsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.topics.len()) {
        return Ok(refused);
    }
    let (image, hosting) = (core.metadata(), core.hosting());
    let names: BTreeSet<&str> = match asked.topics.is_empty() {
        true => image.topics().map(|topic| &*topic.name).collect(),
        false => asked.topics.iter().map(|topic| topic.name).collect(),
    };
    if asked.cursor.as_ref().is_some_and(|cursor| cursor.partition_index < 0) {
        return Ok(respond(request, &refuse_all(&names)));
    }
    let (first_topic, first_partition) =
        asked.cursor.as_ref().map_or(("", 0), |cursor| (cursor.topic_name, cursor.partition_index));
    let wanted = usize::try_from(asked.response_partition_limit).unwrap_or(0);
    let mut page = Page {
        node_id: core.shared().config.node_id,
        hosting: &hosting,
        left: wanted.clamp(1, PAGE_PARTITIONS_MAX),
        response: DescribeTopicPartitionsResponse::default(),
    };
    for name in names.range(first_topic..) {
        let from = if *name == first_topic { first_partition } else { 0 };
        let is_full = match image.topic(name) {
            Some(topic) => page.add(topic, from),
            None => page.add_unknown(name),
        };
        if is_full {
            break;
        }
    }
    Ok(respond(request, &page.response))
}

impl<'a> Page<'a> {
    /// True when the page is full and its cursor set.
    fn add(&mut self, topic: &'a Topic, from: i32) -> bool {
        if self.left == 0 {
            self.response.next_cursor = Some(Cursor { topic_name: &topic.name, partition_index: 0 });
            return true;
        }
        let indexes = (from..topic.partition_count).take(self.left);
        let partitions: Vec<_> = indexes.map(|index| self.partition(topic, index)).collect();
        self.left -= partitions.len();
        let next = partitions.last().map_or(topic.partition_count, |last| last.partition_index + 1);
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: is_internal(&topic.name),
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        let is_cut = next < topic.partition_count;
        if is_cut {
            self.response.next_cursor = Some(Cursor { topic_name: &topic.name, partition_index: next });
        }
        is_cut
    }

    /// The same for a topic that is not there.
    fn add_unknown(&mut self, name: &'a str) -> bool {
        if self.left == 0 {
            self.response.next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
            return true;
        }
        let error = match check_topic_name(name) {
            Ok(()) => ErrorCode::UnknownTopicOrPartition,
            Err(_) => ErrorCode::InvalidTopicException,
        };
        self.response.topics.push(refused(name, error));
        false
    }

    fn partition(&self, topic: &Topic, index: i32) -> DescribeTopicPartitionsResponsePartition {
        let reader = self.hosting.find(topic, index).and_then(|hosted| hosted.reader.as_ref());
        DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: self.node_id,
            leader_epoch: reader.map_or(-1, |reader| reader.watermarks().leader_epoch.get()),
            replica_nodes: vec![self.node_id],
            isr_nodes: vec![self.node_id],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            ..DescribeTopicPartitionsResponsePartition::default()
        }
    }
}

fn refused(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic<'_> {
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name),
        is_internal: is_internal(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

/// A cursor that no page of ours ended with: the message has no place for an error but beside a topic.
fn refuse_all<'a>(names: &BTreeSet<&'a str>) -> DescribeTopicPartitionsResponse<'a> {
    DescribeTopicPartitionsResponse {
        topics: names.iter().map(|name| refused(name, ErrorCode::InvalidRequest)).collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}
