//! What all runs together must have reached: a workload that never gets where it was made for proves nothing.

use std::collections::BTreeMap;

use crate::history::Counts;

/// States, and in how many seeds at most one visit is due.
const DUE: [(&str, u64); 3] = [("acknowledged", 1), ("consumed", 1), ("killed", 10)];

/// What so many seeds should have reached and have not, with the least number.
#[must_use]
pub fn missing(seeds: u64, counts: &Counts) -> BTreeMap<&'static str, u64> {
    let due = DUE.into_iter().map(|(what, seeds_per_visit)| (what, seeds / seeds_per_visit));
    due.filter(|(what, least)| counts.get(what).copied().unwrap_or(0) < *least).collect()
}
