//! `ringmill topic describe`: a topic's partitions, where they begin and end, how large they are, and the settings that are not defaults.

use clap::Args;
use ringmill_net::client::{ClientError, Cluster, ConnectOptions, PartitionInfo, Setting, SettingSource};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output::{self, Rows};
use crate::cli::place::bounds_of;
use crate::cli::{BrokerAddress, OutputFormat, OutputOption};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill topic describe logs
  ringmill topic describe logs -o json")]
pub(in crate::cli) struct Describe {
    /// The topic's name
    topic: String,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

impl Describe {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let cluster = Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?;
        let topic = cluster.topic(&self.topic, false).await?;
        let partitions: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        let bounds = bounds_of(&cluster, &topic.name, &partitions).await?;
        // Neither sizes nor settings are worth failing for where a broker does not tell them.
        let sizes = if_spoken(cluster.sizes(&topic.name, &partitions).await)?.unwrap_or_default();
        let settings = if_spoken(cluster.any().await?.topic_settings(&topic.name).await)?.unwrap_or_default();
        let own: Vec<&Setting> = settings.iter().filter(|setting| setting.source != SettingSource::Default).collect();
        let row = |PartitionInfo { index, leader, leader_epoch, .. }: &PartitionInfo| {
            let bounds = bounds[index];
            let size = sizes.get(index).map_or(Value::Null, |bytes| json!(bytes));
            vec![json!(index), json!(leader), json!(leader_epoch), json!(bounds.start), json!(bounds.end), size]
        };
        let rows = Rows {
            columns: &["partition", "leader", "leader_epoch", "start_offset", "end_offset", "size_bytes"],
            rows: topic.partitions.iter().map(row).collect(),
        };
        let settings = Rows {
            columns: &["setting", "value", "source"],
            rows: own.iter().map(|own| vec![json!(own.name), json!(own.value), json!(own.source.name())]).collect(),
        };
        let id = uuid::Uuid::from_bytes(topic.id);
        match self.output.output {
            OutputFormat::Table => {
                let settings = if own.is_empty() { String::new() } else { format!("\n{}", settings.to_table()) };
                output::print(&format!("{}  {id}\n{}{settings}", topic.name, rows.to_table()))
            }
            OutputFormat::Json => {
                let whole = json!({
                    "topic": topic.name,
                    "id": id.to_string(),
                    "partitions": rows.to_json(),
                    "settings": settings.to_json(),
                });
                output::print(&format!("{whole:#}\n"))
            }
        }
    }
}

/// Nothing from a broker that does not speak of it.
fn if_spoken<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::NoCommonVersion { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
