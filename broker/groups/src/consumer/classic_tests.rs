//! Classic members in a group of the consumer protocol, one script for each rule.

use super::script::check;

#[test]
fn a_classic_member_is_led_like_any_other() {
    check(
        "topic a 4
         A joins a | A@1 a:0,1,2,3
         C classic-joins a | C@2
         C classic-syncs | -
         C classic-beats | fine
         A beats | A@1 a:0,1
         A owns a:0,1 | A@2
         C classic-beats | RebalanceInProgress
         C classic-joins a | C@2
         C classic-syncs | a:2,3
         C classic-beats | fine
         state | Stable 2/2",
    );
}

#[test]
fn a_classic_member_gives_up_before_it_joins_again() {
    check(
        "topic a 4
         A joins a | A@1 a:0,1,2,3
         A leaves | A@-1
         C classic-joins a | C@3
         C classic-syncs | a:0,1,2,3
         A joins a | A@4 -
         C classic-beats | RebalanceInProgress
         C classic-joins a owns=a:0,1,2,3 | C@3
         C classic-syncs | a:0,1
         C classic-beats | RebalanceInProgress
         A beats | A@4
         C classic-joins a owns=a:0,1 | C@4
         C classic-syncs | a:0,1
         A beats | A@4 a:2,3
         state | Stable 4/4",
    );
}

#[test]
fn one_that_gives_everything_up_first_moves_on_at_once() {
    check(
        "topic a 4
         A joins a | A@1 a:0,1,2,3
         A leaves | A@-1
         C classic-joins a | C@3
         C classic-syncs | a:0,1,2,3
         A joins a | A@4 -
         C classic-joins a owns=- | C@4
         A beats | A@4 a:2,3
         C classic-syncs | a:0,1",
    );
}

#[test]
fn a_member_that_is_told_to_join_and_does_not_is_out() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         C classic-joins a | C@2
         C classic-syncs | -
         B joins a | B@3 -
         C classic-beats | RebalanceInProgress
         wait 19999
         C classic-beats | RebalanceInProgress
         wait 1
         C classic-beats | UnknownMemberId",
    );
}

#[test]
fn a_member_that_joins_and_does_not_sync_is_out() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         C classic-joins a | C@2
         wait 20000
         C classic-syncs | UnknownMemberId",
    );
}

#[test]
fn a_classic_member_has_its_own_session() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         C classic-joins a | C@2
         C classic-syncs | -
         wait 29999
         C classic-beats | fine
         wait 30000
         C classic-beats | UnknownMemberId
         A beats | UnknownMemberId",
    );
}

#[test]
fn old_generations_and_late_syncs_are_refused() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         C classic-joins a | C@2
         B joins a | B@3 -
         C classic-syncs epoch=1 | IllegalGeneration
         C classic-syncs | RebalanceInProgress
         C classic-beats epoch=3 | IllegalGeneration
         A leaves epoch=-1 | A@-1
         A classic-beats | UnknownMemberId
         B classic-beats | UnknownMemberId
         C classic-leaves | fine
         C classic-leaves | UnknownMemberId",
    );
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_share() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         C classic-joins a instance=i | C@2
         C classic-syncs | -
         A owns a:0,1 | A@1 a:0
         A owns a:0 | A@2
         C classic-joins a instance=i | C@2
         C classic-syncs | a:1
         N joins a instance=i | N@2 a:1
         C classic-beats | FencedInstanceId
         D classic-joins a instance=i | D@2
         D classic-syncs | a:1
         N beats | FencedInstanceId
         state | Stable 2/2",
    );
}

#[test]
fn a_classic_member_survives_a_restart() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         C classic-joins a | C@2
         C classic-syncs | -
         restart
         C classic-beats | fine
         wait 30000
         C classic-beats | UnknownMemberId",
    );
}
