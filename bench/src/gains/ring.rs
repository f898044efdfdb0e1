//! The same broker and the same loads on io_uring and on plain system calls.

use crate::report::Run;
use crate::trials::{Amounts, Broker, OF_A_LOAD, Plan, RATE, Row, Stage};

use super::options::Factor;

const LOAD: &str = "--connections 4 --in-flight 5 --record-bytes 1KB --batch-records 100";
/// What a consumer reads is written in large batches: how it came there is not what is measured.
const FILLING: &str = "--connections 4 --record-bytes 1KB --batch-records 500 --write-caching";
/// As often as what was written is read, for reading from memory is soon done.
const READINGS: u64 = 4;

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let ending = amounts.ending();
    let produce = |name: &str, io: &'static str| {
        let options = format!("{ending} {LOAD}");
        Row::new(name, move |stage| Broker::start(stage, io)?.load("produce", &options))
    };
    let consume = |name: &str, io: &'static str| Row::new(name, move |stage| read(stage, io));
    let (plain, ring) = ("plain system calls", "io_uring");
    vec![
        Plan {
            factor: Factor::Ring.name(),
            title: "io_uring against plain system calls: produce",
            compared: "Two runs of the broker, --io posix and --io uring, take batches of 100 KB over 4 connections with 5 requests in flight \
                       each, every answer durable."
                .to_owned(),
            why: "A sync keeps whoever asks for it waiting until the disk is done, and so does a write when memory is short. With plain system \
                  calls a pool of threads beside the cores does the waiting: each operation wakes one of them, and then the core again. On \
                  io_uring the core itself hands its requests for sockets and files to the kernel, many at once, through memory that both \
                  share, and finds the results there: fewer changes between threads, and less CPU for the same bytes. Where the disk itself is \
                  the limit, both wait for it alike.",
            lead: RATE,
            shown: OF_A_LOAD,
            rows: vec![produce(plain, "posix"), produce(ring, "uring")],
        },
        Plan {
            factor: Factor::Ring.name(),
            title: "io_uring against plain system calls: consume",
            compared: "The same two brokers send what lies in the page cache to 4 connections.".to_owned(),
            why: "Cached records leave by sendfile(2) in both, so only the small work around it differs: receiving the requests and looking up \
                  where the records lie. Little is to be gained here, and the two should be close.",
            lead: RATE,
            shown: &[RATE, "p50_us", "p99_us", "server_cpu_s_per_gb", "client_busy_percent"],
            rows: vec![consume(plain, "posix"), consume(ring, "uring")],
        },
    ]
}

fn read(stage: &Stage, io: &str) -> Result<Run, String> {
    let broker = Broker::start(stage, io)?;
    let Amounts { bytes, time_max, .. } = stage.amounts;
    broker.load("produce", &format!("{FILLING} --bytes {bytes}"))?;
    let ending = format!("--bytes {} --duration {}ms", bytes * READINGS, time_max.as_millis());
    broker.load("consume", &format!("--connections 4 {ending}"))
}
