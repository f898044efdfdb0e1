//! Rules of the heartbeat, one script each.

use super::script::{check, check_with};
use crate::Settings;

#[test]
fn partitions_move_only_once_they_were_given_up() {
    check(
        "topic a 4
         A joins a | A@1 a:0,1,2,3
         state | Stable 1/1
         B joins a | B@2 -
         state | Reconciling 2/2
         B beats | B@2
         A beats | A@1 a:0,1
         A beats | A@1
         B beats | B@2
         A owns a:0,1,2,3 | A@1
         A owns a:0,1 | A@2
         B beats | B@2 a:2,3
         B owns a:2,3 | B@2
         state | Stable 2/2",
    );
}

#[test]
fn what_is_free_is_given_at_once_and_the_rest_later() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         topic a 6
         state | Assigning 2/1
         B joins a | B@3 a:3,4,5
         A beats | A@3 a:0,1,2
         state | Stable 3/3",
    );
}

#[test]
fn a_member_that_gives_up_twice_counts_its_epoch_on() {
    check(
        "topic a 6
         A joins a | A@1 a:0,1,2,3,4,5
         B joins a | B@2 -
         C joins a | C@3 -
         A beats | A@1 a:0,1
         D joins a | D@4 -
         D leaves | D@-1
         E joins a | E@6 -
         F joins a | F@7 -
         G joins a | G@8 -
         A owns a:0,1 | A@2 a:0
         A owns a:0,1 | A@2
         A owns a:0 | A@8
         B beats | B@8 a:3
         state | Reconciling 8/8",
    );
}

#[test]
fn who_leaves_gives_everything_free() {
    check(
        "topic a 4
         A joins a | A@1 a:0,1,2,3
         B joins a | B@2 -
         A leaves | A@-1
         state | Assigning 3/2
         B beats | B@3 a:0,1,2,3
         B leaves | B@-1
         state | Empty 4/3
         A joins a | A@5 a:0,1,2,3",
    );
}

#[test]
fn a_silent_member_is_out_after_its_session() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         wait 20000
         B joins a | B@2 -
         wait 24999
         B beats | B@2
         wait 1
         B beats | B@3 a:0,1
         A beats | UnknownMemberId
         A joins a | A@4 -",
    );
}

#[test]
fn who_does_not_give_up_in_its_time_is_out() {
    check(
        "topic a 2
         A joins a timeout=7000 | A@1 a:0,1
         B joins a | B@2 -
         A beats | A@1 a:0
         wait 6999
         A beats | A@1
         wait 1
         A beats | UnknownMemberId
         B beats | B@3 a:0,1",
    );
}

#[test]
fn the_time_to_give_up_ends_with_giving_up() {
    check(
        "topic a 2
         A joins a timeout=7000 | A@1 a:0,1
         B joins a | B@2 -
         A beats | A@1 a:0
         A owns a:0 | A@2
         wait 30000
         A beats | A@2
         B beats | B@2 a:1",
    );
}

#[test]
fn a_lost_answer_is_given_again() {
    check(
        "topic a 4
         A joins a | A@1 a:0,1,2,3
         A joins a | A@1 a:0,1,2,3
         topic a 6
         A beats | A@2 a:0,1,2,3,4,5
         A beats epoch=1 full owns=a:0,1,2,3 | A@2 a:0,1,2,3,4,5
         B joins a | B@3 -
         A beats epoch=1 full owns=a:0,1,2,3 | A@2 a:0,1,2
         A beats epoch=1 full owns=a:0,1,2,3 | A@2 a:0,1,2
         A beats epoch=1 full owns=a:0,1,2 | A@3 a:0,1,2
         A beats epoch=2 full owns=a:0,1,2 | A@3 a:0,1,2
         A beats epoch=2 full owns=a:0,1,2,3 | FencedMemberEpoch
         A beats epoch=1 full owns=a:0,1,2 | FencedMemberEpoch
         B beats | B@3 a:3,4,5",
    );
}

#[test]
fn other_epochs_are_fenced() {
    check(
        "topic a 2
         A joins a | A@1 a:0,1
         topic a 3
         A beats | A@2 a:0,1,2
         A beats epoch=3 | FencedMemberEpoch
         A beats epoch=1 | FencedMemberEpoch
         A beats epoch=1 owns=a:0,1 | A@2
         A joins a | A@2 a:0,1,2",
    );
}

#[test]
fn all_is_told_to_who_tells_all_and_else_what_changed() {
    check(
        "topic a 1
         A joins a | A@1 a:0
         A beats | A@1
         A owns a:0 | A@1
         A beats timeout=60000 owns=a:0 | A@1
         A beats full owns=a:0 | A@1 a:0",
    );
}

#[test]
fn requests_that_lack_something_are_refused() {
    check(
        "topic a 1
         A beats epoch=1 | UnknownMemberId
         A leaves | UnknownMemberId
         A joins a timeout=-1 | InvalidRequest
         A joins a timeout=-7 | InvalidRequest
         A joins a owns=a:0 | InvalidRequest
         A beats epoch=0 timeout=5 | InvalidRequest
         A beats epoch=0 timeout=5 owns=- | InvalidRequest
         A beats epoch=0 timeout=5 regex=a | InvalidRequest
         A beats epoch=0 timeout=5 regex=a owns=- | A@1 a:0
         A beats epoch=-3 | InvalidRequest
         A pauses | InvalidRequest
         A beats assignor=best | UnsupportedAssignor
         A beats instance= | InvalidRequest
         A beats | A@1",
    );
}

#[test]
fn a_full_group_takes_nobody() {
    check_with(
        Settings { consumer_members_max: 1, ..Settings::default() },
        "topic a 1
         A joins a | A@1 a:0
         B joins a | GroupMaxSizeReached
         A joins a | A@1 a:0
         A leaves | A@-1
         B joins a | B@3 a:0",
    );
}

/// Whoever comes meanwhile has the epoch of the assignment that there is, and nothing of it.
#[test]
fn between_two_assignments_the_interval_passes_and_the_next_is_for_all_who_came() {
    check_with(
        Settings { consumer_assignment_interval_ms: 2_000, ..Settings::default() },
        "topic a 6
         A joins a | A@1 a:0,1,2,3,4,5
         wait 1999
         B joins a | B@1 -
         C joins a | C@1 -
         A beats | A@1
         state | Assigning 3/1
         wait 1
         B beats | B@3
         A beats | A@1 a:0,1
         A owns a:0,1 | A@3
         C beats | C@3 a:3,5
         B beats | B@3 a:2,4
         C leaves | C@-1
         A beats | A@3
         restart
         A beats | A@4 a:0,1,3
         B beats | B@4 a:2,4,5",
    );
}

/// Else each of many members who come would have the shares of all made anew.
#[test]
fn a_large_group_waits_between_two_assignments_by_itself() {
    check(
        "topic a 10000
         A joins a | A@1 a:10000 of them
         wait 99
         B joins a | B@1 -
         wait 1
         B beats | B@2
         state | Reconciling 2/2",
    );
}

/// It would be told to join for as long as its epoch is not the group's.
#[test]
fn a_classic_member_does_not_wait_for_its_assignment() {
    check_with(
        Settings { consumer_assignment_interval_ms: 2_000, ..Settings::default() },
        "topic a 2
         A joins a | A@1 a:0,1
         C classic-joins a | C@2
         C classic-syncs | -
         A beats | A@1 a:0
         A owns a:0 | A@2",
    );
}

#[test]
fn a_subscription_that_changes_changes_the_assignment() {
    check(
        "topic a 2
         topic b 2
         A joins a | A@1 a:0,1
         A reads a | A@1
         A reads a b | A@2 a:0,1 b:0,1
         A reads b | A@2 b:0,1
         A owns b:0,1 | A@3
         A reads nothing | A@3 -
         A owns - | A@4
         topic nothing 1
         A beats | A@5 nothing:0",
    );
}

#[test]
fn deleted_topics_are_taken_away() {
    check(
        "topic a 1
         topic b 1
         A joins a b | A@1 a:0 b:0
         topic c 1
         state | Stable 1/1
         topic b 0
         A beats | A@1 a:0
         A owns a:0 | A@2
         state | Stable 2/2
         topic b 2
         A beats | A@3 a:0 b:0,1",
    );
}

#[test]
fn a_static_member_that_pauses_finds_its_share_again() {
    check(
        "topic a 2
         A joins a instance=i | A@1 a:0,1
         B joins a instance=j | B@2 -
         A owns a:0,1 | A@1 a:0
         A owns a:0 | A@2
         B beats | B@2 a:1
         A pauses | A@-2
         state | Reconciling 2/2
         A beats epoch=2 | FencedMemberEpoch
         X joins a instance=i | X@2 a:0
         state | Stable 2/2
         A beats epoch=2 | FencedInstanceId
         A leaves | FencedInstanceId
         Y beats instance=k epoch=2 | UnknownMemberId",
    );
}

#[test]
fn a_static_member_in_use_is_not_replaced() {
    check(
        "topic a 1
         A joins a instance=i | A@1 a:0
         B joins a instance=i | UnreleasedInstanceId
         A joins a instance=i | A@1 a:0
         A leaves | A@-1
         B joins a instance=i | B@3 a:0
         B joins a instance=j | B@3 a:0
         C joins a instance=i | C@4 -
         B joins a instance=i | UnreleasedInstanceId",
    );
}

#[test]
fn a_paused_member_is_out_after_its_session() {
    check(
        "topic a 2
         A joins a instance=i | A@1 a:0,1
         wait 40000
         A pauses | A@-2
         B joins a | B@2 -
         wait 5000
         B beats | B@3 a:0,1",
    );
}

#[test]
fn a_pause_frees_what_was_being_given_up() {
    check(
        "topic a 2
         A joins a instance=i | A@1 a:0,1
         B joins a | B@2 -
         A beats | A@1 a:0
         A pauses | A@-2
         B beats | B@2 a:1",
    );
}

#[test]
fn a_static_member_that_reads_something_else_causes_a_new_assignment() {
    check(
        "topic a 1
         topic b 1
         A joins a instance=i | A@1 a:0
         A pauses | A@-2
         X joins b instance=i | X@2 b:0
         state | Stable 2/2",
    );
}

#[test]
fn regular_expressions_mean_topics() {
    check(
        "topic log-a 1
         topic log-b 1
         topic my-log-c 1
         topic __consumer_offsets 4
         A joins regex=log-.* | A@1 log-a:0 log-b:0
         A beats regex=( | InvalidRegularExpression
         A beats regex=.* | A@2 log-a:0 log-b:0 my-log-c:0
         A beats regex= | A@2 -
         A owns - | A@3
         B joins regex=.* | B@4 log-a:0 log-b:0 my-log-c:0",
    );
}

#[test]
fn expressions_are_matched_again_when_topics_change_and_not_too_often() {
    check(
        "A joins regex=log-.* | A@1 -
         topic log-a 1
         A beats | A@2 log-a:0
         topic log-b 1
         A beats | A@2
         wait 1999
         A beats | A@2
         wait 1
         A beats | A@3 log-a:0 log-b:0
         topic other 1
         wait 2000
         state | Stable 3/3
         B joins other regex=log-.* | B@4 other:0
         restart
         topic log-b 0
         wait 2000
         state | Assigning 6/4",
    );
}

#[test]
fn most_votes_choose_the_assignor() {
    check(
        "topic a 2
         topic b 2
         A joins a b assignor=range | A@1 a:0,1 b:0,1
         B joins a b | B@2 -
         A owns a:0,1;b:0,1 | A@1 a:0 b:0
         A owns a:0;b:0 | A@2
         B beats | B@2 a:1 b:1
         B beats assignor=uniform | B@3
         state | Reconciling 3/3",
    );
}

#[test]
fn the_broker_names_members_that_do_not() {
    check("A joins version=0 a | A@1 -");
}

#[test]
fn a_restart_gives_everybody_the_whole_time_again() {
    check(
        "topic a 2
         A joins a timeout=10000 | A@1 a:0,1
         B joins a | B@2 -
         A beats | A@1 a:0
         wait 9000
         restart
         wait 9000
         A beats | A@1
         B beats | B@2
         wait 1000
         B beats | B@3 a:0,1",
    );
}
