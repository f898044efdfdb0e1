//! How a record looks on standard output: fields and delimiters, or a JSON line; which records are wanted; colour.
//!
//! Values are bytes and go out as they are. `consume` hands in what it fetched.

use std::io::{self, Write};

use clap::ValueEnum;
use regex::bytes::Regex;
use ringmill_batch::Record;
use ringmill_net::client::Fetched;

use crate::cli::failure::Failure;
use crate::cli::place::format_time;
use crate::cli::record_json::JsonRecord;

/// Dim for what stands beside the value, bold red for a match, and back.
const DIM: &[u8] = b"\x1b[2m";
const MATCH: &[u8] = b"\x1b[1;31m";
const PLAIN: &[u8] = b"\x1b[0m";

/// A part of a record that can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Field {
    Partition,
    Offset,
    Timestamp,
    Key,
    Headers,
    Value,
}

/// What a record becomes.
pub(super) enum Look {
    /// A JSON object.
    Json,
    /// Fields, and what stands between two of them.
    Raw { fields: Vec<Field>, delimiter: Vec<u8> },
}

/// Prints the records that are wanted.
pub(super) struct Printer<W: Write> {
    pub(super) out: W,
    pub(super) look: Look,
    /// What a value must match, if anything.
    pub(super) grep: Option<Regex>,
    /// What a key must match, if anything.
    pub(super) grep_key: Option<Regex>,
    pub(super) coloured: bool,
    /// Records that may still be printed.
    pub(super) left: u64,
}

impl<W: Write> Printer<W> {
    /// Prints what was asked for of an answer, up to the offset `end`, exclusive, and sees to it that it can be read. Where no more may be
    /// printed before all was looked at, the offset to go on with.
    pub(super) fn print(&mut self, fetched: &Fetched, end: i64) -> Result<Option<i64>, Failure> {
        let mut stopped = None;
        for records in fetched.batches() {
            let records = records?;
            if records.header().attributes.is_control() {
                // Marks of transactions are the brokers' own.
                continue;
            }
            for record in &records {
                let damaged = |error| Failure::damage(format!("{}-{}: {error}", fetched.topic, fetched.partition));
                let record = record.map_err(damaged)?;
                if self.left > 0 && (fetched.from..end).contains(&record.offset.get()) && self.is_wanted(&record) {
                    self.record(fetched.partition, &record)?;
                    self.left -= 1;
                    stopped = (self.left == 0).then(|| record.offset.get() + 1);
                }
            }
            if self.left == 0 {
                break;
            }
        }
        self.out.flush()?;
        Ok(stopped)
    }

    fn is_wanted(&self, record: &Record<'_>) -> bool {
        let matches = |regex: &Option<Regex>, bytes: Option<&[u8]>| match (regex, bytes) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(regex), Some(bytes)) => regex.is_match(bytes),
        };
        matches(&self.grep_key, record.key) && matches(&self.grep, record.value)
    }

    fn record(&mut self, partition: i32, record: &Record<'_>) -> io::Result<()> {
        let Printer { out, look, grep, coloured, .. } = self;
        let (fields, delimiter) = match look {
            Look::Json => {
                serde_json::to_writer(&mut *out, &JsonRecord { partition: Some(partition), record })?;
                return out.write_all(b"\n");
            }
            Look::Raw { fields, delimiter } => (fields, delimiter),
        };
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                out.write_all(delimiter)?;
            }
            let value = record.value.unwrap_or_default();
            match (field, &grep) {
                (Field::Value, Some(grep)) if *coloured => write_matches(out, value, grep)?,
                (Field::Value, _) => out.write_all(value)?,
                (field, _) => {
                    out.write_all(if *coloured { DIM } else { b"" })?;
                    write_field(out, *field, partition, record)?;
                    out.write_all(if *coloured { PLAIN } else { b"" })?;
                }
            }
        }
        out.write_all(b"\n")
    }
}

fn write_field(out: &mut impl Write, field: Field, partition: i32, record: &Record<'_>) -> io::Result<()> {
    match field {
        Field::Partition => write!(out, "{partition}"),
        Field::Offset => write!(out, "{}", record.offset.get()),
        Field::Timestamp => write!(out, "{}", format_time(record.timestamp_ms)),
        Field::Key => out.write_all(record.key.unwrap_or_default()),
        Field::Value => out.write_all(record.value.unwrap_or_default()),
        Field::Headers => {
            for (index, (name, value)) in record.headers.iter().enumerate() {
                out.write_all(if index > 0 { b"," } else { b"" })?;
                out.write_all(name)?;
                out.write_all(b"=")?;
                out.write_all(value.unwrap_or_default())?;
            }
            Ok(())
        }
    }
}

fn write_matches(out: &mut impl Write, value: &[u8], grep: &Regex) -> io::Result<()> {
    let mut written = 0;
    for found in grep.find_iter(value).filter(|found| !found.is_empty()) {
        out.write_all(&value[written..found.start()])?;
        out.write_all(MATCH)?;
        out.write_all(found.as_bytes())?;
        out.write_all(PLAIN)?;
        written = found.end();
    }
    out.write_all(&value[written..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, read_records};

    /// What becomes of one record with key `k`, value `an error\xff`, and two headers.
    fn check(fields: &[Field], coloured: bool, expected: &[u8]) {
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.push(0, Some(b"k"), Some(b"an error\xff"), &[(b"a", Some(b"1")), (b"b", None)]);
        let batch = builder.finish();
        let records = read_records(&batch, DecompressLimit::default()).unwrap();
        let look = Look::Raw { fields: fields.to_vec(), delimiter: b"|".to_vec() };
        let grep = Some(Regex::new("err(or)?").unwrap());
        let mut printer = Printer { out: Vec::new(), look, grep, grep_key: None, coloured, left: 1 };
        let record = records.iter().next().unwrap().unwrap();
        assert!(printer.is_wanted(&record));
        printer.record(7, &record).unwrap();
        assert_eq!(printer.out, expected, "{}", String::from_utf8_lossy(&printer.out));
    }

    #[test]
    fn fields_come_in_the_order_they_are_asked_for() {
        check(&[Field::Value], false, b"an error\xff\n");
        let all = [Field::Partition, Field::Offset, Field::Timestamp, Field::Key, Field::Headers, Field::Value];
        check(&all, false, b"7|0|1970-01-01T00:00:00.000Z|k|a=1,b=|an error\xff\n");
        check(&[Field::Value, Field::Key], false, b"an error\xff|k\n");
    }

    #[test]
    fn a_match_stands_out_where_there_is_colour() {
        check(&[Field::Key, Field::Value], true, b"\x1b[2mk\x1b[0m|an \x1b[1;31merror\x1b[0m\xff\n");
    }
}
