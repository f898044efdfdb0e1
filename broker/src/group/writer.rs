//! Records of groups as batches of their partition.

use bytes::{Bytes, BytesMut};
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, check_produced};
use ringmill_groups::record::Record;

/// A batch takes no more records once it would have so many bytes: what one step leaves is seldom more.
const BATCH_BYTES: usize = 1 << 20;

/// What a record takes beside its key and value, at most, and the batch's header.
const OVERHEAD_BYTES: usize = 128;

/// Makes batches of records.
pub(super) struct RecordWriter {
    builder: BatchBuilder,
    batch_bytes_max: usize,
}

impl RecordWriter {
    /// For a log with segments of this size, which no batch may exceed.
    pub(super) fn new(segment_bytes: usize) -> RecordWriter {
        let builder = BatchBuilder::new(Codec::None, None);
        RecordWriter { builder, batch_bytes_max: BATCH_BYTES.min(segment_bytes) }
    }

    /// The batches that hold `records`, in order.
    pub(super) fn batches(&mut self, records: &[Record], now_ms: i64) -> Vec<(BytesMut, BatchHeader)> {
        let mut batches = Vec::with_capacity(1);
        for record in records {
            let (key, value) = (record.key(), record.value());
            let more = key.len() + value.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES;
            if !self.builder.is_empty() && self.builder.len_bytes() + more > self.batch_bytes_max {
                batches.push(self.finish());
            }
            self.builder.push(now_ms, Some(&key), value.as_deref(), &[]);
        }
        if !self.builder.is_empty() {
            batches.push(self.finish());
        }
        batches
    }

    fn finish(&mut self) -> (BytesMut, BatchHeader) {
        let batch = self.builder.finish();
        let header = check_produced(&batch).expect("the builder makes batches that a broker takes");
        (batch, header)
    }
}

#[cfg(test)]
mod tests {
    use ringmill_groups::record::CommittedOffset;

    use super::*;

    #[test]
    fn no_batch_is_larger_than_a_segment() {
        let record = |partition| {
            let metadata = "w".repeat(4_000).into();
            let value = CommittedOffset {
                offset: 1,
                leader_epoch: 0,
                metadata,
                commit_ms: 0,
                expire_ms: -1,
                topic_id: [0; 16],
            };
            Record::Offset { group: "g".into(), topic: "t".into(), partition, value: Some(value) }
        };
        let records: Vec<Record> = (0..1_000).map(record).collect();
        let batches = RecordWriter::new(100_000).batches(&records, 1);
        assert_eq!(batches.iter().map(|(_, header)| header.record_count).sum::<i32>(), 1_000);
        let sizes: Vec<usize> = batches.iter().map(|(batch, _)| batch.len()).collect();
        let (last, full) = sizes.split_last().expect("there are many");
        assert!(*last <= 100_000 && full.iter().all(|size| (90_000..=100_000).contains(size)), "{sizes:?}");
        assert_eq!(RecordWriter::new(100).batches(&records[..2], 1).len(), 2, "one record is never refused here");
    }
}
