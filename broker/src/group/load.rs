//! A shard out of its partition: every record from the log start to the end, in order.

use ringmill_batch::{BatchHeader, DecompressLimit, Offset, check_stored, read_records};
use ringmill_engine::disk::Disk;
use ringmill_engine::log::{LogReader, ReadError};
use ringmill_groups::Shard;
use ringmill_groups::record::Record;

/// Bytes that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// Records between two chances for others on this thread to run.
const RECORDS_PER_TURN: u64 = 256;

/// Why groups cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// The log refuses.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch is not what it was when it was written.
    #[error("the batch at offset {0} is damaged: {1}")]
    Batch(Offset, String),
}

/// What was loaded.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Records that were read.
    pub(super) records: u64,
    /// Of these, such as cannot be read: left out, and told.
    pub(super) unreadable: u64,
}

/// Reads all that is durable into `shard` and gives it back. Nobody appends meanwhile: the caller is the only one who does.
pub(super) async fn load(disk: &dyn Disk, reader: &LogReader, mut shard: Shard) -> Result<(Shard, Loaded), LoadError> {
    let watermarks = reader.watermarks();
    let (mut offset, end) = (watermarks.log_start, watermarks.high_watermark);
    let mut loaded = Loaded::default();
    while offset < end {
        let plan = reader.plan(disk, offset, READ_BYTES, true).await?;
        if plan.length == 0 {
            return Err(LoadError::Batch(offset, "nothing of it can be read".to_owned()));
        }
        let length = usize::try_from(plan.length).expect("a plan keeps to its limit or to one batch");
        let bytes = disk.read_at(plan.segment.file(), plan.position, length).await.map_err(ReadError::Io)?;
        let before = offset;
        let mut rest = &bytes[..];
        while let Some(batch) = whole_batch(rest) {
            let header = check_stored(batch).map_err(|error| LoadError::Batch(offset, error.to_string()))?;
            replay(batch, &header, offset, &mut shard, &mut loaded).await?;
            offset = header.next_offset();
            rest = &rest[batch.len()..];
        }
        if rest.is_empty() {
            // Where compaction has removed the last batches of a segment, their offsets have none.
            offset = offset.max(plan.next_offset);
        }
        if offset == before {
            return Err(LoadError::Batch(offset, "it is cut off".to_owned()));
        }
    }
    Ok((shard, loaded))
}

/// The batch at the start of `bytes`, if all of it is there.
fn whole_batch(bytes: &[u8]) -> Option<&[u8]> {
    let header = BatchHeader::parse(bytes).ok()?;
    bytes.get(..header.total_bytes())
}

async fn replay(
    batch: &[u8],
    header: &BatchHeader,
    from: Offset,
    shard: &mut Shard,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    if header.is_control() {
        return Ok(());
    }
    let damaged = |error: ringmill_batch::RecordError| LoadError::Batch(header.base_offset, error.to_string());
    let records = read_records(batch, DecompressLimit::default()).map_err(damaged)?;
    for record in records.iter() {
        let record = record.map_err(damaged)?;
        // The batch that holds the log start may begin before it.
        if record.offset < from {
            continue;
        }
        loaded.records += 1;
        match Record::read(record.key.unwrap_or_default(), record.value) {
            Ok(Some(known)) => shard.replay(&known),
            Ok(None) => {}
            Err(error) => {
                loaded.unreadable += 1;
                tracing::warn!(offset = record.offset.get(), %error, "a record of a consumer group cannot be read and is left out");
            }
        }
        // Over all batches: most of them hold a single commit.
        if loaded.records.is_multiple_of(RECORDS_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
