//! What all runs together must have reached: a workload that never gets where it was made for proves nothing.

use std::collections::BTreeMap;

use crate::history::Counts;
use crate::theme::Theme::{
    self, Cache, Churn, Clock, Compact, Delete, Errors, Full, Groups, Grow, Network, ReadErrors, Retain, Roll, Rot,
    Settings,
};

/// Fewer seeds need not have reached everything.
const SEEDS_MIN: u64 = 500;

/// States; in how many seeds one visit is due at least: a few times as many as it takes; and the themes that reach it so often by
/// themselves, too. A metadata database hardly ever fails for good without others that fail.
const DUE: [(&str, u64, &[Theme]); 55] = [
    ("acknowledged", 1, &Theme::ALL),
    ("consumed", 1, &Theme::ALL),
    ("pipelined produces", 1, &Theme::ALL),
    ("repeats acknowledged", 2, &Theme::ALL),
    ("long polls answered", 1, &Theme::ALL),
    ("killed", 2, &Theme::ALL),
    ("power cut", 2, &Theme::ALL),
    ("stopped cleanly", 4, &Theme::ALL),
    ("rolled", 5, &[Roll, Retain, Delete, Rot]),
    ("torn tails set aside", 50, &[Retain, Delete, Cache]),
    ("log start passed a reader", 20, &[Retain, Delete]),
    ("records deleted", 10, &[Delete]),
    ("topics deleted", 20, &[Churn]),
    ("topics made again", 30, &[Churn]),
    ("topics came or went unanswered", 250, &[Churn]),
    ("partitions added", 50, &[Grow]),
    ("settings changed", 10, &[Settings]),
    ("producers expired", 50, &[Clock]),
    ("unsynced records lost", 100, &[Cache]),
    ("clock jumped ahead", 50, &[Clock]),
    ("clock jumped back", 50, &[Clock]),
    ("bad connections", 2, &[Network]),
    ("device filled", 10, &[Full]),
    ("produces refused by storage", 2, &[Full, Errors, Rot]),
    ("resumed after a storage error", 100, &[Full]),
    ("sync failed", 100, &[Errors]),
    ("write failed", 100, &[Errors]),
    ("read failed", 20, &[ReadErrors]),
    ("write stopped short", 100, &[Errors]),
    ("allocation found no space", 100, &[Errors]),
    ("metadata failed", 250, &[]),
    ("did not boot", 50, &[Errors, ReadErrors]),
    ("closed segments rotted", 30, &[Rot]),
    ("derived files rotted", 50, &[Rot]),
    ("damage found by the client", 100, &[Rot]),
    ("quarantined while others served", 500, &[Rot]),
    ("compacted", 15, &[Compact]),
    ("records superseded", 1, &[Compact]),
    ("tombstones removed", 60, &[Compact]),
    ("compactions interrupted by a crash", 60, &[Compact]),
    ("swaps left to a start", 200, &[Compact]),
    ("records without a key refused", 3, &[Compact]),
    ("generations formed", 5, &[Groups]),
    ("rebalances ended", 6, &[Groups]),
    ("groups of the consumer protocol formed", 2, &[Groups]),
    ("partitions given up", 15, &[Groups]),
    ("stale commits refused", 15, &[Groups]),
    ("commits of old epochs refused", 15, &[Groups]),
    ("members fenced", 30, &[Groups]),
    ("members out", 6, &[Groups]),
    ("commits read back after a crash", 35, &[Groups]),
    ("topic of groups compacted", 50, &[Groups]),
    ("offsets deleted", 4, &[Groups]),
    ("topics deleted under groups", 12, &[Groups]),
    ("topics grown under groups", 25, &[Groups]),
];

/// What so many seeds should have reached and have not, with the least number; with `only`, seeds of that theme alone.
#[must_use]
pub fn missing(seeds: u64, only: Option<Theme>, counts: &Counts) -> BTreeMap<&'static str, u64> {
    if seeds < SEEDS_MIN {
        return BTreeMap::new();
    }
    let within_reach = DUE.into_iter().filter(|(_, _, themes)| only.is_none_or(|theme| themes.contains(&theme)));
    let due = within_reach.map(|(what, seeds_per_visit, _)| (what, seeds / seeds_per_visit));
    due.filter(|(what, least)| counts.get(what).copied().unwrap_or(0) < *least).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: u64) -> Counts {
        DUE.into_iter().map(|(what, ..)| (what, count)).collect()
    }

    #[test]
    fn what_was_hardly_reached_is_named() {
        assert!(missing(1000, None, &all(1000)).is_empty());
        assert_eq!(missing(1000, None, &all(999)).into_iter().next(), Some(("acknowledged", 1000)));
        assert!(missing(10, None, &Counts::new()).is_empty(), "a few seeds need not reach all");
    }

    #[test]
    fn a_theme_by_itself_is_held_to_what_it_can_reach() {
        assert!(missing(1000, Some(Churn), &all(1000)).is_empty());
        let due = missing(1000, Some(Churn), &Counts::new());
        assert_eq!((due.get("killed"), due.get("topics deleted"), due.get("rolled")), (Some(&500), Some(&50), None));
    }
}
