//! Questions and orders about topics: create, delete, describe, and offsets by place or time.
//!
//! Methods of [`Connection`], because any broker may be asked for most of them; [`super::Cluster`] knows whom to ask for the rest.

use super::{ClientError, Connection};
use crate::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use crate::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::wire::{ErrorCode, Uuid};

/// How long a broker may take to create or delete a topic.
const TOPIC_CHANGE_TIMEOUT_MS: i32 = 15_000;

/// A topic to create.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; −1 for the broker's default.
    pub partitions: i32,
    /// How many replicas of each; −1 for the broker's default.
    pub replication_factor: i16,
    /// Settings by Kafka's names.
    pub configs: Vec<(String, String)>,
}

/// A topic as the broker describes it.
#[derive(Clone, Debug)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id, all zero from brokers that know none.
    pub id: Uuid,
    /// Whether it belongs to the broker itself.
    pub is_internal: bool,
    /// Its partitions, sorted by index.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as the broker describes it.
#[derive(Clone, Debug)]
pub struct PartitionInfo {
    /// Its index.
    pub index: i32,
    /// The leader's node id, −1 if there is none at present.
    pub leader: i32,
    /// The leader's epoch, −1 if not known.
    pub leader_epoch: i32,
    /// Node ids of the replicas.
    pub replicas: Vec<i32>,
}

impl TopicInfo {
    /// The leader's epoch of a partition, −1 if not known.
    pub(super) fn leader_epoch_of(&self, partition: i32) -> i32 {
        self.partitions.iter().find(|each| each.index == partition).map_or(-1, |each| each.leader_epoch)
    }
}

/// What a metadata answer says: brokers as (node id, `host:port`), topics, and what was wrong with those that are missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Overview {
    pub(super) brokers: Vec<(i32, String)>,
    pub(super) topics: Vec<TopicInfo>,
    pub(super) refused: Vec<(String, ErrorCode)>,
}

impl Connection {
    /// Asks about the named topics, or about all with `None`.
    pub(super) async fn overview(&self, names: Option<&[&str]>, auto_create: bool) -> Result<Overview, ClientError> {
        let version = self.version_of::<MetadataRequest<'_>>()?;
        let topics = match names {
            // Version 0 has no null; there the empty list asks for all.
            None if version == 0 => Some(Vec::new()),
            None => None,
            Some(names) => {
                Some(names.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() }).collect())
            }
        };
        let request = MetadataRequest { topics, allow_auto_topic_creation: auto_create, ..Default::default() };
        let answer = self.call(&request).await?;
        let response: MetadataResponse<'_> = answer.decode()?;
        let mut overview = Overview::default();
        for broker in &response.brokers {
            overview.brokers.push((broker.node_id, format!("{}:{}", bracketed(broker.host), broker.port)));
        }
        for topic in &response.topics {
            let name = topic.name.unwrap_or_default().to_owned();
            match ErrorCode::from_code(topic.error_code).unwrap_or(ErrorCode::UnknownServerError) {
                ErrorCode::None => overview.topics.push(TopicInfo {
                    name,
                    id: topic.topic_id,
                    is_internal: topic.is_internal,
                    partitions: partitions_of(topic),
                }),
                code => overview.refused.push((name, code)),
            }
        }
        Ok(overview)
    }

    /// All topics, sorted by name.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn list_topics(&self) -> Result<Vec<TopicInfo>, ClientError> {
        let mut topics = self.overview(None, false).await?.topics;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// Of the connection; `Refused` with the broker's reason.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<(), ClientError> {
        let configs =
            topic.configs.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect();
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: &topic.name,
                num_partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                configs,
                ..Default::default()
            }],
            timeout_ms: TOPIC_CHANGE_TIMEOUT_MS,
            ..Default::default()
        };
        let answer = self.call(&request).await?;
        let response: CreateTopicsResponse<'_> = answer.decode()?;
        response.topics.iter().try_for_each(|result| {
            ClientError::check(result.error_code, result.error_message, || format!("create topic {}", topic.name))
        })
    }

    /// Deletes a topic by its name.
    ///
    /// # Errors
    /// Of the connection; `Refused` with the broker's reason.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        // From version 6 on topics are named in another field, which also takes ids.
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name), ..Default::default() }],
            topic_names: vec![name],
            timeout_ms: TOPIC_CHANGE_TIMEOUT_MS,
        };
        let answer = self.call(&request).await?;
        let response: DeleteTopicsResponse<'_> = answer.decode()?;
        response.responses.iter().try_for_each(|result| {
            ClientError::check(result.error_code, result.error_message, || format!("delete topic {name}"))
        })
    }

    /// The offset that `timestamp` leads to: ≥ 0 for the first record at or after that time in milliseconds, −1 for the end,
    /// −2 for the start, −3 for the record with the highest timestamp. −1 comes back if there is no such record. To be asked of the partition's leader.
    ///
    /// # Errors
    /// Of the connection; `Refused` with the broker's reason.
    pub async fn list_offset(&self, topic: &str, partition: i32, timestamp: i64) -> Result<i64, ClientError> {
        let partitions = vec![ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() }];
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: topic, partitions }],
            ..Default::default()
        };
        let answer = self.call(&request).await?;
        let response: ListOffsetsResponse<'_> = answer.decode()?;
        let found = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        let found = found.ok_or(ClientError::Refused {
            what: format!("offsets of {topic}-{partition}"),
            code: ErrorCode::UnknownServerError,
            message: Some("the answer names no partition".to_owned()),
        })?;
        ClientError::check(found.error_code, None, || format!("offsets of {topic}-{partition}"))?;
        Ok(found.offset)
    }
}

fn partitions_of(topic: &crate::wire::messages::metadata::MetadataResponseTopic<'_>) -> Vec<PartitionInfo> {
    let mut partitions: Vec<PartitionInfo> = topic
        .partitions
        .iter()
        .map(|partition| PartitionInfo {
            index: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    partitions
}

/// An IPv6 address needs brackets before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}
