//! Loads on a broker: prepares the topic, runs the workers once per run, and turns what they counted into a report.
//!
//! The set-up goes through the project's client. The measured path does not: each connection is a plain socket on a thread of
//! its own, sends frames that were built before the clock started, and counts answers without copying them anywhere, so that
//! the load costs as little as it can of the machine that it shares with the broker.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::{ConsumeOptions, LoadOptions, ProduceOptions, ReplayOptions, SendOptions};
use crate::limits;
use crate::process_usage::ServerProcess;
use crate::report::{self, Case, Metric, Report, Run, Unit, cpu_per_gb, rate};
use crate::sockets;

mod batch;
mod consume;
mod generated;
mod incoming;
mod produce;
mod records;
mod schedule;
mod session;
mod topic;

use batch::Stock;
use generated::Generated;
pub(crate) use records::{Payload, Sizes};
use session::{Ending, Measured, Session, Tally};
use topic::{Share, TopicClient};

/// Runs when neither a duration nor a number of bytes was asked for.
const PRODUCE_DURATION_DEFAULT: Duration = Duration::from_secs(5);

/// Sends generated records to the topic, which is created where it is missing.
///
/// # Errors
/// What the broker refused, or what does not fit together in the options.
pub(crate) fn produce(options: &ProduceOptions) -> Result<Report, String> {
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
    let name = format!("the lines of {}, {}", options.file.display(), if again { "in a loop" } else { "once" });
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
    let plan = produce::Plan::new(load, send)?;
    let client = TopicClient::connect(&load.broker)?;
    let mut runs = Vec::new();
    let mut conditions = Vec::new();
    for _ in 0..load.runs {
        let partitions = client.prepare(load, send)?;
        let shares = topic::share_out(&partitions, load.connections)?;
        let stocks = stocks()?;
        conditions = self::conditions(load, partitions.len());
        conditions.push(("records", records.to_owned()));
        conditions.push(("batches", batch::describe(&stocks, send.codec)));
        let mut workers = Vec::new();
        for (index, (share, stock)) in (0..).zip(shares.into_iter().zip(stocks)) {
            let producer = if send.idempotent { Some(client.producer_id()?) } else { None };
            workers.push(produce::Worker::new(&plan, &share, index, stock, producer)?);
        }
        let limit = load.limit.as_deref().map(limits::direct_write).transpose()?;
        let session = Session::new(load.warm_up, ending, server(load));
        let measured = session
            .run(command, workers.into_iter().map(|worker| |session: &Session| worker.run(session)).collect())?;
        runs.push(metrics(&measured, limit));
    }
    conditions.extend(plan.conditions());
    let case = Case { name: command.to_owned(), runs };
    Ok(Report { command, conditions, cases: vec![case], warnings: Vec::new() })
}

/// Fetches the topic's records: once from start to end, or again and again until a duration or a number of bytes is full.
///
/// # Errors
/// What the broker refused, an empty topic, or a batch that is damaged.
pub(crate) fn consume(options: &ConsumeOptions) -> Result<Report, String> {
    let load = &options.load;
    let ending = Ending { duration: load.duration, bytes: load.bytes };
    let again = ending.duration.is_some() || ending.bytes.is_some();
    if !again && !load.warm_up.is_zero() {
        return Err("--warm-up needs --duration or --bytes: reading once has no time to warm up".to_owned());
    }
    let client = TopicClient::connect(&load.broker)?;
    let partitions = client.describe(&load.topic)?;
    let mut runs = Vec::new();
    for _ in 0..load.runs {
        let shares = topic::share_out(&partitions, load.connections)?;
        let workers =
            shares.iter().map(|share| consume::Worker::new(options, share, again)).collect::<Result<Vec<_>, _>>()?;
        let limit = load.limit.as_deref().map(limits::bare_sendfile).transpose()?;
        let session = Session::new(load.warm_up, ending, server(load));
        let measured = session
            .run("consume", workers.into_iter().map(|worker| |session: &Session| worker.run(session)).collect())?;
        runs.push(metrics(&measured, limit));
    }
    let mut conditions = conditions(load, partitions.len());
    conditions.push(("fetch_bytes", options.fetch_bytes.to_string()));
    let case = Case { name: "consume".to_owned(), runs };
    Ok(Report { command: "consume", conditions, cases: vec![case], warnings: slow_sockets().into_iter().collect() })
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

fn conditions(load: &LoadOptions, partitions: usize) -> Vec<(&'static str, String)> {
    let mut conditions = report::machine();
    conditions.push(("broker", load.broker.clone()));
    conditions.push(("topic", format!("{}, {partitions} partitions", load.topic)));
    conditions.push(("connections", load.connections.to_string()));
    conditions
}

/// What the broker sends with is its own socket's choice, and usually the system's.
fn slow_sockets() -> Option<String> {
    let system = sockets::system_congestion_control();
    (system == "bbr").then(|| {
        "this system's sockets use bbr, which paces loopback: `sysctl net.ipv4.tcp_congestion_control=cubic` before the broker starts".to_owned()
    })
}

#[expect(clippy::cast_precision_loss, reason = "records and bytes of a run stay far below 2^53")]
fn metrics(measured: &Measured, limit: Option<Run>) -> Run {
    let Tally { records, bytes, latency, lateness } = &measured.tally;
    let seconds = measured.elapsed.as_secs_f64();
    let mut run = vec![
        Metric { key: "records_per_s", unit: Unit::RecordsPerSecond, value: *records as f64 / seconds },
        rate(*bytes, measured.elapsed),
    ];
    // The rate is the first metric of every limit.
    if let Some(Metric { value: limit, .. }) = limit.and_then(|limit| limit.into_iter().next()) {
        let share = 100.0 * *bytes as f64 / seconds / limit;
        run.push(Metric { key: "limit_bytes_per_s", unit: Unit::BytesPerSecond, value: limit });
        run.push(Metric { key: "share_of_limit_percent", unit: Unit::Percent, value: share });
    }
    if !latency.is_empty() {
        run.extend(latency.metrics(&[("p50_us", 0.5), ("p99_us", 0.99), ("p99.9_us", 0.999), ("max_us", 1.0)]));
    }
    if !lateness.is_empty() {
        run.extend(lateness.metrics(&[("sent_late_p99_us", 0.99)]));
    }
    run.push(cpu_per_gb("client_cpu_s_per_gb", measured.client_cpu, *bytes));
    if let Some(server) = &measured.server {
        run.push(cpu_per_gb("server_cpu_s_per_gb", server.cpu, *bytes));
        run.push(Metric { key: "server_memory_bytes", unit: Unit::Bytes, value: server.anonymous_bytes_max as f64 });
    }
    run.push(Metric { key: "records_total", unit: Unit::Records, value: *records as f64 });
    run.push(Metric { key: "elapsed_s", unit: Unit::Seconds, value: seconds });
    run
}
