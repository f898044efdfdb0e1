//! `ringmill topic`: list, create, describe, change, trim and delete topics.
//!
//! What takes more than a question and its answer has a file of its own.

use std::sync::Arc;

use clap::{Args, Subcommand};
use ringmill_net::client::{ClientError, Cluster, ConnectOptions, Connection, NewTopic, TopicInfo};
use ringmill_net::wire::ErrorCode;
use serde_json::json;

use super::deletion::delete_each;
use super::failure::Failure;
use super::output::{self, Rows};
use super::{BrokerAddress, OutputOption, on_client_runtime};

mod config;
mod describe;
mod trim;

/// List, create, describe, change, trim and delete topics.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringmill topic create logs --partitions 4 --set retention.ms=3600000
  ringmill topic list -o json
  ringmill topic describe logs
  ringmill topic config logs --set retention.ms=86400000
  ringmill topic trim logs --before 10m-ago
  ringmill topic delete logs")]
pub(super) enum Topic {
    /// List all topics
    List(List),
    /// Create a topic
    Create(Create),
    /// Show a topic's partitions, sizes, and settings that are not defaults
    Describe(describe::Describe),
    /// Show or change a topic's settings, and its number of partitions
    Config(config::Config),
    /// Delete old records
    Trim(trim::Trim),
    /// Delete topics with all their records
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill topic list
  ringmill topic list --internal
  ringmill topic list -o json")]
pub(super) struct List {
    /// List the broker's own topics too, in which consumer groups live
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill topic create logs
  ringmill topic create logs --partitions 4 --set retention.ms=3600000 --if-not-exists")]
pub(super) struct Create {
    /// The topic's name
    topic: String,
    /// How many partitions; without it, as the broker's num.partitions says
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// A setting of the topic, as retention.ms=3600000; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Leave a topic of this name as it is, without an error
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill topic delete logs
  ringmill topic delete logs events --if-exists

There is no question before it, and no way back.")]
pub(super) struct Delete {
    /// The topics' names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Pass over topics that are not there, without an error
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

impl Topic {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Topic::List(list) => on_client_runtime(list.run()),
            Topic::Create(create) => on_client_runtime(create.run()),
            Topic::Describe(describe) => on_client_runtime(describe.run()),
            Topic::Config(config) => on_client_runtime(config.run()),
            Topic::Trim(trim) => on_client_runtime(trim.run()),
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

/// Names and values of settings as they are typed.
fn settings(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let setting = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Failure::usage(format!("--set {text}: expected NAME=VALUE, for example retention.ms=3600000"))),
    };
    texts.iter().map(setting).collect()
}

/// The partitions that are wanted, all without a wish, if there are such ones.
pub(super) fn choose(topic: &str, partitions: Vec<i32>, wanted: &[i32]) -> Result<Vec<i32>, Failure> {
    if let Some(missing) = wanted.iter().find(|wanted| !partitions.contains(wanted)) {
        let count = partitions.len();
        return Err(Failure::refused(format!("{topic} has no partition {missing}; it has {count}, numbered from 0")));
    }
    Ok(if wanted.is_empty() { partitions } else { wanted.to_vec() })
}

fn is_refused(error: &ClientError, with: ErrorCode) -> bool {
    matches!(error, ClientError::Refused { code, .. } if *code == with)
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let topics = self.broker.connect().await?.list_topics().await?;
        let row = |topic: &TopicInfo| vec![json!(topic.name), json!(topic.partitions.len())];
        let shown = topics.iter().filter(|topic| self.internal || !topic.is_internal);
        Rows { columns: &["topic", "partitions"], rows: shown.map(row).collect() }.print(self.output.output)
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let configs = settings(&self.set)?;
        let partitions = self.partitions.unwrap_or(-1);
        let topic = NewTopic { name: self.topic, partitions, replication_factor: -1, configs };
        let created = match self.broker.connect().await?.create_topic(&topic).await {
            Ok(()) => true,
            Err(error) if self.if_not_exists && is_refused(&error, ErrorCode::TopicAlreadyExists) => false,
            Err(error) => return Err(error.into()),
        };
        let name = topic.name;
        let said = if created { format!("created {name}\n") } else { format!("{name} is there already\n") };
        output::print_done(self.output.output, &said, &json!({"topic": name, "created": created}))
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let connection = &self.broker.connect().await?;
        let is_there = async |topic: &str| match connection.delete_topic(topic).await {
            Err(error) if self.if_exists && is_refused(&error, ErrorCode::UnknownTopicOrPartition) => Ok(false),
            deleted => deleted.map(|()| true),
        };
        delete_each(&["topic", "deleted"], &self.topics, self.output.output, is_there).await
    }
}
