//! The same log lines under each codec: how small they become, what that costs the producer, and how fast the broker takes them.

use ringmill_batch::Codec;

use crate::load;
use crate::report::{Metric, Run, Unit, cpu_per_gb};
use crate::trials::{Amounts, Broker, Plan, RATE, Row, Stage};

use super::options::Factor;

const BATCH_RECORDS: u64 = 1000;
/// What is compressed to see what that costs, as a part of what is sent: some codecs take seconds for it.
const PACKED_PART: u64 = 8;
const SMALLER: &str = "compression_ratio";
const COMPRESS_CPU: &str = "compress_cpu_s_per_gb";

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let ending = amounts.ending();
    let row = |codec: Codec| {
        let options = format!(
            "{ending} --in-flight 5 --payload text --record-bytes line --batch-records {BATCH_RECORDS} --codec {codec}"
        );
        Row::new(codec.to_string(), move |stage| measure(stage, codec, &options))
    };
    vec![Plan {
        factor: Factor::Codecs.name(),
        title: "Codecs on log lines",
        compared: format!(
            "Generated lines as HDFS, BlueGene/L, OpenSSH and Apache log them, {BATCH_RECORDS} a batch, over one connection, 5 requests in \
             flight, every answer durable. The rate counts the lines' own bytes, before compression."
        ),
        why: "The producer compresses a whole batch, and the broker passes it on as it came, to the disk and to every consumer: it neither \
              compresses nor decompresses, so a batch that is a fifth as long costs a fifth of the network, the disk and the page cache. Batches \
              were compressed before the clock started; what that takes of a producer stands in its own column (compress cpu), and one second \
              divided by it is what one core of a producer can keep up with.",
        lead: RATE,
        shown: &[SMALLER, COMPRESS_CPU, RATE, "p99_us", "server_cpu_s_per_gb"],
        rows: [Codec::None, Codec::Lz4, Codec::Snappy, Codec::Zstd, Codec::Gzip].into_iter().map(row).collect(),
    }]
}

fn measure(stage: &Stage, codec: Codec, options: &str) -> Result<Run, String> {
    let packed = load::pack(codec, BATCH_RECORDS, stage.amounts.bytes / PACKED_PART);
    let smaller = as_f64(packed.value_bytes) / as_f64(packed.batch_bytes);
    let mut run = vec![
        Metric { key: SMALLER, unit: Unit::Ratio, value: smaller },
        cpu_per_gb(COMPRESS_CPU, packed.cpu, packed.value_bytes),
    ];
    run.extend(Broker::start(stage, "auto")?.load("produce", options)?);
    Ok(run)
}

#[expect(clippy::cast_precision_loss, reason = "bytes in memory stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
