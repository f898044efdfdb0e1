//! When the disk is asked to make records durable: before every single answer, before many at once, or after the answers.

use crate::trials::{Amounts, OF_A_LOAD, Plan, RATE, Row};

use super::options::Factor;

const IN_FLIGHT: u32 = 32;

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let ending = amounts.ending();
    let row = |name: String, more: String| {
        let options = format!("{ending} --record-bytes 1KB --batch-records 100 {more}");
        Row::producing(name, options)
    };
    vec![Plan {
        factor: Factor::Durability.name(),
        title: "A sync for each batch, for many, or later",
        compared: format!(
            "Batches of 100 KB go to one partition: each sent when the one before it is durable; {IN_FLIGHT} in flight, still answered when \
             durable; {IN_FLIGHT} in flight, answered when written (write.caching=true)."
        ),
        why: "A sync makes the disk empty its own cache, and takes about as long for little as for much. With one batch in flight every batch \
              pays for one. With many, all that arrived while the last sync ran share the next (group commit), and each answer still means that \
              its records survive a power cut. With write.caching answers wait for no sync: they survive the broker's death, but a power cut \
              takes what was not synced yet, at most flush.ms or flush.bytes of it.",
        lead: RATE,
        shown: OF_A_LOAD,
        rows: vec![
            row("a sync for each batch".to_owned(), "--in-flight 1".to_owned()),
            row(format!("one for many, {IN_FLIGHT} in flight"), format!("--in-flight {IN_FLIGHT}")),
            row("answered before the sync".to_owned(), format!("--in-flight {IN_FLIGHT} --write-caching")),
        ],
    }]
}
