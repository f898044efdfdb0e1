//! How fast one core compacts a log, in how much memory: unpaced passes over logs of several shapes, on the disk that is to hold them.
//!
//! Every pass works on a fresh copy of a log that was filled before, in a process of its own ([`pass`]): its CPU time and memory are then
//! nobody else's. What a log of a shape holds is [`shape`]'s. The broker's pacing and what clients notice are `scripts/beside-compaction`'s.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};

mod pass;
#[cfg_attr(not(test), expect(dead_code, reason = "another process's figures are not asked for"))]
#[path = "../../src/process_usage.rs"]
mod process_usage;
#[expect(dead_code, reason = "records here have their own keys and one size")]
#[path = "../../src/load/records/mod.rs"]
mod records;
mod shape;
#[expect(dead_code, reason = "a size is all that is read here")]
#[path = "../../src/units.rs"]
mod units;

use pass::Measured;
use shape::Shape;

/// As in the broker: what memory comes to depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a core is to reach.
const MB_PER_CPU_SECOND_MIN: f64 = 200.0;

/// What a pass is to get by with.
const MEMORY_MB_MAX: f64 = 64.0;

const EXAMPLES: &str = "\
Examples:
  # What compaction reaches on the disk that is to hold the log: 18 shapes, some 4 GB, three minutes.
  cargo run --release -p ringmill-bench --example compaction -- --dir /var/lib/ringmill
  # Only shapes whose name holds one of these.
  cargo run --release -p ringmill-bench --example compaction -- --shapes none-1000,zstd
  # Before and after a change: passes of the two builds in turn, and the ratio of their medians.
  cargo run --release -p ringmill-bench --example compaction -- --beside /tmp/before/release/examples/compaction
  # Whether it works here, in seconds; the figures mean nothing.
  cargo run -p ringmill-bench --example compaction -- --runs 1 --bytes 4MB --segment-bytes 1MB";

/// Measures compaction: MB of log per second of a core's CPU time and by the clock, and the memory that a pass takes.
///
/// A shape is named CODEC-VALUEBYTES-SUPERSEDED, where SUPERSEDED is `unique` (each key once, so that all stays), `half` (half of the records
/// have a later one) or `few` (a thousand keys, so that nearly nothing stays). Records are log lines, as ringmill-bench makes them.
#[derive(Debug, Parser)]
#[command(name = "compaction", after_help = EXAMPLES)]
struct Cli {
    /// Directory on the disk to measure. What is written there is removed at the end.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Records in each log, before compression.
    #[arg(long, default_value = "128MB", value_parser = units::parse_bytes)]
    bytes: u64,
    /// Values in each batch, before compression: Kafka's `batch.size` unless told otherwise.
    #[arg(long, default_value = "16KiB", value_parser = units::parse_bytes)]
    batch_bytes: u64,
    /// Size of a segment.
    #[arg(long, default_value = "16MiB", value_parser = units::parse_bytes)]
    segment_bytes: u64,
    /// Passes over each shape, shape by shape in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Only shapes with one of these in their name.
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// Another build of this program, whose passes alternate with this one's.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Makes one pass over the log in this directory and prints what it took: what every pass is made by.
    #[arg(long, hide = true)]
    pass: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.pass {
        Some(dir) => pass::make(dir, cli.segment_bytes),
        None => run(&cli),
    };
    match done {
        Ok(output) => {
            println!("{output}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("compaction: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A log that was filled, and what its passes took.
struct Subject {
    shape: Shape,
    dir: PathBuf,
    /// How many times smaller compression has made it.
    compression: f64,
    own: Vec<Measured>,
    beside: Vec<Measured>,
}

fn run(cli: &Cli) -> Result<String, String> {
    let is_wanted = |shape: &Shape| cli.shapes.is_empty() || cli.shapes.iter().any(|part| shape.name().contains(part));
    let shapes: Vec<Shape> = Shape::all().into_iter().filter(is_wanted).collect();
    if shapes.is_empty() {
        return Err(format!("no shape's name holds any of {:?}; --help says how they are named", cli.shapes));
    }
    let place = tempfile::tempdir_in(&cli.dir).map_err(|error| format!("{}: {error}", cli.dir.display()))?;
    let mut subjects = Vec::new();
    for shape in shapes {
        eprintln!("filling {}", shape.name());
        let dir = place.path().join(shape.name());
        let compression = shape.fill(&dir, cli)?;
        subjects.push(Subject { shape, dir, compression, own: Vec::new(), beside: Vec::new() });
    }
    let this = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    // Run by run and not shape by shape, so that a slow minute of the machine falls on all of them.
    for run in 1..=cli.runs {
        eprintln!("run {run} of {}", cli.runs);
        for subject in &mut subjects {
            let measure = |program: &Path| pass::measure(program, &subject.dir, &place.path().join("pass"), cli);
            if let Some(other) = &cli.beside {
                subject.beside.push(measure(other)?);
            }
            subject.own.push(measure(&this)?);
        }
    }
    Ok(format!("{}\n{LEGEND}", table(&subjects)))
}

const LEGEND: &str = "\
MB/s: of the log as it was stored, each byte counted once, although a pass reads the log twice and writes what stays; median (least to most).
CPU: user and system time of the thread that compacts, which is what a core is kept from. With workers: and of the kernel's, which sync and write.
Plain: the same of records before compression. Memory: how far the process grew at most beyond what it had before the log was opened.";

fn table(subjects: &[Subject]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let mut header: Vec<&str> = vec![
        "shape",
        "MB in",
        "MB out",
        "MB/s of CPU",
        "with workers",
        "plain",
        "by the clock",
        "memory MB",
        "reached",
    ];
    let has_other = subjects.iter().any(|subject| !subject.beside.is_empty());
    header.extend(has_other.then_some("× the other"));
    table.set_header(header);
    for Subject { shape, compression, own, beside, .. } in subjects {
        let last = own.last().expect("there is a run at least");
        let of = |what: fn(&Measured) -> f64| Spread::of(own.iter().map(what));
        let (per_cpu, memory) = (of(Measured::mb_per_cpu_second), of(Measured::memory_mb));
        let is_reached = per_cpu.median >= MB_PER_CPU_SECOND_MIN && memory.most <= MEMORY_MB_MAX;
        let mut row = vec![
            shape.name(),
            format!("{:.1}", last.mb_in()),
            format!("{:.1}", last.mb_out()),
            per_cpu.to_string(),
            of(Measured::mb_per_process_cpu_second).to_string(),
            format!("{:.0}", per_cpu.median * compression),
            of(Measured::mb_per_second).to_string(),
            format!("{:.1}", memory.most),
            if is_reached { "yes" } else { "no" }.to_owned(),
        ];
        if has_other {
            let other = Spread::of(beside.iter().map(Measured::mb_per_cpu_second));
            row.push(format!("{:.2}", per_cpu.median / other.median));
        }
        table.add_row(row);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// What several runs came to.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(runs: impl Iterator<Item = f64>) -> Spread {
        let mut runs: Vec<f64> = runs.collect();
        runs.sort_by(f64::total_cmp);
        let middle = runs.len() / 2;
        let median =
            if runs.len().is_multiple_of(2) { f64::midpoint(runs[middle - 1], runs[middle]) } else { runs[middle] };
        Spread { least: runs[0], median, most: runs[runs.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ({:.0}–{:.0})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_commands_that_parse() {
        for line in EXAMPLES.lines().filter_map(|line| line.split_once(" -- ")) {
            let arguments = std::iter::once("compaction").chain(line.1.split_whitespace());
            Cli::try_parse_from(arguments).unwrap();
        }
    }

    #[test]
    fn a_spread_is_of_all_runs_whatever_their_order() {
        let told = |runs: &[f64]| Spread::of(runs.iter().copied()).to_string();
        assert_eq!(told(&[300.0, 100.0, 200.0]), "200 (100–300)");
        assert_eq!(told(&[400.0, 100.0, 200.0, 300.0]), "250 (100–400)");
    }

    #[test]
    fn a_pass_leaves_what_the_shape_says() {
        let place = tempfile::tempdir().unwrap();
        let cli = Cli::parse_from(["compaction", "--bytes", "1MB", "--segment-bytes", "64KiB"]);
        for (name, stays) in
            [("none-100-unique", 0.99..1.01), ("lz4-100-half", 0.5..0.75), ("zstd-1000-few", 0.0..0.99)]
        {
            let shape = Shape::all().into_iter().find(|shape| shape.name() == name).unwrap();
            let dir = place.path().join(name);
            let compression = shape.fill(&dir, &cli).unwrap();
            assert_eq!(compression > 1.1, !name.starts_with("none"), "{name}: {compression}");
            let measured: Measured = pass::make(&dir, cli.segment_bytes).unwrap().parse().unwrap();
            let share = measured.mb_out() / measured.mb_in();
            assert!(stays.contains(&share), "{name}: {share} stays");
        }
    }
}
