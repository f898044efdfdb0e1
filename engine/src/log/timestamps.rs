//! ListOffsets by time: the first record at or after a timestamp, and the record with the largest one.
//!
//! The time index leads near the batch; headers lead to it; only that one batch is read and walked.

use std::cell::Cell;

use ringmill_batch::{BatchHeader, DecompressLimit, LeaderEpoch, Offset, TimestampType, read_records};

use super::LogReader;
use super::read::{ReadError, visible_end};
use crate::disk::Disk;
use crate::segment::Segment;
use crate::segment::damage::{self, BatchEnd};
use crate::segment::headers::{HeaderFault, HeaderWalk};

/// A record that was looked up by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp_ms: i64,
    /// The reign in which it was appended.
    pub leader_epoch: LeaderEpoch,
}

/// Headers between two chances for others on this thread to run.
const HEADERS_PER_TURN: usize = 512;

impl LogReader {
    /// The first visible record whose timestamp is `timestamp_ms` or later, in order of offsets.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the search meets a damaged batch, and the disk's.
    pub async fn find_timestamp(
        &self,
        disk: &dyn Disk,
        timestamp_ms: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let (watermarks, segments) = self.view();
        for (number, segment) in segments.iter().enumerate() {
            let visible = visible_end(segment, &watermarks, &segments);
            let ends_before_start =
                segments.get(number + 1).is_some_and(|next| next.base_offset() <= watermarks.log_start);
            if visible.position == 0 || ends_before_start {
                continue;
            }
            let largest = segment.largest_timestamp_ms().filter(|(largest_ms, _)| *largest_ms < timestamp_ms);
            if let Some(largest) = largest
                && self.largest_is_true(disk, segment, largest, visible).await
            {
                continue;
            }
            let search = |record_ms: i64| record_ms >= timestamp_ms;
            let from = self.search_start(disk, segment, timestamp_ms, visible).await.max(watermarks.log_start);
            if let Some(found) = self.first_record(disk, segment, from, visible, search).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first of the visible records with the largest timestamp.
    ///
    /// # Errors
    /// As [`find_timestamp`](Self::find_timestamp).
    pub async fn max_timestamp(&self, disk: &dyn Disk) -> Result<Option<TimestampOffset>, ReadError> {
        let (watermarks, segments) = self.view();
        let mut best: Option<(i64, &Segment)> = None;
        for segment in segments.iter() {
            let visible = visible_end(segment, &watermarks, &segments);
            let largest_ms = match segment.largest_timestamp_ms() {
                None => None,
                Some(largest)
                    if self.is_left(disk, segment, largest.1, watermarks.log_start, visible).await
                        && self.largest_is_true(disk, segment, largest, visible).await =>
                {
                    Some(largest.0)
                }
                // Deleted, or not to be believed.
                Some(_) => self.largest_from(disk, segment, watermarks.log_start, visible).await?,
            };
            if let Some(largest_ms) = largest_ms
                && best.is_none_or(|(best_ms, _)| largest_ms > best_ms)
            {
                best = Some((largest_ms, segment));
            }
        }
        let Some((largest_ms, segment)) = best else { return Ok(None) };
        let visible = visible_end(segment, &watermarks, &segments);
        let from = self.search_start(disk, segment, largest_ms, visible).await.max(watermarks.log_start);
        self.first_record(disk, segment, from, visible, |record_ms| record_ms >= largest_ms).await
    }

    /// Whether all of the batch that ends with `last_offset` lies behind the log start.
    async fn is_left(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        last_offset: Offset,
        log_start: Offset,
        visible: BatchEnd,
    ) -> bool {
        if segment.base_offset() >= log_start {
            return true;
        }
        let is_inside = (log_start..visible.offset).contains(&last_offset);
        is_inside
            && self
                .find(disk, segment, last_offset, visible)
                .await
                .is_ok_and(|(_, header)| header.base_offset >= log_start)
    }

    /// The largest timestamp from `from` on, where the segment's largest lies before and is deleted.
    async fn largest_from(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        from: Offset,
        visible: BatchEnd,
    ) -> Result<Option<i64>, ReadError> {
        let largest = Cell::new(None);
        let look = |timestamp_ms: i64| {
            largest.set(largest.get().max(Some(timestamp_ms)));
            false
        };
        let Some((position, header)) = self.find_from(disk, segment, from, visible).await? else { return Ok(None) };
        let mut whole_from = from;
        if header.base_offset < from {
            // Its header speaks of what is deleted, too.
            record_in(disk, segment, position, &header, from, visible, &look).await?;
            whole_from = header.next_offset();
        }
        self.first_record(disk, segment, whole_from, visible, look).await?;
        Ok(largest.get())
    }

    /// No batch before this offset has a timestamp of `timestamp_ms` or later. When the index cannot say, the segment's start.
    async fn search_start(&self, disk: &dyn Disk, segment: &Segment, timestamp_ms: i64, visible: BatchEnd) -> Offset {
        let base = segment.base_offset();
        let earlier = segment.time_index.last_where(disk, |entry| entry.timestamp_ms < timestamp_ms).await;
        let entry = match earlier {
            Ok(Some(entry)) => entry,
            Ok(None) => return base,
            Err(error) => {
                tracing::warn!(path = %segment.time_index.path().display(), %error, "time index not readable");
                return base;
            }
        };
        if let Some(last) = entry.last_offset(base)
            && self.is_borne_out(disk, segment, (entry.timestamp_ms, last), visible).await
        {
            return last.checked_add(1).unwrap_or(base);
        }
        self.distrust(segment, segment.time_index.path(), "no batch bears an entry out");
        base
    }

    /// Whether the segment's largest timestamp may be believed: it may come from an index. Asked once of a closed segment.
    async fn largest_is_true(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        largest: (i64, Offset),
        visible: BatchEnd,
    ) -> bool {
        if segment.largest_was_checked() {
            return true;
        }
        if !self.is_borne_out(disk, segment, largest, visible).await {
            self.distrust(segment, segment.time_index.path(), "no batch bears its largest timestamp out");
            return false;
        }
        if segment.closed_length().is_some() {
            segment.note_largest_checked();
        }
        true
    }

    /// Whether the batch that ends with this offset has this largest timestamp.
    async fn is_borne_out(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        (timestamp_ms, last_offset): (i64, Offset),
        visible: BatchEnd,
    ) -> bool {
        let is_inside = last_offset >= segment.base_offset() && last_offset < visible.offset;
        if !is_inside {
            return false;
        }
        let found = self.find(disk, segment, last_offset, visible).await;
        found.is_ok_and(|(_, header)| header.last_offset() == last_offset && header.max_timestamp == timestamp_ms)
    }

    /// The first record at or after `from` that `is_wanted` by its timestamp.
    async fn first_record(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        from: Offset,
        visible: BatchEnd,
        is_wanted: impl Fn(i64) -> bool,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let (mut position, mut header) = match self.find_from(disk, segment, from, visible).await? {
            Some(found) => found,
            None => return Ok(None),
        };
        let mut walk = HeaderWalk::new(disk, segment, visible.position);
        for headers in 1_usize.. {
            if is_wanted(header.max_timestamp)
                && let Some(found) = record_in(disk, segment, position, &header, from, visible, &is_wanted).await?
            {
                return Ok(Some(found));
            }
            position += header.total_bytes() as u64;
            let next = header.next_offset();
            if next >= visible.offset {
                break;
            }
            header = match walk.header(position, next).await {
                Ok(header) => header,
                Err(fault) => return Err(damaged(disk, segment, fault, next, visible).await),
            };
            if headers.is_multiple_of(HEADERS_PER_TURN) {
                crate::turn::yield_now().await;
            }
        }
        Ok(None)
    }

    /// As [`LogReader::find`], but `from` may lie behind the segment's last record.
    async fn find_from(
        &self,
        disk: &dyn Disk,
        segment: &Segment,
        from: Offset,
        visible: BatchEnd,
    ) -> Result<Option<(u64, BatchHeader)>, ReadError> {
        if from >= visible.offset {
            return Ok(None);
        }
        self.find(disk, segment, from, visible).await.map(Some)
    }
}

/// Marks what a lookup met.
async fn damaged(disk: &dyn Disk, segment: &Segment, fault: HeaderFault, next: Offset, visible: BatchEnd) -> ReadError {
    let (HeaderFault::Damaged { position, .. } | HeaderFault::Io { position, .. }) = fault;
    match damage::mark(disk, segment, fault, None, next, visible).await {
        Ok(_) => ReadError::Damaged { segment: segment.base_offset(), position },
        Err(error) => error.into(),
    }
}

/// Walks one batch.
async fn record_in(
    disk: &dyn Disk,
    segment: &Segment,
    position: u64,
    header: &BatchHeader,
    from: Offset,
    visible: BatchEnd,
    is_wanted: &impl Fn(i64) -> bool,
) -> Result<Option<TimestampOffset>, ReadError> {
    // Records are not walked when they are produced, so that what fails here may be the producer's doing: nothing is marked.
    let fault = |_| ReadError::Damaged { segment: segment.base_offset(), position };
    let leader_epoch = LeaderEpoch::new(header.leader_epoch).unwrap_or_default();
    if header.record_count == 0 {
        return Ok(None);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime && header.is_dense() {
        if !is_wanted(header.max_timestamp) {
            return Ok(None);
        }
        let offset = header.base_offset.max(from);
        return Ok(Some(TimestampOffset { offset, timestamp_ms: header.max_timestamp, leader_epoch }));
    }
    let batch = match disk.read_at(segment.file(), position, header.total_bytes()).await {
        Ok(batch) => batch,
        Err(error) => {
            return Err(damaged(disk, segment, HeaderFault::Io { position, error }, header.base_offset, visible).await);
        }
    };
    let records = read_records(&batch, DecompressLimit::default()).map_err(fault)?;
    for record in records.iter() {
        let record = record.map_err(fault)?;
        if record.offset >= from && is_wanted(record.timestamp_ms) {
            return Ok(Some(TimestampOffset {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                leader_epoch,
            }));
        }
    }
    Ok(None)
}
