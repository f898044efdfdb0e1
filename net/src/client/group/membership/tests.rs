//! Tests of a member by itself, and of several against a small coordinator, with words lost on the way.

use super::*;
use crate::wire::sample::Entropy;

const TOPIC: Uuid = [7; 16];

fn set(partitions: &[i32]) -> BTreeSet<Partition> {
    partitions.iter().map(|partition| (TOPIC, *partition)).collect()
}

fn heard(epoch: i32, assignment: Option<&[i32]>) -> Heard {
    Heard { epoch, interval_ms: 1000, assignment: assignment.map(set) }
}

fn told(epoch: i32, everything: bool, owned: Option<&[i32]>) -> Step {
    Step::Tell(Told { epoch, everything, owned: owned.map(|owned| by_topic(&set(owned))) })
}

/// A member in epoch 1 that has these, and whose next word is due at 1000.
fn settled(partitions: &[i32]) -> Membership {
    let mut member = Membership::new();
    assert_eq!(member.next(0), told(JOIN_EPOCH, true, Some(&[])));
    member.answered(0, heard(1, Some(partitions)));
    assert_eq!(member.next(0), Step::Take(set(partitions)));
    member.took(set(partitions), 0);
    assert_eq!(member.next(0), told(1, false, Some(partitions)));
    member.answered(0, heard(1, None));
    assert!(member.is_settled());
    member
}

#[test]
fn a_member_joins_takes_its_part_and_then_says_only_that_it_lives() {
    let mut member = settled(&[0, 1]);
    assert_eq!(member.next(0), Step::Wait { until_ms: 1000 });
    assert_eq!(member.next(1000), told(1, false, None));
    assert_eq!(member.next(1000), Step::Wait { until_ms: u64::MAX }, "one word at a time");
    member.answered(1010, heard(2, None));
    assert_eq!((member.next(1010), member.epoch()), (Step::Wait { until_ms: 2010 }, 2));
}

#[test]
fn what_goes_is_given_up_and_that_is_heard_before_anything_new_is_taken() {
    let mut member = settled(&[0, 1]);
    assert_eq!(member.next(1000), told(1, false, None));
    member.answered(1000, heard(1, Some(&[1, 2])));
    assert!(!member.is_settled());
    assert_eq!(member.next(1000), Step::GiveUp(set(&[0])));
    assert_eq!(member.next(1000), Step::GiveUp(set(&[0])), "until it is done");
    member.gave_up(1005);
    assert_eq!(member.next(1005), told(1, false, Some(&[1])), "at once, not with the next regular word");
    assert_eq!(member.next(1005), Step::Wait { until_ms: u64::MAX }, "the coordinator must hear of it first");
    member.answered(1010, heard(2, None));
    assert_eq!(member.next(1010), Step::Take(set(&[2])));
    member.took(set(&[2]), 1011);
    assert_eq!(member.next(1011), told(2, false, Some(&[1, 2])));
}

#[test]
fn what_cannot_be_taken_yet_is_tried_again_and_the_coordinator_hears_of_it_meanwhile() {
    let mut member = Membership::new();
    member.next(0);
    member.answered(0, heard(1, Some(&[0])));
    assert_eq!(member.next(0), Step::Take(set(&[0])));
    member.postpone(0, 700);
    assert_eq!(member.next(10), Step::Wait { until_ms: 700 });
    assert_eq!(member.next(700), Step::Take(set(&[0])));
    member.postpone(700, 700);
    assert_eq!(member.next(1000), told(1, false, None));
    member.answered(1000, heard(1, None));
    assert_eq!(member.next(1400), Step::Take(set(&[0])));
}

/// Nothing was said of it once, for what the member had was what it had said last; the coordinator held the partition back for ever.
#[test]
fn what_is_taken_back_before_it_could_be_taken_is_acknowledged() {
    let mut member = settled(&[0]);
    member.next(1000);
    member.answered(1000, heard(2, Some(&[0, 1])));
    member.postpone(1000, 500);
    assert_eq!(member.next(1000), Step::Wait { until_ms: 1500 });
    assert_eq!(member.next(2000), told(2, false, None));
    member.answered(2000, heard(2, Some(&[0])));
    assert_eq!(member.next(2000), told(2, false, Some(&[0])));
    member.answered(2000, heard(3, None));
    assert_eq!(member.next(3000), told(3, false, None));
}

#[test]
fn without_an_answer_everything_is_said_again_after_a_while() {
    let mut member = settled(&[0]);
    member.next(1000);
    member.unanswered(1030, 100);
    assert_eq!(member.next(1030), Step::Wait { until_ms: 1130 });
    assert_eq!(member.next(1130), told(1, true, Some(&[0])));
    member.answered(1130, heard(1, Some(&[0])));
    assert_eq!(member.next(2130), told(1, false, Some(&[0])), "what was missed may have been more");
    member.answered(2130, heard(1, None));
    assert_eq!(member.next(3130), told(1, false, None));
}

#[test]
fn a_member_that_was_put_out_loses_everything_and_joins_again() {
    let mut member = settled(&[0, 1]);
    member.next(1000);
    member.put_out(1010);
    assert_eq!((member.next(1010), member.is_settled()), (Step::Lose(set(&[0, 1])), false));
    member.lost();
    assert_eq!(member.next(1010), told(JOIN_EPOCH, true, Some(&[])));
}

#[test]
fn a_member_may_have_nothing() {
    let mut member = Membership::new();
    member.next(0);
    member.answered(0, heard(1, Some(&[])));
    assert_eq!((member.next(0), member.is_settled()), (Step::Wait { until_ms: 1000 }, true));
}

#[test]
fn only_a_member_says_that_it_goes() {
    assert_eq!(Membership::new().leave(), None);
    let farewell = Told { epoch: LEAVE_EPOCH, everything: false, owned: None };
    assert_eq!(settled(&[0]).leave(), Some(farewell));
}

#[test]
fn an_interval_that_makes_no_sense_is_kept_within_bounds() {
    for (said, expected) in [(-1, 1000), (0, 10), (i32::MAX, 60_000)] {
        let mut member = Membership::new();
        member.next(0);
        member.answered(0, Heard { epoch: 1, interval_ms: said, assignment: None });
        assert_eq!(member.next(0), Step::Wait { until_ms: expected });
    }
}

/// What the coordinator keeps of a member.
#[derive(Debug, Default)]
struct Kept {
    epoch: i32,
    previous_epoch: i32,
    assigned: BTreeSet<Partition>,
    /// Given up only when the member says so.
    leaving: BTreeSet<Partition>,
}

/// A coordinator of the consumer protocol, without time: partitions are dealt out in turn, and are free when their member has said so.
#[derive(Debug, Default)]
struct Coordinator {
    epoch: i32,
    members: BTreeMap<usize, Kept>,
}

impl Coordinator {
    const PARTITIONS: i32 = 7;

    fn target(&self, member: usize) -> BTreeSet<Partition> {
        let place = self.members.keys().position(|each| *each == member).unwrap();
        let count = self.members.len();
        (0..Self::PARTITIONS)
            .filter(|each| usize::try_from(*each).unwrap() % count == place)
            .map(|p| (TOPIC, p))
            .collect()
    }

    /// `None` puts the member out.
    fn hear(&mut self, member: usize, told: &Told) -> Option<Heard> {
        if told.epoch == LEAVE_EPOCH {
            self.members.remove(&member)?;
            self.epoch += 1;
            return Some(heard(LEAVE_EPOCH, None));
        }
        if told.epoch == JOIN_EPOCH {
            assert_eq!(told.owned, Some(BTreeMap::new()));
            if !self.members.contains_key(&member) {
                self.epoch += 1;
            }
            self.members.insert(member, Kept::default());
        }
        let target = self.target(member);
        let others: BTreeSet<Partition> =
            self.members.iter().filter(|(id, _)| **id != member).fold(BTreeSet::new(), |all, (_, kept)| {
                all.into_iter().chain(&kept.assigned | &kept.leaving).collect()
            });
        let kept = self.members.get_mut(&member)?;
        if told.epoch != kept.epoch && told.epoch != kept.previous_epoch {
            return None;
        }
        if let Some(owned) = &told.owned {
            let owned: BTreeSet<Partition> =
                owned.iter().flat_map(|(id, all)| all.iter().map(|each| (*id, *each))).collect();
            if owned.is_disjoint(&kept.leaving) {
                kept.leaving.clear();
            }
        }
        let before = kept.assigned.clone();
        if kept.leaving.is_empty() {
            kept.leaving = &kept.assigned - &target;
            kept.assigned = &kept.assigned & &target;
            if kept.leaving.is_empty() && kept.epoch < self.epoch {
                (kept.previous_epoch, kept.epoch) = (kept.epoch, self.epoch);
            }
            if kept.leaving.is_empty() {
                kept.assigned.extend(&target - &others);
            }
        }
        let said = told.everything || before != kept.assigned;
        Some(Heard { epoch: kept.epoch, interval_ms: 1000, assignment: said.then(|| kept.assigned.clone()) })
    }
}

/// A word, or its answer, may be lost on the way; nobody is ever put out for being silent.
#[test]
fn no_partition_is_ever_read_by_two_and_in_the_end_all_are_read() {
    for seed in 0..60 {
        let mut entropy = Entropy::new(seed);
        let mut coordinator = Coordinator::default();
        let mut members: Vec<Option<Membership>> = (0..4).map(|_| None).collect();
        let mut now_ms = 0;
        for turn in 0..600 {
            now_ms += 100;
            let quiet = turn > 400;
            let who = entropy.below(members.len());
            let lost_word = !quiet && entropy.below(8) == 0;
            let lost_answer = !quiet && entropy.below(8) == 0;
            match &mut members[who] {
                None if !quiet => members[who] = Some(Membership::new()),
                None => {}
                Some(member) if !quiet && entropy.below(40) == 0 => {
                    if let Some(told) = member.leave() {
                        coordinator.hear(who, &told);
                    }
                    members[who] = None;
                }
                Some(member) => match member.next(now_ms) {
                    Step::Tell(told) => {
                        let answer = (!lost_word).then(|| coordinator.hear(who, &told));
                        match answer.filter(|_| !lost_answer) {
                            Some(Some(heard)) => member.answered(now_ms, heard),
                            Some(None) => member.put_out(now_ms),
                            None => member.unanswered(now_ms, 50),
                        }
                    }
                    Step::GiveUp(_) => member.gave_up(now_ms),
                    Step::Take(_) if entropy.below(4) == 0 => member.postpone(now_ms, 100),
                    Step::Take(partitions) => member.took(partitions, now_ms),
                    Step::Lose(_) => member.lost(),
                    Step::Wait { .. } => {}
                },
            }
            let mut readers: BTreeMap<Partition, usize> = BTreeMap::new();
            for (id, member) in members.iter().enumerate() {
                for partition in member.iter().flat_map(|member| member.owned.iter().chain(&member.lost)) {
                    let other = readers.insert(*partition, id);
                    assert_eq!(other, None, "seed {seed} turn {turn}: {partition:?} is read by {other:?} and {id}");
                }
            }
        }
        let present: Vec<&Membership> = members.iter().flatten().collect();
        assert!(present.iter().all(|member| member.is_settled()), "seed {seed}: {present:#?}");
        let read: usize = present.iter().map(|member| member.owned.len()).sum();
        assert!(present.is_empty() || read == 7, "seed {seed}: {read} are read: {present:?} {coordinator:?}");
    }
}
