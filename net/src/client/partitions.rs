//! Questions and orders about many partitions of a topic at once: offsets by place or time, sizes, and the removal of old records.
//!
//! Methods of [`Cluster`], because each partition's leader must be asked for its own; every leader gets one request.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settings::unanswered;
use super::{ClientError, Cluster, Connection};
use crate::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use crate::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use crate::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use crate::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

/// How long a broker may take to add partitions or to delete records.
const CHANGE_TIMEOUT_MS: i32 = 15_000;

/// A leader's connection and its share of a question.
type Share<T> = (Arc<Connection>, Vec<(i32, T)>);

impl Cluster {
    /// Divides a question about partitions among their leaders.
    async fn by_leader<T: Copy>(&self, topic: &str, asked: &[(i32, T)]) -> Result<Vec<Share<T>>, ClientError> {
        let mut shares: BTreeMap<i32, Share<T>> = BTreeMap::new();
        for &(partition, of_it) in asked {
            let (leader, connection) = self.leader(topic, partition).await?;
            shares.entry(leader).or_insert_with(|| (connection, Vec::new())).1.push((partition, of_it));
        }
        Ok(shares.into_values().collect())
    }

    /// The offsets that timestamps lead to, one per partition asked for; what a timestamp means, and −1 in the answer, is said at
    /// [`Connection::list_offset`].
    ///
    /// # Errors
    /// Of the connections; `Refused` with the broker's reason.
    pub async fn list_offsets(&self, topic: &str, asked: &[(i32, i64)]) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut offsets = BTreeMap::new();
        for (connection, share) in self.by_leader(topic, asked).await? {
            let entry = |&(partition_index, timestamp): &(i32, i64)| ListOffsetsPartition {
                partition_index,
                timestamp,
                ..Default::default()
            };
            let topics = vec![ListOffsetsTopic { name: topic, partitions: share.iter().map(entry).collect() }];
            let answer = connection.call(&ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }).await?;
            let response: ListOffsetsResponse<'_> = answer.decode()?;
            for found in response.topics.iter().flat_map(|topic| &topic.partitions) {
                ClientError::check(found.error_code, None, || format!("offsets of {topic}-{}", found.partition_index))?;
                offsets.insert(found.partition_index, found.offset);
            }
        }
        all_answered(topic, asked, &offsets)?;
        Ok(offsets)
    }

    /// Bytes on disk of each partition, at its leader.
    ///
    /// # Errors
    /// Of the connections; `Refused` with the broker's reason.
    pub async fn sizes(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, ClientError> {
        let asked: Vec<(i32, ())> = partitions.iter().map(|partition| (*partition, ())).collect();
        let mut sizes = BTreeMap::new();
        for (connection, share) in self.by_leader(topic, &asked).await? {
            let partitions = share.iter().map(|(partition, ())| *partition).collect();
            let request = DescribeLogDirsRequest { topics: Some(vec![DescribableLogDirTopic { topic, partitions }]) };
            let answer = connection.call(&request).await?;
            let response: DescribeLogDirsResponse<'_> = answer.decode()?;
            ClientError::check(response.error_code, None, || format!("sizes of {topic}"))?;
            for dir in &response.results {
                ClientError::check(dir.error_code, None, || format!("sizes in {}", dir.log_dir))?;
                let found = dir.topics.iter().filter(|found| found.name == topic).flat_map(|found| &found.partitions);
                sizes.extend(
                    found.filter(|each| !each.is_future_key).map(|each| (each.partition_index, each.partition_size)),
                );
            }
        }
        Ok(sizes)
    }

    /// Deletes what lies before an offset of each partition, −1 for all that consumers see. Each partition's new start, or why it has none.
    ///
    /// # Errors
    /// Of the connections.
    pub async fn delete_records(
        &self,
        topic: &str,
        before: &[(i32, i64)],
    ) -> Result<BTreeMap<i32, Result<i64, ClientError>>, ClientError> {
        let mut starts = BTreeMap::new();
        for (connection, share) in self.by_leader(topic, before).await? {
            let entry = |&(partition_index, offset): &(i32, i64)| DeleteRecordsPartition { partition_index, offset };
            let topics = vec![DeleteRecordsTopic { name: topic, partitions: share.iter().map(entry).collect() }];
            let answer = connection.call(&DeleteRecordsRequest { topics, timeout_ms: CHANGE_TIMEOUT_MS }).await?;
            let response: DeleteRecordsResponse<'_> = answer.decode()?;
            for result in response.topics.iter().flat_map(|topic| &topic.partitions) {
                let what = || format!("delete records of {topic}-{}", result.partition_index);
                let start = ClientError::check(result.error_code, None, what).map(|()| result.low_watermark);
                starts.insert(result.partition_index, start);
            }
        }
        all_answered(topic, before, &starts)?;
        Ok(starts)
    }

    /// Gives a topic more partitions: `count` in all.
    ///
    /// # Errors
    /// Of the connection; `Refused` with the broker's reason.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), ClientError> {
        let topics = vec![CreatePartitionsTopic { name: topic, count, assignments: None }];
        let request = CreatePartitionsRequest { topics, timeout_ms: CHANGE_TIMEOUT_MS, validate_only: false };
        let answer = self.any().await?.call(&request).await?;
        let response: CreatePartitionsResponse<'_> = answer.decode()?;
        let what = || format!("partitions of {topic}");
        let result = response.results.first().ok_or_else(|| unanswered(what()))?;
        ClientError::check(result.error_code, result.error_message, what)?;
        self.forget(topic);
        Ok(())
    }
}

/// Whether every partition that was asked for stands in the answer.
fn all_answered<A, B>(topic: &str, asked: &[(i32, A)], answered: &BTreeMap<i32, B>) -> Result<(), ClientError> {
    match asked.iter().find(|(partition, _)| !answered.contains_key(partition)) {
        Some((partition, _)) => Err(unanswered(format!("{topic}-{partition}"))),
        None => Ok(()),
    }
}
