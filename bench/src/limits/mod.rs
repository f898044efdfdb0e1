//! The machine's own ceilings, measured the way a broker would use the machine, but with no broker in between.
//!
//! A load's figures mean something only as a share of these, taken in the same hour on the same machine.

use std::io;
use std::path::Path;

use crate::cli::LimitsOptions;
use crate::machine;
use crate::progress;
use crate::report::{self, Case, Report, Run};

mod checksum;
mod disk_sync;
mod disk_write;
mod loopback;
pub(crate) mod scratch;
pub(crate) mod sendfile;

/// One ceiling: its line in the table, and what measures it once.
struct Limit {
    name: &'static str,
    measure: fn(&LimitsOptions) -> io::Result<Run>,
}

const LIMITS: [Limit; 13] = [
    Limit { name: "disk: O_DIRECT write, depth 1", measure: |options| disk_write::direct(options, 1) },
    Limit { name: "disk: O_DIRECT write, depth 4", measure: |options| disk_write::direct(options, 4) },
    Limit { name: "disk: buffered write, one sync", measure: disk_write::buffered },
    Limit { name: "disk: 4 KiB append+fdatasync, new blocks", measure: disk_sync::growing },
    Limit { name: "disk: 4 KiB write+fdatasync, written blocks", measure: disk_sync::written },
    Limit { name: "disk: 4 KiB O_DIRECT+O_DSYNC, written blocks", measure: disk_sync::direct },
    Limit { name: "loopback: send, 256 KiB", measure: loopback::run },
    Limit { name: "sendfile: 16 KiB", measure: |options| sendfile::run(options, 16 * 1024) },
    Limit { name: "sendfile: 64 KiB", measure: |options| sendfile::run(options, 64 * 1024) },
    Limit { name: "sendfile: 256 KiB", measure: |options| sendfile::run(options, 256 * 1024) },
    Limit { name: "sendfile: 1 MiB", measure: |options| sendfile::run(options, 1024 * 1024) },
    Limit { name: "CRC-32C: 16 KiB", measure: |_| Ok(checksum::run(16 * 1024)) },
    Limit { name: "CRC-32C: 1 MiB", measure: |_| Ok(checksum::run(1024 * 1024)) },
];

/// Measures every limit that was asked for, each once per run.
///
/// # Errors
/// When no test was asked for. One that the machine refuses (no space, no O_DIRECT) only leaves a warning with the kernel's words.
pub(crate) fn run(options: &LimitsOptions) -> Result<Report, String> {
    let wanted = |limit: &&Limit| options.only.as_ref().is_none_or(|part| limit.name.contains(part.as_str()));
    let limits: Vec<&Limit> = LIMITS.iter().filter(wanted).collect();
    if limits.is_empty() {
        let names: Vec<&str> = LIMITS.iter().map(|limit| limit.name).collect();
        return Err(format!("no test matches; there are: {}", names.join(", ")));
    }
    let mut cases: Vec<Case> =
        limits.iter().map(|limit| Case { name: limit.name.to_owned(), runs: Vec::new() }).collect();
    let bar = progress::steps_bar(u64::from(options.runs) * limits.len() as u64);
    let mut warnings = Vec::new();
    // Run by run and not test by test, so that a slow minute of the machine falls on all of them.
    for _ in 0..options.runs {
        for (limit, case) in limits.iter().zip(&mut cases) {
            bar.set_message(limit.name);
            match (limit.measure)(options) {
                Ok(run) => case.runs.push(run),
                Err(error) => warnings.push(format!("`{}` cannot be measured here: {error}", limit.name)),
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let mut conditions = machine::conditions();
    conditions.push(("directory", options.dir.display().to_string()));
    conditions.push(("file_system", machine::file_system(&options.dir)));
    cases.retain(|case| !case.runs.is_empty());
    warnings.extend(unbacked_memory(&cases));
    Ok(Report { command: "limits", conditions, cases, groups: Vec::new(), warnings, profiles: Vec::new() })
}

/// A bare sendfile in slices of 256 KiB: what a consumer's rate is to be compared with.
pub(crate) fn bare_sendfile(dir: &Path) -> Result<Run, String> {
    sendfile::run(&quick(dir), 256 * 1024).map_err(|error| format!("bare sendfile: {error}"))
}

/// An O_DIRECT write at depth 4: what a producer's rate is to be compared with.
pub(crate) fn direct_write(dir: &Path) -> Result<Run, String> {
    disk_write::direct(&quick(dir), 4).map_err(|error| format!("O_DIRECT write: {error}"))
}

/// Appends of so many bytes to new blocks, each with fdatasync: what a durable answer's latency is to be compared with.
pub(crate) fn append_sync(dir: &Path, bytes: usize) -> Result<Run, String> {
    disk_sync::growing_by(&quick(dir), bytes).map_err(|error| format!("append and fdatasync: {error}"))
}

fn quick(dir: &Path) -> LimitsOptions {
    LimitsOptions { dir: dir.to_owned(), bytes: 1_000_000_000, appends: 300, runs: 1, only: None }
}

/// A virtual machine that has to fetch memory from its host while it writes measures the host, not the disk.
fn unbacked_memory(cases: &[Case]) -> Option<String> {
    const CPU_S_PER_GB_MAX: f64 = 1.0;
    let costly = |case: &&Case| {
        case.name.starts_with("disk:") && case.median(report::SENDER_CPU).is_some_and(|cpu| cpu > CPU_S_PER_GB_MAX)
    };
    let case = cases.iter().find(costly)?;
    Some(format!("`{}` spent its time copying into memory that the host had not backed yet: run again", case.name))
}
