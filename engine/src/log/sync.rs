//! The sync loop: one fdatasync at a time while anything is unsynced; writing goes on beside it.
//!
//! A sync makes durable what was complete when it was submitted, nothing later. A failed one seals and is never retried.

use ringmill_batch::Offset;

use super::Log;
use super::watermarks::End;
use super::writer::{Writer, tell};

impl Log {
    pub(super) async fn sync_loop(&self) {
        loop {
            let next = {
                let mut writer = self.writer.borrow_mut();
                if writer.ended {
                    return;
                }
                let next = writer.next_sync();
                writer.syncing = next.is_some();
                // What was asked for so far is in this sync; what is asked for from now on needs another.
                writer.sync_is_due = false;
                next
            };
            let Some((segment, target)) = next else {
                self.wake_syncer.notified().await;
                continue;
            };
            let result = self.disk().sync_data(segment.file()).await;
            self.writer.borrow_mut().syncing = false;
            match result {
                Ok(()) => self.on_synced(target),
                Err(error) => self.seal(&error, "syncing"),
            }
            // A roll, a close, a reopening or a full unsynced window may have waited for this, and deletions.
            self.wake_writer.notify_one();
            self.sync_ended.notify_waiters();
        }
    }

    fn on_synced(&self, target: End) {
        let now_ms = self.env.clock.now_ms();
        let mut writer = self.writer.borrow_mut();
        if writer.seal.is_some() {
            // A write failed meanwhile; the ends were taken back to what was durable then.
            return;
        }
        writer.ends.sync(target);
        let all_is_durable = writer.ends.unsynced_bytes() == 0;
        writer.unsynced_since_ms = (!all_is_durable).then_some(now_ms);
        if target.offset > writer.visible.offset {
            self.make_visible(&mut writer, target);
        }
    }

    /// Readers may see up to `end`: they are told first, then the producers whose batches lie before it.
    pub(super) fn make_visible(&self, writer: &mut Writer, end: End) {
        assert!(end.offset >= writer.visible.offset && end.offset <= writer.ends.written.offset, "{end:?}");
        writer.visible = end;
        let due = writer.unanswered.partition_point(|waiting| waiting.end.offset <= end.offset);
        for waiting in writer.unanswered.range(..due) {
            writer.active.note_visible(waiting.max_timestamp_ms, before(waiting.end.offset));
        }
        let base_offset = writer.active.base_offset();
        self.reader.publish(|watermarks| {
            watermarks.high_watermark = end.offset;
            watermarks.end_segment = base_offset;
            watermarks.end_position = end.position;
        });
        for waiting in writer.unanswered.drain(..due) {
            // A producer that has gone away does not hear it.
            tell(waiting.answer, Ok(waiting.appended));
        }
    }
}

/// The last offset before `end`, which is no log's first.
fn before(end: Offset) -> Offset {
    Offset::new(end.get() - 1).expect("a batch ends behind a record")
}
