//! What `gains` is asked for.

use clap::{Args, ValueEnum};

use crate::trials::TrialOptions;

#[derive(Args, Debug)]
pub(crate) struct GainsOptions {
    /// Which factors, in the order of the report whatever order they are named in [default: all].
    #[arg(value_name = "FACTOR")]
    pub(super) factors: Vec<Factor>,
    #[command(flatten)]
    pub(crate) trials: TrialOptions,
}

/// One thing that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Factor {
    /// Sequential against random writes.
    Writes,
    /// Records in a batch, from 1 to 10,000.
    Batches,
    /// A sync for each batch, one for many, none before the answer.
    Durability,
    /// A file sent by sendfile(2) against one that is read and sent.
    Sendfile,
    /// Log lines under each codec.
    Codecs,
    /// The same load on 1 to 1,000 partitions.
    Partitions,
    /// The broker on io_uring against plain system calls.
    Ring,
    /// Reading from the page cache against reading from the disk.
    Cache,
}

impl Factor {
    /// What it is called on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Factor::Writes => "writes",
            Factor::Batches => "batches",
            Factor::Durability => "durability",
            Factor::Sendfile => "sendfile",
            Factor::Codecs => "codecs",
            Factor::Partitions => "partitions",
            Factor::Ring => "ring",
            Factor::Cache => "cache",
        }
    }

    /// Whether it is measured through a broker, and not on disk and sockets alone.
    pub(super) fn needs_broker(self) -> bool {
        !matches!(self, Factor::Writes | Factor::Sendfile)
    }
}

impl GainsOptions {
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

    fn parse(arguments: &[&str]) -> Result<GainsOptions, clap::Error> {
        match Cli::try_parse_from([&["bench", "gains"], arguments].concat())?.command {
            Command::Gains(options) => Ok(options),
            _ => unreachable!("gains was asked for"),
        }
    }

    #[test]
    fn factors_come_once_and_in_the_order_of_the_report() {
        assert_eq!(parse(&[]).unwrap().chosen(), Factor::value_variants());
        let chosen = parse(&["sendfile", "writes", "sendfile"]).unwrap().chosen();
        assert_eq!(chosen, [Factor::Writes, Factor::Sendfile]);
        assert!(parse(&["writes", "speed"]).is_err() && parse(&["--quick", "--bytes", "1GB"]).is_err());
    }

    #[test]
    fn a_factor_is_called_what_the_command_line_calls_it() {
        for factor in Factor::value_variants() {
            let known = factor.to_possible_value().unwrap();
            assert_eq!(known.get_name(), factor.name());
        }
    }
}
