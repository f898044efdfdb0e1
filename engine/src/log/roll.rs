//! Closes the active segment and begins the next; and the last close of all.
//!
//! A roll waits until the old segment is durable, so that unsynced bytes lie in one segment only, and cuts its secured space
//! before the next one exists, so that only the last segment ever ends in zeros.

use std::io;
use std::sync::Arc;

use ringmill_batch::Offset;

use super::append::refusal;
use super::watermarks::{End, Ends};
use super::writer::Writer;
use super::{Log, LogError, recover};
use crate::disk::{OpenHow, is_full};
use crate::segment::file::{FileKind, path};
use crate::segment::{IndexCursor, Segment};

/// Why there is no next segment.
struct NoSegment {
    error: io::Error,
    /// No sync has failed: the next attempt may be believed.
    nothing_lost: bool,
}

impl Log {
    /// Closes the active segment, which holds a batch. Where no file can be made (no space, no descriptor), the first queued
    /// batch is refused, so that its producer hears of it, and the next one tries again.
    pub(super) async fn roll(&self) {
        if !self.wait_until_durable().await {
            return;
        }
        let (old, end, cursor) = {
            let writer = self.writer.borrow();
            (writer.active.clone(), writer.ends.durable, writer.cursor)
        };
        if let Err(error) = self.cut_secured_space(&old, end.position).await {
            return self.seal(&error, "cutting a full segment");
        }
        // Before the next segment exists: a start takes over the indexes of all segments but the last without reading them whole.
        cursor.finish(&old);
        tokio::join!(biased; self.finish_indexes(&old), self.save_producers(end.offset));
        let segment = match self.new_segment(end.offset).await {
            Ok(segment) => segment,
            Err(NoSegment { error, nothing_lost }) if is_full(&error) || nothing_lost => {
                // The file may exist already; it is empty, and nobody's.
                let _ = recover::remove_files(&self.env, &self.dir, end.offset).await;
                self.tell_lack(&error, "beginning a new segment");
                // A roll for its age comes again with the next deadline.
                self.writer.borrow_mut().roll_is_due = false;
                return self.refuse(1, refusal(&error));
            }
            Err(NoSegment { error, .. }) => return self.seal(&error, "beginning a new segment"),
        };
        old.close(end.position);

        let mut segments = self.reader.snapshot().to_vec();
        segments.push(segment.clone());
        self.reader.set_segments(segments.into());
        let mut writer = self.writer.borrow_mut();
        self.begin_segment(&mut writer, segment, IndexCursor::new());
        drop(writer);
        self.wake_keeper.notify_one();
    }

    /// False when the log was sealed instead.
    async fn wait_until_durable(&self) -> bool {
        loop {
            {
                let mut writer = self.writer.borrow_mut();
                if writer.seal.is_some() {
                    return false;
                }
                if writer.is_quiet() {
                    return true;
                }
                writer.sync_is_due = true;
            }
            self.wake_syncer.notify_one();
            self.wake_writer.notified().await;
        }
    }

    /// Creates the file of the segment that begins at `base_offset`, durable in its directory. A roll for the segment's age may take of the
    /// reserve: what has expired in the old one can only be deleted then.
    async fn new_segment(&self, base_offset: Offset) -> Result<Arc<Segment>, NoSegment> {
        let refused = |error| NoSegment { error, nothing_lost: true };
        let (disk, path) = (self.disk(), path(&self.dir, base_offset, FileKind::Log));
        // Opened first: a file that exists and cannot be made durable for want of a descriptor would be half a segment.
        let directory = disk.open(&self.dir, OpenHow::Directory).await.map_err(refused)?;
        let create = async || match disk.open(&path, OpenHow::CreateNew).await {
            // An attempt before has left it: empty, for no batch has this offset yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path, OpenHow::CreateEmpty).await,
            opened => opened,
        };
        let by_age = self.writer.borrow().roll_is_due;
        let created = if by_age { self.env.space.with_reserve(disk, create).await } else { create().await };
        let file = created.map_err(refused)?;
        disk.sync_all(&directory).await.map_err(|error| NoSegment { error, nothing_lost: false })?;
        Ok(Arc::new(Segment::new(&self.dir, base_offset, file)))
    }

    /// The file ends with its last batch from here on, durably.
    async fn cut_secured_space(&self, segment: &Segment, end: u64) -> io::Result<()> {
        self.disk().set_length(segment.file(), end).await?;
        self.disk().sync_all(segment.file()).await?;
        self.writer.borrow_mut().space.cut(end);
        Ok(())
    }

    /// A failure here loses nothing: indexes that lack entries are removed, and the keeper or the next start rebuilds them.
    pub(super) async fn finish_indexes(&self, segment: &Segment) {
        let (offsets, times) = (segment.offset_index.finish(self.disk()), segment.time_index.finish(self.disk()));
        let (offsets, times) = tokio::join!(biased; offsets, times);
        if let Err(error) = offsets.and(times) {
            tracing::warn!(segment = %segment.base_offset(), %error, "an index could not be completed");
            segment.offset_index.discard(self.disk()).await;
            segment.time_index.discard(self.disk()).await;
            segment.distrust_index();
        }
    }

    /// Makes `segment`, already in the readers' list, the one that is written.
    pub(super) fn begin_segment(&self, writer: &mut Writer, segment: Arc<Segment>, cursor: IndexCursor) {
        let end = End { offset: writer.ends.durable.offset, position: 0 };
        assert_eq!(segment.base_offset(), end.offset, "the next segment begins where the last one ended");
        let base_offset = segment.base_offset();
        writer.active = segment;
        writer.cursor = cursor;
        writer.space = writer.space.next_segment();
        writer.ends = Ends::at(end);
        writer.visible = end;
        writer.writeback_position = 0;
        writer.roll_is_due = false;
        self.reader.publish(|watermarks| {
            watermarks.high_watermark = end.offset;
            watermarks.end_segment = base_offset;
            watermarks.end_position = 0;
        });
    }

    /// Everything queued is written: syncs, cuts, and lets the loops end.
    pub(super) async fn finish(&self) {
        let durable = self.wait_until_durable().await;
        let result = if durable { self.finish_active().await } else { Err(LogError::Sealed) };
        let waiting = {
            let mut writer = self.writer.borrow_mut();
            writer.ended = true;
            std::mem::take(&mut writer.closing)
        };
        let result = result.map_err(|error| tracing::error!(dir = %self.dir.display(), %error, "not closed cleanly"));
        for answer in waiting {
            let _ = answer.send(result.map_err(|()| LogError::Sealed));
        }
        self.wake_all();
    }

    async fn finish_active(&self) -> Result<(), LogError> {
        let (segment, end) = {
            let writer = self.writer.borrow();
            (writer.active.clone(), writer.ends.durable)
        };
        let io = |error| LogError::Io { what: "cutting the active segment", error };
        self.cut_secured_space(&segment, end.position).await.map_err(io)?;
        tokio::join!(biased; self.finish_indexes(&segment), self.save_producers(end.offset));
        Ok(())
    }
}
