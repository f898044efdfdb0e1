//! The classic protocol by hand-written requests: who is let in when, who is told what, and in which versions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringmill_net::wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringmill_net::wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ringmill_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use crate::member::{JOIN_VERSION, Member, code};
use crate::raw::Raw;
use crate::{OK, broker, broker_with};

/// Each request put the coordinator's next look at the time off by some milliseconds, so that under load no rebalance ended and no
/// session either.
#[test]
fn a_rebalance_ends_however_much_is_asked_meanwhile() {
    let one_shard = ("broker.offsets.topic.num.partitions", "1");
    let (broker, _dir) = broker_with(&[one_shard, ("broker.group.initial.rebalance.delay.ms", "100")]);
    let mut member = Member::new(broker.address(), "g");
    member.send_join_known();
    let has_joined = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stranger = Member::new(broker.address(), "other");
            let patience = Instant::now() + Duration::from_secs(5);
            while !has_joined.load(Ordering::Relaxed) && Instant::now() < patience {
                assert_eq!(stranger.heartbeat(), ErrorCode::UnknownMemberId);
            }
            assert!(has_joined.load(Ordering::Relaxed), "the rebalance does not end");
        });
        assert_eq!(member.receive_joined(JOIN_VERSION).error, ErrorCode::None);
        has_joined.store(true, Ordering::Relaxed);
    });
}

/// A group is stored as one record. What no segment holds would end its coordinator again and again, and with it all groups beside it.
#[test]
fn a_group_that_no_segment_could_hold_is_refused() {
    let (one_shard, small) =
        (("broker.offsets.topic.num.partitions", "1"), ("broker.offsets.topic.segment.bytes", "1048576"));
    let (broker, _dir) = broker_with(&[one_shard, small]);
    let mut large = Member::new(broker.address(), "large");
    large.told = vec![b'x'; 200_000].leak();
    assert_eq!(large.join().error, ErrorCode::None);
    let id = large.id.clone();
    assert_eq!(large.sync(&[(&id, &[b'x'; 400_000])]).0, ErrorCode::UnknownServerError);
    assert_eq!(large.sync(&[(&id, b"0")]), (ErrorCode::None, b"0".to_vec()));
    let mut larger = Member::new(broker.address(), "larger");
    larger.told = vec![b'x'; 300_000].leak();
    assert_eq!(larger.join_with(JOIN_VERSION).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!((large.heartbeat(), large.commit("logs", 7)), (ErrorCode::None, ErrorCode::None));
    broker.stop();
}

/// Two members under an eager assignor: the second makes the first come back, the leader alone sees both, and each gets its share.
#[test]
fn two_members_share_what_there_is() {
    let (broker, _dir) = broker();
    let mut first = Member::new(broker.address(), "g");
    let alone = first.join();
    assert_eq!((alone.error, alone.generation, &alone.leader), (ErrorCode::None, 1, &first.id));
    assert_eq!(alone.protocol.as_deref(), Some("range"));
    assert_eq!(alone.members, [(first.id.clone(), None, b"told".to_vec())]);
    assert!(first.id.starts_with("raw-"), "{} begins with the client's own name", first.id);
    assert_eq!(first.sync(&[(&alone.member_id, b"0,1")]), (ErrorCode::None, b"0,1".to_vec()));
    assert_eq!(first.heartbeat(), ErrorCode::None);

    let mut second = Member::new(broker.address(), "g");
    second.told = b"also";
    second.send_join_known();
    let patience = Instant::now() + Duration::from_secs(10);
    while first.heartbeat() == ErrorCode::None {
        assert!(Instant::now() < patience, "the first member is never told of the second");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(first.heartbeat(), ErrorCode::RebalanceInProgress);
    assert_eq!(first.commit("logs", 7), ErrorCode::None, "what was read before the rebalance may still be told");
    first.send_join(JOIN_VERSION);
    let (leader, follower) = (first.receive_joined(JOIN_VERSION), second.receive_joined(JOIN_VERSION));
    assert_eq!((leader.generation, follower.generation), (2, 2));
    assert_eq!((&leader.leader, &follower.leader), (&first.id, &first.id), "who leads stays");
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0), "the leader alone is told of all");
    let told: Vec<_> = leader.members.iter().map(|(id, _, told)| (id == &second.id, &told[..])).collect();
    assert!(told.contains(&(true, b"also")) && told.contains(&(false, b"told")), "{told:?}");

    second.send_sync(&[]);
    let (one, other) = (first.id.clone(), second.id.clone());
    assert_eq!(first.sync(&[(&one, b"0"), (&other, b"1")]), (ErrorCode::None, b"0".to_vec()));
    assert_eq!(second.receive_share(), (ErrorCode::None, b"1".to_vec()));
    assert_eq!((first.heartbeat(), second.heartbeat()), (ErrorCode::None, ErrorCode::None));
    assert_eq!(second.commit("logs", 8), ErrorCode::None);

    first.generation = 1;
    assert_eq!(first.heartbeat(), ErrorCode::IllegalGeneration);
    assert_eq!(first.commit("logs", 99), ErrorCode::IllegalGeneration, "a commit of an old generation");
    assert_eq!(first.sync(&[]).0, ErrorCode::IllegalGeneration);
    first.generation = 2;
    assert_eq!(first.leave(), ErrorCode::None);
    assert_eq!(first.leave(), ErrorCode::UnknownMemberId);
    assert_eq!(second.heartbeat(), ErrorCode::RebalanceInProgress);
    let alone = second.join();
    assert_eq!((alone.generation, alone.leader), (3, second.id.clone()), "who is left leads");
    broker.stop();
}

/// KIP-394: a client whose answer is lost would otherwise come as yet another member.
#[test]
fn a_new_member_is_given_an_id_first_and_an_older_client_is_let_in_at_once() {
    let (broker, _dir) = broker();
    let mut member = Member::new(broker.address(), "new");
    let refused = member.join_with(4);
    assert_eq!((refused.error, refused.generation), (ErrorCode::MemberIdRequired, -1));
    assert!(!refused.member_id.is_empty() && refused.leader.is_empty() && refused.members.is_empty(), "{refused:?}");
    let joined = member.join_with(4);
    assert_eq!((joined.error, joined.member_id), (ErrorCode::None, refused.member_id));
    for version in [0, 1, 2, 3] {
        let mut older = Member::new(broker.address(), ["v0", "v1", "v2", "v3"][usize::try_from(version).unwrap()]);
        let joined = older.join_with(version);
        assert_eq!((joined.error, joined.generation), (ErrorCode::None, 1), "version {version}");
        assert_eq!((joined.protocol.as_deref(), &joined.leader), (Some("range"), &joined.member_id));
    }
    let mut stranger = Member::new(broker.address(), "new");
    stranger.id = "nobody".to_owned();
    assert_eq!(stranger.join_with(JOIN_VERSION).error, ErrorCode::UnknownMemberId);
    broker.stop();
}

/// A version that knows no null must get an empty protocol beside its error, or the client cannot read the answer.
#[test]
fn refusals_can_be_read_in_every_version() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let protocols = vec![JoinGroupRequestProtocol { name: "range", metadata: b"" }];
    for (group, session_timeout_ms, expected) in
        [("", 10_000, ErrorCode::InvalidGroupId), ("g", 5_999, ErrorCode::InvalidSessionTimeout)]
    {
        for version in 0..=9 {
            let request = JoinGroupRequest {
                group_id: group,
                session_timeout_ms,
                rebalance_timeout_ms: 1000,
                protocol_type: "consumer",
                protocols: protocols.clone(),
                ..JoinGroupRequest::default()
            };
            let frame = client.call(&request, version);
            let answer: JoinGroupResponse<'_> = frame.decode(version);
            assert_eq!(code(answer.error_code), expected, "version {version}");
            assert_eq!(answer.protocol_name, (version < 7).then_some(""), "version {version}");
            assert_eq!((answer.generation_id, answer.member_id, answer.leader), (-1, "", ""), "version {version}");
        }
    }
    let request =
        JoinGroupRequest { group_id: "g", session_timeout_ms: 10_000, protocol_type: "consumer", ..Default::default() };
    let frame = client.call(&request, 9);
    let answer: JoinGroupResponse<'_> = frame.decode(9);
    assert_eq!(code(answer.error_code), ErrorCode::InconsistentGroupProtocol, "without any protocol");
    let long = "n".repeat(1025);
    for (request, expected) in [
        (JoinGroupRequest { group_id: &long, ..request.clone() }, ErrorCode::InvalidGroupId),
        (JoinGroupRequest { group_instance_id: Some(&long), ..request.clone() }, ErrorCode::InvalidRequest),
        (JoinGroupRequest { protocol_type: &long, ..request.clone() }, ErrorCode::InvalidRequest),
    ] {
        let frame = client.call(&request, 9);
        assert_eq!(code(frame.decode::<JoinGroupResponse<'_>>(9).error_code), expected, "names are remembered");
    }
    broker.stop();
}

#[test]
fn sync_from_version_five_on_says_what_the_member_takes_part_in() {
    let (broker, _dir) = broker();
    let mut member = Member::new(broker.address(), "g");
    assert_eq!(member.join().error, ErrorCode::None);
    for (version, protocol_type, protocol_name, expected) in [
        (5, None, None, ErrorCode::InconsistentGroupProtocol),
        (5, Some("consumer"), None, ErrorCode::InconsistentGroupProtocol),
        (5, Some("consumer"), Some("sticky"), ErrorCode::InconsistentGroupProtocol),
        (5, Some("connect"), Some("range"), ErrorCode::InconsistentGroupProtocol),
        (4, None, None, ErrorCode::None),
        (0, None, None, ErrorCode::None),
        (5, Some("consumer"), Some("range"), ErrorCode::None),
    ] {
        let request = SyncGroupRequest {
            group_id: "g",
            generation_id: 1,
            member_id: &member.id,
            protocol_type,
            protocol_name,
            assignments: vec![SyncGroupRequestAssignment { member_id: &member.id, assignment: b"all" }],
            ..SyncGroupRequest::default()
        };
        let frame = member.client.call(&request, version);
        let answer: SyncGroupResponse<'_> = frame.decode(version);
        assert_eq!(code(answer.error_code), expected, "version {version} {protocol_type:?} {protocol_name:?}");
        let is_told = expected == ErrorCode::None;
        assert_eq!(answer.assignment, if is_told { &b"all"[..] } else { b"" });
        assert_eq!(answer.protocol_name, (is_told && version == 5).then_some("range"));
    }
    broker.stop();
}

/// KIP-345: a process that is started again within its session is the same member, and moves no partition.
#[test]
fn a_static_member_comes_back_as_itself_and_its_older_self_is_fenced() {
    let (broker, _dir) = broker();
    let mut before = Member::named(broker.address(), "g", "one");
    let joined = before.join();
    assert_eq!((joined.error, joined.generation), (ErrorCode::None, 1), "a static member needs no id first");
    assert_eq!(joined.members[0].1.as_deref(), Some("one"));
    let id = before.id.clone();
    assert_eq!(before.sync(&[(&id, b"all")]).0, ErrorCode::None);

    let mut after = Member::named(broker.address(), "g", "one");
    let joined = after.join();
    assert_eq!((joined.error, joined.generation), (ErrorCode::None, 1), "no rebalance");
    assert!(joined.member_id != id && joined.skip_assignment, "{joined:?}");
    assert_eq!(after.sync(&[]), (ErrorCode::None, b"all".to_vec()), "it has what it had");
    assert_eq!(before.heartbeat(), ErrorCode::FencedInstanceId);
    assert_eq!(before.commit("logs", 1), ErrorCode::FencedInstanceId);
    assert_eq!(before.join().error, ErrorCode::FencedInstanceId);
    assert_eq!(after.heartbeat(), ErrorCode::None);

    // A tool shows it out by its name alone.
    let members = vec![
        MemberIdentity { group_instance_id: Some("one"), ..MemberIdentity::default() },
        MemberIdentity { group_instance_id: Some("two"), ..MemberIdentity::default() },
    ];
    let request = LeaveGroupRequest { group_id: "g", members, ..LeaveGroupRequest::default() };
    let frame = before.client.call(&request, 5);
    let answer: LeaveGroupResponse<'_> = frame.decode(5);
    let told: Vec<_> =
        answer.members.iter().map(|each| (each.group_instance_id.unwrap(), code(each.error_code))).collect();
    assert_eq!((answer.error_code, told), (OK, vec![("one", ErrorCode::None), ("two", ErrorCode::UnknownMemberId)]));
    assert_eq!(after.heartbeat(), ErrorCode::UnknownMemberId);
    broker.stop();
}

/// Up to version 2 one member leaves, and its error is that of the whole answer; from 3 on each has its own.
#[test]
fn the_error_of_one_who_leaves_stands_where_its_version_has_a_place_for_it() {
    let (broker, _dir) = broker();
    for version in 0..=5 {
        let mut member = Member::stable(broker.address(), "g");
        for expected in [ErrorCode::None, ErrorCode::UnknownMemberId] {
            let request = LeaveGroupRequest {
                group_id: "g",
                member_id: &member.id,
                members: vec![MemberIdentity { member_id: &member.id, ..MemberIdentity::default() }],
            };
            let frame = member.client.call(&request, version);
            let answer: LeaveGroupResponse<'_> = frame.decode(version);
            let (whole, each) = (code(answer.error_code), answer.members.first().map(|each| code(each.error_code)));
            match version {
                0..=2 => assert_eq!((whole, each), (expected, None), "version {version}"),
                _ => assert_eq!((whole, each), (ErrorCode::None, Some(expected)), "version {version}"),
            }
        }
    }
    let mut client = Raw::connect(broker.address());
    for version in 0..=5 {
        let frame = client.call(&LeaveGroupRequest::default(), version);
        let answer: LeaveGroupResponse<'_> = frame.decode(version);
        assert_eq!(code(answer.error_code), ErrorCode::InvalidGroupId, "version {version}");
        let request = LeaveGroupRequest {
            group_id: "nobodys",
            member_id: "m",
            members: vec![MemberIdentity { member_id: "m", ..MemberIdentity::default() }],
        };
        let frame = client.call(&request, version);
        let answer: LeaveGroupResponse<'_> = frame.decode(version);
        let (whole, each) = (code(answer.error_code), answer.members.first().map(|each| code(each.error_code)));
        match version {
            0..=2 => assert_eq!((whole, each), (ErrorCode::UnknownMemberId, None), "version {version}"),
            _ => assert_eq!((whole, each), (ErrorCode::None, Some(ErrorCode::UnknownMemberId)), "version {version}"),
        }
        let frame = client.call(&HeartbeatRequest::default(), version.min(4));
        let answer: HeartbeatResponse = frame.decode(version.min(4));
        assert_eq!(code(answer.error_code), ErrorCode::InvalidGroupId, "version {version}");
    }
    broker.stop();
}

/// In version 0 a rebalance has no timeout of its own.
#[test]
fn a_member_of_version_zero_is_waited_for_as_long_as_its_session_lasts() {
    let (broker, _dir) = broker_with(&[("broker.group.min.session.timeout.ms", "100")]);
    let mut silent = Member::new(broker.address(), "g");
    silent.session_timeout_ms = 600;
    assert_eq!(silent.join_with(0).error, ErrorCode::None);
    let id = silent.id.clone();
    assert_eq!(silent.sync(&[(&id, b"all")]).0, ErrorCode::None);
    let began = Instant::now();
    let mut other = Member::new(broker.address(), "g");
    let joined = other.join();
    assert_eq!((joined.generation, joined.members.len()), (2, 1), "the silent one is out");
    let waited = began.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&waited), "{waited:?}");
    assert_eq!(silent.heartbeat(), ErrorCode::UnknownMemberId);
    broker.stop();
}

/// Whoever waits for a rebalance is told to look elsewhere, so that the broker's stop does not wait for it, too.
#[test]
fn members_that_are_parked_are_answered_when_the_broker_stops() {
    let (broker, _dir) = broker_with(&[("broker.group.initial.rebalance.delay.ms", "600000")]);
    let mut joining = Member::new(broker.address(), "joining");
    joining.rebalance_timeout_ms = 600_000;
    joining.send_join_known();
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    broker.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "the stop took {:?}", began.elapsed());
    let joined = joining.receive_joined(JOIN_VERSION);
    assert_eq!(joined.error, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(joined.member_id, joining.id, "it comes back as itself");
}

/// Many members wait at once, each with a large frame: nobody else must wait for them.
#[test]
fn parked_members_hold_neither_turns_nor_the_memory_of_their_requests() {
    let memory = [
        ("broker.group.initial.rebalance.delay.ms", "600000"),
        ("ringmill.request.memory.bytes", "4194304"),
        ("broker.socket.request.max.bytes", "1048576"),
        ("ringmill.cores", "1"),
    ];
    let (broker, _dir) = broker_with(&memory);
    let told: &'static [u8] = Box::leak(vec![b'm'; 300_000].into_boxed_slice());
    let mut parked: Vec<Member> = (0..12)
        .map(|_| {
            let mut member = Member::new(broker.address(), "g");
            member.rebalance_timeout_ms = 600_000;
            assert_eq!(member.join_with(JOIN_VERSION).error, ErrorCode::MemberIdRequired);
            member.told = told;
            member.send_join(JOIN_VERSION);
            member
        })
        .collect();
    // Each of these takes a turn on the only core, and memory for its frame.
    let mut other = Member::new(broker.address(), "other");
    other.told = told;
    assert_eq!(other.join_with(JOIN_VERSION).error, ErrorCode::MemberIdRequired);
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("t", 1, &[]), OK);
    assert_eq!(client.produce("t", 0, crate::raw::batch(1, 500_000)).error, OK);
    broker.stop();
    for member in &mut parked {
        assert_eq!(member.receive_joined(JOIN_VERSION).error, ErrorCode::CoordinatorNotAvailable);
    }
}
