//! The classic protocol under seeds: members that join, crash, stall, come back late and commit, over a log that is slow and forgets
//! what was not durable when the broker crashed.
//!
//! The model knows what members have seen: nobody shares a partition in one generation, no commit of a generation that was followed by
//! another is taken, no commit that was acknowledged is lost or overtaken by an older one, and when all is quiet everybody has a share.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::{OffsetFetch, Request};
use ringmill_net::wire::ErrorCode;

mod broker;
mod member;

use broker::Broker;
use member::{Member, Phase};

pub(crate) const GROUP: &str = "g";
pub(crate) const PARTITIONS: i32 = 6;
const MEMBERS_MAX: usize = 5;
const STEPS: usize = 800;

/// Chance from a seed.
pub(crate) struct Chance(u64);

impl Chance {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// What members have been told, over all lives of the broker.
#[derive(Default)]
pub(crate) struct Seen {
    /// Who was given a partition, by generation.
    owners: BTreeMap<(i32, i32), Arc<str>>,
    /// The newest generation that anybody was given a share of.
    newest: i32,
    /// The newest offset sent of each partition, and the newest acknowledged.
    sent: BTreeMap<i32, i64>,
    acknowledged: BTreeMap<i32, i64>,
    reached: Reached,
}

/// That the seeds reach what they are for.
#[derive(Default)]
struct Reached {
    generations: usize,
    commits: usize,
    refused_commits: usize,
    crashes: usize,
    lost_steps: usize,
    put_out: usize,
}

impl Seen {
    pub(crate) fn share(&mut self, generation: i32, member: &Arc<str>, partitions: &[i32]) {
        for partition in partitions {
            let owner = self.owners.entry((generation, *partition)).or_insert_with(|| Arc::clone(member));
            assert_eq!(owner, member, "partition {partition} of generation {generation} has two owners");
        }
        if generation > self.newest {
            (self.newest, self.reached.generations) = (generation, self.reached.generations + 1);
        }
    }

    /// The next offset to commit, larger than any before.
    pub(crate) fn next_offset(&mut self, partition: i32) -> i64 {
        let sent = self.sent.entry(partition).or_default();
        *sent += 1;
        *sent
    }

    pub(crate) fn newest(&self) -> i32 {
        self.newest
    }

    /// A commit was answered. `newest` is the newest generation that anybody had a share of when it was sent.
    pub(crate) fn committed(
        &mut self,
        generation: i32,
        newest: i32,
        partition: i32,
        offset: i64,
        result: Result<(), ErrorCode>,
    ) {
        match result {
            Ok(()) => {
                assert!(generation >= newest, "a commit of generation {generation} was taken, {newest} had begun");
                let acknowledged = self.acknowledged.entry(partition).or_default();
                *acknowledged = offset.max(*acknowledged);
                self.reached.commits += 1;
            }
            Err(_) => self.reached.refused_commits += 1,
        }
    }

    pub(crate) fn put_out(&mut self) {
        self.reached.put_out += 1;
    }
}

fn live(seed: u64) -> Reached {
    let mut chance = Chance(seed);
    let mut broker = Broker::new(seed);
    let mut seen = Seen::default();
    let mut members: Vec<Member> = Vec::new();
    for _ in 0..STEPS {
        match chance.below(100) {
            0..3 if members.len() < MEMBERS_MAX => members.push(Member::new(chance.one_in(3))),
            // Gone without a word; its static name, if it has one, dies with it.
            3 if !members.is_empty() => drop(members.swap_remove(pick(&mut chance, members.len()))),
            4 if chance.one_in(3) => {
                seen.reached.crashes += 1;
                seen.reached.lost_steps += broker.crash();
                members.iter_mut().for_each(Member::disconnected);
            }
            5..10 => broker.pass(chance.below(3_000)),
            10 if chance.one_in(6) => broker.pass(chance.below(30_000)),
            11..30 => broker.flush_one(),
            30 => check_offsets(&mut broker, &seen),
            _ if !members.is_empty() => {
                let place = pick(&mut chance, members.len());
                members[place].act(&mut broker, &mut chance, &mut seen);
            }
            _ => {}
        }
        members.iter_mut().for_each(|member| member.hear(&mut broker, &mut seen));
    }
    settle(&mut broker, &mut members, &mut seen);
    seen.reached
}

/// Everybody behaves: soon all have a share, and all partitions an owner.
fn settle(broker: &mut Broker, members: &mut [Member], seen: &mut Seen) {
    for _ in 0..200 {
        broker.pass(500);
        broker.flush_all();
        for member in members.iter_mut() {
            member.hear(broker, seen);
            member.go_on(broker);
            broker.flush_all();
            member.hear(broker, seen);
        }
    }
    check_offsets(broker, seen);
    let mut owned: Vec<i32> = members.iter().flat_map(|member| member.partitions().to_vec()).collect();
    owned.sort_unstable();
    let all: Vec<i32> = if members.is_empty() { Vec::new() } else { (0..PARTITIONS).collect() };
    assert_eq!(owned, all, "{:?}", members.iter().map(|member| &member.phase).collect::<Vec<&Phase>>());
}

fn pick(chance: &mut Chance, count: usize) -> usize {
    usize::try_from(chance.below(count as u64)).unwrap()
}

/// What was acknowledged is there, or something newer that was sent.
fn check_offsets(broker: &mut Broker, seen: &Seen) {
    let topics = Some(vec![("t".into(), (0..PARTITIONS).collect())]);
    let fetch = OffsetFetch { group: GROUP.into(), member_id: None, member_epoch: -1, topics };
    let ticket = broker.ask(Request::Fetch(fetch));
    // Up to the answer, which waits for what was appended before it.
    while !broker.has_answered(ticket) {
        broker.flush_one();
    }
    let Some(Answer::Fetch(Ok(topics))) = broker.answer(ticket) else { panic!("offsets are always told") };
    for (partition, committed) in &topics[0].partitions {
        let committed = committed.as_ref().map_or(0, |committed| committed.offset);
        let acknowledged = seen.acknowledged.get(partition).copied().unwrap_or(0);
        let sent = seen.sent.get(partition).copied().unwrap_or(0);
        assert!((acknowledged..=sent).contains(&committed), "{acknowledged} <= {committed} <= {sent}");
    }
}

#[test]
fn no_partition_is_shared_and_no_commit_lost_whatever_members_and_the_broker_go_through() {
    let mut all = Reached::default();
    for seed in 0..300 {
        let reached = std::panic::catch_unwind(|| live(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        all.generations += reached.generations;
        all.commits += reached.commits;
        all.refused_commits += reached.refused_commits;
        all.crashes += reached.crashes;
        all.lost_steps += reached.lost_steps;
        all.put_out += reached.put_out;
    }
    let reached = [all.generations, all.commits, all.refused_commits, all.crashes, all.lost_steps, all.put_out];
    assert!(reached.iter().all(|count| *count > 50), "not all was reached often: {reached:?}");
}
