//! Drives rdkafka: one operation per line of standard input, see `runner/driver_loop.rs`. Started by `start`.
//!
//! rdkafka is librdkafka with the version that its package brings along. Producers are kept, one per way of writing; a reading
//! consumer is assigned by hand, and a second one tails.

use std::collections::HashMap;
use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::get_rdkafka_version;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use driver_loop::{Answer, Bytes, End, Produce, Record, Request, Start};

#[path = "../../../runner/driver_loop.rs"]
mod driver_loop;

/// Room for values of 1 MB with key and headers, below the broker's `max.message.bytes` of 1 MiB.
const MESSAGE_BYTES_MAX: &str = "1040000";
/// How long any question to the broker may take.
const ASK: Duration = Duration::from_secs(20);
/// A tailing fetch waits so long in the broker; who answers only at its end is found out by the tail.
const TAIL_WAIT_MS: &str = "5000";
/// The reader is assigned to other partitions all the time, and a new question waits behind a fetch that is under way.
const READ_WAIT_MS: &str = "50";

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let address = driver_loop::address()?;
    let mut driver = Driver {
        admin: made(&address, &[])?,
        reader: made(&address, &[("fetch.wait.max.ms", READ_WAIT_MS)])?,
        producers: HashMap::new(),
        tail: None,
        address,
    };
    driver_loop::serve(|request| driver.answer(&runtime, request))?;
    Ok(())
}

/// A client of librdkafka with these settings beside the usual ones.
fn made<C: FromClientConfig>(address: &str, settings: &[(&str, &str)]) -> Result<C, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("reconnect.backoff.max.ms", "500");
    // Even without a group a consumer must name one before it may be assigned.
    config.set("group.id", "interop-driver").set("enable.auto.commit", "false").set("log_level", "3");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create()
}

struct Driver {
    address: String,
    admin: AdminClient<DefaultClientContext>,
    reader: BaseConsumer,
    producers: HashMap<(String, String, bool, u64), FutureProducer>,
    tail: Option<BaseConsumer>,
}

impl Driver {
    fn answer(&mut self, runtime: &Runtime, request: Request) -> Answer {
        match request {
            Request::Hello => Ok(hello()),
            Request::Produce(produce) => self.produce(runtime, produce),
            Request::Consume { topic, partition, from, count, timeout_ms } => {
                let start = self.begin(&topic, partition, from)?;
                assign(&self.reader, &topic, partition, start)?;
                let records = read(&self.reader, count, timeout_ms)?;
                self.reader.unassign()?;
                Ok(json!({ "records": records }))
            }
            Request::TailStart { topic, partition } => {
                let tail: BaseConsumer = made(&self.address, &[("fetch.wait.max.ms", TAIL_WAIT_MS)])?;
                let (_, high) = tail.fetch_watermarks(&topic, partition, ASK)?;
                assign(&tail, &topic, partition, Offset::Offset(high))?;
                self.tail = Some(tail);
                Ok(json!({ "position": high }))
            }
            Request::TailRead { count, timeout_ms } => {
                let tail = self.tail.as_ref().ok_or("no tail was started")?;
                Ok(json!({ "records": read(tail, count, timeout_ms)? }))
            }
            Request::Watermarks { topic, partition } => {
                let (low, high) = self.reader.fetch_watermarks(&topic, partition, ASK)?;
                Ok(json!({ "low": low, "high": high }))
            }
            Request::OffsetForTime { topic, partition, timestamp_ms } => Ok(
                json!({ "offset": self.offset_for_time(&topic, partition, timestamp_ms)?.to_raw().filter(|raw| *raw >= 0) }),
            ),
            Request::ListTopics => {
                let metadata = self.reader.fetch_metadata(None, ASK)?;
                Ok(json!({ "topics": metadata.topics().iter().map(|topic| topic.name()).collect::<Vec<_>>() }))
            }
            Request::Bye => Ok(json!({})),
            change => runtime.block_on(self.administrate(change)),
        }
    }

    async fn administrate(&self, request: Request) -> Answer {
        let options = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
        match request {
            Request::CreateTopic { topic, partitions, configs } => {
                let wanted = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
                let wanted = configs.iter().fold(wanted, |wanted, (name, value)| wanted.set(name, value));
                all_done(self.admin.create_topics([&wanted], &options).await?)
            }
            Request::DeleteTopic { topic } => all_done(self.admin.delete_topics(&[&topic], &options).await?),
            Request::AddPartitions { topic, count } => {
                let done =
                    all_done(self.admin.create_partitions([&NewPartitions::new(&topic, count)], &options).await?);
                // By themselves producers look for new partitions every five minutes.
                for producer in self.producers.values() {
                    producer.client().fetch_metadata(Some(&topic), ASK)?;
                }
                done
            }
            Request::AlterTopic { topic, configs } => {
                let wanted = AlterConfig::new(ResourceSpecifier::Topic(&topic));
                let wanted = configs.iter().fold(wanted, |wanted, (name, value)| wanted.set(name, value));
                match self.admin.alter_configs([&wanted], &options).await?.into_iter().find_map(Result::err) {
                    Some((_, code)) => Err(code.into()),
                    None => Ok(json!({})),
                }
            }
            Request::DescribeTopic { topic } => {
                let told = self.admin.describe_configs([&ResourceSpecifier::Topic(&topic)], &options).await?;
                let resource = told.into_iter().next().ok_or("no settings were described")??;
                let configs: HashMap<_, _> =
                    resource.entries.into_iter().map(|entry| (entry.name, entry.value)).collect();
                let metadata = self.reader.fetch_metadata(Some(&topic), ASK)?;
                let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
                Ok(json!({ "partitions": partitions, "configs": configs }))
            }
            Request::DeleteRecords { topic, partition, before } => {
                let wanted = place(&topic, partition, Offset::Offset(before))?;
                let told = self.admin.delete_records(&wanted, &options).await?;
                let element = told.find_partition(&topic, partition).ok_or("the partition was not answered for")?;
                element.error()?;
                Ok(json!({ "low": element.offset().to_raw() }))
            }
            _ => Err("not an operation of the admin client".into()),
        }
    }

    fn produce(&mut self, runtime: &Runtime, produce: Produce) -> Answer {
        let producer = self.producer(&produce)?;
        let sent: Vec<DeliveryFuture> =
            produce.records.iter().map(|record| send(&producer, &produce.topic, record)).collect::<Result<_, _>>()?;
        let mut offsets = Vec::with_capacity(sent.len());
        for delivery in sent {
            let delivered = runtime.block_on(delivery)?.map_err(|(error, _)| error)?;
            offsets.push((produce.acks != "0").then_some(delivered.offset));
        }
        Ok(json!({ "offsets": offsets }))
    }

    fn producer(&mut self, how: &Produce) -> Result<FutureProducer, KafkaError> {
        let key = (how.acks.clone(), how.codec.clone(), how.idempotent, how.linger_ms);
        if let Some(known) = self.producers.get(&key) {
            return Ok(known.clone());
        }
        let producer: FutureProducer = made(
            &self.address,
            &[
                ("acks", &how.acks),
                ("compression.codec", &how.codec),
                ("enable.idempotence", if how.idempotent { "true" } else { "false" }),
                // In order over a reconnection; an idempotent producer keeps it with more under way.
                ("max.in.flight.requests.per.connection", if how.idempotent { "5" } else { "1" }),
                ("linger.ms", &how.linger_ms.to_string()),
                ("message.max.bytes", MESSAGE_BYTES_MAX),
                ("message.timeout.ms", "60000"),
            ],
        )?;
        Ok(self.producers.entry(key).or_insert(producer).clone())
    }

    fn begin(&self, topic: &str, partition: i32, from: Start) -> Result<Offset, KafkaError> {
        match from {
            Start::Offset(offset) => Ok(Offset::Offset(offset)),
            Start::Named(End::Earliest) => Ok(Offset::Beginning),
            Start::Named(End::Latest) => Ok(Offset::End),
            Start::Time { timestamp_ms } => self.offset_for_time(topic, partition, timestamp_ms),
        }
    }

    /// `Offset::End` if there is none.
    fn offset_for_time(&self, topic: &str, partition: i32, timestamp_ms: i64) -> Result<Offset, KafkaError> {
        let told = self.reader.offsets_for_times(place(topic, partition, Offset::Offset(timestamp_ms))?, ASK)?;
        let element = told.find_partition(topic, partition);
        element.map_or(Ok(Offset::End), |element| element.error().map(|()| element.offset()))
    }
}

fn hello() -> Value {
    let (_, librdkafka) = get_rdkafka_version();
    let package = driver_loop::locked_version(include_str!("../Cargo.lock"), "rdkafka");
    json!({
        "client": "rdkafka", "version": format!("{package} (librdkafka {librdkafka})"), "language": "Rust",
        "codecs": ["none", "gzip", "snappy", "lz4", "zstd"], "acks": ["0", "1", "all"],
        "can": ["idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail",
                "create_topic", "delete_topic", "alter_topic", "describe_topic", "add_partitions", "delete_records",
                "list_topics"],
        "cannot": {},
    })
}

/// Hands a record to librdkafka, which sends it in its own time.
fn send(producer: &FutureProducer, topic: &str, record: &Record) -> Result<DeliveryFuture, KafkaError> {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: value.as_ref().map(|bytes| &bytes.0) });
    }
    let sent = FutureRecord {
        topic,
        partition: Some(record.partition),
        payload: record.value.as_ref().map(|bytes| &bytes.0),
        key: record.key.as_ref().map(|bytes| &bytes.0),
        timestamp: record.timestamp_ms,
        headers: Some(headers),
    };
    producer.send_result(sent).map_err(|(error, _)| error)
}

fn place(topic: &str, partition: i32, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset)?;
    Ok(list)
}

fn assign(consumer: &BaseConsumer, topic: &str, partition: i32, offset: Offset) -> Result<(), KafkaError> {
    consumer.assign(&place(topic, partition, offset)?)
}

/// Up to `count` records from where the consumer stands.
fn read(consumer: &BaseConsumer, count: usize, timeout_ms: u64) -> Result<Vec<Record>, KafkaError> {
    let deadline = Instant::now() + Duration::from_millis(timeout_ms);
    let mut records = Vec::new();
    while records.len() < count && Instant::now() < deadline {
        match consumer.poll(deadline.saturating_duration_since(Instant::now())) {
            Some(Ok(message)) => records.push(received(&message)),
            // It reports a lost connection and goes on by itself.
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    Ok(records)
}

fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure)
    )
}

fn received(message: &BorrowedMessage<'_>) -> Record {
    let header = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(|value| Bytes(value.to_vec())));
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(|key| Bytes(key.to_vec())),
        value: message.payload().map(|payload| Bytes(payload.to_vec())),
        headers: message.headers().map_or_else(Vec::new, |headers| headers.iter().map(header).collect()),
    }
}

/// The first error of an answer for several topics.
fn all_done(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Answer {
    match results.into_iter().find_map(Result::err) {
        Some((_, code)) => Err(code.into()),
        None => Ok(json!({})),
    }
}
