//! One run: starts the workers, lets them warm up, measures until the run's end, stops them, and adds up what they counted.
//!
//! Workers ask [`Meter::phase`] before each request and report each answer to [`Meter::count`]; they know nothing of each other.
//! Only what is answered between the two marks counts.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::latency::Latency;
use crate::process_usage::ServerProcess;
use crate::profile::Role;
use crate::progress;
use crate::settle;
use indicatif::ProgressBar;

use super::sampling::{Collected, Recorder, Slot, Usage};

/// How often the main thread looks after progress and memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A run of bytes that takes longer than this is given up.
const RUN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// When a run is over. With neither, it is over when every worker has come to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) duration: Option<Duration>,
    pub(crate) bytes: Option<u64>,
}

impl Ending {
    /// Whether the run takes so much that its figures are for comparing.
    fn is_long(self) -> bool {
        self.bytes.is_some_and(|bytes| bytes >= 500_000_000)
            || self.duration.is_some_and(|time| time >= Duration::from_secs(3))
    }
}

/// What a worker may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    WarmUp = 0,
    Measuring = 1,
    Stopped = 2,
}

/// A whole run's result.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) elapsed: Duration,
    pub(crate) client_cpu: Duration,
    pub(crate) server: Option<ServerUsage>,
    pub(crate) collected: Collected,
}

impl Measured {
    /// Bytes of all roles together.
    pub(crate) fn bytes(&self) -> u64 {
        self.collected.loads.iter().map(|(_, tally)| tally.bytes).sum()
    }
}

#[derive(Debug)]
pub(crate) struct ServerUsage {
    pub(crate) cpu: Duration,
    pub(crate) anonymous_bytes_max: u64,
}

/// A connection's work, from its first request to the session's end.
pub(crate) struct Worker<'a> {
    pub(crate) role: Role,
    pub(crate) work: Work<'a>,
}

/// Runs on a thread of its own.
type Work<'a> = Box<dyn FnOnce(&Meter<'_>) -> Result<(), String> + Send + 'a>;

/// What a worker knows of the session.
pub(crate) struct Meter<'s> {
    session: &'s Session,
    slot: &'s Slot,
}

impl Meter<'_> {
    pub(crate) fn phase(&self) -> Phase {
        self.session.phase()
    }

    /// Counts what an answer brought, if the clock runs, and ends the run if it was the last one asked for.
    pub(crate) fn count(&self, records: u64, bytes: u64, latency: Option<Duration>) {
        if self.phase() != Phase::Measuring {
            return;
        }
        self.slot.count(|tally| {
            tally.records += records;
            tally.bytes += bytes;
            if let Some(latency) = latency {
                tally.latency.record(latency);
            }
        });
        self.session.progress(self.slot.role, bytes);
    }

    /// Notes how long a batch took to come here.
    pub(crate) fn arrived(&self, latency: Duration) {
        if self.phase() == Phase::Measuring {
            self.slot.count(|tally| tally.latency.record(latency));
        }
    }

    /// Notes how much later than `due` a request leaves.
    pub(crate) fn leaves(&self, due: Instant) {
        if self.phase() == Phase::Measuring {
            let late = due.elapsed();
            self.slot.count(|tally| tally.lateness.get_or_insert_with(Latency::new).record(late));
        }
    }
}

/// What the workers of one run share.
#[derive(Debug)]
pub(crate) struct Session {
    warm_up: Duration,
    ending: Ending,
    server: Option<ServerProcess>,
    phase: AtomicU8,
    /// Whose bytes the run's end counts.
    leading: Role,
    /// Of the leading role, while measuring.
    bytes: AtomicU64,
    active_workers: AtomicUsize,
    /// When the last byte that was asked for came, or the last worker ended.
    ended: OnceLock<Instant>,
    main_thread: Thread,
}

impl Session {
    /// To be made on the thread that will call [`run`](Self::run).
    pub(crate) fn new(leading: Role, warm_up: Duration, ending: Ending, server: Option<ServerProcess>) -> Session {
        Session {
            leading,
            warm_up,
            ending,
            server,
            phase: AtomicU8::new(Phase::WarmUp as u8),
            bytes: AtomicU64::new(0),
            active_workers: AtomicUsize::new(0),
            ended: OnceLock::new(),
            main_thread: thread::current(),
        }
    }

    /// Lets the machine come to rest, where the run is to be compared and its server is here. Before the limits are measured, for they are
    /// to meet the same. Reading takes little memory, and must find in the cache what is there.
    pub(crate) fn settle(&self) {
        if self.server.is_some() && self.leading == Role::Produce && self.ending.is_long() {
            settle::all();
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::WarmUp,
            1 => Phase::Measuring,
            _ => Phase::Stopped,
        }
    }

    fn progress(&self, role: Role, bytes: u64) {
        if role == self.leading {
            let total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if self.ending.bytes.is_some_and(|asked| total >= asked) {
                self.end();
            }
        }
    }

    fn end(&self) {
        self.ended.get_or_init(Instant::now);
        self.phase.store(Phase::Stopped as u8, Ordering::Release);
        self.main_thread.unpark();
    }

    /// Runs all workers to the end.
    ///
    /// # Errors
    /// The first worker's that failed, or that of reading the broker's usage.
    pub(crate) fn run(&self, title: &str, workers: Vec<Worker<'_>>) -> Result<Measured, String> {
        if self.server.is_some() {
            settle::disks();
        }
        self.active_workers.store(workers.len(), Ordering::Release);
        let slots: Vec<Slot> = workers.iter().map(|worker| Slot::new(worker.role)).collect();
        // Before the first request: a short load may be over by the time that this thread runs again.
        let opened = if self.warm_up.is_zero() { Some(self.open_clock()?) } else { None };
        thread::scope(|scope| {
            let meters = slots.iter().map(|slot| Meter { session: self, slot });
            let pairs = workers.into_iter().zip(meters);
            let threads: Vec<_> = pairs.map(|(worker, meter)| scope.spawn(move || self.work(worker, &meter))).collect();
            let watched = self.watch(title, &slots, opened);
            // Also where the broker's usage could not be read: the workers must not run on.
            self.end();
            for worker in threads {
                worker.join().expect("a worker does not panic")?;
            }
            let (measured, recorder, stopped) = watched?;
            let measured = Measured { collected: recorder.finish(stopped), ..measured };
            if measured.bytes() == 0 {
                return Err("nothing was measured: the run ended before the first answer".to_owned());
            }
            Ok(measured)
        })
    }

    fn work(&self, worker: Worker<'_>, meter: &Meter<'_>) -> Result<(), String> {
        let outcome = (worker.work)(meter);
        // One that failed ends the run: a load with a missing connection is none.
        if self.active_workers.fetch_sub(1, Ordering::AcqRel) == 1 || outcome.is_err() {
            self.end();
        }
        outcome
    }

    /// What was used until now, from which the run's own usage counts.
    fn open_clock(&self) -> Result<Usage, String> {
        let usage = Usage::now(self.server)?;
        // A worker may have failed meanwhile, which must not be overwritten.
        let _ = self.phase.compare_exchange(
            Phase::WarmUp as u8,
            Phase::Measuring as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        Ok(usage)
    }

    /// Opens the clock after the warm-up and closes it, looking after progress and the broker's usage meanwhile. The recorder
    /// still has to take in what was counted until it stopped.
    fn watch<'s>(
        &self,
        title: &str,
        slots: &'s [Slot],
        opened: Option<Usage>,
    ) -> Result<(Measured, Recorder<'s>, Usage), String> {
        let opened = match opened {
            Some(opened) => opened,
            None => {
                self.sleep_through(Instant::now() + self.warm_up, |_| Ok(()))?;
                self.open_clock()?
            }
        };
        let bar = self.progress_bar(title);
        let length = self.ending.bytes.map_or(self.ending.duration, |_| None);
        let mut recorder = Recorder::new(slots, self.server, length, opened);
        let deadline = opened.at + self.ending.duration.unwrap_or(RUN_TIME_MAX);
        self.sleep_through(deadline, |now| {
            if let Some(shown) = recorder.look(now)? {
                bar.set_message(shown);
            }
            bar.set_position(self.position(now.saturating_duration_since(opened.at)));
            Ok(())
        })?;
        self.phase.store(Phase::Stopped as u8, Ordering::Release);
        let ended = *self.ended.get_or_init(Instant::now);
        let elapsed = ended.saturating_duration_since(opened.at);
        let stopped = Usage { at: ended, ..Usage::now(self.server)? };
        let (client_cpu, server_cpu) = stopped.since(&opened);
        bar.finish_and_clear();
        let server = server_cpu.map(|cpu| ServerUsage { cpu, anonymous_bytes_max: recorder.server_memory_bytes_max });
        Ok((Measured { elapsed, client_cpu, server, collected: Collected::default() }, recorder, stopped))
    }

    /// Returns at `deadline` or when the run has ended; calls `look` at the start and every so often.
    fn sleep_through(
        &self,
        deadline: Instant,
        mut look: impl FnMut(Instant) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            let now = Instant::now();
            look(now)?;
            if now >= deadline || self.phase() == Phase::Stopped {
                return Ok(());
            }
            thread::park_timeout(LOOK_INTERVAL.min(deadline - now));
        }
    }

    fn progress_bar(&self, title: &str) -> ProgressBar {
        match (self.ending.bytes, self.ending.duration) {
            (Some(bytes), _) => progress::bytes_bar(title, bytes),
            (None, Some(duration)) => progress::time_bar(title, duration),
            (None, None) => progress::bytes_spinner(title),
        }
    }

    fn position(&self, elapsed: Duration) -> u64 {
        match self.ending {
            Ending { bytes: None, duration: Some(_) } => u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            Ending { .. } => self.bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestWork = fn(&Meter<'_>) -> Result<(), String>;

    fn answer_until_stopped(meter: &Meter<'_>) -> Result<(), String> {
        while meter.phase() != Phase::Stopped {
            thread::sleep(Duration::from_micros(100));
            meter.count(1, 10, None);
        }
        Ok(())
    }

    fn run(warm_up: Duration, ending: Ending, works: &[(Role, TestWork)]) -> Result<Measured, String> {
        let worker = |&(role, work): &(Role, TestWork)| Worker { role, work: Box::new(work) };
        Session::new(Role::Produce, warm_up, ending, None).run("test", works.iter().map(worker).collect())
    }

    #[test]
    fn a_run_of_bytes_ends_when_the_leading_role_has_them() {
        let ending = Ending { duration: None, bytes: Some(1000) };
        let works: [(Role, TestWork); 3] = [
            (Role::Produce, answer_until_stopped),
            (Role::Produce, answer_until_stopped),
            (Role::Consume, |meter| {
                meter.count(1, 5000, None);
                Ok(())
            }),
        ];
        let measured = run(Duration::ZERO, ending, &works).unwrap();
        let (role, tally) = &measured.collected.loads[0];
        assert!(*role == Role::Produce && (1000..1100).contains(&tally.bytes), "{measured:?}");
        assert_eq!(measured.collected.loads[1].1.bytes, 5000);
    }

    #[test]
    fn the_warm_up_does_not_count() {
        let ending = Ending { duration: Some(Duration::from_millis(20)), bytes: None };
        let measured = run(Duration::from_millis(60), ending, &[(Role::Produce, answer_until_stopped)]).unwrap();
        let records = measured.collected.loads[0].1.records;
        // Each answer takes at least 100 µs, so more of them would be those of the warm-up.
        assert!(u128::from(records) <= measured.elapsed.as_micros() / 100 + 1, "{measured:?}");
    }

    #[test]
    fn a_failed_worker_ends_the_run_for_all() {
        let ending = Ending { duration: Some(Duration::from_secs(100)), bytes: None };
        let works: [(Role, TestWork); 2] =
            [(Role::Produce, answer_until_stopped), (Role::Produce, |_| Err("cut".to_owned()))];
        assert_eq!(run(Duration::ZERO, ending, &works).map(|_| ()), Err("cut".to_owned()));
    }
}
