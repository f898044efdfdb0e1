//! The same records in batches of 1 to 10,000.

use crate::trials::{Amounts, OF_A_LOAD, Plan, Row};

use super::options::Factor;

/// Of each value. Ten thousand of them are a little more than what a topic takes by default.
const RECORD_BYTES: u32 = 100;
const BATCH_BYTES_MAX: u32 = 4_194_304;

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let ending = amounts.ending();
    let row = |(records, name): (u32, &str)| {
        let options = format!(
            "{ending} --in-flight 5 --record-bytes {RECORD_BYTES} --batch-records {records} --config max.message.bytes={BATCH_BYTES_MAX}"
        );
        Row::producing(name, options)
    };
    let sizes = [
        (1, "1 record in a batch"),
        (10, "10 records"),
        (100, "100 records"),
        (1000, "1,000 records"),
        (10_000, "10,000 records"),
    ];
    vec![Plan {
        factor: Factor::Batches.name(),
        title: "Records in a batch",
        compared: format!(
            "Records of {RECORD_BYTES} B are produced over one connection, 5 requests of one batch each in flight, every answer durable."
        ),
        why: "A request is received, checked, written, synced and answered as a whole, and the broker never takes a batch apart: it costs about \
              the same whether it carries one record or a thousand. Larger batches divide that cost by more records, until copying the bytes \
              themselves is what is left. A producer fills batches by waiting a moment (linger.ms) instead of sending each record at once.",
        lead: "records_per_s",
        shown: OF_A_LOAD,
        rows: sizes.into_iter().map(row).collect(),
    }]
}
