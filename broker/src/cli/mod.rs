//! The command line: what can be typed, and which file does it.
//!
//! Parses, dispatches, and turns every failure into one sentence on standard error and an exit code. Each command is a file; those that
//! talk to a broker do so through net's client alone, and work against any broker that speaks Kafka's protocol.

mod completions;
mod config;
mod consume;
mod deletion;
mod failure;
mod group;
mod interrupt;
mod log;
mod man;
mod output;
pub mod place;
mod produce;
pub mod record_json;
mod serve;
mod topic;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use failure::Failure;

/// What `--help` says at its end.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  the configuration is wrong
  4  the broker cannot be reached
  5  the broker refused
  6  damage was found
  130, 143  interrupted by SIGINT, SIGTERM before the end (what follows has no other end, and exits with 0)";

/// A log broker for Linux that speaks Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "ringmill", version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 110)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker
    Serve(serve::Serve),
    /// List, create, describe and delete topics
    #[command(subcommand)]
    Topic(topic::Topic),
    /// Send lines of text to a topic
    Produce(produce::Produce),
    /// Print the records of a topic
    Consume(consume::Consume),
    /// List, describe, move and delete consumer groups
    #[command(subcommand)]
    Group(group::Group),
    /// Look into a partition's files while no broker uses them
    #[command(subcommand)]
    Log(log::Log),
    /// Check and show the broker's configuration
    #[command(subcommand)]
    Config(config::Config),
    /// Print a script that completes commands in a shell
    Completions(completions::Completions),
    /// Print or write the manual pages
    Man(man::Man),
}

/// Which broker a command talks to.
#[derive(Debug, Args)]
struct BrokerAddress {
    /// The broker's address
    #[arg(short, long, value_name = "HOST:PORT", env = "RINGMILL_ADDRESS", default_value = "127.0.0.1:9092")]
    broker: String,
}

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// A table for people
    Table,
    /// JSON for programs
    Json,
}

#[derive(Debug, Args)]
struct OutputOption {
    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: OutputFormat,
}

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Also how --help and --version arrive; a closed pipe behind them is nobody's fault.
            let _ = error.print();
            return if error.use_stderr() { failure::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let result = match command_line.command {
        Command::Serve(serve) => serve.run(),
        Command::Topic(topic) => topic.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Group(group) => group.run(),
        Command::Log(log) => log.run(),
        Command::Config(config) => config.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Text with the escapes that shells make hard to type: \t is a tab, \0 a zero byte, \\ a backslash.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letters.peek().copied().filter(|_| letter == '\\');
        let meant = escaped.and_then(|escaped| {
            [('t', '\t'), ('0', '\0'), ('\\', '\\')].into_iter().find(|(from, _)| *from == escaped)
        });
        out.push(meant.map_or(letter, |(_, to)| to));
        if meant.is_some() {
            letters.next();
        }
    }
    out
}

/// Runs a client's work to its end on this thread.
fn on_client_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::other(format!("the client cannot be started: {error}")))?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_flags_are_sound() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn escapes_are_read() {
        for (text, expected) in [("\\t", "\t"), (": ", ": "), ("\\\\t", "\\t"), ("a\\0b\\", "a\0b\\"), ("\\n", "\\n")] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }
}
