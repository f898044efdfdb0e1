//! When and how fast a core looks through its partitions for rot; what is looked at, and what follows, is the engine's.
//!
//! One partition after the other, with a pause after each step, so that serving never feels it. A pass begins at start and then once in
//! `scrub.interval.hours`. Neither a pass nor what it found outlives the process; at which partition a pass begins is left to the
//! clock, so that a broker that is often restarted does not look at the same ones for ever.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Core;
use super::hosting::PartitionId;

/// Bytes looked at between two pauses.
const STEP_BYTES: u64 = 4 << 20;

/// Partitions without anything to look at between two chances for others on this thread to run.
const PARTITIONS_PER_TURN: usize = 64;

/// What the settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPace {
    /// From the beginning of one pass to that of the next.
    pub interval: Duration,
    /// For the whole process.
    pub bytes_per_second: u64,
}

/// Looks through the core's partitions again and again, if the settings want it. Its task is dropped with the core.
pub(super) async fn keep_scrubbing(core: Rc<Core>) {
    let Some(ScrubPace { interval, bytes_per_second }) = core.shared.config.scrub else { return };
    let core_bytes_per_second = (bytes_per_second / core.core_count() as u64).max(1);
    loop {
        let next = Instant::now() + interval;
        core.scrub_all(core_bytes_per_second).await;
        tokio::time::sleep_until(next).await;
    }
}

impl Core {
    async fn scrub_all(&self, bytes_per_second: u64) {
        let mut partitions: Vec<PartitionId> = self.logs.borrow().keys().copied().collect();
        let first = usize::try_from(self.shared.clock.now_ms().unsigned_abs()).unwrap_or(0) % partitions.len().max(1);
        partitions.rotate_left(first);
        let (mut bytes, mut damaged_ranges) = (0, 0);
        for (number, partition) in partitions.iter().enumerate() {
            let scrubbed = self.scrub_partition(*partition, bytes_per_second).await;
            bytes += scrubbed;
            // A partition that has gone meanwhile has none.
            let reader = self.logs.borrow().get(partition).map(|owned| owned.log.reader());
            damaged_ranges += reader.map_or(0, |reader| reader.damaged_ranges().len());
            if number % PARTITIONS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        if bytes > 0 {
            let partitions = partitions.len();
            tracing::info!(
                core = self.id.0,
                partitions,
                bytes,
                damaged_ranges,
                "looked through closed segments for rot"
            );
        }
    }

    /// Looks through one partition; gives the bytes.
    async fn scrub_partition(&self, partition: PartitionId, bytes_per_second: u64) -> u64 {
        let mut bytes = 0;
        loop {
            // Not held over the pause: a deleted partition's files must go.
            let log = self.logs.borrow().get(&partition).map(|owned| Rc::clone(&owned.log));
            let Some(log) = log else { return bytes };
            let step = log.scrub(STEP_BYTES).await;
            drop(log);
            if step.is_done {
                return bytes;
            }
            bytes += step.bytes;
            let pause = Duration::from_micros(step.bytes.saturating_mul(1_000_000) / bytes_per_second);
            tokio::time::sleep_until(Instant::now() + pause).await;
        }
    }
}
