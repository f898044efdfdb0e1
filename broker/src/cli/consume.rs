//! `ringmill consume`: prints the records of a topic, raw or as JSON lines.
//!
//! Reads up to the end that the topic had at the start, or on and on with `--follow`.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringmill_batch::Record;
use ringmill_net::client::{Consumer, ConsumerOptions, Fetched, Start};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::{BrokerAddress, on_client_runtime};

/// Bytes gathered before they go to standard output; each answer is flushed in any case.
const OUTPUT_BUFFER_BYTES: usize = 256 << 10;

/// How long to wait for records before asking whether the broker is still there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Print the records of a topic
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill consume logs                              # everything up to now
  ringmill consume logs --from latest --follow       # what comes from now on
  ringmill consume logs --partition 0 --from 1000 --max 10 -o json
  ringmill consume logs | grep error | head

The order is kept inside each partition.")]
pub(super) struct Consume {
    /// The topic's name
    topic: String,
    /// Where to begin: earliest, latest or an offset
    #[arg(long, value_name = "WHERE", default_value = "earliest")]
    from: From,
    /// Go on at the end, and wait for more
    #[arg(short, long)]
    follow: bool,
    /// Only this partition
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Stop after so many records
    #[arg(short, long, value_name = "N")]
    max: Option<u64>,
    /// How to print a record
    #[arg(short, long, value_name = "FORMAT", default_value = "raw")]
    output: RecordFormat,
    #[command(flatten)]
    broker: BrokerAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RecordFormat {
    /// The value and a line feed
    Raw,
    /// One JSON object per line, with partition, offset, timestamp, key, value and headers
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct From(Start);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<From, String> {
        match (text, text.parse::<i64>()) {
            ("earliest", _) => Ok(From(Start::Earliest)),
            ("latest", _) => Ok(From(Start::Latest)),
            (_, Ok(offset)) if offset >= 0 => Ok(From(Start::Offset(offset))),
            _ => Err("expected earliest, latest or an offset".to_owned()),
        }
    }
}

impl Consume {
    pub(super) fn run(self) -> Result<(), Failure> {
        on_client_runtime(self.print())
    }

    async fn print(self) -> Result<(), Failure> {
        let mut consumer = Consumer::connect(&self.broker.broker, ConsumerOptions::default()).await?;
        let partitions = self.choose(consumer.partitions_of(&self.topic).await?)?;
        let mut ends = BTreeMap::new();
        for partition in partitions {
            ends.insert(partition, if self.follow { i64::MAX } else { consumer.end_of(&self.topic, partition).await? });
            consumer.assign(&self.topic, partition, self.from.0).await?;
        }
        let mut printer = Printer {
            out: BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout().lock()),
            format: self.output,
            left: self.max.unwrap_or(u64::MAX),
        };
        loop {
            ends.retain(|partition, end| consumer.position(&self.topic, *partition).is_some_and(|next| next < *end));
            if ends.is_empty() || printer.left == 0 {
                return Ok(());
            }
            let Some(fetched) = consumer.poll(PATIENCE).await? else {
                // Nothing new, or nobody there any more: the second must not look like the first.
                consumer.end_of(&self.topic, *ends.keys().next().expect("not empty, see above")).await?;
                continue;
            };
            // What lies behind the end was written while we read; it is left to the next run.
            printer.print(&fetched, ends.get(&fetched.partition).copied().unwrap_or(0))?;
            printer.out.flush()?;
        }
    }

    fn choose(&self, mut partitions: Vec<i32>) -> Result<Vec<i32>, Failure> {
        let count = partitions.len();
        if let Some(wanted) = self.partition {
            partitions.retain(|partition| *partition == wanted);
            if partitions.is_empty() {
                let message = format!("{} has no partition {wanted}; it has {count}, numbered from 0", self.topic);
                return Err(Failure::refused(message));
            }
        }
        Ok(partitions)
    }
}

struct Printer<W: Write> {
    out: W,
    format: RecordFormat,
    /// Records that may still be printed.
    left: u64,
}

impl<W: Write> Printer<W> {
    /// Prints what was asked for of an answer, up to the offset `end`, exclusive.
    fn print(&mut self, fetched: &Fetched, end: i64) -> Result<(), Failure> {
        for records in fetched.batches() {
            for record in &records? {
                let damaged = |error| Failure::damage(format!("{}-{}: {error}", fetched.topic, fetched.partition));
                let record = record.map_err(damaged)?;
                if self.left == 0 {
                    return Ok(());
                }
                if (fetched.from..end).contains(&record.offset.get()) {
                    self.record(fetched.partition, &record)?;
                    self.left -= 1;
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, partition: i32, record: &Record<'_>) -> io::Result<()> {
        match self.format {
            RecordFormat::Raw => self.out.write_all(record.value.unwrap_or_default())?,
            RecordFormat::Json => {
                let mut json = to_json(record);
                json["partition"] = json!(partition);
                serde_json::to_writer(&mut self.out, &json)?;
            }
        }
        self.out.write_all(b"\n")
    }
}

/// A record as a JSON object. Bytes that are not UTF-8 stand in hexadecimal under another name, so that nothing is lost.
pub(super) fn to_json(record: &Record<'_>) -> Value {
    let mut object = Map::new();
    object.insert("offset".to_owned(), json!(record.offset.get()));
    object.insert("timestamp_ms".to_owned(), json!(record.timestamp_ms));
    insert_bytes(&mut object, "key", record.key);
    insert_bytes(&mut object, "value", record.value);
    if !record.headers.is_empty() {
        let headers = record.headers.iter().map(|(name, value)| {
            let mut header = Map::new();
            insert_bytes(&mut header, "name", Some(name));
            insert_bytes(&mut header, "value", value);
            Value::Object(header)
        });
        object.insert("headers".to_owned(), headers.collect());
    }
    Value::Object(object)
}

fn insert_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| str::from_utf8(bytes).map_err(|_| bytes)) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert(format!("{name}_hex"), json!(hex))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, read_records};

    #[test]
    fn where_to_begin_is_read() {
        assert_eq!("earliest".parse(), Ok(From(Start::Earliest)));
        assert_eq!("12".parse(), Ok(From(Start::Offset(12))));
        assert!("-1".parse::<From>().is_err());
        assert!("now".parse::<From>().is_err());
    }

    #[test]
    fn json_keeps_every_byte() {
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.push(5, None, Some(b"caf\xc3\xa9"), &[(b"h", Some(b"1"))]);
        builder.push(6, Some(b"\xff\x00"), None, &[]);
        let batch = builder.finish();
        let records = read_records(&batch, DecompressLimit::default()).unwrap();
        let json: Vec<_> = records.iter().map(|record| to_json(&record.unwrap())).collect();
        let first = json!({"offset": 0, "timestamp_ms": 5, "key": null, "value": "café",
            "headers": [{"name": "h", "value": "1"}]});
        let second = json!({"offset": 1, "timestamp_ms": 6, "key_hex": "ff00", "value": null});
        assert_eq!(json, [first, second]);
    }
}
