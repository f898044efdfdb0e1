//! Creates and opens a log. Opening trusts what lies below the recovery point, checks every batch above it, and tells a torn
//! tail from corruption; nothing is cut silently, nothing durable is cut at all.
//!
//! Let P be the first bad byte and E the end of the last valid batch after it (P itself if none). It is corruption if the last
//! stop was clean, if P lies below the recovery point or not in the last segment, or if E − P exceeds what may have been
//! unsynced; else P and what follows is a torn tail, copied aside and cut.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ringmill_batch::Offset;
use tokio::sync::Notify;

use super::config::{LogConfig, UNSYNCED_BYTES_BOUND_MAX};
use super::read::LogReader;
use super::recover_segment::{Recovered, SegmentRecovery};
use super::watermarks::{End, LogState, Quarantine, Watermarks};
use super::writer::Writer;
use super::{Identity, Log, LogEnv, compact, producers, swap};
use crate::checkpoint::{CheckpointEntry, SegmentTimes};
use crate::data_dir::durable_file::ReadError;
use crate::disk::OpenHow;
use crate::partition_meta::PartitionMeta;
use crate::segment::file::{self, FileKind};
use crate::segment::{IndexCursor, Segment};

/// What is known about the last stop.
#[derive(Clone, Debug, Default)]
pub struct StartInfo {
    /// The superblock's clean mark.
    pub clean: bool,
    /// The partition's entry; `None` when it is lost, which costs a full scan.
    pub checkpoint: Option<CheckpointEntry>,
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes whose checksums were verified.
    pub scanned_bytes: u64,
    /// What was cut, if anything.
    pub torn_tail: Option<TornTail>,
    /// Indexes that were missing or wrong.
    pub indexes_rebuilt: usize,
    /// Segments below the log start that a stop had kept from being removed.
    pub segments_removed: usize,
}

/// A torn tail: written, never acknowledged as durable, and now set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's base offset.
    pub segment: Offset,
    /// Where it was cut.
    pub position: u64,
    /// The offset that follows the last whole batch.
    pub next_offset: Offset,
    /// How many bytes were copied aside.
    pub bytes: u64,
    /// Where they are now.
    pub set_aside: PathBuf,
    /// What was wrong with the first of them.
    pub why: String,
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Damage that must be looked at by a human; no byte was changed.
    #[error(transparent)]
    Quarantined(#[from] Quarantine),
    /// The disk's word.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        move |error| OpenError::Io { what, path: path.to_owned(), error }
    }
}

impl Log {
    /// Makes a new partition in `dir`, durable with its directory entry when this returns. `dir` may exist if it is empty.
    ///
    /// # Errors
    /// The disk's; `AlreadyExists` when something lies in `dir`.
    pub async fn create(env: LogEnv, dir: PathBuf, id: Identity, config: LogConfig) -> Result<Rc<Log>, OpenError> {
        let disk = &*env.disk;
        match disk.create_dir(&dir).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let entries = disk.list_dir(&dir).await.map_err(OpenError::io("listing", &dir))?;
                if !entries.is_empty() {
                    return Err(OpenError::io("creating", &dir)(error));
                }
            }
            created => created.map_err(OpenError::io("creating", &dir))?,
        }
        let meta = PartitionMeta::new(id);
        meta.write(disk, &dir).await.map_err(OpenError::io("writing partition.meta in", &dir))?;
        let segment = create_segment(&env, &dir, Offset::ZERO).await?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).await.map_err(OpenError::io("syncing", parent))?;
        }
        let end = End { offset: Offset::ZERO, position: 0 };
        let opened =
            Opened { segments: vec![segment], end, cursor: IndexCursor::new(), report: RecoveryReport::default() };
        assemble(env, dir, config, meta, opened).await
    }

    /// Opens a partition, recovering what the last stop left.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        env: LogEnv,
        dir: PathBuf,
        id: Identity,
        config: LogConfig,
        start: StartInfo,
    ) -> Result<Rc<Log>, OpenError> {
        let mut meta = read_meta(&env, &dir, id).await?;
        let mut opened = recover(&env, &dir, &meta, &config, &start).await?;
        let mut changed = meta.clone();
        if opened.end.offset < meta.log_start {
            // Records up to the log start were deleted, and the tail before it was lost: nothing is left.
            opened = begin_at_log_start(&env, &dir, meta.log_start, opened).await?;
        }
        if !start.clean {
            changed.begin_next_epoch(opened.end.offset);
        }
        if changed != meta {
            // A start on a full disk must go well: how else should anything be deleted?
            let write = async || changed.write(&*env.disk, &dir).await;
            let written = env.space.with_reserve(&*env.disk, write).await;
            written.map_err(OpenError::io("writing partition.meta in", &dir))?;
            meta = changed;
        }
        assemble(env, dir, config, meta, opened).await
    }
}

/// A log's segments, checked; the last one goes on being written behind `end`.
struct Opened {
    segments: Vec<Arc<Segment>>,
    end: End,
    cursor: IndexCursor,
    report: RecoveryReport,
}

async fn read_meta(env: &LogEnv, dir: &Path, id: Identity) -> Result<PartitionMeta, OpenError> {
    let file = PartitionMeta::path(dir);
    let quarantine = |why: String| Quarantine { file: file.clone(), position: 0, why, durable_to: None };
    let meta = match PartitionMeta::read(&*env.disk, dir).await {
        Ok(meta) => meta,
        Err(ReadError::Io { path, source }) => return Err(OpenError::io("reading", &path)(source)),
        Err(error) => return Err(quarantine(error.to_string()).into()),
    };
    if meta.identity != id {
        return Err(quarantine(format!("it belongs to {:?}, not to {id:?}", meta.identity)).into());
    }
    Ok(meta)
}

/// Finds the segments, refuses a log that misses one, and recovers each.
async fn recover(
    env: &LogEnv,
    dir: &Path,
    meta: &PartitionMeta,
    config: &LogConfig,
    start: &StartInfo,
) -> Result<Opened, OpenError> {
    if !start.clean {
        // A roll that a kill cut short has perhaps not made its new file's name durable. What is concluded from the names, that a segment with
        // a successor was durable to its end, must not be taken back by a power cut.
        env.disk.sync_dir(dir).await.map_err(OpenError::io("syncing", dir))?;
    }
    let mut entries = env.disk.list_dir(dir).await.map_err(OpenError::io("listing", dir))?;
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let swapped = swap::complete_all(&*env.disk, dir, &names).await;
    if swapped.map_err(OpenError::io("putting compacted segments in their place in", dir))? {
        entries = env.disk.list_dir(dir).await.map_err(OpenError::io("listing", dir))?;
    }
    let mut bases: Vec<Offset> = entries
        .iter()
        .filter_map(|entry| file::parse(&entry.name))
        .filter(|&(_, kind)| kind == FileKind::Log)
        .map(|(base, _)| base)
        .collect();
    let below = bases.partition_point(|&base| base <= meta.log_start).saturating_sub(1);
    let removable: Vec<Offset> = bases.drain(..below).collect();
    check_presence(env, dir, &bases, meta, start).await?;

    // The log start is no lower bound: records may be deleted before they are durable.
    let recovery_point = start.checkpoint.as_ref().map_or(Offset::ZERO, |entry| entry.recovery_point);
    let unsynced_bytes_max = match &start.checkpoint {
        Some(entry) => entry.unsynced_bytes_max.max(config.unsynced_bound()),
        None => UNSYNCED_BYTES_BOUND_MAX,
    };
    let mut opened = Opened {
        segments: Vec::new(),
        end: End { offset: meta.log_start, position: 0 },
        cursor: IndexCursor::new(),
        report: RecoveryReport::default(),
    };
    let mut least_epoch = 0;
    for (number, &base) in bases.iter().enumerate() {
        let recovery = SegmentRecovery {
            disk: &*env.disk,
            dir,
            base,
            next_base: bases.get(number + 1).copied(),
            recovery_point,
            unsynced_bytes_max,
            clean: start.clean,
            epochs: least_epoch..=meta.epochs.current().get(),
            reigns: &meta.epochs,
            interval_bytes: config.index_interval_bytes,
            times: start.checkpoint.as_ref().and_then(|entry| {
                let next_base = bases.get(number + 1).copied();
                let known = entry
                    .segments
                    .iter()
                    .filter(|known| known.base_offset >= base && next_base.is_none_or(|next| known.base_offset < next));
                known.copied().reduce(SegmentTimes::join).filter(|known| known.base_offset == base)
            }),
        };
        let Recovered { segment, end, cursor, last_epoch } = recovery.run(&mut opened.report).await?;
        opened.segments.push(segment);
        (opened.end, opened.cursor, least_epoch) = (end, cursor, last_epoch);
    }
    if bases.is_empty() {
        opened.segments.push(create_segment(env, dir, meta.log_start).await?);
    }
    // Only now that the rest is known to be well is anything removed.
    for base in removable {
        remove_files(env, dir, base).await.map_err(OpenError::io("removing a segment in", dir))?;
        opened.report.segments_removed += 1;
    }
    Ok(opened)
}

/// Every segment from the log start on must be there: the first by the meta's word, the others by the checkpoint's.
async fn check_presence(
    env: &LogEnv,
    dir: &Path,
    bases: &[Offset],
    meta: &PartitionMeta,
    start: &StartInfo,
) -> Result<(), OpenError> {
    let missing = |base: Offset, why: String| {
        let (file, why) = (file::path(dir, base, FileKind::Log), format!("missing: {why}"));
        Err(Quarantine { file, position: 0, why, durable_to: None }.into())
    };
    match bases.first() {
        Some(&first) if first > meta.log_start => {
            return missing(
                meta.log_start,
                format!("the log starts at {}, its first segment at {first}", meta.log_start),
            );
        }
        // A creation may have stopped between the meta and the first segment.
        None if meta.log_start > Offset::ZERO => {
            return missing(meta.log_start, "there is no segment at all".to_owned());
        }
        _ => {}
    }
    let Some(checkpoint) = &start.checkpoint else { return Ok(()) };
    for known in &checkpoint.segments {
        let is_kept = bases.first().is_none_or(|&first| known.base_offset >= first);
        if is_kept
            && known.base_offset < checkpoint.recovery_point
            && !bases.contains(&known.base_offset)
            && !is_compacted_away(env, dir, bases, known.base_offset).await?
        {
            return missing(known.base_offset, "the checkpoint lists it".to_owned());
        }
    }
    Ok(())
}

/// Whether the segment before `base` goes up to the next that is there: then a compaction has joined what began at `base` to it, and the
/// checkpoint is older.
async fn is_compacted_away(env: &LogEnv, dir: &Path, bases: &[Offset], base: Offset) -> Result<bool, OpenError> {
    let next = bases.partition_point(|&each| each < base);
    let (Some(&before), Some(&behind)) = (next.checked_sub(1).and_then(|number| bases.get(number)), bases.get(next))
    else {
        return Ok(false);
    };
    let path = file::path(dir, before, FileKind::Log);
    let file = env.disk.open(&path, OpenHow::Read).await.map_err(OpenError::io("opening", &path))?;
    let segment = Segment::new(dir, before, file);
    let end = crate::segment::headers::end_of(&*env.disk, &segment).await;
    Ok(end.map_err(OpenError::io("reading", &path))? == Some(behind))
}

async fn create_segment(env: &LogEnv, dir: &Path, base: Offset) -> Result<Arc<Segment>, OpenError> {
    let path = file::path(dir, base, FileKind::Log);
    let file = env.disk.open(&path, OpenHow::CreateNew).await.map_err(OpenError::io("creating", &path))?;
    env.disk.sync_dir(dir).await.map_err(OpenError::io("syncing", dir))?;
    Ok(Arc::new(Segment::new(dir, base, file)))
}

async fn begin_at_log_start(env: &LogEnv, dir: &Path, log_start: Offset, old: Opened) -> Result<Opened, OpenError> {
    // The new segment comes first: a log without any, whose start is not zero, would be quarantined.
    let segment = create_segment(env, dir, log_start).await?;
    for old in &old.segments {
        remove_files(env, dir, old.base_offset()).await.map_err(OpenError::io("removing a segment in", dir))?;
    }
    let end = End { offset: log_start, position: 0 };
    Ok(Opened { segments: vec![segment], end, cursor: IndexCursor::new(), report: old.report })
}

/// Removes a segment's files, by their names only.
pub(super) async fn remove_files(env: &LogEnv, dir: &Path, base: Offset) -> io::Result<()> {
    // The data goes last: a stop in between leaves a segment without indexes, which is nothing new.
    remove_indexes(env, dir, base).await?;
    remove_file(env, &file::path(dir, base, FileKind::Log)).await?;
    env.disk.sync_dir(dir).await
}

/// The same for its indexes alone, and not durably.
pub(super) async fn remove_indexes(env: &LogEnv, dir: &Path, base: Offset) -> io::Result<()> {
    remove_file(env, &file::path(dir, base, FileKind::OffsetIndex)).await?;
    remove_file(env, &file::path(dir, base, FileKind::TimeIndex)).await
}

async fn remove_file(env: &LogEnv, path: &Path) -> io::Result<()> {
    match env.disk.remove_file(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

async fn assemble(
    env: LogEnv,
    dir: PathBuf,
    config: LogConfig,
    meta: PartitionMeta,
    opened: Opened,
) -> Result<Rc<Log>, OpenError> {
    let Opened { segments, end, cursor, report } = opened;
    let active = Arc::clone(segments.last().expect("recovery leaves a segment to write"));
    let epoch = meta.epochs.current();
    let watermarks = Watermarks {
        log_start: meta.log_start,
        high_watermark: end.offset,
        leader_epoch: epoch,
        state: LogState::Serving,
        end_segment: active.base_offset(),
        end_position: end.position,
    };
    let cleaned_to = compact::load(&env, &dir, active.base_offset())
        .await
        .map_err(OpenError::io("removing what is wrong about the compaction of", &dir))?;
    let reader = LogReader::new(meta.identity, Arc::new(segments), watermarks, meta.epochs.clone());
    let producers = producers::load(&env, &dir, &reader, end.offset)
        .await
        .map_err(OpenError::io("reading the producer state of", &dir))?;
    let writer = Writer::new(config, active, end, epoch, cursor, producers);
    Ok(Rc::new(Log {
        env,
        dir,
        identity: meta.identity,
        reader: Arc::new(reader),
        writer: RefCell::new(writer),
        meta: tokio::sync::Mutex::new(meta),
        wake_writer: Notify::new(),
        wake_syncer: Notify::new(),
        wake_keeper: Notify::new(),
        sync_ended: Notify::new(),
        recovery: report,
        scrub_pass: RefCell::default(),
        compaction: RefCell::new(compact::State::new(cleaned_to)),
        house: tokio::sync::Mutex::new(()),
    }))
}
