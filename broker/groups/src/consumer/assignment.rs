//! Sets of partitions, by topic: what a member shall own, owns, or says that it owns.
//!
//! Partitions are in order, once each, and no topic is without any; [`normal`] makes it so for what a client sent.

use std::collections::BTreeMap;

use crate::TopicId;

/// A set of partitions.
pub(crate) type Assignment = BTreeMap<TopicId, Vec<i32>>;

/// The same partitions, in order.
pub(crate) fn normal(given: &Assignment) -> Assignment {
    let mut partitions = given.clone();
    for list in partitions.values_mut() {
        list.sort_unstable();
        list.dedup();
    }
    partitions.retain(|_, list| !list.is_empty());
    partitions
}

/// How many partitions there are.
pub(crate) fn count(set: &Assignment) -> usize {
    set.values().map(Vec::len).sum()
}

/// Those that are in both.
pub(crate) fn both(one: &Assignment, other: &Assignment) -> Assignment {
    filtered(one, |topic, partition| contains(other, topic, partition))
}

/// Those of `one` that are not in `other`.
pub(crate) fn minus(one: &Assignment, other: &Assignment) -> Assignment {
    filtered(one, |topic, partition| !contains(other, topic, partition))
}

/// Those that `keep` says yes to.
pub(crate) fn filtered(set: &Assignment, keep: impl Fn(&TopicId, i32) -> bool) -> Assignment {
    let mut kept = Assignment::new();
    for (topic, partitions) in set {
        let list: Vec<i32> = partitions.iter().copied().filter(|partition| keep(topic, *partition)).collect();
        if !list.is_empty() {
            kept.insert(*topic, list);
        }
    }
    kept
}

/// Those that are in one of the two.
pub(crate) fn either(one: &Assignment, other: &Assignment) -> Assignment {
    let mut all = one.clone();
    for (topic, partitions) in other {
        let list = all.entry(*topic).or_default();
        list.extend(partitions);
        list.sort_unstable();
        list.dedup();
    }
    all
}

/// Whether any partition is in both.
pub(crate) fn overlap(one: &Assignment, other: &Assignment) -> bool {
    pairs(one).any(|(topic, partition)| contains(other, topic, partition))
}

/// Whether all of `part` are in one of `wholes`.
pub(crate) fn is_within(part: &Assignment, wholes: [&Assignment; 2]) -> bool {
    pairs(part).all(|(topic, partition)| wholes.iter().any(|whole| contains(whole, topic, partition)))
}

/// One after the other.
pub(crate) fn pairs(set: &Assignment) -> impl Iterator<Item = (&TopicId, i32)> {
    set.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic, *partition)))
}

fn contains(set: &Assignment, topic: &TopicId, partition: i32) -> bool {
    set.get(topic).is_some_and(|partitions| partitions.binary_search(&partition).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave_like_sets() {
        let (a, b) = ([1; 16], [2; 16]);
        let one = normal(&Assignment::from([(a, vec![3, 1, 1, 2]), (b, vec![])]));
        assert_eq!(one, Assignment::from([(a, vec![1, 2, 3])]));
        let other = Assignment::from([(a, vec![2]), (b, vec![7])]);
        assert_eq!(both(&one, &other), Assignment::from([(a, vec![2])]));
        assert_eq!(minus(&one, &other), Assignment::from([(a, vec![1, 3])]));
        assert_eq!(either(&one, &other), Assignment::from([(a, vec![1, 2, 3]), (b, vec![7])]));
        assert_eq!((count(&one), overlap(&one, &other)), (3, true));
        assert!(is_within(&either(&one, &other), [&one, &other]));
        assert!(!is_within(&other, [&one, &Assignment::new()]));
    }
}
