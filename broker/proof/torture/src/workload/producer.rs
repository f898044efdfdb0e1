//! Producers: one stream of records each, kept over all lives of the broker. Several share a connection and have several requests in flight.
//!
//! An idempotent producer sends what is not answered again, as it was; a plain one sends everything once. Each writes down what it sends
//! before it is sent, and what is answered when it has come.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_checker::{Event, Made, Place};
use ringmill_net::client::{ClientError, Connection, InFlight};
use tokio::time::sleep;

use super::client;
use super::ledger::Ledger;
use crate::random::Random;

/// Batches of one idempotent producer in flight: what brokers remember of one.
const BATCHES_IN_FLIGHT_MAX: usize = 5;

/// Requests of one connection in flight.
const REQUESTS_IN_FLIGHT_MAX: u64 = 6;

/// Batches in one request, of different partitions.
const BATCHES_PER_REQUEST_MAX: usize = 3;

/// The largest batches: below the default of `max.message.bytes`.
const LARGE_BATCH_BYTES_MAX: u64 = 900_000;

/// A request from this size on takes more than one system call to write.
const LARGE_BYTES: usize = 200_000;

/// How long a refused batch waits before it is sent again.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Codes of refusals: KAFKA_STORAGE_ERROR and REQUEST_TIMED_OUT leave open what happened.
const UNCERTAIN: [i16; 2] = [56, 7];
const OUT_OF_ORDER_SEQUENCE: i16 = 45;
/// No refusal: the broker has it and has forgotten where.
const DUPLICATE_SEQUENCE: i16 = 46;

/// How large things are that a producer makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) records_per_batch_max: u64,
    pub(super) value_bytes_max: u64,
    /// One batch in so many has up to [`LARGE_BATCH_BYTES_MAX`]: its write takes long enough to be killed in the middle.
    pub(super) large_once_in: u64,
    /// Records have keys, of so many: their topic is compacted.
    pub(super) keys: Option<u32>,
}

/// One producer.
#[derive(Debug)]
pub(super) struct Producer {
    number: u32,
    place: Place,
    topic: Rc<str>,
    idempotent: bool,
    sizes: Sizes,
    id: Option<i64>,
    next_number: u64,
    /// Not answered for good, in order.
    waiting: VecDeque<Batch>,
    /// How many of `waiting`, from the front, were sent on this connection.
    sent: usize,
    /// How many of them were not answered on this connection.
    unanswered: usize,
    /// One was refused: nothing is sent until all that is under way is answered, and then all that waits again.
    refused: bool,
    /// The broker has lost track of it: somebody else takes its place.
    retired: bool,
}

#[derive(Clone, Debug)]
struct Batch {
    first: u64,
    count: u64,
    value_bytes: usize,
    /// When it was made, in milliseconds since 1970.
    made_ms: i64,
}

impl Producer {
    /// Announces a new producer.
    pub(super) fn new(
        ledger: &Ledger,
        number: u32,
        (place, topic): (Place, Rc<str>),
        idempotent: bool,
        sizes: Sizes,
    ) -> Producer {
        ledger.put(Event::Producer { producer: number, place, idempotent });
        Producer {
            number,
            place,
            topic,
            idempotent,
            sizes,
            id: None,
            next_number: 0,
            waiting: VecDeque::new(),
            sent: 0,
            unanswered: 0,
            refused: false,
            retired: false,
        }
    }

    /// The same partition for a successor, if one is needed.
    pub(super) fn wants_successor(&self) -> Option<(Place, Rc<str>, bool, Sizes)> {
        self.retired.then(|| (self.place, Rc::clone(&self.topic), self.idempotent, self.sizes))
    }

    /// On a new connection: what was under way on the last one was answered or not.
    fn begin(&mut self) {
        self.sent = 0;
        self.unanswered = 0;
        self.refused = false;
        if !self.idempotent {
            self.waiting.clear();
        }
    }

    fn may_send(&self) -> bool {
        !self.refused && !self.retired && self.sent < BATCHES_IN_FLIGHT_MAX
    }

    /// The next batch, made if none waits.
    fn next_batch(&mut self, random: &mut Random) -> Batch {
        if self.sent == self.waiting.len() {
            let value_bytes = random.below(self.sizes.value_bytes_max);
            let count = match random.once_in(self.sizes.large_once_in) {
                true => 1 + random.below(LARGE_BATCH_BYTES_MAX / value_bytes.max(100)),
                false => 1 + random.below(self.sizes.records_per_batch_max),
            };
            let value_bytes = usize::try_from(value_bytes).expect("a size");
            let made_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
            let made_ms = i64::try_from(made_ms).expect("it is before the end of time");
            self.waiting.push_back(Batch { first: self.next_number, count, value_bytes, made_ms });
            self.next_number += count;
        }
        self.sent += 1;
        self.unanswered += 1;
        self.waiting[self.sent - 1].clone()
    }

    fn encode(&self, batch: &Batch) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None, None);
        if let Some(id) = self.id {
            let sequence = i32::try_from(batch.first).expect("no run makes that many records");
            builder.producer(id, 0, sequence);
        }
        for number in batch.first..batch.first + batch.count {
            let made = Made { producer: self.number, number };
            made.push_onto(&mut builder, batch.made_ms, self.sizes.keys, batch.value_bytes);
        }
        builder.finish().freeze()
    }

    /// Writes an answer down; false if it was a refusal.
    fn answered(&mut self, ledger: &Ledger, first: u64, (code, offset): (i16, i64)) -> bool {
        let producer = self.number;
        let at = self.waiting.iter().position(|batch| batch.first == first).expect("answers are to what was sent");
        let acknowledged = code == 0 || code == DUPLICATE_SEQUENCE;
        if acknowledged {
            let offset = (code == 0).then_some(offset);
            ledger.put(Event::Acked { producer, first, offset });
            ledger.count("records acknowledged", self.waiting[at].count);
        } else {
            ledger.put(Event::Refused { producer, first, code });
            ledger.count("batches refused", 1);
        }
        if acknowledged || !self.idempotent {
            self.waiting.remove(at);
            self.sent -= 1;
        } else {
            // Out of order is what follows on a refused one. The first that waits follows on what was acknowledged.
            let follows_refused = code == OUT_OF_ORDER_SEQUENCE && at > 0;
            self.retired |= !UNCERTAIN.contains(&code) && !follows_refused;
            self.refused = true;
        }
        self.unanswered -= 1;
        if self.refused && self.unanswered == 0 {
            self.refused = false;
            self.sent = 0;
        }
        acknowledged
    }
}

/// A request under way: whose batches, and the number of the first record of each.
struct Request {
    in_flight: InFlight,
    parts: Vec<(usize, u64)>,
    /// When it was sent, if it is a large one.
    large_since: Option<Instant>,
}

/// Some producers on one connection, for one life of the broker.
pub(super) struct Writer<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) random: Random,
    pub(super) producers: &'a mut Vec<Producer>,
    pub(super) acks: i16,
}

impl Writer<'_> {
    /// Writes until the connection ends.
    pub(super) async fn run(mut self, address: SocketAddr) -> Result<(), ClientError> {
        let connection = client::connect(address).await?;
        self.producers.iter_mut().for_each(Producer::begin);
        let mut requests: VecDeque<Request> = VecDeque::new();
        while connection.is_usable() {
            let depth = 1 + self.random.below(REQUESTS_IN_FLIGHT_MAX);
            while (requests.len() as u64) < depth {
                let parts = self.choose(&connection).await?;
                if parts.is_empty() {
                    break;
                }
                requests.push_back(self.send(&connection, parts).await?);
            }
            let all_well = match requests.pop_front() {
                Some(request) => self.receive(request).await?,
                None => false,
            };
            if !all_well {
                sleep(REFUSED_PAUSE).await;
            }
            if self.random.once_in(3) {
                sleep(Duration::from_millis(self.random.below(4))).await;
            }
        }
        Err(ClientError::Closed)
    }

    /// Who sends next: some producers of different partitions.
    async fn choose(&mut self, connection: &Connection) -> Result<Vec<usize>, ClientError> {
        let mut chosen: Vec<usize> = Vec::new();
        for _ in 0..BATCHES_PER_REQUEST_MAX {
            let index = self.random.index(self.producers.len());
            let place = self.producers[index].place;
            let taken = chosen.iter().any(|other| self.producers[*other].place == place);
            let producer = &mut self.producers[index];
            if taken || !producer.may_send() {
                continue;
            }
            if producer.idempotent && producer.id.is_none() {
                producer.id = client::init_producer(connection).await?.ok();
                if producer.id.is_none() {
                    continue;
                }
            }
            chosen.push(index);
        }
        chosen.sort_unstable();
        Ok(chosen)
    }

    async fn send(&mut self, connection: &Connection, chosen: Vec<usize>) -> Result<Request, ClientError> {
        let mut parts = Vec::with_capacity(chosen.len());
        let mut batches = Vec::with_capacity(chosen.len());
        for index in chosen {
            let producer = &mut self.producers[index];
            let batch = producer.next_batch(&mut self.random);
            self.ledger.put(Event::Sent { producer: producer.number, first: batch.first, count: batch.count });
            parts.push((index, batch.first));
            batches.push((Rc::clone(&producer.topic), producer.place.partition, producer.encode(&batch)));
        }
        let named: Vec<_> = batches.iter().map(|(topic, index, bytes)| ((&**topic, *index), bytes.clone())).collect();
        let in_flight = client::send_produce(connection, self.acks, &named).await?;
        let large = named.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() >= LARGE_BYTES;
        if large {
            self.ledger.large_is_sent();
        }
        Ok(Request { in_flight, parts, large_since: large.then(Instant::now) })
    }

    /// True if nothing was refused.
    async fn receive(&mut self, Request { in_flight, parts, large_since }: Request) -> Result<bool, ClientError> {
        let answers = client::produced(in_flight).await?;
        if let Some(since) = large_since {
            self.ledger.large_took(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        let mut all_well = true;
        for ((index, first), answer) in parts.iter().zip(answers) {
            all_well &= self.producers[*index].answered(self.ledger, *first, answer);
        }
        Ok(all_well)
    }
}
