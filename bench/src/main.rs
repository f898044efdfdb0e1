//! `ringmill-bench`: loads any broker that speaks Kafka's protocol, and measures the machine's own limits beside it.
//!
//! It knows the wire and the record format, and nothing of a broker's insides. Figures are medians over runs, KB = 1000 bytes,
//! GB = 10⁹ bytes. This file only parses the command line, calls the command and prints its report.

use clap::Parser;

mod cli;
mod latency;
mod limits;
mod load;
mod process_usage;
mod progress;
mod report;
mod sockets;
mod units;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Limits(options) => limits::run(options),
        Command::Produce(options) => load::produce(options),
        Command::Consume(options) => load::consume(options),
    };
    match outcome {
        Ok(report) => {
            if cli.json {
                println!("{}", report.to_json());
            } else {
                println!("{}", report.to_table());
            }
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ringmill-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
