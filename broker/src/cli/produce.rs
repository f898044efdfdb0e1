//! `ringmill produce`: one record per line of standard input or a file.
//!
//! A thread reads the lines, so that a quiet input never keeps the client from its connections.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use ringmill_batch::Codec;
use ringmill_net::client::{Acks, ClientError, Cluster, ConnectOptions, Producer, ProducerOptions, ProducerRecord};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::{BrokerAddress, on_client_runtime};

/// Bytes read from the input at once.
const READ_BYTES: usize = 256 << 10;

/// How long a topic is waited for that is just being created, and how often it is asked for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
const TOPIC_RETRY: Duration = Duration::from_millis(100);

/// Chunks of lines that may wait between the reading thread and the client.
const CHUNKS_MAX: usize = 4;

/// Send lines of text to a topic
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill produce logs --file /var/log/dpkg.log -z zstd
  journalctl -f | ringmill produce journal
  printf 'user1\\tlogin\\nuser2\\tlogout\\n' | ringmill produce events --key-separator '\\t'

One record per line; an unfinished last line counts. The topic is created if the broker does so.")]
pub(super) struct Produce {
    /// The topic's name
    topic: String,
    /// The file to read instead of standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none")]
    codec: Codec,
    /// What separates key and value in a line (\t is a tab); a line without it has no key
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// The partition to send to; without it, by the key, or in turn
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Whose word counts as delivered
    #[arg(long, value_name = "WHO", default_value = "all")]
    acks: AcksWord,
    #[command(flatten)]
    broker: BrokerAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AcksWord {
    /// All replicas'; batches are numbered, so that none is written twice
    All,
    /// The leader's
    #[value(name = "1")]
    Leader,
    /// Nobody's: faster, and lost records are not noticed
    #[value(name = "0")]
    None,
}

impl Produce {
    pub(super) fn run(self) -> Result<(), Failure> {
        let lines = match &self.file {
            None => read_chunks(io::stdin()),
            Some(path) => {
                let file = File::open(path);
                read_chunks(file.map_err(|error| Failure::other(format!("cannot open {}: {error}", path.display())))?)
            }
        };
        on_client_runtime(self.send(lines?))
    }

    async fn send(self, mut chunks: mpsc::Receiver<io::Result<Vec<u8>>>) -> Result<(), Failure> {
        let acks = match self.acks {
            AcksWord::All => Acks::All,
            AcksWord::Leader => Acks::Leader,
            AcksWord::None => Acks::None,
        };
        let options =
            ProducerOptions { codec: self.codec, acks, idempotent: acks == Acks::All, ..ProducerOptions::default() };
        let separator = self.key_separator.as_deref().map(|text| text.replace("\\t", "\t"));
        if separator.as_deref() == Some("") {
            return Err(Failure::usage(
                "--key-separator is empty; write the text between key and value, as '\\t' or ':'",
            ));
        }
        self.find_topic().await?;
        let producer = Producer::connect(&self.broker.broker, options).await?;
        let topic: Arc<str> = self.topic.into();
        let outcome = Arc::new(Outcome::default());
        while let Some(chunk) = chunks.recv().await {
            let chunk = Bytes::from(chunk.map_err(|error| Failure::other(format!("cannot read the input: {error}")))?);
            for line in lines(&chunk) {
                let (key, value) = split_key(line, separator.as_deref().map(str::as_bytes));
                let record = ProducerRecord {
                    topic: Arc::clone(&topic),
                    partition: self.partition,
                    key: key.map(|key| chunk.slice_ref(key)),
                    value: Some(chunk.slice_ref(value)),
                    ..ProducerRecord::default()
                };
                let outcome = Arc::clone(&outcome);
                producer.send_with(record, move |fate| outcome.add(fate.map(drop))).await?;
            }
            if outcome.failed.get().is_some() {
                break;
            }
        }
        producer.close().await?;
        let delivered = outcome.delivered.load(Ordering::Relaxed);
        if let Some(error) = outcome.failed.get() {
            return Err(Failure::after(error.clone(), &format!("{delivered} records were delivered")));
        }
        if io::stderr().is_terminal() {
            eprintln!("{delivered} records delivered");
        }
        Ok(())
    }
}

impl Produce {
    /// Lets the topic be created, where the broker does so; a producer would wait two minutes for one that never comes.
    async fn find_topic(&self) -> Result<(), ClientError> {
        let cluster = Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?;
        let deadline = Instant::now() + TOPIC_PATIENCE;
        loop {
            match cluster.topic(&self.topic, true).await {
                Err(error) if error.is_retriable() && Instant::now() < deadline => sleep(TOPIC_RETRY).await,
                found => return found.map(drop),
            }
        }
    }
}

/// What became of the records.
#[derive(Default)]
struct Outcome {
    delivered: AtomicU64,
    /// The first failure.
    failed: OnceLock<ClientError>,
}

impl Outcome {
    fn add(&self, fate: Result<(), ClientError>) {
        match fate {
            Ok(()) => _ = self.delivered.fetch_add(1, Ordering::Relaxed),
            Err(error) => _ = self.failed.set(error),
        }
    }
}

/// Reads whole lines in chunks, on a thread of its own. The last chunk may end without a line feed.
fn read_chunks(input: impl Read + Send + 'static) -> Result<mpsc::Receiver<io::Result<Vec<u8>>>, Failure> {
    let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
    let read = move || {
        let mut input = BufReader::with_capacity(READ_BYTES, input);
        loop {
            let mut chunk = Vec::new();
            let result = match input.fill_buf() {
                Ok([]) => return,
                // What is there now goes at once, so that a slow input is passed on line by line.
                Ok(available) => {
                    let whole =
                        available.iter().rposition(|byte| *byte == b'\n').map_or(available.len(), |end| end + 1);
                    chunk.extend_from_slice(&available[..whole]);
                    input.consume(whole);
                    if chunk.ends_with(b"\n") { Ok(0) } else { input.read_until(b'\n', &mut chunk) }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = result.is_err();
            if chunks.blocking_send(result.map(|_| chunk)).is_err() || last {
                return;
            }
        }
    };
    let started = thread::Builder::new().name("input".to_owned()).spawn(read);
    started.map_err(|error| Failure::other(format!("the input's thread cannot be started: {error}")))?;
    Ok(receiver)
}

fn lines(chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
    chunk.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

fn split_key<'a>(line: &'a [u8], separator: Option<&[u8]>) -> (Option<&'a [u8]>, &'a [u8]) {
    let found = separator.and_then(|separator| {
        let position = line.windows(separator.len()).position(|window| window == separator)?;
        Some((&line[..position], &line[position + separator.len()..]))
    });
    found.map_or((None, line), |(key, value)| (Some(key), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_line_feeds_and_an_unfinished_one_counts() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = lines(text.as_bytes()).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("", &[]);
        check("a\nb\n", &["a", "b"]);
        check("a\n\nb", &["a", "", "b"]);
        check("\r\n", &["\r"]);
    }

    #[test]
    fn a_line_splits_at_its_first_separator() {
        assert_eq!(split_key(b"k:v:w", Some(b":")), (Some(&b"k"[..]), &b"v:w"[..]));
        assert_eq!(split_key(b"k::v", Some(b"::")), (Some(&b"k"[..]), &b"v"[..]));
        assert_eq!(split_key(b":v", Some(b":")), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split_key(b"v", Some(b":")), (None, &b"v"[..]));
        assert_eq!(split_key(b"k:v", None), (None, &b"k:v"[..]));
    }

    #[test]
    fn chunks_hold_whole_lines_whatever_their_length() {
        let mut text = Vec::new();
        for length in [0, 1, 5, READ_BYTES - 1, READ_BYTES, 3 * READ_BYTES, 7] {
            text.extend(std::iter::repeat_n(b'x', length));
            text.push(b'\n');
        }
        text.extend_from_slice(b"unfinished");
        let mut chunks = read_chunks(io::Cursor::new(text.clone())).unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = chunks.blocking_recv() {
            let chunk = chunk.unwrap();
            assert!(chunk.ends_with(b"\n") || chunk.ends_with(b"unfinished"));
            all.extend(chunk);
        }
        assert_eq!(all, text);
    }
}
