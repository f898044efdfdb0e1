//! A load as one could type it: parsed by the same rules and run by the same code, so that a single figure of a command that runs many
//! loads can be repeated by hand.

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::report::Report;

/// Runs a `produce` or a `consume` by its command line, program name first.
///
/// # Errors
/// A line that this program does not take, or the load's own error.
pub(crate) fn typed(arguments: &[String]) -> Result<Report, String> {
    let parsed = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
    match &parsed.command {
        Command::Produce(options) => super::produce(options),
        Command::Consume(options) => super::consume(options),
        _ => Err(format!("`{}` is no load", arguments.join(" "))),
    }
}
