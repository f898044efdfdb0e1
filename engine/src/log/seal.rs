//! What happens when a write or a sync fails, and how a log that ran out of space comes back.
//!
//! A failed sync is never retried, and the pages behind it are never trusted again: the log reopens with a new segment.

use std::io;

use ringmill_batch::Offset;

use super::append::seal_cause;
use super::watermarks::{Ends, LogState, SealCause};
use super::writer::{Seal, tell};
use super::{AppendError, Log, LogError, producers, recover};
use crate::disk::OpenHow;
use crate::segment::damage::BatchEnd;
use crate::segment::{IndexCursor, Segment};

/// How long a log that was sealed by a full disk waits before it looks for space again.
pub(super) const REOPEN_DELAY_MS: i64 = 1000;

/// Behind the name of a segment's file that is not in its place yet.
const TEMPORARY_EXTENSION: &str = "tmp";

impl Log {
    /// Refuses everything from here on: who waits is told, readers see what is durable and no more.
    pub(super) fn seal(&self, error: &io::Error, doing: &str) {
        let cause = seal_cause(error);
        let retry_at_ms = self.env.clock.now_ms().saturating_add(REOPEN_DELAY_MS);
        let writer = &mut *self.writer.borrow_mut();
        if writer.seal.is_some() {
            return;
        }
        tracing::error!(dir = %self.dir.display(), %error, doing, durable = %writer.ends.durable.offset, "partition sealed");
        writer.seal = Some(Seal { cause, retry_at_ms, retry_now: false, is_told: false });
        let durable = writer.ends.durable;
        writer.ends = Ends::at(durable);
        writer.visible = durable;
        writer.unsynced_since_ms = None;
        let base_offset = writer.active.base_offset();
        self.reader.publish(|watermarks| {
            watermarks.high_watermark = durable.offset;
            watermarks.end_segment = base_offset;
            watermarks.end_position = durable.position;
            watermarks.state = LogState::Sealed(cause);
        });
        let unanswered = writer.unanswered.drain(..).map(|waiting| waiting.answer).collect::<Vec<_>>();
        writer.queue.iter().for_each(|queued| writer.producers.note_refused(&queued.header));
        let queued = writer.queue.drain(..).map(|queued| queued.answer).collect::<Vec<_>>();
        for answer in unanswered.into_iter().chain(queued) {
            // A producer that has gone away does not hear it.
            tell(answer, Err(AppendError::Sealed));
        }
        self.wake_writer.notify_one();
        self.sync_ended.notify_waiters();
    }

    /// Tries to serve again after a full disk: the old segment is cut at what is durable, and a new one begun. Until all of it
    /// has succeeded the log stays sealed and nothing that was durable is touched.
    pub(super) async fn reopen(&self) {
        let retry_at_ms = self.env.clock.now_ms().saturating_add(REOPEN_DELAY_MS);
        let was_told = {
            let mut writer = self.writer.borrow_mut();
            let seal = writer.seal.as_mut().expect("only a sealed log reopens");
            assert_eq!(seal.cause, SealCause::NoSpace, "only a full disk gets better by itself");
            (seal.retry_now, seal.retry_at_ms) = (false, retry_at_ms);
            std::mem::replace(&mut seal.is_told, true)
        };
        let dir = self.dir.display();
        match self.try_reopen().await {
            Ok(()) => tracing::info!(%dir, "there is space again: partition reopened"),
            Err(LogError::Io { what, error }) if !was_told => {
                tracing::warn!(%dir, what, %error, "the partition stays sealed; it is tried again about every second");
            }
            Err(error) => tracing::debug!(%dir, %error, "the partition stays sealed"),
        }
    }

    async fn try_reopen(&self) -> Result<(), LogError> {
        let io = |what| move |error| LogError::Io { what, error };
        let (old, durable) = {
            let writer = self.writer.borrow();
            (writer.active.clone(), writer.ends.durable)
        };
        let disk = self.disk();
        // Nothing of the tail whose sync failed is kept: the file ends where it is known to be on the device. The page in which that is holds
        // durable bytes, too. They have been on the device since their own sync; the cut zeroes what lies behind them and writes the page
        // once more from the cache, whose copy of them is right. Should this very sync fail, the next attempt's may succeed without writing
        // that page again. That is no lie about anything that counts: the length is metadata, which a failed write of data does not
        // drop, and what the page may still hold of the tail lies behind the file's end for good, because it is never written again.
        disk.set_length(old.file(), durable.position).await.map_err(io("cutting the sealed segment"))?;
        disk.sync_all(old.file()).await.map_err(io("syncing the cut segment"))?;
        let old_is_empty = durable.offset == old.base_offset();
        recover::remove_indexes(&self.env, &self.dir, durable.offset).await.map_err(io("removing an empty segment"))?;
        let segment = self.renew_segment(durable.offset).await.map_err(io("beginning a new segment"))?;
        let epoch = self.begin_epoch(durable.offset).await?;
        let producers = producers::load(&self.env, &self.dir, &self.reader, durable.offset)
            .await
            .map_err(io("reading the producer state"))?;
        if !old_is_empty {
            let end = BatchEnd { position: durable.position, offset: durable.offset };
            self.rebuild_indexes(&old, end).await.map_err(io("rebuilding the indexes"))?;
            old.close(durable.position);
        }

        let mut segments = self.reader.snapshot().to_vec();
        if old_is_empty {
            segments.pop();
        }
        segments.push(segment.clone());
        self.reader.set_segments(segments.into());
        self.reader.forget_hints();
        let mut writer = self.writer.borrow_mut();
        writer.epoch = epoch;
        let before = std::mem::replace(&mut writer.producers, producers);
        writer.producers.note_lost(&before);
        writer.seal = None;
        self.begin_segment(&mut writer, segment, IndexCursor::new());
        self.reader.publish(|watermarks| {
            watermarks.leader_epoch = epoch;
            watermarks.state = LogState::Serving;
        });
        Ok(())
    }

    /// Makes the next reign durable, before any batch is stamped with it.
    async fn begin_epoch(&self, start: Offset) -> Result<ringmill_batch::LeaderEpoch, LogError> {
        let mut meta = self.meta.lock().await;
        let mut changed = meta.clone();
        changed.begin_next_epoch(start);
        changed
            .write(self.disk(), &self.dir)
            .await
            .map_err(|error| LogError::Io { what: "writing partition.meta", error })?;
        *meta = changed;
        self.reader.set_epochs(meta.epochs.clone());
        Ok(meta.epochs.current())
    }

    /// Enters every batch before `end` into fresh indexes.
    pub(super) async fn rebuild_indexes(&self, segment: &Segment, end: BatchEnd) -> io::Result<()> {
        let interval_bytes = self.writer.borrow().config.index_interval_bytes;
        let cursor = crate::segment::rebuild::rebuild(self.disk(), segment, end, interval_bytes).await?;
        cursor.finish(segment);
        segment.set_largest_timestamp_ms(cursor.largest());
        segment.offset_index.finish(self.disk()).await?;
        segment.time_index.finish(self.disk()).await
    }

    /// The same in place of an empty segment of that name, or of what an attempt before, or a roll, left unused. At no moment is
    /// there none: it may be the only one of its log. Snapshots keep the old file as long as they need it.
    async fn renew_segment(&self, base_offset: Offset) -> io::Result<std::sync::Arc<Segment>> {
        use crate::segment::file::{FileKind, path};
        let disk = self.disk();
        let path = path(&self.dir, base_offset, FileKind::Log);
        let temporary = path.with_added_extension(TEMPORARY_EXTENSION);
        let file = disk.open(&temporary, OpenHow::CreateEmpty).await?;
        disk.rename(&temporary, &path).await?;
        disk.sync_dir(&self.dir).await?;
        Ok(std::sync::Arc::new(Segment::new(&self.dir, base_offset, file)))
    }
}
