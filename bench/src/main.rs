//! `ringmill-bench`: loads any broker that speaks Kafka's protocol, and measures the machine's own limits beside it.
//!
//! It knows the wire and the record format, and nothing of a broker's insides. Figures are medians over runs, KB = 1000 bytes,
//! GB = 10⁹ bytes. This file only parses the command line, calls the command and prints its report.

use std::io::Write;
use std::path::Path;

use clap::Parser;

mod cli;
mod compare;
mod durability;
mod gains;
mod group;
mod groups;
mod growth;
mod html;
mod latency;
mod limits;
mod load;
mod machine;
mod open_files;
mod process_usage;
mod profile;
mod progress;
mod report;
mod settle;
mod sink;
mod sockets;
mod trials;
mod units;

use cli::{Cli, Command};
use report::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmill-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let report = match &cli.command {
        Command::Gains(options) if options.trials.list => return print(&gains::list()),
        Command::Growth(options) if options.trials.list => return print(&growth::list()),
        Command::Settle => {
            settle::all();
            return Ok(());
        }
        Command::Limits(options) => limits::run(options),
        Command::Produce(options) => load::produce(options),
        Command::Replay(options) => load::replay(options),
        Command::Mixed(options) => load::mixed(options),
        Command::Consume(options) => load::consume(options),
        Command::Sink(options) => sink::run(options),
        Command::Compare(options) => compare::run(options),
        Command::Gains(options) => gains::run(options),
        Command::Growth(options) => growth::run(options),
        Command::Groups(options) => groups::run(options),
    };
    deliver(&report?, cli)
}

/// Puts the report where the command line wants it; files first, for whoever reads the table may stop reading.
fn deliver(report: &Report, cli: &Cli) -> Result<(), String> {
    let json_alone = cli.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = cli.json.as_ref().filter(|_| !json_alone) {
        write(path, &report.to_json())?;
    }
    if let Some(path) = &cli.html {
        write(path, &html::page(report))?;
    }
    let drawn = match &cli.command {
        Command::Gains(options) => options.trials.svg.as_ref(),
        Command::Growth(options) => options.trials.svg.as_ref(),
        _ => None,
    };
    if let Some(path) = drawn {
        write(path, &html::picture(report))?;
    }
    if let Some(directory) = &cli.hgrm {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for profile in &report.profiles {
            for (role, latency) in profile.latency.iter().filter(|(_, latency)| !latency.is_empty()) {
                write(&directory.join(format!("{}-{}.hgrm", role.name(), profile.run)), &latency.to_hgrm())?;
            }
        }
    }
    print(&if json_alone { report.to_json() } else { report.to_table() })
}

/// Whoever reads it may stop reading.
fn print(text: &str) -> Result<(), String> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
