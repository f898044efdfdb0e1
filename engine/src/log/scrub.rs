//! Looks through closed segments for rot: every batch (bounds, checksum, offset, reign) and both indexes, step by step.
//!
//! It reads past the page cache: what the device holds is what counts, and what readers have cached stays cached. It changes no log:
//! damaged batches are marked and refused from then on, those that can be read again are served again, and the keeper rebuilds an index
//! that is wrong. When and how fast is the caller's business: the engine waits for no time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ringmill_batch::{BatchHeader, Offset};

use super::Log;
use super::read::LogReader;
use super::scan::Scan;
use crate::disk::OpenHow;
use crate::segment::Segment;
use crate::segment::damage::{self, BatchEnd};
use crate::segment::headers::HeaderFault;
use crate::segment::offset_index::lies_in_segment;
use crate::verify::Problem;
use crate::verify::index::{INDEX_BYTES_MAX, OffsetIndexCheck, TimeIndexCheck};

/// What one step of the scrub did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes of segments that were looked at.
    pub bytes: u64,
    /// Nothing is left of this pass; the next call begins another.
    pub is_done: bool,
}

/// How far a pass has come.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Segments that begin before this offset are done.
    done_before: Offset,
    at: Option<InSegment>,
}

/// A segment that is being looked at.
#[derive(Debug)]
struct InSegment {
    segment: Arc<Segment>,
    here: BatchEnd,
    end: BatchEnd,
    offsets: OffsetIndexCheck,
    times: TimeIndexCheck,
    problems: Vec<Problem>,
    /// No batch was passed over, so that the index may name none that was not seen.
    is_whole: bool,
}

impl Log {
    /// Looks at about the next `bytes_max` bytes of closed segments, at one batch at least, and goes on there at the next call. May be
    /// dropped at any time, which begins the segment anew. After [`Log::close`] it finds nothing to do.
    pub async fn scrub(&self, bytes_max: u64) -> Scrubbed {
        let done = Scrubbed { bytes: 0, is_done: true };
        let Pass { done_before, at } = std::mem::take(&mut *self.scrub_pass.borrow_mut());
        if self.writer.borrow().ended {
            return done;
        }
        let mut at = match at {
            Some(at) => at,
            None => match self.next_to_scrub(done_before).await {
                Some(at) => at,
                None => return done,
            },
        };
        let from = at.here.position;
        let looked = self.scrub_batches(&mut at, bytes_max).await;
        let bytes = at.here.position.saturating_sub(from);
        let (done_before, at) = match looked {
            Ok(true) => {
                let end = at.end.offset;
                self.judge_indexes(at);
                (end, None)
            }
            Ok(false) => (done_before, Some(at)),
            Err(error) => {
                tracing::warn!(file = %at.segment.path().display(), %error, "the scrub passes over a segment");
                (at.end.offset, None)
            }
        };
        *self.scrub_pass.borrow_mut() = Pass { done_before, at };
        Scrubbed { bytes, is_done: false }
    }

    async fn next_to_scrub(&self, done_before: Offset) -> Option<InSegment> {
        let segments = self.reader.snapshot();
        let pair = segments.windows(2).find(|pair| pair[0].base_offset() >= done_before)?;
        let segment = Arc::clone(&pair[0]);
        let end = BatchEnd { position: segment.closed_length()?, offset: pair[1].base_offset() };
        let here = BatchEnd { position: 0, offset: segment.base_offset() };
        let mut problems = Vec::new();
        let (base, path) = (segment.base_offset(), segment.offset_index.path());
        let offsets = OffsetIndexCheck::of(path, self.read_index(path).await, base, &mut problems);
        let path = segment.time_index.path();
        let times = TimeIndexCheck::of(path, self.read_index(path).await, base, &mut problems);
        Some(InSegment { segment, here, end, offsets, times, problems, is_whole: true })
    }

    async fn read_index(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.disk().open(path, OpenHow::Read).await?;
        let length = self.disk().info(&file).await?.length;
        let length = usize::try_from(length.min(INDEX_BYTES_MAX)).expect("an index fits into memory");
        Ok(self.disk().read_at(&file, 0, length).await?.into())
    }

    /// True at the end of the segment.
    async fn scrub_batches(&self, at: &mut InSegment, bytes_max: u64) -> io::Result<bool> {
        let segment = Arc::clone(&at.segment);
        let mut scan = Scan::new(self.disk(), segment.file(), at.end.position, true);
        let stop = at.here.position.saturating_add(bytes_max.max(1));
        while at.here.offset < at.end.offset {
            if at.here.position >= stop {
                return Ok(false);
            }
            match look(&mut scan, &self.reader, &segment, at.here, at.end).await {
                Ok(header) => {
                    let position = at.here.position + header.total_bytes() as u64;
                    segment.clear_damage(at.here.position..position, header.base_offset..header.next_offset());
                    at.offsets.see(at.here.position, &header);
                    at.times.see(&header);
                    at.here = BatchEnd { position, offset: header.next_offset() };
                }
                Err(fault) => {
                    at.is_whole = false;
                    at.here = damage::mark(self.disk(), &segment, fault, None, at.here.offset, at.end).await?;
                }
            }
            crate::turn::yield_now().await;
        }
        Ok(true)
    }

    /// Has the keeper rebuild the indexes if one is wrong, and says what is.
    fn judge_indexes(&self, at: InSegment) {
        let InSegment { segment, offsets, times, mut problems, is_whole, .. } = at;
        let exist = [offsets.finish(is_whole, &mut problems), times.finish(is_whole, &mut problems)];
        let is_missing = exist.contains(&None);
        if (problems.is_empty() && !is_missing) || !segment.distrust_index() {
            return;
        }
        match problems.first() {
            Some(problem) => tracing::warn!(%problem, "an index is wrong and will be rebuilt"),
            None => tracing::warn!(file = %segment.path().display(), "an index is missing and will be rebuilt"),
        }
        self.wake_keeper.notify_one();
    }
}

pub(super) async fn look(
    scan: &mut Scan<'_>,
    reader: &LogReader,
    segment: &Segment,
    here: BatchEnd,
    end: BatchEnd,
) -> Result<BatchHeader, HeaderFault> {
    let position = here.position;
    let damaged = |why| HeaderFault::Damaged { position, why };
    let batch = scan.batch(position, here.offset, &(0..=i32::MAX)).await;
    let header = batch.map_err(|error| HeaderFault::Io { position, error })?.map_err(damaged)?;
    if header.base_offset != here.offset {
        return Err(damaged(format!("offset {} where {} is next", header.base_offset, here.offset)));
    }
    if !lies_in_segment(segment.base_offset(), header.last_offset()) {
        return Err(damaged(format!("offset {} is too far from the segment's first", header.last_offset())));
    }
    reader.check_place(position, &header, end)?;
    Ok(header)
}
