//! What readers on any core use: a snapshot of the segments, the watermarks, and plans that turn an offset into a file range.
//!
//! A plan reads an index entry and the batch headers up to the first wanted batch, never the whole range: that would cost more
//! than sending it. It changes nothing on disk; damage that it meets is marked, so that the next fetch gets an error code.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ringmill_batch::{BatchHeader, LeaderEpoch, Offset};
use tokio::sync::watch;

use super::Identity;
use super::watermarks::{LogState, Watermarks};
use crate::disk::Disk;
use crate::epochs::EpochList;
use crate::segment::Segment;
use crate::segment::headers::{HeaderFault, HeaderWalk};
use crate::segment::offset_index::OffsetEntry;

/// The segments of a log at one moment, oldest first; never empty.
pub(crate) type Snapshot = Arc<Vec<Arc<Segment>>>;

/// Reads one log from any core. Belongs to no disk: each call says through which it reads.
#[derive(Debug)]
pub struct LogReader {
    identity: Identity,
    segments: RwLock<Snapshot>,
    watermarks: watch::Sender<Watermarks>,
    epochs: RwLock<EpochList>,
    hints: Mutex<Hints>,
}

/// A range of one segment's file that holds whole batches from the wanted offset on; the last may be cut.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// The segment; it keeps the file open.
    pub segment: Arc<Segment>,
    /// First byte.
    pub position: u64,
    /// Bytes; 0 when the wanted offset is the visible end.
    pub length: u64,
    /// Where a sequential reader goes on: exact when the range ends with the segment or at the visible end, else no later than
    /// that, and always past the first batch.
    pub next_offset: Offset,
}

/// Why nothing could be planned or found.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Kafka's OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} lies outside {} to {}", range.start, range.end)]
    OffsetOutOfRange {
        /// What was asked.
        offset: Offset,
        /// Log start and visible end.
        range: Range<Offset>,
    },
    /// Kafka's CORRUPT_MESSAGE: the wanted batch lies in a damaged range.
    #[error("segment {segment} is damaged at byte {position}")]
    Damaged {
        /// The segment's base offset.
        segment: Offset,
        /// The first damaged byte at or after the wanted one.
        position: u64,
    },
    /// Reading failed for a reason that is no damage (too many open files, …).
    #[error("reading the log failed")]
    Io(#[from] io::Error),
}

impl LogReader {
    pub(crate) fn new(identity: Identity, segments: Snapshot, watermarks: Watermarks, epochs: EpochList) -> LogReader {
        LogReader {
            identity,
            segments: RwLock::new(segments),
            watermarks: watch::Sender::new(watermarks),
            epochs: RwLock::new(epochs),
            hints: Mutex::new(Hints::default()),
        }
    }

    /// Which partition this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The watermarks of this moment.
    #[must_use]
    pub fn watermarks(&self) -> Watermarks {
        self.watermarks.borrow().clone()
    }

    /// Told whenever a watermark or the state changes; closed when the log is gone.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Watermarks> {
        self.watermarks.subscribe()
    }

    /// Bytes of visible batches in all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let watermarks = self.watermarks();
        self.snapshot().iter().map(|segment| visible_length(segment, &watermarks)).sum()
    }

    /// The newest reign not later than `asked` and where its records end, never before the log start; see
    /// [`EpochList::end_of`]. For OffsetForLeaderEpoch and diverging fetches.
    #[must_use]
    pub fn epoch_end(&self, asked: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let (log_start, end) = {
            let watermarks = self.watermarks.borrow();
            (watermarks.log_start, watermarks.high_watermark)
        };
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        // A reign that began below the log start has lost its first records since.
        epochs.end_of(asked, end).map(|(epoch, end)| (epoch, end.max(log_start)))
    }

    /// A read or send of a planned range failed: the next plan that meets it answers with an error.
    pub fn report_damage(&self, segment: &Segment, position: u64, length: u64) {
        let visible = visible_length(segment, &self.watermarks());
        // A range that a reopening has cut since is not damaged, it is gone.
        if position < visible && length > 0 {
            segment.mark_damaged(position..position.saturating_add(length).min(visible));
        }
    }

    /// Where the batch that holds `from` begins, and how much may be read from there: at most `limit_bytes`, within one segment
    /// and up to the visible end. With `whole_first` the first batch is whole even if it alone passes the limit.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn plan(
        &self,
        disk: &dyn Disk,
        from: Offset,
        limit_bytes: u64,
        whole_first: bool,
    ) -> Result<ReadPlan, ReadError> {
        let (watermarks, segments) = self.view();
        if from < watermarks.log_start || from > watermarks.high_watermark {
            return Err(ReadError::OffsetOutOfRange {
                offset: from,
                range: watermarks.log_start..watermarks.high_watermark,
            });
        }
        let number = segments.partition_point(|segment| segment.base_offset() <= from);
        let segment = match number.checked_sub(1) {
            Some(number) => Arc::clone(&segments[number]),
            None => return Err(ReadError::OffsetOutOfRange { offset: from, range: from..from }),
        };
        if from == watermarks.high_watermark {
            return Ok(ReadPlan {
                position: visible_length(&segment, &watermarks),
                segment,
                length: 0,
                next_offset: from,
            });
        }
        let visible = visible_length(&segment, &watermarks);
        let (position, first) = self.find(disk, &segment, from, visible).await?;

        let wanted = if whole_first { limit_bytes.max(first.total_bytes() as u64) } else { limit_bytes };
        let mut end = visible.min(position.saturating_add(wanted));
        if let Some(damage) = segment.damage_after(position) {
            if damage.start < position + first.total_bytes() as u64 {
                return Err(ReadError::Damaged {
                    segment: segment.base_offset(),
                    position: damage.start.max(position),
                });
            }
            end = end.min(damage.start);
        }
        let next_offset = match segments.get(number) {
            _ if end < visible => first.next_offset(),
            Some(next) => next.base_offset(),
            None => watermarks.high_watermark,
        };
        if end == visible {
            self.hint(&segment, next_offset, visible);
        }
        Ok(ReadPlan { segment, position, length: end - position, next_offset })
    }

    /// The batch of `segment` that holds `wanted`, or the first after it. `wanted` lies before the visible end.
    pub(super) async fn find(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        wanted: Offset,
        visible: u64,
    ) -> Result<(u64, BatchHeader), ReadError> {
        let mut walk = HeaderWalk::new(disk, segment, visible);
        if let Some(position) = self.hinted(segment, wanted)
            && let Ok(header) = walk.header(position, wanted).await
            && header.base_offset == wanted
        {
            return Ok((position, header));
        }
        let start = self.indexed(disk, segment, wanted, visible).await?;
        let (mut position, mut at_least) = start.unwrap_or((0, segment.base_offset()));
        loop {
            let header = match walk.header(position, at_least).await {
                Ok(header) => header,
                Err(fault) => return Err(damaged(segment, fault, visible)),
            };
            if header.last_offset() >= wanted {
                return Ok((position, header));
            }
            position += header.total_bytes() as u64;
            at_least = header.next_offset();
        }
    }

    /// A position from the index at or before the batch of `wanted`, and the least offset that may stand there. The entry is
    /// believed only if the batch that it names is there.
    async fn indexed(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        wanted: Offset,
        visible: u64,
    ) -> Result<Option<(u64, Offset)>, ReadError> {
        let base = segment.base_offset();
        let is_before = |entry: &OffsetEntry| entry.last_offset(base).is_some_and(|last| last <= wanted);
        let entry = match segment.offset_index.last_where(disk, is_before).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            Err(error) if is_lost(&error) => {
                self.distrust(segment, &error.to_string());
                return Ok(None);
            }
            // Nothing is wrong with the file when, say, descriptors have run out.
            Err(error) => return Err(error.into()),
        };
        let position = u64::from(entry.position);
        let why = match HeaderWalk::new(disk, segment, visible).header(position, base).await {
            Ok(header) if Some(header.last_offset()) == entry.last_offset(base) => {
                return Ok(Some((position, header.base_offset)));
            }
            Ok(header) => format!("the batch at {position} ends at {}", header.last_offset()),
            Err(HeaderFault::Damaged { why, .. }) => why,
            Err(fault) => return Err(damaged(segment, fault, visible)),
        };
        self.distrust(segment, &why);
        Ok(None)
    }

    fn distrust(&self, segment: &Segment, why: &str) {
        if segment.distrust_index() {
            let path = segment.offset_index.path().display();
            tracing::warn!(%path, why, "the offset index disagrees with its segment and will be rebuilt");
        }
    }

    fn hinted(&self, segment: &Segment, wanted: Offset) -> Option<u64> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner).position_of(segment.base_offset(), wanted)
    }

    fn hint(&self, segment: &Segment, next_offset: Offset, position: u64) {
        let hint = Hint { segment: segment.base_offset(), offset: next_offset, position };
        self.hints.lock().unwrap_or_else(PoisonError::into_inner).remember(hint);
    }

    /// Watermarks and segments that belong together: segments are added before anything in them is visible, so that the
    /// older watermarks always lie inside the younger list.
    pub(super) fn view(&self) -> (Watermarks, Snapshot) {
        let watermarks = self.watermarks();
        (watermarks, self.snapshot())
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_segments(&self, segments: Snapshot) {
        assert!(!segments.is_empty(), "a log without a segment");
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = segments;
    }

    pub(super) fn set_epochs(&self, epochs: EpochList) {
        *self.epochs.write().unwrap_or_else(PoisonError::into_inner) = epochs;
    }

    /// Positions may mean other batches from now on.
    pub(super) fn forget_hints(&self) {
        *self.hints.lock().unwrap_or_else(PoisonError::into_inner) = Hints::default();
    }

    /// Changes the watermarks and wakes those who wait; the log start never goes back, the state may.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Watermarks)) {
        self.watermarks.send_modify(|watermarks| {
            let log_start = watermarks.log_start;
            change(watermarks);
            assert!(watermarks.log_start >= log_start, "the log start went back from {log_start}");
            assert!(watermarks.high_watermark >= watermarks.log_start, "{watermarks:?}");
        });
    }

    pub(super) fn state(&self) -> LogState {
        self.watermarks.borrow().state.clone()
    }
}

/// Bytes of `segment` that readers may see.
pub(super) fn visible_length(segment: &Segment, watermarks: &Watermarks) -> u64 {
    if segment.base_offset() == watermarks.end_segment {
        return watermarks.end_position;
    }
    // A segment behind the visible end's was begun after these watermarks were taken.
    if segment.base_offset() > watermarks.end_segment { 0 } else { segment.closed_length().unwrap_or(0) }
}

/// Turns a fault into what a reader is told, and marks what is known to be bad: up to the next index entry nothing can be
/// found from here, so the range ends where the walk would have ended.
pub(super) fn damaged(segment: &Segment, fault: HeaderFault, visible: u64) -> ReadError {
    let position = match fault {
        HeaderFault::Io { error, .. } if !is_device_error(&error) => {
            return ReadError::Io(error);
        }
        HeaderFault::Io { position, .. } | HeaderFault::Damaged { position, .. } => position,
    };
    let end = position.saturating_add(BatchHeader::BYTES as u64).min(visible).max(position + 1);
    segment.mark_damaged(position..end);
    ReadError::Damaged { segment: segment.base_offset(), position }
}

fn is_device_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Whether an index file cannot be used any more and has to be rebuilt.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) || is_device_error(error)
}

/// Where the last readers at the end will go on, so that they need no lookup. A hint is checked like an index entry.
#[derive(Debug, Default)]
struct Hints {
    newest: [Option<Hint>; HINTS_MAX],
    replace_next: usize,
}

/// Readers of one partition that follow its end at different places.
const HINTS_MAX: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Hint {
    segment: Offset,
    offset: Offset,
    position: u64,
}

impl Hints {
    fn position_of(&self, segment: Offset, offset: Offset) -> Option<u64> {
        let hint = self.newest.iter().flatten().find(|hint| hint.segment == segment && hint.offset == offset)?;
        Some(hint.position)
    }

    fn remember(&mut self, hint: Hint) {
        if self.position_of(hint.segment, hint.offset).is_none() {
            self.newest[self.replace_next] = Some(hint);
            self.replace_next = (self.replace_next + 1) % HINTS_MAX;
        }
    }
}
