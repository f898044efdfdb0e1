//! The same load over 1 to 1,000 connections, and beside 0 to 10,000 that do nothing.

use crate::report::Run;
use crate::trials::{Amounts, Broker, Plan, RATE, Row, Stage};

use super::idle::IdleConnections;
use super::options::Factor;
use super::{BROKER_CPU, SHOWN, warm_up};

/// Small batches, so that what each request costs is not hidden by the bytes it carries.
const LOAD: &str = "--partitions 4 --record-bytes 1KB --batch-records 10 --write-caching";
/// Over all connections together.
const IN_FLIGHT: u32 = 1000;
const PACE: &str = "--rate 50MB";
const COUNTS: [(u32, &str); 4] =
    [(1, "1 connection"), (10, "10 connections"), (100, "100 connections"), (1000, "1,000 connections")];
const IDLE_COUNTS: [(u32, &str); 5] = [
    (0, "no idle connection"),
    (10, "10 idle connections"),
    (100, "100 idle connections"),
    (1000, "1,000 idle connections"),
    (10_000, "10,000 idle connections"),
];

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let common = format!("{} {} {LOAD}", amounts.ending(), warm_up(amounts));
    let spread = |pace: &'static str| {
        let row = |(count, name): (u32, &str)| {
            let in_flight = IN_FLIGHT / count;
            Row::producing(name, format!("{common} --connections {count} --in-flight {in_flight} {pace}"))
        };
        few(amounts, &COUNTS).map(row).collect()
    };
    let beside = |(count, name): (u32, &str)| {
        let options = format!("{common} --connections 4 {PACE}");
        Row::new(name, move |stage| beside_idle(stage, count, &options))
    };
    let plan = |title, compared: String, why, lead, rows| Plan {
        factor: Factor::Connections.name(),
        title,
        compared,
        why,
        lead,
        shown: SHOWN,
        rows,
    };
    vec![
        plan(
            "1 to 1,000 connections, as fast as answered",
            format!(
                "Batches of 10 KB to 4 partitions, answered when written (write.caching=true); {IN_FLIGHT} requests are in flight over all \
                 connections together, however many these are."
            ),
            "The work is the same, but it comes in smaller portions: one busy connection brings many requests with one read, a thousand bring one \
             each, and every read, every answer and every wake-up then serves a single request. With this many requests in flight the latency is \
             the time in the queue, so it tells how evenly the connections are served rather than how fast.",
            RATE,
            spread(""),
        ),
        plan(
            "1 to 1,000 connections, by the clock",
            "The same batches at 50 MB/s over all connections together, 5,000 requests a second. Compared is the broker's CPU time per GB: less is \
             better."
                .to_owned(),
            "At a steady load that everyone can bear the rate says nothing, and what counts is what it takes: a broker that looks at every \
             connection whenever one of them has something to say pays for their number, one that is told which of them is ready does not. The \
             load generator has a thread for each connection, and its own CPU grows as well (client busy), which on a small machine shows in \
             the latency.",
            BROKER_CPU,
            spread(PACE),
        ),
        plan(
            "0 to 10,000 idle connections",
            "50 MB/s in batches of 10 KB over 4 connections, beside others that asked one thing each and then keep silent. Compared is the broker's \
             CPU time per GB: less is better."
                .to_owned(),
            "Most clients of a log broker are silent most of the time. What they may cost is memory, a buffer and some state for each, and \
             nothing else: no CPU, and no latency for those who work. The memory divided by the number of connections is what one takes, \
             without what the kernel holds for its socket.",
            BROKER_CPU,
            few(amounts, &IDLE_COUNTS).map(beside).collect(),
        ),
    ]
}

/// All of these counts, or without the largest when everything is only tried: that one alone takes seconds to set up.
fn few<'a>(amounts: &Amounts, counts: &'a [(u32, &'a str)]) -> impl Iterator<Item = (u32, &'a str)> {
    let left_out = usize::from(*amounts == Amounts::QUICK);
    counts.iter().take(counts.len() - left_out).copied()
}

fn beside_idle(stage: &Stage, count: u32, options: &str) -> Result<Run, String> {
    let broker = Broker::start(stage, "auto")?;
    let idle = IdleConnections::open(broker.address(), count)?;
    let run = broker.load("produce", options);
    idle.still_open()?;
    run
}
