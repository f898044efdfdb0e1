//! What time and size ask for: rolls, flushes, retention, and deletion up to an offset.
//!
//! The engine never waits for time: [`Log::on_deadline`] looks at what is due, sets the loops going, and says when to come
//! again. Retention goes by the broker's own time of append. The log start is durable in `partition.meta` before a file goes.

use std::sync::Arc;

use ringmill_batch::Offset;

use super::recover::remove_files;
use super::seal::REOPEN_DELAY_MS;
use super::watermarks::SealCause;
use super::{Log, LogError};
use crate::segment::Segment;
use crate::segment::damage::BatchEnd;

impl Log {
    /// Sets going what is due at `now_ms` and gives the time of the next thing that is known to come. Appends bring deadlines
    /// nearer (`flush.ms` after the first of them at the soonest): call it about every second, and sooner if it says so.
    pub fn on_deadline(&self, now_ms: i64) -> Option<i64> {
        let mut writer = self.writer.borrow_mut();
        if writer.ended {
            return None;
        }
        let mut next = Next { now_ms, at_ms: None };
        let config = writer.config.clone();
        let expires_at =
            |last_ms: i64| config.retention_ms.map(|kept_ms| last_ms.saturating_add(kept_ms).saturating_add(1));
        // Of a sealed log too: it may be what the full disk waits for.
        let oldest = Arc::clone(&self.reader.snapshot()[0]);
        if oldest.closed_length().is_some()
            && let Some((_, last_ms)) = oldest.append_times_ms()
            && next.is_due(expires_at(last_ms))
        {
            self.wake_keeper.notify_one();
        }
        // A clock that was set back must not keep records unsynced, or a log sealed, until it has come that far again.
        writer.unsynced_since_ms = writer.unsynced_since_ms.map(|since_ms| since_ms.min(now_ms));
        if let Some(seal) = &mut writer.seal {
            seal.retry_at_ms = seal.retry_at_ms.min(now_ms.saturating_add(REOPEN_DELAY_MS));
            let may_reopen = seal.cause == SealCause::NoSpace && !self.env.space.is_low();
            if may_reopen && next.is_due(Some(seal.retry_at_ms)) {
                seal.retry_now = true;
                self.wake_writer.notify_one();
                let retry_at_ms = now_ms.saturating_add(REOPEN_DELAY_MS);
                next.at_ms = Some(next.at_ms.map_or(retry_at_ms, |earlier| earlier.min(retry_at_ms)));
            }
            return next.at_ms;
        }
        let flush_at = writer.unsynced_since_ms.map(|since| since.saturating_add(config.flush_ms));
        if config.write_caching && next.is_due(flush_at) {
            writer.sync_is_due = true;
            self.wake_syncer.notify_one();
        }
        if let Some((first_ms, last_ms)) = writer.active.append_times_ms()
            && writer.can_roll()
        {
            let by_age = first_ms.saturating_add(config.segment_ms());
            // Expired data must not stay because nothing is appended any more.
            let roll_at = expires_at(last_ms).map_or(by_age, |expiry| expiry.min(by_age));
            if next.is_due(Some(roll_at)) {
                writer.roll_is_due = true;
                self.wake_writer.notify_one();
            }
        }
        next.at_ms
    }

    /// Makes records before `offset` unreadable, durably, and removes the segments that hold nothing else. Gives the log start.
    ///
    /// Deletes nothing, without an error, when the log starts behind `offset` already.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] past the visible end; [`LogError::Closed`]; [`LogError::Sealed`] when what lies before
    /// `offset` is not durable and cannot become so; the disk's when the new start could not be made durable.
    pub async fn delete_records_before(&self, offset: Offset) -> Result<Offset, LogError> {
        if offset > self.reader.watermarks().high_watermark {
            return Err(LogError::OffsetOutOfRange(offset));
        }
        self.wait_until_durable_to(offset).await?;
        let log_start = self.raise_log_start(offset).await?;
        self.wake_keeper.notify_one();
        Ok(log_start)
    }

    /// With write caching the visible end may be ahead of the durable one; the log start never is, for a failed sync takes the
    /// visible end back to what is durable.
    async fn wait_until_durable_to(&self, offset: Offset) -> Result<(), LogError> {
        loop {
            let sync_ended = self.sync_ended.notified();
            {
                let mut writer = self.writer.borrow_mut();
                if writer.ends.durable.offset >= offset {
                    return Ok(());
                }
                if writer.seal.is_some() || writer.ended {
                    return Err(LogError::Sealed);
                }
                writer.sync_is_due = true;
            }
            self.wake_syncer.notify_one();
            sync_ended.await;
        }
    }

    /// Raises the log start to `offset`, if it is lower, and says where it is.
    async fn raise_log_start(&self, offset: Offset) -> Result<Offset, LogError> {
        let mut meta = self.meta.lock().await;
        // Checked under the lock, which a close takes after it has said so.
        if self.writer.borrow().ended {
            return Err(LogError::Closed);
        }
        if offset <= meta.log_start {
            return Ok(meta.log_start);
        }
        let mut changed = meta.clone();
        changed.log_start = offset;
        changed.epochs.forget_before(offset);
        let what = "writing partition.meta";
        // What follows from it frees space: it must not fail for want of some.
        let write = async || changed.write(self.disk(), &self.dir).await;
        let written = self.env.space.with_reserve(self.disk(), write).await;
        written.map_err(|error| LogError::Io { what, error })?;
        *meta = changed;
        self.reader.set_epochs(meta.epochs.clone());
        self.reader.publish(|watermarks| watermarks.log_start = offset);
        Ok(offset)
    }

    /// Removes what may go, whenever it is woken, and mends what readers found wrong.
    pub(super) async fn keep_loop(&self) {
        // It comes back ten times a second while something is due.
        let mut failure_is_told = false;
        while !self.writer.borrow().ended {
            // Compaction swaps segments and names beside it.
            let house = self.house.lock().await;
            match self.retain().await {
                Ok(()) | Err(LogError::Closed) => failure_is_told = false,
                Err(LogError::Io { what, error }) if !failure_is_told => {
                    tracing::warn!(dir = %self.dir.display(), what, %error, "retention keeps its segments until this works");
                    failure_is_told = true;
                }
                Err(_) => {}
            }
            self.mend_indexes().await;
            drop(house);
            self.wake_keeper.notified().await;
        }
    }

    async fn retain(&self) -> Result<(), LogError> {
        let segments = self.reader.snapshot();
        let count = self.removable(&segments);
        if count == 0 {
            return Ok(());
        }
        self.raise_log_start(segments[count].base_offset()).await?;
        // Others may have added a segment meanwhile; nobody else removes any, and who puts one in place of others waits for us.
        self.reader.set_segments(Arc::new(self.reader.snapshot()[count..].to_vec()));
        for segment in &segments[..count] {
            // Snapshots keep the descriptors; only the names go.
            if let Err(error) = remove_files(&self.env, &self.dir, segment.base_offset()).await {
                tracing::warn!(dir = %self.dir.display(), %error, "a segment's file stays until the next start");
            }
        }
        Ok(())
    }

    /// How many of the oldest segments nobody needs any more; never the active one.
    fn removable(&self, segments: &[Arc<Segment>]) -> usize {
        let now_ms = self.env.clock.now_ms();
        let log_start = self.reader.watermarks().log_start;
        let writer = self.writer.borrow();
        let lengths = segments.iter().map(|segment| segment.closed_length().unwrap_or(writer.visible.position));
        let mut bytes: u64 = lengths.sum();
        let mut count = 0;
        for pair in segments.windows(2) {
            let Some(length) = pair[0].closed_length() else { break };
            let is_deleted = pair[1].base_offset() <= log_start;
            let is_too_much = writer.config.retention_bytes.is_some_and(|kept| bytes - length >= kept);
            let is_too_old = writer.config.retention_ms.is_some_and(|kept_ms| {
                pair[0].append_times_ms().is_some_and(|(_, last_ms)| now_ms.saturating_sub(last_ms) > kept_ms)
            });
            if !(is_deleted || is_too_much || is_too_old) {
                break;
            }
            bytes -= length;
            count += 1;
        }
        count
    }

    /// Rebuilds the indexes of closed segments in which a reader met an entry that is wrong.
    async fn mend_indexes(&self) {
        for pair in self.reader.snapshot().windows(2) {
            let segment = &pair[0];
            let Some(length) = segment.closed_length() else { continue };
            if !segment.take_index_is_wrong() {
                continue;
            }
            let end = BatchEnd { position: length, offset: pair[1].base_offset() };
            match self.rebuild_indexes(segment, end).await {
                Ok(()) => tracing::info!(segment = %segment.base_offset(), "indexes rebuilt"),
                Err(error) => tracing::warn!(segment = %segment.base_offset(), %error, "indexes not rebuilt"),
            }
        }
    }
}

/// Gathers deadlines.
struct Next {
    now_ms: i64,
    at_ms: Option<i64>,
}

impl Next {
    /// Whether `at_ms` has come; otherwise it counts as a time to come back.
    fn is_due(&mut self, at_ms: Option<i64>) -> bool {
        let Some(at_ms) = at_ms else { return false };
        if at_ms <= self.now_ms {
            return true;
        }
        self.at_ms = Some(self.at_ms.map_or(at_ms, |earlier| earlier.min(at_ms)));
        false
    }
}
