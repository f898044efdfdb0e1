//! The `uniform` assignor: even shares, and as few partitions as possible change hands.
//!
//! Where all subscriptions are equal, shares differ by one at most, and a member loses only what exceeds its share. Else a partition
//! moves only to a subscriber that has at least two fewer than its owner, until none does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Problem;
use crate::TopicId;
use crate::consumer::assignment::{Assignment, pairs};

/// How often all topics are gone through to even out unequal subscriptions; two or three times are common.
const BALANCE_ROUNDS_MAX: usize = 20;

/// What each member shall own.
pub(crate) fn assign(problem: &Problem<'_>) -> Vec<Assignment> {
    let mut table = Table::new(problem);
    if problem.members.is_empty() {
        return Vec::new();
    }
    if problem.subscriptions.iter().all(|topics| topics.len() == problem.topics.len()) {
        table.share_equally();
    } else {
        table.share_among_readers();
    }
    table.shares()
}

/// Who owns each partition.
struct Table<'a> {
    problem: &'a Problem<'a>,
    topic_of: BTreeMap<TopicId, usize>,
    /// By topic and partition: the owner.
    owners: Vec<Vec<Option<usize>>>,
    /// By member: how many it owns.
    loads: Vec<usize>,
}

impl<'a> Table<'a> {
    fn new(problem: &'a Problem<'a>) -> Table<'a> {
        let size = |partitions| usize::try_from(partitions).unwrap_or(0);
        Table {
            problem,
            topic_of: problem.topics.iter().enumerate().map(|(at, topic)| (topic.id, at)).collect(),
            owners: problem.topics.iter().map(|topic| vec![None; size(topic.partitions)]).collect(),
            loads: vec![0; problem.members.len()],
        }
    }

    /// What a member had before and may have still, as topic and partition.
    fn kept(&self, member: usize) -> Vec<(usize, usize)> {
        let subscriber = &self.problem.members[member];
        let subscription = &self.problem.subscriptions[subscriber.subscription];
        let place = |(id, partition): (&TopicId, i32)| {
            let topic = *self.topic_of.get(id)?;
            let partition = usize::try_from(partition).ok()?;
            let is_free = self.owners[topic].get(partition)?.is_none();
            (is_free && subscription.binary_search(&topic).is_ok()).then_some((topic, partition))
        };
        subscriber.previous.into_iter().flat_map(pairs).filter_map(place).collect()
    }

    fn give(&mut self, member: usize, (topic, partition): (usize, usize)) {
        self.owners[topic][partition] = Some(member);
        self.loads[member] += 1;
    }

    /// Partitions without an owner, in order.
    fn unowned(&self) -> Vec<(usize, usize)> {
        let of_topic = |(topic, owners): (usize, &Vec<Option<usize>>)| {
            let free = owners.iter().enumerate().filter(|(_, owner)| owner.is_none());
            free.map(|(partition, _)| (topic, partition)).collect::<Vec<_>>()
        };
        self.owners.iter().enumerate().flat_map(of_topic).collect()
    }

    /// Everybody reads everything.
    fn share_equally(&mut self) {
        let partitions: usize = self.owners.iter().map(Vec::len).sum();
        let members = self.problem.members.len();
        let (each, mut larger) = (partitions / members, partitions % members);
        for member in 0..members {
            let kept = self.kept(member);
            // Who had more than the others has the first claim to one of the larger shares.
            let share = if kept.len() > each && larger > 0 {
                larger -= 1;
                each + 1
            } else {
                each
            };
            kept.into_iter().take(share).for_each(|place| self.give(member, place));
        }
        // In turn, so that a member has partitions of many topics, and a topic many owners.
        let mut short: VecDeque<usize> = (0..members).filter(|member| self.loads[*member] < each).collect();
        let mut rest: VecDeque<usize> = (0..members).filter(|member| self.loads[*member] <= each).collect();
        for place in self.unowned() {
            if let Some(member) = short.pop_front() {
                self.give(member, place);
                if self.loads[member] < each {
                    short.push_back(member);
                }
            } else {
                let member = rest.pop_front().expect("what is left over is less than one for each");
                self.give(member, place);
            }
        }
    }

    /// Not everybody reads everything.
    fn share_among_readers(&mut self) {
        for member in 0..self.problem.members.len() {
            for place in self.kept(member) {
                self.give(member, place);
            }
        }
        let mut subscribers = Subscribers::new(self.problem, &self.loads);
        // Topics with few subscribers first: who reads many can still even out with the others.
        let mut topics: Vec<usize> = (0..self.owners.len()).collect();
        topics.sort_by_key(|topic| (subscribers.count(*topic), *topic));
        for topic in &topics {
            let mut candidates = subscribers.of_topic(*topic);
            for partition in 0..self.owners[*topic].len() {
                if self.owners[*topic][partition].is_none()
                    && let Some(member) = candidates.least()
                {
                    self.give(member, (*topic, partition));
                    candidates.changed(member, self.loads[member] - 1, self.loads[member]);
                }
            }
        }
        for _ in 0..BALANCE_ROUNDS_MAX {
            let moved = topics.iter().filter(|topic| self.even_out(**topic, &mut subscribers)).count();
            if moved == 0 {
                break;
            }
        }
    }

    /// Moves a topic's partitions from those with the most to those with the fewest; says whether any did.
    fn even_out(&mut self, topic: usize, subscribers: &mut Subscribers<'_>) -> bool {
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in self.owners[topic].iter().enumerate() {
            if let Some(owner) = owner {
                owned.entry(*owner).or_default().push(partition);
            }
        }
        let mut by_load: BTreeSet<(usize, usize)> = owned.keys().map(|owner| (self.loads[*owner], *owner)).collect();
        let mut candidates = subscribers.of_topic(topic);
        let mut moved = false;
        while let (Some((load, from)), Some(to)) = (by_load.last().copied(), candidates.least()) {
            if load < self.loads[to] + 2 {
                break;
            }
            let partition = owned.get_mut(&from).and_then(Vec::pop).expect("owners without partitions are left out");
            by_load.remove(&(load, from));
            by_load.remove(&(self.loads[to], to));
            self.owners[topic][partition] = Some(to);
            self.loads[from] -= 1;
            self.loads[to] += 1;
            candidates.changed(from, load, load - 1);
            candidates.changed(to, self.loads[to] - 1, self.loads[to]);
            if owned.get(&from).is_some_and(|left| !left.is_empty()) {
                by_load.insert((self.loads[from], from));
            }
            owned.entry(to).or_default().push(partition);
            by_load.insert((self.loads[to], to));
            moved = true;
        }
        moved
    }

    fn shares(&self) -> Vec<Assignment> {
        let mut shares = vec![Assignment::new(); self.problem.members.len()];
        for (topic, owners) in self.problem.topics.iter().zip(&self.owners) {
            for (partition, owner) in (0..topic.partitions).zip(owners) {
                if let Some(owner) = owner {
                    shares[*owner].entry(topic.id).or_default().push(partition);
                }
            }
        }
        shares
    }
}

/// Who owns the fewest, by subscription: members with the same one need not be looked at one by one.
struct Subscribers<'a> {
    problem: &'a Problem<'a>,
    by_topic: Vec<Vec<usize>>,
    /// By subscription: its members, with how many they own.
    by_subscription: Vec<BTreeSet<(usize, usize)>>,
}

impl<'a> Subscribers<'a> {
    fn new(problem: &'a Problem<'a>, loads: &[usize]) -> Subscribers<'a> {
        let mut by_subscription = vec![BTreeSet::new(); problem.subscriptions.len()];
        for (member, subscriber) in problem.members.iter().enumerate() {
            by_subscription[subscriber.subscription].insert((loads[member], member));
        }
        Subscribers { problem, by_topic: problem.subscriptions_by_topic(), by_subscription }
    }

    fn count(&self, topic: usize) -> usize {
        self.by_topic[topic].iter().map(|subscription| self.by_subscription[*subscription].len()).sum()
    }

    fn of_topic(&mut self, topic: usize) -> Candidates<'_, 'a> {
        let least = self.by_topic[topic].iter().filter_map(|at| self.by_subscription[*at].first().copied()).collect();
        Candidates { topic, subscribers: self, least }
    }
}

/// The subscribers of one topic: of each subscription the one that owns the fewest.
struct Candidates<'b, 'a> {
    topic: usize,
    subscribers: &'b mut Subscribers<'a>,
    least: BTreeSet<(usize, usize)>,
}

impl Candidates<'_, '_> {
    fn least(&self) -> Option<usize> {
        self.least.first().map(|(_, member)| *member)
    }

    /// A member owns more or fewer now.
    fn changed(&mut self, member: usize, before: usize, now: usize) {
        let subscription = self.subscribers.problem.members[member].subscription;
        let members = &mut self.subscribers.by_subscription[subscription];
        let old_least = members.first().copied();
        members.remove(&(before, member));
        members.insert((now, member));
        let new_least = members.first().copied();
        if self.subscribers.by_topic[self.topic].binary_search(&subscription).is_ok() {
            old_least.map(|least| self.least.remove(&least));
            new_least.map(|least| self.least.insert(least));
        }
    }
}
