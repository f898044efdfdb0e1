//! `ringmill topic config`: all settings of a topic with their origins, or changes to some of them, its number of partitions included.

use clap::Args;
use ringmill_net::client::{Cluster, ConnectOptions, Setting, SettingChange};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::{self, Rows};
use crate::cli::{BrokerAddress, OutputOption};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill topic config logs                             # what is in force, and where it comes from
  ringmill topic config logs --set retention.ms=86400000 --set max.message.bytes=4194304
  ringmill topic config logs --unset retention.ms        # the default holds again
  ringmill topic config logs --partitions 8              # there can only be more

Changes are made all or none, and hold at once. More partitions send keys elsewhere: the order per key holds from then on only.")]
pub(in crate::cli) struct Config {
    /// The topic's name
    topic: String,
    /// Give a setting a value of the topic's own; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Take a setting's own value away, so that the default holds again; may be repeated
    #[arg(short, long, value_name = "NAME")]
    unset: Vec<String>,
    /// How many partitions the topic is to have in all
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

impl Config {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let changes = self.changes()?;
        let cluster = Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?;
        if changes.is_empty() && self.partitions.is_none() {
            let settings = cluster.any().await?.topic_settings(&self.topic).await?;
            return show(&settings).print(self.output.output);
        }
        if !changes.is_empty() {
            cluster.any().await?.alter_topic_settings(&self.topic, &changes).await?;
        }
        if let Some(count) = self.partitions {
            let done = if changes.is_empty() { "" } else { "the settings were changed" };
            cluster.create_partitions(&self.topic, count).await.map_err(|error| Failure::from(error).after(done))?;
        }
        let mut lines: Vec<String> = changes
            .iter()
            .map(|SettingChange { name, value }| match value {
                Some(value) => format!("{}: {name} is {value} now\n", self.topic),
                None => format!("{}: {name} has its default again\n", self.topic),
            })
            .collect();
        lines.extend(self.partitions.map(|count| format!("{} has {count} partitions now\n", self.topic)));
        let changed: Vec<_> =
            changes.iter().map(|change| json!({"setting": change.name, "value": change.value})).collect();
        let json = json!({"topic": self.topic, "changed": changed, "partitions": self.partitions});
        output::print_done(self.output.output, &lines.concat(), &json)
    }

    fn changes(&self) -> Result<Vec<SettingChange>, Failure> {
        let mut changes: Vec<SettingChange> = super::settings(&self.set)?
            .into_iter()
            .map(|(name, value)| SettingChange { name, value: Some(value) })
            .collect();
        changes.extend(self.unset.iter().map(|name| SettingChange { name: name.clone(), value: None }));
        let mut names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Failure::usage(format!("{} is named twice; say one thing about it", pair[0]))),
            None => Ok(changes),
        }
    }
}

fn show(settings: &[Setting]) -> Rows {
    let row = |setting: &Setting| {
        vec![
            json!(setting.name),
            json!(setting.value),
            json!(setting.source.name()),
            json!(setting.kind),
            json!(setting.documentation),
        ]
    };
    Rows { columns: &["setting", "value", "source", "type", "meaning"], rows: settings.iter().map(row).collect() }
}
