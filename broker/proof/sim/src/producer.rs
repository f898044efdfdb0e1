//! A producer over all lives of the broker: an idempotent one sends again what was not answered, a plain one never does.
//!
//! To the history a producer is one stream of records. Whoever cannot go on with his stream begins another: a plain producer with each
//! connection, since requests of two may overtake each other, an idempotent one when it takes another id.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmill_batch::Codec;
use ringmill_checker::{Event, Place};
use ringmill_net::wire::ErrorCode;
use tokio::time::sleep;

use crate::client::{Client, TopicRef};
use crate::life::Life;
use crate::plan::Topic;
use crate::random::Random;
use crate::records::Batch;

/// Kafka's clients have five produces in flight; brokers remember as many for idempotent ones.
const IN_FLIGHT_MAX: usize = 5;

const RECORDS_MAX: u64 = 4;

/// Large enough that a few dozen fill the smallest segment.
const LARGE_BYTES: u64 = 120_000;

/// One producer of one partition.
pub(crate) struct Producer {
    place: Place,
    topic: Topic,
    is_idempotent: bool,
    /// Whether it names its topic by its id.
    by_id: bool,
    codec: Codec,
    in_flight: usize,
    state: RefCell<State>,
    /// It has to begin anew before it sends anything.
    must_renew: Cell<bool>,
}

#[derive(Default)]
struct State {
    /// Which stream of the history it writes.
    stream: Option<u32>,
    id: Option<i64>,
    next_sequence: i32,
    next_number: u64,
    /// Sent, or about to be, and not answered for good. In order.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone)]
struct Waiting {
    batch: Batch,
    /// An earlier attempt may have been appended.
    sent_before: bool,
}

impl Producer {
    /// A producer that has made nothing yet.
    pub(crate) fn new(topic: &Topic, partition: i32, is_idempotent: bool, random: &Random) -> Producer {
        Producer {
            place: topic.place(partition),
            topic: topic.clone(),
            is_idempotent,
            by_id: random.one_in(2),
            codec: if random.one_in(6) { Codec::Lz4 } else { Codec::None },
            in_flight: 1 + random.index(IN_FLIGHT_MAX),
            state: RefCell::default(),
            must_renew: Cell::new(false),
        }
    }

    /// Lets it begin another stream: what waits may have happened or not.
    pub(crate) fn renew(&self) {
        self.must_renew.set(true);
    }

    fn topic_ref(&self) -> TopicRef<'_> {
        if self.by_id { TopicRef::Id(self.topic.id) } else { TopicRef::Name(self.topic.name) }
    }

    /// Produces as long as the broker lives.
    pub(crate) async fn run(self: Rc<Producer>, life: Rc<Life>, random: Random) {
        loop {
            if !self.is_idempotent {
                self.renew();
            }
            let client = life.connect(&random);
            let ended = self.session(&client, &random, &life).await.expect_err("a session ends with its connection");
            life.history.note((self.place, ended.kind()));
            sleep(random.millis(20)).await;
        }
    }

    async fn session(&self, client: &Client, random: &Random, life: &Life) -> io::Result<()> {
        loop {
            if self.must_renew.take() {
                self.state.take();
            }
            while self.is_idempotent && self.state.borrow().id.is_none() {
                match client.init_producer().await? {
                    Ok(id) => self.state.borrow_mut().id = Some(id),
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
            while self.state.borrow().waiting.len() < self.in_flight {
                self.make_batch(random, life);
            }
            let sent: Vec<Waiting> = self.state.borrow().waiting.iter().cloned().collect();
            if sent.len() > 1 {
                life.history.count("pipelined produces");
            }
            for (place, Waiting { batch, .. }) in sent.iter().enumerate() {
                let &Batch { producer, first, count, .. } = batch;
                self.state.borrow_mut().waiting[place].sent_before = true;
                life.history.record(Event::Sent { producer, first, count });
                client.send_produce(self.topic_ref(), self.place.partition, batch.encode()).await?;
            }
            for waiting in sent {
                let answer = client.receive_produced(self.topic_ref()).await?;
                self.answered(&waiting, answer, life);
            }
            sleep(random.millis(15)).await;
        }
    }

    fn make_batch(&self, random: &Random, life: &Life) {
        let mut state = self.state.borrow_mut();
        let stream =
            *state.stream.get_or_insert_with(|| life.history.announce_producer(self.place, self.is_idempotent));
        let value_bytes = match random.below(16) {
            0 if self.topic.kind.is_large => random.below(LARGE_BYTES),
            1..4 => random.below(1500),
            _ => 0,
        };
        let count = 1 + random.below(RECORDS_MAX);
        let batch = Batch {
            producer: stream,
            first: state.next_number,
            count,
            sequence: state.id.map(|id| (id, state.next_sequence)),
            timestamp_ms: life.now_ms(),
            value_bytes: usize::try_from(value_bytes).expect("it fits into memory"),
            codec: self.codec,
            keys: self.topic.kind.keys.map(|keys| keys.count),
        };
        state.waiting.push_back(Waiting { batch, sent_before: false });
        state.next_number += count;
        state.next_sequence += i32::try_from(count).expect("a handful");
    }

    /// Takes an answer. What a plain producer was refused is given up; an idempotent one sends it again in the next round.
    fn answered(&self, waiting: &Waiting, answer: Result<i64, ErrorCode>, life: &Life) {
        let Batch { producer, first, count, .. } = waiting.batch;
        match answer {
            Ok(offset) => {
                if waiting.sent_before {
                    life.history.count("repeats acknowledged");
                }
                life.history.acked(self.place, producer, first, count, offset);
                life.served(self.place);
            }
            Err(error) => {
                life.history.record(Event::Refused { producer, first, code: error.code() });
                life.refused_produce(self.place, error);
                let may_repeat = matches!(
                    error,
                    ErrorCode::KafkaStorageError | ErrorCode::RequestTimedOut | ErrorCode::NotLeaderOrFollower
                );
                if self.is_idempotent && !may_repeat {
                    // Behind one that failed the others are out of sequence: they are sent again. Otherwise its records are gone.
                    let is_first = self.state.borrow().waiting.front().is_some_and(|one| one.batch.first == first);
                    if is_first || error != ErrorCode::OutOfOrderSequenceNumber {
                        life.history.count("producers began anew");
                        self.renew();
                    }
                }
                if self.is_idempotent {
                    return;
                }
            }
        }
        self.state.borrow_mut().waiting.retain(|other| other.batch.first != first);
    }
}
