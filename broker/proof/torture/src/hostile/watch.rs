//! What an attack costs the broker: its memory, descriptors, CPU and log, read from outside while it goes on.
//!
//! Memory is the resident anonymous part: page cache never counts.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often memory is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Listing ten thousand descriptors takes the kernel milliseconds.
const DESCRIPTORS_INTERVAL: Duration = Duration::from_millis(500);

/// A broker's process and its log.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// Its process id.
    pub(super) pid: u32,
    /// Where its standard error goes.
    pub(super) log: PathBuf,
}

/// What was seen over a window of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// The most resident anonymous memory.
    pub(super) memory_bytes: u64,
    /// The most open descriptors.
    pub(super) descriptors: usize,
    /// CPU time used, as a share of one processor.
    pub(super) cpu_percent: u64,
    /// Bytes that were added to the log.
    pub(super) log_bytes: u64,
}

impl Watched {
    /// Looks on for `length`.
    pub(super) fn window(&self, length: Duration) -> Result<Window, String> {
        let began = Instant::now();
        let (cpu_before, log_before) = (self.cpu()?, self.log_bytes());
        let mut window = Window::default();
        let mut descriptors_due = began;
        loop {
            let now = Instant::now();
            window.memory_bytes = window.memory_bytes.max(self.memory_bytes()?);
            if now >= descriptors_due {
                window.descriptors = window.descriptors.max(self.descriptors()?);
                descriptors_due = now + DESCRIPTORS_INTERVAL;
            }
            let left = length.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(LOOK_INTERVAL));
        }
        let used = (self.cpu()? - cpu_before).as_millis();
        window.cpu_percent = u64::try_from(used * 100 / began.elapsed().as_millis().max(1)).unwrap_or(u64::MAX);
        window.log_bytes = self.log_bytes() - log_before;
        Ok(window)
    }

    /// Resident anonymous memory now.
    pub(super) fn memory_bytes(&self) -> Result<u64, String> {
        let status = self.read("status")?;
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib * 1024).ok_or_else(|| "no RssAnon".to_owned())
    }

    /// Open descriptors now.
    pub(super) fn descriptors(&self) -> Result<usize, String> {
        let path = format!("/proc/{}/fd", self.pid);
        fs::read_dir(&path).map(Iterator::count).map_err(|error| format!("{path}: {error}"))
    }

    /// CPU time so far: fields 14 and 15 of `stat`, counted behind the name in brackets.
    fn cpu(&self) -> Result<Duration, String> {
        let stat = self.read("stat")?;
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }

    fn read(&self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).map_err(|error| format!("the broker is gone ({path}: {error})"))
    }
}
