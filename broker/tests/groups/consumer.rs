//! The consumer protocol by hand-written heartbeats: the broker makes the assignment, and partitions are given up before they are given.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringmill_net::wire::messages::consumer_group_describe::{
    CONSUMER_MEMBER_TYPE, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use ringmill_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JOIN_EPOCH, LEAVE_EPOCH, TopicPartitions,
};
use ringmill_net::wire::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use ringmill_net::wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};
use ringmill_net::wire::{ErrorCode, Uuid};

use crate::listing::list;
use crate::member::{Member, code, one_offset};
use crate::offsets::id_of;
use crate::raw::Raw;
use crate::{broker, broker_with};

/// A consumer member.
struct ConsumerMember {
    client: Raw,
    id: &'static str,
    epoch: i32,
    has: BTreeSet<i32>,
    topic: Uuid,
}

impl ConsumerMember {
    fn new(address: SocketAddr, id: &'static str) -> ConsumerMember {
        let mut client = Raw::connect(address);
        let topic = id_of(&mut client, "logs");
        ConsumerMember { client, id, epoch: JOIN_EPOCH, has: BTreeSet::new(), topic }
    }

    /// Sends what `request` says beside who this is; takes over what it is told.
    fn beat(&mut self, request: &ConsumerGroupHeartbeatRequest<'_>) -> ErrorCode {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g",
            member_id: self.id,
            member_epoch: self.epoch,
            ..request.clone()
        };
        let frame = self.client.call(&request, 1);
        let answer: ConsumerGroupHeartbeatResponse<'_> = frame.decode(1);
        let error = code(answer.error_code);
        assert_eq!(error == ErrorCode::None, answer.error_message.is_none(), "{answer:?}");
        if error == ErrorCode::None {
            assert_eq!(answer.member_id, Some(self.id));
            assert!(answer.heartbeat_interval_ms > 0 || self.epoch < 0, "{answer:?}");
            self.epoch = answer.member_epoch;
            if let Some(assignment) = answer.assignment {
                assert!(assignment.topic_partitions.iter().all(|topic| topic.topic_id == self.topic));
                self.has = assignment.topic_partitions.iter().flat_map(|topic| topic.partitions.clone()).collect();
            }
        }
        error
    }

    fn join(&mut self) -> ErrorCode {
        self.beat(&ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["logs"]),
            topic_partitions: Some(Vec::new()),
            ..ConsumerGroupHeartbeatRequest::default()
        })
    }

    /// A heartbeat that says what the member has.
    fn owning(&mut self) -> ErrorCode {
        let partitions = self.has.iter().copied().collect();
        let owned = vec![TopicPartitions { topic_id: self.topic, partitions }];
        self.beat(&ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: -1,
            topic_partitions: Some(owned),
            ..ConsumerGroupHeartbeatRequest::default()
        })
    }
}

/// Beats in turn until the members have these many partitions; never do two have the same one.
fn until_shared(members: &mut [&mut ConsumerMember], shares: &[usize]) {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        for member in members.iter_mut() {
            assert_eq!(member.owning(), ErrorCode::None, "{}", member.id);
        }
        let all: usize = members.iter().map(|member| member.has.len()).sum();
        let different: BTreeSet<_> = members.iter().flat_map(|member| &member.has).collect();
        assert_eq!(all, different.len(), "a partition has two owners");
        if members.iter().map(|member| member.has.len()).eq(shares.iter().copied()) {
            return;
        }
        assert!(Instant::now() < patience, "never shared as {shares:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_broker_shares_and_nobody_has_what_another_has_not_given_up() {
    let (broker, _dir) = broker();
    let mut one = ConsumerMember::new(broker.address(), "member-one");
    assert_eq!(one.join(), ErrorCode::None);
    until_shared(&mut [&mut one], &[4]);
    let mut two = ConsumerMember::new(broker.address(), "member-two");
    assert_eq!(two.join(), ErrorCode::None);
    until_shared(&mut [&mut one, &mut two], &[2, 2]);

    let mut client = Raw::connect(broker.address());
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["g"], include_authorized_operations: true };
    for version in 0..=1 {
        let frame = client.call(&request, version);
        let answer: ConsumerGroupDescribeResponse<'_> = frame.decode(version);
        let group = &answer.groups[0];
        assert_eq!((group.error_code, group.group_state, group.members.len()), (0, "Stable", 2), "{group:?}");
        assert_eq!((group.group_epoch, group.assignor_name), (group.assignment_epoch, "uniform"));
        assert_eq!(group.authorized_operations, 0b1101_0100_1000);
        let member = group.members.iter().find(|member| member.member_id == "member-two").unwrap();
        assert_eq!((member.client_id, member.client_host), ("raw", "/127.0.0.1"));
        assert_eq!(member.subscribed_topic_names, ["logs"]);
        let assigned = &member.assignment.topic_partitions[0];
        assert_eq!((assigned.topic_name, assigned.topic_id), ("logs", two.topic));
        assert_eq!(assigned.partitions.iter().copied().collect::<BTreeSet<_>>(), two.has);
        assert_eq!(member.target_assignment, member.assignment);
        assert_eq!(member.member_type, if version == 1 { CONSUMER_MEMBER_TYPE } else { -1 });
    }
    assert_eq!(list(&mut client, &[], &["Consumer"], 5).len(), 1);

    one.epoch = LEAVE_EPOCH;
    assert_eq!(one.beat(&ConsumerGroupHeartbeatRequest::default()), ErrorCode::None);
    until_shared(&mut [&mut two], &[4]);
    broker.stop();
}

#[test]
fn commits_and_fetches_go_by_the_members_epoch() {
    let (broker, _dir) = broker();
    let mut member = ConsumerMember::new(broker.address(), "member");
    assert_eq!(member.join(), ErrorCode::None);
    until_shared(&mut [&mut member], &[4]);
    let epoch = member.epoch;
    let client = &mut member.client;
    let mut commit_in = |version: i16, member_id: &str, epoch: i32| {
        let request = OffsetCommitRequest {
            group_id: "g",
            generation_id_or_member_epoch: epoch,
            member_id,
            topics: vec![one_offset("logs", 0, 7, Some("words"))],
            ..OffsetCommitRequest::default()
        };
        let frame = client.call(&request, version);
        code(frame.decode::<OffsetCommitResponse<'_>>(version).topics[0].partitions[0].error_code)
    };
    // Clients of older versions know no epochs, nor what they would be refused with.
    assert_eq!(commit_in(8, "member", epoch), ErrorCode::UnsupportedVersion);
    assert_eq!(commit_in(8, "member", epoch - 1), ErrorCode::UnsupportedVersion);
    assert_eq!(commit_in(8, "nobody", epoch), ErrorCode::UnknownMemberId);
    let mut commit = |member_id: &str, epoch: i32| commit_in(9, member_id, epoch);
    assert_eq!(commit("member", epoch), ErrorCode::None);
    assert_eq!(commit("member", epoch - 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(commit("nobody", epoch), ErrorCode::UnknownMemberId);
    let mut fetch = |member_id, member_epoch| {
        let group = OffsetFetchRequestGroup { group_id: "g", member_id, member_epoch, topics: None };
        let frame = client.call(&OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }, 9);
        let answer: OffsetFetchResponse<'_> = frame.decode(9);
        (code(answer.groups[0].error_code), answer.groups[0].topics.len())
    };
    assert_eq!(fetch(Some("member"), epoch), (ErrorCode::None, 1));
    assert_eq!(fetch(Some("member"), epoch - 1), (ErrorCode::StaleMemberEpoch, 0));
    assert_eq!(fetch(Some("nobody"), epoch), (ErrorCode::UnknownMemberId, 0));
    assert_eq!(fetch(None, -1), (ErrorCode::None, 1), "tools say nothing of themselves");
    broker.stop();
}

#[test]
fn mistakes_are_told_in_words() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let joining = ConsumerGroupHeartbeatRequest {
        group_id: "g",
        member_id: "m",
        rebalance_timeout_ms: 1000,
        subscribed_topic_names: Some(vec!["logs"]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let mut check = |request: &ConsumerGroupHeartbeatRequest<'_>, expected: ErrorCode| {
        for version in 0..=1 {
            let frame = client.call(request, version);
            let answer: ConsumerGroupHeartbeatResponse<'_> = frame.decode(version);
            assert_eq!(code(answer.error_code), expected, "version {version}: {answer:?}");
            assert!(answer.error_message.is_some_and(|why| !why.is_empty()), "{answer:?}");
            assert_eq!((answer.member_id, answer.member_epoch, answer.assignment), (None, 0, None));
        }
    };
    check(&ConsumerGroupHeartbeatRequest { group_id: "", ..joining.clone() }, ErrorCode::InvalidRequest);
    check(&ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..joining.clone() }, ErrorCode::InvalidRequest);
    check(
        &ConsumerGroupHeartbeatRequest { server_assignor: Some("sticky"), ..joining.clone() },
        ErrorCode::UnsupportedAssignor,
    );
    check(&ConsumerGroupHeartbeatRequest { member_epoch: 5, ..joining }, ErrorCode::UnknownMemberId);
    broker.stop();
}

/// Clients fall back to the classic protocol when they are told so (franz-go does), or say it to their user.
#[test]
fn where_it_is_switched_off_it_is_an_unknown_version() {
    let (broker, _dir) = broker_with(&[("broker.group.coordinator.rebalance.protocols", "classic")]);
    let mut member = ConsumerMember::new(broker.address(), "member");
    assert_eq!(member.join(), ErrorCode::UnsupportedVersion);
    let mut client = Raw::connect(broker.address());
    let frame = client.call(&ConsumerGroupDescribeRequest { group_ids: vec!["g"], ..Default::default() }, 1);
    let answer: ConsumerGroupDescribeResponse<'_> = frame.decode(1);
    assert_eq!(code(answer.groups[0].error_code), ErrorCode::UnsupportedVersion);
    let _classic = Member::stable(broker.address(), "g");
    broker.stop();
}
