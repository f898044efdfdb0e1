//! Recovers one segment: takes it over below the recovery point, checks it above.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringmill_batch::{BatchHeader, Offset};

use super::recover::{OpenError, RecoveryReport, TornTail};
use super::scan::Scan;
use super::watermarks::{End, Quarantine};
use crate::checkpoint::SegmentTimes;
use crate::disk::{Disk, DiskFile, FileInfo, OpenHow};
use crate::epochs::EpochList;
use crate::segment::damage::{BatchEnd, is_device_error};
use crate::segment::file::{self, FileKind};
use crate::segment::headers::{HeaderFault, HeaderWalk};
use crate::segment::offset_index::lies_in_segment;
use crate::segment::rebuild::rebuild;
use crate::segment::{IndexCursor, SEGMENT_BYTES_MAX, Segment};

/// Everything that the recovery of one segment goes by.
pub(super) struct SegmentRecovery<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    pub(super) base: Offset,
    /// `None` for the last segment, which goes on being written.
    pub(super) next_base: Option<Offset>,
    pub(super) recovery_point: Offset,
    pub(super) unsynced_bytes_max: u64,
    pub(super) clean: bool,
    /// From the last epoch of the segment before to today's.
    pub(super) epochs: RangeInclusive<i32>,
    /// Which one reigned where.
    pub(super) reigns: &'a EpochList,
    pub(super) interval_bytes: u64,
    pub(super) times: Option<SegmentTimes>,
}

/// A recovered segment.
pub(super) struct Recovered {
    pub(super) segment: Arc<Segment>,
    pub(super) end: End,
    pub(super) cursor: IndexCursor,
    pub(super) last_epoch: i32,
}

/// How far the checks have come: everything before it is well.
struct Progress {
    end: End,
    cursor: IndexCursor,
    last_epoch: i32,
}

impl SegmentRecovery<'_> {
    pub(super) async fn run(self, report: &mut RecoveryReport) -> Result<Recovered, OpenError> {
        let path = file::path(self.dir, self.base, FileKind::Log);
        let how = if self.next_base.is_none() { OpenHow::ReadWrite } else { OpenHow::Read };
        let file = self.disk.open(&path, how).await.map_err(OpenError::io("opening", &path))?;
        let info = self.disk.info(&file).await.map_err(OpenError::io("asking the size of", &path))?;
        if info.length > SEGMENT_BYTES_MAX {
            let why = format!("{} bytes, a segment has at most {SEGMENT_BYTES_MAX}", info.length);
            return Err(self.quarantine(SEGMENT_BYTES_MAX, why).into());
        }
        let segment = Arc::new(Segment::new(self.dir, self.base, file));
        let progress = match self.next_base {
            Some(next_base) if next_base <= self.recovery_point => self.adopt(&segment, &info, next_base, report).await,
            _ => self.check_or_go_around(&segment, &info, &path, report).await?,
        };
        if let Some(next_base) = self.next_base {
            if progress.end.offset != next_base {
                let why = format!("it ends at offset {}, the next segment begins at {next_base}", progress.end.offset);
                return Err(self.quarantine(progress.end.position, why).into());
            }
            segment.close(progress.end.position);
        }
        segment.set_largest_timestamp_ms(progress.cursor.largest());
        self.set_times(&segment, &info, progress.end);
        Ok(Recovered { segment, end: progress.end, cursor: progress.cursor, last_epoch: progress.last_epoch })
    }

    fn quarantine(&self, position: u64, why: String) -> Quarantine {
        Quarantine { file: file::path(self.dir, self.base, FileKind::Log), position, why, durable_to: None }
    }

    /// Takes a closed segment below the recovery point as it is. Nothing of it is scanned; its indexes get a glance.
    async fn adopt(
        &self,
        segment: &Segment,
        info: &FileInfo,
        next_base: Offset,
        report: &mut RecoveryReport,
    ) -> Progress {
        let largest = match (segment.offset_index.adopt(self.disk).await, segment.time_index.adopt(self.disk).await) {
            (Ok(offset), Ok(time))
                if offset.is_none_or(|entry| u64::from(entry.position) < info.length)
                    && time.is_none_or(|entry| entry.last_offset(self.base).is_some_and(|last| last < next_base)) =>
            {
                time.and_then(|entry| Some((entry.timestamp_ms, entry.last_offset(self.base)?)))
            }
            _ => {
                report.indexes_rebuilt += 1;
                self.rebuild_indexes(segment, info, next_base).await
            }
        };
        self.behind_closed(info, next_base, largest)
    }

    /// Builds the indexes of a closed segment anew; damage is marked, and the partition is served around it.
    async fn rebuild_indexes(&self, segment: &Segment, info: &FileInfo, next_base: Offset) -> Option<(i64, Offset)> {
        let end = BatchEnd { position: info.length, offset: next_base };
        match rebuild(self.disk, segment, end, self.interval_bytes).await {
            Ok(cursor) => {
                self.finish_indexes(segment, &cursor).await;
                cursor.largest()
            }
            Err(error) => {
                tracing::warn!(segment = %self.base, %error, "the indexes of a segment could not be rebuilt");
                None
            }
        }
    }

    fn behind_closed(&self, info: &FileInfo, next_base: Offset, largest: Option<(i64, Offset)>) -> Progress {
        let end = End { offset: next_base, position: info.length };
        Progress { end, cursor: IndexCursor::resume(largest, 0), last_epoch: *self.epochs.start() }
    }

    /// Where the device has lost bytes of a closed segment, the rest of it is served: it was durable, and where it ends is known. In
    /// the last segment nobody could tell what was there, and nothing may be written behind it.
    async fn check_or_go_around(
        &self,
        segment: &Segment,
        info: &FileInfo,
        path: &Path,
        report: &mut RecoveryReport,
    ) -> Result<Progress, OpenError> {
        let Unreadable { position, error } = match self.check(segment, info, path, report).await {
            Ok(progress) => return Ok(progress),
            Err(CheckFailed::Open(error)) => return Err(error),
            Err(CheckFailed::Unreadable(unreadable)) => unreadable,
        };
        match self.next_base {
            _ if !is_device_error(&error) => Err(OpenError::io("reading", path)(error)),
            None => Err(self.quarantine(position, format!("it cannot be read: {error}")).into()),
            Some(next_base) => {
                tracing::error!(path = %path.display(), position, %error, "a closed segment cannot be read whole; the rest of it is served");
                report.indexes_rebuilt += 1;
                let largest = self.rebuild_indexes(segment, info, next_base).await;
                Ok(self.behind_closed(info, next_base, largest))
            }
        }
    }

    /// Checks every batch above the recovery point and cuts a torn tail.
    async fn check(
        &self,
        segment: &Segment,
        info: &FileInfo,
        path: &Path,
        report: &mut RecoveryReport,
    ) -> Result<Progress, CheckFailed> {
        let file = segment.file();
        if !self.clean {
            // A sync that failed before the stop may have left pages that look right and are not on the device.
            self.disk.sync_all(file).await.map_err(OpenError::io("syncing", path))?;
        }
        let mut progress = self.reach_recovery_point(segment, info, report).await?;
        let start = progress.end.position;
        if !self.clean && info.length > start {
            self.disk.drop_cache(file, start, info.length - start).await.map_err(unreadable(start))?;
        }
        let mut scan = Scan::new(self.disk, file, info.length, !self.clean);
        let scanned = self.scan_batches(segment, &mut scan, info.length, &mut progress).await;
        let fault = scanned.map_err(unreadable(progress.end.position))?;
        report.scanned_bytes += progress.end.position - start;
        if let Some(why) = fault {
            self.judge_tail(segment, &mut scan, &progress, why, path, report).await?;
        }
        if info.length > progress.end.position && self.next_base.is_none() {
            let cutting = |error| OpenError::Io { what: "cutting", path: path.to_owned(), error };
            self.disk.set_length(file, progress.end.position).await.map_err(cutting)?;
            self.disk.sync_all(file).await.map_err(cutting)?;
        }
        if self.next_base.is_some() {
            self.finish_indexes(segment, &progress.cursor).await;
        } else if !self.clean {
            let cutting = OpenError::io("cutting the indexes of", path);
            self.cut_indexes(segment).await.map_err(cutting)?;
        }
        Ok(progress)
    }

    /// Completes the indexes of a closed segment, for the next start takes them over as they are. Where that fails, on a full disk
    /// say, they are removed, and the keeper or the next start rebuilds them.
    async fn finish_indexes(&self, segment: &Segment, cursor: &IndexCursor) {
        cursor.finish(segment);
        let finished = match segment.offset_index.finish(self.disk).await {
            Ok(()) => segment.time_index.finish(self.disk).await,
            failed => failed,
        };
        if let Err(error) = finished {
            tracing::warn!(segment = %self.base, %error, "an index could not be completed");
            segment.offset_index.discard(self.disk).await;
            segment.time_index.discard(self.disk).await;
            segment.distrust_index();
        }
    }

    /// Leaves in the index files of the last segment only what is believed.
    async fn cut_indexes(&self, segment: &Segment) -> io::Result<()> {
        segment.offset_index.cut_file(self.disk).await?;
        segment.time_index.cut_file(self.disk).await
    }

    /// Walks headers to the recovery point, from the last index entries that can be believed.
    async fn reach_recovery_point(
        &self,
        segment: &Segment,
        info: &FileInfo,
        report: &mut RecoveryReport,
    ) -> Result<Progress, CheckFailed> {
        let mut progress = Progress {
            end: End { offset: self.base, position: 0 },
            cursor: IndexCursor::new(),
            last_epoch: *self.epochs.start(),
        };
        if self.base >= self.recovery_point {
            return Ok(progress);
        }
        match self.resume_from_indexes(segment, info, &mut progress).await {
            Ok(true) => {}
            Ok(false) => {
                report.indexes_rebuilt += 1;
                segment.offset_index.clear();
                segment.time_index.clear();
            }
            // An index is derived: one that cannot be read is built anew.
            Err(error) if is_device_error(&error) => {
                tracing::warn!(segment = %self.base, %error, "the indexes of a segment cannot be read and are rebuilt");
                report.indexes_rebuilt += 1;
                segment.offset_index.clear();
                segment.time_index.clear();
            }
            Err(error) => return Err(OpenError::io("reading the indexes of", &segment.path())(error).into()),
        }
        let mut walk = HeaderWalk::new(self.disk, segment, info.length);
        while progress.end.offset < self.recovery_point {
            let header = match walk.header(progress.end.position, progress.end.offset).await {
                Ok(header) => header,
                Err(HeaderFault::Damaged { position, why }) => {
                    let why = format!("{why}; everything below the recovery point {} was durable", self.recovery_point);
                    return Err(OpenError::from(self.quarantine(position, why)).into());
                }
                Err(HeaderFault::Io { position, error }) => return Err(unreadable(position)(error)),
            };
            if header.next_offset() > self.recovery_point {
                // A checkpoint that points into a batch is of no use; the batch is checked like those behind it.
                break;
            }
            progress.pass(segment, &header, self);
            self.spill(segment).await;
        }
        Ok(progress)
    }

    /// Takes over the index files of a segment that goes on being written, and moves `progress` behind their last entry. False
    /// when they are not to be believed.
    async fn resume_from_indexes(
        &self,
        segment: &Segment,
        info: &FileInfo,
        progress: &mut Progress,
    ) -> io::Result<bool> {
        let below = |last: Option<Offset>| last.is_some_and(|last| last < self.recovery_point);
        let time = segment.time_index.adopt_prefix(self.disk, |entry| below(entry.last_offset(self.base))).await?;
        let last_timed = time.and_then(|entry| entry.last_offset(self.base));
        // After an unclean stop the time index may lack its newest entries. What follows its last entry is walked again, so that
        // no later entry claims less than the truth.
        let believed = |last: Option<Offset>| below(last) && (self.clean || last <= last_timed);
        let entry = segment
            .offset_index
            .adopt_prefix(self.disk, |entry| {
                u64::from(entry.position) < info.length && believed(entry.last_offset(self.base))
            })
            .await?;
        let Some(entry) = entry else { return Ok(time.is_none()) };
        // What lies behind that entry is walked again and enters its times again: those that are there already would go back.
        let last_kept = entry.last_offset(self.base);
        let time = match last_timed > last_kept {
            true => {
                segment.time_index.adopt_prefix(self.disk, |timed| timed.last_offset(self.base) <= last_kept).await?
            }
            false => time,
        };
        if time.is_none() {
            // Every entry of the one index comes with a time in the other, unless its batches have none: the file was lost.
            return Ok(false);
        }
        let position = u64::from(entry.position);
        match HeaderWalk::new(self.disk, segment, info.length).header_at(position).await {
            Ok(header) if Some(header.last_offset()) == entry.last_offset(self.base) => {
                let largest = time.and_then(|entry| Some((entry.timestamp_ms, entry.last_offset(self.base)?)));
                progress.cursor = IndexCursor::resume(largest, header.total_bytes() as u64);
                progress.end = End { offset: header.next_offset(), position: position + header.total_bytes() as u64 };
                progress.last_epoch = header.leader_epoch.max(progress.last_epoch);
                Ok(true)
            }
            Ok(_) | Err(HeaderFault::Damaged { .. }) => Ok(false),
            // The walk comes by it, and says where it is.
            Err(HeaderFault::Io { error, .. }) if is_device_error(&error) => Ok(false),
            Err(HeaderFault::Io { error, .. }) => Err(error),
        }
    }

    /// Checks batch by batch; gives what is wrong with the first bad one, or `None` at the end of the file.
    async fn scan_batches(
        &self,
        segment: &Segment,
        scan: &mut Scan<'_>,
        length: u64,
        progress: &mut Progress,
    ) -> io::Result<Option<String>> {
        // Asked before anything is read: see `Scan::data_end`.
        let data = self.disk.next_data(segment.file(), progress.end.position).await?;
        if data.is_none() && length > progress.end.position {
            return Ok(Some("zeros".to_owned()));
        }
        while progress.end.position < length {
            let epochs = progress.last_epoch..=*self.epochs.end();
            match scan.batch(progress.end.position, progress.end.offset, &epochs).await? {
                Ok(header) if !lies_in_segment(self.base, header.last_offset()) => {
                    return Ok(Some(format!("offset {} is too far from the segment's first", header.last_offset())));
                }
                // The checksum does not cover the offset, and nothing in a log leaves gaps.
                Ok(header) if header.base_offset != progress.end.offset => {
                    return Ok(Some(format!("offset {} where {} is next", header.base_offset, progress.end.offset)));
                }
                Ok(header) if self.is_stale(&header) => {
                    return Ok(Some(format!("leader epoch {} reigned before, and not here", header.leader_epoch)));
                }
                Ok(header) => progress.pass(segment, &header, self),
                Err(why) => return Ok(Some(why)),
            }
            self.spill(segment).await;
        }
        Ok(None)
    }

    /// Whether a sound batch is an earlier life's: what was cut off behind the end of the log, and is back because blocks were used again and
    /// their new content never reached the device. Nothing that was acknowledged stands there under another epoch than the one that reigns.
    /// Elsewhere than in the tail a wrong epoch is damage of this batch alone, which a fetch finds.
    fn is_stale(&self, header: &BatchHeader) -> bool {
        let is_in_tail = !self.clean && self.next_base.is_none() && header.base_offset >= self.recovery_point;
        is_in_tail && self.reigns.at(header.base_offset).is_some_and(|reign| header.leader_epoch < reign.get())
    }

    /// Applies the rule of P and E to what lies behind the last good batch.
    async fn judge_tail(
        &self,
        segment: &Segment,
        scan: &mut Scan<'_>,
        progress: &Progress,
        why: String,
        path: &Path,
        report: &mut RecoveryReport,
    ) -> Result<(), CheckFailed> {
        let bad = progress.end.position;
        let data_end = scan.data_end(bad).await.map_err(unreadable(bad))?;
        if data_end == bad {
            // Secured space that was never written.
            return Ok(());
        }
        let epochs = progress.last_epoch..=*self.epochs.end();
        let valid_end = scan.last_valid_end(bad, data_end, progress.end.offset, &epochs).await;
        let (valid_end, valid_to) = valid_end.map_err(unreadable(bad))?;
        let verdict = if self.clean {
            Some("the last stop was clean".to_owned())
        } else if self.next_base.is_some() {
            Some("the segment was durable before the next one was begun".to_owned())
        } else if progress.end.offset < self.recovery_point {
            // A damaged header may claim offsets past the recovery point; where it stands is what counts.
            Some(format!("everything below the recovery point {} was durable", self.recovery_point))
        } else if valid_end - bad > self.unsynced_bytes_max {
            Some(format!(
                "{} bytes lie up to the last valid batch, {} at most were unsynced",
                valid_end - bad,
                self.unsynced_bytes_max
            ))
        } else {
            None
        };
        if let Some(reason) = verdict {
            // A later start, which is no clean one any more, must not take it for a torn tail: so at least one offset stood here.
            let durable_to = match self.clean {
                true => valid_to.or_else(|| progress.end.offset.checked_add(1)),
                false => None,
            };
            let quarantine = Quarantine { durable_to, ..self.quarantine(bad, format!("{why}; {reason}")) };
            return Err(OpenError::from(quarantine).into());
        }
        let set_aside =
            self.set_aside(scan, bad, data_end).await.map_err(OpenError::io("setting aside the torn tail of", path))?;
        let bytes = data_end - bad;
        tracing::warn!(path = %path.display(), position = bad, bytes, why, aside = %set_aside.display(), "torn tail cut");
        let next_offset = progress.end.offset;
        report.torn_tail =
            Some(TornTail { segment: segment.base_offset(), position: bad, next_offset, bytes, set_aside, why });
        Ok(())
    }

    /// Copies the bytes from `from` to `to` into a file of their own, durable before anything is cut.
    async fn set_aside(&self, scan: &mut Scan<'_>, from: u64, to: u64) -> io::Result<PathBuf> {
        let (path, copy) = self.create_torn_file(from).await?;
        if let Err(error) = self.copy_bytes(scan, &copy, from, to).await {
            // On a full disk each start would leave another part of a copy, and hold the space that is short.
            let _ = self.disk.remove_file(&path).await;
            return Err(error);
        }
        self.disk.sync_dir(self.dir).await?;
        Ok(path)
    }

    async fn copy_bytes(&self, scan: &mut Scan<'_>, copy: &DiskFile, from: u64, to: u64) -> io::Result<()> {
        let mut position = from;
        while position < to {
            let length = usize::try_from(to - position).unwrap_or(usize::MAX).min(COPY_BYTES);
            let bytes = bytes::BytesMut::from(scan.bytes(position, length).await?);
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = bytes.len() as u64;
            self.disk.write_all_at(copy, position - from, vec![bytes]).await?;
            position += count;
        }
        self.disk.sync_all(copy).await
    }

    async fn create_torn_file(&self, position: u64) -> io::Result<(PathBuf, DiskFile)> {
        let mut attempt = 0;
        loop {
            let path = file::torn_path(self.dir, self.base, position, attempt);
            match self.disk.open(&path, OpenHow::CreateNew).await {
                // The same place was torn before; that copy is kept too.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < TORN_COPIES_MAX => attempt += 1,
                opened => return opened.map(|copy| (path, copy)),
            }
        }
    }

    async fn spill(&self, segment: &Segment) {
        if segment.offset_index.must_spill() || segment.time_index.must_spill() {
            segment.offset_index.spill(self.disk).await;
            segment.time_index.spill(self.disk).await;
        }
    }

    /// The checkpoint's append times; where they are lost, or older than the file, its modification time errs towards keeping.
    fn set_times(&self, segment: &Segment, info: &FileInfo, end: End) {
        if end.position == 0 {
            return;
        }
        let known = self.times.and_then(|times| Some((times.first_append_ms?, times.last_append_ms?)));
        match (known, self.next_base) {
            (Some((first, last)), Some(next)) if next <= self.recovery_point => {
                segment.set_append_times_ms(first, last)
            }
            // The checkpoint of a clean stop may have failed: then an older one does not know of the last appends.
            (Some((first, last)), None) if self.clean && end.offset <= self.recovery_point => {
                segment.set_append_times_ms(first, last)
            }
            (Some((first, last)), _) => segment.set_append_times_ms(first, last.max(info.modified_ms)),
            (None, _) => segment.set_append_times_ms(info.modified_ms, info.modified_ms),
        }
    }
}

/// Why a segment could not be checked to its end.
enum CheckFailed {
    /// Bytes could not be had.
    Unreadable(Unreadable),
    Open(OpenError),
}

struct Unreadable {
    /// Everything before it is well.
    position: u64,
    error: io::Error,
}

impl From<OpenError> for CheckFailed {
    fn from(error: OpenError) -> CheckFailed {
        CheckFailed::Open(error)
    }
}

fn unreadable(position: u64) -> impl FnOnce(io::Error) -> CheckFailed {
    move |error| CheckFailed::Unreadable(Unreadable { position, error })
}

impl Progress {
    fn pass(&mut self, segment: &Segment, header: &BatchHeader, recovery: &SegmentRecovery<'_>) {
        self.cursor.advance(segment, header, self.end.position, recovery.interval_bytes);
        self.end = End { offset: header.next_offset(), position: self.end.position + header.total_bytes() as u64 };
        self.last_epoch = header.leader_epoch;
    }
}

/// Bytes of a torn tail copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Copies kept of a tail that was torn at the same place again and again.
const TORN_COPIES_MAX: u32 = 1000;
