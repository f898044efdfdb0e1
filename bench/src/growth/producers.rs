//! 1 to 64 producers, each on a connection of its own and as fast as it is answered.

use crate::trials::{Amounts, Plan, RATE, Row};

use super::options::Factor;
use super::{SHOWN, warm_up};

const LOAD: &str = "--partitions 4 --in-flight 5 --idempotent --acks all --record-bytes 1KB --batch-records 100";
const COUNTS: [(u32, &str); 4] = [(1, "1 producer"), (4, "4 producers"), (16, "16 producers"), (64, "64 producers")];

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let common = format!("{} {} {LOAD}", amounts.ending(), warm_up(amounts));
    let rows = |more: &'static str| {
        let row = |(count, name): (u32, &str)| Row::producing(name, format!("{common} --connections {count} {more}"));
        COUNTS.into_iter().map(row).collect()
    };
    let plan = |title, answered: &str, why, rows| Plan {
        factor: Factor::Producers.name(),
        title,
        compared: format!(
            "Idempotent producers send batches of 100 KB to 4 partitions, each with 5 requests in flight and the next when one is answered, \
             {answered}."
        ),
        why,
        lead: RATE,
        shown: SHOWN,
        rows,
    };
    vec![
        plan(
            "1 to 64 producers, answered before the sync",
            "answered when written (write.caching=true)",
            "Every producer adds its own load, so the rate should rise until processor or disk are used up, and then stay: who comes later shares \
             what there is. What each may take is its part of the queue, which is the latency, its buffers, and an entry in every partition that \
             it writes to, by which the broker knows a batch that was sent twice.",
            rows("--write-caching"),
        ),
        plan(
            "1 to 64 producers, every answer durable",
            "answered when durable",
            "Batches of different producers that wait for the same file share a sync, so more producers make the syncs rarer for each of them: the \
             rate should rise further, and the latency later, than without.",
            rows(""),
        ),
    ]
}
