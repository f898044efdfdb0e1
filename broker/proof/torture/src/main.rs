//! `ringmill-torture`: kills the real binary, cuts the power of its disk, tears its sectors, starves it of patience, and judges what is
//! left of what it promised.
//!
//! It knows the wire and the checker, and nothing of a broker's insides: the broker is a program that it starts. One file per
//! subcommand; what they share is the program (`broker`), chance (`random`) and the style of reports (`report`).

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod broker;
mod check;
mod disk;
mod hostile;
mod kills;
mod namespace;
mod power;
mod random;
mod report;
mod workload;

/// Torture the real broker and judge whether it kept its promises
#[derive(Debug, Parser)]
#[command(name = "ringmill-torture", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Kills(kills::Kills),
    Check(check::Check),
    Power(power::Power),
    Disk(disk::Disk),
    Hostile(hostile::Hostile),
    #[command(hide = true)]
    DiskServer(disk::DiskServer),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Kills(kills) => kills.run(),
        Command::Check(check) => check.run(),
        Command::Power(power) => power.run(),
        Command::Disk(disk) => disk.run(),
        Command::Hostile(hostile) => hostile.run(),
        Command::DiskServer(server) => server.run(),
    };
    report::exit_code(outcome)
}
