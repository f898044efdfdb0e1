//! The records that a load generates, by its options: checked once, then made into a stock of batches for each connection.

use std::fmt;

use ringmill_batch::Codec;

use crate::cli::{RecordOptions, SendOptions};

use super::batch::{BatchSize, Stock};
use super::records::{Payload, RecordMaker, Sizes};

/// Of values in one batch.
const BATCH_BYTES_MAX: u64 = 1 << 30;
/// What all connections' different batches may take together, unless someone asks for more.
const STOCK_BYTES_AIM: u64 = 256 << 20;
const DISTINCT_TEXT_BATCHES: u64 = 4;

/// The records that a load generates, by its options.
#[derive(Debug)]
pub(super) struct Generated<'a> {
    options: &'a RecordOptions,
    payload: Payload,
    size: BatchSize,
    codec: Codec,
    /// Batches of each connection.
    distinct: u32,
}

impl<'a> Generated<'a> {
    pub(super) fn new(
        options: &'a RecordOptions,
        send: &SendOptions,
        connections: u32,
    ) -> Result<Generated<'a>, String> {
        let default = if send.codec == Codec::None { Payload::Random } else { Payload::Text };
        let payload = options.payload.unwrap_or(default);
        if payload == Payload::Random && options.record_bytes == Sizes::Line {
            return Err("random bytes have no lines: --record-bytes line needs another --payload".to_owned());
        }
        let size = batch_size(send)?;
        let batch_bytes = match size {
            BatchSize::Records(records) => records.saturating_mul(options.record_bytes.typical_bytes()),
            BatchSize::ValueBytes(bytes) => bytes,
        }
        .max(1);
        if batch_bytes > BATCH_BYTES_MAX {
            return Err("a batch holds at most 1 GiB: fewer records (-n) or smaller ones (-r)".to_owned());
        }
        // Random bytes are all alike to a broker, and text repeats itself soon enough.
        let fitting = STOCK_BYTES_AIM / batch_bytes / u64::from(connections);
        let text = u32::try_from(fitting.clamp(1, DISTINCT_TEXT_BATCHES)).unwrap_or(1);
        let default = if payload == Payload::Random { 1 } else { text };
        Ok(Generated { options, payload, size, codec: send.codec, distinct: options.distinct.unwrap_or(default) })
    }

    pub(super) fn stock(&self, connection: u32) -> Stock {
        let RecordOptions { record_bytes, keys, seed, .. } = *self.options;
        // Connections must not send the same; the seed's own low bits stay free for the user to count with.
        let maker = RecordMaker::new(self.payload, record_bytes, keys, seed << 10 | u64::from(connection));
        Stock::generate(maker, self.distinct, self.size, self.codec)
    }
}

impl fmt::Display for Generated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload = format!("{:?}", self.payload).to_lowercase();
        write!(f, "{payload}, {}, seed {}", self.options.record_bytes, self.options.seed)?;
        self.options.keys.map_or(Ok(()), |keys| write!(f, ", {keys} keys"))
    }
}

/// When a batch is full, by the options.
pub(super) fn batch_size(send: &SendOptions) -> Result<BatchSize, String> {
    match (send.batch_bytes, send.batch_records) {
        (Some(0), _) | (None, 0) => Err("a batch holds at least one record".to_owned()),
        (Some(bytes), _) if bytes > BATCH_BYTES_MAX => Err("a batch holds at most 1 GiB".to_owned()),
        (Some(bytes), _) => Ok(BatchSize::ValueBytes(bytes)),
        (None, records) => Ok(BatchSize::Records(records)),
    }
}
