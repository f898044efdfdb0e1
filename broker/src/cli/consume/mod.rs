//! `ringmill consume`: prints the records of a topic, raw or as JSON lines.
//!
//! Reads up to the end that the topic had at the start, or on and on with `--follow`. How a record looks is `printer`'s matter, how it is
//! read as a member of a group that of `member`.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, StdoutLock};
use std::time::Duration;

use clap::{Args, ValueEnum};
use regex::bytes::Regex;
use ringmill_net::client::{Cluster, ConnectOptions, Consumer, ConsumerOptions, Start};

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::place::{Bounds, Place, bounds_of};
use super::topic::choose;
use super::{BrokerAddress, on_client_runtime, unescape};
use printer::{Field, Look, Printer};

mod member;
mod printer;

/// Bytes gathered before they go to standard output; each answer is flushed in any case.
const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

/// How long to wait for records before asking whether the broker is still there.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an interrupted command may take to write what it has.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// Print the records of a topic
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill consume logs                                   # everything up to now
  ringmill consume logs --from latest --follow            # what comes from now on
  ringmill consume logs --from 10m-ago --grep '(?i)error'
  ringmill consume logs --from -10 --print partition,offset,timestamp,value
  ringmill consume logs --partition 0 --from 1000 --until 2000 --max 10 -o json
  ringmill consume logs -o json | ringmill produce copy --input json
  ringmill consume logs --group readers                   # what the group has not read yet
  ringmill consume logs --group readers --follow          # share the work: start it several times

With --group, the partitions are shared among all members of the group, and it is stored how far each was printed: the next run goes on
there. A record may come twice after a crash, none is left out. --from counts only where the group has no position yet.

The order is kept inside each partition. JSON lines hold every byte of a record: what is not UTF-8 stands in hexadecimal (value_hex).
--until ends before its place; without it, and without --follow, the end is where the topic ended at the start. Times are looked up
by the records' timestamps. A --follow ends by Ctrl-C (SIGINT, SIGTERM).")]
pub(super) struct Consume {
    /// The topic's name
    topic: String,
    /// Where to begin: earliest, latest, an offset, -N (the last N of each partition), 10m-ago, or a time (RFC 3339)
    #[arg(long, value_name = "WHERE", default_value = "earliest", allow_hyphen_values = true)]
    from: Place,
    /// Where to end: like --from; what lies there is not printed any more
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, conflicts_with = "follow")]
    until: Option<Place>,
    /// Go on at the end, and wait for more
    #[arg(short, long)]
    follow: bool,
    /// Only this partition; several with commas between them
    #[arg(short, long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Read as a member of a group, and go on where it was
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["until", "partition"])]
    group: Option<String>,
    /// Stop after so many records
    #[arg(short, long, value_name = "N")]
    max: Option<u64>,
    /// Only records whose value matches a regular expression; (?i) at its start ignores case
    #[arg(short, long, value_name = "REGEX")]
    grep: Option<Regex>,
    /// Only records whose key matches a regular expression
    #[arg(long, value_name = "REGEX")]
    grep_key: Option<Regex>,
    /// How to print a record
    #[arg(short, long, value_name = "FORMAT", default_value = "raw")]
    output: RecordFormat,
    /// What to print of a record, in this order: partition, offset, timestamp, key, headers, value
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', default_value = "value", hide_possible_values = true)]
    print: Vec<Field>,
    /// What stands between two of them (\t is a tab)
    #[arg(long, value_name = "TEXT", default_value = "\\t")]
    delimiter: String,
    /// When to colour fields and matches
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(flatten)]
    broker: BrokerAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RecordFormat {
    /// As --print says, and a line feed
    Raw,
    /// One JSON object per line, with partition, offset, timestamp, key, value and headers
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

/// Where to begin and where to end in each partition.
type Ranges = BTreeMap<i32, (i64, i64)>;

impl Consume {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(group) = self.group.clone() {
            return self.run_in(group);
        }
        let mut interrupt = Interrupt::watch(Some(INTERRUPT_GRACE))?;
        on_client_runtime(async move {
            let follow = self.follow;
            tokio::select! {
                biased;
                signal = interrupt.first() => if follow { Ok(()) } else { Err(Failure::interrupted(signal, "")) },
                printed = self.print() => printed,
            }
        })
    }

    async fn print(self) -> Result<(), Failure> {
        let cluster = Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?.into();
        let mut consumer = Consumer::on(std::sync::Arc::clone(&cluster), ConsumerOptions::default());
        let partitions = choose(&self.topic, consumer.partitions_of(&self.topic).await?, &self.partition)?;
        let mut ends = BTreeMap::new();
        for (partition, (from, end)) in self.ranges(&cluster, &partitions).await? {
            if from < end {
                ends.insert(partition, end);
                consumer.assign(&self.topic, partition, Start::Offset(from)).await?;
            }
        }
        let mut printer = self.printer();
        loop {
            ends.retain(|partition, end| consumer.position(&self.topic, *partition).is_some_and(|next| next < *end));
            if ends.is_empty() || printer.left == 0 {
                return Ok(());
            }
            let Some(fetched) = consumer.poll(PATIENCE).await? else {
                // Nothing new, or nobody there any more: the second must not look like the first.
                consumer.end_of(&self.topic, *ends.keys().next().expect("not empty, see above")).await?;
                continue;
            };
            // What lies behind the end was written while we read; it is left to the next run.
            let end = ends.get(&fetched.partition).copied().unwrap_or(0);
            printer.print(&fetched, end)?;
        }
    }

    async fn ranges(&self, cluster: &Cluster, partitions: &[i32]) -> Result<Ranges, Failure> {
        let bounds = bounds_of(cluster, &self.topic, partitions).await?;
        let from = self.from.resolve(cluster, &self.topic, &bounds).await?;
        let until = match self.until {
            Some(until) => until.resolve(cluster, &self.topic, &bounds).await?,
            None => BTreeMap::new(),
        };
        let mut ranges = Ranges::new();
        for (partition, from) in from {
            let bounds = bounds[&partition];
            let from = self.first(partition, from, bounds)?;
            let end = if self.follow {
                i64::MAX
            } else {
                until.get(&partition).map_or(bounds.end, |end| bounds.end.min(*end))
            };
            ranges.insert(partition, (from, end));
        }
        Ok(ranges)
    }

    /// Where to begin in a partition, if there is such an offset.
    fn first(&self, partition: i32, from: i64, Bounds { start, end }: Bounds) -> Result<i64, Failure> {
        let topic = &self.topic;
        if from > end && self.partition.len() == 1 {
            let message = format!(
                "--from {from} lies behind the end of {topic}-{partition}, which holds offsets from {start} up to {end}"
            );
            return Err(Failure::refused(message));
        }
        if from < start {
            eprintln!("ringmill: {topic}-{partition} begins at offset {start}; what was before it has been deleted");
        }
        // Of several partitions, one that is shorter than the others has nothing there yet.
        Ok(from.clamp(start, end))
    }

    fn printer(&self) -> Printer<BufWriter<StdoutLock<'static>>> {
        let out = BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout().lock());
        let look = match self.output {
            RecordFormat::Json => Look::Json,
            RecordFormat::Raw => {
                Look::Raw { fields: self.print.clone(), delimiter: unescape(&self.delimiter).into_bytes() }
            }
        };
        let coloured = match self.color {
            Color::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            Color::Always => true,
            Color::Never => false,
        };
        let (grep, grep_key) = (self.grep.clone(), self.grep_key.clone());
        Printer { out, look, grep, grep_key, coloured, left: self.max.unwrap_or(u64::MAX) }
    }
}
