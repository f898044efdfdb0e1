//! `kills`: the broker is killed at random moments, while it serves, starts, recovers or stops, and started again on what is left.
//!
//! Several lanes run beside each other, each with a data directory, a broker and clients of its own, so that the waiting of one is the
//! work of another. A lane begins anew after some cycles; before that, everything that is left is read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use ringmill_checker::Event;
use tempfile::TempDir;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::broker::{Broker, Launch};
use crate::random::Random;
use crate::report::{self, Counts, Failure, Progress};
use crate::workload::{CLEANER_BACKOFF, Depth, DiskState, GROUP_SETTINGS, Ledger, World};

/// Cycles after which a lane reads everything.
const WHOLE_EVERY: u64 = 25;

/// The longest life after the looking around.
const LIFE_MS_MAX: u64 = 60;

/// Some are killed while a large request is on its way to the disk, no longer after it was sent than this.
const INTO_WRITE_US_MAX: u64 = 20_000;

/// How long after SIGTERM the process is killed at the latest, if it has not ended by then.
const STOP_MS_MAX: u64 = 60;

/// How long a stop may take that is not cut short.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What a run of some hundred cycles must have reached, or the torture is not what it says.
const MUST_REACH: [&str; 13] = [
    "kills while serving",
    "kills during the start",
    "kills during a stop",
    "clean stops",
    "records acknowledged",
    "segments rolled",
    "segments removed",
    "whole readings",
    "compactions",
    "records superseded",
    "shares of groups",
    "offsets committed",
    "commits found",
];

/// From how many cycles on [`MUST_REACH`] holds.
const MUST_REACH_FROM: u64 = 400;

/// What takes more cycles to be sure of: a kill in the middle of a write, and one between two steps of a swap.
const MUST_REACH_IN_TIME: [&str; 2] = ["torn tails cut", "swaps completed at a start"];

/// From how many cycles on [`MUST_REACH_IN_TIME`] holds.
const MUST_REACH_IN_TIME_FROM: u64 = 5_000;

/// Kill the broker at random moments and compare what it has with what it promised
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill-torture kills target/release --cycles 20000
  ringmill-torture kills target/checked --cycles 500 --seed 7 --lanes 1 --keep /tmp/histories

Each cycle starts the broker on what the last one left, looks whether all that was promised is there, writes and reads, and kills it.
A broken promise ends the run; data directory, log and history are then left behind and named.")]
pub(crate) struct Kills {
    /// The directory with the program `ringmill`
    #[arg(value_name = "BINARY_DIR")]
    binaries: PathBuf,
    /// How often to kill
    #[arg(long, default_value_t = 400)]
    cycles: u64,
    /// Decides everything that the operating system does not
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Brokers beside each other
    #[arg(long, default_value_t = 4)]
    lanes: u64,
    /// Cycles on one data directory
    #[arg(long, default_value_t = 250)]
    renew: u64,
    /// Where the data directories are made
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// How the broker uses files and sockets: uring, posix, or both (every second lane)
    #[arg(long, default_value = "uring")]
    io: String,
    /// Keep the histories of good runs too, here
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// What the lanes share.
struct Run<'a> {
    options: &'a Kills,
    begun: AtomicU64,
    /// A promise was broken, or somebody has asked to end: no lane begins another cycle.
    enough: Arc<AtomicBool>,
    told: Mutex<(u64, Counts, Progress)>,
}

impl Kills {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let binary = self.binaries.join("ringmill");
        if !binary.is_file() {
            return Err(Failure::NotPossible(format!("{} is not there: build it first", binary.display())));
        }
        let told = Mutex::new((0, Counts::default(), Progress::new("kills", self.cycles)));
        let run = Run { options: self, begun: AtomicU64::new(0), enough: report::interrupted()?, told };
        let outcomes: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..self.lanes.max(1))
                .map(|lane| {
                    scope.spawn({
                        let run = &run;
                        move || run.lane(lane)
                    })
                })
                .collect();
            lanes.into_iter().map(|lane| lane.join().expect("a lane that panics is a bug of the torture")).collect()
        });
        let (done, counts, progress) = run.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        progress.end(done, &counts);
        outcomes.into_iter().collect::<Result<(), Failure>>()?;
        let mut missing = Vec::new();
        for (from, wanted) in [(MUST_REACH_FROM, &MUST_REACH[..]), (MUST_REACH_IN_TIME_FROM, &MUST_REACH_IN_TIME)] {
            missing.extend(counts.missing(if done >= from { wanted } else { &[] }));
        }
        if !missing.is_empty() {
            return Err(Failure::NotPossible(format!("never reached: {}", missing.join(", "))));
        }
        Ok(())
    }
}

impl Run<'_> {
    /// One data directory after the other, until enough cycles were begun or a promise was broken.
    fn lane(&self, lane: u64) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::not_possible("the runtime"))?;
        let mut random = Random::new(self.options.seed.wrapping_mul(1_000_003).wrapping_add(lane));
        while self.begun.load(Ordering::Relaxed) < self.options.cycles && !self.enough.load(Ordering::Relaxed) {
            let dir = TempDir::with_prefix_in("ringmill-kills-", &self.options.dir);
            let dir = dir.map_err(Failure::not_possible(self.options.dir.display()))?;
            let outcome = LocalSet::new().block_on(&runtime, self.directory(lane, dir.path(), random.branch()));
            if let Err(failure) = outcome {
                self.enough.store(true, Ordering::Relaxed);
                return Err(left_behind(failure, dir));
            }
        }
        Ok(())
    }

    async fn directory(&self, lane: u64, dir: &Path, mut random: Random) -> Result<(), Failure> {
        let Kills { seed, .. } = self.options;
        let ledger = Ledger::begin(&dir.join("history.jsonl"), format!("kills --seed {seed}, lane {lane}"))?;
        let mut life = Lives {
            launch: self.launch(dir, lane),
            world: World::new(ledger.clone(), random.branch()),
            ledger,
            random,
            start_ms: 50,
            segments: BTreeSet::new(),
        };
        let mut since_whole = 0;
        for _ in 0..self.options.renew {
            if self.enough.load(Ordering::Relaxed) || self.begun.fetch_add(1, Ordering::Relaxed) >= self.options.cycles
            {
                break;
            }
            since_whole += 1;
            let depth = if since_whole >= WHOLE_EVERY { Depth::Whole } else { Depth::New };
            if life.cycle(depth).await? && depth == Depth::Whole {
                since_whole = 0;
            }
            life.count_segments();
            self.tell(1, &life.ledger);
        }
        life.last_look().await?;
        self.tell(0, &life.ledger);
        life.ledger.finish()?;
        self.keep(dir, lane)
    }

    fn launch(&self, dir: &Path, lane: u64) -> Launch {
        let settings = ["ringmill.unsynced.bytes.max=2097152", CLEANER_BACKOFF].into_iter().chain(GROUP_SETTINGS);
        Launch {
            binary: self.options.binaries.join("ringmill"),
            data_dir: dir.join("data"),
            log: dir.join("broker.log"),
            io: match &*self.options.io {
                "both" if lane.is_multiple_of(2) => "uring".to_owned(),
                "both" => "posix".to_owned(),
                one => one.to_owned(),
            },
            cores: 2,
            settings: settings.map(str::to_owned).collect(),
        }
    }

    fn tell(&self, cycles: u64, ledger: &Ledger) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, counts, progress) = &mut *told;
        *done += cycles;
        counts.merge(&ledger.take_counts());
        progress.at(*done, counts);
    }

    fn keep(&self, dir: &Path, lane: u64) -> Result<(), Failure> {
        let Some(keep) = &self.options.keep else { return Ok(()) };
        let name = format!("kills-{}-{lane}-{}.jsonl", self.options.seed, self.begun.load(Ordering::Relaxed));
        let kept =
            std::fs::create_dir_all(keep).and_then(|()| std::fs::copy(dir.join("history.jsonl"), keep.join(name)));
        kept.map(drop).map_err(Failure::not_possible(keep.display()))
    }
}

/// After a failure everything stays where it is.
fn left_behind(failure: Failure, dir: TempDir) -> Failure {
    let path = dir.keep();
    match failure {
        Failure::Broken(words) => Failure::Broken(format!("{words}\ndata, log and history: {}", path.display())),
        Failure::NotPossible(words) => Failure::NotPossible(format!("{words} ({})", path.display())),
        Failure::Skipped(words) => Failure::Skipped(words),
    }
}

/// The lives of the broker on one data directory.
struct Lives {
    launch: Launch,
    world: World,
    ledger: Ledger,
    random: Random,
    /// How long starts take here, about.
    start_ms: u64,
    /// Segments that were there at the last look.
    segments: BTreeSet<PathBuf>,
}

impl Lives {
    /// From a start to a kill. True if the start was looked at in full.
    async fn cycle(&mut self, depth: Depth) -> Result<bool, Failure> {
        let begun = Instant::now();
        let mut broker = self.launch.start()?;
        let early = match (depth, self.random.below(6)) {
            // Somewhere in the start, or soon after it.
            (Depth::New, 0) => Duration::from_millis(self.random.below(self.start_ms * 5 / 4)),
            _ => Duration::MAX,
        };
        let address = tokio::select! {
            biased;
            ready = broker.ready() => Some(ready),
            () = sleep(early) => None,
        };
        let Some(address) = address else {
            self.kill(&mut broker, "kills during the start").await?;
            return Ok(false);
        };
        let Some(address) = address else {
            return Err(broken("the broker did not start", &broker));
        };
        self.start_ms = (self.start_ms * 7 + elapsed_ms(begun)) / 8;
        // Some are killed while they are looked at.
        let glance = if depth == Depth::New && self.random.once_in(20) { self.random.below(4) } else { 60_000 };
        let booted = tokio::select! {
            biased;
            booted = self.world.boot(address, depth, DiskState::Sound) => Some(booted),
            () = sleep(Duration::from_millis(glance)) => None,
        };
        match booted {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.ledger.check()?;
                return Err(broken(&format!("what was left cannot be looked at: {error}"), &broker));
            }
            None => {
                self.kill(&mut broker, "kills after the start").await?;
                return Ok(false);
            }
        }
        self.ledger.check()?;
        let life = Duration::from_millis(1 + self.random.below(LIFE_MS_MAX));
        let stop = self.random.once_in(8).then(|| Duration::from_millis(self.random.below(STOP_MS_MAX)));
        let (ledger, aims_at_write, per_mille) =
            (self.ledger.clone(), self.random.once_in(3), self.random.below(1_000));
        let end = self.world.live(address, async {
            tokio::select! {
                biased;
                answered_us = ledger.large_sent(), if aims_at_write => {
                    // tokio's timers are too coarse for this, and there is nothing else to do.
                    let wait_us = (answered_us * per_mille / 1_000).min(INTO_WRITE_US_MAX);
                    std::thread::sleep(Duration::from_micros(wait_us));
                }
                () = sleep(life) => {}
            }
            end(&mut broker, stop).await
        });
        let end = end.await;
        self.after(&broker, end)?;
        Ok(true)
    }

    async fn kill(&mut self, broker: &mut Broker, how: &'static str) -> Result<(), Failure> {
        let killed = broker.kill().await;
        self.after(broker, killed.map(|()| End::Killed(how)).map_err(|status| format!("it ended by itself: {status}")))
    }

    /// Writes down how a life ended and judges it.
    fn after(&mut self, broker: &Broker, end: Result<End, String>) -> Result<(), Failure> {
        let end = end.map_err(|words| broken(&words, broker))?;
        let (event, how) = match end {
            End::Killed(how) => (Event::Killed, how),
            End::Stopped => (Event::Stopped, "clean stops"),
        };
        self.ledger.put(event);
        self.ledger.count(how, 1);
        let said = broker.said();
        let torn = said.messages.get("a torn tail was set aside and cut").copied().unwrap_or(0);
        self.ledger.count("torn tails cut", torn);
        let compactions = said.messages.get("compacted").copied().unwrap_or(0);
        self.ledger.count("compactions", compactions);
        let swaps = said.messages.get("a compacted segment gets its place").copied().unwrap_or(0);
        self.ledger.count("swaps completed at a start", swaps);
        if !said.alarms.is_empty() {
            return Err(broken("the broker complained", broker));
        }
        self.ledger.check()
    }

    /// The last start on a directory: everything is read, and the stop is a clean one.
    async fn last_look(&mut self) -> Result<(), Failure> {
        let mut broker = self.launch.start()?;
        let Some(address) = broker.ready().await else {
            return Err(broken("the broker did not start", &broker));
        };
        let looked = self.world.boot(address, Depth::Whole, DiskState::Sound).await;
        self.ledger.check()?;
        looked.map_err(|error| broken(&format!("what was left cannot be looked at: {error}"), &broker))?;
        let end = end(&mut broker, Some(STOP_PATIENCE)).await;
        self.after(&broker, end)
    }

    /// Counts the segments that are new and those that are gone since the last look.
    fn count_segments(&mut self) {
        let mut found = BTreeSet::new();
        for partition in std::fs::read_dir(&self.launch.data_dir).into_iter().flatten().flatten() {
            let name = partition.file_name();
            if !["kept-", "rolled-", "cached-", "compacted-"]
                .iter()
                .any(|topic| name.to_string_lossy().starts_with(topic))
            {
                continue;
            }
            let files = std::fs::read_dir(partition.path()).into_iter().flatten().flatten().map(|file| file.path());
            found.extend(files.filter(|path| path.extension().is_some_and(|kind| kind == "log")));
        }
        let first =
            |path: &Path| path.file_stem().is_some_and(|base| base.to_string_lossy().bytes().all(|byte| byte == b'0'));
        let rolled = found.difference(&self.segments).filter(|path| !first(path)).count();
        let removed = self.segments.difference(&found).count();
        self.ledger.count("segments rolled", rolled as u64);
        self.ledger.count("segments removed", removed as u64);
        self.segments = found;
    }
}

/// How a life ended.
enum End {
    Killed(&'static str),
    Stopped,
}

/// Kills the broker, at once or so long after it was asked to stop; it may have stopped by then.
async fn end(broker: &mut Broker, stop: Option<Duration>) -> Result<End, String> {
    let mut how = "kills while serving";
    if let Some(patience) = stop {
        broker.ask_to_stop();
        if let Some(status) = broker.ended(patience).await {
            return if status.success() { Ok(End::Stopped) } else { Err(format!("its stop ended with {status}")) };
        }
        how = "kills during a stop";
    }
    match broker.kill().await {
        Ok(()) => Ok(End::Killed(how)),
        Err(status) if stop.is_some() && status.success() => Ok(End::Stopped),
        Err(status) => Err(format!("it ended by itself: {status}")),
    }
}

fn broken(words: &str, broker: &Broker) -> Failure {
    Failure::Broken(format!("{words}\n{}", broker.said().complaints()))
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
