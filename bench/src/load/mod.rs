//! Loads on a broker: prepares the topic, runs the workers once per run, and turns what they counted into a report.
//!
//! The set-up goes through the project's client. The measured path does not: each connection is a plain socket on a thread of
//! its own, sends frames that were built before the clock started, and counts answers without copying them anywhere, so that
//! the load costs as little as it can of the machine that it shares with the broker.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::{ConsumeOptions, LoadOptions, ProduceOptions, ReplayOptions, SendOptions};
use crate::machine;
use crate::process_usage::ServerProcess;
use crate::profile::Role;
use crate::report::Report;
use crate::sockets;

mod batch;
mod consume;
mod departure;
mod generated;
mod incoming;
mod mixed;
mod outcome;
mod packing;
mod peers;
mod produce;
mod records;
mod sampling;
mod schedule;
mod session;
mod topic;
mod typed;

use batch::Stock;
use consume::Reading;
use generated::Generated;
pub(crate) use incoming::Incoming;
pub(crate) use mixed::run as mixed;
use outcome::{Outcome, RunLimits};
pub(crate) use packing::pack;
pub(crate) use peers::Peer;
use produce::Plan;
pub(crate) use produce::readable_before;
pub(crate) use records::{Payload, Random, Sizes};
pub(crate) use sampling::Tally;
pub(crate) use schedule::Schedule;
pub(crate) use session::{Ending, Measured, Meter, Phase, Session, Worker};
pub(crate) use topic::error_name;
use topic::{Partition, Share, TopicClient};
pub(crate) use typed::typed;

/// Runs when neither a duration nor a number of bytes was asked for.
const PRODUCE_DURATION_DEFAULT: Duration = Duration::from_secs(5);

/// Sends generated records to the topic, which is created where it is missing.
///
/// # Errors
/// What the broker refused, or what does not fit together in the options.
pub(crate) fn produce(options: &ProduceOptions) -> Result<Report, String> {
    if let Some(peer) = Peer::of(&options.load.broker) {
        return peer.produce(options);
    }
    let generated = Generated::new(&options.records, &options.send, options.load.connections)?;
    let ending =
        Ending { duration: options.load.duration.or(produce_default(&options.load)), bytes: options.load.bytes };
    let stocks = || Ok((0..options.load.connections).map(|connection| generated.stock(connection)).collect());
    send("produce", &options.load, &options.send, ending, &generated.to_string(), stocks)
}

/// Sends a file's lines as records.
///
/// # Errors
/// What the broker refused, a file that cannot be read, or what does not fit together in the options.
pub(crate) fn replay(options: &ReplayOptions) -> Result<Report, String> {
    let load = &options.load;
    let (size, codec) = (generated::batch_size(&options.send)?, options.send.codec);
    let again = options.again;
    let default = if again { produce_default(load) } else { None };
    let ending = Ending { duration: load.duration.or(default), bytes: load.bytes };
    if !again && !load.warm_up.is_zero() {
        return Err("--warm-up needs --loop: sending once has no time to warm up".to_owned());
    }
    if Peer::of(&load.broker).is_some() {
        return Err("a replay speaks Kafka's protocol only".to_owned());
    }
    let is_cut = std::fs::metadata(&options.file).is_ok_and(|file| file.len() > batch::REPLAY_BYTES_MAX);
    let name = format!(
        "the lines of {}{}, {}",
        options.file.display(),
        if is_cut { " (its first GiB)" } else { "" },
        if again { "in a loop" } else { "once" }
    );
    let stocks = || Stock::from_lines(&options.file, load.connections, size, codec, again);
    send("replay", load, &options.send, ending, &name, stocks)
}

/// Sends what `stocks` makes before each run, a stock per connection.
fn send(
    command: &'static str,
    load: &LoadOptions,
    send: &SendOptions,
    ending: Ending,
    records: &str,
    stocks: impl Fn() -> Result<Vec<Stock>, String>,
) -> Result<Report, String> {
    let plan = Plan::new(load, send, false)?;
    let client = TopicClient::connect(&load.broker)?;
    let mut outcome = Outcome::new(command, load.connections);
    let mut conditions = Vec::new();
    for _ in 0..load.runs {
        let partitions = client.prepare(load, send)?;
        let stocks = stocks()?;
        conditions = self::conditions(load, &partitions);
        conditions.push(("durability", client.durability(&partitions[0].topic).to_owned()));
        conditions.push(("records", records.to_owned()));
        conditions.push(("batches", batch::describe(&stocks, send.codec)));
        let paced_batch_bytes = send.rate.map(|_| batch::average_bytes(&stocks));
        let workers = produce_workers(&plan, &client, &partitions, load, stocks)?;
        let session = Session::new(Role::Produce, load.warm_up, ending, server(load));
        session.settle();
        let limits = RunLimits::measure(load, &[Role::Produce], paced_batch_bytes)?;
        outcome.add(session.run(command, workers)?, &limits);
    }
    conditions.extend(plan.conditions());
    Ok(outcome.report(conditions, Vec::new()))
}

/// A connected producer for each stock.
fn produce_workers<'a>(
    plan: &'a Plan,
    client: &TopicClient,
    partitions: &[Partition],
    load: &LoadOptions,
    stocks: Vec<Stock>,
) -> Result<Vec<Worker<'a>>, String> {
    let shares = topic::share_out(partitions, load.connections)?;
    let mut workers = Vec::new();
    for (index, (share, stock)) in (0..).zip(shares.into_iter().zip(stocks)) {
        let producer = if plan.is_idempotent() { Some(client.producer_id()?) } else { None };
        let worker = produce::Worker::new(plan, &share, index, stock, producer)?;
        workers.push(Worker { role: Role::Produce, work: Box::new(move |meter| worker.run(meter)) });
    }
    Ok(workers)
}

/// Fetches the topic's records: once from start to end, or again and again until a duration or a number of bytes is full.
///
/// # Errors
/// What the broker refused, an empty topic, or a batch that is damaged.
pub(crate) fn consume(options: &ConsumeOptions) -> Result<Report, String> {
    let load = &options.load;
    if let Some(peer) = Peer::of(&load.broker) {
        return peer.consume(options);
    }
    let ending = Ending { duration: load.duration, bytes: load.bytes };
    let again = ending.duration.is_some() || ending.bytes.is_some();
    if !again && !load.warm_up.is_zero() {
        return Err("--warm-up needs --duration or --bytes: reading once has no time to warm up".to_owned());
    }
    let reading = if again { Reading::Again } else { Reading::Once };
    let client = TopicClient::connect(&load.broker)?;
    let mut partitions = client.describe(load)?;
    if let Some(records) = options.newest {
        partitions.iter_mut().for_each(|partition| partition.keep_newest(records));
    }
    let mut outcome = Outcome::new("consume", load.connections);
    for _ in 0..load.runs {
        let mut workers = Vec::new();
        for share in topic::share_out(&partitions, load.connections)? {
            let worker = consume::Worker::new(&options.fetch, &share, reading)?;
            workers.push(Worker { role: Role::Consume, work: Box::new(move |meter| worker.run(meter)) });
        }
        let limits = RunLimits::measure(load, &[Role::Consume], None)?;
        let session = Session::new(Role::Consume, load.warm_up, ending, server(load));
        outcome.add(session.run("consume", workers)?, &limits);
    }
    let mut conditions = conditions(load, &partitions);
    conditions.push(("fetch_bytes", options.fetch.fetch_bytes.to_string()));
    if let Some(records) = options.newest {
        conditions.push(("read", format!("the newest {records} records of each partition")));
    }
    Ok(outcome.report(conditions, slow_sockets().into_iter().collect()))
}

fn produce_default(load: &LoadOptions) -> Option<Duration> {
    load.bytes.is_none().then_some(PRODUCE_DURATION_DEFAULT)
}

fn server(load: &LoadOptions) -> Option<ServerProcess> {
    load.pid.map(|pid| ServerProcess { pid })
}

/// Connects a worker's socket to the leader of its partitions.
fn connect(share: &Share) -> Result<std::net::TcpStream, String> {
    let named = |error: std::io::Error| format!("{}: {error}", share.leader);
    let address: SocketAddr = std::net::ToSocketAddrs::to_socket_addrs(share.leader.as_str())
        .map_err(named)?
        .next()
        .ok_or_else(|| format!("{}: this name has no address", share.leader))?;
    sockets::connect(address).map_err(named)
}

fn conditions(load: &LoadOptions, partitions: &[Partition]) -> Vec<(&'static str, String)> {
    let partitions = partitions.len();
    let topics = match load.topics {
        1 => format!("{}, {partitions} partitions", load.topic),
        topics => format!("{0}-0 to {0}-{1}, {partitions} partitions together", load.topic, topics - 1),
    };
    let mut conditions = machine::conditions();
    conditions.push(("broker", load.broker.clone()));
    conditions.push(("topic", topics));
    conditions.push(("connections", load.connections.to_string()));
    if let Some(pid) = load.pid {
        conditions.push(("broker_command", machine::command_of(pid)));
    }
    if let Some(directory) = &load.limit {
        let file_system = machine::file_system(directory);
        conditions.push(("limit_measured_in", format!("{}, {file_system}", directory.display())));
    }
    conditions
}

/// What the broker sends with is its own socket's choice, and usually the system's.
pub(crate) fn slow_sockets() -> Option<String> {
    let system = sockets::system_congestion_control();
    (system == "bbr").then(|| {
        "this system's sockets use bbr, which paces loopback: `sysctl net.ipv4.tcp_congestion_control=cubic` before the broker starts".to_owned()
    })
}
