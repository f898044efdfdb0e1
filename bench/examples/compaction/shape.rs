//! What a log holds before it is compacted, and the filling of one.

use std::path::Path;
use std::rc::Rc;

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec};
use ringmill_engine::disk::block_on;
use ringmill_engine::log::Log;

use super::records::{Payload, Random, RecordMaker, Sizes};
use super::{Cli, pass};

/// Values of these sizes, in bytes.
const VALUE_BYTES: [u64; 2] = [100, 1000];

/// When every record was made.
const TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// How many batches are appended at once; the broker does so with what has come in during a sync.
const BATCHES_AT_ONCE: usize = 64;

/// One kind of log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    codec: Codec,
    value_bytes: u64,
    keys: Keys,
}

/// Which keys records have, and with that how many of them a later one supersedes.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// Each its own.
    Unique,
    /// One of so many that half of the records are the last of their key, strewn over the log.
    Half,
    /// One of a thousand.
    Few,
}

impl Shape {
    /// Every combination.
    pub(super) fn all() -> Vec<Shape> {
        let mut all = Vec::new();
        for codec in [Codec::None, Codec::Lz4, Codec::Zstd] {
            for value_bytes in VALUE_BYTES {
                all.extend([Keys::Unique, Keys::Half, Keys::Few].map(|keys| Shape { codec, value_bytes, keys }));
            }
        }
        all
    }

    pub(super) fn name(&self) -> String {
        let keys = match self.keys {
            Keys::Unique => "unique",
            Keys::Half => "half",
            Keys::Few => "few",
        };
        format!("{}-{}-{keys}", self.codec, self.value_bytes)
    }

    /// Makes such a log in `dir`, and says how many times smaller compression made it.
    pub(super) fn fill(&self, dir: &Path, cli: &Cli) -> Result<f64, String> {
        let opened = pass::open_disk()?;
        block_on(&*opened.disk, async {
            let config = pass::config(cli.segment_bytes);
            let created = Log::create(pass::env(&opened), dir.to_owned(), pass::IDENTITY, config).await;
            let log = created.map_err(|error| error.to_string())?;
            let work = async {
                let filled = self.append_all(&log, cli).await;
                log.close().await.map_err(|error| error.to_string())?;
                filled
            };
            tokio::join!(Rc::clone(&log).drive(), work).1
        })
    }

    async fn append_all(&self, log: &Log, cli: &Cli) -> Result<f64, String> {
        let mut maker = RecordMaker::new(Payload::Text, Sizes::Fixed(self.value_bytes), None, 1);
        let mut random = Random::new(2);
        let records = cli.bytes / self.value_bytes;
        let records_in_batch = (cli.batch_bytes / self.value_bytes).max(1);
        let mut builder = BatchBuilder::new(self.codec, None);
        let (mut value, mut group) = (Vec::new(), Vec::new());
        let (mut plain_bytes, mut stored_bytes) = (0, 0);
        for number in 0..records {
            maker.fill(&mut value);
            builder.push(TIMESTAMP_MS, Some(self.key(number, records, &mut random).as_bytes()), Some(&value), &[]);
            if u64::from(builder.count().unsigned_abs()) < records_in_batch && number + 1 < records {
                continue;
            }
            plain_bytes += builder.len_bytes();
            let batch = builder.finish();
            stored_bytes += batch.len();
            group.push(batch);
            if group.len() == BATCHES_AT_ONCE || number + 1 == records {
                append(log, std::mem::take(&mut group)).await?;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "logs stay far below 2^53 bytes")]
        Ok(plain_bytes as f64 / stored_bytes as f64)
    }

    fn key(&self, number: u64, records: u64, random: &mut Random) -> String {
        let number = match self.keys {
            Keys::Unique => number,
            // Of n draws among k keys some k (1 - e^(-n/k)) are the last of theirs: half of all where k is 0.63 n.
            Keys::Half => random.below((records * 63 / 100).max(1)),
            Keys::Few => random.below(1000),
        };
        format!("host-{number:09}")
    }
}

async fn append(log: &Log, batches: Vec<BytesMut>) -> Result<(), String> {
    let append = |batch: BytesMut| {
        let header = BatchHeader::parse(&batch).expect("the builder makes whole batches");
        log.append(batch, header)
    };
    let answers: Vec<_> = batches.into_iter().map(append).collect();
    for answer in answers {
        answer.await.map_err(|_| "the log has gone")?.map_err(|error| error.to_string())?;
    }
    Ok(())
}
