//! Turns: requests that cost much are carried out one after the other on each core, and parked ones hold only so much.
//!
//! A small request is answered between two steps of a long one, so it waits for one of them, however many long ones there are. Without
//! turns all would be under way at once: each decoded into memory, each making every other request wait for one of its steps. Nothing
//! here knows what a request says.

use std::cell::Cell;

use tokio::sync::{Semaphore, SemaphorePermit};

/// From this size on a request is a long one: some six hundred partitions of a fetch.
pub const LONG_REQUEST_BYTES: usize = 16 * 1024;

/// From so many partitions on it is a long one, whatever its size.
pub const LONG_PARTITIONS: usize = 1000;

/// Partitions of one core's parked fetches together, each some three hundred bytes.
const PARKED_PARTITIONS_IN_ALL_MAX: usize = 200_000;

/// Who has the turn on a core.
#[derive(Debug)]
pub struct Turns {
    reads: Semaphore,
    changes: Semaphore,
    parked_partitions: Cell<usize>,
}

/// Partitions that count as parked until this is dropped.
#[derive(Debug)]
pub struct Parked<'a> {
    turns: &'a Turns,
    partitions: usize,
}

impl Turns {
    /// Nobody has it.
    #[must_use]
    pub fn new() -> Turns {
        Turns { reads: Semaphore::new(1), changes: Semaphore::new(1), parked_partitions: Cell::new(0) }
    }

    /// Waits for the turn to read, if it is needed; first come, first served. Not to be held while parked.
    pub async fn to_read(&self, is_long: bool) -> Option<SemaphorePermit<'_>> {
        take(&self.reads, is_long).await
    }

    /// The same for requests that may change something and wait for the disk: no reader is to wait for these.
    pub async fn to_change(&self, is_long: bool) -> Option<SemaphorePermit<'_>> {
        take(&self.changes, is_long).await
    }

    /// Room for a fetch of so many partitions to be parked; none where too many are.
    #[must_use]
    pub fn park(&self, partitions: usize) -> Option<Parked<'_>> {
        let parked = self.parked_partitions.get() + partitions;
        if parked > PARKED_PARTITIONS_IN_ALL_MAX {
            return None;
        }
        self.parked_partitions.set(parked);
        Some(Parked { turns: self, partitions })
    }
}

impl Default for Turns {
    fn default() -> Turns {
        Turns::new()
    }
}

async fn take(turn: &Semaphore, is_long: bool) -> Option<SemaphorePermit<'_>> {
    match is_long {
        true => Some(turn.acquire().await.expect("turns are never closed")),
        false => None,
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.turns.parked_partitions.set(self.turns.parked_partitions.get() - self.partitions);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_long_reader_at_a_time_and_short_ones_beside_it() {
        let turns = Turns::new();
        let first = turns.to_read(true).await;
        assert!(first.is_some());
        assert!(turns.to_read(false).await.is_none());
        assert!(turns.to_change(true).await.is_some());
        assert!(timeout(Duration::from_secs(9), turns.to_read(true)).await.is_err());
        drop(first);
        assert!(turns.to_read(true).await.is_some());
    }

    #[test]
    fn parked_partitions_are_counted_as_long_as_they_are_parked() {
        let turns = Turns::new();
        let most = turns.park(PARKED_PARTITIONS_IN_ALL_MAX - 1);
        assert!(most.is_some() && turns.park(2).is_none() && turns.park(1).is_some());
        drop(most);
        assert!(turns.park(PARKED_PARTITIONS_IN_ALL_MAX).is_some());
        assert_eq!(turns.parked_partitions.get(), 0);
    }
}
