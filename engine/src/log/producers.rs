//! Producer snapshots: what `<offset>.producers` holds, when it is written, and how the state comes back.
//!
//! A snapshot covers what was durable before its offset; batches behind it are replayed from their headers. Missing or damaged
//! ones cost a longer replay.

use std::io;
use std::path::Path;

use ringmill_batch::Offset;

use super::read::{self, LogReader, visible_end};
use super::{Log, LogEnv};
use crate::data_dir::durable_file::{self, Format, ReadError};
use crate::disk::Disk;
use crate::producer_state::{ActiveProducer, ProducerState};
use crate::segment::Segment;
use crate::segment::damage::{self, BatchEnd, is_device_error};
use crate::segment::file::{self, FileKind};
use crate::segment::headers::HeaderWalk;

/// About a megabyte is the most that [`ProducerState`] encodes to. Snapshots of version 1 had no timestamps; they are passed over
/// like damaged ones, which costs one replay.
const FORMAT: Format = Format { magic: *b"RMprodcr", version: 2, payload_bytes_max: 16 << 20 };

/// Snapshots that are kept: should the newest be damaged, the one before it makes the replay a segment longer.
const SNAPSHOTS_KEPT: usize = 2;

/// Headers between two chances for others on this thread to run.
const HEADERS_PER_TURN: usize = 512;

/// The state before `end`, from the newest usable snapshot and the batches behind it. Damage is passed over.
///
/// # Errors
/// What the disk says, when it is no damage: the next attempt may well find all of it.
pub(super) async fn load(env: &LogEnv, dir: &Path, reader: &LogReader, end: Offset) -> io::Result<ProducerState> {
    let (watermarks, segments) = reader.view();
    let log_start = segments[0].base_offset();
    let (mut state, mut from) = (ProducerState::new(), log_start);
    remove_ahead(env, dir, end).await?;
    for offset in snapshots(env, dir).await?.into_iter().rev() {
        if offset < log_start {
            continue;
        }
        let path = file::path(dir, offset, FileKind::Producers);
        match read_snapshot(&*env.disk, &path).await {
            Ok(Some(found)) => {
                (state, from) = (found, offset);
                break;
            }
            Ok(None) => tracing::warn!(path = %path.display(), "producer snapshot of an older version passed over"),
            Err(ReadError::Io { source, .. }) if !is_device_error(&source) => return Err(source),
            Err(error) => tracing::warn!(path = %path.display(), %error, "producer snapshot passed over"),
        }
    }
    let now_ms = env.clock.now_ms();
    let mut headers = 0_usize;
    for (number, segment) in segments.iter().enumerate() {
        let next_base = segments.get(number + 1).map_or(end, |next| next.base_offset());
        let visible = visible_end(segment, &watermarks, &segments);
        if next_base <= from || visible.position == 0 {
            continue;
        }
        let first = first_behind(&*env.disk, reader, segment, from, visible).await?;
        let wanted = from.max(segment.base_offset());
        if wanted < visible.offset && first.is_none_or(|first| first.offset > wanted) {
            state.note_gap();
        }
        let Some(mut here) = first else { continue };
        let mut walk = HeaderWalk::new(&*env.disk, segment, visible.position);
        while here.offset < visible.offset.min(end) {
            match walk.header(here.position, here.offset).await {
                Ok(header) => {
                    state.advance(&header, now_ms);
                    let position = here.position + header.total_bytes() as u64;
                    here = BatchEnd { position, offset: header.next_offset() };
                }
                // Damage does not keep the partition from opening: its fetch says so. What lies behind it counts.
                Err(fault) => {
                    state.note_gap();
                    here = damage::mark(&*env.disk, segment, fault, None, here.offset, visible).await?;
                }
            }
            headers += 1;
            if headers.is_multiple_of(HEADERS_PER_TURN) {
                crate::turn::yield_now().await;
            }
        }
    }
    Ok(state)
}

/// Where the batch of `from` begins, or the first good one behind it. What is no damage (too many open files, …) is an error: a producer
/// left out would be refused for good.
async fn first_behind(
    disk: &dyn Disk,
    reader: &LogReader,
    segment: &Segment,
    from: Offset,
    visible: BatchEnd,
) -> io::Result<Option<BatchEnd>> {
    let mut from = from.max(segment.base_offset());
    while from < visible.offset {
        match reader.find(disk, segment, from, visible).await {
            Ok((position, header)) => return Ok(Some(BatchEnd { position, offset: header.base_offset })),
            Err(read::ReadError::Io(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(segment = %segment.base_offset(), %error, "producer state may be incomplete");
                let Some(damage) = segment.damage_holding(from) else { break };
                from = damage.offsets.end;
            }
        }
    }
    Ok(None)
}

/// The whole file with what concerns offsets before `durable_end`.
#[cfg(test)]
pub(crate) fn to_file(state: &ProducerState, durable_end: Offset) -> bytes::BytesMut {
    durable_file::encode(&FORMAT, &state.encode(durable_end))
}

/// Reads one snapshot; `None` for one of a version that is not read any more.
///
/// # Errors
/// See [`ReadError`].
pub(crate) async fn read_snapshot(disk: &dyn Disk, path: &Path) -> Result<Option<ProducerState>, ReadError> {
    let payload = durable_file::read(disk, path, &FORMAT).await?;
    if payload.version < FORMAT.version {
        return Ok(None);
    }
    let state = ProducerState::decode(&payload.bytes);
    state.map(Some).map_err(|error| ReadError::Damaged { path: path.to_owned(), why: error.to_string() })
}

/// Removes, durably, snapshots ahead of the log's `end`: once it had grown past them, they would be taken for its own.
async fn remove_ahead(env: &LogEnv, dir: &Path, end: Offset) -> io::Result<()> {
    let mut ahead = snapshots(env, dir).await?;
    ahead.retain(|&offset| offset > end);
    for &offset in &ahead {
        let path = file::path(dir, offset, FileKind::Producers);
        tracing::warn!(path = %path.display(), %end, "producer snapshot ahead of the log removed");
        env.disk.remove_file(&path).await?;
    }
    if ahead.is_empty() { Ok(()) } else { env.disk.sync_dir(dir).await }
}

/// Offsets of the snapshots in `dir`, rising.
async fn snapshots(env: &LogEnv, dir: &Path) -> io::Result<Vec<Offset>> {
    let entries = env.disk.list_dir(dir).await?;
    let parsed = entries.iter().filter_map(|entry| file::parse(&entry.name));
    let mut offsets: Vec<Offset> =
        parsed.filter(|&(_, kind)| kind == FileKind::Producers).map(|(offset, _)| offset).collect();
    offsets.sort();
    Ok(offsets)
}

impl Log {
    /// The idempotent producers that have written to this partition and are remembered, by rising id.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.writer.borrow().producers.active().collect()
    }

    /// Writes the snapshot of everything before `durable_end`, and removes those that are too old. Failing costs a longer
    /// replay, and so does a state with gaps, which is never written: a disk that could not be read once would refuse producers for good.
    pub(super) async fn save_producers(&self, durable_end: Offset) {
        let payload = {
            let mut writer = self.writer.borrow_mut();
            if writer.producers.has_gaps() {
                return;
            }
            let expire_after_ms = writer.config.producer_expiration_ms;
            writer.producers.expire(self.env.clock.now_ms(), expire_after_ms);
            writer.producers.encode(durable_end)
        };
        let path = file::path(&self.dir, durable_end, FileKind::Producers);
        let saved = match durable_file::write(self.disk(), &path, &FORMAT, &payload).await {
            Ok(()) => self.remove_old_snapshots().await,
            failed => failed,
        };
        if let Err(error) = saved {
            tracing::warn!(dir = %self.dir.display(), %error, "producer snapshot");
        }
    }

    async fn remove_old_snapshots(&self) -> io::Result<()> {
        let mut offsets = snapshots(&self.env, &self.dir).await?;
        offsets.truncate(offsets.len().saturating_sub(SNAPSHOTS_KEPT));
        for offset in offsets {
            self.disk().remove_file(&file::path(&self.dir, offset, FileKind::Producers)).await?;
        }
        Ok(())
    }
}
