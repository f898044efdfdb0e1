//! The group epoch and the target assignment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ConsumerGroup;
use super::assignment::Assignment;
use super::assignor::{Assignor, Problem, Subscriber, Topic};
use super::limits::ASSIGNED_PER_MS;
use crate::context::Context;
use crate::record::{ConsumerEpoch, ConsumerMember, ConsumerPart};
use crate::topics::Topics;

impl ConsumerGroup {
    /// Members, subscriptions or topics have changed: the target assignment is to be made anew.
    pub(super) fn raise_epoch(&mut self, cx: &mut Context<'_>) {
        let metadata_hash = self.metadata_hash(cx.topics);
        // At the largest number the group keeps the assignment that it has; at a change each millisecond that takes 24 days, and the
        // way out is a new group.
        let epoch = self.epoch().saturating_add(1);
        self.write(cx, ConsumerPart::Epoch(Some(ConsumerEpoch { epoch, metadata_hash })));
    }

    /// Whether the target assignment may be made anew for this member now. Else it is a heartbeat after the pause that has it made, for
    /// all changes until then at once (KIP-1263); the member goes on by the one that there is.
    pub(super) fn may_assign(&self, cx: &Context<'_>, member_id: &Arc<str>) -> bool {
        // A classic member is told to join again until it has the group's epoch: it would ask ever again.
        let is_classic = self.tables.members.get(member_id).is_some_and(|member| member.classic.is_some());
        is_classic || cx.now.monotonic_ms >= self.assign_from_ms
    }

    /// Makes the target assignment for the group epoch; only what changes is written.
    pub(super) fn assign(&mut self, cx: &mut Context<'_>) {
        let (shares, size) = {
            let problem = self.problem(cx.topics);
            let shares = self.preferred_assignor().assign(&problem);
            let changed = |(subscriber, share): (&Subscriber<'_>, Assignment)| {
                let same = subscriber.previous.map_or(share.is_empty(), |previous| *previous == share);
                (!same).then(|| (Arc::clone(subscriber.member_id), share))
            };
            (problem.members.iter().zip(shares).filter_map(changed).collect::<Vec<_>>(), problem.size())
        };
        let pause_ms = (size / ASSIGNED_PER_MS).max(cx.settings.consumer_assignment_interval_ms);
        self.assign_from_ms = cx.now.monotonic_ms.saturating_add(pause_ms);
        for (member_id, share) in shares {
            self.write(cx, ConsumerPart::Target { member_id, value: Some(share) });
        }
        self.write(cx, ConsumerPart::TargetEpoch(Some(self.epoch())));
    }

    /// The assignor that most members ask for; where they ask for none, or for two equally often, the first of all.
    pub(super) fn preferred_assignor(&self) -> Assignor {
        let mut best = (0, Assignor::ALL[0]);
        for assignor in Assignor::ALL {
            let wanted = |member: &&ConsumerMember| member.server_assignor.as_deref() == Some(assignor.name());
            let votes = self.tables.members.values().filter(wanted).count();
            if votes > best.0 {
                best = (votes, assignor);
            }
        }
        best.1
    }

    /// Changes when a topic that is read comes, goes, or grows.
    pub(super) fn metadata_hash(&self, topics: &dyn Topics) -> i64 {
        let mut hash = Fnv::new();
        for name in self.topics_read() {
            if let Some((id, partitions)) = topics.find(name) {
                hash.write(name.as_bytes());
                hash.write(&id);
                hash.write(&partitions.to_be_bytes());
            }
        }
        hash.0.cast_signed()
    }

    /// The names of all topics that somebody reads, whether they exist or not.
    fn topics_read(&self) -> BTreeSet<&Arc<str>> {
        let by_regex = self.tables.regexes.values().flat_map(|resolved| &resolved.topics);
        self.tables.subscribers.keys().chain(by_regex).collect()
    }

    fn problem(&self, topics: &dyn Topics) -> Problem<'_> {
        let mut index = BTreeMap::new();
        let mut found = Vec::new();
        for name in self.topics_read() {
            if let Some((id, partitions)) = topics.find(name) {
                index.insert(name, found.len());
                found.push(Topic { id, partitions });
            }
        }
        let mut subscriptions = Vec::new();
        let mut known: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        // Members that describe themselves alike are looked up once.
        let mut alike: BTreeMap<Wishes<'_>, usize> = BTreeMap::new();
        let mut subscription_of = |member| {
            let (names, regex) = wishes(member);
            *alike.entry((names, regex)).or_insert_with(|| {
                let resolved = regex.and_then(|regex| self.tables.regexes.get(regex));
                let by_regex = resolved.into_iter().flat_map(|resolved| &resolved.topics);
                let all: BTreeSet<usize> =
                    names.iter().chain(by_regex).filter_map(|name| index.get(name).copied()).collect();
                let all: Vec<usize> = all.into_iter().collect();
                *known.entry(all).or_insert_with_key(|all| {
                    subscriptions.push(all.clone());
                    subscriptions.len() - 1
                })
            })
        };
        let mut members = Vec::with_capacity(self.tables.members.len());
        for (member_id, member) in &self.tables.members {
            let subscription = subscription_of(member);
            let previous = self.tables.targets.get(member_id);
            members.push(Subscriber { member_id, instance_id: member.instance_id.as_ref(), subscription, previous });
        }
        Problem { topics: found, subscriptions, members }
    }
}

/// What a member says that it reads: names of topics, and an expression.
type Wishes<'a> = (&'a [Arc<str>], Option<&'a Arc<str>>);

fn wishes(member: &ConsumerMember) -> Wishes<'_> {
    (&member.subscribed_topic_names, member.subscribed_topic_regex.as_ref())
}

/// The hash FNV-1a of 64 bits: stable, and good enough to see that something changed.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        // The length keeps apart what stands beside each other.
        for byte in u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
