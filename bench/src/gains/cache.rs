//! The same records read from the page cache and from the disk.

use crate::report::Run;
use crate::trials::{Amounts, Broker, Plan, RATE, Row, Stage};

use super::options::Factor;

const TOPIC: &str = "bench";
const FILLING: &str = "--record-bytes 1KB --batch-records 500";

pub(super) fn plans(_: &Amounts) -> Vec<Plan> {
    vec![Plan {
        factor: Factor::Cache.name(),
        title: "Cached against cold reads",
        compared: "One consumer reads a topic once from start to end: behind the producer, with all of it in the page cache, or after its files' \
                   pages were dropped."
            .to_owned(),
        why: "What was just written still lies in the kernel's page cache, and a consumer that keeps up is served from memory; the disk does not \
              read at all. One that comes back after a day reads at the disk's pace. The broker keeps no cache of its own: the kernel's is as \
              large as the machine's free memory, survives a restart of the broker, and reads ahead of whoever reads in order.",
        lead: RATE,
        shown: &[RATE, "p50_us", "p99_us", "server_cpu_s_per_gb", "client_busy_percent"],
        rows: vec![Row::new("from the disk", |stage| read(stage, true)), Row::new("cached", |stage| read(stage, false))],
    }]
}

fn read(stage: &Stage, cold: bool) -> Result<Run, String> {
    let broker = Broker::start(stage, "auto")?;
    broker.load("produce", &format!("{FILLING} --topic {TOPIC} --bytes {}", stage.amounts.bytes))?;
    if cold {
        broker.drop_pages(TOPIC)?;
    }
    broker.load("consume", &format!("--topic {TOPIC}"))
}
