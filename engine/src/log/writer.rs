//! What the owner knows about a log that is being written, and the decision what to do next.
//!
//! No I/O happens here and nothing waits: the loops in `append`, `sync` and `retain` ask, do, and report back.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, LeaderEpoch, Offset};
use tokio::sync::oneshot;

use super::config::LogConfig;
use super::watermarks::{End, Ends, SealCause};
use super::{AppendError, Appended, LogError, QUEUED_BATCHES_MAX};
use crate::producer_state::ProducerState;
use crate::segment::index::TAIL_ENTRIES_MAX;
use crate::segment::space::Space;
use crate::segment::{IndexCursor, Segment};

/// Batches in one group: what an index's tail in memory takes before it spills, and well below the pieces that the kernel takes
/// at once (IOV_MAX, 1024).
pub(super) const GROUP_BATCHES_MAX: usize = TAIL_ENTRIES_MAX / 2;

/// Bytes in one vectored write, unless a single batch is larger: enough to hide the cost of a call, little enough that the
/// next sync does not wait long for it.
pub(super) const GROUP_BYTES_MAX: u64 = 1 << 20;

/// A batch that has no offsets yet.
pub(super) struct Queued {
    pub(super) batch: BytesMut,
    pub(super) header: BatchHeader,
    pub(super) answer: Answer,
}

pub(super) type Answer = oneshot::Sender<Result<Appended, AppendError>>;

/// A batch that has offsets and is not visible yet, or a repeat of one.
pub(super) struct Unanswered {
    pub(super) end: End,
    pub(super) max_timestamp_ms: i64,
    pub(super) appended: Appended,
    pub(super) answer: Answer,
}

/// Why and since when nothing is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    pub(super) cause: SealCause,
    /// When to see whether there is space again.
    pub(super) retry_at_ms: i64,
    pub(super) retry_now: bool,
    /// It was logged why the log does not reopen.
    pub(super) is_told: bool,
}

/// What the write loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Give offsets to so many queued batches and write them.
    Write { count: usize },
    /// Secure the space that so many queued batches need, up to this position.
    Secure { count: usize, needed: u64 },
    /// Close the active segment and begin the next.
    Roll,
    /// The first queued batch can never be appended.
    RefuseFirst(AppendError),
    /// See whether a sealed log can be written again.
    Reopen,
    /// Everything is done and the log is to be closed.
    Finish,
    /// Something else has to happen first.
    Wait,
    /// The log is closed.
    End,
}

/// The owner's state.
pub(super) struct Writer {
    pub(super) config: LogConfig,
    pub(super) queue: VecDeque<Queued>,
    pub(super) active: Arc<Segment>,
    pub(super) cursor: IndexCursor,
    pub(super) space: Space,
    pub(super) epoch: LeaderEpoch,
    pub(super) ends: Ends,
    pub(super) visible: End,
    /// Oldest first; as large as what may be unsynced.
    pub(super) unanswered: VecDeque<Unanswered>,
    pub(super) producers: ProducerState,
    pub(super) seal: Option<Seal>,
    /// It was logged that appends are refused, and none has been possible since.
    pub(super) lack_is_told: bool,
    /// The active segment is old enough to be closed.
    pub(super) roll_is_due: bool,
    /// Somebody waits for everything written to be durable, caching or not.
    pub(super) sync_is_due: bool,
    pub(super) syncing: bool,
    /// Writeback was started up to this position of the active segment.
    pub(super) writeback_position: u64,
    /// When the oldest unsynced byte was written.
    pub(super) unsynced_since_ms: Option<i64>,
    /// The largest bound since the last checkpoint at which nothing was unsynced.
    bound: u64,
    /// Who waits for the log to be closed.
    pub(super) closing: Vec<oneshot::Sender<Result<(), LogError>>>,
    pub(super) ended: bool,
}

impl Writer {
    /// Everything up to `end` is durable, in `active`.
    pub(super) fn new(
        config: LogConfig,
        active: Arc<Segment>,
        end: End,
        epoch: LeaderEpoch,
        cursor: IndexCursor,
        producers: ProducerState,
    ) -> Writer {
        let bound = config.unsynced_bound();
        Writer {
            config,
            queue: VecDeque::new(),
            active,
            cursor,
            space: Space::new(end.position),
            epoch,
            ends: Ends::at(end),
            visible: end,
            unanswered: VecDeque::new(),
            producers,
            seal: None,
            lack_is_told: false,
            roll_is_due: false,
            sync_is_due: false,
            syncing: false,
            writeback_position: end.position,
            unsynced_since_ms: None,
            bound,
            closing: Vec::new(),
            ended: false,
        }
    }

    /// Takes a batch, or gives it back with the reason; `is_low`: the disk has less room than is to be kept free.
    ///
    /// Whatever is refused for a time is refused here, where it is noted: refused further up, the next of its pipeline would be taken.
    pub(super) fn enqueue(&mut self, queued: Queued, is_low: bool) -> Option<(Queued, AppendError)> {
        if self.ended || !self.closing.is_empty() {
            return Some((queued, AppendError::Closed));
        }
        if self.seal.is_some() {
            self.producers.note_refused(&queued.header);
            return Some((queued, AppendError::Sealed));
        }
        if is_low {
            self.producers.note_refused(&queued.header);
            return Some((queued, AppendError::NoSpace));
        }
        if self.queue.len() >= QUEUED_BATCHES_MAX {
            self.producers.note_refused(&queued.header);
            return Some((queued, AppendError::QueueFull));
        }
        self.queue.push_back(queued);
        None
    }

    pub(super) fn set_config(&mut self, config: LogConfig) {
        self.bound = self.bound.max(config.unsynced_bound());
        self.config = config;
    }

    /// The bound to record: it may only shrink when nothing is unsynced under a larger one.
    pub(super) fn take_bound(&mut self) -> u64 {
        // A group on its way was admitted under the old bound.
        if self.ends.durable == self.ends.assigned {
            self.bound = self.config.unsynced_bound();
        }
        self.bound
    }

    /// The bound that holds at the moment.
    pub(super) fn bound(&self) -> u64 {
        self.bound
    }

    /// The active segment holds at least one batch, so that rolling it makes sense.
    pub(super) fn can_roll(&self) -> bool {
        self.ends.assigned.offset > self.active.base_offset()
    }

    /// All that is written is durable and no sync is under way.
    pub(super) fn is_quiet(&self) -> bool {
        !self.syncing && self.ends.durable == self.ends.assigned
    }

    /// Decides for the write loop, which has no write under way.
    pub(super) fn next_step(&self) -> Step {
        if self.ended {
            return Step::End;
        }
        if let Some(seal) = self.seal {
            return match (self.closing.is_empty(), seal.retry_now && !self.syncing) {
                (false, _) => Step::Finish,
                (true, true) => Step::Reopen,
                (true, false) => Step::Wait,
            };
        }
        assert_eq!(self.ends.written, self.ends.assigned, "a write is under way");
        if self.roll_is_due && self.can_roll() {
            return Step::Roll;
        }
        if !self.queue.is_empty() {
            return self.next_group();
        }
        if self.closing.is_empty() { Step::Wait } else { Step::Finish }
    }

    /// As many queued batches as go into one write, or what hinders the first.
    fn next_group(&self) -> Step {
        let start = self.ends.assigned;
        let segment_bytes = self.config.segment_bytes();
        let (mut count, mut bytes, mut next) = (0, 0_u64, start.offset);
        for queued in self.queue.iter().take(GROUP_BATCHES_MAX) {
            let size = queued.header.total_bytes() as u64;
            let last = after(next, &queued.header);
            let fits_segment = start.position + bytes + size <= segment_bytes
                && last.since(self.active.base_offset()) <= i32::MAX as u64;
            let fits_bound = start.position + bytes + size - self.ends.durable.position <= self.config.unsynced_bound();
            let fits_group = count == 0 || bytes + size <= GROUP_BYTES_MAX;
            if !(fits_segment && fits_bound && fits_group) {
                if count == 0 {
                    return self.hindrance(fits_segment);
                }
                break;
            }
            (count, bytes, next) = (count + 1, bytes + size, last);
        }
        let needed = start.position + bytes;
        if needed > self.space.secured() { Step::Secure { count, needed } } else { Step::Write { count } }
    }

    fn hindrance(&self, fits_segment: bool) -> Step {
        match (fits_segment, self.can_roll(), self.ends.unsynced_bytes() > 0) {
            (false, true, _) => Step::Roll,
            // The bound frees itself with the next sync.
            (true, _, true) => Step::Wait,
            _ => Step::RefuseFirst(AppendError::TooLargeForSegment),
        }
    }

    /// Whether a group leaves for the device while it is copied: if its sync is next, and no sync of this log is under way, nor more to be
    /// written that will be. The device works while the rest is copied then. Beside a sync it costs time: the sync's journal write, a few
    /// KiB, waits behind all that is on its way to the device.
    pub(super) fn leaves_early(&self) -> bool {
        !self.config.write_caching && !self.syncing && self.queue.is_empty()
    }

    /// What the sync loop should make durable now.
    pub(super) fn next_sync(&self) -> Option<(Arc<Segment>, End)> {
        let unsynced_bytes = self.ends.unsynced_bytes();
        if self.seal.is_some() || unsynced_bytes == 0 {
            return None;
        }
        // Half of the bound, so that writing goes on while the sync runs.
        let is_due = !self.config.write_caching
            || self.sync_is_due
            || !self.closing.is_empty()
            || unsynced_bytes >= self.config.unsynced_bound() / 2;
        is_due.then(|| (Arc::clone(&self.active), self.ends.written))
    }
}

/// The offset behind a batch that begins at `base`.
pub(super) fn after(base: Offset, header: &BatchHeader) -> Offset {
    let records = u64::try_from(header.last_offset_delta).expect("a parsed header counts up") + 1;
    base.checked_add(records).expect("a partition takes fewer than 2^63 records")
}

/// Answers a producer; one that has gone away does not hear it.
pub(super) fn tell(answer: Answer, result: Result<Appended, AppendError>) {
    let _ = answer.send(result);
}
