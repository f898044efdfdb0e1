//! One segment of a partition: its data file, its two sparse indexes, its append times and its known damage.
//!
//! A segment is shared by the owner core, which writes it, and by every core that reads it; a snapshot that holds it keeps
//! its files alive when retention removes their names. It decides nothing: rolling, cutting and removing are the log's.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ringmill_batch::{BatchHeader, Offset};

use crate::disk::{Disk, DiskFile};

pub(crate) mod damage;
pub(crate) mod file;
pub(crate) mod headers;
pub(crate) mod index;
pub(crate) mod offset_index;
pub(crate) mod rebuild;
pub(crate) mod space;
pub(crate) mod time_index;

pub use damage::DamagedRange;

use damage::{BatchEnd, Damage};
use file::FileKind;
use index::SparseIndex;
use offset_index::OffsetEntry;
use time_index::TimeEntry;

/// The length of a segment that is still being appended to.
const OPEN: u64 = u64::MAX;

/// No append time is known.
const NEVER: i64 = i64::MIN;

/// Positions inside a segment fit Kafka's signed 32-bit index field.
pub const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// A segment's files and what is known about them.
#[derive(Debug)]
pub struct Segment {
    base_offset: Offset,
    file: DiskFile,
    /// Bytes of whole batches once closed, [`OPEN`] before.
    closed_length: AtomicU64,
    pub(crate) offset_index: SparseIndex<OffsetEntry>,
    pub(crate) time_index: SparseIndex<TimeEntry>,
    first_append_ms: AtomicI64,
    last_append_ms: AtomicI64,
    /// The largest visible timestamp and the last offset of the first batch that has it.
    largest: Mutex<Option<(i64, Offset)>>,
    /// The batches bear the largest timestamp out.
    largest_was_checked: AtomicBool,
    damage: Mutex<Damage>,
    /// Whether `damage` is worth a look: nearly always it is not.
    has_damage: AtomicBool,
    /// A reader met an index entry that the data does not bear out.
    index_is_wrong: AtomicBool,
    /// A batch with fewer records than offsets was found sound: compaction has been here.
    is_sparse: AtomicBool,
}

impl Segment {
    /// A segment in `dir` whose open data file is `file`; nothing is read.
    pub(crate) fn new(dir: &Path, base_offset: Offset, file: DiskFile) -> Segment {
        Segment {
            base_offset,
            file,
            closed_length: AtomicU64::new(OPEN),
            offset_index: SparseIndex::new(file::path(dir, base_offset, FileKind::OffsetIndex)),
            time_index: SparseIndex::new(file::path(dir, base_offset, FileKind::TimeIndex)),
            first_append_ms: AtomicI64::new(NEVER),
            last_append_ms: AtomicI64::new(NEVER),
            largest: Mutex::new(None),
            largest_was_checked: AtomicBool::new(false),
            damage: Mutex::default(),
            has_damage: AtomicBool::new(false),
            index_is_wrong: AtomicBool::new(false),
            is_sparse: AtomicBool::new(false),
        }
    }

    /// The offset of its first record, and its file's name.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// The data file, to read or to send ranges of.
    #[must_use]
    pub fn file(&self) -> &DiskFile {
        &self.file
    }

    /// Bytes of whole batches, once nothing is appended any more.
    #[must_use]
    pub fn closed_length(&self) -> Option<u64> {
        let length = self.closed_length.load(Ordering::Acquire);
        (length != OPEN).then_some(length)
    }

    /// Nothing is appended after this.
    pub(crate) fn close(&self, length: u64) {
        assert!(length <= SEGMENT_BYTES_MAX, "a segment of {length} bytes");
        self.closed_length.store(length, Ordering::Release);
    }

    /// When the broker appended first and last, by its own clock; `None` before the first append.
    #[must_use]
    pub fn append_times_ms(&self) -> Option<(i64, i64)> {
        let first = self.first_append_ms.load(Ordering::Relaxed);
        (first != NEVER).then(|| (first, self.last_append_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn note_append(&self, now_ms: i64) {
        if self.first_append_ms.load(Ordering::Relaxed) == NEVER {
            self.first_append_ms.store(now_ms, Ordering::Relaxed);
        }
        self.last_append_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn set_append_times_ms(&self, first_ms: i64, last_ms: i64) {
        self.first_append_ms.store(first_ms, Ordering::Relaxed);
        self.last_append_ms.store(last_ms, Ordering::Relaxed);
    }

    /// The largest timestamp that readers may see, and the last offset of the first batch that has it.
    #[must_use]
    pub fn largest_timestamp_ms(&self) -> Option<(i64, Offset)> {
        *self.largest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_visible(&self, timestamp_ms: i64, last_offset: Offset) {
        let mut largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        if largest.is_none_or(|(known_ms, _)| timestamp_ms > known_ms) {
            *largest = Some((timestamp_ms, last_offset));
        }
    }

    /// Whether [`Segment::note_largest_checked`] was said of the timestamp that is known now.
    pub(crate) fn largest_was_checked(&self) -> bool {
        self.largest_was_checked.load(Ordering::Acquire)
    }

    pub(crate) fn note_largest_checked(&self) {
        self.largest_was_checked.store(true, Ordering::Release);
    }

    pub(crate) fn set_largest_timestamp_ms(&self, largest: Option<(i64, Offset)>) {
        self.largest_was_checked.store(false, Ordering::Release);
        *self.largest.lock().unwrap_or_else(PoisonError::into_inner) = largest;
    }

    /// Notes that the index is wrong; true for the first who does.
    pub(crate) fn distrust_index(&self) -> bool {
        !self.index_is_wrong.swap(true, Ordering::Relaxed)
    }

    /// Whether the index was found wrong since the last call.
    pub(crate) fn take_index_is_wrong(&self) -> bool {
        self.index_is_wrong.swap(false, Ordering::Relaxed)
    }

    /// Whether a batch with fewer records than offsets is no surprise here. Nothing on disk says so: the first such batch is read whole,
    /// and its checksum decides.
    pub(crate) fn is_sparse(&self) -> bool {
        self.is_sparse.load(Ordering::Relaxed)
    }

    pub(crate) fn note_sparse(&self) {
        self.is_sparse.store(true, Ordering::Relaxed);
    }

    /// Before another segment takes its names: who still reads this one goes on by its own indexes.
    pub(crate) async fn keep_indexes_open(&self, disk: &dyn Disk) {
        self.offset_index.keep_open(disk).await;
        self.time_index.keep_open(disk).await;
    }

    /// Another segment has taken its place: what is wrong with this one's indexes is no news to anybody.
    pub(crate) fn retire(&self) {
        self.distrust_index();
    }

    /// Where the data file lies, as long as nobody removes it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.offset_index.path().with_extension("log")
    }

    /// Marks whole batches that cannot be served, and says so once.
    pub(crate) fn mark_damaged(&self, positions: Range<u64>, offsets: Range<Offset>, why: String) {
        let range = DamagedRange { file: self.path(), positions, offsets, why };
        let is_new = self.with_damage(|damage| damage.add(range.clone()));
        if is_new {
            let DamagedRange { file, positions, offsets, why } = range;
            let (file, position, end) = (file.display(), positions.start, positions.end);
            tracing::error!(%file, position, end, from = %offsets.start, to = %offsets.end, why, "damaged range: these offsets are refused");
        }
    }

    /// The batch at `positions` with these offsets was looked at and is good, whatever was found there before.
    pub(crate) fn clear_damage(&self, positions: Range<u64>, offsets: Range<Offset>) {
        if self.is_damaged() {
            let was_refused = self.with_damage(|damage| {
                damage.clear_suspects(positions.clone());
                damage.clear(&positions, &offsets)
            });
            if was_refused {
                tracing::warn!(file = %self.path().display(), position = positions.start, from = %offsets.start, to = %offsets.end, "what was a damaged range can be read again");
            }
        }
    }

    /// Where a send failed: whole batches are looked at there before they are served again. Said once.
    pub(crate) fn suspect(&self, positions: Range<u64>, error: &std::io::Error) {
        if self.with_damage(|damage| damage.suspect(positions.clone())) {
            let file = self.path();
            tracing::error!(file = %file.display(), position = positions.start, end = positions.end, %error, "a range of the log cannot be sent");
        }
    }

    /// Whether damage or a suspicion is known.
    pub(crate) fn is_damaged(&self) -> bool {
        self.has_damage.load(Ordering::Acquire)
    }

    /// The damaged ranges that are known, in their order.
    #[must_use]
    pub fn damaged_ranges(&self) -> Vec<DamagedRange> {
        if self.is_damaged() { self.with_damage(|damage| damage.ranges().to_vec()) } else { Vec::new() }
    }

    /// The damaged range that holds `offset`.
    pub(crate) fn damage_holding(&self, offset: Offset) -> Option<DamagedRange> {
        self.is_damaged().then(|| self.with_damage(|damage| damage.holding(offset).cloned())).flatten()
    }

    /// Where the last damaged range before `offset` ends.
    pub(crate) fn damage_end_before(&self, offset: Offset) -> Option<BatchEnd> {
        self.is_damaged().then(|| self.with_damage(|damage| damage.end_before(offset))).flatten()
    }

    /// Where the first damaged range behind `offset` begins.
    pub(crate) fn damage_start_behind(&self, offset: Offset) -> Option<u64> {
        self.is_damaged().then(|| self.with_damage(|damage| damage.start_behind(offset))).flatten()
    }

    /// The first suspicious range that reaches past `position`.
    pub(crate) fn suspect_after(&self, position: u64) -> Option<Range<u64>> {
        self.is_damaged().then(|| self.with_damage(|damage| damage.first_suspect_after(position))).flatten()
    }

    fn with_damage<T>(&self, change: impl FnOnce(&mut Damage) -> T) -> T {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut damage);
        self.has_damage.store(!damage.is_empty(), Ordering::Release);
        result
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What the writer of a segment's indexes carries from batch to batch. The rules are Kafka's: a batch gets an offset entry
/// when more than `index.interval.bytes` were appended since the last one, so the first batch never has one; a time entry
/// goes with it when the largest timestamp so far has risen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexCursor {
    bytes_since_entry: u64,
    largest: Option<(i64, Offset)>,
}

impl IndexCursor {
    /// At the start of a segment.
    pub(crate) fn new() -> IndexCursor {
        IndexCursor { bytes_since_entry: 0, largest: None }
    }

    /// Behind a batch that has the last entry of a kept index: what follows it counts anew.
    pub(crate) fn resume(largest: Option<(i64, Offset)>, batch_bytes: u64) -> IndexCursor {
        IndexCursor { bytes_since_entry: batch_bytes, largest }
    }

    /// The largest timestamp so far and the last offset of the first batch that has it.
    pub(crate) fn largest(&self) -> Option<(i64, Offset)> {
        self.largest
    }

    /// Takes note of the batch at `position` and enters it where the rules say so.
    pub(crate) fn advance(&mut self, segment: &Segment, header: &BatchHeader, position: u64, interval_bytes: u64) {
        if self.largest.is_none_or(|(largest, _)| header.max_timestamp > largest) {
            self.largest = Some((header.max_timestamp, header.last_offset()));
        }
        if self.bytes_since_entry > interval_bytes {
            segment.offset_index.push(OffsetEntry::new(segment.base_offset, header.last_offset(), position));
            self.enter_time(segment);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += header.total_bytes() as u64;
    }

    /// The last entry of a segment that closes.
    pub(crate) fn finish(&self, segment: &Segment) {
        self.enter_time(segment);
    }

    fn enter_time(&self, segment: &Segment) {
        let Some((timestamp_ms, last_offset)) = self.largest else { return };
        // Kafka's sentinel for "no timestamp" (−1) never enters its index either: nothing could be looked up by it.
        if timestamp_ms >= 0 && segment.time_index.last_pushed().is_none_or(|last| timestamp_ms > last.timestamp_ms) {
            segment.time_index.push(TimeEntry::new(segment.base_offset, timestamp_ms, last_offset));
        }
    }
}
