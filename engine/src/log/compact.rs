//! Compaction of one log: of each key the last record stays, and offsets never change.
//!
//! A pass maps the keys of what is new since the last one, as far as the map reaches, and then writes the closed segments before that
//! point anew, from the oldest on, without what the map knows a later record for. It goes in that order because a tombstone may only go
//! when nothing older of its key is left. It knows no waiting: its caller is asked after each slice of work, and says how fast it goes.
//! Whatever fails ends the pass and nothing else; the log goes on as it was.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{
    BatchHeader, BatchRewriter, DecompressLimit, Offset, RecordError, Rewritten, check_stored, emptied, read_records,
};
use tokio::sync::MutexGuard;

use super::compact_output::Output;
use super::read::ReadError;
use super::scan::Scan;
use super::swap::{self, NotCommitted, Swap};
use super::{CompactionConfig, Log, LogEnv};
use crate::compaction::CompactionLimits;
use crate::compaction::checkpoint;
use crate::compaction::fate::{BatchFate, Judge};
use crate::compaction::group::{Part, group};
use crate::compaction::offset_map::{Full, OffsetMap};
use crate::data_dir::durable_file;
use crate::segment::Segment;
use crate::segment::damage::{self, BatchEnd};

/// Bytes read or written between two questions to the caller; tests have small logs.
const SLICE_BYTES: u64 = if cfg!(test) { 1000 } else { 64 << 10 };

/// Memory for one rewritten batch that is kept for the next.
const SCRATCH_BYTES_MAX: usize = 2 << 20;

/// What the records of a batch may grow to, however well they are compressed.
const RATIO_MAX: usize = 1100;

/// What a log remembers of its compaction.
#[derive(Debug)]
pub(super) struct State {
    /// Before it no key stands twice, as far as the file says.
    cleaned_to: Offset,
    /// Before it this process has looked at everything: what of it could not be cleaned is no reason to look again.
    seen_to: Offset,
    /// Until the next start, which finds out what has become of a swap.
    is_given_up: bool,
}

impl State {
    pub(super) fn new(cleaned_to: Offset) -> State {
        State { cleaned_to, seen_to: cleaned_to, is_given_up: false }
    }
}

/// How much a pass would look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Bytes that were compacted before.
    pub clean_bytes: u64,
    /// Bytes of closed segments since.
    pub dirty_bytes: u64,
    /// The settings ask for a pass.
    pub is_due: bool,
}

/// What a pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments that were written anew, or looked through in vain, and their bytes.
    pub segments_before: usize,
    /// What they had.
    pub bytes_before: u64,
    /// What became of them.
    pub segments_after: usize,
    /// What these have.
    pub bytes_after: u64,
    /// Keys that were new.
    pub keys: usize,
    /// Damaged segments, which stay as they are.
    pub passed_over: usize,
    /// Before it no key stands twice.
    pub cleaned_to: Offset,
}

/// Why a pass ended before its time. The log is as well as before; what was swapped until then stays.
#[derive(Debug, thiserror::Error)]
pub enum Abandoned {
    /// The log is closed, sealed, or not to be compacted any more.
    #[error("the log is closed, sealed or not compacted any more")]
    Closed,
    /// Retention has removed what was being compacted.
    #[error("retention was faster")]
    Overtaken,
    /// The disk has less room than is to be kept free, and as much again.
    #[error("there is too little space to write a segment anew")]
    NoSpace,
    /// Recompressed, the records need more room than a segment has.
    #[error("the segment would outgrow its bounds")]
    Outgrown,
    /// The disk's word.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
}

impl Abandoned {
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Abandoned {
        move |error| Abandoned::Io { what, error }
    }
}

/// How far the log in `dir` has been cleaned; nothing is lost where the file cannot say.
pub(super) async fn load(env: &LogEnv, dir: &Path, active: Offset) -> Offset {
    match checkpoint::read(&*env.disk, dir).await {
        Ok(cleaned_to) if cleaned_to <= active => cleaned_to,
        Ok(_) | Err(durable_file::ReadError::Missing { .. }) => Offset::ZERO,
        Err(error) => {
            tracing::warn!(%error, "the next compaction looks through the whole log");
            Offset::ZERO
        }
    }
}

/// A closed segment.
struct Piece {
    segment: Arc<Segment>,
    end: BatchEnd,
}

/// What a pass would do now.
struct Work {
    config: CompactionConfig,
    /// The oldest closed segments.
    pieces: Vec<Piece>,
    cleaned_to: Offset,
    /// Nothing before it makes a pass due.
    seen_to: Offset,
}

impl Log {
    /// How much there is to compact, and whether it is time; `None` when the log is not to be compacted, or there is nothing new.
    #[must_use]
    pub fn cleanable(&self, now_ms: i64) -> Option<Cleanable> {
        let Work { config, pieces, seen_to, .. } = self.work(now_ms)?;
        let (clean, dirty): (Vec<&Piece>, Vec<&Piece>) = pieces.iter().partition(|piece| piece.end.offset <= seen_to);
        let bytes = |pieces: &[&Piece]| pieces.iter().map(|piece| piece.end.position).sum::<u64>();
        let (clean_bytes, dirty_bytes) = (bytes(&clean), bytes(&dirty));
        let oldest_ms = dirty.first()?.segment.append_times_ms().map_or(now_ms, |(first_ms, _)| first_ms);
        let share = u128::from(dirty_bytes) * 1_000_000;
        let is_dirty = share > u128::from(config.dirty_millionths_max) * u128::from(clean_bytes + dirty_bytes);
        let is_old = oldest_ms.saturating_add(config.max_lag_ms) <= now_ms;
        Some(Cleanable { clean_bytes, dirty_bytes, is_due: is_dirty || is_old })
    }

    /// Makes one pass over the log; gives what it did, or `None` if there was nothing to do. `pace` is told of every few bytes that were read
    /// or written, and may take its time. May be dropped at any time, which abandons the pass; one pass at a time.
    ///
    /// # Errors
    /// See [`Abandoned`].
    pub async fn compact(
        &self,
        limits: &CompactionLimits,
        pace: impl AsyncFnMut(u64),
    ) -> Result<Option<Compacted>, Abandoned> {
        let now_ms = self.env.clock.now_ms();
        let Some(work) = self.work(now_ms) else { return Ok(None) };
        let Some(last) = work.pieces.last() else { return Ok(None) };
        let offsets = last.end.offset.since(work.cleaned_to);
        let map = OffsetMap::new(limits.hash_key, limits.map_bytes, work.cleaned_to, offsets);
        let (newest, segment_bytes, interval_bytes) = {
            let writer = self.writer.borrow();
            (writer.producers.newest_batches(), writer.config.segment_bytes(), writer.config.index_interval_bytes)
        };
        let judge = Judge {
            map,
            end: last.end.offset,
            records_max: OffsetMap::keys_max(limits.map_bytes),
            now_ms,
            newest,
            tombstones_may_go: true,
        };
        let pass = Pass {
            log: self,
            pace,
            limit: DecompressLimit {
                output_bytes_max: limits.decompressed_bytes_max,
                ratio_max: RATIO_MAX,
                ratio_free_bytes: limits.decompressed_bytes_max.min(16 << 20),
            },
            judge,
            rewriter: BatchRewriter::default(),
            scratch: BytesMut::new(),
            work,
            horizon_ms: 0,
            segment_bytes,
            interval_bytes,
            unread_bytes: 0,
            passed_over: BTreeSet::new(),
            done: Compacted::default(),
        };
        pass.run().await.map(Some)
    }

    fn work(&self, now_ms: i64) -> Option<Work> {
        let writer = self.writer.borrow();
        let config = writer.config.compaction?;
        let state = self.compaction.borrow();
        if writer.ended || !writer.closing.is_empty() || writer.seal.is_some() || state.is_given_up {
            return None;
        }
        let segments = self.reader.snapshot();
        let is_old = |segment: &Segment| {
            let last_ms = segment.append_times_ms().map_or(now_ms, |(_, last_ms)| last_ms);
            config.min_lag_ms == 0 || last_ms <= now_ms.saturating_sub(config.min_lag_ms)
        };
        let closed = segments.windows(2).map_while(|pair| {
            let position = pair[0].closed_length().filter(|_| is_old(&pair[0]))?;
            let end = BatchEnd { position, offset: pair[1].base_offset() };
            Some(Piece { segment: Arc::clone(&pair[0]), end })
        });
        let pieces: Vec<Piece> = closed.collect();
        // What retention has removed since is clean.
        let cleaned_to = state.cleaned_to.max(segments[0].base_offset());
        let seen_to = state.seen_to.max(state.cleaned_to);
        let is_news = pieces.last().is_some_and(|last| last.end.offset > seen_to);
        is_news.then_some(Work { config, pieces, cleaned_to, seen_to })
    }

    /// The right to change names in the directory, as long as it is this log's.
    pub(super) async fn keep_house(&self) -> Result<MutexGuard<'_, ()>, Abandoned> {
        let guard = self.house.lock().await;
        // Checked under the lock, which a close takes after it has said so.
        if self.writer.borrow().ended { Err(Abandoned::Closed) } else { Ok(guard) }
    }

    fn goes_on(&self) -> Result<(), Abandoned> {
        let writer = self.writer.borrow();
        let is_wanted = writer.config.compaction.is_some() && writer.seal.is_none();
        if is_wanted && !writer.ended && writer.closing.is_empty() { Ok(()) } else { Err(Abandoned::Closed) }
    }
}

/// One pass on its way.
struct Pass<'a, P> {
    log: &'a Log,
    pace: P,
    limit: DecompressLimit,
    judge: Judge,
    rewriter: BatchRewriter,
    scratch: BytesMut,
    work: Work,
    horizon_ms: i64,
    segment_bytes: u64,
    interval_bytes: u64,
    /// Bytes that the caller has not been told of.
    unread_bytes: u64,
    /// Segments, by their first offset, that stay as they are.
    passed_over: BTreeSet<Offset>,
    done: Compacted,
}

impl<P: AsyncFnMut(u64)> Pass<'_, P> {
    async fn run(mut self) -> Result<Compacted, Abandoned> {
        self.horizon_ms = self.judge.now_ms.saturating_add(self.work.config.tombstones_kept_ms);
        self.map_keys().await?;
        self.done.keys = self.judge.map.len();
        self.rewrite_all().await?;
        self.note_end().await?;
        Ok(self.done)
    }

    /// Counts work done; the caller says when to go on.
    async fn worked(&mut self, bytes: u64) -> Result<(), Abandoned> {
        self.unread_bytes += bytes;
        if self.unread_bytes >= SLICE_BYTES {
            (self.pace)(std::mem::take(&mut self.unread_bytes)).await;
            self.log.goes_on()?;
        }
        Ok(())
    }

    /// Notes where each key of the dirty part stands last, up to where the map is full.
    async fn map_keys(&mut self) -> Result<(), Abandoned> {
        let from = self.work.cleaned_to;
        for number in 0..self.work.pieces.len() {
            let Piece { ref segment, end } = self.work.pieces[number];
            if end.offset <= from {
                continue;
            }
            let segment = Arc::clone(segment);
            let mut here = self.place_of(&segment, from, end).await?;
            let mut scan = Scan::new(self.log.disk(), segment.file(), end.position, false);
            while here.offset < end.offset {
                let header = match super::scrub::look(&mut scan, &self.log.reader, &segment, here, end).await {
                    Ok(header) => header,
                    Err(fault) => {
                        let marked = damage::mark(self.log.disk(), &segment, fault, None, here.offset, end).await;
                        here = marked.map_err(Abandoned::io("reading"))?;
                        continue;
                    }
                };
                let batch = scan.bytes(here.position, header.total_bytes()).await.map_err(Abandoned::io("reading"))?;
                match self.note_keys(&header, batch) {
                    Ok(()) => {}
                    Err(Full) => {
                        self.judge.end = header.base_offset;
                        return Ok(());
                    }
                }
                let position = here.position + header.total_bytes() as u64;
                here = BatchEnd { position, offset: header.next_offset() };
                self.worked(header.total_bytes() as u64).await?;
            }
        }
        Ok(())
    }

    /// Where the batch that holds `from` begins, or the segment.
    async fn place_of(&self, segment: &Segment, from: Offset, end: BatchEnd) -> Result<BatchEnd, Abandoned> {
        let start = BatchEnd { position: 0, offset: segment.base_offset() };
        if from <= start.offset {
            return Ok(start);
        }
        match self.log.reader.find(self.log.disk(), segment, from, end).await {
            Ok((position, header)) => Ok(BatchEnd { position, offset: header.base_offset }),
            Err(ReadError::Io(error)) => Err(Abandoned::io("reading")(error)),
            Err(_) => Ok(start),
        }
    }

    fn note_keys(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), Full> {
        if self.judge.batch(header) != BatchFate::Judge {
            return Ok(());
        }
        let Ok(records) = read_records(batch, self.limit) else { return Ok(()) };
        // All or none: what a batch holds that cannot be read to its end supersedes nothing.
        if records.iter().any(|record| record.is_err()) {
            return Ok(());
        }
        for record in records.iter().flatten() {
            if let Some(key) = record.key {
                self.judge.map.put(key, record.offset)?;
            }
        }
        Ok(())
    }

    async fn rewrite_all(&mut self) -> Result<(), Abandoned> {
        let mut number = 0;
        while let Some(piece) = self.work.pieces.get(number) {
            let base = piece.segment.base_offset();
            if base >= self.judge.end {
                return Ok(());
            }
            if !self.may_be_read(piece) {
                self.passed_over.insert(base);
                // Values that its tombstones are to hide may be in it.
                self.judge.tombstones_may_go = false;
                number += 1;
                continue;
            }
            let part = |piece: &Piece| Part {
                base: piece.segment.base_offset(),
                end: piece.end.offset,
                bytes: piece.end.position,
                may_be_read: piece.segment.base_offset() < self.judge.end && self.may_be_read(piece),
            };
            let parts: Vec<Part> = self.work.pieces[number..].iter().map(part).collect();
            let pieces = number..number + group(&parts, self.segment_bytes);
            // Else one of them is passed over by now, and what is left of the group comes again.
            if self.rewrite(pieces.clone()).await? {
                number = pieces.end;
            }
        }
        Ok(())
    }

    fn may_be_read(&self, piece: &Piece) -> bool {
        !piece.segment.is_damaged() && !self.passed_over.contains(&piece.segment.base_offset())
    }

    /// Makes one segment of some; false if one of them is not to be touched.
    async fn rewrite(&mut self, pieces: Range<usize>) -> Result<bool, Abandoned> {
        let base = self.work.pieces[pieces.start].segment.base_offset();
        let end = self.work.pieces[pieces.end - 1].end.offset;
        let mut output = Output::create(self.log, base, self.interval_bytes).await?;
        let mut filled = self.fill(&mut output, pieces.clone()).await;
        let is_needed = pieces.len() > 1 || output.is_changed();
        if matches!(filled, Ok(true)) && is_needed {
            filled = output.finish(end).await.map(|()| true);
        }
        match filled {
            Ok(true) if is_needed => self.swap_in(output, pieces).await.map(|()| true),
            Ok(true) => {
                let bytes = self.work.pieces[pieces.start].end.position;
                self.count(1, bytes, bytes);
                output.discard().await;
                Ok(true)
            }
            Ok(false) => {
                output.discard().await;
                Ok(false)
            }
            Err(Abandoned::Outgrown) => {
                output.discard().await;
                tracing::warn!(dir = %self.log.dir.display(), %base, "a segment would outgrow its bounds and is not compacted");
                self.passed_over.extend(self.work.pieces[pieces].iter().map(|piece| piece.segment.base_offset()));
                Ok(false)
            }
            Err(error) => {
                output.discard().await;
                Err(error)
            }
        }
    }

    /// Writes what stays of some segments; false when one turns out to be damaged.
    async fn fill(&mut self, output: &mut Output<'_>, pieces: Range<usize>) -> Result<bool, Abandoned> {
        for number in pieces {
            let Piece { ref segment, end } = self.work.pieces[number];
            let segment = Arc::clone(segment);
            let mut here = BatchEnd { position: 0, offset: segment.base_offset() };
            let mut scan = Scan::new(self.log.disk(), segment.file(), end.position, false);
            while here.offset < end.offset {
                let header = match super::scrub::look(&mut scan, &self.log.reader, &segment, here, end).await {
                    Ok(header) => header,
                    Err(fault) => {
                        let marked = damage::mark(self.log.disk(), &segment, fault, None, here.offset, end).await;
                        marked.map_err(Abandoned::io("reading"))?;
                        self.passed_over.insert(segment.base_offset());
                        self.judge.tombstones_may_go = false;
                        return Ok(false);
                    }
                };
                let batch = scan.bytes(here.position, header.total_bytes()).await.map_err(Abandoned::io("reading"))?;
                let before = output.bytes();
                self.pass_on(output, &header, batch).await?;
                let position = here.position + header.total_bytes() as u64;
                here = BatchEnd { position, offset: header.next_offset() };
                self.worked(header.total_bytes() as u64 + output.bytes() - before).await?;
            }
        }
        Ok(true)
    }

    /// Writes what stays of a batch.
    async fn pass_on(&mut self, output: &mut Output<'_>, header: &BatchHeader, batch: &[u8]) -> Result<(), Abandoned> {
        let fate = self.judge.batch(header);
        match fate {
            BatchFate::Keep => return output.keep(header, batch).await,
            BatchFate::Cover => {
                output.skip(header);
                return Ok(());
            }
            BatchFate::KeepUnread | BatchFate::Judge => {}
        }
        let rewritten = match fate {
            BatchFate::Judge => self.rewrite_batch(header, batch).ok(),
            _ => None,
        };
        match rewritten {
            Some(Rewritten::Unchanged) => output.keep(header, batch).await,
            Some(Rewritten::Changed(changed)) => {
                let written = output.put(&changed, &self.scratch).await;
                if self.scratch.capacity() > SCRATCH_BYTES_MAX {
                    self.scratch = BytesMut::new();
                }
                written
            }
            Some(Rewritten::Emptied) if self.judge.holds_last_sequence(header) => {
                let empty = emptied(header);
                let header = check_stored(&empty).expect("an emptied batch is a sound one");
                output.put(&header, &empty).await
            }
            Some(Rewritten::Emptied) => {
                output.skip(header);
                Ok(())
            }
            None => {
                self.judge.tombstones_may_go = false;
                output.keep(header, batch).await
            }
        }
    }

    fn rewrite_batch(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Rewritten, RecordError> {
        let records = read_records(batch, self.limit)?;
        self.scratch.clear();
        let judge = &self.judge;
        self.rewriter.rewrite(&records, self.horizon_ms, |record| judge.keeps(header, record), &mut self.scratch)
    }

    /// Puts a finished segment in the place of its old ones.
    async fn swap_in(&mut self, output: Output<'_>, pieces: Range<usize>) -> Result<(), Abandoned> {
        let (log, disk) = (self.log, self.log.disk());
        let old: Vec<Arc<Segment>> =
            self.work.pieces[pieces.clone()].iter().map(|piece| Arc::clone(&piece.segment)).collect();
        let end = self.work.pieces[pieces.end - 1].end.offset;
        let Ok(house) = log.keep_house().await else {
            output.discard().await;
            return Err(Abandoned::Closed);
        };
        if !old.iter().all(|old| log.reader.snapshot().iter().any(|segment| Arc::ptr_eq(segment, old))) {
            drop(house);
            output.discard().await;
            return Err(Abandoned::Overtaken);
        }
        for segment in &old {
            segment.keep_indexes_open(disk).await;
        }
        let new = Arc::clone(&output.segment);
        let swap = Swap { base: new.base_offset(), end };
        // Until it is complete: what has become of one that was cut off is for the next start to see, and another on top of it could take
        // away what lies between the two.
        log.compaction.borrow_mut().is_given_up = true;
        if let Err(NotCommitted { error, is_certain }) = swap::commit(disk, &log.dir, swap).await {
            if is_certain {
                log.compaction.borrow_mut().is_given_up = false;
                drop(house);
                output.discard().await;
            }
            return Err(Abandoned::io("swapping a compacted segment in")(error));
        }
        let times = old.iter().filter_map(|segment| segment.append_times_ms());
        if let Some((first_ms, last_ms)) = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
            new.set_append_times_ms(first_ms, last_ms);
        }
        new.note_sparse();
        let mut segments = log.reader.snapshot().to_vec();
        let at = segments.iter().position(|segment| Arc::ptr_eq(segment, &old[0])).expect("asked under the same lock");
        segments.splice(at..at + old.len(), [Arc::clone(&new)]);
        log.reader.set_segments(segments.into());
        log.reader.forget_hints();
        old.iter().for_each(|segment| segment.retire());
        let bytes_before = self.work.pieces[pieces.clone()].iter().map(|piece| piece.end.position).sum();
        self.count(old.len(), bytes_before, output.bytes());
        // Their files, and with them their space, go when the last reader has gone.
        self.work.pieces[pieces].iter_mut().for_each(|piece| piece.segment = Arc::clone(&new));
        drop(old);
        if let Err(error) = swap::complete(disk, &log.dir, swap).await {
            new.distrust_index();
            return Err(Abandoned::io("putting a compacted segment in its place")(error));
        }
        log.compaction.borrow_mut().is_given_up = false;
        log.finish_indexes(&new).await;
        drop(house);
        log.wake_keeper.notify_one();
        Ok(())
    }

    fn count(&mut self, segments: usize, bytes_before: u64, bytes_after: u64) {
        self.done.segments_before += segments;
        self.done.bytes_before += bytes_before;
        self.done.segments_after += 1;
        self.done.bytes_after += bytes_after;
    }

    /// Notes, durably, how far the log is clean now: not past a segment that could not be cleaned, for keys in it may stand behind it again.
    async fn note_end(&mut self) -> Result<(), Abandoned> {
        let log = self.log;
        let reach = self.passed_over.first().map_or(self.judge.end, |&first| first.min(self.judge.end));
        let cleaned_to = reach.max(self.work.cleaned_to);
        self.done.passed_over = self.passed_over.len();
        self.done.cleaned_to = cleaned_to;
        let _house = log.keep_house().await?;
        log.compaction.borrow_mut().seen_to = self.judge.end;
        if cleaned_to > self.work.cleaned_to {
            let written = checkpoint::write(log.disk(), &log.dir, cleaned_to).await;
            written.map_err(Abandoned::io("noting how far the log is compacted"))?;
            log.compaction.borrow_mut().cleaned_to = cleaned_to;
        }
        Ok(())
    }
}
