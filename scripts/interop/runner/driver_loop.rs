//! The driver's side of the conversation, shared by the drivers written in Rust: JSON lines in, JSON lines out.
//!
//! Compiled into each of them by path. It knows requests, records and base64, and no client library; what the fields mean
//! stands in `driver.py`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Write};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What an operation answers, without `ok`.
pub type Answer = Result<Value, Box<dyn Error>>;

/// One operation.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    Hello,
    CreateTopic { topic: String, partitions: i32, configs: BTreeMap<String, String> },
    AlterTopic { topic: String, configs: BTreeMap<String, String> },
    DescribeTopic { topic: String },
    AddPartitions { topic: String, count: usize },
    DeleteRecords { topic: String, partition: i32, before: i64 },
    DeleteTopic { topic: String },
    ListTopics,
    Produce(Produce),
    Consume { topic: String, partition: i32, from: Start, count: usize, timeout_ms: u64 },
    TailStart { topic: String, partition: i32 },
    TailRead { count: usize, timeout_ms: u64 },
    Watermarks { topic: String, partition: i32 },
    OffsetForTime { topic: String, partition: i32, timestamp_ms: i64 },
    Bye,
}

/// Records for a topic, and how they are to be written.
#[derive(Deserialize)]
pub struct Produce {
    pub topic: String,
    pub acks: String,
    pub codec: String,
    pub idempotent: bool,
    pub linger_ms: u64,
    pub records: Vec<Record>,
}

/// Where reading begins.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Start {
    Named(End),
    Offset(i64),
    Time { timestamp_ms: i64 },
}

/// An end of a partition.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Earliest,
    Latest,
}

/// A record to write, or one that was read, which then has its offset.
#[derive(Deserialize, Serialize)]
pub struct Record {
    pub partition: i32,
    #[serde(default)]
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Bytes that are base64 in JSON.
#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64_STANDARD.decode(text).map(Self)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        BASE64_STANDARD.encode(bytes.0)
    }
}

/// Answers requests until standard input ends or `bye` was answered.
pub fn serve(mut answer: impl FnMut(Request) -> Answer) -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let request = serde_json::from_str::<Request>(&line?);
        let is_last = matches!(request, Ok(Request::Bye));
        let said = match request.map_err(Into::into).and_then(&mut answer) {
            Ok(fields) => with_ok(fields),
            Err(error) => json!({ "ok": false, "error": said_by(error.as_ref()) }),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{said}")?;
        out.flush()?;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// The address of the broker: the one argument.
pub fn address() -> Result<String, Box<dyn Error>> {
    std::env::args().nth(1).ok_or_else(|| "usage: driver ADDRESS".into())
}

/// The version of a package in a Cargo.lock.
pub fn locked_version(lock: &str, package: &str) -> String {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let found = lock.split_once(&entry).and_then(|(_, rest)| rest.split_once('"'));
    found.map_or_else(|| "unknown".to_owned(), |(version, _)| version.to_owned())
}

fn with_ok(fields: Value) -> Value {
    let mut answer = json!({ "ok": true });
    if let (Value::Object(answer), Value::Object(fields)) = (&mut answer, fields) {
        answer.extend(fields);
    }
    answer
}

/// An error and its causes.
fn said_by(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
