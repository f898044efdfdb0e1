//! Runs seeds of the simulation, as many as asked, on several threads; says what they reached, and how a failing one is run again.

use std::io::IsTerminal;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use ringmill_sim::history::Counts;
use ringmill_sim::run::{Asked, run, watch_panics};
use ringmill_sim::{Theme, reached};

/// How often progress is told where output is no terminal.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Run a whole broker on a simulated machine, once per seed
#[derive(Debug, Parser)]
#[command(
    name = "ringmill-sim",
    after_help = "\
Examples:
  ringmill-sim --seeds 1000
  ringmill-sim --seeds 5000..6000 --jobs 2
  ringmill-sim --seeds 42..43 --trace
  ringmill-sim --seeds 200 --workload churn

A seed decides everything: which workloads and faults are mixed, every delay, every crash. The same seed gives the same run. A run
that breaks a promise ends the program with exit code 1 and the command that runs it again."
)]
struct Arguments {
    /// How many seeds to run, from 0 on; or a range of them, as 100..200
    #[arg(long, value_name = "N|A..B", default_value = "1000", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Give every run this theme and no other, and judge what it can reach
    #[arg(long, value_name = "NAME", value_parser = parse_theme)]
    workload: Option<Theme>,
    /// Print every event of the disk and of the clients
    #[arg(long)]
    trace: bool,
    /// Run every seed twice and compare the traces
    #[arg(long)]
    twice: bool,
    /// Go on with the other seeds when one fails
    #[arg(long)]
    keep_going: bool,
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    match text.split_once("..") {
        Some((first, end)) => Ok(number(first)?..number(end)?),
        None => Ok(0..number(text)?),
    }
}

fn parse_theme(name: &str) -> Result<Theme, String> {
    Theme::find(name).ok_or_else(|| format!("there are {}", Theme::ALL.map(Theme::name).join(", ")))
}

/// What all threads share.
struct Shared {
    arguments: Arguments,
    next: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    totals: Mutex<Counts>,
    failed: Mutex<Vec<u64>>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.trace {
        // What the broker says stands among the events of the disk.
        tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(std::io::stderr).init();
    }
    watch_panics(|info| eprintln!("{info}"));
    let shared = Shared {
        next: AtomicU64::new(arguments.seeds.start),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        totals: Mutex::default(),
        failed: Mutex::default(),
        arguments,
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..shared.arguments.jobs.max(1)).map(|_| scope.spawn(|| work(&shared))).collect();
        watch(&shared, began, || workers.iter().all(thread::ScopedJoinHandle::is_finished));
    });
    conclude(&shared, began)
}

/// Runs one seed after the other until there are none.
fn work(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= shared.arguments.seeds.end {
            return;
        }
        let asked = Asked { seed, only: shared.arguments.workload, keeps_log: shared.arguments.trace };
        let outcome = std::panic::catch_unwind(|| {
            let outcome = run(asked);
            if shared.arguments.twice {
                assert_eq!(outcome, run(asked), "seed {seed} is not the same twice");
            }
            outcome
        });
        match outcome {
            Ok(outcome) => {
                let mut totals = shared.totals.lock().expect("nobody panics with the lock");
                for (what, count) in outcome.counts {
                    *totals.entry(what).or_default() += count;
                }
            }
            Err(_) => {
                eprintln!("seed {seed} BREAKS A PROMISE; run it again: {}", replay(&shared.arguments, seed));
                shared.failed.lock().expect("nobody panics with the lock").push(seed);
                shared.stop.store(!shared.arguments.keep_going, Ordering::Relaxed);
            }
        }
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
}

fn replay(arguments: &Arguments, seed: u64) -> String {
    let workload = arguments.workload.map_or_else(String::new, |theme| format!(" --workload {theme}"));
    format!("scripts/sim --seeds {seed}..{}{workload} --trace", seed + 1)
}

/// Tells how far it is, until all have finished.
fn watch(shared: &Shared, began: Instant, finished: impl Fn() -> bool) {
    let is_terminal = std::io::stderr().is_terminal();
    let every = if is_terminal { Duration::from_secs(1) } else { PROGRESS_EVERY };
    let mut told = Instant::now();
    while !finished() {
        thread::sleep(Duration::from_millis(50));
        if told.elapsed() >= every {
            told = Instant::now();
            let done = shared.done.load(Ordering::Relaxed);
            let of = shared.arguments.seeds.end.saturating_sub(shared.arguments.seeds.start);
            let end = if is_terminal { "\r" } else { "\n" };
            eprint!("{done} of {of} seeds, {:.0} a second  {end}", done as f64 / began.elapsed().as_secs_f64());
        }
    }
}

fn conclude(shared: &Shared, began: Instant) -> ExitCode {
    let done = shared.done.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let totals = shared.totals.lock().expect("nobody panics with the lock");
    let failed = shared.failed.lock().expect("nobody panics with the lock");
    for (what, count) in &*totals {
        println!("{count:>12}  {what}");
    }
    let missing = reached::missing(done, shared.arguments.workload, &totals);
    for (what, least) in &missing {
        println!("NOT REACHED: {what}: {} of at least {least}", totals.get(what).copied().unwrap_or(0));
    }
    println!(
        "{done} seeds in {seconds:.1} s ({:.1} a second), {} broke a promise, {} states not reached",
        done as f64 / seconds,
        failed.len(),
        missing.len()
    );
    for seed in &*failed {
        println!("again: {}", replay(&shared.arguments, *seed));
    }
    if failed.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
