//! One member's way from what it owns to what it shall own, one heartbeat at a time (KIP-848, "Reconciliation").
//!
//! A member first gives up what it shall not keep, at the epoch it has: it is told to, and must then report that it did. Only then
//! does it reach the target's epoch and is given what is free. What another member still holds is given to it later, as soon as that
//! one has let go.

use super::assignment::{Assignment, both, count, either, filtered, minus, overlap};
use crate::TopicId;
use crate::record::CurrentAssignment;

/// It owns all that it shall own.
pub(crate) const STABLE: i8 = 0;
/// It must give partitions up, and has not said yet that it did.
pub(crate) const UNREVOKED: i8 = 1;
/// It waits for partitions that others still hold.
pub(crate) const UNRELEASED: i8 = 2;

/// The next step of a member; nothing if there is none to make now. `owned` is what it reports, if it does; `is_free` says whether
/// no other member holds a partition.
pub(crate) fn next(
    current: &CurrentAssignment,
    target: &Assignment,
    target_epoch: i32,
    owned: Option<&Assignment>,
    is_free: impl Fn(&TopicId, i32) -> bool,
) -> Option<CurrentAssignment> {
    let epoch = match current.state {
        STABLE if current.member_epoch == target_epoch => return None,
        STABLE | UNRELEASED => current.member_epoch,
        // An unknown state, of a newer broker, is treated with the same care: nothing is given before the member reported.
        _ => {
            if owned.is_none_or(|owned| overlap(owned, &current.revoking)) {
                return None;
            }
            // The epoch rises even if the newest target makes the member give up more: what it reported belongs to the old one.
            current.member_epoch.saturating_add(1).min(target_epoch)
        }
    };
    let kept = both(&current.assigned, target);
    let lost = minus(&current.assigned, &kept);
    let next = if !lost.is_empty() && owned.is_none_or(|owned| overlap(owned, &lost)) {
        step(current, epoch, UNREVOKED, kept, lost)
    } else {
        let wanted = minus(target, &kept);
        let given = filtered(&wanted, is_free);
        let state = if count(&given) == count(&wanted) { STABLE } else { UNRELEASED };
        step(current, target_epoch, state, either(&kept, &given), Assignment::new())
    };
    (next != *current).then_some(next)
}

fn step(
    from: &CurrentAssignment,
    member_epoch: i32,
    state: i8,
    assigned: Assignment,
    revoking: Assignment,
) -> CurrentAssignment {
    // A second step within an epoch keeps the one before it, so that a member that missed both answers is still known.
    let previous_member_epoch =
        if member_epoch == from.member_epoch { from.previous_member_epoch } else { from.member_epoch };
    CurrentAssignment { member_epoch, previous_member_epoch, state, assigned, revoking }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = [1; 16];

    fn set(partitions: &[i32]) -> Assignment {
        if partitions.is_empty() { Assignment::new() } else { Assignment::from([(TOPIC, partitions.to_vec())]) }
    }

    fn at(member_epoch: i32, state: i8, assigned: &[i32], revoking: &[i32]) -> CurrentAssignment {
        let previous_member_epoch = member_epoch - 1;
        CurrentAssignment {
            member_epoch,
            previous_member_epoch,
            state,
            assigned: set(assigned),
            revoking: set(revoking),
        }
    }

    /// From an assignment, towards a target of epoch 9, while partitions 7 and up are held by others.
    fn check(from: &CurrentAssignment, target: &[i32], owned: Option<&[i32]>, expected: Option<&CurrentAssignment>) {
        let owned = owned.map(set);
        let next = next(from, &set(target), 9, owned.as_ref(), |_, partition| partition < 7);
        let mut expected = expected.cloned();
        if let Some(expected) = &mut expected {
            let moved = expected.member_epoch != from.member_epoch;
            expected.previous_member_epoch = if moved { from.member_epoch } else { from.previous_member_epoch };
        }
        assert_eq!(next, expected, "from {from:?} to {target:?} while it owns {owned:?}");
    }

    #[test]
    fn a_member_at_the_target_epoch_stays() {
        check(&at(9, STABLE, &[1], &[]), &[1], None, None);
    }

    #[test]
    fn a_member_without_anything_to_lose_is_given_what_is_free() {
        check(&at(5, STABLE, &[1], &[]), &[1, 2], None, Some(&at(9, STABLE, &[1, 2], &[])));
        check(&at(5, STABLE, &[1], &[]), &[1, 2, 8], None, Some(&at(9, UNRELEASED, &[1, 2], &[])));
        check(&at(5, STABLE, &[1], &[]), &[1, 8], None, Some(&at(9, UNRELEASED, &[1], &[])));
        check(&at(5, STABLE, &[1], &[]), &[1], None, Some(&at(9, STABLE, &[1], &[])));
    }

    #[test]
    fn revocation_comes_before_assignment() {
        check(&at(5, STABLE, &[1, 2], &[]), &[2, 3], None, Some(&at(5, UNREVOKED, &[2], &[1])));
        check(&at(5, STABLE, &[1, 2], &[]), &[2, 3], Some(&[1, 2]), Some(&at(5, UNREVOKED, &[2], &[1])));
        check(&at(5, STABLE, &[1, 2], &[]), &[2, 3], Some(&[2]), Some(&at(9, STABLE, &[2, 3], &[])));
    }

    #[test]
    fn a_member_that_gives_up_is_waited_for() {
        let from = at(5, UNREVOKED, &[2], &[1]);
        check(&from, &[2, 3], None, None);
        check(&from, &[2, 3], Some(&[1, 2]), None);
        check(&from, &[2, 3], Some(&[2]), Some(&at(9, STABLE, &[2, 3], &[])));
        check(&from, &[3], Some(&[2]), Some(&at(6, UNREVOKED, &[], &[2])));
    }

    #[test]
    fn what_was_unreleased_is_given_once_it_is_free() {
        check(&at(9, UNRELEASED, &[1], &[]), &[1, 8], None, None);
        check(&at(9, UNRELEASED, &[1], &[]), &[1, 6], None, Some(&at(9, STABLE, &[1, 6], &[])));
        check(&at(8, UNRELEASED, &[1], &[]), &[8], None, Some(&at(8, UNREVOKED, &[], &[1])));
    }
}
