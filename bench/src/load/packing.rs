//! What it costs to make batches of log lines under a codec, and how small they become: a producer's side, with no broker and no socket.

use std::time::Duration;

use ringmill_batch::Codec;

use crate::process_usage::thread_cpu;

use super::batch::{BatchSize, Packer};
use super::records::{Payload, RecordMaker, Sizes};

/// Of different lines, which come again and again: far more than a codec remembers.
const DISTINCT_BYTES: u64 = 8_000_000;

/// What was packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    /// Of values, before compression.
    pub(crate) value_bytes: u64,
    /// Of whole batches, as a producer sends and a broker stores them.
    pub(crate) batch_bytes: u64,
    /// Of this thread, without what it took to think up the lines.
    pub(crate) cpu: Duration,
}

/// Packs lines of all kinds of logs into batches of so many until they hold `value_bytes`.
pub(crate) fn pack(codec: Codec, batch_records: u64, value_bytes: u64) -> Packed {
    let lines = lines(value_bytes.min(DISTINCT_BYTES));
    let mut packer = Packer::new(BatchSize::Records(batch_records), codec);
    let mut packed = Packed { value_bytes: 0, batch_bytes: 0, cpu: Duration::ZERO };
    let before = thread_cpu();
    for line in lines.iter().cycle() {
        if let Some(batch) = packer.push(None, line) {
            packed.value_bytes += batch.value_bytes;
            packed.batch_bytes += batch.bytes.len() as u64;
            if packed.value_bytes >= value_bytes {
                break;
            }
        }
    }
    packed.cpu = thread_cpu().saturating_sub(before);
    packed
}

/// At least one.
fn lines(bytes: u64) -> Vec<Vec<u8>> {
    let mut maker = RecordMaker::new(Payload::Text, Sizes::Line, None, 0);
    let (mut lines, mut total) = (Vec::new(), 0);
    while lines.is_empty() || total < bytes {
        let mut line = Vec::new();
        maker.fill(&mut line);
        total += line.len() as u64;
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_makes_lines_smaller_and_none_adds_what_a_record_needs() {
        let [plain, zstd] = [Codec::None, Codec::Zstd].map(|codec| pack(codec, 100, 50_000));
        assert_eq!(plain.value_bytes, zstd.value_bytes, "the same lines");
        assert!(plain.value_bytes >= 50_000 && plain.batch_bytes > plain.value_bytes, "{plain:?}");
        assert!(zstd.batch_bytes * 2 < zstd.value_bytes && zstd.cpu > Duration::ZERO, "{zstd:?}");
        assert!(pack(Codec::None, 10, 0).value_bytes > 0, "one batch in any case");
    }
}
