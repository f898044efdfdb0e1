//! The command line: what can be asked, with units in the help and defaults that mean something.
//!
//! Arguments are only parsed here; each command checks what belongs together.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ringmill_batch::Codec;

use crate::compare::CompareOptions;
use crate::gains::GainsOptions;
use crate::groups::GroupsOptions;
use crate::growth::GrowthOptions;
use crate::load::{Payload, Sizes};
use crate::units::{parse_bytes, parse_count, parse_duration};

// Lines of at most 78 letters, for help is wrapped at the terminal's width; a test runs every example through the parser.
const EXAMPLES: &str = "\
Examples:
  # What disk, loopback and processor can do at all.
  ringmill-bench limits --dir /var/lib/ringmill
  # As fast as answered, as a share of the disk's own rate.
  ringmill-bench produce --fresh --runs 5 --limit .
  # Latency under a steady load, by a schedule that waits for nobody.
  ringmill-bench produce --rate 50MB -n 100 --duration 30s
  # Lines of a real log, compressed.
  ringmill-bench replay /var/log/dpkg.log -z zstd
  # What was written, as a share of a bare sendfile.
  ringmill-bench consume --runs 5 --limit .
  # Both at once, from end to end; a page with charts, histograms to plot.
  ringmill-bench mixed --rate 50MB --fresh --html report.html --hgrm .
  # What a client can send at most, to a server that discards it.
  ringmill-bench sink --listen 127.0.0.1:9192
  # What batches, syncs, codecs, io_uring and the rest gain on this disk.
  ringmill-bench gains --html gains.html --svg gains.svg
  # What a thousand partitions or connections, or 50 GB of backlog, cost.
  ringmill-bench growth --html growth.html
  # What a thousand consumer groups, their commits and a rebalance cost.
  ringmill-bench groups --pid $(pidof ringmill)
  # Brokers side by side.
  ringmill-bench compare --brokers a=127.0.0.1:9092 b=127.0.0.1:9192

Sizes are decimal (1KB = 1000) or binary (1KiB = 1024).
`ringmill-bench COMMAND --help` tells the rest.";

const PRODUCE_EXAMPLES: &str = "\
Examples:
  # Four connections, five runs, beside the disk's rate and the broker's CPU.
  ringmill-bench produce -c 4 --bytes 2GB --fresh --runs 5 \\
      --limit . --pid $(pidof ringmill)
  # Each record one line as HDFS logs it, compressed.
  ringmill-bench produce -z zstd --payload hdfs -r line
  # Sizes with a long tail as real logs have, and keys.
  ringmill-bench produce -r log:500B --keys 10000
  # An idempotent producer under a steady load.
  ringmill-bench produce --rate 50MB --acks all --idempotent -d 30s";

const MIXED_EXAMPLES: &str = "\
A consumer's latency is end to end: from when a batch should have left its
producer to when it has wholly arrived. Batches carry that time with them,
in microseconds; with --idempotent only in whole milliseconds.

Examples:
  # As fast as answered, consumed as it comes.
  ringmill-bench mixed --connections 4 --fresh --duration 30s
  # End-to-end latency under a steady load.
  ringmill-bench mixed --rate 50MB -n 100 --fresh --duration 30s
  # The same while two readers catch up from the disk.
  ringmill-bench mixed --rate 50MB --fresh --backlog 10GB --catch-up 2 --cold
  # A thousand partitions.
  ringmill-bench mixed --topics 100 --partitions 10 -c 16 --fresh";

const REPLAY_EXAMPLES: &str = "\
Examples:
  # Every line once, as fast as answered.
  ringmill-bench replay /var/log/dpkg.log --topic logs
  # By the clock, over and over.
  ringmill-bench replay access.log --loop --rate 20MB --duration 1m
  # Five GB over four connections.
  ringmill-bench replay access.log --loop --bytes 5GB -z lz4 -c 4";

const COMPARE_EXAMPLES: &str = "\
Examples:
  ringmill-bench compare --brokers ringmill=127.0.0.1:9092,pid=$(pidof ringmill) kafka=127.0.0.1:9192,pid=N
  ringmill-bench compare --loads produce-1kb,consume --connections 4 --brokers \\
      ours=127.0.0.1:9092 kafka=127.0.0.1:9192 kafka-synced=127.0.0.1:9192,flush.messages=1
  ringmill-bench compare --brokers ours=127.0.0.1:9092 redis=redis://127.0.0.1:6379 nats=nats://127.0.0.1:4222 \\
      rabbitmq=rabbitmq://127.0.0.1:5552
`scripts/peers/` starts Kafka, Redis, NATS and RabbitMQ to compare with; `scripts/compare` does all of it for Kafka.";

const GROWTH_EXAMPLES: &str = "\
A broker that does its work well is slowed little by more of everything:
each table lets one thing grow and holds the load. What a row reached, what
it took of the broker's processor and memory (page cache aside), and how
many times the first row's figure that is, stand side by side. Brokers are
started and ended by this command as by `gains`.

A backlog of 50 GB is written once for each run: it needs the room, and as
many minutes as the disk takes. Sizes without room are left out.

Examples:
  # What grows, from what to what.
  ringmill-bench growth --list
  # Everything, on the disk that is to hold the log; a page that explains it.
  ringmill-bench growth --dir /var/lib/ringmill --html growth.html
  # Only what takes no large disk, with more runs.
  ringmill-bench growth partitions connections producers records --runs 5
  # How a long log fares, for a program to read.
  ringmill-bench growth backlog --runs 1 --json backlog.json
  # Whether all of it works here, in a minute; the figures mean nothing.
  ringmill-bench growth --quick --runs 1";

const GAINS_EXAMPLES: &str = "\
Each factor changes one thing and leaves all else as it is. Brokers are
started and ended by this command, one at a time, each on an empty directory
below --dir and on a free port; nothing of them is left behind.

Examples:
  # What can be compared, and what differs between the rows.
  ringmill-bench gains --list
  # Everything, on the disk that is to hold the log; a page that explains it.
  ringmill-bench gains --dir /var/lib/ringmill --html gains.html
  # Two factors, with more runs, and only the picture.
  ringmill-bench gains batches durability --runs 5 --svg gains.svg
  # Disk and sockets alone, for which no broker is needed.
  ringmill-bench gains writes sendfile --json gains.json
  # Whether all of it works here, in a minute; the figures mean nothing.
  ringmill-bench gains --quick
  # Another build of the broker.
  ringmill-bench gains ring --ringmill /usr/local/bin/ringmill";

const GROUPS_EXAMPLES: &str = "\
The broker is loaded as many consumers load it, which fetch nothing: they
join, live, commit and leave. Three parts, each with a table of its own:

  members    many groups form and send heartbeats: joins/s, the time until
             all are there, heartbeat latency, the broker's memory and CPU
  commits    offsets by the clock, then as fast as they are answered; what
             is stored in the end is compared with what was confirmed
  rebalance  one large group forms, then members leave and join in turn:
             the time until everybody has its new assignment

Groups are deleted afterwards, topics stay.

Examples:
  # All of it: 1,000 groups of 10, 100,000 offsets/s, 100 members.
  ringmill-bench groups --pid $(pidof ringmill) --limit .
  # Both protocols side by side, where the broker has the consumer protocol.
  ringmill-bench groups --parts members,rebalance \\
      --protocol classic,consumer
  # How many offsets one connection can commit, one partition each.
  ringmill-bench groups --parts commits --rate 0 -c 1 --offsets 1
  # How a rebalance fares with heartbeats as consumers send them.
  ringmill-bench groups --parts rebalance --rebalance-heartbeat 3s
  # Whether all of it works here; the figures mean nothing.
  ringmill-bench groups --groups 3 --members 2 --rebalance-members 3 \\
      --rounds 1 --duration 200ms --rate 1k";

/// Loads a broker that speaks the Kafka protocol, and measures what the machine itself can do.
#[derive(Debug, Parser)]
#[command(name = "ringmill-bench", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Writes the report as JSON to a file and prints the table, too; alone or with - it prints JSON instead of the table.
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    /// Writes the latencies of each run as HDR histograms into this directory, one file for each role: produce-1.hgrm and so on.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Writes the report as one HTML page with charts, which needs no network.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures this machine's ceilings: disk writes and syncs, loopback, bare sendfile, checksums.
    Limits(LimitsOptions),
    /// Sends record batches as fast as the broker answers, or at a given rate.
    Produce(ProduceOptions),
    /// Sends the lines of a real log file as records, once or in a loop.
    Replay(ReplayOptions),
    /// Produces and consumes at once, and measures how long records take from end to end.
    Mixed(MixedOptions),
    /// Fetches what is there, from the start to the end.
    Consume(ConsumeOptions),
    /// Takes what any producer sends and discards it, to find the client's own ceiling. Ends on a signal, with a report.
    Sink(SinkOptions),
    /// Loads several brokers in alternating runs, and shows how the first fares against each of the others.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareOptions),
    /// Changes one thing at a time and shows what it gains on this machine: order, batches, syncs, copies, codecs, io_uring.
    #[command(after_help = GAINS_EXAMPLES)]
    Gains(GainsOptions),
    /// Lets one thing grow at a time and shows what it costs: partitions, connections, producers, backlog, record size.
    #[command(after_help = GROWTH_EXAMPLES)]
    Growth(GrowthOptions),
    /// Loads a broker with consumer groups: many members that live, offsets that are committed, a large group that changes.
    #[command(after_help = GROUPS_EXAMPLES)]
    Groups(GroupsOptions),
    /// Lets this machine's disks and memory come to rest, as a long produce with --pid does first: for scripts that load a server by other
    /// programs. Where memory is filled, /var/tmp/ringmill-bench.hole stays behind, a file of great length without a block.
    Settle,
}

#[derive(Args, Debug)]
pub(crate) struct SinkOptions {
    /// Where to listen; port 0 takes a free one. What it is stands on standard error.
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    pub(crate) listen: String,
    /// Partitions of every topic.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) partitions: u32,
    /// Ends after this time, such as 30s, instead of on a signal only.
    #[arg(short, long, value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
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
    /// A broker to begin with; the others are asked for. Also redis://HOST:PORT, nats://HOST:PORT or
    /// rabbitmq://HOST:PORT, for produce and consume.
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    pub(crate) broker: String,
    /// The topic; a produce creates it where it is missing.
    #[arg(short, long, default_value = "bench")]
    pub(crate) topic: String,
    /// Loads so many topics, named after --topic with a number: bench-0, bench-1 …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) topics: u32,
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
    /// Process id of a broker on this machine: reports its CPU time and memory, and begins each run once the machine's disks have written
    /// all that was left to them. On a virtual machine whose host takes free memory back, a produce of 500 MB or 3 s and more begins with that
    /// memory full of page cache, as on a host that has run for days (see `settle`); the first time this may take a minute.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

#[derive(Args, Debug)]
#[command(after_help = PRODUCE_EXAMPLES)]
pub(crate) struct ProduceOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) send: SendOptions,
    #[command(flatten)]
    pub(crate) records: RecordOptions,
}

#[derive(Args, Debug)]
#[command(after_help = REPLAY_EXAMPLES)]
pub(crate) struct ReplayOptions {
    /// A text file; each of its lines becomes a record. It is held in memory, at most its first GiB.
    pub(crate) file: PathBuf,
    /// Begins anew at the file's end, until --duration or --bytes is full [default: every line once].
    #[arg(long = "loop")]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    #[command(flatten)]
    pub(crate) send: SendOptions,
}

/// How records travel, whatever they are.
#[derive(Args, Debug)]
pub(crate) struct SendOptions {
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
    /// Records in each batch, and one batch in each request.
    #[arg(short = 'n', long, default_value = "1000", value_parser = parse_count)]
    pub(crate) batch_records: u64,
    /// Bytes of values in each batch, instead of a number of records.
    #[arg(long, conflicts_with = "batch_records", value_parser = parse_bytes)]
    pub(crate) batch_bytes: Option<u64>,
    /// Compression: none, gzip, snappy, lz4 or zstd. Done before the clock starts.
    #[arg(short = 'z', long, default_value_t = Codec::None)]
    pub(crate) codec: Codec,
    /// When the broker answers: 0 never, 1 and -1 (all) by its own rule.
    #[arg(short, long, default_value = "-1", allow_negative_numbers = true, value_parser = parse_acks)]
    pub(crate) acks: i16,
    /// Requests under way on each connection.
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) in_flight: u32,
    /// Asks for a producer id and numbers the batches.
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Value bytes per second over all connections, sent by the clock whether answers come or not; latency then counts from
    /// when a request should have left [default: the next request leaves when there is room for it].
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) rate: Option<u64>,
}

/// What generated records are like.
#[derive(Args, Debug)]
pub(crate) struct RecordOptions {
    /// Bytes of each record's value: a size, a range such as 100B..4KB (uniform), log:1KB or log:1KB:1.5 (log-normal by its
    /// median and sigma, with a long tail as real logs have), or line (each value is one log line, as long as it is).
    #[arg(short, long, default_value = "1KB")]
    pub(crate) record_bytes: Sizes,
    /// What the values hold [default: text with a codec, random without].
    #[arg(long)]
    pub(crate) payload: Option<Payload>,
    /// Gives each record one of so many keys [default: none]. Partitions take turns all the same.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keys: Option<u32>,
    /// What the generated values and keys depend on: the same seed makes the same records.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Different batches that each connection makes before the clock starts and then sends in turn [default: 1 of random bytes,
    /// up to 4 of text].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) distinct: Option<u32>,
}

#[derive(Args, Debug)]
#[command(after_help = MIXED_EXAMPLES)]
pub(crate) struct MixedOptions {
    /// --connections counts the producers.
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// Connections that follow the log's end, each record read by one of them [default: as many as produce].
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) consumers: Option<u32>,
    /// Connections that meanwhile read what the log held before the run, from its beginning, over and over.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1024))]
    pub(crate) catch_up: u32,
    /// Produces so many bytes before each run, for the catch-up readers to read.
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) backlog: Option<u64>,
    /// Empties the whole machine's page cache before each run, so that catching up reads from the disk; needs root. Choose
    /// a backlog that lasts for the run: a second pass finds it in the cache.
    #[arg(long)]
    pub(crate) cold: bool,
    #[command(flatten)]
    pub(crate) send: SendOptions,
    #[command(flatten)]
    pub(crate) records: RecordOptions,
    #[command(flatten)]
    pub(crate) fetch: FetchOptions,
}

#[derive(Args, Debug)]
pub(crate) struct ConsumeOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// Reads so many of each partition's newest records instead of all, such as 100k.
    #[arg(long, value_name = "RECORDS", value_parser = parse_count)]
    pub(crate) newest: Option<u64>,
    #[command(flatten)]
    pub(crate) fetch: FetchOptions,
}

/// How records are fetched.
#[derive(Args, Debug)]
pub(crate) struct FetchOptions {
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

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Kafka's names for the numbers: `all` is -1.
fn parse_acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "0" => Ok(0),
        "1" => Ok(1),
        _ => Err("acks are 0, 1 or all (-1)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_in_the_help_is_a_command_that_parses() {
        let mut count = 0;
        for examples in [
            EXAMPLES,
            PRODUCE_EXAMPLES,
            MIXED_EXAMPLES,
            REPLAY_EXAMPLES,
            COMPARE_EXAMPLES,
            GAINS_EXAMPLES,
            GROWTH_EXAMPLES,
            GROUPS_EXAMPLES,
        ] {
            let text = examples.replace("\\\n", " ").replace("$(pidof ringmill)", "7").replace("pid=N", "pid=7");
            for example in text.lines().filter(|line| line.starts_with("  ringmill-bench ")) {
                if let Err(error) = Cli::try_parse_from(example.split_whitespace()) {
                    panic!("{example}: {error}");
                }
                count += 1;
            }
        }
        assert!(count >= 34, "only {count} examples were found");
    }

    #[test]
    fn help_fits_a_terminal_and_a_report_can_go_to_a_file_or_to_the_output() {
        for examples in [
            EXAMPLES,
            PRODUCE_EXAMPLES,
            MIXED_EXAMPLES,
            REPLAY_EXAMPLES,
            GAINS_EXAMPLES,
            GROWTH_EXAMPLES,
            GROUPS_EXAMPLES,
        ] {
            assert_eq!(examples.lines().find(|line| line.len() > 78), None);
        }
        let json = |arguments: &[&str]| Cli::try_parse_from(arguments).unwrap().json;
        assert_eq!(json(&["bench", "limits", "--json"]), Some("-".into()));
        assert_eq!(json(&["bench", "limits", "--json", "file"]), Some("file".into()));
        assert_eq!(json(&["bench", "limits"]), None);
    }
}
