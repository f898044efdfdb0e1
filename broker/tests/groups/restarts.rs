//! What was answered holds after a stop and after kill -9: offsets, groups, generations, members.

use std::path::Path;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::offset_commit::OffsetCommitRequest;

use crate::OK;
use crate::listing::list;
use crate::member::{Member, one_offset};
use crate::offsets::{commit, fetch};
use crate::raw::process::Process;
use crate::raw::{IO_KINDS, Raw, start};

fn offset(client: &mut Raw, group: &str, partition: i32) -> i64 {
    let wanted: &[(&str, &[i32])] = &[("logs", &[partition])];
    loop {
        // Just after a start the group is still being read.
        match fetch(client, group, Some(wanted), 9) {
            (ErrorCode::CoordinatorLoadInProgress, _) => std::thread::sleep(std::time::Duration::from_millis(10)),
            (error, told) => {
                assert_eq!(error, ErrorCode::None);
                return told[0].2.0;
            }
        }
    }
}

#[test]
fn offsets_and_members_outlive_a_restart() {
    for io in IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(dir.path(), io);
        let mut client = Raw::connect(broker.address());
        assert_eq!(client.create_topic("logs", 4, &[]), OK);
        for number in 0..40 {
            let group = format!("tool{number}");
            assert_eq!(commit(&mut client, &group, one_offset("logs", 1, number, Some("words")), 9), [ErrorCode::None]);
        }
        let mut member = Member::stable(broker.address(), "readers");
        assert_eq!(member.commit("logs", 123), ErrorCode::None);
        broker.stop();

        let broker = start(dir.path(), io);
        let mut client = Raw::connect(broker.address());
        for number in 0..40 {
            assert_eq!(offset(&mut client, &format!("tool{number}"), 1), number, "{io}");
        }
        assert_eq!(list(&mut client, &[], &[], 5).len(), 41, "{io}");
        assert_eq!(offset(&mut client, "readers", 0), 123, "{io}");
        // The member does not notice but for its connection.
        member.client = Raw::connect(broker.address());
        assert_eq!(member.heartbeat(), ErrorCode::None, "{io}");
        assert_eq!(member.commit("logs", 124), ErrorCode::None, "{io}");
        member.generation -= 1;
        assert_eq!(member.commit("logs", 0), ErrorCode::IllegalGeneration, "{io}");
        assert_eq!(offset(&mut client, "readers", 0), 124, "{io}");
        broker.stop();
    }
}

/// Commits until the program is killed, and gives the last offset that was answered with success.
fn commit_until_killed(dir: &Path, io: &str, from: i64, commits: i64) -> i64 {
    let process = Process::start(dir, io);
    let mut client = Raw::connect(process.address);
    if from == 0 {
        assert_eq!(client.create_topic("logs", 4, &[]), OK);
    } else {
        let found = offset(&mut client, "g", 0);
        assert!(found == from - 1 || found == from, "{found} after {from} was sent and {} was answered", from - 1);
    }
    for next in from..from + commits {
        assert_eq!(commit(&mut client, "g", one_offset("logs", 0, next, None), 9), [ErrorCode::None]);
    }
    // One more is sent, and not waited for: it may have happened.
    let request = OffsetCommitRequest {
        group_id: "g",
        topics: vec![one_offset("logs", 0, from + commits, None)],
        ..Default::default()
    };
    client.send(&request, 9, Vec::new());
    drop(process);
    from + commits - 1
}

#[test]
fn no_commit_that_was_answered_is_lost_to_kill_9() {
    for io in IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let mut from = 0;
        for life in 0..6 {
            from = commit_until_killed(dir.path(), io, from, 20 + 30 * life) + 1;
        }
        let broker = start(dir.path(), io);
        let found = offset(&mut Raw::connect(broker.address()), "g", 0);
        assert!(found == from - 1 || found == from, "{io}: {found}, and {} was answered", from - 1);
        broker.stop();
    }
}
