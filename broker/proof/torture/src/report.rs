//! How every subcommand tells what it does: a line of progress on standard error while it runs, one line of counts at the end, and the
//! exit code: 0 when all promises were kept, 1 when one was broken, 2 when the torture itself could not be carried out, 77 when this
//! machine is not made for it.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result as Formatted};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

/// What `scripts/lib/steps.sh` takes for skipped.
const SKIPPED: u8 = 77;

/// How often progress is told.
const PROGRESS_PERIOD: Duration = Duration::from_secs(5);

/// Why a run ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker broke a promise; the text says which, and how to look at it again.
    Broken(String),
    /// Something else did not work: no binary, no root, no space.
    NotPossible(String),
    /// This machine lacks something, and whoever asked is to hear it loudly.
    Skipped(String),
}

impl Failure {
    pub(crate) fn not_possible(what: impl Display) -> impl FnOnce(std::io::Error) -> Failure {
        move |error| Failure::NotPossible(format!("{what}: {error}"))
    }
}

/// Prints why a run failed and says so to the caller's shell.
pub(crate) fn exit_code(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Broken(text)) => {
            eprintln!("{text}");
            ExitCode::from(1)
        }
        Err(Failure::NotPossible(text)) => {
            eprintln!("ringmill-torture: {text}");
            ExitCode::from(2)
        }
        Err(Failure::Skipped(text)) => {
            eprintln!("SKIPPED: {text}");
            ExitCode::from(SKIPPED)
        }
    }
}

/// Becomes true at the first SIGINT or SIGTERM: whoever runs brokers ends them and says what was reached. The second signal ends the process.
pub(crate) fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::not_possible("the runtime for signals"))?;
    let flag = Arc::new(AtomicBool::new(false));
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        let watch = |kind| signal(kind).map_err(Failure::not_possible("signals cannot be watched"));
        (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?)
    };
    let told = Arc::clone(&flag);
    let watched = async move {
        for attempt in 1..=2 {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if attempt == 2 {
                std::process::exit(130);
            }
            eprintln!("ending; a second signal ends at once and leaves brokers behind");
            told.store(true, Ordering::Relaxed);
        }
    };
    std::thread::spawn(move || runtime.block_on(watched));
    Ok(flag)
}

/// How often each thing was reached; printed as `12 kills, 3 torn tails cut`, in the order of first mention.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    order: Vec<&'static str>,
    values: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        if !self.values.contains_key(what) {
            self.order.push(what);
        }
        *self.values.entry(what).or_default() += count;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.values.get(what).copied().unwrap_or(0)
    }

    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Counts) {
        for what in &other.order {
            self.add(what, other.of(what));
        }
    }

    /// Those that a run of this length ought to have reached and did not.
    pub(crate) fn missing(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        wanted.iter().copied().filter(|what| self.of(what) == 0).collect()
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        for (index, what) in self.order.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {what}", self.of(what))?;
        }
        Ok(())
    }
}

/// Tells how far a run has come, every few seconds.
#[derive(Debug)]
pub(crate) struct Progress {
    name: &'static str,
    total: u64,
    begun: Instant,
    told: Instant,
}

impl Progress {
    pub(crate) fn new(name: &'static str, total: u64) -> Progress {
        let now = Instant::now();
        Progress { name, total, begun: now, told: now }
    }

    /// Says where the run is, if that was not said just now.
    pub(crate) fn at(&mut self, done: u64, counts: &Counts) {
        if self.told.elapsed() >= PROGRESS_PERIOD {
            self.told = Instant::now();
            eprintln!("{} {done} of {}, {:.1}/s: {counts}", self.name, self.total, self.rate(done));
        }
    }

    /// The one line at the end.
    pub(crate) fn end(&self, done: u64, counts: &Counts) {
        let seconds = self.begun.elapsed().as_secs_f64();
        println!("{}: {done} cycles in {seconds:.0} s ({:.1}/s): {counts}", self.name, self.rate(done));
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self, done: u64) -> f64 {
        done as f64 / self.begun.elapsed().as_secs_f64().max(0.001)
    }
}
