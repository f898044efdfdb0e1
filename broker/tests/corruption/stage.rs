//! A data directory with a past, made once per test and copied for each flip; and the real program over it, with all that it logs.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, Offset, check_stored};
use ringmill_engine::checkpoint;
use ringmill_engine::disk::{PosixDisk, block_on};
use rustix::process::{Pid, Signal, kill_process};

use crate::Dice;
use crate::raw::process::ready_at;
use crate::raw::{Raw, now_ms};

pub(crate) const VICTIM: &str = "logs";
pub(crate) const OTHER: &str = "others";
pub(crate) const OK: i16 = 0;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Records of one batch, and bytes of each: some hundred batches make a segment of one MiB.
const RECORDS: i32 = 20;
const RECORD_BYTES: usize = 500;

/// Batches of the victim: one closed segment and a part of the next.
const BATCHES: i32 = 140;

/// The real program.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: Option<SocketAddr>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Starts it; `address` is there if it got ready.
    pub(crate) fn start(dir: &Path, scrubs: bool) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmill"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--cores", "1", "--data-dir"])
            .arg(dir)
            .args(["--set", if scrubs { "ringmill.scrub.interval.hours=1" } else { "ringmill.scrub.interval.hours=0" }])
            .args(["--set", "ringmill.scrub.bytes.per.second=1073741824"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut read = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let address = read.by_ref().find_map(|line| {
            let address = ready_at(&line);
            lines.lock().unwrap().push(line);
            address
        });
        let kept = Arc::clone(&lines);
        thread::spawn(move || read.for_each(|line| kept.lock().unwrap().push(line)));
        Running { child, address, lines }
    }

    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.address.unwrap_or_else(|| panic!("it did not start:\n{}", self.log())))
    }

    pub(crate) fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Whether a line of the log has all of these.
    pub(crate) fn says(&self, parts: &[&str]) -> bool {
        self.lines.lock().unwrap().iter().any(|line| parts.iter().all(|part| line.contains(part)))
    }

    pub(crate) fn wait_until_it_says(&self, parts: &[&str]) {
        let begun = Instant::now();
        while !self.says(parts) {
            assert!(begun.elapsed() < PATIENCE, "{parts:?} was not said:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.log());
    }

    /// Of a start that was refused.
    pub(crate) fn has_failed(&mut self) -> bool {
        self.address.is_none() && !self.child.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A batch that was acknowledged, as it lies in the log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) bytes: Vec<u8>,
}

/// How the past ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything is below the recovery point, and the stop was clean.
    Clean,
    /// Killed when a checkpoint had covered everything.
    KilledLate,
    /// Killed with batches above the recovery point.
    KilledEarly,
}

/// A data directory and what was acknowledged in it.
pub(crate) struct Past {
    dir: tempfile::TempDir,
    pub(crate) victim: Vec<Stored>,
    pub(crate) other: Vec<Stored>,
    pub(crate) recovery_point: i64,
    pub(crate) ending: Ending,
}

impl Past {
    pub(crate) fn new(ending: Ending) -> Past {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(dir.path(), false);
        let mut client = running.connect();
        // Index entries some batches apart, so that lookups walk.
        let configs = [("segment.bytes", "1048576"), ("index.interval.bytes", "35000")];
        assert_eq!(client.create_topic(VICTIM, 1, &configs), OK);
        assert_eq!(client.create_topic(OTHER, 1, &configs), OK);
        for number in 0..BATCHES {
            assert_eq!(client.produce(VICTIM, 0, batch(number)).error, OK);
            assert_eq!(client.produce(OTHER, 0, batch(number)).error, OK);
        }
        let end = i64::from(BATCHES * RECORDS);
        if ending != Ending::Clean {
            let begun = Instant::now();
            while recovery_point(dir.path()) < end {
                assert!(begun.elapsed() < PATIENCE, "no checkpoint is written");
                thread::sleep(Duration::from_millis(20));
            }
        }
        if ending == Ending::KilledEarly {
            for number in BATCHES..BATCHES + 6 {
                assert_eq!(client.produce(VICTIM, 0, batch(number)).error, OK);
            }
        }
        let (victim, other) = (read_all(&mut client, VICTIM), read_all(&mut client, OTHER));
        match ending {
            Ending::Clean => running.stop(),
            _ => running.kill(),
        }
        let recovery_point = recovery_point(dir.path());
        let past = Past { dir, victim, other, recovery_point, ending };
        assert_eq!(past.segments().len(), 2, "one closed segment and one that is written");
        past
    }

    /// A copy to be damaged.
    pub(crate) fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(self.dir.path(), copy.path());
        copy
    }

    /// Base offsets of the victim's segments.
    pub(crate) fn segments(&self) -> Vec<i64> {
        let names = fs::read_dir(self.dir.path().join("logs-0")).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let mut bases: Vec<i64> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        bases.sort_unstable();
        bases
    }

    /// The victim's batches in the closed segment, or in the last one.
    pub(crate) fn batches_in(&self, closed: bool) -> Vec<&Stored> {
        let active = self.segments()[1];
        self.victim.iter().filter(|stored| (stored.base < active) == closed).collect()
    }

    /// Where a batch lies: file below the data directory, and position.
    pub(crate) fn place(&self, stored: &Stored) -> (PathBuf, u64) {
        let base = self.segments().into_iter().rfind(|&base| base <= stored.base).unwrap();
        let before = self.victim.iter().filter(|other| other.base >= base && other.base < stored.base);
        (PathBuf::from(format!("logs-0/{base:020}.log")), before.map(|other| other.bytes.len() as u64).sum())
    }
}

fn batch(number: i32) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.producer(4711, 0, number * RECORDS);
    for record in 0..RECORDS {
        let mut dice = Dice::new(i64::from(number * RECORDS + record).unsigned_abs());
        let value: Vec<u8> = (0..RECORD_BYTES).map(|_| b'a' + u8::try_from(dice.below(26)).unwrap()).collect();
        builder.push(now_ms(), None, Some(&value), &[]);
    }
    builder.finish().freeze()
}

fn recovery_point(dir: &Path) -> i64 {
    let disk = PosixDisk::new(1).unwrap();
    let entries = block_on(&disk, checkpoint::read_all(&disk, dir)).unwrap();
    entries.iter().map(|entry| entry.recovery_point).min().map_or(0, Offset::get)
}

fn read_all(client: &mut Raw, topic: &str) -> Vec<Stored> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let fetched = client.fetch(topic, offset);
        assert_eq!(fetched.error, OK);
        let stored = whole_batches(&fetched.records);
        let Some(last) = stored.last() else { return all };
        offset = last.next;
        all.extend(stored);
    }
}

/// The batches whose checksum is right, up to the first whose is not: what a client takes.
pub(crate) fn whole_batches(mut bytes: &[u8]) -> Vec<Stored> {
    let mut batches = Vec::new();
    while let Ok(header) = check_stored(bytes) {
        let BatchHeader { base_offset, .. } = header;
        let (batch, rest) = bytes.split_at(header.total_bytes());
        batches.push(Stored { base: base_offset.get(), next: header.next_offset().get(), bytes: batch.to_vec() });
        bytes = rest;
    }
    batches
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
