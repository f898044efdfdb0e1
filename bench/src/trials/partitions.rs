//! The same load on more and more partitions.

use super::{Amounts, Plan, RATE, Row};

const LOAD: &str = "--connections 4 --in-flight 5 --record-bytes 1KB --batch-records 100";

/// How many, and what such a row is called.
pub(crate) const COUNTS: [(u32, &str); 4] =
    [(1, "1 partition"), (10, "10 partitions"), (100, "100 partitions"), (1000, "1,000 partitions")];

/// For whichever command asks, and with what it shows of a load.
pub(crate) fn plans(factor: &'static str, shown: &'static [&'static str], amounts: &Amounts) -> Vec<Plan> {
    let ending = amounts.ending();
    let rows = |more: &'static str| {
        let row = |(partitions, name): (u32, &str)| {
            let options = format!("{ending} {LOAD} --partitions {partitions} {more}");
            Row::producing(name, options)
        };
        COUNTS.into_iter().map(row).collect()
    };
    let plan = |title, answered: &str, why, rows| Plan {
        factor,
        title,
        compared: format!(
            "Batches of 100 KB over 4 connections with 5 requests in flight each go to all partitions in turn, {answered}."
        ),
        why,
        lead: RATE,
        shown,
        rows,
    };
    vec![
        plan(
            "1 to 1,000 partitions, answered before the sync",
            "answered when written (write.caching=true)",
            "Each partition is a log of its own with its own files. What grows with their number is bookkeeping: more files to write to, space \
             reserved ahead in each, and fewer batches that lie side by side and go to the disk as one write. One partition alone is served by \
             one core; more of them use all cores.",
            rows("--write-caching"),
        ),
        plan(
            "1 to 1,000 partitions, every answer durable",
            "answered when durable",
            "Batches that wait for the same file share a sync. Spread over many files, the same 20 requests in flight meet in none of them, and \
             nearly every batch pays for a sync of its own. More requests in flight, or larger batches, bring the sharing back.",
            rows(""),
        ),
    ]
}
