//! `ringmill log verify`: what is wrong with the files of a data directory, where, and what the next start will make of it.

use std::path::PathBuf;

use clap::Args;
use ringmill_batch::DecompressLimit;
use ringmill_engine::verify::{self, Report, VerifyOptions};
use serde_json::json;

use super::metadata::{self, Surroundings};
use super::{cannot_read, problem_json, problem_text};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Rows};
use crate::cli::{OutputFormat, OutputOption};

/// Check every file, batch and index; exit code 6 when something is wrong
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill log verify ./data
  ringmill log verify ./data/logs-0 --records

Of a data directory every file is checked: superblock, recovery checkpoints, metadata database, and of each partition its meta,
segments, indexes and producer snapshots. Each problem is named with its file, its byte and what the next start will make of it.")]
pub(in crate::cli) struct Verify {
    /// What to check: a data directory, a partition's directory or a segment
    path: PathBuf,
    /// Decompress and check the records too
    #[arg(long)]
    records: bool,
    #[command(flatten)]
    output: OutputOption,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let options = VerifyOptions { records: self.records.then(DecompressLimit::default) };
        let surroundings = Surroundings::of(&self.path);
        let mut report = verify::verify(&self.path, options).map_err(|error| cannot_read(&self.path, &error))?;
        metadata::check(&surroundings, &mut report);
        let segments = segment_rows(&report);
        match self.output.output {
            OutputFormat::Table => {
                output::print(&segments.to_table())?;
                for problem in report.problems() {
                    output::print(&problem_text(problem))?;
                }
                for leftover in &report.leftovers {
                    output::print(&format!("leftover: {}: {}\n", leftover.file.display(), leftover.what))?;
                }
            }
            OutputFormat::Json => {
                let problems: Vec<_> = report.problems().map(problem_json).collect();
                let leftover =
                    |left: &verify::Leftover| json!({"file": left.file.display().to_string(), "what": left.what});
                let leftovers: Vec<_> = report.leftovers.iter().map(leftover).collect();
                let found = json!({
                    "segments": segments.to_json(),
                    "files_checked": report.files_checked,
                    "problems": problems,
                    "leftovers": leftovers,
                    "broker_running": surroundings.holder.is_some(),
                });
                output::print(&format!("{found:#}\n"))?;
            }
        }
        if let Some(holder) = &surroundings.holder {
            eprintln!("ringmill: the broker is running ({holder}): what it was writing just now may look damaged");
        }
        match report.problems().count() {
            0 => Ok(()),
            count => Err(Failure::damage(format!(
                "{count} problems were found; nothing was changed. `ringmill log repair PATH` shows what can be done"
            ))),
        }
    }
}

fn segment_rows(report: &Report) -> Rows {
    let row = |segment: &verify::SegmentReport| {
        vec![
            json!(segment.path.display().to_string()),
            json!(segment.base_offset.get()),
            json!(segment.next_offset.get()),
            json!(segment.batches),
            json!(segment.records),
            json!(segment.bytes),
            json!(segment.offset_entries),
            json!(segment.time_entries),
        ]
    };
    Rows {
        columns: &["segment", "base_offset", "next_offset", "batches", "records", "bytes", "index", "timeindex"],
        rows: report.segments().map(row).collect(),
    }
}
