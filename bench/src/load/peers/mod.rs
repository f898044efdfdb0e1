//! Servers with protocols of their own, loaded as brokers are: the same values, as many a batch, as many batches under way.
//!
//! A broker's address with a scheme leads here: `redis://HOST:PORT`, `nats://HOST:PORT`, `rabbitmq://HOST:PORT`. Each connection writes and
//! reads a stream of its own, named after the topic and the connection's number. A batch is a pipeline of single appends where a protocol
//! has no batches, as those of Redis and NATS; it is answered when its last record is.

mod nats;
mod pipeline;
mod rabbitmq;
mod redis;
mod wire;

use std::time::Instant;

use crate::cli::{ConsumeOptions, LoadOptions, ProduceOptions};
use crate::machine;
use crate::profile::Role;
use crate::report::Report;
use ringmill_batch::Codec;

use super::outcome::{Outcome, RunLimits};
use super::records::{Payload, RecordMaker};
use super::session::{Ending, Meter, Session, Worker};
use super::{produce_default, server};
use pipeline::{Pace, Pipeline};
use wire::Wire;

/// A connection to a server that is no Kafka; it blocks its caller.
trait Driver: Sized + Send {
    /// How the records of a batch travel, for people.
    const BATCH: &str = "each an append in a pipeline";

    /// Connects to `host:port`.
    fn open(address: &str) -> Result<Self, String>;

    /// Makes sure that there is a stream to append to, an empty one if it is to be fresh.
    fn prepare(&mut self, stream: &str, fresh: bool) -> Result<(), String>;

    /// An append for each value, as they are sent on this connection, once its stream is prepared.
    fn appends(&self, stream: &str, values: &[Vec<u8>]) -> Result<Vec<u8>, String>;

    /// Takes the answer to one append.
    fn take_answer(&mut self) -> Result<(), String>;

    /// Waits until an answer can be taken, at most until `due`.
    fn answer_before(&mut self, due: Instant) -> Result<bool, String> {
        self.wire().readable_before(due)
    }

    /// Reads a stream from start to end: once, or from its start again until the session is over.
    fn read(self, stream: &str, again: bool, meter: &Meter<'_>) -> Result<(), String>;

    /// What an answer to an append means for the record, by the server's own word.
    fn durability(&mut self) -> Result<String, String>;

    /// Removes a stream, if there is one.
    fn delete(&mut self, stream: &str) -> Result<(), String>;

    /// The bytes beneath.
    fn wire(&mut self) -> &mut Wire;
}

/// A server that is no Kafka.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    protocol: Protocol,
    /// `host:port`.
    address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Redis,
    Nats,
    RabbitMq,
}

impl Peer {
    /// The server that an address with a scheme names.
    pub(crate) fn of(broker: &str) -> Option<Peer> {
        let protocols =
            [("redis://", Protocol::Redis), ("nats://", Protocol::Nats), ("rabbitmq://", Protocol::RabbitMq)];
        protocols.into_iter().find_map(|(scheme, protocol)| {
            broker.strip_prefix(scheme).map(|address| Peer { protocol, address: address.to_owned() })
        })
    }

    /// What an answer means for a record, by the server's own settings.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(crate) fn durability(&self) -> Result<String, String> {
        match self.protocol {
            Protocol::Redis => redis::Connection::open(&self.address)?.durability(),
            Protocol::Nats => nats::Connection::open(&self.address)?.durability(),
            Protocol::RabbitMq => rabbitmq::Connection::open(&self.address)?.durability(),
        }
    }

    /// Removes what `connections` connections have written to a topic.
    ///
    /// # Errors
    /// When the server cannot be told.
    pub(crate) fn delete(&self, topic: &str, connections: u32) -> Result<(), String> {
        match self.protocol {
            Protocol::Redis => self.delete_with::<redis::Connection>(topic, connections),
            Protocol::Nats => self.delete_with::<nats::Connection>(topic, connections),
            Protocol::RabbitMq => self.delete_with::<rabbitmq::Connection>(topic, connections),
        }
    }

    /// Sends generated records.
    pub(super) fn produce(&self, options: &ProduceOptions) -> Result<Report, String> {
        match self.protocol {
            Protocol::Redis => self.produce_with::<redis::Connection>(options),
            Protocol::Nats => self.produce_with::<nats::Connection>(options),
            Protocol::RabbitMq => self.produce_with::<rabbitmq::Connection>(options),
        }
    }

    /// Reads the streams: once from start to end, or again and again until a duration or a number of bytes is full.
    pub(super) fn consume(&self, options: &ConsumeOptions) -> Result<Report, String> {
        if options.newest.is_some() {
            return Err("--newest speaks Kafka's protocol only: other servers are read from the start".to_owned());
        }
        match self.protocol {
            Protocol::Redis => self.consume_with::<redis::Connection>(options),
            Protocol::Nats => self.consume_with::<nats::Connection>(options),
            Protocol::RabbitMq => self.consume_with::<rabbitmq::Connection>(options),
        }
    }

    fn delete_with<D: Driver>(&self, topic: &str, connections: u32) -> Result<(), String> {
        let mut connection = D::open(&self.address)?;
        (0..connections).try_for_each(|index| connection.delete(&stream_name(topic, index)))
    }

    fn produce_with<D: Driver>(&self, options: &ProduceOptions) -> Result<Report, String> {
        check(options)?;
        let (load, send) = (&options.load, &options.send);
        let ending = Ending { duration: load.duration.or(produce_default(load)), bytes: load.bytes };
        let mut outcome = Outcome::new("produce", load.connections);
        for _ in 0..load.runs {
            let (mut workers, mut batch_bytes) = (Vec::new(), 0);
            for index in 0..load.connections {
                let (mut connection, stream) = (D::open(&self.address)?, stream_name(&load.topic, index));
                connection.prepare(&stream, send.fresh)?;
                let values = values(options, index);
                let batch = connection.appends(&stream, &values)?;
                batch_bytes = batch.len();
                let pipeline = Pipeline {
                    batch,
                    records: send.batch_records,
                    value_bytes: values.iter().map(|value| value.len() as u64).sum(),
                    in_flight_max: send.in_flight as usize,
                    pace: Pace { rate_bytes_per_s: send.rate, connections: load.connections, connection: index },
                };
                workers
                    .push(Worker { role: Role::Produce, work: Box::new(move |meter| pipeline.run(connection, meter)) });
            }
            let session = Session::new(Role::Produce, load.warm_up, ending, server(load));
            session.settle();
            let limits = RunLimits::measure(load, &[Role::Produce], send.rate.map(|_| batch_bytes))?;
            outcome.add(session.run("produce", workers)?, &limits);
        }
        let mut conditions = self.conditions(load)?;
        conditions.push(("batch", format!("{} records, {}", send.batch_records, D::BATCH)));
        conditions.push(("in_flight", send.in_flight.to_string()));
        Ok(outcome.report(conditions, Vec::new()))
    }

    fn consume_with<D: Driver>(&self, options: &ConsumeOptions) -> Result<Report, String> {
        let load = &options.load;
        let ending = Ending { duration: load.duration, bytes: load.bytes };
        let again = ending.duration.is_some() || ending.bytes.is_some();
        let mut outcome = Outcome::new("consume", load.connections);
        for _ in 0..load.runs {
            let mut workers = Vec::new();
            for index in 0..load.connections {
                let (connection, stream) = (D::open(&self.address)?, stream_name(&load.topic, index));
                let work = move |meter: &Meter<'_>| connection.read(&stream, again, meter);
                workers.push(Worker { role: Role::Consume, work: Box::new(work) });
            }
            let limits = RunLimits::measure(load, &[Role::Consume], None)?;
            let session = Session::new(Role::Consume, load.warm_up, ending, server(load));
            outcome.add(session.run("consume", workers)?, &limits);
        }
        Ok(outcome.report(self.conditions(load)?, Vec::new()))
    }

    fn conditions(&self, load: &LoadOptions) -> Result<Vec<(&'static str, String)>, String> {
        let mut conditions = machine::conditions();
        conditions.push(("broker", load.broker.clone()));
        conditions.push(("durability", self.durability()?));
        conditions.push(("streams", format!("{0}-0 to {0}-{1}", load.topic, load.connections - 1)));
        conditions.push(("connections", load.connections.to_string()));
        Ok(conditions)
    }
}

fn stream_name(topic: &str, connection: u32) -> String {
    format!("{topic}-{connection}")
}

/// The values of a connection's batch, sent again and again.
fn values(options: &ProduceOptions, connection: u32) -> Vec<Vec<u8>> {
    let records = &options.records;
    let seed = records.seed << 10 | u64::from(connection);
    let mut maker = RecordMaker::new(records.payload.unwrap_or(Payload::Random), records.record_bytes, None, seed);
    let mut next = || {
        let mut value = Vec::new();
        maker.fill(&mut value);
        value
    };
    (0..options.send.batch_records).map(|_| next()).collect()
}

/// Refuses what only Kafka's protocol has, so that no figure seems to be what it is not.
fn check(options: &ProduceOptions) -> Result<(), String> {
    /// A pipeline is held in memory.
    const BATCH_RECORDS_MAX: u64 = 1_000_000;
    let (load, send, records) = (&options.load, &options.send, &options.records);
    let refused = [
        ("--codec", send.codec != Codec::None),
        ("--acks", send.acks != -1),
        ("--idempotent", send.idempotent),
        ("--config", !send.configs.is_empty()),
        ("--write-caching", send.write_caching),
        ("--batch-bytes", send.batch_bytes.is_some()),
        ("--partitions", send.partitions.is_some_and(|count| count != load.connections)),
        ("--topics", load.topics != 1),
        ("--keys", records.keys.is_some()),
        ("--distinct", records.distinct.is_some()),
    ];
    if let Some((option, _)) = refused.iter().find(|(_, given)| *given) {
        return Err(format!("{option} is for brokers that speak Kafka's protocol"));
    }
    if !(1..=BATCH_RECORDS_MAX).contains(&send.batch_records) {
        return Err(format!("a pipeline holds 1 to {BATCH_RECORDS_MAX} records"));
    }
    if send.rate == Some(0) {
        return Err("--rate must be above zero".to_owned());
    }
    Ok(())
}
