//! The same load on a log that already holds 0 to 50 GB: appended to, read at its new end, and read cold from its old beginning.

use crate::report::{Metric, Run};
use crate::trials::{Amounts, Broker, MEMORY_AT_END, Plan, RATE, Row, Stage};

use super::options::Factor;
use super::{BROKER_CPU, P99};

const TOPIC: &str = "bench";
/// The load that is measured and the one that fills the log before it.
const LOAD: &str = "--partitions 1 --in-flight 5 --record-bytes 1KB --batch-records 1000 --write-caching";
/// As [`LOAD`] has them.
const RECORD_BYTES: f64 = 1000.0;
/// What a log holds before, in units.
const SIZES: [u64; 4] = [0, 1, 10, 50];
const UNIT: (&str, u64) = ("GB", 1_000_000_000);
/// When everything is tried and nothing measured.
const QUICK_UNIT: (&str, u64) = ("MB", 1_000_000);

const NEWEST: &str = "newest_bytes_per_s";
const NEWEST_P99: &str = "newest_p99_us";
const OLDEST: &str = "oldest_cold_bytes_per_s";
const OLDEST_P99: &str = "oldest_cold_p99_us";

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let (unit, unit_bytes) = if *amounts == Amounts::QUICK { QUICK_UNIT } else { UNIT };
    let row = |size: u64| {
        let name = if size == 0 { "no backlog".to_owned() } else { format!("{size} {unit} of backlog") };
        let backlog_bytes = size * unit_bytes;
        let row = Row::new(name, move |stage| measure(stage, backlog_bytes));
        row.needing(room_for(backlog_bytes + amounts.bytes))
    };
    vec![Plan {
        factor: Factor::Backlog.name(),
        title: "0 to 50 GB of backlog",
        compared: "One connection appends batches of 1 MB to one partition (write.caching=true); then one reads what it appended (newest), and, with \
                   no file left in the page cache, as much from the log's start (oldest cold)."
            .to_owned(),
        why: "A log only ever grows at its end, so what lies in front of it should matter to nobody: appends go to the newest segment, readers at \
              the end are served from the page cache, and one who starts at the beginning reads at the disk's pace. What may grow is what the \
              broker keeps in memory to find an offset. A log longer than the machine's memory also shows whether old pages give way to new \
              ones.",
        lead: RATE,
        shown: &[RATE, P99, BROKER_CPU, NEWEST, NEWEST_P99, OLDEST, OLDEST_P99, MEMORY_AT_END],
        rows: SIZES.into_iter().map(row).collect(),
    }]
}

/// What values take on the disk, with the format around them and what the broker reserves ahead.
fn room_for(value_bytes: u64) -> u64 {
    const AHEAD_BYTES: u64 = 64 << 20;
    value_bytes + value_bytes / 50 + AHEAD_BYTES
}

fn measure(stage: &Stage, backlog_bytes: u64) -> Result<Run, String> {
    let broker = Broker::start(stage, "auto")?;
    let Amounts { bytes, time_max } = stage.amounts;
    if backlog_bytes > 0 {
        broker.load("produce", &format!("{LOAD} --topic {TOPIC} --bytes {backlog_bytes}"))?;
    }
    let produced = broker.load("produce", &format!("{LOAD} --topic {TOPIC} {}", stage.amounts.ending()))?;
    let records = value_of(&produced, "records_total");
    let newest = broker.load("consume", &format!("--topic {TOPIC} --newest {records:.0}"))?;
    broker.drop_pages(TOPIC)?;
    // Not more than there is: what is read again is no longer cold.
    let cold_bytes = as_f64(bytes).min(as_f64(backlog_bytes) + records * RECORD_BYTES);
    let ending = format!("--bytes {cold_bytes:.0} --duration {}ms", time_max.as_millis());
    let oldest = broker.load("consume", &format!("--topic {TOPIC} {ending}"))?;

    let mut run: Run = produced.into_iter().filter(|metric| metric.key != MEMORY_AT_END).collect();
    for (from, key, as_key) in [
        (&newest, RATE, NEWEST),
        (&newest, P99, NEWEST_P99),
        (&oldest, RATE, OLDEST),
        (&oldest, P99, OLDEST_P99),
        (&oldest, MEMORY_AT_END, MEMORY_AT_END),
    ] {
        run.extend(from.iter().filter(|metric| metric.key == key).map(|metric| Metric { key: as_key, ..*metric }));
    }
    Ok(run)
}

fn value_of(run: &Run, key: &str) -> f64 {
    run.iter().find(|metric| metric.key == key).map_or(0.0, |metric| metric.value)
}

#[expect(clippy::cast_precision_loss, reason = "bytes on a disk stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_says_what_room_it_needs_and_is_small_when_only_tried() {
        let needed = |amounts| -> Vec<u64> { plans(amounts)[0].rows.iter().map(|row| row.disk_bytes).collect() };
        let (full, quick) = (needed(&Amounts::FULL), needed(&Amounts::QUICK));
        assert!(full[0] > 1_000_000_000 && full[0] < 1_200_000_000, "what is measured needs room, too: {full:?}");
        assert!(full[3] > 52_000_000_000 && full[3] < 53_000_000_000, "{full:?}");
        assert!(quick[3] < 200_000_000, "{quick:?}");
    }
}
