//! One segment of a partition: its data file, its two sparse indexes, its append times and its known damage.
//!
//! A segment is shared by the owner core, which writes it, and by every core that reads it; a snapshot that holds it keeps
//! its files alive when retention removes their names. It decides nothing: rolling, cutting and removing are the log's.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ringmill_batch::{BatchHeader, Offset};

use crate::disk::DiskFile;

pub(crate) mod file;
pub(crate) mod headers;
pub(crate) mod index;
pub(crate) mod offset_index;
pub(crate) mod rebuild;
pub(crate) mod space;
pub(crate) mod time_index;

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
    damage: Mutex<Vec<Range<u64>>>,
    /// A reader met an index entry that the data does not bear out.
    index_is_wrong: AtomicBool,
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
            damage: Mutex::new(Vec::new()),
            index_is_wrong: AtomicBool::new(false),
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

    pub(crate) fn set_largest_timestamp_ms(&self, largest: Option<(i64, Offset)>) {
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

    /// Marks a range that cannot be served: a read failed there, or its header is not one.
    pub(crate) fn mark_damaged(&self, range: Range<u64>) {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if damage.len() < DAMAGED_RANGES_MAX && !damage.iter().any(|d| d.start <= range.start && range.end <= d.end) {
            tracing::error!(segment = %self.base_offset, position = range.start, end = range.end, "damaged range");
            damage.push(range);
            damage.sort_by_key(|d| d.start);
        }
    }

    /// The first damaged range that reaches past `position`.
    pub(crate) fn damage_after(&self, position: u64) -> Option<Range<u64>> {
        let damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        damage.iter().find(|d| d.end > position).cloned()
    }
}

/// More damage than this in one segment is not told apart; the ranges already known stay refused.
const DAMAGED_RANGES_MAX: usize = 1024;

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
