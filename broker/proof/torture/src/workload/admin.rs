//! What is done to topics while they are written: records deleted, and topics that come and go.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::{Event, Place};
use ringmill_net::client::{ClientError, Connection, NewTopic};
use tokio::time::sleep;

use super::client;
use super::ledger::Ledger;
use crate::random::Random;

/// How often something is done at most.
const PAUSE_MS_MAX: u64 = 30;

/// Partitions of a passing topic.
const PASSING_PARTITIONS_MAX: u64 = 3;

/// A topic that comes and goes. Its creation or deletion may be under way without an answer.
#[derive(Clone, Debug)]
pub(super) struct Passing {
    pub(super) topic: u32,
    pub(super) name: Rc<str>,
    pub(super) state: PassingState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassingState {
    Creating,
    There,
    Dropping,
    Gone,
}

/// Everything that one life of the broker does to topics.
pub(super) struct Admin<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) random: Random,
    /// Partitions whose records may be deleted, and how many are left at least.
    pub(super) trimmed: Vec<(Place, Rc<str>)>,
    pub(super) kept_records: i64,
    pub(super) passing: &'a mut Option<Passing>,
    pub(super) next_topic: &'a mut u32,
}

impl Admin<'_> {
    /// Does one thing after the other until the connection ends.
    pub(super) async fn run(mut self, address: SocketAddr) -> Result<(), ClientError> {
        let connection = client::connect(address).await?;
        while connection.is_usable() {
            sleep(Duration::from_millis(self.random.below(PAUSE_MS_MAX))).await;
            match self.random.below(4) {
                0 => self.create(&connection).await?,
                1 => self.delete(&connection).await?,
                _ => self.trim(&connection).await?,
            }
        }
        Err(ClientError::Closed)
    }

    async fn trim(&mut self, connection: &Connection) -> Result<(), ClientError> {
        let (place, topic) = self.trimmed[self.random.index(self.trimmed.len())].clone();
        let (log_start, end) = self.ledger.promised(place);
        let removable = end - self.kept_records - log_start;
        if removable <= 0 {
            return Ok(());
        }
        let before = log_start + 1 + i64::try_from(self.random.below(removable.unsigned_abs())).unwrap_or(0);
        self.ledger.put(Event::TrimSent { place, before });
        let (code, log_start) = client::trim(connection, (&topic, place.partition), before).await?;
        if code == 0 {
            self.ledger.put(Event::Trimmed { place, log_start });
            self.ledger.count("deletions of records", 1);
        }
        Ok(())
    }

    async fn create(&mut self, connection: &Connection) -> Result<(), ClientError> {
        if self.passing.as_ref().is_some_and(|passing| passing.state != PassingState::Gone) {
            return Ok(());
        }
        let topic = *self.next_topic;
        *self.next_topic += 1;
        // An old name for every second one.
        let name: Rc<str> = format!("passing-{}", topic % 2).into();
        let partitions = 1 + i32::try_from(self.random.below(PASSING_PARTITIONS_MAX)).unwrap_or(0);
        let announced = Event::Topic { topic, name: name.to_string(), caching: false, retained_records_min: None };
        self.ledger.put(announced);
        let new = NewTopic { name: name.to_string(), partitions, replication_factor: 1, configs: Vec::new() };
        let passing = self.passing.insert(Passing { topic, name, state: PassingState::Creating });
        match connection.create_topic(&new).await {
            Ok(()) => {
                passing.state = PassingState::There;
                self.ledger.put(Event::TopicMade { topic });
                self.ledger.count("topics created", 1);
                Ok(())
            }
            Err(ClientError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete(&mut self, connection: &Connection) -> Result<(), ClientError> {
        let wanted = [PassingState::There, PassingState::Dropping];
        let Some(passing) = self.passing.as_mut().filter(|passing| wanted.contains(&passing.state)) else {
            return Ok(());
        };
        let topic = passing.topic;
        self.ledger.put(Event::TopicDropSent { topic });
        passing.state = PassingState::Dropping;
        match connection.delete_topic(&passing.name).await {
            Ok(()) => {
                passing.state = PassingState::Gone;
                self.ledger.put(Event::TopicDropped { topic });
                self.ledger.count("topics deleted", 1);
                Ok(())
            }
            Err(ClientError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// After a start: whether each topic is there that ought to be, and not there that ought not.
pub(super) async fn look(
    connection: &Connection,
    ledger: &Ledger,
    fixed: &[(u32, Rc<str>)],
    passing: &mut Option<Passing>,
) -> Result<(), ClientError> {
    let asked = ledger.now();
    let there = connection.list_topics().await?;
    let is_there = |name: &str| there.iter().any(|topic| topic.name == name);
    let say = |topic: u32, name: &str| {
        ledger.put(if is_there(name) {
            Event::TopicFound { topic, asked }
        } else {
            Event::TopicAbsent { topic, asked }
        });
    };
    fixed.iter().for_each(|(topic, name)| say(*topic, name));
    let Some(passing) = passing else { return Ok(()) };
    say(passing.topic, &passing.name);
    passing.state = match (passing.state, is_there(&passing.name)) {
        (PassingState::Creating, true) => {
            ledger.put(Event::TopicMade { topic: passing.topic });
            PassingState::There
        }
        (PassingState::Creating, false) => PassingState::Gone,
        (PassingState::Dropping, false) => {
            ledger.put(Event::TopicDropped { topic: passing.topic });
            PassingState::Gone
        }
        (state, _) => state,
    };
    Ok(())
}
