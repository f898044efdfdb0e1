//! One pass over a copy of a log, in a process of its own, and what it took.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmill_engine::CompactionLimits;
use ringmill_engine::clock::SystemClock;
use ringmill_engine::disk::{DiskChoice, OpenedDisk, UringOptions, block_on, open};
use ringmill_engine::log::{Compacted, CompactionConfig, Identity, Log, LogConfig, LogEnv, StartInfo};

use super::Cli;
use super::process_usage::{own_cpu, thread_cpu};

/// Of every log here.
pub(super) const IDENTITY: Identity = Identity { topic_id: [7; 16], partition: 0 };

/// Threads for plain calls, where there is no ring.
const POSIX_THREADS: usize = 2;

/// What a pass took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    bytes_before: u64,
    bytes_after: u64,
    elapsed: Duration,
    cpu: Duration,
    process_cpu: Duration,
    memory_bytes: u64,
}

#[expect(clippy::cast_precision_loss, reason = "logs and memory stay far below 2^53 bytes")]
impl Measured {
    pub(super) fn mb_in(&self) -> f64 {
        self.bytes_before as f64 / 1e6
    }

    pub(super) fn mb_out(&self) -> f64 {
        self.bytes_after as f64 / 1e6
    }

    pub(super) fn mb_per_cpu_second(&self) -> f64 {
        self.mb_in() / self.cpu.as_secs_f64()
    }

    pub(super) fn mb_per_process_cpu_second(&self) -> f64 {
        self.mb_in() / self.process_cpu.as_secs_f64()
    }

    pub(super) fn mb_per_second(&self) -> f64 {
        self.mb_in() / self.elapsed.as_secs_f64()
    }

    pub(super) fn memory_mb(&self) -> f64 {
        self.memory_bytes as f64 / 1e6
    }
}

/// A pass by `program` over a copy of the log in `log`, which `copy` names.
pub(super) fn measure(program: &Path, log: &Path, copy: &Path, cli: &Cli) -> Result<Measured, String> {
    copy_files(log, copy).map_err(|error| format!("copying {}: {error}", log.display()))?;
    let segment_bytes = cli.segment_bytes.to_string();
    let arguments =
        [&["--segment-bytes", &segment_bytes, "--pass"].map(AsRef::as_ref)[..], &[copy.as_os_str()]].concat();
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim()));
    }
    let removed = fs::remove_dir_all(copy);
    removed.map_err(|error| format!("{}: {error}", copy.display()))?;
    String::from_utf8_lossy(&output.stdout).parse()
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let path = to.join(entry.file_name());
        fs::copy(entry.path(), &path)?;
        // What is dirty would be written back at the cost of the pass.
        fs::File::open(&path)?.sync_all()?;
    }
    Ok(())
}

/// Makes a pass over the log in `dir` and prints what it took.
pub(super) fn make(dir: &Path, segment_bytes: u64) -> Result<String, String> {
    let memory_before = memory_bytes("VmRSS:")?;
    let opened = open_disk()?;
    let measured = block_on(&*opened.disk, async {
        let opening = Log::open(env(&opened), dir.to_owned(), IDENTITY, config(segment_bytes), StartInfo::default());
        let log = opening.await.map_err(|error| error.to_string())?;
        let work = async {
            let compacted = compact(&log, memory_before).await;
            log.close().await.map_err(|error| error.to_string())?;
            compacted
        };
        tokio::join!(Rc::clone(&log).drive(), work).1
    })?;
    Ok(measured.to_string())
}

async fn compact(log: &Log, memory_before: u64) -> Result<Measured, String> {
    let limits = CompactionLimits::new([1, 2]);
    // From here on the largest size counts that the process has from now on.
    fs::write("/proc/self/clear_refs", "5").map_err(|error| format!("/proc/self/clear_refs: {error}"))?;
    let (begun, cpu, process_cpu) = (Instant::now(), thread_cpu(), own_cpu());
    // In the broker everything else on the core has its turn there.
    let done = log.compact(&limits, async |_| tokio::task::yield_now().await).await;
    let (elapsed, cpu, process_cpu) = (begun.elapsed(), thread_cpu() - cpu, own_cpu() - process_cpu);
    let memory_bytes = memory_bytes("VmHWM:")?.saturating_sub(memory_before);
    match done {
        Ok(Some(Compacted { bytes_before, bytes_after, damaged: 0, outgrown: 0, .. })) if bytes_before > 0 => {
            Ok(Measured { bytes_before, bytes_after, elapsed, cpu, process_cpu, memory_bytes })
        }
        done => Err(format!("the pass had nothing to do, or not all could be read: {done:?}")),
    }
}

/// A line of `/proc/self/status`, in bytes.
fn memory_bytes(line: &str) -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    let kib =
        status.lines().find_map(|each| each.strip_prefix(line)?.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| format!("/proc/self/status has no {line}"))
}

/// The ring where it is offered, as the broker has it.
pub(super) fn open_disk() -> Result<OpenedDisk, String> {
    open(DiskChoice::Auto, UringOptions::default(), POSIX_THREADS).map_err(|error| error.to_string())
}

pub(super) fn env(opened: &OpenedDisk) -> LogEnv {
    LogEnv::new(Rc::clone(&opened.disk), Arc::new(SystemClock))
}

pub(super) fn config(segment_bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes,
        retention_ms: None,
        write_caching: true,
        compaction: Some(CompactionConfig::default()),
        ..LogConfig::default()
    }
}

/// One line, which [`FromStr`] reads back.
impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [elapsed, cpu, process_cpu] = [self.elapsed, self.cpu, self.process_cpu].map(|time| time.as_nanos());
        let Measured { bytes_before, bytes_after, memory_bytes, .. } = self;
        write!(f, "{bytes_before} {bytes_after} {memory_bytes} {elapsed} {cpu} {process_cpu}")
    }
}

impl FromStr for Measured {
    type Err = String;

    fn from_str(line: &str) -> Result<Measured, String> {
        let numbers: Result<Vec<u64>, _> = line.split_ascii_whitespace().map(str::parse).collect();
        let numbers = numbers.ok().and_then(|numbers| <[u64; 6]>::try_from(numbers).ok());
        let [bytes_before, bytes_after, memory_bytes, times @ ..] = numbers.ok_or("not the line of a pass")?;
        let [elapsed, cpu, process_cpu] = times.map(Duration::from_nanos);
        Ok(Measured { bytes_before, bytes_after, elapsed, cpu, process_cpu, memory_bytes })
    }
}
