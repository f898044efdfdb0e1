//! What readers on any core use: a snapshot of the segments, the watermarks, and plans that turn an offset into a file range.
//!
//! A plan reads an index entry and the batch headers up to the first wanted batch, never the whole range: that would cost more
//! than sending it. It changes nothing on disk; damage that it meets is marked, so that the next fetch gets an error code.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ringmill_batch::{BatchHeader, LeaderEpoch, Offset, check_stored};

use super::Identity;
use super::watermarks::{LogState, Watermarks};
use crate::disk::Disk;
use crate::epochs::EpochList;
use crate::segment::damage::{self, BatchEnd, is_device_error};
use crate::segment::headers::{HeaderFault, HeaderWalk};
use crate::segment::offset_index::OffsetEntry;
use crate::segment::{DamagedRange, Segment};
use crate::watch;

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

    /// Every damaged range that is known, oldest first. It is refused with [`ReadError::Damaged`]; all else is served.
    #[must_use]
    pub fn damaged_ranges(&self) -> Vec<DamagedRange> {
        self.snapshot().iter().flat_map(|segment| segment.damaged_ranges()).collect()
    }

    /// A send of a planned range failed. From now on plans look at each batch there before they give it, and mark those that cannot be
    /// read.
    pub fn report_unreadable(&self, segment: &Segment, position: u64, length: u64, error: &io::Error) {
        let visible = visible_length(segment, &self.watermarks());
        // A range that a reopening has cut since is not damaged, it is gone.
        if position < visible && length > 0 {
            segment.suspect(position..position.saturating_add(length).min(visible), error);
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
        let mut number = segments.partition_point(|segment| segment.base_offset() <= from);
        let mut segment = match number.checked_sub(1) {
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
        let mut visible = visible_end(&segment, &watermarks, &segments);
        let (mut position, mut first) = self.find(disk, &segment, from, visible).await?;
        if first.record_count == 0
            && let Some(found) = self.first_with_records(disk, &watermarks, &segments, number, position, &first).await
        {
            (number, position, first) = (found.behind, found.position, found.first);
            segment = Arc::clone(&segments[number - 1]);
            visible = visible_end(&segment, &watermarks, &segments);
        }

        let wanted = if whole_first { limit_bytes.max(first.total_bytes() as u64) } else { limit_bytes };
        let mut end = visible.position.min(position.saturating_add(wanted));
        let first_end = position + first.total_bytes() as u64;
        if let Some(suspect) = segment.suspect_after(position) {
            if suspect.start < first_end {
                self.look_at(disk, &segment, position, &first, visible).await?;
                end = end.min(first_end);
            } else {
                end = end.min(suspect.start);
            }
        }
        if let Some(damage) = segment.damage_start_behind(first.base_offset) {
            end = end.min(damage);
        }
        let visible = visible.position;
        let next_offset = match segments.get(number) {
            _ if end < visible => first.next_offset(),
            Some(next) => next.base_offset(),
            None => watermarks.high_watermark,
        };
        // Nobody comes back to the end of a closed segment, and what stands there changes with a compaction.
        if end == visible && segment.closed_length().is_none() {
            self.hint(&segment, next_offset, visible);
        }
        Ok(ReadPlan { segment, position, length: end.saturating_sub(position), next_offset })
    }

    /// From an empty batch on, the first that has records. Whoever asks for the offset of an empty one is best served with what follows: some
    /// clients stand still at an answer without a record. `None` where there is none near, and before anything that is not well.
    async fn first_with_records(
        &self,
        disk: &dyn Disk,
        watermarks: &Watermarks,
        segments: &[Arc<Segment>],
        mut behind: usize,
        position: u64,
        empty: &BatchHeader,
    ) -> Option<Found> {
        let mut here = BatchEnd { position: position + empty.total_bytes() as u64, offset: empty.next_offset() };
        let mut headers = 0;
        while here.offset < watermarks.high_watermark {
            let segment = segments.get(behind - 1).filter(|segment| !segment.is_damaged())?;
            let visible = visible_end(segment, watermarks, segments);
            let mut walk = HeaderWalk::new(disk, segment, visible.position);
            while here.offset < visible.offset {
                let first = walk.header(here.position, here.offset).await.ok()?;
                self.check_place(here.position, &first, visible).ok()?;
                headers += 1;
                if first.record_count > 0 || headers > EMPTY_BATCHES_MAX {
                    return (first.record_count > 0).then_some(Found { behind, position: here.position, first });
                }
                here = BatchEnd { position: here.position + first.total_bytes() as u64, offset: first.next_offset() };
            }
            behind += 1;
            here.position = 0;
        }
        None
    }

    /// The batch of `segment` that holds `wanted`, which lies before the visible end. Damage on the way is marked, and gone around if
    /// `wanted` lies behind it.
    pub(super) async fn find(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        wanted: Offset,
        visible: BatchEnd,
    ) -> Result<(u64, BatchHeader), ReadError> {
        for _ in 0..DETOURS_MAX {
            if let Some(damage) = segment.damage_holding(wanted) {
                return Err(refused(segment, &damage));
            }
            let mut walk = HeaderWalk::new(disk, segment, visible.position);
            if let Some(position) = self.hinted(segment, wanted)
                && let Ok(header) = walk.header(position, wanted).await
                && self.check_place(position, &header, visible).is_ok()
            {
                return Ok((position, header));
            }
            let indexed = self.indexed(disk, segment, wanted, visible.position).await?;
            let start = BatchEnd { position: 0, offset: segment.base_offset() };
            let known = [indexed, segment.damage_end_before(wanted)].into_iter().flatten();
            let mut here = known.fold(start, |best, other| if other.position > best.position { other } else { best });
            let mut before = None;
            let fault = loop {
                let header = match walk.header(here.position, here.offset).await {
                    Ok(header) => header,
                    Err(fault) => break fault,
                };
                if let Err(fault) = self.check_place(here.position, &header, visible) {
                    break fault;
                }
                if header.last_offset() >= wanted {
                    return Ok((here.position, header));
                }
                before = Some(here);
                here = BatchEnd { position: here.position + header.total_bytes() as u64, offset: header.next_offset() };
            };
            damage::mark(disk, segment, fault, before, here.offset, visible).await?;
        }
        Err(ReadError::Damaged { segment: segment.base_offset(), position: 0 })
    }

    /// What the checksum does not cover, and what the log knows better than a header: the reign, and where the segment ends.
    pub(super) fn check_place(
        &self,
        position: u64,
        header: &BatchHeader,
        visible: BatchEnd,
    ) -> Result<(), HeaderFault> {
        let damaged = |why| Err(HeaderFault::Damaged { position, why });
        if header.next_offset() > visible.offset {
            return damaged(format!(
                "it goes up to offset {}, what follows it begins at {}",
                header.last_offset(),
                visible.offset
            ));
        }
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        match epochs.at(header.base_offset) {
            Some(epoch) if epoch.get() != header.leader_epoch => {
                damaged(format!("leader epoch {} where {} reigned", header.leader_epoch, epoch.get()))
            }
            _ => Ok(()),
        }
    }

    /// Reads a whole batch from a place where a send has failed, and marks it if it is not good.
    async fn look_at(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        position: u64,
        header: &BatchHeader,
        visible: BatchEnd,
    ) -> Result<(), ReadError> {
        let fault = match disk.read_at(segment.file(), position, header.total_bytes()).await {
            Ok(bytes) => check_stored(&bytes).err().map(|why| HeaderFault::Damaged { position, why: why.to_string() }),
            Err(error) => Some(HeaderFault::Io { position, error }),
        };
        let Some(fault) = fault else {
            let positions = position..position + header.total_bytes() as u64;
            segment.clear_damage(positions, header.base_offset..header.next_offset());
            return Ok(());
        };
        damage::mark(disk, segment, fault, None, header.base_offset, visible).await?;
        Err(ReadError::Damaged { segment: segment.base_offset(), position })
    }

    /// A batch from the index at or before the one of `wanted`. An entry is believed only if the batch that it names is there.
    async fn indexed(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        wanted: Offset,
        visible: u64,
    ) -> Result<Option<BatchEnd>, ReadError> {
        let base = segment.base_offset();
        let mut before = u64::MAX;
        for _ in 0..ENTRIES_TRIED_MAX {
            let is_before = |entry: &OffsetEntry| {
                u64::from(entry.position) < before && entry.last_offset(base).is_some_and(|last| last <= wanted)
            };
            let entry = match segment.offset_index.last_where(disk, is_before).await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Ok(None),
                Err(error) if is_lost(&error) => {
                    self.distrust(segment, segment.offset_index.path(), &error.to_string());
                    return Ok(None);
                }
                // Nothing is wrong with the file when, say, descriptors have run out.
                Err(error) => return Err(error.into()),
            };
            before = u64::from(entry.position);
            let why = match HeaderWalk::new(disk, segment, visible).header_at(before).await {
                Ok(header) if Some(header.last_offset()) == entry.last_offset(base) => {
                    return Ok(Some(BatchEnd { position: before, offset: header.base_offset }));
                }
                Ok(header) => format!("the batch at {before} ends at {}", header.last_offset()),
                Err(HeaderFault::Damaged { why, .. }) => why,
                // The walk from an earlier entry meets it again, and then knows which offset is lost there.
                Err(HeaderFault::Io { error, .. }) if is_device_error(&error) => continue,
                Err(HeaderFault::Io { error, .. }) => return Err(error.into()),
            };
            self.distrust(segment, segment.offset_index.path(), &why);
        }
        Ok(None)
    }

    pub(super) fn distrust(&self, segment: &Segment, path: &Path, why: &str) {
        if segment.distrust_index() {
            tracing::warn!(path = %path.display(), why, "an index disagrees with its segment and will be rebuilt");
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

/// The same with the offset that follows these bytes. The watermarks may be older than the segments: of one that was closed since, all is
/// visible, and compaction may have made it shorter than it was.
pub(super) fn visible_end(segment: &Segment, watermarks: &Watermarks, segments: &[Arc<Segment>]) -> BatchEnd {
    let behind = segments.partition_point(|other| other.base_offset() <= segment.base_offset());
    let holds_end = segment.base_offset() == watermarks.end_segment;
    let (position, offset) = match (segments.get(behind), segment.closed_length()) {
        (Some(next), Some(length)) if holds_end => (length, next.base_offset()),
        (Some(next), _) if !holds_end => (visible_length(segment, watermarks), next.base_offset()),
        _ => (visible_length(segment, watermarks), watermarks.high_watermark),
    };
    BatchEnd { position, offset }
}

fn refused(segment: &Segment, damage: &DamagedRange) -> ReadError {
    ReadError::Damaged { segment: segment.base_offset(), position: damage.positions.start }
}

/// A batch with records, behind an empty one.
struct Found {
    /// How many segments of the snapshot begin at or before its own.
    behind: usize,
    position: u64,
    first: BatchHeader,
}

/// Empty batches in a row that a plan steps over.
const EMPTY_BATCHES_MAX: usize = 64;

/// Damaged places that one lookup goes around.
const DETOURS_MAX: usize = 64;

/// Index entries that one lookup tries before it walks from the segment's start.
const ENTRIES_TRIED_MAX: usize = 8;

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
