//! The producer: records in, batches out, every record's fate reported to who sent it.
//!
//! `send` hands a record to a task of its own (`sender`), which gathers batches per partition (`batch`), ships them to the
//! leaders with several requests in flight, and repeats what may be repeated, in order. This file is its face.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use ringmill_batch::Codec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::{ClientError, Cluster, ConnectOptions};
use crate::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

mod batch;
mod sender;

/// What a record costs in the buffer beyond its own bytes.
const RECORD_OVERHEAD_BYTES: usize = 64;
/// Commands that may wait for the sender task; the buffer's bytes are the limit that is felt.
const COMMANDS_MAX: usize = 10_000;

/// When the broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Never: a record is reported as delivered when it was written to the socket, without an offset.
    None,
    /// When the leader holds it.
    Leader,
    /// When all in-sync replicas hold it.
    All,
}

impl Acks {
    /// As the protocol writes it.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

/// How a producer gathers, sends and repeats.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// When an answer comes. `None` excludes `idempotent`.
    pub acks: Acks,
    /// How long a batch that is not full waits for more records.
    pub linger_ms: u64,
    /// A batch is closed when it holds this much, uncompressed. A single larger record still goes, alone.
    pub batch_bytes: usize,
    /// How batches are compressed.
    pub codec: Codec,
    /// The codec's level, its own default if `None`.
    pub level: Option<i32>,
    /// Whether repeats are recognised by the broker, so that nothing is written twice or out of order.
    pub idempotent: bool,
    /// Requests without an answer per broker: 1 to 5 when idempotent, for the broker remembers five batches.
    pub in_flight_max: usize,
    /// How long a record may take from `send` to its report, retries included.
    pub delivery_timeout_ms: u64,
    /// How long to wait before something is tried again.
    pub retry_backoff_ms: u64,
    /// Bytes of records that may wait; `send` waits when there are more.
    pub buffer_bytes_max: usize,
    /// Whether a topic that does not exist is to be created by the first record for it, where the broker allows it.
    pub auto_create: bool,
    /// How connections are made.
    pub connect: ConnectOptions,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            acks: Acks::All,
            linger_ms: 5,
            batch_bytes: 256 * 1024,
            codec: Codec::None,
            level: None,
            idempotent: true,
            in_flight_max: 5,
            delivery_timeout_ms: 120_000,
            retry_backoff_ms: 100,
            buffer_bytes_max: 32 * 1024 * 1024,
            auto_create: true,
            connect: ConnectOptions::default(),
        }
    }
}

/// A record to send.
#[derive(Clone, Debug, Default)]
pub struct ProducerRecord {
    /// Where to.
    pub topic: Arc<str>,
    /// Which partition; by key, or spread batch by batch, if `None`.
    pub partition: Option<i32>,
    /// The key, if any.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    /// Names (UTF-8 by convention) and values, in order; a name may repeat.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
    /// Milliseconds since 1970; now if `None`.
    pub timestamp_ms: Option<i64>,
}

impl ProducerRecord {
    fn buffered_bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len)).sum();
        let payload = self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len);
        RECORD_OVERHEAD_BYTES + payload + headers
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The record's offset; −1 where no answer is asked for.
    pub offset: i64,
}

/// Resolves when the record was delivered or given up.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Delivered, ClientError>>);

impl Future for Delivery {
    type Output = Result<Delivered, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|received| received.unwrap_or(Err(ClientError::Closed)))
    }
}

/// What is called with a record's fate, on the sender task: it must be quick.
type Callback = Box<dyn FnOnce(Result<Delivered, ClientError>) + Send>;

/// Who is told what became of a record.
enum Report {
    Future(oneshot::Sender<Result<Delivered, ClientError>>),
    Callback(Callback),
}

impl Report {
    fn tell(self, fate: Result<Delivered, ClientError>) {
        match self {
            // Who dropped the future does not mind.
            Report::Future(sender) => drop(sender.send(fate)),
            Report::Callback(callback) => callback(fate),
        }
    }
}

/// A record on its way to the sender task, its partition count already known.
struct Queued {
    record: ProducerRecord,
    partitions: i32,
    report: Report,
    deadline: Instant,
    /// Held until the report.
    space: OwnedSemaphorePermit,
}

enum Command {
    Send(Queued),
    Flush(oneshot::Sender<()>),
}

/// The id by which a broker recognises repeats.
#[derive(Clone, Copy, Debug)]
struct Identity {
    id: i64,
    epoch: i16,
}

/// A producer. Clone-free and shared by reference; dropping it lets what was sent go out, `close` waits for that.
pub struct Producer {
    cluster: Arc<Cluster>,
    options: ProducerOptions,
    commands: mpsc::Sender<Command>,
    space: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Producer {
    /// Connects to the first of `bootstrap` that answers, and gets a producer id if idempotent.
    ///
    /// # Errors
    /// Of the connection; `Refused` when the broker gives no producer id.
    pub async fn connect(bootstrap: &str, options: ProducerOptions) -> Result<Producer, ClientError> {
        let cluster = Arc::new(Cluster::connect(bootstrap, options.connect.clone()).await?);
        Producer::on(cluster, options).await
    }

    /// A producer over connections that there are already; of `options.connect` only the request timeout counts.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn on(cluster: Arc<Cluster>, mut options: ProducerOptions) -> Result<Producer, ClientError> {
        options.idempotent &= options.acks != Acks::None;
        options.in_flight_max = options.in_flight_max.clamp(1, if options.idempotent { 5 } else { usize::MAX });
        let identity = if options.idempotent { Some(new_identity(&cluster).await?) } else { None };
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let task = tokio::spawn(sender::run(Arc::clone(&cluster), options.clone(), identity, receiver));
        let space = Arc::new(Semaphore::new(options.buffer_bytes_max));
        Ok(Producer { cluster, options, commands, space, task })
    }

    /// Hands a record over; waits while the buffer is full or the topic is being looked up. Await what comes back for the
    /// record's fate, or drop it.
    ///
    /// # Errors
    /// When the topic cannot be found in time, or the record is larger than the whole buffer.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(record, Report::Future(sender)).await?;
        Ok(Delivery(receiver))
    }

    /// The same, with a function to be called on success and on failure.
    ///
    /// # Errors
    /// As [`send`](Self::send); the function is then not called.
    pub async fn send_with(
        &self,
        record: ProducerRecord,
        callback: impl FnOnce(Result<Delivered, ClientError>) + Send + 'static,
    ) -> Result<(), ClientError> {
        self.enqueue(record, Report::Callback(Box::new(callback))).await
    }

    async fn enqueue(&self, record: ProducerRecord, report: Report) -> Result<(), ClientError> {
        let deadline = Instant::now() + Duration::from_millis(self.options.delivery_timeout_ms);
        let record_bytes = record.buffered_bytes();
        let limit_bytes = self.options.buffer_bytes_max;
        let permits = u32::try_from(record_bytes).ok().filter(|_| record_bytes <= limit_bytes);
        let permits = permits.ok_or(ClientError::RecordTooLarge { record_bytes, limit_bytes })?;
        let partitions = self.partitions_of(&record.topic, deadline).await?;
        let space = Arc::clone(&self.space).acquire_many_owned(permits).await.map_err(|_| ClientError::Closed)?;
        let queued = Queued { record, partitions, report, deadline, space };
        self.commands.send(Command::Send(queued)).await.map_err(|_| ClientError::Closed)
    }

    /// How many partitions a topic has; asks again until the deadline, for a topic that is just being created appears late.
    async fn partitions_of(&self, topic: &str, deadline: Instant) -> Result<i32, ClientError> {
        loop {
            let error = match self.cluster.topic(topic, self.options.auto_create).await {
                Ok(info) if !info.partitions.is_empty() => {
                    return Ok(i32::try_from(info.partitions.len()).unwrap_or(i32::MAX));
                }
                Ok(_) => {
                    self.cluster.forget(topic);
                    None
                }
                Err(error) if error.is_retriable() => Some(error),
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(error.unwrap_or(ClientError::Closed));
            }
            sleep(Duration::from_millis(self.options.retry_backoff_ms)).await;
        }
    }

    /// Waits until everything that was sent before has been reported.
    ///
    /// # Errors
    /// `Closed` if the producer has ended.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Flush(sender)).await.map_err(|_| ClientError::Closed)?;
        receiver.await.map_err(|_| ClientError::Closed)
    }

    /// Flushes and ends the sender task.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn close(self) -> Result<(), ClientError> {
        let flushed = self.flush().await;
        drop(self.commands);
        self.task.await.map_err(|_| ClientError::Closed)?;
        flushed
    }
}

async fn new_identity(cluster: &Cluster) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
    let answer = cluster.any().await?.call(&request).await?;
    let response: InitProducerIdResponse = answer.decode()?;
    ClientError::check(response.error_code, None, || "a producer id".to_owned())?;
    Ok(Identity { id: response.producer_id, epoch: response.producer_epoch })
}
