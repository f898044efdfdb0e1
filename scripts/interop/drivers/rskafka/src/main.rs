//! Drives rskafka: one operation per line of standard input, see `runner/driver_loop.rs`. Started by `start`.
//!
//! rskafka reads and writes one partition at a time and keeps no producer state: it fetches in version 4 only, and writes with
//! acks -1. Records of one request go out as one batch per partition, as its own batching producer would send them.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use rskafka::BackoffConfig;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record as Sent, RecordAndOffset};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use driver_loop::{Answer, Bytes, End, Produce, Record, Request, Start};

#[path = "../../../runner/driver_loop.rs"]
#[expect(dead_code, reason = "rskafka cannot do all that may be asked")]
mod driver_loop;

/// Room for a fetch with values of 1 MB.
const FETCH_BYTES_MAX: i32 = 4 << 20;
/// A fetch waits so long in the broker; who answers only at its end is found out by the tail.
const FETCH_WAIT_MS: u64 = 5000;
/// A batch must stay below the broker's `max.message.bytes` of 1 MiB.
const BATCH_BYTES_MAX: usize = 1_020_000;
const ADMIN_TIMEOUT_MS: i32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(connect(driver_loop::address()?))?;
    let mut driver = Driver { client, partitions: HashMap::new(), tail: None };
    driver_loop::serve(|request| driver.answer(&runtime, request))?;
    Ok(())
}

async fn connect(address: String) -> Result<Client, Box<dyn Error>> {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(500),
        base: 2.0,
        deadline: Some(Duration::from_secs(60)),
    };
    Ok(ClientBuilder::new(vec![address]).backoff_config(backoff).build().await?)
}

struct Driver {
    client: Client,
    partitions: HashMap<(String, i32), Arc<PartitionClient>>,
    tail: Option<(Arc<PartitionClient>, i64)>,
}

impl Driver {
    fn answer(&mut self, runtime: &Runtime, request: Request) -> Answer {
        runtime.block_on(async {
            match request {
                Request::Hello => Ok(hello()),
                Request::CreateTopic { topic, partitions, .. } => {
                    let controller = self.client.controller_client()?;
                    controller.create_topic(topic, partitions, 1, ADMIN_TIMEOUT_MS).await?;
                    Ok(json!({}))
                }
                Request::DeleteTopic { topic } => {
                    self.partitions.retain(|(name, _), _| *name != topic);
                    self.client.controller_client()?.delete_topic(topic, ADMIN_TIMEOUT_MS).await?;
                    Ok(json!({}))
                }
                Request::ListTopics => {
                    let topics = self.client.list_topics().await?;
                    Ok(json!({ "topics": topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>() }))
                }
                Request::DeleteRecords { topic, partition, before } => {
                    let partition = self.partition(&topic, partition).await?;
                    partition.delete_records(before, ADMIN_TIMEOUT_MS).await?;
                    Ok(json!({ "low": partition.get_offset(OffsetAt::Earliest).await? }))
                }
                Request::Produce(produce) => self.produce(produce).await,
                Request::Consume { topic, partition, from, count, timeout_ms } => {
                    let partition = self.partition(&topic, partition).await?;
                    let mut position = begin(&partition, from).await?;
                    Ok(json!({ "records": read(&partition, &mut position, count, timeout_ms).await? }))
                }
                Request::TailStart { topic, partition } => {
                    let partition = self.partition(&topic, partition).await?;
                    let position = partition.get_offset(OffsetAt::Latest).await?;
                    self.tail = Some((partition, position));
                    Ok(json!({ "position": position }))
                }
                Request::TailRead { count, timeout_ms } => {
                    let (partition, position) = self.tail.as_mut().ok_or("no tail was started")?;
                    Ok(json!({ "records": read(partition, position, count, timeout_ms).await? }))
                }
                Request::Watermarks { topic, partition } => {
                    let partition = self.partition(&topic, partition).await?;
                    let low = partition.get_offset(OffsetAt::Earliest).await?;
                    Ok(json!({ "low": low, "high": partition.get_offset(OffsetAt::Latest).await? }))
                }
                Request::OffsetForTime { topic, partition, timestamp_ms } => {
                    let partition = self.partition(&topic, partition).await?;
                    let offset = partition.get_offset(OffsetAt::Timestamp(moment(timestamp_ms)?)).await?;
                    Ok(json!({ "offset": (offset >= 0).then_some(offset) }))
                }
                Request::Bye => Ok(json!({})),
                Request::AlterTopic { .. } | Request::DescribeTopic { .. } | Request::AddPartitions { .. } => {
                    Err("rskafka cannot do this".into())
                }
            }
        })
    }

    async fn partition(&mut self, topic: &str, partition: i32) -> Result<Arc<PartitionClient>, Box<dyn Error>> {
        let key = (topic.to_owned(), partition);
        if let Some(known) = self.partitions.get(&key) {
            return Ok(Arc::clone(known));
        }
        let made = self.client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?;
        Ok(Arc::clone(self.partitions.entry(key).or_insert(Arc::new(made))))
    }

    async fn produce(&mut self, produce: Produce) -> Answer {
        let compression = match produce.codec.as_str() {
            "none" => Compression::NoCompression,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => return Err(format!("no codec {other}").into()),
        };
        let mut offsets = vec![None; produce.records.len()];
        for (partition, batch) in batches(produce.records)? {
            let (places, records): (Vec<usize>, Vec<Sent>) = batch.into_iter().unzip();
            let told = self.partition(&produce.topic, partition).await?.produce(records, compression).await?;
            for (place, offset) in places.into_iter().zip(told) {
                offsets[place] = Some(offset);
            }
        }
        Ok(json!({ "offsets": offsets }))
    }
}

fn hello() -> serde_json::Value {
    let unwritten = "it keeps headers in a map from text to bytes";
    json!({
        "client": "rskafka", "version": driver_loop::locked_version(include_str!("../Cargo.lock"), "rskafka"), "language": "Rust",
        "codecs": ["none", "gzip", "snappy", "lz4", "zstd"], "acks": ["all"],
        "can": ["headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail", "create_topic",
                "delete_topic", "delete_records", "list_topics"],
        "cannot": {
            "acks": "it asks for all",
            "append_time": "it passes over a batch's mark that the broker set its time",
            "idempotent": "it has no producer id",
            "header_order": unwritten,
            "null_header": unwritten,
            "configs": "it creates topics without settings",
            "alter_topic": "no such call", "describe_topic": "no such call", "add_partitions": "no such call",
        },
    })
}

/// A batch's records, each with its place in the request.
type Batch = Vec<(usize, Sent)>;

/// The records of each partition in their order, cut where a batch would become too large.
fn batches(records: Vec<Record>) -> Result<Vec<(i32, Batch)>, Box<dyn Error>> {
    let mut open: BTreeMap<i32, (usize, Batch)> = BTreeMap::new();
    let mut whole = Vec::new();
    for (place, record) in records.into_iter().enumerate() {
        let partition = record.partition;
        let record = sent(record)?;
        let (bytes, batch) = open.entry(partition).or_default();
        if *bytes + record.approximate_size() > BATCH_BYTES_MAX && !batch.is_empty() {
            whole.push((partition, std::mem::take(batch)));
            *bytes = 0;
        }
        *bytes += record.approximate_size();
        batch.push((place, record));
    }
    whole.extend(open.into_iter().map(|(partition, (_, batch))| (partition, batch)));
    Ok(whole)
}

fn sent(record: Record) -> Result<Sent, Box<dyn Error>> {
    let headers =
        record.headers.into_iter().map(|(name, value)| (name, value.map(|bytes| bytes.0).unwrap_or_default()));
    Ok(Sent {
        key: record.key.map(|bytes| bytes.0),
        value: record.value.map(|bytes| bytes.0),
        headers: headers.collect(),
        timestamp: record.timestamp_ms.map_or_else(|| Ok(SystemTime::now().into()), moment)?,
    })
}

fn moment(timestamp_ms: i64) -> Result<DateTime<Utc>, Box<dyn Error>> {
    DateTime::from_timestamp_millis(timestamp_ms).ok_or_else(|| format!("no such time: {timestamp_ms} ms").into())
}

/// The offset at which reading begins.
async fn begin(partition: &PartitionClient, from: Start) -> Result<i64, Box<dyn Error>> {
    let at = match from {
        Start::Offset(offset) => return Ok(offset),
        Start::Named(End::Earliest) => OffsetAt::Earliest,
        Start::Named(End::Latest) => OffsetAt::Latest,
        Start::Time { timestamp_ms } => OffsetAt::Timestamp(moment(timestamp_ms)?),
    };
    let offset = partition.get_offset(at).await?;
    Ok(if offset >= 0 { offset } else { partition.get_offset(OffsetAt::Latest).await? })
}

/// Up to `count` records; `position` is then behind the last of them.
async fn read(
    partition: &PartitionClient,
    position: &mut i64,
    count: usize,
    timeout_ms: u64,
) -> Result<Vec<Record>, Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let mut records = Vec::new();
    while records.len() < count {
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis();
        if left_ms == 0 {
            break;
        }
        let wait_ms = i32::try_from(left_ms.min(FETCH_WAIT_MS.into()))?;
        let (got, _) = partition.fetch_records(*position, 1..FETCH_BYTES_MAX, wait_ms).await?;
        for found in got.into_iter().take(count - records.len()) {
            *position = found.offset + 1;
            records.push(received(partition.partition(), found));
        }
    }
    Ok(records)
}

fn received(partition: i32, found: RecordAndOffset) -> Record {
    let headers = found.record.headers.into_iter().map(|(name, value)| (name, Some(Bytes(value))));
    Record {
        partition,
        offset: found.offset,
        timestamp_ms: Some(found.record.timestamp.timestamp_millis()),
        key: found.record.key.map(Bytes),
        value: found.record.value.map(Bytes),
        headers: headers.collect(),
    }
}
