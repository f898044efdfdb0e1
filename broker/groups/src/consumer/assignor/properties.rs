//! What every assignment must be like, whoever reads what and had what before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Assignor, Problem, Subscriber, Topic};
use crate::TopicId;
use crate::consumer::assignment::{Assignment, both, count, pairs};

/// A group in the making: partitions by topic, and its members.
#[derive(Clone, Debug)]
struct Case {
    topics: Vec<i32>,
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    id: Arc<str>,
    instance_id: Option<Arc<str>>,
    reads: Vec<usize>,
    previous: Assignment,
}

fn id(topic: usize) -> TopicId {
    [u8::try_from(topic).unwrap() + 1; 16]
}

impl Case {
    /// With what `assignor` makes of it.
    fn assign(&self, assignor: Assignor) -> Vec<Assignment> {
        let mut subscriptions: Vec<Vec<usize>> = Vec::new();
        let mut members = Vec::new();
        for member in &self.members {
            let subscription = subscriptions.iter().position(|reads| *reads == member.reads).unwrap_or_else(|| {
                subscriptions.push(member.reads.clone());
                subscriptions.len() - 1
            });
            let (member_id, instance_id) = (&member.id, member.instance_id.as_ref());
            members.push(Subscriber { member_id, instance_id, subscription, previous: Some(&member.previous) });
        }
        let topic = |(at, partitions): (usize, &i32)| Topic { id: id(at), partitions: *partitions };
        let topics = self.topics.iter().enumerate().map(topic).collect();
        let problem = Problem { topics, subscriptions, members };
        let shares = assignor.assign(&problem);
        self.check_owners(&shares);
        shares
    }

    /// Each partition of a topic that is read has one owner, which reads it; others have none.
    fn check_owners(&self, shares: &[Assignment]) {
        assert_eq!(shares.len(), self.members.len());
        let mut owners = BTreeMap::new();
        for (member, share) in self.members.iter().zip(shares) {
            for (topic, partition) in pairs(share) {
                assert!(owners.insert((*topic, partition), &member.id).is_none(), "two owners in {shares:?}");
                assert!(member.reads.iter().any(|read| id(*read) == *topic), "{member:?} does not read it");
            }
            assert!(share.values().all(|list| !list.is_empty() && list.is_sorted()), "{share:?}");
        }
        for (at, partitions) in self.topics.iter().enumerate() {
            let is_read = self.members.iter().any(|member| member.reads.contains(&at));
            let owned = owners.range((id(at), i32::MIN)..=(id(at), i32::MAX)).map(|((_, partition), _)| *partition);
            let expected = if is_read { 0..*partitions } else { 0..0 };
            assert!(owned.eq(expected), "topic {at} of {self:?} in {shares:?}");
        }
    }

    fn after(&self, shares: Vec<Assignment>) -> Case {
        let mut next = self.clone();
        next.members.iter_mut().zip(shares).for_each(|(member, share)| member.previous = share);
        next
    }
}

/// Topics, and members that read some or (`alike`) all, with what an earlier assignment to others left them.
fn cases(alike: bool) -> impl Strategy<Value = Case> {
    let member = (0..200_u32, any::<bool>(), vec(any::<bool>(), 5));
    (vec(0..13_i32, 1..6), vec(member, 1..9), 0..6_usize, any::<bool>()).prop_map(
        move |(topics, drawn, gone, has_previous)| {
            let mut ids = BTreeSet::new();
            let mut members = Vec::new();
            for (number, is_static, reads) in drawn {
                let all = 0..topics.len();
                let reads = all.filter(|topic| alike || reads[*topic]).collect();
                let instance_id = is_static.then(|| Arc::from(format!("i{:03}", 199 - number)));
                if ids.insert(number) {
                    let id = Arc::from(format!("m{number:03}"));
                    members.push(Member { id, instance_id, reads, previous: Assignment::new() });
                }
            }
            members.sort_by(|one, other| one.id.cmp(&other.id));
            let case = Case { topics, members };
            if !has_previous {
                return case;
            }
            let mut case = case.after(case.assign(Assignor::Range));
            // Some leave, and the first topic has lost a partition.
            case.members.drain(..gone.min(case.members.len() - 1));
            case.topics[0] = (case.topics[0] - 1).max(0);
            case
        },
    )
}

/// The most that can stay if all shares differ by one at most.
fn keepable(case: &Case) -> usize {
    let partitions: i32 = case.topics.iter().sum();
    let partitions = usize::try_from(partitions).unwrap();
    let (each, larger) = (partitions / case.members.len(), partitions % case.members.len());
    let all = case.topics.iter().enumerate().map(|(at, partitions)| (id(at), (0..*partitions).collect()));
    let all: Assignment = all.collect();
    let had: Vec<usize> = case.members.iter().map(|member| count(&both(&member.previous, &all))).collect();
    let above = had.iter().filter(|had| **had > each).count();
    had.iter().map(|had| (*had).min(each)).sum::<usize>() + above.min(larger)
}

proptest! {
    #[test]
    fn uniform_shares_are_even_and_sticky(case in cases(true)) {
        let shares = case.assign(Assignor::Uniform);
        let counts: Vec<usize> = shares.iter().map(count).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        let kept: usize = case.members.iter().zip(&shares).map(|(member, share)| count(&both(&member.previous, share))).sum();
        prop_assert_eq!(kept, keepable(&case));
        prop_assert_eq!(&case.after(shares.clone()).assign(Assignor::Uniform), &shares);
    }

    #[test]
    fn no_move_makes_unequal_subscriptions_more_even(case in cases(false)) {
        let shares = case.assign(Assignor::Uniform);
        for share in &shares {
            for (topic, _) in pairs(share) {
                for (subscriber, other) in case.members.iter().zip(&shares) {
                    let reads = subscriber.reads.iter().any(|read| id(*read) == *topic);
                    prop_assert!(!reads || count(share) <= count(other) + 1, "{:?} {:?}", share, other);
                }
            }
        }
        prop_assert_eq!(&case.after(shares.clone()).assign(Assignor::Uniform), &shares);
    }

    #[test]
    fn ranges_are_of_neighbours_and_the_longer_come_first(case in cases(false)) {
        let shares = case.assign(Assignor::Range);
        for at in 0..case.topics.len() {
            let mut subscribers: Vec<usize> = (0..case.members.len()).filter(|member| case.members[*member].reads.contains(&at)).collect();
            subscribers.sort_by_key(|member| {
                let member = &case.members[*member];
                (member.instance_id.is_none(), member.instance_id.clone(), member.id.clone())
            });
            let ranges: Vec<Vec<i32>> = subscribers.iter().map(|subscriber| shares[*subscriber].get(&id(at)).cloned().unwrap_or_default()).collect();
            prop_assert!(ranges.is_sorted_by_key(|range| usize::MAX - range.len()), "{:?}", ranges);
            prop_assert!(ranges.iter().map(Vec::len).max().unwrap_or(0) <= ranges.iter().map(Vec::len).min().unwrap_or(0) + 1);
            prop_assert!(ranges.concat().is_sorted(), "{:?}", ranges);
        }
    }

    #[test]
    fn ranges_of_topics_of_one_size_are_the_same(mut case in cases(true)) {
        case.topics.iter_mut().for_each(|partitions| *partitions = 7);
        for share in case.assign(Assignor::Range) {
            let first = share.get(&id(0)).cloned().unwrap_or_default();
            prop_assert!(share.values().all(|range| *range == first), "{:?}", share);
        }
    }
}
