//! The producer's task: takes records in, sends ready batches to the leaders, reports fates, repeats what may be repeated.
//!
//! All its state is its own; requests run as tasks of their own and come back as messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::batch::{Partition, ReadyBatch};
use super::{Acks, Command, Identity, ProducerOptions, Queued, new_identity};
use crate::client::partitioner;
use crate::client::{ClientError, Cluster, Connection};
use crate::piece::Piece;
use crate::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use crate::wire::{ErrorCode, Records, Uuid};

/// Batches of different partitions share a request up to this size; a single larger batch goes alone.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// From the next version on a produce names topics by their ids, which not every broker has.
const LAST_VERSION_BY_NAME: i16 = 12;
/// Records taken in a row before ready batches are looked for.
const COMMANDS_IN_A_ROW_MAX: usize = 1_000;

type Place = (Arc<str>, i32);

/// A batch on its way, with what is needed to send it again.
struct Sent {
    place: Place,
    order: u64,
    batch: ReadyBatch,
}

/// What a request says of one batch: where to, by name and id, and its bytes.
struct Addressed {
    place: Place,
    id: Uuid,
    bytes: Bytes,
}

/// A request that has come back.
struct Completion {
    leader: i32,
    sent: Vec<Sent>,
    /// Per batch, in the order of `sent`.
    fates: Result<Vec<Result<i64, ClientError>>, ClientError>,
}

struct Sender {
    cluster: Arc<Cluster>,
    options: ProducerOptions,
    identity: Option<Identity>,
    partitions: BTreeMap<Place, Partition>,
    /// The partition that records without a key go to, per topic, until its batch is full.
    sticky: BTreeMap<Arc<str>, i32>,
    /// Requests in flight per leader.
    in_flight: BTreeMap<i32, usize>,
    next_order: u64,
    completions: mpsc::UnboundedSender<Completion>,
    flushes: Vec<oneshot::Sender<()>>,
}

/// Runs until the producer is gone and everything is reported.
pub(super) async fn run(
    cluster: Arc<Cluster>,
    options: ProducerOptions,
    identity: Option<Identity>,
    mut commands: mpsc::Receiver<Command>,
) {
    // As many messages as requests in flight, which is bounded.
    let (completions, mut completed) = mpsc::unbounded_channel();
    let mut sender = Sender {
        cluster,
        options,
        identity,
        partitions: BTreeMap::new(),
        sticky: BTreeMap::new(),
        in_flight: BTreeMap::new(),
        next_order: 0,
        completions,
        flushes: Vec::new(),
    };
    let mut open = true;
    while open || !sender.is_idle() {
        sender.send_ready(open).await;
        // It may have given up what was left, and then nothing would ever wake the task.
        sender.answer_flushes();
        if !open && sender.is_idle() {
            return;
        }
        let wake_at = sender.next_deadline();
        tokio::select! {
            biased;
            Some(completion) = completed.recv() => sender.complete(completion),
            command = commands.recv(), if open => {
                open = command.is_some();
                let mut next = command;
                for _ in 0..COMMANDS_IN_A_ROW_MAX {
                    let Some(command) = next else { break };
                    sender.take(command);
                    next = commands.try_recv().ok();
                }
                if let Some(command) = next {
                    sender.take(command);
                }
            }
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
        }
        sender.answer_flushes();
    }
}

impl Sender {
    fn is_idle(&self) -> bool {
        self.partitions.values().all(Partition::is_idle)
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Send(queued) => self.add(queued),
            Command::Flush(done) => {
                self.partitions.values_mut().for_each(Partition::close);
                self.flushes.push(done);
            }
        }
    }

    fn add(&mut self, queued: Queued) {
        let topic = Arc::clone(&queued.record.topic);
        let partition = match (queued.record.partition, &queued.record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partitioner::of_key(key, queued.partitions),
            (None, None) => *self.sticky.entry(Arc::clone(&topic)).or_insert(0) % queued.partitions.max(1),
        };
        let spread = queued.record.partition.is_none() && queued.record.key.is_none();
        let (options, identity) = (&self.options, self.identity);
        let entry = self.partitions.entry((Arc::clone(&topic), partition));
        let entry = entry.or_insert_with(|| Partition::new(options, identity));
        let closed = entry.push(queued, Instant::now(), wall_clock_ms(), options);
        if closed && spread {
            self.sticky.insert(topic, partition.wrapping_add(1) & i32::MAX);
        }
    }

    /// Sends what is ready, has lingered long enough, or must go because the producer is closing.
    async fn send_ready(&mut self, open: bool) {
        let now = Instant::now();
        let linger = Duration::from_millis(self.options.linger_ms);
        let flushing = !self.flushes.is_empty() || !open;
        let mut by_leader: BTreeMap<i32, (Arc<Connection>, Vec<Place>)> = BTreeMap::new();
        let mut unreachable: Vec<(Place, ClientError)> = Vec::new();
        for (place, partition) in &mut self.partitions {
            partition.resume_at = partition.resume_at.filter(|at| *at > now);
            partition.requeue_failed();
            let lingered = partition.open_since().is_some_and(|since| flushing || since + linger <= now);
            if lingered && partition.ready.is_empty() {
                partition.close();
            }
            if partition.wants_identity() {
                match new_identity(&self.cluster).await {
                    Ok(identity) => partition.take_identity(identity),
                    Err(error) => unreachable.push((place.clone(), error)),
                }
            }
            if !partition.may_send() {
                continue;
            }
            match self.cluster.leader(&place.0, place.1).await {
                Ok((leader, connection)) => {
                    by_leader.entry(leader).or_insert_with(|| (connection, Vec::new())).1.push(place.clone());
                }
                Err(error) => unreachable.push((place.clone(), error)),
            }
        }
        for (place, error) in unreachable {
            self.postpone(&place, &error, now);
        }
        for (leader, (connection, mut places)) in by_leader {
            while !places.is_empty() && self.in_flight.get(&leader).copied().unwrap_or(0) < self.options.in_flight_max {
                self.send_one(leader, &connection, &places).await;
                places.retain(|place| self.partitions.get(place).is_some_and(|partition| partition.may_send()));
            }
        }
    }

    /// Builds one request of at most one batch per partition and lets a task carry it.
    async fn send_one(&mut self, leader: i32, connection: &Arc<Connection>, places: &[Place]) {
        let (mut sent, mut addressed) = (Vec::new(), Vec::new());
        let mut request_bytes = 0;
        for place in places {
            let partition = self.partitions.get_mut(place).expect("a place comes from the map");
            let next_bytes = partition.ready.front().map_or(0, |batch| batch.bytes.len());
            if next_bytes == 0 || (request_bytes > 0 && request_bytes + next_bytes > REQUEST_BYTES_MAX) {
                continue;
            }
            let batch = partition.ready.pop_front().expect("its length was just taken");
            partition.in_flight += 1;
            request_bytes += next_bytes;
            let id = self.cluster.topic(&place.0, false).await.map(|info| info.id).unwrap_or_default();
            addressed.push(Addressed { place: place.clone(), id, bytes: batch.bytes.clone() });
            sent.push(Sent { place: place.clone(), order: self.next_order, batch });
            self.next_order += 1;
        }
        *self.in_flight.entry(leader).or_insert(0) += 1;
        let sending = start(connection, &self.options, &addressed).await;
        let completions = self.completions.clone();
        tokio::spawn(async move {
            let fates = match sending {
                Ok(Some(in_flight)) => match in_flight.answer().await {
                    Ok(answer) => {
                        answer.decode::<ProduceResponse<'_>>().map(|response| fates_of(&response, &addressed))
                    }
                    Err(error) => Err(error),
                },
                Ok(None) => Ok(sent.iter().map(|_| Ok(-1)).collect()),
                Err(error) => Err(error),
            };
            // The sender task outlives its requests unless the runtime is ending.
            let _ = completions.send(Completion { leader, sent, fates });
        });
    }

    fn complete(&mut self, Completion { leader, sent, fates }: Completion) {
        let now = Instant::now();
        if let Some(count) = self.in_flight.get_mut(&leader) {
            *count -= 1;
        }
        let fates = fates.unwrap_or_else(|error| sent.iter().map(|_| Err(error.clone())).collect());
        for (Sent { place, order, batch }, fate) in sent.into_iter().zip(fates) {
            let partition = self.partitions.get_mut(&place).expect("partitions are never removed");
            partition.in_flight -= 1;
            match fate {
                Ok(base_offset) => batch.delivered(&place.0, place.1, base_offset),
                Err(error) if now < batch.deadline && (error.is_retriable() || is_out_of_step(&error)) => {
                    // Behind a batch that failed before it, a batch is out of step only until that one has gone again.
                    partition.out_of_step |= is_out_of_step(&error) && partition.failed.is_empty();
                    partition.failed.push((order, batch));
                    partition.resume_at = Some(now + Duration::from_millis(self.options.retry_backoff_ms));
                    self.cluster.forget(&place.0);
                }
                Err(error) => {
                    let halves = if is_too_large(&error) { batch.split(&self.options) } else { Err(batch) };
                    match halves {
                        // They go again before anything else of the partition, for that has the numbers after theirs.
                        Ok(halves) => partition.failed.extend(halves.map(|half| (order, half))),
                        Err(batch) => {
                            batch.failed(&error);
                            partition.gave_up();
                        }
                    }
                }
            }
        }
    }

    /// Nobody could be asked: wait, and give up what has waited too long.
    fn postpone(&mut self, place: &Place, error: &ClientError, now: Instant) {
        let backoff = Duration::from_millis(self.options.retry_backoff_ms);
        let partition = self.partitions.get_mut(place).expect("partitions are never removed");
        partition.resume_at = Some(now + backoff);
        self.cluster.forget(&place.0);
        let may_pass = error.is_retriable();
        while let Some(batch) = partition.ready.pop_front_if(|batch| batch.deadline <= now || !may_pass) {
            batch.failed(error);
            partition.gave_up();
        }
    }

    fn answer_flushes(&mut self) {
        if !self.flushes.is_empty() && self.is_idle() {
            for done in self.flushes.drain(..) {
                // Who no longer waits does not mind.
                let _ = done.send(());
            }
        }
    }

    /// When there may be something to do without anyone saying so.
    fn next_deadline(&self) -> Option<Instant> {
        let linger = Duration::from_millis(self.options.linger_ms);
        let deadline = |partition: &Partition| {
            let resume = partition.resume_at.filter(|_| !partition.ready.is_empty() || !partition.failed.is_empty());
            let lingered = partition.open_since().filter(|_| partition.ready.is_empty()).map(|since| since + linger);
            resume.into_iter().chain(lingered).min()
        };
        self.partitions.values().filter_map(deadline).min()
    }
}

/// Writes the request; `None` when no answer will come.
async fn start(
    connection: &Connection,
    options: &ProducerOptions,
    addressed: &[Addressed],
) -> Result<Option<crate::client::InFlight>, ClientError> {
    let mut version = connection.version_of::<ProduceRequest<'_>>()?;
    if addressed.iter().any(|addressed| addressed.id == Uuid::default()) {
        version = version.min(LAST_VERSION_BY_NAME);
    }
    let timeout_ms = i32::try_from(options.connect.request_timeout_ms).unwrap_or(i32::MAX);
    let mut request = ProduceRequest { acks: options.acks.code(), timeout_ms, ..Default::default() };
    let mut records = Vec::with_capacity(addressed.len());
    // They are sorted by topic, and so are the pieces.
    for Addressed { place: (topic, partition), id, bytes } in addressed {
        let data = PartitionProduceData { index: *partition, records: Some(Records::of_length(bytes.len())) };
        records.push(Piece::Bytes(bytes.clone()));
        match request.topic_data.last_mut().filter(|last| last.name == &**topic) {
            Some(last) => last.partition_data.push(data),
            None => {
                request.topic_data.push(TopicProduceData { name: topic, topic_id: *id, partition_data: vec![data] })
            }
        }
    }
    if options.acks == Acks::None {
        connection.send_unanswered(&request, version, records).await?;
        return Ok(None);
    }
    connection.send(&request, version, records, options.connect.request_timeout_ms).await.map(Some)
}

fn fates_of(response: &ProduceResponse<'_>, addressed: &[Addressed]) -> Vec<Result<i64, ClientError>> {
    let fate = |Addressed { place: (topic, partition), id, .. }: &Addressed| {
        let mut topics = response.responses.iter();
        let named = topics.find(|each| if each.name.is_empty() { each.topic_id == *id } else { each.name == &**topic });
        let found = named.and_then(|each| each.partition_responses.iter().find(|each| each.index == *partition));
        match found {
            // The broker has the batch from an earlier try and has forgotten where.
            Some(found) if found.error_code == ErrorCode::DuplicateSequenceNumber.code() => Ok(-1),
            Some(found) => {
                let what = || format!("a batch for {topic}-{partition}");
                ClientError::check(found.error_code, found.error_message, what).map(|()| found.base_offset)
            }
            None => Err(ClientError::Refused {
                what: format!("a batch for {topic}-{partition}"),
                code: ErrorCode::UnknownServerError,
                message: Some("the answer does not name the partition".to_owned()),
            }),
        }
    };
    addressed.iter().map(fate).collect()
}

/// Whether the broker's sequence numbers and the producer's differ.
fn is_out_of_step(error: &ClientError) -> bool {
    let codes = [
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::UnknownProducerId,
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::ProducerFenced,
    ];
    matches!(error, ClientError::Refused { code, .. } if codes.contains(code))
}

/// Whether the batch may pass in smaller pieces.
fn is_too_large(error: &ClientError) -> bool {
    let codes = [ErrorCode::MessageTooLarge, ErrorCode::RecordListTooLarge];
    matches!(error, ClientError::Refused { code, .. } if codes.contains(code))
}

fn wall_clock_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
