//! The command line: what can be asked, with units in the help and defaults that mean something.
//!
//! Arguments are only parsed here; each command checks what belongs together.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringmill_batch::Codec;

use crate::units::{parse_bytes, parse_count, parse_duration};

/// Loads a broker that speaks the Kafka protocol, and measures what the machine itself can do.
#[derive(Debug, Parser)]
#[command(name = "ringmill-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Prints JSON instead of a table.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures this machine's ceilings: disk writes and syncs, loopback, bare sendfile, checksums.
    Limits(LimitsOptions),
    /// Sends record batches as fast as the broker answers, or at a given rate.
    Produce(ProduceOptions),
    /// Fetches what is there, from the start to the end.
    Consume(ConsumeOptions),
}

#[derive(Args, Debug)]
pub(crate) struct LimitsOptions {
    /// Directory on the disk to measure; a scratch file in it is removed at once.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Bytes that each bandwidth test moves, such as 2GB or 512MiB.
    #[arg(long, default_value = "2GB", value_parser = parse_bytes)]
    pub(crate) bytes: u64,
    /// Synced appends of each latency test.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) appends: u32,
    /// Repeats everything and shows medians and spreads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// Measures only the tests whose name contains this.
    #[arg(long)]
    pub(crate) only: Option<String>,
}

/// What every load needs to know.
#[derive(Args, Debug)]
pub(crate) struct LoadOptions {
    /// A broker to begin with; the others are asked for.
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    pub(crate) broker: String,
    /// The topic; a produce creates it where it is missing.
    #[arg(short, long, default_value = "bench")]
    pub(crate) topic: String,
    /// Connections, each with a thread of its own.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: u32,
    /// Ends a run after this time, such as 10s.
    #[arg(short, long, value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Ends a run after this many bytes, such as 2GB.
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) bytes: Option<u64>,
    /// Load before the clock starts.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub(crate) warm_up: Duration,
    /// Repeats the run and shows medians and spreads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Measures the machine's own limit with a file in this directory before each run, and shows the run's share of it:
    /// for produce an O_DIRECT write at depth 4, for consume a bare sendfile over one connection.
    #[arg(long, value_name = "DIR")]
    pub(crate) limit: Option<PathBuf>,
    /// Process id of a broker on this machine: reports its CPU time and memory.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct ProduceOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// Partitions of a new topic [default: one per connection].
    #[arg(short, long)]
    pub(crate) partitions: Option<u32>,
    /// A setting of a new topic, such as segment.bytes=1073741824; may be given several times.
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(crate) configs: Vec<(String, String)>,
    /// Creates the topic with write.caching=true: answers come before the sync.
    #[arg(long)]
    pub(crate) write_caching: bool,
    /// Deletes the topic before each run, so that every run begins with an empty log.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Bytes of each record's value.
    #[arg(short, long, default_value = "1KB", value_parser = parse_bytes)]
    pub(crate) record_bytes: u64,
    /// Records in each batch, and one batch in each request.
    #[arg(short = 'n', long, default_value = "1000", value_parser = parse_count)]
    pub(crate) batch_records: u64,
    /// Bytes of values in each batch, instead of a number of records.
    #[arg(long, conflicts_with = "batch_records", value_parser = parse_bytes)]
    pub(crate) batch_bytes: Option<u64>,
    /// What the values hold [default: text with a codec, random without].
    #[arg(long)]
    pub(crate) payload: Option<Payload>,
    /// Compression: none, gzip, snappy, lz4 or zstd. Done once, before the clock starts.
    #[arg(short = 'z', long, default_value_t = Codec::None)]
    pub(crate) codec: Codec,
    /// When the broker answers: 0 never, 1 and -1 by its own rule.
    #[arg(short, long, default_value_t = -1, allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-1..=1))]
    pub(crate) acks: i16,
    /// Requests under way on each connection.
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// Asks for a producer id and numbers the batches.
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Value bytes per second over all connections, sent by the clock whether answers come or not.
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) rate: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct ConsumeOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// The most bytes that one answer may carry.
    #[arg(long, default_value = "4MiB", value_parser = parse_bytes)]
    pub(crate) fetch_bytes: u64,
    /// How long the broker may wait for data.
    #[arg(long, default_value = "500ms", value_parser = parse_duration)]
    pub(crate) max_wait: Duration,
    /// Checks every batch's header and CRC; costs the client a copy.
    #[arg(long)]
    pub(crate) check_crc: bool,
}

/// What record values are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    /// Lines as a web server logs them; they compress like logs do.
    Text,
    /// Bytes that nothing compresses.
    Random,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}
