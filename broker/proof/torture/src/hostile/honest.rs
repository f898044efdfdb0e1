//! The honest clients beside an attack: producers on a clock and consumers that wait for what they write.
//!
//! An open loop: a request leaves when its time has come, whether those before it are answered or not, and its latency counts from that
//! time. They use the project's client, on a thread of their own, each on a connection of its own, and connect again when they are cut.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmill_batch::{BatchBuilder, BatchHeader, Codec, DecompressLimit, read_records};
use ringmill_net::Piece;
use ringmill_net::client::{ClientError, ConnectOptions, Connection};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{ErrorCode, Records};
use tokio::time::{MissedTickBehavior, interval_at};

/// What they write to.
pub(super) const TOPIC: &str = "honest";

/// Its partitions; one producer for each.
pub(super) const PARTITIONS: i32 = 4;

/// Consumers, which share the partitions.
const CONSUMERS: i32 = 2;

/// Between two produces of one producer: with four of them, 200 a second.
const PRODUCE_INTERVAL: Duration = Duration::from_millis(20);

/// A record's value.
const VALUE_BYTES: usize = 1000;

/// How long a fetch may be held back.
const FETCH_WAIT_MS: i32 = 500;

/// After a connection was lost.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Topic ids take the place of names in later versions.
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;

/// What the honest clients saw since the last look.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// From the moment a produce was due to its answer.
    pub(super) produce: Vec<Duration>,
    /// From the moment a produce was due until a consumer had its record.
    pub(super) delivery: Vec<Duration>,
    /// Requests that failed.
    pub(super) failures: u64,
    /// What the first of them said.
    pub(super) first_failure: Option<String>,
}

/// The slowest but one in a hundred; zero if there is nothing.
pub(super) fn p99(latencies: &mut [Duration]) -> Duration {
    latencies.sort_unstable();
    let index = (latencies.len() * 99).div_ceil(100);
    latencies.get(index.saturating_sub(1)).copied().unwrap_or_default()
}

#[derive(Debug)]
struct Shared {
    address: String,
    began: Instant,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &ClientError) {
        let mut seen = self.seen();
        seen.failures += 1;
        if seen.first_failure.is_none() {
            seen.first_failure = Some(error.to_string());
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn since_began(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The clients, running.
pub(super) struct Honest {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Honest {
    /// Starts them; their topic is there.
    pub(super) fn start(address: &str) -> Result<Honest, String> {
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            began: Instant::now(),
            stop: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let clients = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let thread = std::thread::spawn(move || {
            let local = tokio::task::LocalSet::new();
            for index in 0..PARTITIONS {
                local.spawn_local(produce(Arc::clone(&clients), index));
            }
            for index in 0..CONSUMERS {
                local.spawn_local(consume(Arc::clone(&clients), index));
            }
            runtime.block_on(local);
        });
        Ok(Honest { shared, thread })
    }

    /// What they saw since the last call.
    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut self.shared.seen())
    }

    /// Stops them.
    pub(super) fn stop(self) -> Result<(), String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "an honest client panicked".to_owned())
    }
}

async fn connect(shared: &Shared) -> Option<Rc<Connection>> {
    let options = ConnectOptions { client_id: "honest".to_owned(), ..ConnectOptions::default() };
    while shared.goes_on() {
        match Connection::connect(&shared.address, &options).await {
            Ok(connection) => return Some(Rc::new(connection)),
            Err(error) => shared.failed(&error),
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
    None
}

/// One producer, to its partition.
async fn produce(shared: Arc<Shared>, partition: i32) {
    let first = tokio::time::Instant::now() + PRODUCE_INTERVAL * partition.unsigned_abs() / PARTITIONS.unsigned_abs();
    let mut due = interval_at(first, PRODUCE_INTERVAL);
    // What is late is sent at once: the clock decides.
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let Some(mut connection) = connect(&shared).await else { return };
    while shared.goes_on() {
        let due = due.tick().await.into_std();
        if !connection.is_usable() {
            let Some(new) = connect(&shared).await else { return };
            connection = new;
        }
        let (shared, connection) = (Arc::clone(&shared), Rc::clone(&connection));
        tokio::task::spawn_local(async move {
            match produce_one(&shared, &connection, partition, due).await {
                Ok(()) => shared.seen().produce.push(due.elapsed()),
                Err(error) => shared.failed(&error),
            }
        });
    }
}

async fn produce_one(
    shared: &Shared,
    connection: &Connection,
    partition: i32,
    due: Instant,
) -> Result<(), ClientError> {
    let mut value = [0; VALUE_BYTES];
    let due_ns = u64::try_from(due.duration_since(shared.began).as_nanos()).unwrap_or(u64::MAX);
    value[..8].copy_from_slice(&due_ns.to_be_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut batch = BatchBuilder::new(Codec::None, None);
    batch.push(i64::try_from(now.as_millis()).unwrap_or(0), None, Some(&value), &[]);
    let batch = batch.finish().freeze();
    let request = produce_request(TOPIC, partition, batch.len(), -1);
    let sent = connection.send(&request, PRODUCE_VERSION, vec![Piece::Bytes(batch)], 0).await?;
    let answer = sent.answer().await?;
    let response: ProduceResponse<'_> = answer.decode()?;
    let mut results = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    results.try_for_each(|result| check(result.error_code, "produce"))
}

fn check(error_code: i16, what: &str) -> Result<(), ClientError> {
    match ErrorCode::from_code(error_code).unwrap_or(ErrorCode::UnknownServerError) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::Refused { what: what.to_owned(), code, message: None }),
    }
}

/// A produce of one batch of `batch_bytes`.
pub(super) fn produce_request(topic: &str, partition: i32, batch_bytes: usize, acks: i16) -> ProduceRequest<'_> {
    let data = PartitionProduceData { index: partition, records: Some(Records::of_length(batch_bytes)) };
    let topic = TopicProduceData { name: topic, partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }
}

/// One consumer, of every `CONSUMERS`th partition.
async fn consume(shared: Arc<Shared>, index: i32) {
    let mut positions: BTreeMap<i32, i64> =
        (0..PARTITIONS).filter(|partition| partition % CONSUMERS == index).map(|partition| (partition, 0)).collect();
    let Some(mut connection) = connect(&shared).await else { return };
    while shared.goes_on() {
        if let Err(error) = fetch_one(&shared, &connection, &mut positions).await {
            shared.failed(&error);
        }
        if !connection.is_usable() {
            let Some(new) = connect(&shared).await else { return };
            connection = new;
        }
    }
}

async fn fetch_one(
    shared: &Shared,
    connection: &Connection,
    positions: &mut BTreeMap<i32, i64>,
) -> Result<(), ClientError> {
    let partitions = positions.iter().map(|(partition, offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    });
    let topic = FetchTopic { topic: TOPIC, partitions: partitions.collect(), ..FetchTopic::default() };
    let request =
        FetchRequest { max_wait_ms: FETCH_WAIT_MS, min_bytes: 1, topics: vec![topic], ..FetchRequest::default() };
    let answer = connection.send(&request, FETCH_VERSION, Vec::new(), 0).await?.answer().await?;
    let now = shared.since_began();
    let response: FetchResponse<'_> = answer.decode()?;
    let mut delivered = Vec::new();
    for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
        check(data.error_code, "fetch")?;
        let mut rest = data.records.map_or(&[][..], |records| &answer.body()[records.range()]);
        while let Some(header) = BatchHeader::parse(rest).ok().filter(|header| header.total_bytes() <= rest.len()) {
            let (batch, behind) = rest.split_at(header.total_bytes());
            rest = behind;
            positions.insert(data.partition_index, header.next_offset().get());
            delivered.extend(due_times(batch).map(|due| now.saturating_sub(due)));
        }
    }
    shared.seen().delivery.extend(delivered);
    Ok(())
}

/// When the records of a batch were due, since the start of the clients.
fn due_times(batch: &[u8]) -> impl Iterator<Item = Duration> {
    let due = |value: &[u8]| value.first_chunk().map(|bytes| Duration::from_nanos(u64::from_be_bytes(*bytes)));
    let records = read_records(batch, DecompressLimit::default());
    let times: Vec<_> =
        records.iter().flat_map(|records| records.iter()).filter_map(|record| due(record.ok()?.value?)).collect();
    times.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_a_hundred_does_not_count() {
        let mut latencies: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(p99(&mut latencies), Duration::from_millis(99));
        assert_eq!(p99(&mut [Duration::from_millis(7)]), Duration::from_millis(7));
        assert_eq!(p99(&mut []), Duration::ZERO);
    }
}
