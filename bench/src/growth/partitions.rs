//! The same load on 1 to 1,000 partitions: produced both ways, and read again.

use crate::report::Run;
use crate::trials::{Amounts, Broker, Plan, RATE, Row, Stage, partitions};

use super::SHOWN;
use super::options::Factor;

/// What a consumer reads is written in batches as the other tables have them.
const FILLING: &str = "--connections 4 --record-bytes 1KB --batch-records 100 --write-caching";
/// As often as what was written is read, for reading from memory is soon done.
const READINGS: u64 = 4;

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let factor = Factor::Partitions.name();
    let mut plans = partitions::plans(factor, SHOWN, amounts);
    let row = |(partitions, name): (u32, &str)| Row::new(name, move |stage| read(stage, partitions));
    plans.push(Plan {
        factor,
        title: "1 to 1,000 partitions, consumed",
        compared: "What such producers wrote is read from the page cache by 4 connections, which share the partitions and ask for all of theirs \
                   in every fetch."
            .to_owned(),
        why: "A fetch names every partition that it wants, and is answered with some bytes of several of them: with more partitions each request \
              is longer, looks into more logs, and leaves in more and smaller pieces. A broker that copies or remembers something for each \
              partition and connection shows it here, in its CPU time and in its memory.",
        lead: RATE,
        shown: SHOWN,
        rows: partitions::COUNTS.into_iter().map(row).collect(),
    });
    plans
}

fn read(stage: &Stage, partitions: u32) -> Result<Run, String> {
    let broker = Broker::start(stage, "auto")?;
    let Amounts { bytes, time_max } = stage.amounts;
    broker.load("produce", &format!("{FILLING} --partitions {partitions} --bytes {bytes}"))?;
    // A topic with fewer partitions than connections is read by several at once.
    let ending = format!("--bytes {} --duration {}ms", bytes * READINGS, time_max.as_millis());
    broker.load("consume", &format!("--connections 4 {ending}"))
}
