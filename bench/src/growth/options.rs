//! What `growth` is asked for.

use clap::{Args, ValueEnum};

use crate::trials::TrialOptions;

#[derive(Args, Debug)]
pub(crate) struct GrowthOptions {
    /// Which factors, in the order of the report whatever order they are named in [default: all].
    #[arg(value_name = "FACTOR")]
    factors: Vec<Factor>,
    #[command(flatten)]
    pub(crate) trials: TrialOptions,
}

/// One thing that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Factor {
    /// 1 to 1,000 partitions, produced to and consumed.
    Partitions,
    /// 1 to 1,000 connections that share one load, and up to 10,000 idle ones beside it.
    Connections,
    /// 1 to 64 idempotent producers, each at its own pace.
    Producers,
    /// 0 to 50 GB in the log before the load; sizes that the disk has no room for are left out.
    Backlog,
    /// Records of 100 B to 1 MB.
    Records,
}

impl Factor {
    /// What it is called on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Factor::Partitions => "partitions",
            Factor::Connections => "connections",
            Factor::Producers => "producers",
            Factor::Backlog => "backlog",
            Factor::Records => "records",
        }
    }
}

impl GrowthOptions {
    /// What was asked for, each once, in the order of the report.
    pub(super) fn chosen(&self) -> Vec<Factor> {
        let asked = |factor: &Factor| self.factors.is_empty() || self.factors.contains(factor);
        Factor::value_variants().iter().copied().filter(asked).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<GrowthOptions, clap::Error> {
        match Cli::try_parse_from([&["bench", "growth"], arguments].concat())?.command {
            Command::Growth(options) => Ok(options),
            _ => unreachable!("growth was asked for"),
        }
    }

    #[test]
    fn factors_come_once_in_the_order_of_the_report_and_under_their_names() {
        assert_eq!(parse(&[]).unwrap().chosen(), Factor::value_variants());
        let chosen = parse(&["backlog", "partitions", "backlog"]).unwrap().chosen();
        assert_eq!(chosen, [Factor::Partitions, Factor::Backlog]);
        assert!(parse(&["speed"]).is_err() && parse(&["--quick", "--bytes", "1GB"]).is_err());
        for factor in Factor::value_variants() {
            assert_eq!(factor.to_possible_value().unwrap().get_name(), factor.name());
        }
    }
}
