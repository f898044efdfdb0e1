//! When and how fast a core compacts its partitions; what is compacted, and what follows, is the engine's.
//!
//! One partition at a time, the one with the largest part of news first, in slices between which everything else on the core has its turn.
//! Between two looks it rests for `log.cleaner.backoff.ms`, unless there was something to do. Memory is taken for a pass and given back
//! after it. Whatever ends a pass early is told, and the partition left alone for a while.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use ringmill_engine::CompactionLimits;
use ringmill_engine::log::{Abandoned, Cleanable, Log, UnreadBatch};
use tokio::time::Instant;

use super::Core;
use super::hosting::PartitionId;
use super::pace::Pacer;

/// How long a partition is left alone whose pass has failed.
const FAILURE_RESTS: Duration = Duration::from_secs(60);

/// Partitions looked at between two chances for others on this thread to run.
const PARTITIONS_PER_TURN: usize = 64;

/// Compacts the core's partitions whenever one of them is due. Its task is dropped with the core.
pub(super) async fn keep_compacting(core: Rc<Core>) {
    let mut failed: BTreeMap<PartitionId, Instant> = BTreeMap::new();
    loop {
        let now = Instant::now();
        failed.retain(|_, until| *until > now);
        match core.most_dirty(&failed).await {
            Some(partition) => {
                if !core.compact_partition(partition).await {
                    failed.insert(partition, Instant::now() + FAILURE_RESTS);
                }
            }
            None => tokio::time::sleep(core.shared.config.compaction_backoff).await,
        }
    }
}

impl Core {
    /// The partition that is due and has the largest part of news.
    async fn most_dirty(&self, failed: &BTreeMap<PartitionId, Instant>) -> Option<PartitionId> {
        let now_ms = self.shared.clock.now_ms();
        let partitions: Vec<PartitionId> = self.logs.borrow().keys().copied().collect();
        let mut most: Option<(PartitionId, Cleanable)> = None;
        for (number, &partition) in partitions.iter().enumerate() {
            if number % PARTITIONS_PER_TURN == PARTITIONS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            if failed.contains_key(&partition) {
                continue;
            }
            let found = self.logs.borrow().get(&partition).and_then(|owned| owned.log.cleanable(now_ms));
            let Some(found) = found.filter(|found| found.is_due) else { continue };
            if most.is_none_or(|(_, most)| is_dirtier(&found, &most)) {
                most = Some((partition, found));
            }
        }
        most.map(|(partition, _)| partition)
    }

    /// Makes a pass over one partition; false if it is better left alone for a while.
    async fn compact_partition(&self, partition: PartitionId) -> bool {
        let log = self.logs.borrow().get(&partition).map(|owned| Rc::clone(&owned.log));
        let Some(log) = log else { return true };
        let begun = Instant::now();
        let mut pacer = Pacer::new();
        let pace = async |bytes: u64| {
            // At least one turn of everything else, however fast it may go.
            tokio::task::yield_now().await;
            pacer.keep_to(|| self.compaction_bytes_per_second(), bytes).await;
        };
        // Nothing that is seen of a pass depends on this key, so that a simulation need not know it.
        let key = RandomState::new();
        let limits = CompactionLimits::new([key.hash_one(0), key.hash_one(1)]);
        let pass = log.compact(&limits, pace).await;
        tell(&log, pass.as_ref().map(Option::as_ref), begun.elapsed());
        match pass {
            Ok(done) => done.is_some(),
            Err(Abandoned::Closed) => true,
            Err(_) => false,
        }
    }

    /// What this core may read and write; `None`: as fast as it can.
    fn compaction_bytes_per_second(&self) -> Option<u64> {
        let bytes_per_second = self.metadata().running().compaction_bytes_per_second();
        (bytes_per_second < u64::MAX).then(|| (bytes_per_second / self.core_count() as u64).max(1))
    }
}

/// Whether a larger part of the one than of the other is new.
fn is_dirtier(one: &Cleanable, other: &Cleanable) -> bool {
    let all = |it: &Cleanable| u128::from(it.clean_bytes + it.dirty_bytes);
    u128::from(one.dirty_bytes) * all(other) > u128::from(other.dirty_bytes) * all(one)
}

/// One line for each pass, and one for each batch that it cannot read, once.
fn tell(log: &Log, pass: Result<Option<&ringmill_engine::log::Compacted>, &Abandoned>, took: Duration) {
    let dir = log.dir().display();
    for UnreadBatch { offset, records, bytes, why } in pass.iter().flatten().flat_map(|done| &done.unread_named) {
        tracing::warn!(%dir, %offset, records, bytes, why, "a batch cannot be compacted: it stays, and so does every tombstone behind it");
    }
    match pass {
        Ok(Some(done)) => tracing::info!(
            %dir,
            bytes_before = done.bytes_before,
            bytes_after = done.bytes_after,
            segments_before = done.segments_before,
            segments_after = done.segments_after,
            keys = done.keys,
            damaged_segments = done.damaged,
            outgrown_segments = done.outgrown,
            batches_unread = done.unread,
            compacted_to = %done.cleaned_to,
            seconds = took.as_secs_f64(),
            "compacted"
        ),
        Ok(None) | Err(Abandoned::Closed) => {}
        Err(error) => tracing::warn!(%dir, %error, "compaction is put off; the partition serves as before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_part_of_news_counts_not_the_most_bytes() {
        let cleanable = |clean_bytes, dirty_bytes| Cleanable { clean_bytes, dirty_bytes, is_due: true };
        assert!(is_dirtier(&cleanable(10, 10), &cleanable(1000, 900)));
        assert!(!is_dirtier(&cleanable(10, 10), &cleanable(5, 5)), "of equals the first stays");
        assert!(is_dirtier(&cleanable(0, 1), &cleanable(1, u64::MAX - 1)));
    }
}
