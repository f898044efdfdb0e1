//! Records of groups as batches of their partition.

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, check_produced};
use ringmill_groups::record::Record;

/// A batch ends once it has so many bytes: what one step leaves is seldom more.
const BATCH_BYTES: usize = 1 << 20;

/// Makes batches of records.
pub(super) struct RecordWriter(BatchBuilder);

impl RecordWriter {
    pub(super) fn new() -> RecordWriter {
        RecordWriter(BatchBuilder::new(Codec::None, None))
    }

    /// The batches that hold `records`, in order.
    pub(super) fn batches(&mut self, records: &[Record], now_ms: i64) -> Vec<(BytesMut, BatchHeader)> {
        let mut batches = Vec::with_capacity(1);
        for record in records {
            self.0.push(now_ms, Some(&record.key()), record.value().as_deref(), &[]);
            if self.0.len_bytes() >= BATCH_BYTES {
                batches.push(self.finish());
            }
        }
        if !self.0.is_empty() {
            batches.push(self.finish());
        }
        batches
    }

    fn finish(&mut self) -> (BytesMut, BatchHeader) {
        let batch = self.0.finish();
        let header = check_produced(&batch).expect("the builder makes batches that a broker takes");
        (batch, header)
    }
}
