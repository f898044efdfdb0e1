//! Producers and consumers of a run. Idempotent producers send again what was not answered, plain ones never do; consumers read
//! everything from the start in every life of the broker, so that what was once seen is seen again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_net::wire::ErrorCode;
use tokio::time::sleep;

use super::Running;
use super::client::Client;
use super::history::{History, Made, Place, Random};

/// Where everything is written.
pub const PLACES: [Place; 4] = [("first", 0), ("first", 1), ("second", 0), ("second", 1)];

/// Kafka's clients have five produces in flight; brokers remember as many for idempotent ones.
const IN_FLIGHT: usize = 5;

const RECORDS_MAX: u64 = 4;

/// One producer, over all lives of the broker.
pub struct Producer {
    number: u64,
    place: Place,
    idempotent: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    id: Option<i64>,
    next_sequence: i32,
    next_number: u64,
    /// Sent, or about to be, and not answered for good. In order.
    waiting: VecDeque<Batch>,
}

#[derive(Clone)]
struct Batch {
    made: Vec<Made>,
    sequence: i32,
}

impl Producer {
    /// Two producers for every partition: an idempotent and a plain one.
    pub fn all() -> Vec<Rc<Producer>> {
        let producer =
            |(number, (place, idempotent))| Rc::new(Producer { number, place, idempotent, state: RefCell::default() });
        (0..).zip(PLACES.into_iter().flat_map(|place| [(place, true), (place, false)])).map(producer).collect()
    }

    pub fn is_idempotent(number: u64) -> bool {
        number.is_multiple_of(2)
    }

    /// Produces as long as the broker lives.
    pub async fn run(self: Rc<Producer>, running: Rc<Running>, random: Random, history: Rc<History>) {
        assert_eq!(self.idempotent, Producer::is_idempotent(self.number));
        loop {
            if !self.idempotent {
                // What a plain producer was not answered may have happened or not.
                self.state.borrow_mut().waiting.clear();
            }
            let client = running.connect(random.next());
            let ended = self.session(&client, &random, &history).await.expect_err("a session ends with its connection");
            history.note((self.number, ended.kind()));
            sleep(Duration::from_millis(random.below(20))).await;
        }
    }

    async fn session(&self, client: &Client, random: &Random, history: &History) -> io::Result<()> {
        while self.idempotent && self.state.borrow().id.is_none() {
            match client.init_producer().await? {
                Ok(id) => self.state.borrow_mut().id = Some(id),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
        loop {
            while self.state.borrow().waiting.len() < IN_FLIGHT {
                self.make_batch(1 + random.below(RECORDS_MAX));
            }
            let sent: Vec<Batch> = self.state.borrow().waiting.iter().cloned().collect();
            for batch in &sent {
                let (topic, partition) = self.place;
                client.send_produce(topic, partition, self.encode(batch)).await?;
            }
            let mut all_before = true;
            for batch in sent {
                let answer = client.receive_produced().await?;
                all_before &= self.answered(&batch, answer, all_before, history);
            }
            sleep(Duration::from_millis(random.below(15))).await;
        }
    }

    fn make_batch(&self, records: u64) {
        let mut state = self.state.borrow_mut();
        let first = state.next_number;
        let made = (first..first + records).map(|number| Made { producer: self.number, number }).collect();
        let sequence = state.next_sequence;
        state.waiting.push_back(Batch { made, sequence });
        state.next_number += records;
        state.next_sequence += i32::try_from(records).expect("a handful");
    }

    fn encode(&self, batch: &Batch) -> Bytes {
        let mut builder = BatchBuilder::new(Codec::None, None);
        if let Some(id) = self.state.borrow().id {
            builder.producer(id, 0, batch.sequence);
        }
        for made in &batch.made {
            builder.push(1_800_000_000_000, None, Some(made.text().as_bytes()), &[]);
        }
        builder.finish().freeze()
    }

    /// Notes an answer; true if the batch was appended. `all_before` says that those sent before it were.
    fn answered(&self, batch: &Batch, answer: Result<i64, ErrorCode>, all_before: bool, history: &History) -> bool {
        let first = batch.made[0];
        match answer {
            Ok(base_offset) => {
                for (offset, made) in (base_offset..).zip(&batch.made) {
                    history.certain(self.place, offset, *made, "acknowledged");
                }
            }
            Err(error) => {
                history.note((first, error.code()));
                history.count("failed");
                let in_sequence = all_before && error == ErrorCode::OutOfOrderSequenceNumber;
                assert!(!in_sequence, "{:?}: {first:?} follows what was acknowledged and is refused", self.place);
                if self.idempotent {
                    // It is sent again in the next round.
                    return false;
                }
                if !matches!(error, ErrorCode::KafkaStorageError | ErrorCode::RequestTimedOut) {
                    batch.made.iter().for_each(|made| history.refused(*made, error.to_string()));
                }
            }
        }
        self.state.borrow_mut().waiting.retain(|waiting| waiting.made[0] != first);
        answer.is_ok()
    }
}

/// Reads a partition from its start as long as the broker lives.
pub async fn consume(place: Place, running: Rc<Running>, random: Random, history: Rc<History>) {
    let mut offset = 0;
    loop {
        let client = running.connect(random.next());
        let ended =
            follow(place, &client, &mut offset, &history).await.expect_err("a session ends with its connection");
        history.note((place, ended.kind()));
        sleep(Duration::from_millis(random.below(20))).await;
    }
}

async fn follow(place: Place, client: &Client, offset: &mut i64, history: &History) -> io::Result<()> {
    loop {
        let fetched = client.fetch(place.0, place.1, *offset, 50).await?;
        // Whatever was visible is durable, so the end never goes back before what was read.
        assert_eq!(fetched.error, ErrorCode::None, "{place:?}: a fetch at {offset}");
        *offset = history.fetched(place, *offset, &fetched.records);
    }
}
