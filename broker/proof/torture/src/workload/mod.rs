//! The clients of one data directory over all lives of its broker: producers, readers and an administrator, and what each of them learnt.
//!
//! They know nothing of what is done to the broker. Whoever does it starts the broker, lets [`World::boot`] look at what is left, lets
//! [`World::live`] run until the moment has come, writes down how the life ended, and asks the [`Ledger`] whether all is well.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::{Event, Place};
use ringmill_net::client::{ClientError, Connection, NewTopic};
use ringmill_net::wire::ErrorCode;
use tokio::time::timeout;

mod admin;
mod client;
mod compacted;
mod group;
mod ledger;
mod producer;
mod reader;

pub(crate) use compacted::CLEANER_BACKOFF;
pub(crate) use group::SETTINGS as GROUP_SETTINGS;
pub(crate) use ledger::Ledger;

use admin::{Admin, Passing};
use group::Groups;
use producer::{Producer, Sizes, Writer};
use reader::Cursor;

use crate::random::Random;

/// How long clients may take to see that the broker is gone.
const FAREWELL: Duration = Duration::from_secs(10);

/// Records that a deletion leaves, so that readers have something to read again.
const TRIM_KEEPS_RECORDS: i64 = 200;

/// Records before the last known one that are read again after every start, so that a gap at the seam is seen.
const SEAM_RECORDS: i64 = 20;

/// Old places that are read again after every start.
const OLD_PLACES: usize = 2;

/// Consumers of the readings after a start have numbers from here on; those that follow have smaller ones.
const SEAM_CONSUMERS: u32 = 1_000;
const WHOLE_CONSUMERS: u32 = 2_000;
const OLD_PLACE_CONSUMERS: u32 = 3_000;

/// Connections that write.
const WRITERS: usize = 3;

/// A topic that is there from the beginning.
struct Plan {
    name: &'static str,
    partitions: i32,
    caching: bool,
    retained_records_min: Option<u64>,
    trimmed: bool,
    sizes: Sizes,
    configs: &'static [(&'static str, &'static str)],
}

/// Small records under deletions; large ones, so that segments roll, under retention; write caching; and compaction. Segments have the
/// smallest size that a topic may set.
const PLANS: [Plan; 4] = [
    Plan {
        name: "kept",
        partitions: 3,
        caching: false,
        retained_records_min: None,
        trimmed: true,
        sizes: Sizes { records_per_batch_max: 6, value_bytes_max: 300, large_once_in: 500, keys: None },
        configs: &[("segment.bytes", "1048576"), ("retention.ms", "-1")],
    },
    Plan {
        name: "rolled",
        partitions: 2,
        caching: false,
        // 2 MiB of records of up to 24 kB are 87 at least; half of it, for the end that is known may lag.
        retained_records_min: Some(40),
        trimmed: false,
        sizes: Sizes { records_per_batch_max: 3, value_bytes_max: 24_000, large_once_in: 8, keys: None },
        configs: &[("segment.bytes", "1048576"), ("retention.bytes", "2097152")],
    },
    Plan {
        name: "cached",
        partitions: 2,
        caching: true,
        retained_records_min: None,
        trimmed: true,
        sizes: Sizes { records_per_batch_max: 6, value_bytes_max: 2_000, large_once_in: 500, keys: None },
        configs: &[("segment.bytes", "1048576"), ("write.caching", "true"), ("flush.ms", "100")],
    },
    compacted::PLAN,
];

/// How much is read after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What is new, its seam with what was known, and some old places.
    New,
    /// Everything, too.
    Whole,
}

/// What the disk is like while it is looked at what a start has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskState {
    /// Whatever was promised has to be told.
    Sound,
    /// It fails, or has lied: partitions may be not served.
    Failing,
}

/// All clients of a data directory.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    random: Random,
    topics: Vec<(u32, Rc<str>)>,
    /// Whether the topics of the plan were created for certain.
    made: bool,
    next_topic: u32,
    next_producer: u32,
    passing: Option<Passing>,
    writers: [Vec<Producer>; WRITERS],
    readers: [Vec<Cursor>; PLANS.len()],
    groups: Groups,
    /// Where the reading after the next start begins, for every partition of the plan.
    checked: Vec<Cursor>,
}

impl World {
    /// Clients of a directory that is still empty.
    pub(crate) fn new(ledger: Ledger, mut random: Random) -> World {
        let mut world = World {
            groups: Groups::new(&ledger),
            ledger,
            random: random.branch(),
            topics: Vec::new(),
            made: false,
            next_topic: 0,
            next_producer: 0,
            passing: None,
            writers: Default::default(),
            readers: Default::default(),
            checked: Vec::new(),
        };
        for (plan, reader) in PLANS.iter().zip(0..) {
            world.announce(plan, reader);
        }
        world
    }

    fn announce(&mut self, plan: &Plan, reader: usize) {
        let topic = self.next_topic;
        self.next_topic += 1;
        let name: Rc<str> = plan.name.into();
        self.ledger.put(Event::Topic {
            topic,
            name: plan.name.to_owned(),
            caching: plan.caching,
            retained_records_min: plan.retained_records_min,
        });
        compacted::announce(&self.ledger, topic, plan);
        self.topics.push((topic, Rc::clone(&name)));
        for partition in 0..plan.partitions {
            let place = Place { topic, partition };
            let consumer = u32::try_from(self.checked.len()).expect("a handful");
            let cursor = Cursor { consumer, place, topic: Rc::clone(&name), next: 0 };
            self.checked.push(Cursor { consumer: SEAM_CONSUMERS + consumer, ..cursor.clone() });
            self.readers[reader].push(cursor);
            for idempotent in [true, true, false] {
                let number = self.next_producer;
                self.next_producer += 1;
                let to = (place, Rc::clone(&name));
                let producer = Producer::new(&self.ledger, number, to, idempotent, plan.sizes);
                self.writers[number as usize % WRITERS].push(producer);
            }
        }
    }

    /// Looks at what a start has left, and creates what is not there yet. An error says that the broker is gone again, or answers with
    /// nonsense.
    pub(crate) async fn boot(&mut self, address: SocketAddr, depth: Depth, disk: DiskState) -> Result<(), ClientError> {
        self.ledger.put(Event::Booted);
        let connection = client::connect(address).await?;
        admin::look(&connection, &self.ledger, &self.topics, &mut self.passing).await?;
        if !self.made {
            self.create_topics(&connection).await?;
        }
        group::look(&connection, &self.ledger, disk).await?;
        let bounds = reader::recovered(&connection, &self.ledger, &self.checked).await?;
        self.read_new(&connection, &bounds).await?;
        self.read_old_places(&connection, &bounds).await?;
        if depth == Depth::Whole {
            self.read_whole(&connection).await?;
        }
        Ok(())
    }

    async fn create_topics(&mut self, connection: &Connection) -> Result<(), ClientError> {
        for (plan, (topic, _)) in PLANS.iter().zip(&self.topics) {
            let configs = plan.configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let new =
                NewTopic { name: plan.name.to_owned(), partitions: plan.partitions, replication_factor: 1, configs };
            match connection.create_topic(&new).await {
                Ok(()) | Err(ClientError::Refused { code: ErrorCode::TopicAlreadyExists, .. }) => {}
                Err(error) => return Err(error),
            }
            self.ledger.put(Event::TopicMade { topic: *topic });
        }
        self.made = true;
        Ok(())
    }

    async fn read_new(&mut self, connection: &Connection, bounds: &[Option<(i64, i64)>]) -> Result<(), ClientError> {
        for (cursor, bounds) in self.checked.iter_mut().zip(bounds) {
            if let Some((start, end)) = *bounds {
                cursor.next = (cursor.next - SEAM_RECORDS).clamp(start, end.max(start));
            }
        }
        let ends: Vec<i64> = bounds.iter().map(|bounds| bounds.map_or(0, |(_, end)| end)).collect();
        reader::read_up_to(connection, &self.ledger, &mut self.checked, &ends).await
    }

    async fn read_old_places(
        &mut self,
        connection: &Connection,
        bounds: &[Option<(i64, i64)>],
    ) -> Result<(), ClientError> {
        for _ in 0..OLD_PLACES {
            let index = self.random.index(self.checked.len());
            let Some((start, end)) = bounds[index].filter(|(start, end)| start < end) else { continue };
            let next = start.saturating_add_unsigned(self.random.below(end.abs_diff(start)));
            let mut cursor = [Cursor { consumer: OLD_PLACE_CONSUMERS, next, ..self.checked[index].clone() }];
            reader::read_up_to(connection, &self.ledger, &mut cursor, &[next + 1]).await?;
        }
        Ok(())
    }

    /// Reads everything. Retention may remove something meanwhile, even though nobody writes; then it is read once more.
    async fn read_whole(&mut self, connection: &Connection) -> Result<(), ClientError> {
        const TRIES: u32 = 3;
        for attempt in 1..=TRIES {
            let bounds = reader::recovered(connection, &self.ledger, &self.checked).await?;
            let mut cursors = Vec::new();
            for (cursor, bounds) in self.checked.iter().zip(&bounds) {
                let consumer = cursor.consumer + WHOLE_CONSUMERS;
                cursors.push(Cursor { consumer, next: bounds.map_or(0, |(start, _)| start), ..cursor.clone() });
            }
            let ends: Vec<i64> = bounds.iter().map(|bounds| bounds.map_or(0, |(_, end)| end)).collect();
            reader::read_up_to(connection, &self.ledger, &mut cursors, &ends).await?;
            if attempt == TRIES || cursors.iter().zip(&ends).all(|(cursor, end)| cursor.next >= *end) {
                for (cursor, bounds) in cursors.iter().zip(bounds) {
                    let Some((log_start, end)) = bounds else { continue };
                    let (consumer, place) = (cursor.consumer, cursor.place);
                    self.ledger.put(Event::Whole { consumer, place, log_start, end });
                }
                break;
            }
        }
        self.ledger.count("whole readings", 1);
        Ok(())
    }

    /// Writes, reads and administrates until `until` is done, which ends the broker, or what it stands on. Gives what `until` gave. All
    /// that was answered is in the history when this returns.
    pub(crate) async fn live<T>(&mut self, address: SocketAddr, until: impl Future<Output = T>) -> T {
        self.replace_retired();
        let ledger = &self.ledger;
        let mut writers = self.writers.each_mut().into_iter().map(|producers| {
            // acks=1 means the same here, and takes another way.
            let acks = if self.random.once_in(3) { 1 } else { -1 };
            Writer { ledger, random: self.random.branch(), producers, acks }.run(address)
        });
        let mut writer = || writers.next().expect("there are three");
        let (first, second, third) = (writer(), writer(), writer());
        let writers = async { tokio::join!(first, second, third) };
        let [kept, rolled, cached, compacted] = &mut self.readers;
        let follow = |cursors| reader::follow(address, ledger, cursors);
        let readers = async { tokio::join!(follow(kept), follow(rolled), follow(cached), follow(compacted)) };
        let trimmed = PLANS.iter().zip(&self.topics).filter(|(plan, _)| plan.trimmed);
        let trimmed = trimmed.flat_map(|(plan, (topic, name))| {
            (0..plan.partitions).map(|partition| (Place { topic: *topic, partition }, Rc::clone(name)))
        });
        let admin = Admin {
            ledger,
            random: self.random.branch(),
            trimmed: trimmed.collect(),
            kept_records: TRIM_KEEPS_RECORDS,
            passing: &mut self.passing,
            next_topic: &mut self.next_topic,
        };
        let members = self.groups.run(address, ledger, self.random.branch());
        let clients = async { tokio::join!(writers, readers, admin.run(address), members) };
        tokio::pin!(clients);
        tokio::pin!(until);
        let mut clients_are_gone = false;
        let outcome = loop {
            tokio::select! {
                biased;
                _ = &mut clients, if !clients_are_gone => clients_are_gone = true,
                outcome = &mut until => break outcome,
            }
        };
        if !clients_are_gone && timeout(FAREWELL, clients).await.is_err() {
            self.ledger.count("lives whose clients were not told", 1);
        }
        outcome
    }

    /// Producers that the broker has lost track of, which it may where it was allowed to lose records, get a successor.
    fn replace_retired(&mut self) {
        for producer in self.writers.iter_mut().flatten() {
            if let Some((place, topic, idempotent, sizes)) = producer.wants_successor() {
                let number = self.next_producer;
                self.next_producer += 1;
                *producer = Producer::new(&self.ledger, number, (place, topic), idempotent, sizes);
                self.ledger.count("producers replaced", 1);
            }
        }
    }
}
