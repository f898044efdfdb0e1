//! DescribeLogDirs (key 35): how large the partitions are, and how full the volume of the data directory is.
//!
//! There is one data directory. A partition that is not hosted in it, or is quarantined, is not mentioned, as in Kafka.

use std::collections::{BTreeMap, BTreeSet};

use ringmill_engine::disk::VolumeInfo;
use ringmill_net::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic, UNKNOWN_VOLUME_BYTES,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{decode, respond, too_many_partitions};
use crate::core::Core;
use crate::core::hosting::HostingImage;
use crate::metadata::Topic;

/// Answers for the partitions that were named, or for all.
pub(super) async fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DescribeLogDirsRequest<'_> = decode(request)?;
    let named = asked.topics.iter().flatten().map(|topic| topic.partitions.len());
    if let Some(refused) = too_many_partitions(named) {
        return Ok(refused);
    }
    let (metadata, hosting) = (core.metadata(), core.hosting());
    let mut topics = Vec::new();
    match &asked.topics {
        None => {
            for topic in metadata.topics() {
                topics.extend(describe(&hosting, topic, 0..topic.partition_count).await);
            }
        }
        Some(named) => {
            for (name, partitions) in each_once(named) {
                let Some(topic) = metadata.topic(name) else { continue };
                topics.extend(describe(&hosting, topic, partitions).await);
            }
        }
    }
    let data_dir = &core.shared().data_dir;
    let log_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone()).display().to_string();
    let volume = core.disk().volume(data_dir).await;
    let bytes = |of: fn(&VolumeInfo) -> u64| {
        let known = volume.as_ref().ok().and_then(|volume| i64::try_from(of(volume)).ok());
        known.unwrap_or(UNKNOWN_VOLUME_BYTES)
    };
    let result = DescribeLogDirsResult {
        error_code: volume.as_ref().err().map_or(ErrorCode::None, |_| ErrorCode::KafkaStorageError).code(),
        log_dir: &log_dir,
        topics,
        total_bytes: bytes(|volume| volume.total_bytes),
        usable_bytes: bytes(|volume| volume.usable_bytes),
        is_cordoned: false,
    };
    Ok(respond(request, &DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }))
}

/// A partition that is named twice is described once.
fn each_once<'a>(named: &[DescribableLogDirTopic<'a>]) -> BTreeMap<&'a str, BTreeSet<i32>> {
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for topic in named {
        topics.entry(topic.topic).or_default().extend(&topic.partitions);
    }
    topics
}

/// `None` if none of the partitions is here.
async fn describe<'a>(
    hosting: &HostingImage,
    topic: &'a Topic,
    indexes: impl IntoIterator<Item = i32>,
) -> Option<DescribeLogDirsTopic<'a>> {
    let mut partitions = Vec::new();
    for partition_index in indexes {
        // Of a partition with many segments each is looked at; the core's other connections get their turns in between.
        tokio::task::coop::consume_budget().await;
        let reader = hosting.find(topic, partition_index).and_then(|hosted| hosted.reader.as_ref());
        let Some(reader) = reader else { continue };
        let partition_size = i64::try_from(reader.bytes()).unwrap_or(i64::MAX);
        partitions.push(DescribeLogDirsPartition { partition_index, partition_size, ..Default::default() });
    }
    (!partitions.is_empty()).then(|| DescribeLogDirsTopic { name: &topic.name, partitions })
}
