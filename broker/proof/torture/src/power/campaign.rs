//! Many cycles on many file systems, in lanes beside each other; `power` and `disk` differ only in what lies under the file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use tokio::task::LocalSet;

use super::evidence;
use super::file_system::Kind;
use super::lives::{Lives, Next};
use super::rig::Rig;
use crate::namespace;
use crate::random::Random;
use crate::report::{Counts, Failure, Progress};
use crate::workload::Depth;

/// Cycles after which a lane reads everything.
const WHOLE_EVERY: u64 = 20;

/// From how many cycles on it is judged whether a run has reached what it is for.
const MUST_REACH_FROM: u64 = 400;

/// How much memory images and mounts may take.
const ROOM_BYTES: u64 = 8 << 30;

/// What the user may choose.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory with the program `ringmill`
    #[arg(value_name = "BINARY_DIR")]
    binaries: PathBuf,
    /// How often to cut
    #[arg(long, default_value_t = 150)]
    cycles: u64,
    /// Decides everything that the operating system does not
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file system; both, in turns, if left out
    #[arg(long, value_enum)]
    fs: Option<Kind>,
    /// Brokers beside each other
    #[arg(long, default_value_t = 2)]
    lanes: u64,
    /// Cycles on one file system
    #[arg(long, default_value_t = 50)]
    renew: u64,
}

impl Options {
    /// Whether any of the file systems is ext4.
    pub(crate) fn has_ext4(&self) -> bool {
        self.fs != Some(Kind::Xfs)
    }
}

/// A run.
pub(crate) struct Campaign<'a> {
    pub(crate) name: &'static str,
    pub(crate) options: &'a Options,
    /// Whether the failing disk lies under the file systems.
    pub(crate) is_torn: bool,
    pub(crate) must_reach: &'a [&'static str],
}

/// What the lanes share.
struct Run<'a> {
    campaign: &'a Campaign<'a>,
    room: &'a Path,
    begun: AtomicU64,
    broken: AtomicBool,
    told: Mutex<(u64, Counts, Progress)>,
}

impl Campaign<'_> {
    /// # Errors
    /// When a promise was broken, or the run did not reach what it is for, or this machine cannot do it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let binary = self.options.binaries.join("ringmill");
        if !binary.is_file() {
            return Err(Failure::NotPossible(format!("{} is not there: build it first", binary.display())));
        }
        let programs: Vec<String> = self.kinds().iter().map(|kind| format!("mkfs.{kind}")).collect();
        let mut programs: Vec<&str> = programs.iter().map(String::as_str).collect();
        programs.push("mount");
        let room = namespace::enter(&programs, ROOM_BYTES).map_err(Failure::Skipped)?;
        let told = Mutex::new((0, Counts::default(), Progress::new(self.name, self.options.cycles)));
        let (begun, broken) = (AtomicU64::new(0), AtomicBool::new(false));
        let run = Run { campaign: self, room: room.path(), begun, broken, told };
        let outcomes: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let run = &run;
            let lanes: Vec<_> =
                (0..self.options.lanes.max(1)).map(|lane| scope.spawn(move || run.lane(lane))).collect();
            lanes.into_iter().map(|lane| lane.join().expect("a lane that panics is a bug of the torture")).collect()
        });
        let (done, counts, progress) = run.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        progress.end(done, &counts);
        outcomes.into_iter().collect::<Result<(), Failure>>()?;
        let missing = counts.missing(self.must_reach);
        if self.options.cycles >= MUST_REACH_FROM && !missing.is_empty() {
            return Err(Failure::NotPossible(format!("never reached: {}", missing.join(", "))));
        }
        Ok(())
    }

    fn kinds(&self) -> Vec<Kind> {
        self.options.fs.map_or_else(|| vec![Kind::Ext4, Kind::Xfs], |kind| vec![kind])
    }
}

impl Run<'_> {
    /// One file system after the other, until enough cycles were begun or a promise was broken.
    fn lane(&self, lane: u64) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::not_possible("the runtime"))?;
        let options = self.campaign.options;
        let mut random = Random::new(options.seed.wrapping_mul(1_000_003).wrapping_add(lane));
        let kinds = self.campaign.kinds();
        let mut turn = usize::try_from(lane).expect("a handful of lanes");
        while self.begun.load(Ordering::Relaxed) < options.cycles && !self.broken.load(Ordering::Relaxed) {
            let dir = self.room.join(format!("lane-{lane}"));
            fs::create_dir_all(&dir).map_err(Failure::not_possible(dir.display()))?;
            let kind = kinds[turn % kinds.len()];
            turn += 1;
            let outcome = LocalSet::new().block_on(&runtime, self.file_system(kind, &dir, lane, random.branch()));
            if outcome.is_err() {
                self.broken.store(true, Ordering::Relaxed);
                return outcome;
            }
            fs::remove_dir_all(&dir).map_err(Failure::not_possible(dir.display()))?;
        }
        Ok(())
    }

    async fn file_system(&self, kind: Kind, dir: &Path, lane: u64, mut random: Random) -> Result<(), Failure> {
        let Campaign { name, options, is_torn, .. } = self.campaign;
        let rig =
            if *is_torn { Rig::on_torn_disk(kind, dir, &mut random)? } else { Rig::on_image(kind, dir, &mut random)? };
        let words = format!("{name} --seed {}, lane {lane}", options.seed);
        let mut lives = Lives::begin(rig, options.binaries.join("ringmill"), dir, words, random)?;
        let outcome = self.cycles(&mut lives).await;
        self.tell(0, &lives);
        match outcome {
            Ok(()) => lives.ledger().finish(),
            Err(failure) => Err(self.left_behind(failure, &lives, dir)),
        }
    }

    async fn cycles(&self, lives: &mut Lives) -> Result<(), Failure> {
        let options = self.campaign.options;
        for cycle in 1..=options.renew {
            if self.broken.load(Ordering::Relaxed) || self.begun.fetch_add(1, Ordering::Relaxed) >= options.cycles {
                break;
            }
            let depth = if cycle % WHOLE_EVERY == 0 || cycle == options.renew { Depth::Whole } else { Depth::New };
            let next = lives.cycle(depth).await?;
            self.tell(1, lives);
            if next == Next::NewFileSystem {
                break;
            }
        }
        Ok(())
    }

    fn tell(&self, cycles: u64, lives: &Lives) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, counts, progress) = &mut *told;
        *done += cycles;
        counts.merge(&lives.ledger().take_counts());
        progress.at(*done, counts);
    }

    /// After a failure everything is kept where it outlives the namespace.
    fn left_behind(&self, failure: Failure, lives: &Lives, dir: &Path) -> Failure {
        let Failure::Broken(words) = failure else { return failure };
        // Which line of the history is the broken one is judged again from the file.
        let finished = lives.ledger().finish();
        let room = self.room.file_name().unwrap_or_default().to_string_lossy();
        let what = [lives.data_dir(), &dir.join("history.jsonl"), &dir.join("broker.log")];
        match (finished, evidence::keep(&what, &format!("{room}-kept"))) {
            (Ok(()), Ok(kept)) => {
                let words = words.replace(&dir.display().to_string(), &kept.display().to_string());
                let kept = kept.display();
                Failure::Broken(format!(
                    "{words}\ndata, log and history: {kept}\njudge it again: ringmill-torture check {kept}/history.jsonl"
                ))
            }
            (Err(_), _) => Failure::Broken(format!("{words}\nthe history cannot be kept")),
            (_, Err(why)) => Failure::Broken(format!("{words}\nthe data cannot be kept: {why}")),
        }
    }
}
