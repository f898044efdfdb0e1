//! `ringmill topic trim`: deletes the records before a place, for good.

use std::collections::BTreeMap;

use clap::Args;
use ringmill_net::client::{Cluster, ConnectOptions};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Rows;
use crate::cli::place::{Place, bounds_of};
use crate::cli::{BrokerAddress, OutputOption};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill topic trim logs --before 30d-ago
  ringmill topic trim logs --partition 0 --before 1000
  ringmill topic trim logs --before -1000                # the last 1000 of each partition stay
  ringmill topic trim logs --before latest               # everything that there is now

What is before the place can no longer be read, and does not come back. Disk space is freed a segment at a time.")]
pub(in crate::cli) struct Trim {
    /// The topic's name
    topic: String,
    /// The first record that stays: latest, an offset, -N (the last N of each partition), 10m-ago, or a time (RFC 3339)
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    before: Place,
    /// Only this partition; several with commas between them
    #[arg(short, long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

impl Trim {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let cluster = Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?;
        let topic = cluster.topic(&self.topic, false).await?;
        let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        let partitions = super::choose(&self.topic, all, &self.partition)?;
        if let (Place::Offset(offset), true) = (self.before, partitions.len() > 1 && self.partition.is_empty()) {
            let message = format!(
                "offset {offset} is another place in each of the {} partitions of {}; say which with --partition",
                partitions.len(),
                self.topic
            );
            return Err(Failure::usage(message));
        }
        let bounds = bounds_of(&cluster, &self.topic, &partitions).await?;
        let before = self.before.resolve(&cluster, &self.topic, &bounds).await?;
        for (partition, offset) in &before {
            let end = bounds[partition].end;
            if *offset > end {
                let message = format!(
                    "--before {offset} lies behind the end of {}-{partition}, which is {end}; nothing was deleted",
                    self.topic
                );
                return Err(Failure::refused(message));
            }
        }
        let before: Vec<(i32, i64)> = before.into_iter().collect();
        let starts = cluster.delete_records(&self.topic, &before).await?;
        let (mut rows, mut failures) = (Vec::new(), BTreeMap::new());
        for (partition, start) in starts {
            match start {
                Ok(start) => {
                    let deleted = start - bounds[&partition].start;
                    rows.push(vec![json!(partition), json!(start), json!(deleted)]);
                }
                Err(error) => drop(failures.insert(partition, error)),
            }
        }
        Rows { columns: &["partition", "start_offset", "deleted"], rows }.print(self.output.output)?;
        failures.into_values().next().map_or(Ok(()), |error| Err(error.into()))
    }
}
