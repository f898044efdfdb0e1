//! `ringmill produce`: one record per line of standard input or of files.
//!
//! A thread reads (`input`, `follow`), this file makes records of lines and hands them to the client's producer, and `delivery` keeps
//! account: no line is lost without being named.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use ringmill_batch::Codec;
use ringmill_net::client::{Acks, ClientError, Cluster, ConnectOptions, Producer, ProducerOptions, ProducerRecord};
use tokio::time::{Duration, sleep};

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::{BrokerAddress, on_client_runtime, record_json, unescape};
use delivery::{Deliveries, LineAt};
use input::{Chunk, Chunks};
use progress::Progress;

mod delivery;
mod follow;
mod input;
mod progress;

/// How long a topic is waited for that is just being created, and how often it is asked for.
const TOPIC_PATIENCE: Duration = Duration::from_secs(3);
const TOPIC_RETRY: Duration = Duration::from_millis(100);

/// Send lines of text to a topic
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill produce logs --file /var/log/dpkg.log -z zstd
  ringmill produce logs -f /var/log/nginx/access.log -f /var/log/nginx/error.log --follow
  journalctl -f | ringmill produce journal
  printf 'ann\\tlogin\\nbob\\tlogout\\n' | ringmill produce events -K '\\t' -H source=web
  ringmill consume events -o json | ringmill produce copy --input json

One record per line; an unfinished last line counts. The topic is created if the broker does so. With --follow, files are followed
as tail -F does: what is added is sent within 0.1 s, a file that is replaced or emptied is begun anew, and the first interrupt
(Ctrl-C, SIGTERM) delivers what was read and ends with 0.

JSON lines hold \"value\" and may hold \"key\", \"headers\" ([{\"name\", \"value\"}]), \"timestamp_ms\" and \"partition\"; \"value_hex\" and the like
hold bytes that are not UTF-8. It is what consume -o json prints; \"offset\" and \"topic\" are passed over.")]
pub(super) struct Produce {
    /// The topic's name
    topic: String,
    /// A file to read instead of standard input (-); may be repeated
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Go on at the files' ends, and send what is added
    #[arg(long, requires = "file")]
    follow: bool,
    /// With --follow: pass over what the files hold already
    #[arg(long, requires = "follow")]
    from_end: bool,
    /// What a line holds
    #[arg(long, value_name = "FORMAT", default_value = "lines")]
    input: InputFormat,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none")]
    codec: Codec,
    /// The key of every record
    #[arg(short, long, value_name = "TEXT", conflicts_with = "key_separator")]
    key: Option<String>,
    /// What separates key and value in a line (\t is a tab); a line without it has no key
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// Send empty values and keys as null: deletions, on compacted topics
    #[arg(long)]
    empty_as_null: bool,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// The partition to send to; without it, by the key, or in turn
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Whose word counts as delivered
    #[arg(long, value_name = "WHO", default_value = "all")]
    acks: AcksWord,
    /// How long a batch waits for more records
    #[arg(long, value_name = "MS", default_value = "5", value_parser = clap::value_parser!(u64).range(..=60_000))]
    linger_ms: u64,
    /// Say nothing unless something is wrong
    #[arg(short, long)]
    quiet: bool,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InputFormat {
    /// A value, or key and value
    Lines,
    /// A record as a JSON object
    Json,
}

/// How lines become records.
struct Recipe {
    topic: Arc<str>,
    input: InputFormat,
    key: Option<Bytes>,
    key_separator: Option<Vec<u8>>,
    empty_as_null: bool,
    headers: Vec<(Bytes, Option<Bytes>)>,
    partition: Option<i32>,
    /// How many partitions the topic has.
    partitions: i32,
}

impl Produce {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut recipe = self.recipe()?;
        let (chunks, deliveries, progress) = self.open()?;
        // The producer may wait two minutes for a broker that does not answer; a second signal does not.
        let mut interrupt = Interrupt::watch(None)?;
        on_client_runtime(async move {
            let (cluster, partitions) = tokio::select! {
                biased;
                signal = interrupt.first() => return Err(Failure::interrupted(signal, "interrupted; nothing was sent")),
                found = self.find_topic() => found?,
            };
            recipe.partitions = partitions;
            let producer = Producer::on(cluster, self.options()).await?;
            let (ended, signal) = tokio::select! {
                biased;
                signal = interrupt.first() => (Ok(()), Some(signal)),
                ended = send(&producer, &recipe, chunks, &deliveries, &progress) => (ended, None),
            };
            let closed = producer.close().await;
            progress.finish();
            self.report(&deliveries, ended, signal).and(closed.map_err(Failure::from))
        })
    }

    fn recipe(&self) -> Result<Recipe, Failure> {
        if self.key_separator.as_deref() == Some("") {
            let message = "--key-separator is empty; write the text between key and value, as '\\t' or ':'";
            return Err(Failure::usage(message));
        }
        if self.input == InputFormat::Json && (self.key.is_some() || self.key_separator.is_some() || self.empty_as_null)
        {
            let message =
                "--key, --key-separator and --empty-as-null are for lines of text; JSON says key and null itself";
            return Err(Failure::usage(message));
        }
        let header = |text: &String| match text.split_once('=') {
            Some((name, value)) => Ok((Bytes::from(name.to_owned()), Some(Bytes::from(value.to_owned())))),
            None => Err(Failure::usage(format!("-H {text}: expected NAME=VALUE, for example source=web"))),
        };
        Ok(Recipe {
            topic: self.topic.as_str().into(),
            input: self.input,
            key: self.key.clone().map(Bytes::from),
            key_separator: self.key_separator.as_deref().map(|text| unescape(text).into_bytes()),
            empty_as_null: self.empty_as_null,
            headers: self.header.iter().map(header).collect::<Result<_, _>>()?,
            partition: self.partition,
            partitions: i32::MAX,
        })
    }

    fn open(&self) -> Result<(Chunks, Arc<Deliveries>, Progress), Failure> {
        let account = |names| Arc::new(Deliveries::new(names, Instant::now()));
        if self.follow {
            let names = self.file.iter().map(|path| path.display().to_string().into()).collect();
            let (paths, from_end, quiet) = (self.file.clone(), self.from_end, self.quiet);
            let notice = move |text: String| {
                if !quiet {
                    eprintln!("ringmill: {text}");
                }
            };
            let chunks = input::start(move |chunks| follow::follow(paths, from_end, chunks, &notice))?;
            return Ok((chunks, account(names), Progress::hidden()));
        }
        let sources = input::open(&self.file)?;
        let names = sources.iter().map(|source| Arc::clone(&source.name)).collect();
        let total_bytes = sources.iter().map(|source| source.bytes).sum();
        let progress =
            if !self.quiet && io::stderr().is_terminal() { Progress::new(total_bytes) } else { Progress::hidden() };
        Ok((input::read(sources)?, account(names), progress))
    }

    fn options(&self) -> ProducerOptions {
        let acks = match self.acks {
            AcksWord::All => Acks::All,
            AcksWord::Leader => Acks::Leader,
            AcksWord::None => Acks::None,
        };
        let idempotent = acks == Acks::All;
        ProducerOptions { codec: self.codec, acks, idempotent, linger_ms: self.linger_ms, ..ProducerOptions::default() }
    }

    /// Lets the topic be created, where the broker does so; a producer would wait two minutes for one that never comes.
    async fn find_topic(&self) -> Result<(Arc<Cluster>, i32), Failure> {
        let cluster = Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?;
        let deadline = Instant::now() + TOPIC_PATIENCE;
        let topic = loop {
            match cluster.topic(&self.topic, true).await {
                Err(error) if error.is_retriable() && Instant::now() < deadline => sleep(TOPIC_RETRY).await,
                found => break found?,
            }
        };
        let count = topic.partitions.len();
        if let Some(wanted) = self.partition.filter(|wanted| topic.partitions.iter().all(|each| each.index != *wanted))
        {
            let message = format!("{} has no partition {wanted}; it has {count}, numbered from 0", self.topic);
            return Err(Failure::refused(message));
        }
        Ok((Arc::new(cluster), i32::try_from(count).unwrap_or(i32::MAX)))
    }

    /// Says what became of it all.
    fn report(&self, deliveries: &Deliveries, ended: Result<(), Failure>, signal: Option<i32>) -> Result<(), Failure> {
        if let Some((error, message)) = deliveries.failure(&self.topic) {
            return Err(Failure::saying(error, message));
        }
        ended.map_err(|failure| failure.after(&deliveries.counts()))?;
        if let Some(signal) = signal.filter(|_| !self.follow) {
            let message = format!("interrupted; {}; read {}", deliveries.counts(), deliveries.read_up_to());
            return Err(Failure::interrupted(signal, message));
        }
        if !self.quiet {
            let acknowledged = self.acks != AcksWord::None;
            let read = if self.follow { format!("; read {}", deliveries.read_up_to()) } else { String::new() };
            eprintln!("{}{read}", deliveries.summary(&self.topic, acknowledged, Instant::now()));
        }
        Ok(())
    }
}

/// Hands every line to the producer, until there are no more or one has failed.
async fn send(
    producer: &Producer,
    recipe: &Recipe,
    mut chunks: Chunks,
    deliveries: &Arc<Deliveries>,
    progress: &Progress,
) -> Result<(), Failure> {
    while let Some(chunk) = chunks.recv().await {
        let Chunk { source, first_line, bytes } = chunk.map_err(Failure::other)?;
        for (line, text) in (first_line..).zip(input::lines(&bytes)) {
            let at = LineAt { source, line };
            let record = recipe
                .record(&bytes, text)
                .map_err(|error| Failure::other(format!("{} cannot be sent: {error}", deliveries.place(at))))?;
            let account = Arc::clone(deliveries);
            let record_bytes = record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
            let report = move |fate: Result<_, ClientError>| account.reported(at, record_bytes as u64, fate.map(drop));
            match producer.send_with(record, report).await {
                Ok(()) => deliveries.handed_over(at),
                Err(error) => {
                    deliveries.reported(at, 0, Err(error));
                    return Ok(());
                }
            }
            if deliveries.has_failed() {
                return Ok(());
            }
        }
        progress.read(bytes.len() as u64);
    }
    Ok(())
}

impl Recipe {
    /// A record of a line that lies in `chunk`.
    fn record(&self, chunk: &Bytes, line: &[u8]) -> Result<ProducerRecord, String> {
        let mut record = match self.input {
            InputFormat::Json => record_json::parse(line)?,
            InputFormat::Lines => {
                let (key, value) = split_key(line, self.key_separator.as_deref());
                let key = key.map(|key| chunk.slice_ref(key)).or_else(|| self.key.clone());
                let kept = |bytes: &Bytes| !(self.empty_as_null && bytes.is_empty());
                ProducerRecord {
                    key: key.filter(kept),
                    value: Some(chunk.slice_ref(value)).filter(kept),
                    ..ProducerRecord::default()
                }
            }
        };
        record.topic = Arc::clone(&self.topic);
        record.partition = self.partition.or(record.partition);
        if let Some(partition) = record.partition.filter(|partition| *partition >= self.partitions) {
            let (topic, count) = (&self.topic, self.partitions);
            return Err(format!("{topic} has no partition {partition}; it has {count}, numbered from 0"));
        }
        record.headers.extend(self.headers.iter().cloned());
        Ok(record)
    }
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
    fn a_line_splits_at_its_first_separator() {
        assert_eq!(split_key(b"k:v:w", Some(b":")), (Some(&b"k"[..]), &b"v:w"[..]));
        assert_eq!(split_key(b"k::v", Some(b"::")), (Some(&b"k"[..]), &b"v"[..]));
        assert_eq!(split_key(b":v", Some(b":")), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split_key(b"v", Some(b":")), (None, &b"v"[..]));
        assert_eq!(split_key(b"k:v", None), (None, &b"k:v"[..]));
    }
}
