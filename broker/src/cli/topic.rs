//! `ringmill topic`: list, create, describe and delete topics.

use std::sync::Arc;

use clap::{Args, Subcommand};
use ringmill_net::client::{ClientError, Cluster, ConnectOptions, Connection, NewTopic, PartitionInfo, TopicInfo};
use serde_json::json;

use super::failure::Failure;
use super::output::{self, Rows};
use super::{BrokerAddress, OutputFormat, OutputOption, on_client_runtime};

/// ListOffsets' words for the start and the end of a partition.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// List, create, describe and delete topics.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringmill topic create logs --partitions 4 --set retention.ms=3600000
  ringmill topic list -o json
  ringmill topic describe logs
  ringmill topic delete logs")]
pub(super) enum Topic {
    /// List all topics
    List(List),
    /// Create a topic
    Create(Create),
    /// Show a topic's partitions and where they begin and end
    Describe(Describe),
    /// Delete topics with all their records
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The topic's name
    topic: String,
    /// How many partitions; without it, as the broker's num.partitions says
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// A setting of the topic, as retention.ms=3600000; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    broker: BrokerAddress,
}

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// The topic's name
    topic: String,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The topics' names
    #[arg(required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    broker: BrokerAddress,
}

impl Topic {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Topic::List(list) => on_client_runtime(list.run()),
            Topic::Create(create) => on_client_runtime(create.run()),
            Topic::Describe(describe) => on_client_runtime(describe.run()),
            Topic::Delete(delete) => on_client_runtime(delete.run()),
        }
    }
}

impl BrokerAddress {
    /// A connection to the broker there.
    async fn connect(&self) -> Result<Arc<Connection>, ClientError> {
        Cluster::connect(&self.broker, ConnectOptions::default()).await?.any().await
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let topics = self.broker.connect().await?.list_topics().await?;
        let row = |topic: &TopicInfo| vec![json!(topic.name), json!(topic.partitions.len())];
        Rows { columns: &["topic", "partitions"], rows: topics.iter().map(row).collect() }.print(self.output.output)
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let setting = |text: &String| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::usage(format!("--set {text}: expected NAME=VALUE, for example retention.ms=3600000"))),
        };
        let configs = self.set.iter().map(setting).collect::<Result<Vec<_>, _>>()?;
        let partitions = self.partitions.unwrap_or(-1);
        let topic = NewTopic { name: self.topic, partitions, replication_factor: -1, configs };
        self.broker.connect().await?.create_topic(&topic).await?;
        output::print(&format!("created {}\n", topic.name))
    }
}

impl Describe {
    async fn run(self) -> Result<(), Failure> {
        let cluster = Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?;
        let topic = cluster.topic(&self.topic, false).await?;
        let mut rows = Rows {
            columns: &["partition", "leader", "leader_epoch", "start_offset", "end_offset"],
            rows: Vec::with_capacity(topic.partitions.len()),
        };
        for PartitionInfo { index, leader, leader_epoch, .. } in &topic.partitions {
            let (_, connection) = cluster.leader(&topic.name, *index).await?;
            let start = connection.list_offset(&topic.name, *index, EARLIEST).await?;
            let end = connection.list_offset(&topic.name, *index, LATEST).await?;
            rows.rows.push(vec![json!(index), json!(leader), json!(leader_epoch), json!(start), json!(end)]);
        }
        let id = uuid::Uuid::from_bytes(topic.id);
        match self.output.output {
            OutputFormat::Table => output::print(&format!("{}  {id}\n{}", topic.name, rows.to_table())),
            OutputFormat::Json => {
                let whole = json!({"topic": topic.name, "id": id.to_string(), "partitions": rows.to_json()});
                output::print(&format!("{whole:#}\n"))
            }
        }
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let connection = self.broker.connect().await?;
        for topic in &self.topics {
            connection.delete_topic(topic).await?;
            output::print(&format!("deleted {topic}\n"))?;
        }
        Ok(())
    }
}
