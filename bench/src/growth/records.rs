//! Records of 100 B to 1 MB in batches of the same size.

use crate::trials::{Amounts, Plan, RATE, Row};

use super::SHOWN;
use super::options::Factor;

/// A topic takes about 1 MB by default, and a batch of small records is somewhat longer than their values.
const LOAD: &str = "--connections 4 --in-flight 5 --batch-bytes 1MB --config max.message.bytes=2097152";
const SIZES: [(&str, &str); 5] =
    [("100B", "100 B"), ("1KB", "1 KB"), ("10KB", "10 KB"), ("100KB", "100 KB"), ("1MB", "1 MB")];
/// Records beside rate: of small ones there are many.
const SHOWN_OF_RECORDS: &[&str] = &[
    SHOWN[0],
    "records_per_s",
    super::P99,
    super::BROKER_CPU,
    "server_memory_bytes",
    crate::trials::MEMORY_AT_END,
    "client_busy_percent",
];

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let ending = amounts.ending();
    let rows = |more: &'static str| {
        let row =
            |(size, name): (&str, &str)| Row::producing(name, format!("{ending} {LOAD} --record-bytes {size} {more}"));
        SIZES.into_iter().map(row).collect()
    };
    let plan = |title, answered: &str, why, rows| Plan {
        factor: Factor::Records.name(),
        title,
        compared: format!(
            "Batches of 1 MB of values, from 10,000 records down to a single one, over 4 connections with 5 requests in flight each, {answered}."
        ),
        why,
        lead: RATE,
        shown: SHOWN_OF_RECORDS,
        rows,
    };
    vec![
        plan(
            "Records of 100 B to 1 MB, answered before the sync",
            "answered when written (write.caching=true)",
            "A broker that takes batches apart, or makes an object of each record, pays for their number; one that stores batches as they came \
             pays for their bytes, and every row is alike. The smallest records differ by what the format itself adds to each of them. What \
             large batches take is memory while they are on their way: each request is held as a whole until it is written.",
            rows("--write-caching"),
        ),
        plan(
            "Records of 100 B to 1 MB, every answer durable",
            "answered when durable",
            "A batch of 1 MB is enough for a disk to write at its own pace, whatever is in it, so the rows should differ even less than without \
             the sync.",
            rows(""),
        ),
    ]
}
