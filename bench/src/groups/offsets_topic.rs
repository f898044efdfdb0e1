//! How much the topic that keeps the groups holds, as far as the broker tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmill_net::client::{ClientError, Connection};
use ringmill_net::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use ringmill_net::wire::messages::list_offsets::LATEST_TIMESTAMP;

use super::brokers::Brokers;

const NAME: &str = "__consumer_offsets";

/// At a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// The sum of the partitions' ends: every record ever written counts, also those that compaction has removed.
    pub(super) records: u64,
    /// Of the segments.
    pub(super) bytes: u64,
}

/// The topic's size, or nothing where the broker keeps none of that name, or does not say.
pub(super) async fn size(brokers: &Brokers) -> Option<Size> {
    brokers.cluster.forget(NAME);
    size_or_why(brokers).await.ok()
}

async fn size_or_why(brokers: &Brokers) -> Result<Size, ClientError> {
    let topic = brokers.cluster.topic(NAME, false).await?;
    let mut size = Size { records: 0, bytes: 0 };
    let mut by_leader: BTreeMap<String, (Arc<Connection>, Vec<i32>)> = BTreeMap::new();
    for partition in &topic.partitions {
        let (_, leader) = brokers.cluster.leader(NAME, partition.index).await?;
        let end = leader.list_offset(NAME, partition.index, LATEST_TIMESTAMP).await?;
        size.records += u64::try_from(end).unwrap_or(0);
        let address = leader.address().to_owned();
        by_leader.entry(address).or_insert_with(|| (leader, Vec::new())).1.push(partition.index);
    }
    for (leader, partitions) in by_leader.into_values() {
        let request = DescribeLogDirsRequest { topics: Some(vec![DescribableLogDirTopic { topic: NAME, partitions }]) };
        let answer = leader.call(&request).await?;
        let response: DescribeLogDirsResponse<'_> = answer.decode()?;
        let found = response.results.iter().flat_map(|directory| &directory.topics).flat_map(|topic| &topic.partitions);
        size.bytes += found.map(|each| u64::try_from(each.partition_size).unwrap_or(0)).sum::<u64>();
    }
    Ok(size)
}
