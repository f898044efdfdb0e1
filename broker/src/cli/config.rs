//! `ringmill config`: check and show the configuration that `ringmill serve` would run with, without starting anything.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output;
use super::serve::Settings;
use super::{OutputFormat, OutputOption};
use crate::config::{self, Format};

/// Check and show the broker's configuration.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringmill config check --config /etc/ringmill.toml
  ringmill config print --origin                     # where does each value come from?
  ringmill config print > ringmill.toml              # every setting at its default, explained
  RINGMILL__TOPIC__RETENTION_MS=3600000 ringmill config print --origin -o json")]
pub(super) enum Config {
    /// Say whether the configuration is right, and if not, what, where and how to mend it
    Check(Settings),
    /// Print every setting with the value in effect
    Print(Print),
}

#[derive(Debug, Args)]
pub(super) struct Print {
    #[command(flatten)]
    settings: Settings,
    /// Say where each value comes from, instead of what it means
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    output: OutputOption,
}

impl Config {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Config::Check(settings) => {
                config::load(&settings.sources()?)?;
                output::print("the configuration is right\n")
            }
            Config::Print(print) => {
                let config = config::load(&print.settings.sources()?)?;
                let format = match print.output.output {
                    OutputFormat::Table => Format::Toml { origin: print.origin },
                    OutputFormat::Json => Format::Json,
                };
                output::print(&config::print(&config, format))
            }
        }
    }
}
