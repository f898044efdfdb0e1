//! `ringmill-bench`: loads any broker that speaks Kafka's protocol, and measures the machine's own limits beside it.
//!
//! It knows the wire and the record format, and nothing of a broker's insides. Figures are medians over runs, KB = 1000 bytes,
//! GB = 10⁹ bytes. This file only parses the command line, calls the command and prints its report.

use std::path::Path;

use clap::Parser;

mod cli;
mod compare;
mod latency;
mod limits;
mod load;
mod process_usage;
mod progress;
mod report;
mod sink;
mod sockets;
mod units;

use cli::{Cli, Command};
use report::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Limits(options) => limits::run(options),
        Command::Produce(options) => load::produce(options),
        Command::Replay(options) => load::replay(options),
        Command::Consume(options) => load::consume(options),
        Command::Sink(options) => sink::run(options),
        Command::Compare(options) => compare::run(options),
    };
    match outcome.and_then(|report| deliver(&report, &cli)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmill-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// Puts the report where the command line wants it.
fn deliver(report: &Report, cli: &Cli) -> Result<(), String> {
    match &cli.json {
        Some(path) if path.as_os_str() == "-" => println!("{}", report.to_json()),
        Some(path) => {
            println!("{}", report.to_table());
            write(path, &report.to_json())?;
        }
        None => println!("{}", report.to_table()),
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
