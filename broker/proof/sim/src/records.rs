//! What producers of a run write: batches of records that tell who made them, as the checker wants them.

use bytes::Bytes;
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_checker::Made;

/// A batch before it is encoded.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Who makes it.
    pub producer: u32,
    /// The number of its first record.
    pub first: u64,
    /// Its records.
    pub count: u64,
    /// Producer id and first sequence, of an idempotent producer.
    pub sequence: Option<(i64, i32)>,
    /// Of all its records, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Bytes of each record's value, at least.
    pub value_bytes: usize,
    /// How its records are compressed.
    pub codec: Codec,
    /// Its records have keys, of so many.
    pub keys: Option<u32>,
}

impl Batch {
    /// The bytes to send. The same batch always gives the same.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut builder = BatchBuilder::new(self.codec, None);
        if let Some((id, sequence)) = self.sequence {
            builder.producer(id, 0, sequence);
        }
        for number in self.first..self.first + self.count {
            let made = Made { producer: self.producer, number };
            made.push_onto(&mut builder, self.timestamp_ms, self.keys, self.value_bytes);
        }
        builder.finish().freeze()
    }
}

#[cfg(test)]
mod tests {
    use ringmill_checker::{Run, decode};

    use super::*;

    #[test]
    fn what_is_encoded_is_found_again() {
        let (sequence, timestamp_ms) = (Some((9, 0)), 1_800_000_000_000);
        for (codec, keys) in [(Codec::None, None), (Codec::Lz4, None), (Codec::None, Some(3))] {
            let batch =
                Batch { producer: 3, first: 7, count: 20, sequence, timestamp_ms, value_bytes: 50, codec, keys };
            let decoded = decode(0, &batch.encode());
            assert_eq!(decoded.runs, [Run { offset: 0, producer: 3, number: 7, count: 20 }]);
            assert_eq!(decoded.foreign, None);
        }
    }
}
