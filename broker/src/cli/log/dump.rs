//! `ringmill log dump`: every batch of a segment, one per line, and its records below it.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use ringmill_batch::DecompressLimit;
use ringmill_engine::verify::{self, SegmentBatches, StoredBatch};
use serde_json::{Value, json};

use super::cannot_read;
use crate::cli::failure::Failure;
use crate::cli::record_json::JsonRecord;
use crate::cli::{OutputFormat, OutputOption};

#[derive(Debug, Args)]
pub(in crate::cli) struct Dump {
    /// What to print
    path: PathBuf,
    /// Print the records too, below their batch
    #[arg(long)]
    records: bool,
    #[command(flatten)]
    output: OutputOption,
}

impl Dump {
    pub(super) fn run(self) -> Result<(), Failure> {
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
