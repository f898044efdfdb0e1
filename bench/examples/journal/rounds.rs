//! Rounds of one batch for each partition, made durable in one of several ways, and how long they took.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::crew::{self, Crew, Task};
use super::partitions::Partitions;
use super::ring::Journal;

/// How a round becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A write and an fdatasync of each file, one after the other.
    EachInTurn,
    /// The same by several threads.
    EachAtOnce,
    /// The journal; its checkpoint is one syncfs.
    JournalSyncfs,
    /// The journal; its checkpoint is an fdatasync of each file by several threads.
    JournalSyncEach,
}

pub(super) const WAYS: [Way; 4] = [Way::EachInTurn, Way::EachAtOnce, Way::JournalSyncfs, Way::JournalSyncEach];

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::EachInTurn => "a sync of each file, in turn",
            Way::EachAtOnce => "a sync of each file, at once",
            Way::JournalSyncfs => "journal; syncfs",
            Way::JournalSyncEach => "journal; a sync of each file",
        }
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) dir: PathBuf,
    pub(super) partitions: usize,
    pub(super) batch_bytes: usize,
    pub(super) threads: usize,
    pub(super) journal_bytes: u64,
    pub(super) rounds_max: u64,
    pub(super) time_max: Duration,
}

/// Longer rounds count as this long: ten minutes.
const ROUND_NS_MAX: u64 = 600_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// What came of it.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) rounds: u64,
    /// With the last checkpoint, which belongs to no round.
    pub(super) elapsed: Duration,
    pub(super) checkpoints: u64,
    pub(super) checkpoint_time: Duration,
    round_ns: Histogram<u64>,
}

impl Measured {
    fn new() -> Measured {
        let round_ns = Histogram::new_with_bounds(1, ROUND_NS_MAX, SIGNIFICANT_DIGITS);
        Measured {
            rounds: 0,
            elapsed: Duration::ZERO,
            checkpoints: 0,
            checkpoint_time: Duration::ZERO,
            round_ns: round_ns.expect("the bounds are constants that the histogram takes"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "rounds stay far below 2^53")]
    pub(super) fn rounds_per_s(&self) -> f64 {
        self.rounds as f64 / self.elapsed.as_secs_f64()
    }

    pub(super) fn quantile_ns(&self, quantile: f64) -> u64 {
        self.round_ns.value_at_quantile(quantile)
    }
}

/// Measures one way on new files, which are gone afterwards.
///
/// # Errors
/// The disk's, and a journal in which a round has no room.
pub(super) fn measure(way: Way, setting: &Setting) -> io::Result<Measured> {
    let dir = tempfile::Builder::new().prefix(".ringmill-journal-").tempdir_in(&setting.dir)?;
    measure_in(dir.path(), way, setting)
}

fn measure_in(dir: &Path, way: Way, setting: &Setting) -> io::Result<Measured> {
    let batch = incompressible(setting.batch_bytes);
    let partitions = Partitions::create(dir, setting.partitions)?;
    let dir_file = File::open(dir)?;
    let mut journal = match way {
        Way::EachInTurn | Way::EachAtOnce => None,
        Way::JournalSyncfs | Way::JournalSyncEach => {
            Some(Journal::create(dir, setting.journal_bytes, setting.partitions, setting.batch_bytes)?)
        }
    };
    // What making the files has left to do is not to be done while the clock runs.
    rustix::fs::syncfs(&dir_file)?;
    thread::scope(|scope| {
        let crew = Crew::start(scope, partitions.files(), &batch, setting.threads);
        let bench = Bench { way, batch: &batch, partitions: &partitions, crew, dir_file: &dir_file };
        bench.run(journal.as_mut(), setting)
    })
}

/// Everything that a measurement needs, ready.
struct Bench<'a> {
    way: Way,
    batch: &'a [u8],
    partitions: &'a Partitions,
    crew: Crew,
    dir_file: &'a File,
}

impl Bench<'_> {
    fn run(&self, mut journal: Option<&mut Journal>, setting: &Setting) -> io::Result<Measured> {
        let mut measured = Measured::new();
        let mut position = 0;
        let started = Instant::now();
        while measured.rounds < setting.rounds_max && started.elapsed() < setting.time_max {
            let round_started = Instant::now();
            let end = position + self.batch.len() as u64;
            self.partitions.secure_for(position, end)?;
            self.round(journal.as_deref_mut(), position, &mut measured)?;
            let round_ns = u64::try_from(round_started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            measured.round_ns.saturating_record(round_ns);
            measured.rounds += 1;
            position = end;
        }
        if journal.is_some() {
            // A run that was too short for the journal to come round would have put off what it owes.
            self.checkpoint(&mut measured)?;
        }
        measured.elapsed = started.elapsed();
        Ok(measured)
    }

    fn round(&self, journal: Option<&mut Journal>, position: u64, measured: &mut Measured) -> io::Result<()> {
        let Some(journal) = journal else {
            let task = Task::Append { position };
            if self.way == Way::EachAtOnce {
                return self.crew.perform(task);
            }
            return self.partitions.files().iter().try_for_each(|file| crew::perform(task, file, self.batch));
        };
        if journal.is_full() {
            self.checkpoint(measured)?;
            journal.begin_anew();
        }
        journal.write(self.batch, position)?;
        self.partitions.append(self.batch, position)
    }

    /// Makes all files durable, so that the journal is needed no more.
    fn checkpoint(&self, measured: &mut Measured) -> io::Result<()> {
        let started = Instant::now();
        match self.way {
            Way::JournalSyncfs => rustix::fs::syncfs(self.dir_file)?,
            _ => self.crew.perform(Task::Sync)?,
        }
        measured.checkpoints += 1;
        measured.checkpoint_time += started.elapsed();
        Ok(())
    }
}

/// Bytes that no disk can shorten.
fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(dir: &Path) -> Setting {
        Setting {
            dir: dir.to_owned(),
            partitions: 3,
            batch_bytes: 128 * 1024,
            threads: 2,
            journal_bytes: 1 << 20,
            rounds_max: 7,
            time_max: Duration::from_secs(600),
        }
    }

    /// None where the file system of temporary files knows no O_DIRECT.
    fn measured_in(dir: &Path, way: Way) -> Option<Measured> {
        match measure_in(dir, way, &setting(dir)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                eprintln!("SKIPPED: {error}");
                None
            }
            measured => Some(measured.unwrap()),
        }
    }

    #[test]
    fn every_way_writes_the_same_files() {
        for way in WAYS {
            let dir = tempfile::tempdir().unwrap();
            let Some(measured) = measured_in(dir.path(), way) else { continue };
            assert_eq!(measured.rounds, 7, "{way:?}");
            let slowest = Duration::from_nanos(measured.quantile_ns(1.0));
            assert!(slowest > Duration::from_micros(1) && slowest < measured.elapsed * 2, "{way:?}: {slowest:?}");
            let expected = incompressible(128 * 1024).repeat(7);
            for number in 0..3 {
                let bytes = std::fs::read(dir.path().join(format!("{number}.log"))).unwrap();
                assert!(bytes.starts_with(&expected) && bytes[expected.len()..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn a_journal_that_comes_round_makes_the_files_durable_before() {
        let dir = tempfile::tempdir().unwrap();
        let Some(measured) = measured_in(dir.path(), Way::JournalSyncEach) else { return };
        // Two rounds fit into it: the third, fifth and seventh begin anew, and the end owes one.
        assert_eq!(measured.checkpoints, 4);
    }

    #[test]
    fn a_round_that_does_not_fit_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let large = Setting { partitions: 100, ..setting(dir.path()) };
        let refused = measure(Way::JournalSyncfs, &large).unwrap_err().to_string();
        assert!(refused.contains("--journal-mib") || refused.contains("Invalid"), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
