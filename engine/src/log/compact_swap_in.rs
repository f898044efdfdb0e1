//! Puts the segment that a pass of compaction has made in the place of its old ones: on disk, and in what readers go by.
//!
//! Which names change, and in which order, is `swap.rs`'s. Appends and fetches go on beside it; retention and the mending of indexes wait.

use std::io;
use std::sync::Arc;

use super::Log;
use super::compact::{Abandoned, Piece};
use super::compact_output::Output;
use super::swap::{self, NotCommitted, Swap};
use crate::segment::Segment;

impl Log {
    /// Puts a finished segment in the place of those of `pieces`, and gives how many these were. Where retention has removed the first of them
    /// meanwhile, it takes the place of the others: what lies before the log start goes with it, later. Ended instead, a pass beside a busy
    /// retention would come to nothing each time.
    pub(super) async fn swap_in(&self, output: Output<'_>, pieces: &mut [Piece]) -> Result<usize, Abandoned> {
        let Ok(house) = self.keep_house().await else {
            output.discard().await;
            return Err(Abandoned::Closed);
        };
        let old = self.still_there(pieces);
        let (replaced, end) = (old.len(), pieces[pieces.len() - 1].end.offset);
        if replaced == 0 {
            drop(house);
            output.discard().await;
            return Ok(0);
        }
        for segment in &old {
            segment.keep_indexes_open(self.disk()).await;
        }
        let new = Arc::clone(&output.segment);
        let swap = Swap { base: new.base_offset(), end };
        if let Err(NotCommitted { error, is_certain }) = self.commit_swap(swap).await {
            if is_certain {
                drop(house);
                output.discard().await;
            }
            return Err(Abandoned::io("swapping a compacted segment in")(error));
        }
        // Their files, and with them their space, go when the last reader has gone.
        self.replace_in_reader(old, &new);
        pieces.iter_mut().for_each(|piece| piece.segment = Arc::clone(&new));
        if let Err(error) = self.complete_swap(swap).await {
            new.distrust_index();
            return Err(Abandoned::io("putting a compacted segment in its place")(error));
        }
        self.finish_indexes(&new).await;
        drop(house);
        self.wake_keeper.notify_one();
        Ok(replaced)
    }

    /// The segments of `pieces` that retention has left: it removes none but the first.
    fn still_there(&self, pieces: &[Piece]) -> Vec<Arc<Segment>> {
        let segments = self.reader.snapshot();
        let is_there = |old: &&Arc<Segment>| {
            let at = segments.binary_search_by_key(&old.base_offset(), |segment| segment.base_offset());
            at.is_ok_and(|at| Arc::ptr_eq(&segments[at], old))
        };
        pieces.iter().map(|piece| &piece.segment).filter(is_there).cloned().collect()
    }

    /// Makes the swap happen. No pass is made any more until it is complete: what has become of one that was cut off is for the next start
    /// to see, and another on top of it could take away what lies between the two.
    async fn commit_swap(&self, swap: Swap) -> Result<(), NotCommitted> {
        self.compaction.borrow_mut().is_given_up = true;
        let committed = swap::commit(self.disk(), &self.dir, swap).await;
        if committed.as_ref().is_err_and(|failed| failed.is_certain) {
            self.compaction.borrow_mut().is_given_up = false;
        }
        committed
    }

    /// Completes what [`Log::commit_swap`] has made happen.
    async fn complete_swap(&self, swap: Swap) -> io::Result<()> {
        swap::complete(self.disk(), &self.dir, swap).await?;
        self.compaction.borrow_mut().is_given_up = false;
        Ok(())
    }

    /// From now on readers are given `new` where they were given the `old` ones, which follow one another.
    fn replace_in_reader(&self, old: Vec<Arc<Segment>>, new: &Arc<Segment>) {
        let times = old.iter().filter_map(|segment| segment.append_times_ms());
        if let Some((first_ms, last_ms)) = times.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
            new.set_append_times_ms(first_ms, last_ms);
        }
        new.note_sparse();
        let mut segments = self.reader.snapshot().to_vec();
        let at = segments.iter().position(|segment| Arc::ptr_eq(segment, &old[0])).expect("asked under the same lock");
        assert!(segments[at..].iter().zip(&old).all(|(segment, old)| Arc::ptr_eq(segment, old)), "only the first go");
        segments.splice(at..at + old.len(), [Arc::clone(new)]);
        self.reader.set_segments(segments.into());
        self.reader.forget_hints();
        old.iter().for_each(|segment| segment.retire());
    }
}
