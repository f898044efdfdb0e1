//! The consumer: assigned partitions, a place in each, and fetches that wait at the broker until there is something.
//!
//! One fetch per leader is under way at a time; whatever comes first is handed out first. Positions advance by what was handed
//! out. Commits and membership are in `group`, which stands on this.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ringmill_batch::{BatchHeader, DecompressLimit, RecordSet, check_stored, read_records};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::{ClientError, Cluster, ConnectOptions, Connection};
use crate::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use crate::wire::{ErrorCode, Uuid};

/// From the next version on a fetch names topics by their ids, which not every broker has.
const LAST_VERSION_BY_NAME: i16 = 12;

/// How a consumer fetches.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// How long the broker may hold a fetch back while there is too little.
    pub max_wait_ms: u32,
    /// What is too little.
    pub min_bytes: u32,
    /// The most that one fetch brings; a single larger batch still comes.
    pub max_bytes: u32,
    /// The most of one partition.
    pub partition_max_bytes: u32,
    /// Whether every batch's checksum is verified.
    pub check_crc: bool,
    /// Where to go on when the position is outside the log; an error if `None`.
    pub reset: Option<Start>,
    /// How long to wait before something is tried again.
    pub retry_backoff_ms: u64,
    /// How connections are made.
    pub connect: ConnectOptions,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 50 * 1024 * 1024,
            partition_max_bytes: 1024 * 1024,
            check_crc: true,
            reset: None,
            retry_backoff_ms: 100,
            connect: ConnectOptions::default(),
        }
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first record that there still is.
    Earliest,
    /// Only what comes from now on.
    Latest,
    /// This offset.
    Offset(i64),
    /// The first record at or after this time, in milliseconds since 1970; the end if there is none.
    Timestamp(i64),
}

/// What a fetch brought from one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first offset that was asked for: a batch may begin earlier.
    pub from: i64,
    /// The end of what can be read.
    pub high_watermark: i64,
    batches: Bytes,
}

impl Fetched {
    /// Bytes of all batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batches.len()
    }

    /// The batches one by one, each opened (decompressed) when it is reached. A batch may hold records before
    /// [`from`](Self::from); the caller passes over them.
    ///
    /// # Errors
    /// Each item may be `BadRecords`.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordSet<'_>, ClientError>> {
        let mut rest = &self.batches[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let opened = read_records(rest, DecompressLimit::default()).map_err(|error| self.bad(&error));
            match &opened {
                Ok(set) => rest = &rest[set.header().total_bytes()..],
                Err(_) => rest = &[],
            }
            Some(opened)
        })
    }

    fn bad(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::BadRecords { topic: self.topic.to_string(), partition: self.partition, reason: reason.to_string() }
    }
}

type Place = (Arc<str>, i32);

/// What a fetch asks of one partition.
#[derive(Clone, Debug)]
struct Asked {
    place: Place,
    /// Of the assignment that it is asked for.
    number: u64,
    offset: i64,
    topic_id: Uuid,
    /// −1 when it is not known.
    leader_epoch: i32,
}

#[derive(Debug)]
struct Position {
    /// Distinguishes it from one that was given back before: what was asked for that one is of no use to this.
    number: u64,
    offset: i64,
    /// A fetch that asks for it is under way.
    in_flight: bool,
    /// Not asked for before this, after an error that may pass.
    resume_at: Option<Instant>,
}

/// One leader's answer, or why there is none.
struct Completion {
    asked: Vec<Asked>,
    answer: Result<super::Answer, ClientError>,
}

/// A consumer of assigned partitions.
pub struct Consumer {
    cluster: Arc<Cluster>,
    options: ConsumerOptions,
    positions: BTreeMap<Place, Position>,
    /// Of the last assignment.
    last_number: u64,
    sender: mpsc::UnboundedSender<Completion>,
    /// At most one message per leader.
    completions: mpsc::UnboundedReceiver<Completion>,
    in_flight: usize,
    arrived: VecDeque<Fetched>,
}

impl Consumer {
    /// Connects to the first of `bootstrap` that answers.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn connect(bootstrap: &str, options: ConsumerOptions) -> Result<Consumer, ClientError> {
        let cluster = Arc::new(Cluster::connect(bootstrap, options.connect.clone()).await?);
        Ok(Consumer::on(cluster, options))
    }

    /// A consumer over connections that there are already; `options.connect` says nothing more.
    #[must_use]
    pub fn on(cluster: Arc<Cluster>, options: ConsumerOptions) -> Consumer {
        let (sender, completions) = mpsc::unbounded_channel();
        let positions = BTreeMap::new();
        let arrived = VecDeque::new();
        Consumer { cluster, options, positions, last_number: 0, sender, completions, in_flight: 0, arrived }
    }

    /// The indexes of a topic's partitions.
    ///
    /// # Errors
    /// Of the connection; `Refused` if there is no such topic.
    pub async fn partitions_of(&self, topic: &str) -> Result<Vec<i32>, ClientError> {
        Ok(self.cluster.topic(topic, false).await?.partitions.iter().map(|partition| partition.index).collect())
    }

    /// Reads a partition from now on, beginning at `start`; a partition that is read already moves there.
    ///
    /// # Errors
    /// Of the connection; `Refused` if there is no such partition.
    pub async fn assign(&mut self, topic: &str, partition: i32, start: Start) -> Result<(), ClientError> {
        let offset = self.resolve(topic, partition, start).await?;
        let topic: Arc<str> = Arc::from(topic);
        self.last_number += 1;
        let number = self.last_number;
        let dropped = self.drop_arrived(&topic, partition);
        let entry = self.positions.entry((topic, partition));
        let position = entry.or_insert(Position { number, offset, in_flight: false, resume_at: None });
        position.offset = offset;
        if dropped {
            // What had arrived would have made the partition free again when it was handed out.
            position.in_flight = false;
        }
        Ok(())
    }

    /// Reads a partition no longer; what has come of it and was not handed out is forgotten.
    pub fn unassign(&mut self, topic: &str, partition: i32) {
        self.drop_arrived(topic, partition);
        self.positions.remove(&(Arc::from(topic), partition));
    }

    /// Whether there was any.
    fn drop_arrived(&mut self, topic: &str, partition: i32) -> bool {
        let before = self.arrived.len();
        self.arrived.retain(|fetched| !(*fetched.topic == *topic && fetched.partition == partition));
        self.arrived.len() < before
    }

    /// The next offset of a partition that will be handed out.
    #[must_use]
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.positions.get(&(Arc::from(topic), partition)).map(|position| position.offset)
    }

    /// The end of a partition: the offset that the next record will get.
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub async fn end_of(&self, topic: &str, partition: i32) -> Result<i64, ClientError> {
        self.resolve(topic, partition, Start::Latest).await
    }

    async fn resolve(&self, topic: &str, partition: i32, start: Start) -> Result<i64, ClientError> {
        let timestamp = match start {
            Start::Offset(offset) => return Ok(offset),
            Start::Earliest => -2,
            Start::Latest => -1,
            Start::Timestamp(timestamp_ms) => timestamp_ms.max(0),
        };
        let (_, leader) = self.cluster.leader(topic, partition).await?;
        match leader.list_offset(topic, partition, timestamp).await? {
            // No record that late: begin with the next one.
            -1 => leader.list_offset(topic, partition, -1).await,
            offset => Ok(offset),
        }
    }

    /// Waits up to `wait` for records; `None` when none came. Errors that may pass are waited out.
    ///
    /// # Errors
    /// Those that will not pass: a topic that is gone, a damaged batch, a position outside the log without `reset`.
    pub async fn poll(&mut self, wait: Duration) -> Result<Option<Fetched>, ClientError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(fetched) = self.arrived.pop_front() {
                let fetched = self.hand_out(fetched)?;
                // The next fetch is under way while the caller works.
                if self.arrived.is_empty() {
                    self.send_fetches().await;
                }
                return Ok(Some(fetched));
            }
            self.send_fetches().await;
            let retry_at = Instant::now() + Duration::from_millis(self.options.retry_backoff_ms);
            if self.in_flight == 0 {
                if retry_at > deadline {
                    sleep(deadline.saturating_duration_since(Instant::now())).await;
                    return Ok(None);
                }
                sleep(Duration::from_millis(self.options.retry_backoff_ms)).await;
                continue;
            }
            match timeout_at(deadline, self.completions.recv()).await {
                Ok(Some(completion)) => self.complete(completion).await?,
                Ok(None) => return Err(ClientError::Closed),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Checks the batches, cuts what is incomplete, and moves the position behind them.
    fn hand_out(&mut self, mut fetched: Fetched) -> Result<Fetched, ClientError> {
        if let Some(position) = self.positions.get_mut(&(Arc::clone(&fetched.topic), fetched.partition)) {
            position.in_flight = false;
        }
        let mut whole = 0;
        let mut next_offset = fetched.from;
        while let Some(rest) = fetched.batches.get(whole..).filter(|rest| rest.len() >= BatchHeader::BYTES) {
            let header = BatchHeader::parse(rest).map_err(|error| fetched.bad(&error))?;
            // The limit in bytes may cut the last batch; it comes whole with the next fetch.
            let Some(batch) = rest.get(..header.total_bytes()) else { break };
            if self.options.check_crc {
                check_stored(batch).map_err(|error| fetched.bad(&error))?;
            }
            whole += batch.len();
            next_offset = next_offset.max(header.next_offset().get());
        }
        fetched.batches.truncate(whole);
        if let Some(position) = self.positions.get_mut(&(Arc::clone(&fetched.topic), fetched.partition)) {
            position.offset = next_offset;
        }
        Ok(fetched)
    }

    /// One fetch to each leader that has none under way.
    async fn send_fetches(&mut self) {
        let now = Instant::now();
        let mut by_leader: BTreeMap<i32, (Arc<Connection>, Vec<Asked>)> = BTreeMap::new();
        let mut busy = Vec::new();
        for (place, position) in &mut self.positions {
            let leader = match self.cluster.leader(&place.0, place.1).await {
                Ok(found) => found,
                Err(_) => {
                    // The next round asks anew who leads.
                    self.cluster.forget(&place.0);
                    continue;
                }
            };
            if position.in_flight {
                busy.push(leader.0);
            } else if position.resume_at.is_none_or(|at| at <= now) {
                let (topic_id, leader_epoch) = match self.cluster.topic(&place.0, false).await {
                    Ok(info) => (info.id, info.leader_epoch_of(place.1)),
                    Err(_) => (Uuid::default(), -1),
                };
                let entry = by_leader.entry(leader.0).or_insert_with(|| (leader.1, Vec::new()));
                let (place, number, offset) = (place.clone(), position.number, position.offset);
                entry.1.push(Asked { place, number, offset, topic_id, leader_epoch });
            }
        }
        for (leader, (connection, asked)) in by_leader {
            if busy.contains(&leader) {
                continue;
            }
            for Asked { place, .. } in &asked {
                self.positions.get_mut(place).expect("it was just listed").in_flight = true;
            }
            self.in_flight += 1;
            let (options, sender) = (self.options.clone(), self.sender.clone());
            tokio::spawn(async move {
                let answer = fetch(&connection, &options, &asked).await;
                // A consumer that is gone does not mind.
                let _ = sender.send(Completion { asked, answer });
            });
        }
    }

    async fn complete(&mut self, Completion { asked, answer }: Completion) -> Result<(), ClientError> {
        self.in_flight -= 1;
        let parts = answer.and_then(|answer| partitions_of(answer, &asked));
        let parts = match parts {
            Ok(parts) => parts,
            Err(error) if error.is_retriable() => {
                for Asked { place, number, .. } in &asked {
                    self.postpone(place, *number);
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for Asked { place, number, .. } in &asked {
            if let Some(position) = self.positions.get_mut(place).filter(|position| position.number == *number) {
                position.in_flight = false;
            }
        }
        for (index, data, records) in parts {
            let Asked { place, number, offset: from, .. } = &asked[index];
            // A partition that was moved or given back meanwhile has no use for the answer.
            let is_it = |position: &Position| position.number == *number && position.offset == *from;
            if self.positions.get(place).is_some_and(is_it) {
                self.take_partition(place, *number, *from, &data, records).await?;
            }
        }
        Ok(())
    }

    async fn take_partition(
        &mut self,
        place: &Place,
        number: u64,
        from: i64,
        data: &PartitionData,
        records: Bytes,
    ) -> Result<(), ClientError> {
        let what = || format!("fetch of {}-{} from {from}", place.0, place.1);
        match ErrorCode::from_code(data.error_code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None if records.is_empty() => Ok(()),
            ErrorCode::None => {
                // Not asked for again until it was handed out.
                if let Some(position) = self.positions.get_mut(place) {
                    position.in_flight = true;
                }
                self.arrived.push_back(Fetched {
                    topic: Arc::clone(&place.0),
                    partition: place.1,
                    from,
                    high_watermark: data.high_watermark,
                    batches: records,
                });
                Ok(())
            }
            ErrorCode::OffsetOutOfRange if self.options.reset.is_some() => {
                let reset = self.options.reset.unwrap_or(Start::Earliest);
                self.assign(&place.0, place.1, reset).await
            }
            code if code.is_retriable() => {
                self.postpone(place, number);
                Ok(())
            }
            code => Err(ClientError::Refused { what: what(), code, message: None }),
        }
    }

    fn postpone(&mut self, place: &Place, number: u64) {
        let resume_at = Instant::now() + Duration::from_millis(self.options.retry_backoff_ms);
        self.cluster.forget(&place.0);
        if let Some(position) = self.positions.get_mut(place).filter(|position| position.number == number) {
            position.in_flight = false;
            position.resume_at = Some(resume_at);
        }
    }
}

async fn fetch(
    connection: &Connection,
    options: &ConsumerOptions,
    asked: &[Asked],
) -> Result<super::Answer, ClientError> {
    let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let mut request = FetchRequest {
        max_wait_ms: signed(options.max_wait_ms),
        min_bytes: signed(options.min_bytes),
        max_bytes: signed(options.max_bytes),
        ..Default::default()
    };
    for Asked { place: (topic, partition), offset, topic_id, leader_epoch, .. } in asked {
        let partition = FetchPartition {
            partition: *partition,
            current_leader_epoch: *leader_epoch,
            fetch_offset: *offset,
            partition_max_bytes: signed(options.partition_max_bytes),
            ..Default::default()
        };
        match request.topics.last_mut().filter(|last| last.topic == &**topic) {
            Some(last) => last.partitions.push(partition),
            None => {
                request.topics.push(FetchTopic { topic, topic_id: *topic_id, partitions: vec![partition] });
            }
        }
    }
    let mut version = connection.version_of::<FetchRequest<'_>>()?;
    if asked.iter().any(|asked| asked.topic_id == Uuid::default()) {
        version = version.min(LAST_VERSION_BY_NAME);
    }
    connection.send(&request, version, Vec::new(), u64::from(options.max_wait_ms)).await?.answer().await
}

/// Every partition of the answer with the index of its question and its bytes.
fn partitions_of(answer: super::Answer, asked: &[Asked]) -> Result<Vec<(usize, PartitionData, Bytes)>, ClientError> {
    let mut parts = Vec::new();
    {
        let response: FetchResponse<'_> = answer.decode()?;
        ClientError::check(response.error_code, None, || "a fetch".to_owned())?;
        for topic in response.responses {
            for data in topic.partitions {
                let is_it = |Asked { place: (name, partition), topic_id, .. }: &Asked| {
                    let same_topic =
                        if topic.topic.is_empty() { *topic_id == topic.topic_id } else { **name == *topic.topic };
                    same_topic && *partition == data.partition_index
                };
                if let Some(index) = asked.iter().position(is_it) {
                    parts.push((index, data));
                }
            }
        }
    }
    let body = answer.into_body();
    let with_bytes = |(index, data): (usize, PartitionData)| {
        let range = data.records.map(|records| records.range()).unwrap_or_default();
        (index, data, body.slice(range))
    };
    Ok(parts.into_iter().map(with_bytes).collect())
}
