//! Both protocols in one group under seeds: classic members, some of which give everything up before they join, and members of the new
//! protocol come and go, so that the group changes its protocol back and forth, over a log that is slow and a broker that crashes.
//!
//! What counts is what members believe: a partition is a member's from the answer that gives it until it says that it gave it up, leaves, or
//! must suppose that it is out. No two may have one at a time, whoever made the assignment; and when all is quiet each has an owner.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

use std::collections::BTreeMap;

#[path = "../classic_model/broker.rs"]
#[expect(dead_code, reason = "the other model asks more of it")]
mod broker;
mod member;

use broker::Broker;
use member::{Kind, Member};

pub(crate) const PARTITIONS: i32 = 6;
const MEMBERS_MAX: usize = 5;
const STEPS: usize = 600;
/// Runs of the ordinary test; `RINGMILL_SEEDS` asks for others.
const SEEDS: u64 = 120;

/// Chance from a seed.
pub(crate) struct Chance(u64);

impl Chance {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    pub(crate) fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap()
    }
}

/// That the seeds reach what they are for.
#[derive(Default)]
pub(crate) struct Reached {
    /// Classic members that found themselves in a group of the consumer protocol.
    pub(crate) upgrades: usize,
    /// Those that came from there into a generation of their own.
    pub(crate) downgrades: usize,
    /// Assignments of the consumer protocol.
    pub(crate) given: usize,
    crashes: usize,
}

struct Model {
    broker: Broker,
    members: Vec<Member>,
    reached: Reached,
    now_ms: u64,
}

impl Model {
    fn live(seed: u64) -> Reached {
        let mut chance = Chance(seed);
        let (members, reached) = (Vec::new(), Reached::default());
        let mut model = Model { broker: Broker::new(seed), members, reached, now_ms: 0 };
        for _ in 0..STEPS {
            model.step(&mut chance);
            model.hear();
        }
        model.settle();
        model.reached
    }

    fn step(&mut self, chance: &mut Chance) {
        let count = self.members.len();
        match chance.below(100) {
            0..3 if count < MEMBERS_MAX => {
                let kind =
                    [Kind::Consumer, Kind::Consumer, Kind::Eager, Kind::Cooperative, Kind::Cooperative][chance.pick(5)];
                self.members.push(Member::new(kind));
            }
            // Gone without a word.
            3 if count > 0 => drop(self.members.swap_remove(chance.pick(count))),
            4..6 if count > 0 => {
                let mut member = self.members.swap_remove(chance.pick(count));
                member.leave(&mut self.broker);
            }
            6 if chance.below(3) == 0 => {
                self.reached.crashes += 1;
                self.broker.crash();
                self.members.iter_mut().for_each(Member::disconnected);
            }
            7..20 => self.pass(chance.below(3_000)),
            20 if chance.below(4) == 0 => self.pass(chance.below(30_000)),
            21..50 => self.broker.flush_one(),
            _ if count > 0 => self.members[chance.pick(count)].act(&mut self.broker, self.now_ms, chance.below(3) > 0),
            _ => {}
        }
    }

    fn pass(&mut self, millis: u64) {
        self.broker.pass(millis);
        self.now_ms += millis;
        self.members.iter_mut().for_each(|member| member.look_at_the_clock(self.now_ms));
    }

    fn hear(&mut self) {
        for member in &mut self.members {
            member.hear(&mut self.broker, self.now_ms, &mut self.reached);
        }
        let mut owners: BTreeMap<i32, &Member> = BTreeMap::new();
        for member in &self.members {
            for partition in &member.owned {
                if let Some(other) = owners.insert(*partition, member) {
                    panic!("partition {partition} belongs to {other:?} and {member:?} at {}", self.now_ms);
                }
            }
        }
    }

    /// Everybody behaves: soon each partition has an owner.
    fn settle(&mut self) {
        for _ in 0..400 {
            self.pass(500);
            self.broker.flush_all();
            self.hear();
            for at in 0..self.members.len() {
                self.members[at].act(&mut self.broker, self.now_ms, true);
                self.broker.flush_all();
                self.hear();
            }
        }
        let owned: usize = self.members.iter().map(|member| member.owned.len()).sum();
        let all = if self.members.is_empty() { 0 } else { usize::try_from(PARTITIONS).unwrap() };
        assert_eq!(owned, all, "{:#?}", self.members);
    }
}

#[test]
fn no_partition_is_shared_while_the_group_changes_its_protocol() {
    let seeds = std::env::var("RINGMILL_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let mut all = Reached::default();
    for seed in 0..seeds {
        let reached = std::panic::catch_unwind(|| Model::live(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        all.upgrades += reached.upgrades;
        all.downgrades += reached.downgrades;
        all.given += reached.given;
        all.crashes += reached.crashes;
    }
    let reached = [all.upgrades, all.downgrades, all.given, all.crashes];
    assert!(reached.iter().all(|count| *count > 50), "not all was reached often: {reached:?}");
}
