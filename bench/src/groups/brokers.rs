//! Who coordinates which group, over which connections, and the topics that the groups read: all that is asked before a clock starts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmill_net::client::{ClientError, Cluster, ConnectOptions, Connection, NewTopic, TopicInfo};
use ringmill_net::wire::messages::describe_configs::{
    BROKER_RESOURCE, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ringmill_net::wire::{ErrorCode, Uuid};

/// The first question for a coordinator creates its topic, a new topic has to find leaders, and a broker that has just started loads.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);
const INITIAL_DELAY: &str = "group.initial.rebalance.delay.ms";

/// The cluster under load.
#[derive(Debug)]
pub(super) struct Brokers {
    pub(super) cluster: Cluster,
    options: ConnectOptions,
}

/// What the groups of a part read.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) id: Uuid,
    pub(super) partitions: i32,
}

impl Brokers {
    pub(super) async fn connect(bootstrap: &str) -> Result<Brokers, String> {
        let options = ConnectOptions {
            client_id: "ringmill-bench".to_owned(),
            congestion_control: Some("cubic"),
            ..ConnectOptions::default()
        };
        let cluster = Cluster::connect(bootstrap, options.clone()).await.map_err(|error| error.to_string())?;
        Ok(Brokers { cluster, options })
    }

    /// A connection of its own.
    pub(super) async fn connection(&self, address: &str) -> Result<Arc<Connection>, String> {
        Connection::connect(address, &self.options).await.map(Arc::new).map_err(|error| {
            format!("{error}; many connections need many open files, `ulimit -n`, and `max.connections` at the broker")
        })
    }

    /// Where a group's coordinator listens, asked until there is one.
    pub(super) async fn coordinator(&self, group: &str) -> Result<String, String> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            match self.cluster.coordinator(group).await {
                Ok(coordinator) => return Ok(coordinator.address().to_owned()),
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    tokio::time::sleep(SETTLE_INTERVAL).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Creates the topic where it is missing, and waits until every partition has a leader.
    pub(super) async fn topic(&self, name: &str, partitions: u32) -> Result<Topic, String> {
        let named = |error: ClientError| format!("topic {name}: {error}");
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        loop {
            self.cluster.forget(name);
            match self.cluster.topic(name, false).await {
                Ok(topic) if topic.partitions.iter().all(|each| each.leader >= 0) => {
                    return checked(&topic, partitions);
                }
                Err(ClientError::Refused { code: ErrorCode::UnknownTopicOrPartition, .. }) => {
                    self.create(name, partitions).await.map_err(named)?;
                }
                Err(error) if !error.is_retriable() => return Err(named(error)),
                Ok(_) | Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(format!("topic {name} is not ready after {} s", SETTLE_TIMEOUT.as_secs()));
            }
            tokio::time::sleep(SETTLE_INTERVAL).await;
        }
    }

    async fn create(&self, name: &str, partitions: i32) -> Result<(), ClientError> {
        let topic = NewTopic { name: name.to_owned(), partitions, replication_factor: 1, configs: Vec::new() };
        match self.cluster.any().await?.create_topic(&topic).await {
            // Created before, and not known everywhere yet.
            Err(ClientError::Refused { code: ErrorCode::TopicAlreadyExists, .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// How long a new group waits for more members, as the broker says that leads the topic. Not every broker speaks of its settings.
    pub(super) async fn initial_delay(&self, topic: &Topic) -> Option<Duration> {
        let (broker, connection) = self.cluster.leader(&topic.name, 0).await.ok()?;
        let broker = broker.to_string();
        let resource = DescribeConfigsResource {
            resource_type: BROKER_RESOURCE,
            resource_name: &broker,
            configuration_keys: Some(vec![INITIAL_DELAY]),
        };
        let request =
            DescribeConfigsRequest { resources: vec![resource], include_synonyms: false, include_documentation: false };
        let answer = connection.call(&request).await.ok()?;
        let response: DescribeConfigsResponse<'_> = answer.decode().ok()?;
        let mut settings = response.results.iter().flat_map(|result| &result.configs);
        let value = settings.find(|setting| setting.name == INITIAL_DELAY)?.value?;
        value.parse().ok().map(Duration::from_millis)
    }

    /// Removes a group without members.
    pub(super) async fn delete_group(&self, group: &str) -> Result<(), String> {
        self.cluster.delete_group(group).await.map_err(|error| error.to_string())
    }
}

fn checked(topic: &TopicInfo, partitions: i32) -> Result<Topic, String> {
    let name = &topic.name;
    match i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX) {
        found if found == partitions => Ok(Topic { name: name.as_str().into(), id: topic.id, partitions }),
        found => Err(format!("topic {name} has {found} partitions, not {partitions}: name other topics with --topic")),
    }
}

/// Whether a coordinator may answer otherwise in a moment.
pub(super) fn is_temporary(code: i16) -> bool {
    ErrorCode::from_code(code).is_some_and(ErrorCode::is_retriable)
}
