//! `ringmill log`: offline looks into segment files; nothing is ever changed.
//!
//! The checks are the engine's; here they are shown.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ringmill_batch::DecompressLimit;
use ringmill_engine::verify::{self, ProblemKind, Report, SegmentBatches, StoredBatch, VerifyOptions};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{self, Rows};
use super::record_json::JsonRecord;
use super::{OutputFormat, OutputOption};

/// Look into a partition's files while no broker uses them.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringmill log verify ./data                         # every partition of a data directory
  ringmill log verify ./data/logs-0 --records
  ringmill log dump ./data/logs-0/00000000000000000000.log --records

PATH is a segment (.log file), a partition's directory or a data directory. Nothing is changed.
A running broker's newest segment may end inside a batch: stop it first, or look at closed segments.")]
pub(super) enum Log {
    /// Check every batch and index; exit code 6 when something is wrong
    Verify(Verify),
    /// Print every batch, one per line
    Dump(Dump),
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// What to check
    path: PathBuf,
    /// Decompress and check the records too
    #[arg(long)]
    records: bool,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Args)]
pub(super) struct Dump {
    /// What to print
    path: PathBuf,
    /// Print the records too, below their batch
    #[arg(long)]
    records: bool,
    #[command(flatten)]
    output: OutputOption,
}

impl Log {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Log::Verify(verify) => verify.run(),
            Log::Dump(dump) => dump.run(),
        }
    }
}

impl Verify {
    fn run(self) -> Result<(), Failure> {
        let options = VerifyOptions { records: self.records.then(DecompressLimit::default) };
        let report = verify::verify(&self.path, options).map_err(|error| cannot_read(&self.path, &error))?;
        let segments = segment_rows(&report);
        match self.output.output {
            OutputFormat::Table => {
                output::print(&segments.to_table())?;
                for problem in report.problems() {
                    output::print(&format!("{}: {problem}\n", kind_name(problem.kind)))?;
                }
            }
            OutputFormat::Json => {
                let problem = |problem: &verify::Problem| {
                    json!({
                        "kind": kind_name(problem.kind),
                        "file": problem.file.display().to_string(),
                        "position": problem.position,
                        "what": problem.what,
                    })
                };
                let problems: Vec<_> = report.problems().map(problem).collect();
                output::print(&format!("{:#}\n", json!({"segments": segments.to_json(), "problems": problems})))?;
            }
        }
        match report.problems().count() {
            0 => Ok(()),
            count => Err(Failure::damage(format!("{count} problems were found; nothing was changed"))),
        }
    }
}

fn kind_name(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Index => "index",
        ProblemKind::Gap => "gap",
        ProblemKind::Damage => "damage",
        ProblemKind::Unreadable => "unreadable",
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(_) => Failure::other(format!("cannot read {}: {error}", path.display())),
        // The engine's own words, which name the path.
        None => Failure::other(error.to_string()),
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

impl Dump {
    fn run(self) -> Result<(), Failure> {
        let files = verify::segment_files(&self.path).map_err(|error| cannot_read(&self.path, &error))?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut damaged = 0;
        for file in &files {
            let batches = SegmentBatches::open(file).map_err(|error| cannot_read(file, &error))?;
            for batch in batches {
                match batch {
                    Ok(batch) => damaged += usize::from(!self.batch(&mut out, file, &batch)?),
                    Err(problem) => {
                        damaged += 1;
                        out.flush()?;
                        eprintln!("ringmill: {problem}");
                    }
                }
            }
        }
        out.flush()?;
        match damaged {
            0 => Ok(()),
            count => Err(Failure::damage(format!("{count} batches are damaged; nothing was changed"))),
        }
    }

    /// Prints one batch; tells whether it is sound.
    fn batch(&self, out: &mut impl Write, file: &Path, batch: &StoredBatch) -> Result<bool, Failure> {
        let fields = batch_fields(file, batch);
        let (records, error) = match self.records {
            true => match self.records_of(batch) {
                Ok(records) => (records, None),
                Err(why) => (Vec::new(), Some(why)),
            },
            false => (Vec::new(), None),
        };
        match self.output.output {
            OutputFormat::Table => {
                let words: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
                writeln!(out, "{}", words.join(" "))?;
                for record in &records {
                    writeln!(out, "  {record}")?;
                }
                if let Some(why) = &error {
                    writeln!(out, "  damaged records: {why}")?;
                }
            }
            OutputFormat::Json => {
                let mut object: serde_json::Map<String, Value> =
                    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                if self.records {
                    object.insert("records".to_owned(), Value::Array(records));
                }
                if let Some(why) = &error {
                    object.insert("damaged_records".to_owned(), json!(why));
                }
                writeln!(out, "{}", Value::Object(object))?;
            }
        }
        Ok(batch.crc_is_right() && error.is_none())
    }

    fn records_of(&self, batch: &StoredBatch) -> Result<Vec<Value>, String> {
        let records = batch.records(DecompressLimit::default()).map_err(|error| error.to_string())?;
        let json = |record: Result<_, ringmill_batch::RecordError>| {
            let record = record.map_err(|error| error.to_string())?;
            serde_json::to_value(JsonRecord { partition: None, record: &record }).map_err(|error| error.to_string())
        };
        records.iter().map(json).collect()
    }
}

fn batch_fields(file: &Path, batch: &StoredBatch) -> Vec<(&'static str, Value)> {
    let header = &batch.header;
    vec![
        ("segment", json!(file.display().to_string())),
        ("position", json!(batch.position)),
        ("bytes", json!(header.total_bytes())),
        ("base_offset", json!(header.base_offset.get())),
        ("last_offset", json!(header.last_offset().get())),
        ("record_count", json!(header.record_count)),
        ("leader_epoch", json!(header.leader_epoch)),
        ("codec", json!(header.codec().to_string())),
        ("base_timestamp_ms", json!(header.base_timestamp)),
        ("max_timestamp_ms", json!(header.max_timestamp)),
        ("producer_id", json!(header.producer_id)),
        ("producer_epoch", json!(header.producer_epoch)),
        ("base_sequence", json!(header.base_sequence)),
        ("transactional", json!(header.is_transactional())),
        ("control", json!(header.is_control())),
        ("crc", json!(if batch.crc_is_right() { "ok" } else { "wrong" })),
    ]
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
