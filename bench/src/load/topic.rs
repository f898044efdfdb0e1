//! The topic of a load: created, described and divided among the connections, through the project's own client.

use ringmill_net::client::{ClientError, Cluster, ConnectOptions, NewTopic};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringmill_net::wire::messages::list_offsets::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

use crate::cli::{LoadOptions, SendOptions};
use crate::durability;

/// A deleted topic may take a moment to be gone, a created one to have leaders.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);

/// A partition and what a load has to know of it.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) index: i32,
    /// `host:port` of its leader.
    pub(super) leader: String,
    pub(super) log_start: i64,
    pub(super) log_end: i64,
}

impl Partition {
    /// Leaves out what is older than so many records, as if the log began with them.
    pub(super) fn keep_newest(&mut self, records: u64) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        self.log_start = self.log_start.max(self.log_end.saturating_sub(records));
    }
}

/// The partitions that one connection serves; all have the same leader.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) leader: String,
    pub(super) partitions: Vec<Partition>,
}

/// An idempotent producer's identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProducerId {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// Asks and orders around the measured path; blocks its caller.
pub(super) struct TopicClient {
    runtime: Runtime,
    cluster: Cluster,
}

impl TopicClient {
    pub(super) fn connect(broker: &str) -> Result<TopicClient, String> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let options = ConnectOptions { client_id: "ringmill-bench".to_owned(), ..ConnectOptions::default() };
        let cluster = runtime.block_on(Cluster::connect(broker, options)).map_err(|error| error.to_string())?;
        Ok(TopicClient { runtime, cluster })
    }

    /// The load's topics as the options want them: deleted first if they are to be fresh, created where they are missing.
    pub(super) fn prepare(&self, load: &LoadOptions, send: &SendOptions) -> Result<Vec<Partition>, String> {
        let mut partitions = Vec::new();
        for name in names(load) {
            let prepared = self.runtime.block_on(self.prepare_one(&name, load, send));
            let prepared = prepared.map_err(|error: ClientError| error.to_string())?;
            match send.partitions {
                Some(asked) if asked as usize != prepared.len() => {
                    let count = prepared.len();
                    return Err(format!("{name} has {count} partitions, not {asked}: use --fresh or another topic"));
                }
                Some(_) | None => partitions.extend(prepared),
            }
        }
        Ok(partitions)
    }

    async fn prepare_one(
        &self,
        name: &str,
        load: &LoadOptions,
        send: &SendOptions,
    ) -> Result<Vec<Partition>, ClientError> {
        if send.fresh {
            self.delete(name).await?;
        } else if ignore(self.cluster.topic(name, false).await.map(drop), ErrorCode::UnknownTopicOrPartition)? {
            return self.partitions(name).await;
        }
        self.create(name, load, send).await?;
        self.partitions(name).await
    }

    /// The partitions of the load's topics with their offsets.
    pub(super) fn describe(&self, load: &LoadOptions) -> Result<Vec<Partition>, String> {
        let mut partitions = Vec::new();
        for name in names(load) {
            partitions.extend(self.runtime.block_on(self.partitions(&name)).map_err(|error| error.to_string())?);
        }
        Ok(partitions)
    }

    /// What an answer of the broker means for the topic's records, as far as the broker says.
    pub(super) fn durability(&self, topic: &str) -> &'static str {
        let settings = self.runtime.block_on(async { self.cluster.any().await?.topic_settings(topic).await });
        // Not every broker speaks of settings, and a load needs none of them.
        settings.map_or(durability::UNKNOWN, |settings| durability::promised_by(&settings))
    }

    /// A new identity for an idempotent producer.
    pub(super) fn producer_id(&self) -> Result<ProducerId, String> {
        let asked = self.runtime.block_on(async {
            let deadline = Instant::now() + SETTLE_TIMEOUT;
            loop {
                let broker = self.cluster.any().await?;
                let answer = broker.call(&InitProducerIdRequest::default()).await?;
                let response: InitProducerIdResponse = answer.decode()?;
                // A broker that has just started may still be looking for its producers.
                let comes_later = ErrorCode::from_code(response.error_code).is_some_and(ErrorCode::is_retriable);
                if !comes_later || Instant::now() >= deadline {
                    return Ok::<_, ClientError>(response);
                }
                tokio::time::sleep(SETTLE_INTERVAL).await;
            }
        });
        match asked.map_err(|error| error.to_string())? {
            InitProducerIdResponse { error_code: 0, producer_id: id, producer_epoch: epoch, .. } => {
                Ok(ProducerId { id, epoch })
            }
            refused => Err(format!("the broker gives no producer id: {}", error_name(refused.error_code))),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), ClientError> {
        self.cluster.forget(name);
        ignore(self.cluster.any().await?.delete_topic(name).await, ErrorCode::UnknownTopicOrPartition).map(drop)
    }

    async fn create(&self, name: &str, load: &LoadOptions, send: &SendOptions) -> Result<(), ClientError> {
        let broker = self.cluster.any().await?;
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        // A topic that exists although it was deleted is still on its way out.
        while !ignore(broker.create_topic(&new_topic(name, load, send)).await, ErrorCode::TopicAlreadyExists)? {
            if !send.fresh || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(SETTLE_INTERVAL).await;
        }
        Ok(())
    }

    async fn partitions(&self, name: &str) -> Result<Vec<Partition>, ClientError> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            match self.partitions_now(name).await {
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    self.cluster.forget(name);
                    tokio::time::sleep(SETTLE_INTERVAL).await;
                }
                described => return described,
            }
        }
    }

    async fn partitions_now(&self, name: &str) -> Result<Vec<Partition>, ClientError> {
        let topic = self.cluster.topic(name, false).await?;
        let topic_name: Arc<str> = name.into();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for info in &topic.partitions {
            let (_, leader) = self.cluster.leader(name, info.index).await?;
            partitions.push(Partition {
                topic: Arc::clone(&topic_name),
                index: info.index,
                leader: leader.address().to_owned(),
                log_start: leader.list_offset(name, info.index, EARLIEST_TIMESTAMP).await?,
                log_end: leader.list_offset(name, info.index, LATEST_TIMESTAMP).await?,
            });
        }
        Ok(partitions)
    }
}

/// The topics of a load: the one named, or numbered ones.
fn names(load: &LoadOptions) -> Vec<String> {
    match load.topics {
        1 => vec![load.topic.clone()],
        topics => (0..topics).map(|number| format!("{}-{number}", load.topic)).collect(),
    }
}

/// What a new topic is created with.
pub(super) fn settings(send: &SendOptions) -> Vec<(String, String)> {
    let mut settings = send.configs.clone();
    if send.write_caching {
        settings.push(("write.caching".to_owned(), "true".to_owned()));
    }
    settings
}

fn new_topic(name: &str, load: &LoadOptions, send: &SendOptions) -> NewTopic {
    let partitions = send.partitions.unwrap_or(load.connections);
    NewTopic {
        name: name.to_owned(),
        partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        replication_factor: 1,
        configs: settings(send),
    }
}

/// Whether it was done; a refusal with `expected` only says that there was nothing to do.
fn ignore(outcome: Result<(), ClientError>, expected: ErrorCode) -> Result<bool, ClientError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(ClientError::Refused { code, .. }) if code == expected => Ok(false),
        Err(error) => Err(error),
    }
}

/// An error code's name, for messages.
pub(crate) fn error_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |known| known.name().to_owned())
}

/// Divides the partitions among the connections: round-robin, several connections to one partition where there are too few.
pub(super) fn share_out(partitions: &[Partition], connections: u32) -> Result<Vec<Share>, String> {
    let connections = connections as usize;
    let mut shares = Vec::with_capacity(connections);
    for connection in 0..connections {
        let own: Vec<Partition> = if connections > partitions.len() {
            partitions.iter().cycle().skip(connection).take(1).cloned().collect()
        } else {
            partitions.iter().skip(connection).step_by(connections).cloned().collect()
        };
        let leader = own.first().ok_or("the topic has no partitions")?.leader.clone();
        if own.iter().any(|partition| partition.leader != leader) {
            return Err(
                "the partitions are led by several brokers: use as many connections as there are partitions".to_owned()
            );
        }
        shares.push(Share { leader, partitions: own });
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(leaders: &[&str]) -> Vec<Partition> {
        let partition = |(index, leader): (i32, &&str)| Partition {
            topic: "t".into(),
            index,
            leader: (*leader).to_owned(),
            log_start: 0,
            log_end: 0,
        };
        (0..).zip(leaders).map(partition).collect()
    }

    fn indexes(leaders: &[&str], connections: u32) -> Vec<Vec<i32>> {
        let shares = share_out(&partitions(leaders), connections).unwrap();
        shares.iter().map(|share| share.partitions.iter().map(|partition| partition.index).collect()).collect()
    }

    #[test]
    fn every_partition_has_a_connection_and_every_connection_a_partition() {
        assert_eq!(indexes(&["a", "a", "a"], 2), [vec![0, 2], vec![1]]);
        assert_eq!(indexes(&["a"], 3), [vec![0], vec![0], vec![0]]);
    }

    #[test]
    fn the_newest_records_are_as_many_as_there_are_at_most() {
        let newest = |records| {
            let mut partition = Partition { log_start: 100, log_end: 1000, ..partitions(&["a"]).remove(0) };
            partition.keep_newest(records);
            partition.log_start
        };
        assert_eq!([newest(10), newest(0), newest(900), newest(u64::MAX)], [990, 1000, 100, 100]);
    }

    #[test]
    fn one_connection_cannot_serve_two_leaders() {
        assert!(share_out(&partitions(&["a", "b"]), 1).is_err());
        assert_eq!(indexes(&["a", "b"], 2), [vec![0], vec![1]]);
    }
}
