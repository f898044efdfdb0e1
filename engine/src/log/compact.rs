//! Compaction of one log: whether there is something to do, how far it has come, and what a pass is told apart from its work.
//!
//! The work is [`Pass`]'s; the broker decides when a pass is made and how fast it goes. All that changes on disk here is at a start: [`load`]
//! removes what says that more is clean than there is.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ringmill_batch::Offset;
use tokio::sync::MutexGuard;

use super::compact_pass::Pass;
use super::compact_unread::UnreadBatch;
use super::{CompactionConfig, Log, LogEnv};
use crate::compaction::CompactionLimits;
use crate::compaction::checkpoint;
use crate::data_dir::durable_file;
use crate::segment::Segment;
use crate::segment::damage::BatchEnd;

/// What a log remembers of its compaction.
#[derive(Debug)]
pub(super) struct State {
    /// Before it no key stands twice, as far as the file says.
    pub(super) cleaned_to: Offset,
    /// Before it this process has looked at everything: what of it could not be cleaned is no reason to look again.
    pub(super) seen_to: Offset,
    /// What of it stayed as it was, when it was last looked at.
    pub(super) passed_over: PassedOver,
    /// Before it the batches were named that no pass can read.
    pub(super) unread_named_to: Offset,
    /// A swap is not complete; one that was cut off stays so until the next start, which finds out what has become of it.
    pub(super) is_given_up: bool,
}

impl State {
    pub(super) fn new(cleaned_to: Offset) -> State {
        let (seen_to, unread_named_to) = (cleaned_to, Offset::ZERO);
        State { cleaned_to, seen_to, passed_over: PassedOver::new(), unread_named_to, is_given_up: false }
    }

    /// How far the log of these segments is clean, and how far it has been looked at: what retention has removed since is both.
    fn reach(&self, segments: &[Arc<Segment>]) -> (Offset, Offset) {
        let cleaned_to = self.cleaned_to.max(segments[0].base_offset());
        (cleaned_to, self.seen_to.max(cleaned_to))
    }
}

/// Segments, by their first offset, that a pass leaves as they are.
pub(super) type PassedOver = BTreeMap<Offset, Why>;

/// Why a segment is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Not all of it can be read.
    Damaged,
    /// Recompressed, it would be too large. It is tried again when all is mapped again: after a restart, or when damage in front has gone.
    Outgrown,
}

/// How much a pass would look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Bytes of the closed segments that passes have looked at to their end, those that stayed as they were among them.
    pub clean_bytes: u64,
    /// Bytes of those behind, and of the one in which a full map has ended: all of it counts.
    pub dirty_bytes: u64,
    /// The settings ask for a pass.
    pub is_due: bool,
}

/// What a pass has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Damaged segments, which stay as they are, in all of what has been looked at.
    pub damaged: usize,
    /// Sound segments that would be larger than a segment may be if they were written anew, and stay as they are.
    pub outgrown: usize,
    /// Batches whose records cannot be read within the limits, in all of what has been looked at: they stay, and so does every tombstone behind them.
    pub unread: u64,
    /// Those of them that no pass of this process has named before, the first of many.
    pub unread_named: Vec<UnreadBatch>,
    /// Before it no key stands twice.
    pub cleaned_to: Offset,
}

/// Why a pass ended before its time. The log is as well as before; what was swapped until then stays.
#[derive(Debug, thiserror::Error)]
pub enum Abandoned {
    /// The log is closed, sealed, or not to be compacted any more.
    #[error("the log is closed, sealed or not compacted any more")]
    Closed,
    /// The disk has less room than is to be kept free, and as much again.
    #[error("there is too little space to write a segment anew")]
    NoSpace,
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

/// How far the log in `dir` has been cleaned; nothing is lost where the file cannot say. One that speaks of more than there is goes, durably:
/// once the log had grown past it, it would be believed.
///
/// # Errors
/// The disk's, if it keeps that one.
pub(super) async fn load(env: &LogEnv, dir: &Path, active: Offset) -> io::Result<Offset> {
    match checkpoint::read(&*env.disk, dir).await {
        Ok(cleaned_to) if cleaned_to <= active => Ok(cleaned_to),
        Ok(cleaned_to) => {
            tracing::warn!(dir = %dir.display(), %cleaned_to, "compacted further than the log goes: the next compaction looks through all of it");
            env.disk.remove_file(&checkpoint::path(dir)).await?;
            env.disk.sync_dir(dir).await?;
            Ok(Offset::ZERO)
        }
        Err(durable_file::ReadError::Missing { .. }) => Ok(Offset::ZERO),
        Err(error) => {
            tracing::warn!(%error, "the next compaction looks through the whole log");
            Ok(Offset::ZERO)
        }
    }
}

/// A closed segment.
pub(super) struct Piece {
    pub(super) segment: Arc<Segment>,
    pub(super) end: BatchEnd,
}

/// What a pass would do now.
pub(super) struct Work {
    pub(super) config: CompactionConfig,
    /// The oldest closed segments.
    pub(super) pieces: Vec<Piece>,
    pub(super) cleaned_to: Offset,
    /// From here on keys are mapped.
    pub(super) map_from: Offset,
    /// What of the part in front is passed over again, whether or not it can be read by the time its turn comes.
    pub(super) passed_over: PassedOver,
}

impl Log {
    /// How much there is to compact, and whether it is time; `None` when the log is not to be compacted, or there is nothing new.
    #[must_use]
    pub fn cleanable(&self, now_ms: i64) -> Option<Cleanable> {
        let config = self.compaction_config()?;
        let segments = self.reader.snapshot();
        let (_, seen_to) = self.compaction.borrow().reach(&segments);
        let (mut clean_bytes, mut dirty_bytes, mut oldest_ms) = (0, 0, None);
        for (segment, end) in compactable(&segments, config.min_lag_ms, now_ms) {
            if end.offset <= seen_to {
                clean_bytes += end.position;
                continue;
            }
            dirty_bytes += end.position;
            oldest_ms = oldest_ms.or_else(|| Some(segment.append_times_ms().map_or(now_ms, |(first_ms, _)| first_ms)));
        }
        let oldest_ms: i64 = oldest_ms?;
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
        let end = last.end.offset;
        Pass::new(self, limits, work, end, now_ms, pace).run().await.map(Some)
    }

    /// By what settings the log is compacted; `None` when it is not, or not now.
    fn compaction_config(&self) -> Option<CompactionConfig> {
        let writer = self.writer.borrow();
        let is_stopped = writer.ended || !writer.closing.is_empty() || writer.seal.is_some();
        writer.config.compaction.filter(|_| !is_stopped && !self.compaction.borrow().is_given_up)
    }

    fn work(&self, now_ms: i64) -> Option<Work> {
        let config = self.compaction_config()?;
        let segments = self.reader.snapshot();
        let closed = compactable(&segments, config.min_lag_ms, now_ms);
        let pieces: Vec<Piece> = closed.map(|(segment, end)| Piece { segment: Arc::clone(segment), end }).collect();
        let state = self.compaction.borrow();
        let (cleaned_to, seen_to) = state.reach(&segments);
        let is_news = pieces.last().is_some_and(|last| last.end.offset > seen_to);
        let (map_from, passed_over) = match still_passed_over(&state.passed_over, &pieces) {
            Some(passed_over) => (seen_to, passed_over),
            None => (cleaned_to, PassedOver::new()),
        };
        is_news.then_some(Work { config, pieces, cleaned_to, map_from, passed_over })
    }

    /// The right to change names in the directory, as long as it is this log's.
    pub(super) async fn keep_house(&self) -> Result<MutexGuard<'_, ()>, Abandoned> {
        let guard = self.house.lock().await;
        // Checked under the lock, which a close takes after it has said so.
        if self.writer.borrow().ended { Err(Abandoned::Closed) } else { Ok(guard) }
    }

    pub(super) fn goes_on(&self) -> Result<(), Abandoned> {
        let writer = self.writer.borrow();
        let is_wanted = writer.config.compaction.is_some() && writer.seal.is_none();
        if is_wanted && !writer.ended && writer.closing.is_empty() { Ok(()) } else { Err(Abandoned::Closed) }
    }
}

/// The oldest closed segments, as long as `min_lag_ms` has passed since the last append to each, and where each ends.
fn compactable(
    segments: &[Arc<Segment>],
    min_lag_ms: i64,
    now_ms: i64,
) -> impl Iterator<Item = (&Arc<Segment>, BatchEnd)> {
    let is_old = move |segment: &Segment| {
        let last_ms = segment.append_times_ms().map_or(now_ms, |(_, last_ms)| last_ms);
        min_lag_ms == 0 || last_ms <= now_ms.saturating_sub(min_lag_ms)
    };
    segments.windows(2).map_while(move |pair| {
        let position = pair[0].closed_length().filter(|_| is_old(&pair[0]))?;
        Some((&pair[0], BatchEnd { position, offset: pair[1].base_offset() }))
    })
}

/// What is still to be passed over. As long as it is the same, all the rest was written anew by maps that reached up to where they ended last,
/// and the next one goes on from there: beginning at the damage again, it could be full at the same place each time. `None` if any of it
/// can be read again: maps that it was not written by hold later records of its keys, so the next pass that is due begins at the damage.
fn still_passed_over(before: &PassedOver, pieces: &[Piece]) -> Option<PassedOver> {
    // Of those that retention has removed nothing can come back.
    let first = pieces.first().map_or(Offset::ZERO, |piece| piece.segment.base_offset());
    let is_still = |(&base, &why): (&Offset, &Why)| {
        // Where none begins there any more, it was joined with others by a pass that was abandoned.
        let at = pieces.binary_search_by_key(&base, |piece| piece.segment.base_offset()).ok()?;
        (why == Why::Outgrown || pieces[at].segment.is_damaged()).then_some((base, why))
    };
    before.range(first..).map(is_still).collect()
}
