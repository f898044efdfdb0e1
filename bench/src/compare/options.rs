//! What a comparison is asked for: brokers, loads, and how much of each.

use std::time::Duration;

use clap::{Args, ValueEnum};
use ringmill_batch::Codec;

use super::contender::{self, Contender};
use crate::load::Payload;
use crate::units::{parse_bytes, parse_duration};

#[derive(Args, Debug)]
pub(crate) struct CompareOptions {
    /// The brokers, each as NAME=ADDRESS[,pid=N][,durability=WORD][,SETTING=VALUE]...; the first is compared with each of the others, and
    /// others among themselves where they promise the same. With
    /// its process id a broker's CPU time and memory are shown. Settings are those of its topics; the same broker may be given twice with
    /// different ones, such as flush.messages=1 for Kafka or write.caching=true for Ringmill. What its answers promise is read from them.
    /// An address may also be redis://HOST:PORT, nats://HOST:PORT or rabbitmq://HOST:PORT.
    #[arg(short, long, required = true, num_args = 1.., value_name = "NAME=ADDRESS", value_parser = contender::parse)]
    pub(crate) brokers: Vec<Contender>,
    /// Which loads.
    #[arg(long, value_delimiter = ',', default_values = ["produce-1kb", "produce-100b", "consume", "paced"])]
    pub(crate) loads: Vec<Load>,
    /// Runs that count, of each load on each broker.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Rounds before them that do not.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) warm_up_runs: u32,
    /// Bytes of values that each unpaced run produces; what a consume reads is what the run before has produced.
    #[arg(long, default_value = "1GB", value_parser = parse_bytes)]
    pub(crate) bytes: u64,
    /// Connections, each with a thread of its own.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) connections: u32,
    /// Partitions of each topic [default: one per connection].
    #[arg(short, long)]
    pub(crate) partitions: Option<u32>,
    /// Requests under way on each connection.
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// Records in each batch [default: 1000, and 100 paced].
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_records: Option<u32>,
    /// What the values hold [default: text with a codec, random without].
    #[arg(long)]
    pub(crate) payload: Option<Payload>,
    /// Compression: none, gzip, snappy, lz4 or zstd. Done before the clock starts, and only for brokers that speak Kafka's protocol.
    #[arg(short = 'z', long, default_value_t = Codec::None)]
    pub(crate) codec: Codec,
    /// Value bytes per second of the paced load [default: half of what the slowest broker reached with 1 KB].
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) rate: Option<u64>,
    /// How long each run of the paced load takes.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub(crate) paced_duration: Duration,
    /// Leaves the topics, compare-NAME-LOAD, on the brokers.
    #[arg(long)]
    pub(crate) keep_topics: bool,
}

/// A load that every broker gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Load {
    /// Records of 1 KB, as fast as they are answered.
    #[value(name = "produce-1kb")]
    Produce1Kb,
    /// Records of 100 B, as fast as they are answered.
    #[value(name = "produce-100b")]
    Produce100B,
    /// What was produced with 1 KB, read from start to end.
    Consume,
    /// Records of 1 KB by the clock, whether answers come or not: the latency that an application sees.
    Paced,
}

impl CompareOptions {
    /// What the values hold, by its name on the command line.
    pub(super) fn payload_name(&self) -> String {
        let default = if self.codec == Codec::None { Payload::Random } else { Payload::Text };
        let value = self.payload.unwrap_or(default).to_possible_value();
        value.expect("no payload is hidden from the command line").get_name().to_owned()
    }

    /// Of each topic.
    pub(super) fn partitions(&self) -> u32 {
        self.partitions.unwrap_or(self.connections)
    }

    /// Of each produced batch.
    pub(super) fn batch_records(&self, load: Load) -> u32 {
        let default = if load == Load::Paced { 100 } else { 1000 };
        self.batch_records.unwrap_or(default)
    }
}

impl Load {
    /// In the order of the report.
    pub(super) const ALL: [Load; 4] = [Load::Produce1Kb, Load::Produce100B, Load::Consume, Load::Paced];
    /// Those that have a topic of their own.
    pub(super) const WRITTEN: [Load; 3] = [Load::Produce1Kb, Load::Produce100B, Load::Paced];

    /// For people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Load::Produce1Kb => "produce 1 KB",
            Load::Produce100B => "produce 100 B",
            Load::Consume => "consume 1 KB",
            Load::Paced => "produce 1 KB, paced",
        }
    }

    /// The end of its topic's name.
    pub(super) fn topic(self) -> &'static str {
        match self {
            Load::Produce1Kb | Load::Consume => "1kb",
            Load::Produce100B => "100b",
            Load::Paced => "paced",
        }
    }

    /// Bytes of each value.
    pub(super) fn record_bytes(self) -> u32 {
        match self {
            Load::Produce1Kb | Load::Consume | Load::Paced => 1000,
            Load::Produce100B => 100,
        }
    }
}
