//! The batches that a load sends, made before the clock starts: from generated records or from a file's lines.
//!
//! A connection has a [`Stock`] of its own and sends what is in it in turn. What changes with each sending (the producer's
//! number, the time) is written into the header then.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, crc32c};

use super::departure;
use super::records::RecordMaker;
use super::topic::ProducerId;

/// A checksum covers everything from the attributes on.
const CRC_COVERS_FROM: usize = 21;

/// How much of a file is held in memory and replayed.
pub(super) const REPLAY_BYTES_MAX: u64 = 1 << 30;

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchSize {
    Records(u64),
    /// Of values, before compression; the record that reaches it is the last.
    ValueBytes(u64),
}

/// A whole batch, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) bytes: BytesMut,
    header: BatchHeader,
    /// Bytes of its values, before compression.
    pub(super) value_bytes: u64,
}

/// One connection's batches.
#[derive(Clone, Debug)]
pub(super) struct Stock {
    batches: Vec<Batch>,
    next: usize,
    /// Whether to begin anew behind the last one.
    again: bool,
}

/// Collects records into batches of one size.
pub(super) struct Packer {
    size: BatchSize,
    builder: BatchBuilder,
    timestamp_ms: i64,
    value_bytes: u64,
}

impl Packer {
    pub(super) fn new(size: BatchSize, codec: Codec) -> Packer {
        Packer { size, builder: BatchBuilder::new(codec, None), timestamp_ms: now_ms(), value_bytes: 0 }
    }

    /// Takes a record in, and gives out the batch that it fills.
    pub(super) fn push(&mut self, key: Option<&[u8]>, value: &[u8]) -> Option<Batch> {
        self.builder.push(self.timestamp_ms, key, Some(value), &[]);
        self.value_bytes += value.len() as u64;
        let full = match self.size {
            BatchSize::Records(records) => u64::try_from(self.builder.count()).is_ok_and(|count| count >= records),
            BatchSize::ValueBytes(bytes) => self.value_bytes >= bytes,
        };
        if full { self.finish() } else { None }
    }

    /// What was taken in since the last batch, if anything was.
    fn finish(&mut self) -> Option<Batch> {
        if self.builder.is_empty() {
            return None;
        }
        let bytes = self.builder.finish();
        let header = BatchHeader::parse(&bytes).expect("the builder makes whole batches");
        Some(Batch { bytes, header, value_bytes: std::mem::take(&mut self.value_bytes) })
    }
}

impl Batch {
    /// Records in it.
    pub(super) fn records(&self) -> i32 {
        self.header.record_count
    }

    /// Writes the producer's identity and the first record's sequence number into the batch; [`seal`](Self::seal) must follow.
    pub(super) fn number(&mut self, producer: ProducerId, sequence: i32) {
        let header = &mut self.header;
        (header.producer_id, header.producer_epoch, header.base_sequence) = (producer.id, producer.epoch, sequence);
    }

    /// Writes into the batch that it leaves now, or should have left at `at`; [`seal`](Self::seal) must follow.
    pub(super) fn stamp(&mut self, at: SystemTime) {
        departure::stamp(&mut self.header, at);
    }

    /// Puts changes of the header into the bytes, with the checksum over them.
    pub(super) fn seal(&mut self) {
        self.header.write(&mut self.bytes);
        self.header.crc = crc32c(&self.bytes[CRC_COVERS_FROM..]);
        self.header.write(&mut self.bytes);
    }
}

impl Stock {
    /// So many different batches of generated records.
    pub(super) fn generate(mut maker: RecordMaker, count: u32, size: BatchSize, codec: Codec) -> Stock {
        let mut packer = Packer::new(size, codec);
        let (mut batches, mut value) = (Vec::new(), Vec::new());
        while batches.len() < count as usize {
            maker.fill(&mut value);
            let key = maker.key();
            batches.extend(packer.push(key.as_ref().map(|key| key.as_bytes()), &value));
        }
        Stock { batches, next: 0, again: true }
    }

    /// A file's lines, divided among `connections` batch by batch. With `again` each connection begins anew at its end.
    ///
    /// # Errors
    /// A file that cannot be read, or one with too few lines to give every connection a batch.
    pub(super) fn from_lines(
        path: &Path,
        connections: u32,
        size: BatchSize,
        codec: Codec,
        again: bool,
    ) -> Result<Vec<Stock>, String> {
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut text = Vec::new();
        File::open(path).map_err(named)?.take(REPLAY_BYTES_MAX).read_to_end(&mut text).map_err(named)?;
        let mut packer = Packer::new(size, codec);
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let lines = text.split(|byte| *byte == b'\n');
        let mut batches: Vec<Batch> = lines.filter_map(|line| packer.push(None, line)).collect();
        batches.extend(packer.finish());
        if text.is_empty() || batches.len() < connections as usize {
            let (path, count) = (path.display(), batches.len());
            return Err(format!(
                "{path}: its lines fill {count} batches, too few for {connections} connections: make batches smaller (-n)"
            ));
        }
        let mut stocks = vec![Stock { batches: Vec::new(), next: 0, again }; connections as usize];
        for (at, batch) in batches.into_iter().enumerate() {
            stocks[at % connections as usize].batches.push(batch);
        }
        Ok(stocks)
    }

    /// Whether there is nothing left to send.
    pub(super) fn is_exhausted(&self) -> bool {
        self.next == self.batches.len()
    }

    /// The batch whose turn it is.
    pub(super) fn current(&mut self) -> &mut Batch {
        &mut self.batches[self.next]
    }

    /// Goes on to the one after it.
    pub(super) fn advance(&mut self) {
        self.next += 1;
        if self.again && self.is_exhausted() {
            self.next = 0;
        }
    }

    /// What one batch carries on average, at least 1.
    pub(super) fn mean_value_bytes(&self) -> u64 {
        let total: u64 = self.batches.iter().map(|batch| batch.value_bytes).sum();
        (total / self.batches.len().max(1) as u64).max(1)
    }
}

/// What all connections' batches are like, for the report.
#[expect(clippy::cast_precision_loss, reason = "bytes in memory stay far below 2^53")]
pub(super) fn describe(stocks: &[Stock], codec: Codec) -> String {
    let batches = || stocks.iter().flat_map(|stock| &stock.batches);
    let count = batches().count().max(1);
    let records: u64 = batches().map(|batch| u64::try_from(batch.records()).unwrap_or(0)).sum();
    let values: u64 = batches().map(|batch| batch.value_bytes).sum();
    let sent = average_bytes(stocks);
    format!(
        "{count} different, of {} records and {} bytes of values on average; codec {codec}, {} bytes as sent ({:.2} : 1)",
        records / count as u64,
        values / count as u64,
        sent,
        (values / count as u64) as f64 / sent.max(1) as f64
    )
}

/// Bytes of a batch on average, as it is sent.
pub(super) fn average_bytes(stocks: &[Stock]) -> usize {
    let lengths = || stocks.iter().flat_map(|stock| &stock.batches).map(|batch| batch.bytes.len());
    lengths().sum::<usize>() / lengths().count().max(1)
}

/// Milliseconds since 1970, as timestamps count them.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ringmill_batch::{DecompressLimit, check_produced, read_records};

    use super::super::records::{Payload, Sizes};
    use super::*;

    fn generate(count: u32, payload: Payload, sizes: Sizes, codec: Codec, seed: u64) -> Stock {
        Stock::generate(RecordMaker::new(payload, sizes, Some(10), seed), count, BatchSize::Records(200), codec)
    }

    fn sent_bytes(payload: Payload, codec: Codec) -> usize {
        generate(1, payload, Sizes::Fixed(1000), codec, 0).batches[0].bytes.len()
    }

    #[test]
    fn text_compresses_like_logs_and_random_bytes_do_not() {
        let whole = sent_bytes(Payload::Text, Codec::None);
        let (text, random) = (sent_bytes(Payload::Text, Codec::Zstd), sent_bytes(Payload::Random, Codec::Zstd));
        assert!(text * 3 < whole && text * 20 > whole, "{text} of {whole}");
        assert!(random * 100 > whole * 98, "{random} of {whole}");
    }

    #[test]
    fn a_broker_would_take_every_batch_of_every_codec() {
        for codec in Codec::ALL {
            let mut stock = generate(3, Payload::Hdfs, Sizes::Line, codec, 3);
            stock.current().number(ProducerId { id: 7, epoch: 1 }, 40);
            stock.current().seal();
            let checked = check_produced(&stock.current().bytes).unwrap();
            assert_eq!((checked.producer_id, checked.producer_epoch, checked.base_sequence), (7, 1, 40));
            assert_eq!((checked.record_count, checked.codec()), (200, codec));
            assert_ne!(stock.batches[0].bytes, stock.batches[1].bytes);
            let records = read_records(&stock.batches[1].bytes, DecompressLimit::default()).unwrap();
            assert!(records.iter().all(|record| record.unwrap().key.unwrap().starts_with(b"host-")));
        }
    }

    #[test]
    fn a_files_lines_go_round_the_connections_once_or_again() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\ntwo\n\nfour\nfive").unwrap();
        let stocks = |again| Stock::from_lines(file.path(), 2, BatchSize::Records(2), Codec::None, again).unwrap();
        let lines = |batch: &Batch| {
            let records = read_records(&batch.bytes, DecompressLimit::default()).unwrap();
            records.iter().map(|record| record.unwrap().value.unwrap().to_vec()).collect::<Vec<_>>()
        };
        let [mut first, second] = <[Stock; 2]>::try_from(stocks(false)).unwrap();
        assert_eq!(lines(first.current()), [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(lines(&second.batches[0]), [b"".to_vec(), b"four".to_vec()]);
        first.advance();
        assert_eq!(lines(first.current()), [b"five".to_vec()]);
        first.advance();
        assert!(first.is_exhausted());
        let mut again = stocks(true).remove(0);
        again.advance();
        again.advance();
        assert!(!again.is_exhausted() && lines(again.current()).len() == 2);
        assert!(Stock::from_lines(file.path(), 4, BatchSize::Records(2), Codec::None, true).is_err());
    }
}
