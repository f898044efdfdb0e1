//! The write loop: admits queued batches, secures space, gives offsets, and writes one group at a time.
//!
//! Space is secured before offsets exist, so that a full disk is refused cleanly. While a group is written the next one
//! gathers. It syncs nothing and answers nobody but those whom it refuses.

use std::io;

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, Offset, TimestampType, stamp, stamp_append_time};

use super::watermarks::{End, SealCause};
use super::writer::{Queued, Step, Unanswered, after, tell};
use super::{AppendError, Appended, Log};
use crate::disk::{DiskFile, Op, is_full};
use crate::producer_state::Verdict;

/// With write caching, writeback starts whenever so many new bytes are written, so that the sync, when it comes, finds little left to do.
const WRITEBACK_BYTES: u64 = 1 << 20;

/// Batches with offsets, on their way to the disk.
struct Group {
    position: u64,
    buffers: Vec<BytesMut>,
    headers: Vec<BatchHeader>,
}

impl Log {
    pub(super) async fn write_loop(&self) {
        loop {
            let step = self.writer.borrow().next_step();
            match step {
                Step::Write { count } => self.write_group(count).await,
                Step::Secure { count, needed } => self.secure_space(count, needed).await,
                Step::Roll => self.roll().await,
                Step::RefuseFirst(error) => self.refuse(1, error),
                Step::Reopen => self.reopen().await,
                Step::Finish => self.finish().await,
                Step::Wait => self.wait_for_work().await,
                Step::End => return,
            }
        }
    }

    async fn wait_for_work(&self) {
        {
            let mut writer = self.writer.borrow_mut();
            if !writer.queue.is_empty() {
                // What waits here waits for room under the unsynced bound.
                writer.sync_is_due = true;
                self.wake_syncer.notify_one();
            }
        }
        self.wake_writer.notified().await;
    }

    /// Allocates ahead of the active segment's end, or refuses the `count` batches that it was for.
    async fn secure_space(&self, count: usize, needed: u64) {
        let (file, secured, wanted) = {
            let writer = self.writer.borrow();
            let wanted = writer.space.wanted(needed, writer.config.segment_bytes());
            (writer.active.file().clone(), writer.space.secured(), wanted)
        };
        let mut length = wanted;
        let mut secured_now = self.allocate(&file, secured, length).await;
        if is_no_space(&secured_now) && wanted > needed - secured {
            // No room to get ahead, but perhaps for this group.
            length = needed - secured;
            secured_now = self.allocate(&file, secured, length).await;
        }
        match secured_now {
            Ok(()) => {
                let mut writer = self.writer.borrow_mut();
                writer.space.grown(length);
                writer.lack_is_told = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.writer.borrow_mut().space.cannot_secure(),
            // Whatever it is, nothing was written and no sync has failed: the next attempt may be made here.
            Err(error) => {
                self.env.space.note_refused(needed - secured);
                self.tell_lack(&error, "securing space");
                self.refuse(count, refusal(&error));
            }
        }
    }

    /// Secures space, but none of what is to be kept free.
    async fn allocate(&self, file: &DiskFile, position: u64, length: u64) -> io::Result<()> {
        if !self.env.space.take(length) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let allocated = self.disk().allocate(file, position, length).await;
        if allocated.is_err() {
            // Another quota than the volume's, say: it must not look as if these bytes were gone for everybody.
            self.env.space.give_back(length);
        }
        allocated
    }

    /// Says once why appends are refused, until one has gone through again: a busy producer comes back a thousand times a second.
    pub(super) fn tell_lack(&self, error: &io::Error, doing: &str) {
        let mut writer = self.writer.borrow_mut();
        if !std::mem::replace(&mut writer.lack_is_told, true) {
            tracing::warn!(dir = %self.dir.display(), %error, doing, "appends are refused until this is possible again");
        }
    }

    /// Answers the first `count` queued batches with `error`.
    pub(super) fn refuse(&self, count: usize, error: AppendError) {
        let writer = &mut *self.writer.borrow_mut();
        let count = count.min(writer.queue.len());
        for refused in writer.queue.drain(..count) {
            if error != AppendError::TooLargeForSegment {
                writer.producers.note_refused(&refused.header);
            }
            tell(refused.answer, Err(error));
        }
    }

    async fn write_group(&self, count: usize) {
        let group = self.assign(count);
        if group.buffers.is_empty() {
            return;
        }
        let (file, leaves_early) = {
            let writer = self.writer.borrow();
            (writer.active.file().clone(), writer.leaves_early())
        };
        let written = if leaves_early {
            self.disk().write_all_early_at(&file, group.position, group.buffers).await
        } else {
            self.disk().write_all_at(&file, group.position, group.buffers).await
        };
        match written {
            Ok(_) => self.on_written(group.position, &group.headers).await,
            Err(error) => self.seal(&error, "writing"),
        }
    }

    /// Gives offsets to the first `count` queued batches, those of them that are new.
    fn assign(&self, count: usize) -> Group {
        let now_ms = self.env.clock.now_ms();
        let log_start = self.reader.watermarks().log_start;
        let mut writer = self.writer.borrow_mut();
        let mut group = Group { position: writer.ends.assigned.position, buffers: Vec::new(), headers: Vec::new() };
        for _ in 0..count {
            let Some(Queued { mut batch, header, answer }) = writer.queue.pop_front() else { break };
            match writer.producers.check(&header) {
                Verdict::Append => {}
                Verdict::Duplicate { base_offset, last_offset, append_time_ms } => {
                    let appended = Appended { base_offset, append_time_ms, log_start, duplicate: true };
                    writer.answer_repeat(last_offset, appended, answer);
                    continue;
                }
                Verdict::OutOfOrder { .. } => {
                    tell(answer, Err(AppendError::OutOfOrderSequence));
                    continue;
                }
                Verdict::Fenced { .. } => {
                    tell(answer, Err(AppendError::ProducerFenced));
                    continue;
                }
            }
            let base_offset = writer.ends.assigned.offset;
            stamp(&mut batch, base_offset, writer.epoch);
            let (header, append_time_ms) = match writer.config.timestamp_type {
                TimestampType::CreateTime => (header.stamped(base_offset, writer.epoch), None),
                TimestampType::LogAppendTime => (stamp_append_time(&mut batch, now_ms), Some(now_ms)),
            };
            let end = End {
                offset: after(base_offset, &header),
                position: writer.ends.assigned.position + header.total_bytes() as u64,
            };
            writer.ends.assign(end);
            writer.producers.advance(&header, now_ms);
            let appended = Appended { base_offset, append_time_ms, log_start, duplicate: false };
            writer.unanswered.push_back(Unanswered { end, max_timestamp_ms: header.max_timestamp, appended, answer });
            group.buffers.push(batch);
            group.headers.push(header);
        }
        group
    }

    /// The page cache has a group that begins at `position`.
    async fn on_written(&self, position: u64, headers: &[BatchHeader]) {
        let now_ms = self.env.clock.now_ms();
        let (segment, must_spill) = {
            let mut writer = self.writer.borrow_mut();
            if writer.seal.is_some() {
                // A sync failed meanwhile: everybody has been told.
                return;
            }
            let assigned = writer.ends.assigned;
            writer.ends.write(assigned);
            writer.unsynced_since_ms.get_or_insert(now_ms);
            let bound = writer.bound();
            assert!(writer.ends.unsynced_bytes() <= bound, "{:?} exceeds {bound}", writer.ends);
            let segment = writer.active.clone();
            segment.note_append(now_ms);
            let mut batch_position = position;
            let interval_bytes = writer.config.index_interval_bytes;
            for header in headers {
                writer.cursor.advance(&segment, header, batch_position, interval_bytes);
                batch_position += header.total_bytes() as u64;
            }
            if writer.config.write_caching {
                self.start_writeback(&mut writer);
                self.make_visible(&mut writer, assigned);
            }
            let must_spill = segment.offset_index.must_spill() || segment.time_index.must_spill();
            (segment, must_spill)
        };
        self.wake_syncer.notify_one();
        if must_spill {
            segment.offset_index.spill(self.disk()).await;
            segment.time_index.spill(self.disk()).await;
        }
    }

    /// Sends the whole new pieces on their way to the device. Nothing depends on it, so nobody waits for it.
    fn start_writeback(&self, writer: &mut super::writer::Writer) {
        let position = writer.writeback_position;
        let length = (writer.ends.written.position - position) / WRITEBACK_BYTES * WRITEBACK_BYTES;
        if length > 0 {
            drop(self.disk().submit(Op::StartWriteback { file: writer.active.file().clone(), position, length }));
            writer.writeback_position += length;
        }
    }
}

impl super::writer::Writer {
    /// A repeat is answered with its original: at once if that is visible, else when it becomes so.
    fn answer_repeat(&mut self, last_offset: Offset, appended: Appended, answer: super::writer::Answer) {
        if last_offset < self.visible.offset {
            tell(answer, Ok(appended));
            return;
        }
        let original = self.unanswered.partition_point(|waiting| waiting.end.offset <= last_offset);
        let Some(waiting) = self.unanswered.get(original) else {
            unreachable!("{last_offset} is neither visible nor on its way");
        };
        let repeat = Unanswered { end: waiting.end, max_timestamp_ms: waiting.max_timestamp_ms, appended, answer };
        self.unanswered.insert(original + 1, repeat);
    }
}

/// What a producer is told for whose batch no room can be made.
pub(super) fn refusal(error: &io::Error) -> AppendError {
    if is_full(error) { AppendError::NoSpace } else { AppendError::Unwritable }
}

fn is_no_space(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(is_full)
}

/// Why a log that met `error` is sealed.
pub(super) fn seal_cause(error: &io::Error) -> SealCause {
    if is_full(error) { SealCause::NoSpace } else { SealCause::Io }
}
