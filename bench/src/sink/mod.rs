//! A server that takes what producers send and keeps nothing of it: what a client reaches here is the client's own ceiling.
//!
//! It reads every request to its end and every batch's header, to count records, and answers at once. It checks no checksum, writes no disk,
//! gives out offsets that only grow, and serves no consumer. Each connection has a thread of its own; the sink's CPU time stands in its
//! report, so that nobody takes its limit for the client's.

mod answers;
mod connection;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::SinkOptions;
use crate::machine;
use crate::process_usage::own_cpu;
use crate::report::{Case, Metric, Report, Unit, cpu_per_gb, rate};

/// More connections than this are closed as they come.
const CONNECTIONS_MAX: usize = 1024;

/// What all connections share.
#[derive(Debug)]
struct Sink {
    partitions: i32,
    /// Offsets and producer ids: all come out of one count, so they grow and never repeat.
    next_offset: AtomicU64,
    next_producer_id: AtomicU64,
    requests: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    connections: AtomicUsize,
    started: Instant,
    /// When the first and the last batch came, as nanoseconds from the start.
    first_ns: AtomicU64,
    last_ns: AtomicU64,
}

/// Serves until it is told to end, by a signal or by its duration; then says what came.
///
/// # Errors
/// When the address cannot be listened on, or when no batch came.
pub(crate) fn run(options: &SinkOptions) -> Result<Report, String> {
    let listener = TcpListener::bind(&options.listen).map_err(|error| format!("{}: {error}", options.listen))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let sink = Arc::new(Sink::new(options.partitions));
    let accepting = Arc::clone(&sink);
    thread::spawn(move || accepting.accept(&listener));
    // On standard error, for the report is all that standard output gets.
    eprintln!("address {address}");
    wait_for_the_end(options.duration).map_err(|error| error.to_string())?;
    sink.report(address.to_string())
}

fn wait_for_the_end(duration: Option<Duration>) -> std::io::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let timer = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = timer => {}
        }
        Ok(())
    })
}

impl Sink {
    fn new(partitions: u32) -> Sink {
        Sink {
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            next_offset: AtomicU64::new(0),
            next_producer_id: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            started: Instant::now(),
            first_ns: AtomicU64::new(u64::MAX),
            last_ns: AtomicU64::new(0),
        }
    }

    fn accept(self: &Arc<Sink>, listener: &TcpListener) {
        for stream in listener.incoming() {
            // A client that is gone before it was taken, or no descriptor left: the next one may fare better.
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            if self.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                eprintln!("a connection was closed: {CONNECTIONS_MAX} are open");
                continue;
            }
            let sink = Arc::clone(self);
            thread::spawn(move || {
                if let Err(fault) = connection::serve(&stream, &sink) {
                    eprintln!("a connection was closed: {fault}");
                }
                sink.connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }

    /// Counts a partition's share of a request, and gives its first record an offset.
    fn take(&self, records: u64, batches: u64, bytes: u64) -> u64 {
        let now_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.first_ns.fetch_min(now_ns, Ordering::Relaxed);
        self.last_ns.fetch_max(now_ns, Ordering::Relaxed);
        self.batches.fetch_add(batches, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.next_offset.fetch_add(records, Ordering::Relaxed)
    }

    #[expect(clippy::cast_precision_loss, reason = "what a run brings stays far below 2^53")]
    fn report(&self, address: String) -> Result<Report, String> {
        let (records, bytes) = (self.next_offset.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let (requests, batches) = (self.requests.load(Ordering::Relaxed), self.batches.load(Ordering::Relaxed));
        let (first_ns, last_ns) = (self.first_ns.load(Ordering::Relaxed), self.last_ns.load(Ordering::Relaxed));
        if batches == 0 {
            return Err("no batch came".to_owned());
        }
        // A single request has no duration; a nanosecond keeps its rate a number.
        let elapsed = Duration::from_nanos((last_ns - first_ns).max(1));
        let run = vec![
            Metric {
                key: "records_per_s",
                unit: Unit::RecordsPerSecond,
                value: records as f64 / elapsed.as_secs_f64(),
            },
            rate(bytes, elapsed),
            Metric { key: "request_bytes", unit: Unit::Bytes, value: bytes as f64 / requests as f64 },
            Metric { key: "records_per_batch", unit: Unit::Records, value: records as f64 / batches as f64 },
            cpu_per_gb("sink_cpu_s_per_gb", own_cpu(), bytes),
            Metric { key: "records_total", unit: Unit::Records, value: records as f64 },
            Metric { key: "elapsed_s", unit: Unit::Seconds, value: elapsed.as_secs_f64() },
        ];
        let mut conditions = machine::conditions();
        conditions.push(("address", address));
        conditions.push(("durability", "none: everything is discarded".to_owned()));
        Ok(Report {
            command: "sink",
            conditions,
            cases: vec![Case { name: "taken".to_owned(), runs: vec![run] }],
            groups: Vec::new(),
            warnings: Vec::new(),
            profiles: Vec::new(),
        })
    }
}
