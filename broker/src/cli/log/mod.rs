//! `ringmill log`: offline looks into the files of a data directory, and their repair.
//!
//! Checks and repair are the engine's; here they are shown, with what the metadata database adds. Nothing is changed but by
//! `log repair --apply`.

mod dump;
mod metadata;
mod repair;
mod verify;

use std::io;
use std::path::Path;

use clap::Subcommand;
use ringmill_engine::verify::{Problem, ProblemKind};
use serde_json::{Value, json};

use super::failure::Failure;

/// Check, repair and print the files of a data directory
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringmill log verify ./data                         # every file of a data directory
  ringmill log verify ./data/logs-0 --records
  ringmill log repair ./data                         # what a repair would do
  ringmill log dump ./data/logs-0/00000000000000000000.log --records

PATH is a segment (.log file; not for repair), a partition's directory or a data directory. Nothing is changed but by
`repair --apply`. A running broker's newest segment may end inside a batch: stop it first, or look at closed segments.")]
pub(super) enum Log {
    /// Check every file, batch and index; exit code 6 when something is wrong
    Verify(verify::Verify),
    /// Show what would mend the files, and do it with --apply
    Repair(repair::Repair),
    /// Print every batch, one per line
    Dump(dump::Dump),
}

impl Log {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Log::Verify(verify) => verify.run(),
            Log::Repair(repair) => repair.run(),
            Log::Dump(dump) => dump.run(),
        }
    }
}

fn kind_name(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Index => "index",
        ProblemKind::Gap => "gap",
        ProblemKind::Damage => "damage",
        ProblemKind::Missing => "missing",
        ProblemKind::Unreadable => "unreadable",
        ProblemKind::Superblock => "superblock",
        ProblemKind::Meta => "meta",
        ProblemKind::Checkpoint => "checkpoint",
        ProblemKind::Snapshot => "snapshot",
        ProblemKind::Metadata => "metadata",
    }
}

fn problem_json(problem: &Problem) -> Value {
    json!({
        "kind": kind_name(problem.kind),
        "file": problem.file.display().to_string(),
        "position": problem.position,
        "what": problem.what,
        "meaning": problem.meaning,
    })
}

/// Two lines: what it is, and what it means.
fn problem_text(problem: &Problem) -> String {
    format!("{}: {problem}\n  {}\n", kind_name(problem.kind), problem.meaning)
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(_) => Failure::other(format!("cannot read {}: {error}", path.display())),
        // The engine's own words, which name the path.
        None => Failure::other(error.to_string()),
    }
}
