//! One run: starts the workers, lets them warm up, measures until the run's end, stops them, and adds up what they counted.
//!
//! Workers ask [`Session::phase`] before each request and report each answer to [`Session::count`]; they know nothing of each
//! other. Only what is answered between the two marks counts.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::latency::Latency;
use crate::process_usage::{ServerProcess, own_cpu};
use crate::progress;
use indicatif::ProgressBar;

/// How often the main thread looks after progress and memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A run of bytes that takes longer than this is given up.
const RUN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// When a run is over. With neither, it is over when every worker has come to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) duration: Option<Duration>,
    pub(super) bytes: Option<u64>,
}

/// What a worker may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    WarmUp = 0,
    Measuring = 1,
    Stopped = 2,
}

/// What workers counted while it counted.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// From the moment a request should have left to its answer.
    pub(super) latency: Latency,
    /// How much later than it should a request left: the generator's own share of the latency.
    pub(super) lateness: Latency,
}

/// A whole run's result.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) elapsed: Duration,
    pub(super) tally: Tally,
    pub(super) client_cpu: Duration,
    pub(super) server: Option<ServerUsage>,
}

#[derive(Debug)]
pub(super) struct ServerUsage {
    pub(super) cpu: Duration,
    pub(super) anonymous_bytes_max: u64,
}

/// The moment from which all counts.
#[derive(Debug)]
struct Opened {
    at: Instant,
    client_cpu: Duration,
    server_cpu: Option<Duration>,
}

/// What the workers of one run share.
#[derive(Debug)]
pub(super) struct Session {
    warm_up: Duration,
    ending: Ending,
    server: Option<ServerProcess>,
    phase: AtomicU8,
    /// Of all workers, while measuring.
    bytes: AtomicU64,
    active_workers: AtomicUsize,
    /// When the last byte that was asked for came, or the last worker ended.
    ended: OnceLock<Instant>,
    main_thread: Thread,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally { records: 0, bytes: 0, latency: Latency::new(), lateness: Latency::new() }
    }

    fn merge(&mut self, other: &Tally) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.latency.merge(&other.latency);
        self.lateness.merge(&other.lateness);
    }
}

impl Session {
    /// To be made on the thread that will call [`run`](Self::run).
    pub(super) fn new(warm_up: Duration, ending: Ending, server: Option<ServerProcess>) -> Session {
        Session {
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

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::WarmUp,
            1 => Phase::Measuring,
            _ => Phase::Stopped,
        }
    }

    /// Adds an answer to the worker's own tally, if the clock runs, and ends the run if it was the last one asked for.
    pub(super) fn count(&self, tally: &mut Tally, records: u64, bytes: u64) {
        if self.phase() != Phase::Measuring {
            return;
        }
        tally.records += records;
        tally.bytes += bytes;
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.ending.bytes.is_some_and(|asked| total >= asked) {
            self.end();
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
    pub(super) fn run<W>(&self, title: &str, workers: Vec<W>) -> Result<Measured, String>
    where
        W: FnOnce(&Session) -> Result<Tally, String> + Send,
    {
        self.active_workers.store(workers.len(), Ordering::Release);
        // Before the first request: a short load may be over by the time that this thread runs again.
        let opened = if self.warm_up.is_zero() { Some(self.open_clock()?) } else { None };
        thread::scope(|scope| {
            let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(|| self.work(worker))).collect();
            let watched = self.watch(title, opened);
            // Also where the broker's usage could not be read: the workers must not run on.
            self.end();
            let mut tally = Tally::new();
            for worker in threads {
                tally.merge(&worker.join().expect("a worker does not panic")?);
            }
            let (elapsed, client_cpu, server) = watched?;
            if tally.bytes == 0 {
                return Err("nothing was measured: the run ended before the first answer".to_owned());
            }
            Ok(Measured { elapsed, tally, client_cpu, server })
        })
    }

    fn work(&self, worker: impl FnOnce(&Session) -> Result<Tally, String>) -> Result<Tally, String> {
        let tally = worker(self);
        // One that failed ends the run: a load with a missing connection is none.
        if self.active_workers.fetch_sub(1, Ordering::AcqRel) == 1 || tally.is_err() {
            self.end();
        }
        tally
    }

    /// What was used until now, from which the run's own usage counts.
    fn open_clock(&self) -> Result<Opened, String> {
        let server_cpu = self.server.map(ServerProcess::cpu).transpose().map_err(|error| error.to_string())?;
        // A worker may have failed meanwhile, which must not be overwritten.
        let _ = self.phase.compare_exchange(
            Phase::WarmUp as u8,
            Phase::Measuring as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        Ok(Opened { at: Instant::now(), client_cpu: own_cpu(), server_cpu })
    }

    /// Opens the clock after the warm-up and closes it, looking after progress and the broker's memory meanwhile.
    fn watch(&self, title: &str, opened: Option<Opened>) -> Result<(Duration, Duration, Option<ServerUsage>), String> {
        let Opened { at: started, client_cpu: client_cpu_before, server_cpu: server_cpu_before } = match opened {
            Some(opened) => opened,
            None => {
                self.sleep_through(Instant::now() + self.warm_up, |_| Ok(()))?;
                self.open_clock()?
            }
        };
        let bar = self.progress_bar(title);
        let mut anonymous_bytes_max = 0;
        let deadline = started + self.ending.duration.unwrap_or(RUN_TIME_MAX);
        self.sleep_through(deadline, |now| {
            bar.set_position(self.position(now - started));
            if let Some(server) = self.server {
                anonymous_bytes_max =
                    anonymous_bytes_max.max(server.anonymous_bytes().map_err(|error| error.to_string())?);
            }
            Ok(())
        })?;
        self.phase.store(Phase::Stopped as u8, Ordering::Release);
        let elapsed = self.ended.get_or_init(Instant::now).saturating_duration_since(started);
        let client_cpu = own_cpu().saturating_sub(client_cpu_before);
        bar.finish_and_clear();
        let server_cpu = self.server.map(ServerProcess::cpu).transpose().map_err(|error| error.to_string())?;
        let server = server_cpu
            .zip(server_cpu_before)
            .map(|(after, before)| ServerUsage { cpu: after.saturating_sub(before), anonymous_bytes_max });
        Ok((elapsed, client_cpu, server))
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

    type TestWorker = fn(&Session) -> Result<Tally, String>;

    fn answer_until_stopped(session: &Session) -> Result<Tally, String> {
        let mut tally = Tally::new();
        while session.phase() != Phase::Stopped {
            thread::sleep(Duration::from_micros(100));
            session.count(&mut tally, 1, 10);
        }
        Ok(tally)
    }

    #[test]
    fn a_run_of_bytes_ends_when_they_have_come() {
        let session = Session::new(Duration::ZERO, Ending { duration: None, bytes: Some(1000) }, None);
        let measured = session.run("test", vec![answer_until_stopped, answer_until_stopped]).unwrap();
        assert!((1000..1100).contains(&measured.tally.bytes), "{measured:?}");
    }

    #[test]
    fn the_warm_up_does_not_count() {
        let ending = Ending { duration: Some(Duration::from_millis(20)), bytes: None };
        let session = Session::new(Duration::from_millis(60), ending, None);
        let measured = session.run("test", vec![answer_until_stopped]).unwrap();
        // Each answer takes at least 100 µs, so more of them would be those of the warm-up.
        assert!(u128::from(measured.tally.records) <= measured.elapsed.as_micros() / 100 + 1, "{measured:?}");
    }

    #[test]
    fn a_failed_worker_ends_the_run_for_all() {
        let session =
            Session::new(Duration::ZERO, Ending { duration: Some(Duration::from_secs(100)), bytes: None }, None);
        let workers: Vec<TestWorker> = vec![answer_until_stopped, |_| Err("cut".to_owned())];
        assert_eq!(session.run("test", workers).map(|_| ()), Err("cut".to_owned()));
    }
}
