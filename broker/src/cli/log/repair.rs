//! `ringmill log repair`: shows what mends the files of a stopped broker, and does it with `--apply`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringmill_engine::data_dir::DirLock;
use ringmill_engine::repair::{self, Action, Applied, Finding, Plan};
use ringmill_engine::verify::{self, Problem, VerifyOptions};
use serde_json::{Value, json};

use super::metadata::Surroundings;
use super::{cannot_read, problem_json, problem_text};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::{OutputFormat, OutputOption};

/// Show what would mend the files, and do it with --apply
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill log repair ./data                         # shows what it would do and changes nothing
  ringmill log repair ./data --apply
  ringmill log repair ./data/logs-0 --apply -o json

Everything that a checksum vouches for is kept at its offset. Damaged batches give way to an empty one over the same offsets, which
consumers step over; damaged indexes are rebuilt; checkpoints and producer snapshots are removed, for the start can do without them;
a damaged partition.meta is made anew out of the batches. What is lost is said: offsets, file, position, bytes.

The broker must be stopped. Every file that is changed or removed is kept as it was in PATH/before-repair.N (beside a partition's
directory, if that is PATH). A repair that was interrupted is finished by running it again. A segment is written anew beside the old
one, so that as much space as the largest damaged segment must be free. The metadata database is not repaired: restore it from a backup.
Exit code 6: there is something to be repaired, or something that cannot be.")]
pub(in crate::cli) struct Repair {
    /// What to repair: a data directory or a partition's directory
    path: PathBuf,
    /// Do it
    #[arg(long)]
    apply: bool,
    /// The broker's number, for a superblock that is damaged and made anew
    #[arg(long, value_name = "ID", default_value_t = 1, value_parser = clap::value_parser!(i32).range(0..))]
    node_id: i32,
    #[command(flatten)]
    output: OutputOption,
}

impl Repair {
    pub(super) fn run(self) -> Result<(), Failure> {
        let surroundings = Surroundings::of(&self.path);
        // Before the plan is made: what it was made of must not change any more.
        let _lock = match (&surroundings.data_dir, self.apply) {
            (Some(data_dir), true) => {
                let lock = DirLock::take(data_dir, LOCK_PATIENCE)
                    .map_err(|error| Failure::refused(format!("nothing was changed: {error}")))?;
                Some(lock)
            }
            _ => None,
        };
        let (known, metadata_problem) = surroundings.known(self.node_id);
        let mut plan = repair::plan(&self.path, &known).map_err(|error| cannot_read(&self.path, &error))?;
        plan.left.extend(metadata_problem);
        let applied = match self.apply && !plan.is_empty() {
            true => Some(plan.apply().map_err(|error| {
                Failure::other(format!("the repair stopped at {error}; run it again, it goes on from there"))
            })?),
            false => None,
        };
        self.show(&plan, applied.as_ref())?;
        if let Some(holder) = surroundings.holder.as_ref().filter(|_| !self.apply) {
            eprintln!("ringmill: the broker is running ({holder}): what it was writing just now may look damaged");
        }
        self.judge(&plan, applied.is_some())
    }

    fn show(&self, plan: &Plan, applied: Option<&Applied>) -> Result<(), Failure> {
        match self.output.output {
            OutputFormat::Table => {
                for action in &plan.actions {
                    output::print(&format!("{}: {}\n", action.file.display(), action.what))?;
                    for finding in &action.findings {
                        output::print(&finding_text(finding))?;
                    }
                }
                for problem in &plan.left {
                    output::print(&format!("not repaired: {}", problem_text(problem)))?;
                }
                if plan.is_empty() && plan.left.is_empty() {
                    output::print("nothing is to be repaired\n")?;
                }
                if let Some(applied) = applied {
                    let (files, copies) = (applied.copied, applied.copies.display());
                    output::print(&format!("{files} files are kept as they were in {copies}\n"))?;
                }
                Ok(())
            }
            OutputFormat::Json => {
                let actions: Vec<Value> = plan.actions.iter().map(action_json).collect();
                let left: Vec<Value> = plan.left.iter().map(problem_json).collect();
                let copies = applied.map(|applied| applied.copies.display().to_string());
                let shown = json!({
                    "applied": applied.is_some(),
                    "actions": actions,
                    "not_repaired": left,
                    "copies": copies,
                });
                output::print(&format!("{shown:#}\n"))
            }
        }
    }

    fn judge(&self, plan: &Plan, applied: bool) -> Result<(), Failure> {
        let (count, left) = (plan.actions.len(), plan.left.len());
        if applied {
            let report = verify::verify(&self.path, VerifyOptions::default());
            let report = report.map_err(|error| cannot_read(&self.path, &error))?;
            let still: Vec<&Problem> = report.problems().collect();
            if let Some(problem) = still.first() {
                let count = still.len();
                return Err(Failure::damage(format!("{count} problems are left, the first of them {problem}")));
            }
        } else if count > 0 {
            return Err(Failure::damage(format!("{count} changes would be made, none was; with --apply they are")));
        }
        match left {
            0 => Ok(()),
            _ => Err(Failure::damage(format!("{left} problems cannot be repaired here; see above"))),
        }
    }
}

/// A broker that was just stopped may hold its lock for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

fn finding_text(finding: &Finding) -> String {
    let Finding { position, bytes, lost, what } = finding;
    match lost {
        Some(lost) => format!(
            "  byte {position}, {bytes} bytes: offsets {} to {} are LOST: {what}\n",
            lost.start,
            lost.end.get() - 1
        ),
        None => format!("  byte {position}, {bytes} bytes: {what}\n"),
    }
}

fn action_json(action: &Action) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "position": finding.position,
            "bytes": finding.bytes,
            "first_lost_offset": finding.lost.as_ref().map(|lost| lost.start.get()),
            "lost_offsets": finding.lost.as_ref().map(|lost| lost.end.since(lost.start)),
            "what": finding.what,
        })
    };
    json!({
        "file": action.file.display().to_string(),
        "what": action.what,
        "findings": action.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
