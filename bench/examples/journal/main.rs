//! A prototype, and no part of the product: what a journal shared by all partitions of a core would bring to small durable batches.
//!
//! In each round every partition gets one batch, and the round is over when all of them are durable and can be read. Either each file is
//! written and synced, as the broker does it, in turn or by several threads at once; or all batches of the round go into a pre-written
//! journal by one write past the page cache, and into their files without a sync, which follows for all files together when the journal
//! has come round. Nothing here recovers from a journal, which is where most of the work would be.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

mod aligned;
mod crew;
mod partitions;
mod ring;
mod rounds;

use rounds::{Measured, Setting, WAYS};

const EXAMPLES: &str = "\
Examples:
  # What a journal brings on the disk that is to hold the log.
  cargo run --release --example journal -- --dir /var/lib/ringmill
  # Whether it works here, in seconds; the figures mean nothing.
  cargo run --example journal -- --rounds 3 --partitions 1,10 --journal-mib 1";

/// Compares a sync of each partition's file with one write into a shared journal, for many partitions with small durable batches.
#[derive(Debug, Parser)]
#[command(name = "journal", after_help = EXAMPLES)]
struct Cli {
    /// Directory on the disk to measure. What is written there, up to some GB, is removed at the end.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Ends each measurement after so many rounds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Ends each measurement after so many seconds, with the round that is under way.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Numbers of partitions to measure with.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    partitions: Vec<u32>,
    /// Bytes of a batch: multiples of 4096, for the journal is written past the page cache.
    #[arg(long, value_delimiter = ',', default_value = "4096,16384", value_parser = parse_batch_bytes)]
    batch_bytes: Vec<usize>,
    /// Files that are synced at once, where not one after the other.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Size of the journal in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    journal_mib: u64,
}

fn parse_batch_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if bytes > 0 && bytes % aligned::ALIGNMENT == 0 => Ok(bytes),
        _ => Err(format!("`{text}` is no multiple of {}", aligned::ALIGNMENT)),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(table) => {
            println!("{table}");
            println!(
                "A round: one batch for each partition. p50 and p99: of a round, with the checkpoint that it may have to wait for."
            );
            println!(
                "Checkpoint: all files are synced, so that the journal can be written from its beginning again; also once at the end."
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("journal: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<Table, String> {
    // A thousand files are about what the usual soft limit allows.
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, opening the files will say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["batch", "partitions", "durable by", "rounds", "rounds/s", "p50", "p99", "checkpoints", "ratio"]);
    for &batch_bytes in &cli.batch_bytes {
        for &partitions in &cli.partitions {
            let setting = Setting {
                dir: cli.dir.clone(),
                partitions: partitions as usize,
                batch_bytes,
                threads: cli.threads as usize,
                journal_bytes: cli.journal_mib << 20,
                rounds_max: cli.rounds,
                time_max: Duration::from_secs(cli.seconds),
            };
            add_rows(&mut table, &setting)?;
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}

/// A row for each way; ratios are to the first one's rounds per second.
fn add_rows(table: &mut Table, setting: &Setting) -> Result<(), String> {
    let mut first = None;
    for way in WAYS {
        let named = |error| format!("{} partitions, {}: {error}", setting.partitions, way.name());
        let measured = rounds::measure(way, setting).map_err(named)?;
        let rate = measured.rounds_per_s();
        let ratio = rate / *first.get_or_insert(rate);
        eprintln!("{} partitions, {}: {rate:.1} rounds/s", setting.partitions, way.name());
        table.add_row([
            format!("{} KiB", setting.batch_bytes / 1024),
            setting.partitions.to_string(),
            way.name().to_owned(),
            measured.rounds.to_string(),
            format!("{rate:.1}"),
            micros(measured.quantile_ns(0.5)),
            micros(measured.quantile_ns(0.99)),
            checkpoints(&measured),
            format!("{ratio:.2} ×"),
        ]);
    }
    Ok(())
}

fn micros(nanoseconds: u64) -> String {
    format!("{} µs", nanoseconds / 1000)
}

fn checkpoints(measured: &Measured) -> String {
    match measured.checkpoints {
        0 => String::new(),
        count => {
            let share = 100.0 * measured.checkpoint_time.as_secs_f64() / measured.elapsed.as_secs_f64();
            format!("{count}, {share:.0} % of the time")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_commands_that_parse() {
        for line in EXAMPLES.lines().filter_map(|line| line.split_once(" -- ")) {
            let arguments = std::iter::once("journal").chain(line.1.split_whitespace());
            Cli::try_parse_from(arguments).unwrap();
        }
        assert!(Cli::try_parse_from(["journal", "--batch-bytes", "5000"]).is_err());
    }
}
