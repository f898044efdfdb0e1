//! A member of a classic group that does exactly what a test says, over a connection of its own.

use std::net::SocketAddr;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringmill_net::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use ringmill_net::wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ringmill_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringmill_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use crate::raw::Raw;

/// The version that members join with unless a test says otherwise: the newest.
pub(crate) const JOIN_VERSION: i16 = 9;
const SYNC_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
const LEAVE_VERSION: i16 = 5;
const COMMIT_VERSION: i16 = 9;

/// What JoinGroup was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) error: ErrorCode,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    pub(crate) skip_assignment: bool,
    /// Id, static name and what each told.
    pub(crate) members: Vec<(String, Option<String>, Vec<u8>)>,
}

/// A member.
pub(crate) struct Member {
    pub(crate) client: Raw,
    pub(crate) group: &'static str,
    pub(crate) id: String,
    pub(crate) instance: Option<&'static str>,
    pub(crate) generation: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// What it tells the leader, for each of the protocols `range` and `sticky`.
    pub(crate) told: &'static [u8],
}

impl Member {
    pub(crate) fn new(address: SocketAddr, group: &'static str) -> Member {
        Member {
            client: Raw::connect(address),
            group,
            id: String::new(),
            instance: None,
            generation: -1,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            told: b"told",
        }
    }

    /// With a name that outlives it.
    pub(crate) fn named(address: SocketAddr, group: &'static str, instance: &'static str) -> Member {
        Member { instance: Some(instance), ..Member::new(address, group) }
    }

    /// Asks to be let in, without waiting for the answer.
    pub(crate) fn send_join(&mut self, version: i16) {
        let protocol = |name| JoinGroupRequestProtocol { name, metadata: self.told };
        let request = JoinGroupRequest {
            group_id: self.group,
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            member_id: &self.id,
            group_instance_id: self.instance,
            protocol_type: "consumer",
            protocols: vec![protocol("range"), protocol("sticky")],
            reason: Some("a test says so"),
        };
        self.client.send(&request, version, Vec::new());
    }

    /// The answer; the member takes over what it is told of itself.
    pub(crate) fn receive_joined(&mut self, version: i16) -> Joined {
        let frame = self.client.receive().expect("the broker answers");
        let answer: JoinGroupResponse<'_> = frame.decode(version);
        let member = |member: &JoinGroupResponseMember<'_>| {
            (member.member_id.to_owned(), member.group_instance_id.map(str::to_owned), member.metadata.to_vec())
        };
        let joined = Joined {
            error: code(answer.error_code),
            generation: answer.generation_id,
            protocol: answer.protocol_name.map(str::to_owned),
            leader: answer.leader.to_owned(),
            member_id: answer.member_id.to_owned(),
            skip_assignment: answer.skip_assignment,
            members: answer.members.iter().map(member).collect(),
        };
        if joined.error == ErrorCode::None {
            self.generation = joined.generation;
        }
        self.id.clone_from(&joined.member_id);
        joined
    }

    pub(crate) fn join_with(&mut self, version: i16) -> Joined {
        self.send_join(version);
        self.receive_joined(version)
    }

    /// Asks to be let in as often as it is needed: a new member is given an id first. Does not wait for the last answer.
    pub(crate) fn send_join_known(&mut self) {
        if self.id.is_empty() && self.instance.is_none() {
            let refused = self.join_with(JOIN_VERSION);
            assert_eq!(refused.error, ErrorCode::MemberIdRequired);
        }
        self.send_join(JOIN_VERSION);
    }

    pub(crate) fn join(&mut self) -> Joined {
        self.send_join_known();
        self.receive_joined(JOIN_VERSION)
    }

    /// Brings the assignment, or none; the member's own share comes back by [`Member::receive_share`].
    pub(crate) fn send_sync(&mut self, assignments: &[(&str, &[u8])]) {
        let request = SyncGroupRequest {
            group_id: self.group,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: self.instance,
            protocol_type: Some("consumer"),
            protocol_name: Some("range"),
            assignments: assignments
                .iter()
                .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment })
                .collect(),
        };
        self.client.send(&request, SYNC_VERSION, Vec::new());
    }

    pub(crate) fn receive_share(&mut self) -> (ErrorCode, Vec<u8>) {
        let frame = self.client.receive().expect("the broker answers");
        let answer: SyncGroupResponse<'_> = frame.decode(SYNC_VERSION);
        (code(answer.error_code), answer.assignment.to_vec())
    }

    pub(crate) fn sync(&mut self, assignments: &[(&str, &[u8])]) -> (ErrorCode, Vec<u8>) {
        self.send_sync(assignments);
        self.receive_share()
    }

    pub(crate) fn heartbeat(&mut self) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: self.group,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: self.instance,
        };
        let frame = self.client.call(&request, HEARTBEAT_VERSION);
        code(frame.decode::<HeartbeatResponse>(HEARTBEAT_VERSION).error_code)
    }

    pub(crate) fn leave(&mut self) -> ErrorCode {
        let members = vec![MemberIdentity {
            member_id: &self.id,
            group_instance_id: self.instance,
            reason: Some("a test says so"),
        }];
        let request = LeaveGroupRequest { group_id: self.group, members, ..LeaveGroupRequest::default() };
        let frame = self.client.call(&request, LEAVE_VERSION);
        let answer: LeaveGroupResponse<'_> = frame.decode(LEAVE_VERSION);
        assert_eq!(answer.error_code, 0);
        code(answer.members[0].error_code)
    }

    /// Commits an offset of partition 0 of a topic.
    pub(crate) fn commit(&mut self, topic: &str, offset: i64) -> ErrorCode {
        let request = OffsetCommitRequest {
            group_id: self.group,
            generation_id_or_member_epoch: self.generation,
            member_id: &self.id,
            group_instance_id: self.instance,
            topics: vec![one_offset(topic, 0, offset, Some(""))],
            ..OffsetCommitRequest::default()
        };
        let frame = self.client.call(&request, COMMIT_VERSION);
        let answer: OffsetCommitResponse<'_> = frame.decode(COMMIT_VERSION);
        code(answer.topics[0].partitions[0].error_code)
    }

    /// Joins alone and gets all there is.
    pub(crate) fn stable(address: SocketAddr, group: &'static str) -> Member {
        let mut member = Member::new(address, group);
        assert_eq!(member.join().error, ErrorCode::None);
        let id = member.id.clone();
        assert_eq!(member.sync(&[(&id, b"all")]), (ErrorCode::None, b"all".to_vec()));
        member
    }
}

/// One partition of one topic to be committed.
pub(crate) fn one_offset<'a>(
    name: &'a str,
    partition_index: i32,
    committed_offset: i64,
    committed_metadata: Option<&'a str>,
) -> OffsetCommitRequestTopic<'a> {
    let partition = OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        committed_leader_epoch: 3,
        committed_metadata,
    };
    OffsetCommitRequestTopic { name, partitions: vec![partition], ..OffsetCommitRequestTopic::default() }
}

pub(crate) fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("the broker answers with codes of the protocol")
}
