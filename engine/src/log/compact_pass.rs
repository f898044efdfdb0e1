//! One pass of compaction over a log: of each key the last record stays, and offsets never change.
//!
//! It maps the keys of what is new since the last one, as far as the map reaches, and then writes the closed segments before that point
//! anew, from the oldest on, without what the map knows a later record for. It goes in that order because a tombstone may only go when
//! nothing older of its key is left. It knows no waiting: its caller is asked after each slice of work, and says how fast it goes.
//! Whatever fails ends the pass and nothing else; the log goes on as it was.

use std::ops::Range;
use std::sync::Arc;

use ringmill_batch::{BatchHeader, Offset};

use super::Log;
use super::compact::{Abandoned, Compacted, PassedOver, Piece, Why, Work};
use super::compact_batch::{BatchCleaner, Left};
use super::compact_output::{Output, Unwritten};
use super::compact_unread::Unread;
use super::read::ReadError;
use super::scan::Scan;
use super::scrub::look;
use crate::compaction::CompactionLimits;
use crate::compaction::checkpoint;
use crate::compaction::fate::Judge;
use crate::compaction::group::{Part, group};
use crate::compaction::offset_map::{Full, OffsetMap};
use crate::compaction::settled::Settled;
use crate::segment::Segment;
use crate::segment::damage::{self, BatchEnd};

/// Bytes worked on between two questions to the caller, for at least one batch; tests have small logs.
const SLICE_BYTES: u64 = if cfg!(test) { 1000 } else { 64 << 10 };

/// Memory for what is known of batches without reading them again: of sixteen million offsets.
const SETTLED_BYTES_MAX: usize = 4 << 20;

/// One pass on its way.
pub(super) struct Pass<'a, P> {
    log: &'a Log,
    pace: P,
    cleaner: BatchCleaner,
    work: Work,
    segment_bytes: u64,
    interval_bytes: u64,
    /// Bytes that the caller has not been told of.
    untold_bytes: u64,
    /// Bytes worked on since it was last told: those of records count as they are decompressed.
    slice_bytes: u64,
    passed_over: PassedOver,
    done: Compacted,
}

impl<'a, P: AsyncFnMut(u64)> Pass<'a, P> {
    /// A pass over the oldest closed segments, which go up to `end`; nothing is read yet.
    pub(super) fn new(
        log: &'a Log,
        limits: &CompactionLimits,
        work: Work,
        end: Offset,
        now_ms: i64,
        pace: P,
    ) -> Pass<'a, P> {
        let offsets = end.since(work.map_from);
        let map = OffsetMap::new(limits.hash_key, limits.map_bytes, work.map_from, offsets);
        let writer = log.writer.borrow();
        let judge = Judge {
            map,
            settled: Settled::new(SETTLED_BYTES_MAX, work.map_from, offsets),
            end,
            records_max: OffsetMap::keys_max(limits.map_bytes),
            now_ms,
            newest: writer.producers.newest_batches(writer.ends.durable.offset),
            tombstones_may_go: true,
        };
        let unread = Unread::new(log.compaction.borrow().unread_named_to);
        let horizon_ms = now_ms.saturating_add(work.config.tombstones_kept_ms);
        Pass {
            log,
            pace,
            cleaner: BatchCleaner::new(judge, unread, limits.decompressed_bytes_max, horizon_ms),
            passed_over: work.passed_over.clone(),
            work,
            segment_bytes: writer.config.segment_bytes(),
            interval_bytes: writer.config.index_interval_bytes,
            untold_bytes: 0,
            slice_bytes: 0,
            done: Compacted::default(),
        }
    }

    pub(super) async fn run(mut self) -> Result<Compacted, Abandoned> {
        self.map_keys().await?;
        self.done.keys = self.cleaner.judge.map.len();
        self.rewrite_all().await?;
        self.note_end().await?;
        Ok(self.done)
    }

    /// Counts work done; the caller says when to go on.
    async fn worked(&mut self, bytes: u64) -> Result<(), Abandoned> {
        self.untold_bytes += bytes;
        self.slice_bytes += bytes + self.cleaner.take_decompressed_bytes();
        if self.slice_bytes >= SLICE_BYTES {
            self.slice_bytes = 0;
            (self.pace)(std::mem::take(&mut self.untold_bytes)).await;
            self.log.goes_on()?;
        }
        Ok(())
    }

    /// Notes where each key of the dirty part stands last, up to where the map is full.
    async fn map_keys(&mut self) -> Result<(), Abandoned> {
        let from = self.work.map_from;
        for number in 0..self.work.pieces.len() {
            let Piece { ref segment, end } = self.work.pieces[number];
            if end.offset <= from {
                continue;
            }
            let segment = Arc::clone(segment);
            let mut here = self.place_of(&segment, from, end).await?;
            let mut scan = Scan::new(self.log.disk(), segment.file(), end.position, false);
            while here.offset < end.offset {
                let found = self.next_batch(&mut scan, &segment, &mut here, end).await?;
                let Some((header, batch)) = found else { continue };
                // What is clean may be walked through on the way, but must not count as new.
                if header.next_offset() > from && self.cleaner.note_keys(&header, batch) == Err(Full) {
                    self.cleaner.judge.end = header.base_offset;
                    return Ok(());
                }
                self.worked(header.total_bytes() as u64).await?;
            }
        }
        Ok(())
    }

    /// The batch at `here`, which moves behind it. Where it is damaged, `None`: that is marked, its segment passed over, and `here` moves to where
    /// good ones go on.
    async fn next_batch<'s>(
        &mut self,
        scan: &'s mut Scan<'_>,
        segment: &Segment,
        here: &mut BatchEnd,
        end: BatchEnd,
    ) -> Result<Option<(BatchHeader, &'s [u8])>, Abandoned> {
        let header = match look(scan, &self.log.reader, segment, *here, end).await {
            Ok(header) => header,
            Err(fault) => {
                let marked = damage::mark(self.log.disk(), segment, fault, None, here.offset, end).await;
                *here = marked.map_err(Abandoned::io("reading"))?;
                // The map lacks what is there, also if the scrub finds it well again before the segment's turn comes.
                self.pass_over(segment.base_offset(), Why::Damaged);
                return Ok(None);
            }
        };
        let bytes = header.total_bytes();
        let batch = scan.bytes(here.position, bytes).await.map_err(Abandoned::io("reading"))?;
        *here = BatchEnd { position: here.position + bytes as u64, offset: header.next_offset() };
        Ok(Some((header, batch)))
    }

    /// Where the batch that holds `from` begins; or the segment, which is passed over if the batch cannot be found.
    async fn place_of(&mut self, segment: &Segment, from: Offset, end: BatchEnd) -> Result<BatchEnd, Abandoned> {
        let start = BatchEnd { position: 0, offset: segment.base_offset() };
        if from <= start.offset {
            return Ok(start);
        }
        match self.log.reader.find(self.log.disk(), segment, from, end).await {
            Ok((position, header)) => Ok(BatchEnd { position, offset: header.base_offset }),
            Err(ReadError::Io(error)) => Err(Abandoned::io("reading")(error)),
            Err(_) => {
                self.pass_over(start.offset, Why::Damaged);
                Ok(start)
            }
        }
    }

    async fn rewrite_all(&mut self) -> Result<(), Abandoned> {
        let mut number = 0;
        while let Some(piece) = self.work.pieces.get(number) {
            let base = piece.segment.base_offset();
            if base >= self.cleaner.judge.end {
                return Ok(());
            }
            if piece.end.offset <= self.log.reader.snapshot()[0].base_offset() {
                // Retention was faster.
                number += 1;
                continue;
            }
            if !self.may_be_read(piece) {
                self.pass_over(base, Why::Damaged);
                // Values that its tombstones are to hide may be in it.
                self.cleaner.judge.tombstones_may_go = false;
                number += 1;
                continue;
            }
            let part = |piece: &Piece| Part {
                base: piece.segment.base_offset(),
                end: piece.end.offset,
                bytes: piece.end.position,
                may_be_read: piece.segment.base_offset() < self.cleaner.judge.end && self.may_be_read(piece),
            };
            let pieces = number..number + group(self.work.pieces[number..].iter().map(part), self.segment_bytes);
            // Else one of them is passed over by now, and what is left of the group comes again.
            if self.rewrite(pieces.clone()).await? {
                number = pieces.end;
            }
        }
        Ok(())
    }

    fn pass_over(&mut self, base: Offset, why: Why) {
        self.passed_over.entry(base).or_insert(why);
    }

    fn may_be_read(&self, piece: &Piece) -> bool {
        !piece.segment.is_damaged() && !self.passed_over.contains_key(&piece.segment.base_offset())
    }

    /// Makes one segment of some; false if one of them is not to be touched.
    async fn rewrite(&mut self, pieces: Range<usize>) -> Result<bool, Abandoned> {
        let base = self.work.pieces[pieces.start].segment.base_offset();
        let end = self.work.pieces[pieces.end - 1].end.offset;
        let mut output = Output::create(self.log, base, self.interval_bytes).await?;
        let mut filled = self.fill(&mut output, pieces.clone()).await;
        let is_needed = pieces.len() > 1 || output.is_changed();
        if filled.is_ok() && is_needed {
            filled = output.finish(end).await;
        }
        let is_done = match filled {
            Ok(()) if is_needed => return self.swap_in(output, pieces).await.map(|()| true),
            Ok(()) => {
                let bytes = self.work.pieces[pieces.start].end.position;
                self.count(1, bytes, bytes);
                Ok(true)
            }
            Err(Unwritten::Damaged) => Ok(false),
            Err(Unwritten::Outgrown) => {
                tracing::warn!(dir = %self.log.dir.display(), %base, "a segment would outgrow its bounds and is not compacted");
                let outgrown = self.work.pieces[pieces].iter().map(|piece| piece.segment.base_offset());
                self.passed_over.extend(outgrown.map(|base| (base, Why::Outgrown)));
                Ok(false)
            }
            Err(Unwritten::Abandoned(why)) => Err(why),
        };
        output.discard().await;
        is_done
    }

    /// Writes what stays of some segments.
    async fn fill(&mut self, output: &mut Output<'_>, pieces: Range<usize>) -> Result<(), Unwritten> {
        for number in pieces {
            let Piece { ref segment, end } = self.work.pieces[number];
            let segment = Arc::clone(segment);
            let mut here = BatchEnd { position: 0, offset: segment.base_offset() };
            let mut scan = Scan::new(self.log.disk(), segment.file(), end.position, false);
            while here.offset < end.offset {
                let Some((header, batch)) = self.next_batch(&mut scan, &segment, &mut here, end).await? else {
                    self.cleaner.judge.tombstones_may_go = false;
                    return Err(Unwritten::Damaged);
                };
                let before = output.bytes();
                match self.cleaner.clean(&header, batch) {
                    Left::Whole => output.keep(&header, batch).await?,
                    Left::Changed(changed, left) => {
                        output.put(&changed, &left).await?;
                        self.cleaner.take_back(left);
                    }
                    Left::Nothing => output.skip(&header),
                }
                self.worked(header.total_bytes() as u64 + output.bytes() - before).await?;
            }
        }
        Ok(())
    }

    /// Puts a finished segment in the place of those that it was made of.
    async fn swap_in(&mut self, output: Output<'_>, pieces: Range<usize>) -> Result<(), Abandoned> {
        let pieces = &mut self.work.pieces[pieces];
        let bytes_before = pieces.iter().map(|piece| piece.end.position).sum();
        let bytes_after = output.bytes();
        let replaced = self.log.swap_in(output, pieces).await?;
        if replaced > 0 {
            self.count(replaced, bytes_before, bytes_after);
        }
        Ok(())
    }

    fn count(&mut self, segments: usize, bytes_before: u64, bytes_after: u64) {
        self.done.segments_before += segments;
        self.done.bytes_before += bytes_before;
        self.done.segments_after += 1;
        self.done.bytes_after += bytes_after;
    }

    /// Notes how far was looked, and, durably, how far the log is clean now: not past a segment that could not be cleaned, for keys in it may
    /// stand behind it again.
    async fn note_end(&mut self) -> Result<(), Abandoned> {
        let log = self.log;
        let end = self.cleaner.judge.end;
        let reach = self.passed_over.first_key_value().map_or(end, |(&first, _)| first.min(end));
        let cleaned_to = reach.max(self.work.cleaned_to);
        let outgrown = self.passed_over.values().filter(|why| **why == Why::Outgrown).count();
        (self.done.outgrown, self.done.damaged) = (outgrown, self.passed_over.len() - outgrown);
        self.done.cleaned_to = cleaned_to;
        let unread = &mut self.cleaner.unread;
        (self.done.unread, self.done.unread_named) = (unread.count, std::mem::take(&mut unread.named));
        let _house = log.keep_house().await?;
        {
            let mut state = log.compaction.borrow_mut();
            state.seen_to = end;
            state.unread_named_to = state.unread_named_to.max(end);
            state.passed_over = std::mem::take(&mut self.passed_over);
        }
        if cleaned_to > self.work.cleaned_to {
            let written = checkpoint::write(log.disk(), &log.dir, cleaned_to).await;
            written.map_err(Abandoned::io("noting how far the log is compacted"))?;
            log.compaction.borrow_mut().cleaned_to = cleaned_to;
        }
        Ok(())
    }
}
