//! What `groups` is asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::units::{parse_count, parse_duration};

#[derive(Args, Debug)]
pub(crate) struct GroupsOptions {
    /// Which parts, with commas between them, in the order of the report whatever order they are named in [default: all].
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    parts: Vec<Part>,
    /// The members' protocol: classic, consumer (KIP-848), or both with a comma between them. Commits always use the classic one.
    #[arg(long = "protocol", value_delimiter = ',', value_name = "PROTOCOL", default_value = "classic")]
    protocols: Vec<Protocol>,
    /// A broker to begin with; the groups' coordinators are asked for.
    #[arg(short, long, default_value = "127.0.0.1:9092")]
    pub(super) broker: String,
    /// Begins the names of the topics that are created where they are missing: NAME-members, NAME-commits, NAME-rebalance. They stay.
    #[arg(short, long, default_value = "bench-groups")]
    pub(super) topic: String,
    /// members: so many groups.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) groups: u32,
    /// members: so many members in each group; the topic has as many partitions.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) members: u32,
    /// members: how many may join at the same time, each over a connection of its own, for a join of the classic protocol waits for its answer
    /// until the whole group is there. At least one group.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) joining: u32,
    /// members: how often each member sends a heartbeat.
    #[arg(long, default_value = "3s", value_parser = parse_duration)]
    pub(super) heartbeat: Duration,
    /// members: connections that all heartbeats share. commits: connections, each with a group of its own.
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) connections: u32,
    /// How long heartbeats, and commits at each pace, are measured.
    #[arg(short, long, default_value = "10s", value_parser = parse_duration)]
    pub(super) duration: Duration,
    /// commits: partitions in each request, as many as the topic gets.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) offsets: u32,
    /// commits: offsets per second over all connections, sent by the clock whether answers come or not; latency then counts from when a
    /// request should have left. 0 leaves this out and only commits as fast as answered.
    #[arg(long, default_value = "100k", value_parser = parse_count)]
    pub(super) rate: u64,
    /// commits: requests under way on each connection, where nothing else paces them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) in_flight: u32,
    /// rebalance: members of the group.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=5000))]
    pub(super) rebalance_members: u32,
    /// rebalance: how often each member sends a heartbeat, by which it learns that others come or go.
    #[arg(long, default_value = "100ms", value_parser = parse_duration)]
    pub(super) rebalance_heartbeat: Duration,
    /// rebalance: how often one member leaves and another joins.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,
    /// The delay of a new group's first generation, to be subtracted [default: the broker's group.initial.rebalance.delay.ms].
    #[arg(long, value_parser = parse_duration)]
    pub(super) initial_delay: Option<Duration>,
    /// When a silent member counts as gone; also how long a rebalance may take.
    #[arg(long, default_value = "45s", value_parser = parse_duration)]
    pub(super) session_timeout: Duration,
    /// Repeats everything and shows medians and spreads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) runs: u32,
    /// commits: measures a bare append with fdatasync in this directory before each run, and shows the median beside it.
    #[arg(long, value_name = "DIR")]
    pub(super) limit: Option<PathBuf>,
    /// Process id of a broker on this machine: reports its CPU time and memory.
    #[arg(long)]
    pub(super) pid: Option<u32>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Many groups form, and then only live.
    Members,
    /// Offsets are committed.
    Commits,
    /// One large group changes.
    Rebalance,
}

/// How members speak to their coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    /// JoinGroup, SyncGroup and Heartbeat.
    Classic,
    /// ConsumerGroupHeartbeat alone.
    Consumer,
}

impl Protocol {
    pub(super) fn name(self) -> &'static str {
        match self {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        }
    }
}

impl GroupsOptions {
    /// What was asked for, each once, in the order of the report.
    pub(super) fn parts(&self) -> Vec<Part> {
        let asked = |part: &Part| self.parts.is_empty() || self.parts.contains(part);
        Part::value_variants().iter().copied().filter(asked).collect()
    }

    /// As [`parts`](Self::parts).
    pub(super) fn protocols(&self) -> Vec<Protocol> {
        Protocol::value_variants().iter().copied().filter(|protocol| self.protocols.contains(protocol)).collect()
    }

    /// As the protocol has it.
    pub(super) fn session_timeout_ms(&self) -> i32 {
        i32::try_from(self.session_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<GroupsOptions, clap::Error> {
        match Cli::try_parse_from([&["bench", "groups"], arguments].concat())?.command {
            Command::Groups(options) => Ok(options),
            _ => unreachable!("groups was asked for"),
        }
    }

    #[test]
    fn parts_and_protocols_come_once_in_the_order_of_the_report() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.parts(), options.protocols()), (Part::value_variants().to_vec(), vec![Protocol::Classic]));
        let options =
            parse(&["--parts", "rebalance,members,rebalance", "--protocol", "consumer,classic", "--rate", "0"])
                .unwrap();
        assert_eq!(options.parts(), [Part::Members, Part::Rebalance]);
        assert_eq!(options.protocols(), [Protocol::Classic, Protocol::Consumer]);
        assert_eq!((options.rate, options.session_timeout_ms()), (0, 45_000));
        assert!(parse(&["--parts", "speed"]).is_err() && parse(&["--rebalance-members", "1"]).is_err());
    }
}
