//! A consumer of one partition: reads it from its start in every life of the broker, so that what was once seen is seen again.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::Place;
use ringmill_net::wire::ErrorCode;
use tokio::time::sleep;

use crate::client::{Client, TopicRef, Wanted};
use crate::life::Life;
use crate::plan::Topic;
use crate::random::Random;

/// How long a consumer waits for news in one request, where it does.
const LONG_POLL_MS: i32 = 500;

/// What a consumer reads and how.
#[derive(Clone)]
pub(crate) struct Consumer {
    topic: Topic,
    place: Place,
    /// How long the broker may wait for news.
    wait_ms: i32,
    /// The most bytes of one fetch.
    bytes_max: i32,
    /// How long it rests between two fetches, at most.
    rest_ms: u64,
}

/// How far a consumer is.
struct Position {
    consumer: u32,
    offset: i64,
    /// Steps over what cannot be read may lead past the end.
    has_skipped: bool,
}

impl Consumer {
    /// A consumer with habits of its own.
    pub(crate) fn new(topic: &Topic, partition: i32, random: &Random) -> Consumer {
        Consumer {
            topic: topic.clone(),
            place: topic.place(partition),
            wait_ms: random.pick(&[0, 50, LONG_POLL_MS]),
            bytes_max: random.pick(&[1, 500, 10_000, 1 << 20]),
            rest_ms: random.pick(&[1, 5, 40]),
        }
    }

    /// The same, always waiting for news.
    pub(crate) fn in_long_polls(mut self) -> Consumer {
        (self.wait_ms, self.rest_ms) = (LONG_POLL_MS, 1);
        self
    }

    /// Reads as long as the broker lives.
    pub(crate) async fn run(self, life: Rc<Life>, random: Random) {
        let consumer = life.history.announce_consumer();
        let mut position = Position { consumer, offset: 0, has_skipped: false };
        loop {
            let client = life.connect(&random);
            let ended = self.follow(&client, &mut position, &life, &random).await;
            let ended = ended.expect_err("a session ends with its connection");
            life.history.note((self.place, ended.kind()));
            sleep(random.millis(20)).await;
        }
    }

    async fn follow(&self, client: &Client, at: &mut Position, life: &Life, random: &Random) -> io::Result<()> {
        let topic = if random.one_in(2) { TopicRef::Id(self.topic.id) } else { TopicRef::Name(self.topic.name) };
        let (place, history) = (self.place, &life.history);
        loop {
            let Consumer { wait_ms, bytes_max, .. } = *self;
            let wanted = Wanted { partition: place.partition, offset: at.offset, wait_ms, bytes_max };
            let asked = history.now();
            let fetched = client.fetch(topic, wanted).await?;
            match fetched.error {
                ErrorCode::None => {
                    let next = history.seen(at.consumer, place, asked, at.offset, &fetched);
                    if self.wait_ms >= LONG_POLL_MS && next > at.offset {
                        history.count("long polls answered");
                    }
                    at.has_skipped |= next > at.offset && fetched.records.is_empty();
                    at.offset = next;
                }
                ErrorCode::OffsetOutOfRange => self.go_to_start(client, at, life, asked).await?,
                error => {
                    let excused = life.excuses_fetch(place, error);
                    assert!(excused, "{place:?}: a fetch at {} is answered with {error}", at.offset);
                    history.read_refused(place, asked, at.offset, error);
                    if error == ErrorCode::CorruptMessage {
                        history.count("damaged range refused");
                        at.offset += 1;
                        at.has_skipped = true;
                    } else {
                        history.count("fetches refused by storage");
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            }
            sleep(random.millis(self.rest_ms)).await;
        }
    }

    async fn go_to_start(&self, client: &Client, at: &mut Position, life: &Life, asked: u64) -> io::Result<()> {
        if !at.has_skipped {
            life.history.read_refused(self.place, asked, at.offset, ErrorCode::OffsetOutOfRange);
        }
        if let Ok(start) = client.log_start(self.topic.name, self.place.partition).await? {
            if start > at.offset {
                life.history.count("log start passed a reader");
            }
            (at.offset, at.has_skipped) = (start, false);
        }
        Ok(())
    }
}
