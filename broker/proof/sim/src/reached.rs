//! What all runs together must have reached: a workload that never gets where it was made for proves nothing.

use std::collections::BTreeMap;

use crate::history::Counts;

/// Fewer seeds need not have reached everything.
const SEEDS_MIN: u64 = 500;

/// States, and in how many seeds one visit is due at least: a few times as many as it takes.
const DUE: [(&str, u64); 53] = [
    ("acknowledged", 1),
    ("consumed", 1),
    ("pipelined produces", 1),
    ("repeats acknowledged", 2),
    ("long polls answered", 1),
    ("killed", 2),
    ("power cut", 2),
    ("stopped cleanly", 4),
    ("rolled", 5),
    ("torn tails set aside", 50),
    ("log start passed a reader", 20),
    ("records deleted", 10),
    ("topics deleted", 20),
    ("topics made again", 30),
    ("topics came or went unanswered", 250),
    ("partitions added", 50),
    ("settings changed", 10),
    ("producers expired", 50),
    ("unsynced records lost", 100),
    ("clock jumped ahead", 50),
    ("clock jumped back", 50),
    ("bad connections", 2),
    ("device filled", 10),
    ("produces refused by storage", 2),
    ("resumed after a storage error", 100),
    ("sync failed", 100),
    ("write failed", 100),
    ("read failed", 20),
    ("write stopped short", 100),
    ("allocation found no space", 100),
    ("metadata failed", 250),
    ("did not boot", 50),
    ("closed segments rotted", 30),
    ("derived files rotted", 50),
    ("damage found by the client", 100),
    ("quarantined while others served", 500),
    ("compacted", 15),
    ("records superseded", 1),
    ("tombstones removed", 60),
    ("compactions interrupted by a crash", 60),
    ("swaps left to a start", 200),
    ("records without a key refused", 3),
    ("generations formed", 5),
    ("rebalances ended", 6),
    ("groups of the new protocol formed", 2),
    ("partitions given up", 15),
    ("stale commits refused", 15),
    ("members fenced", 30),
    ("members out", 6),
    ("commits read back after a crash", 35),
    ("offsets deleted", 4),
    ("topics deleted under groups", 12),
    ("topics grown under groups", 25),
];

/// What so many seeds should have reached and have not, with the least number.
#[must_use]
pub fn missing(seeds: u64, counts: &Counts) -> BTreeMap<&'static str, u64> {
    if seeds < SEEDS_MIN {
        return BTreeMap::new();
    }
    let due = DUE.into_iter().map(|(what, seeds_per_visit)| (what, seeds / seeds_per_visit));
    due.filter(|(what, least)| counts.get(what).copied().unwrap_or(0) < *least).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_hardly_reached_is_named() {
        let all = |count| DUE.into_iter().map(|(what, _)| (what, count)).collect::<Counts>();
        assert!(missing(1000, &all(1000)).is_empty());
        assert_eq!(missing(1000, &all(999)).into_iter().next(), Some(("acknowledged", 1000)));
        assert!(missing(10, &Counts::new()).is_empty(), "a few seeds need not reach all");
    }
}
