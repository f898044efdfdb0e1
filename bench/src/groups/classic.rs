//! Members of the classic protocol: they join, the leader shares out, they sync, send heartbeats and leave.
//!
//! Members of one group know of each other only what the protocol tells them, except that the leader notes for all how many members its
//! generation has: a group is whole once one generation holds everybody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmill_net::client::Connection;
use ringmill_net::wire::embedded_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, PROTOCOL_TYPE, TopicPartition,
};
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringmill_net::wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringmill_net::wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ringmill_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use ringmill_net::wire::{ErrorCode, Message};

use super::brokers::{Topic, is_temporary};
use crate::load::error_name;

/// How members share out here; any name will do, for the leader is one of them.
const ASSIGNOR: &str = "roundrobin";
/// Of subscriptions and assignments: topics and partitions, and nothing more.
const PAYLOAD_VERSION: i16 = 0;
/// Between two looks of a member whose group is not whole yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// A group of healthy members that is not whole by then never will be.
const ENTER_TIME_MAX: Duration = Duration::from_secs(300);

/// What all members of a group know.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    topic: Topic,
    session_timeout_ms: i32,
    /// How many members make it whole.
    expected: AtomicUsize,
    /// The newest generation that a leader was given, and of how many members it is.
    newest: Mutex<(i32, usize)>,
}

/// One member.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Empty until the broker has given one.
    pub(super) id: String,
    pub(super) generation: i32,
}

/// When a member came into a whole group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    /// When its last JoinGroup left.
    pub(super) join_sent: Instant,
    /// When its assignment came.
    pub(super) assigned: Instant,
}

/// What a heartbeat tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Stay,
    /// The group rebalances, or has done so.
    JoinAnew,
}

/// An answered JoinGroup.
struct Joined {
    sent: Instant,
    protocol_type: Option<String>,
    protocol_name: Option<String>,
    /// Everybody's id for the leader, whose task it is to share out; none for the others.
    to_share_out: Vec<String>,
}

impl Group {
    pub(super) fn new(id: Arc<str>, topic: Topic, session_timeout_ms: i32, expected: usize) -> Group {
        Group { id, topic, session_timeout_ms, expected: AtomicUsize::new(expected), newest: Mutex::new((-1, 0)) }
    }

    /// From now on so many members make it whole.
    pub(super) fn expect(&self, members: usize) {
        self.expected.store(members, Ordering::Release);
    }

    fn note(&self, generation: i32, members: usize) {
        let mut newest = self.newest.lock().expect("nobody panics while noting");
        *newest = (generation, members).max(*newest);
    }

    fn is_whole_in(&self, generation: i32) -> bool {
        let newest = self.newest.lock().expect("nobody panics while looking");
        *newest == (generation, self.expected.load(Ordering::Acquire))
    }

    fn refused(&self, what: &str, code: i16) -> String {
        format!("{what} of group {}: {}", self.id, error_name(code))
    }
}

impl Member {
    pub(super) fn new() -> Member {
        Member { id: String::new(), generation: -1 }
    }

    /// Joins, as often as it takes until the group is whole.
    pub(super) async fn enter(&mut self, connection: &Connection, group: &Group) -> Result<Entered, String> {
        let deadline = Instant::now() + ENTER_TIME_MAX;
        while Instant::now() < deadline {
            let joined = self.join(connection, group).await?;
            if !self.sync(connection, group, &joined).await? {
                continue;
            }
            let entered = Entered { join_sent: joined.sent, assigned: Instant::now() };
            // The leader noted who is there before it handed in the assignment, so everybody who has one can tell.
            if group.is_whole_in(self.generation) {
                return Ok(entered);
            }
            self.await_rebalance(connection, group, LOOK_INTERVAL).await?;
        }
        Err(format!("group {} was not whole within {} s", group.id, ENTER_TIME_MAX.as_secs()))
    }

    /// Sends a heartbeat every so often, until one tells to join anew.
    pub(super) async fn await_rebalance(
        &self,
        connection: &Connection,
        group: &Group,
        interval: Duration,
    ) -> Result<(), String> {
        let deadline = Instant::now() + ENTER_TIME_MAX;
        while self.heartbeat(connection, group).await? == Told::Stay {
            if Instant::now() >= deadline {
                return Err(format!("group {} does not rebalance", group.id));
            }
            tokio::time::sleep(interval).await;
        }
        Ok(())
    }

    async fn join(&mut self, connection: &Connection, group: &Group) -> Result<Joined, String> {
        let topics = vec![&*group.topic.name];
        let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
        let metadata = embedded_protocol::encode(&subscription, PAYLOAD_VERSION);
        let deadline = Instant::now() + ENTER_TIME_MAX;
        loop {
            let request = JoinGroupRequest {
                group_id: &group.id,
                session_timeout_ms: group.session_timeout_ms,
                rebalance_timeout_ms: group.session_timeout_ms,
                member_id: &self.id,
                protocol_type: PROTOCOL_TYPE,
                protocols: vec![JoinGroupRequestProtocol { name: ASSIGNOR, metadata: &metadata }],
                ..Default::default()
            };
            let sent = Instant::now();
            let answer = ask(connection, &request, group.session_timeout_ms).await?;
            let response: JoinGroupResponse<'_> = answer.decode().map_err(|error| error.to_string())?;
            match response.error_code {
                0 => {
                    response.member_id.clone_into(&mut self.id);
                    self.generation = response.generation_id;
                    let is_leader = response.leader == response.member_id;
                    if is_leader {
                        group.note(response.generation_id, response.members.len());
                    }
                    let to_share_out = if response.skip_assignment { Vec::new() } else { member_ids(&response) };
                    return Ok(Joined {
                        sent,
                        protocol_type: response.protocol_type.map(str::to_owned),
                        protocol_name: response.protocol_name.map(str::to_owned),
                        to_share_out,
                    });
                }
                code if code == ErrorCode::MemberIdRequired.code() => response.member_id.clone_into(&mut self.id),
                code if (is_temporary(code) || is_rebalance(code)) && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                code => return Err(group.refused("JoinGroup", code)),
            }
        }
    }

    /// Whether the generation still stood when the assignment was handed in.
    async fn sync(&self, connection: &Connection, group: &Group, joined: &Joined) -> Result<bool, String> {
        let shares = share_out(&group.topic.name, group.topic.partitions, joined.to_share_out.len());
        let assignments = joined.to_share_out.iter().zip(&shares);
        let request = SyncGroupRequest {
            group_id: &group.id,
            generation_id: self.generation,
            member_id: &self.id,
            protocol_type: joined.protocol_type.as_deref(),
            protocol_name: joined.protocol_name.as_deref(),
            assignments: assignments
                .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment })
                .collect(),
            ..Default::default()
        };
        let answer = ask(connection, &request, group.session_timeout_ms).await?;
        let response: SyncGroupResponse<'_> = answer.decode().map_err(|error| error.to_string())?;
        match response.error_code {
            0 => Ok(true),
            code if is_rebalance(code) => Ok(false),
            code => Err(group.refused("SyncGroup", code)),
        }
    }

    pub(super) async fn heartbeat(&self, connection: &Connection, group: &Group) -> Result<Told, String> {
        let request = HeartbeatRequest {
            group_id: &group.id,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: None,
        };
        let answer = ask(connection, &request, 0).await?;
        let response: HeartbeatResponse = answer.decode().map_err(|error| error.to_string())?;
        match response.error_code {
            0 => Ok(Told::Stay),
            code if is_rebalance(code) => Ok(Told::JoinAnew),
            code => Err(group.refused("Heartbeat", code)),
        }
    }
}

/// Takes members out of their group, all with one request where the broker's version has that.
pub(super) async fn leave(connection: &Connection, group: &Group, members: &[Member]) -> Result<(), String> {
    const SEVERAL_MEMBERS_VERSION: i16 = 3;
    let version = connection.version_of::<LeaveGroupRequest<'_>>().map_err(|error| error.to_string())?;
    let at_once = if version >= SEVERAL_MEMBERS_VERSION { members.len() } else { 1 };
    for some in members.chunks(at_once.max(1)) {
        let request = LeaveGroupRequest {
            group_id: &group.id,
            member_id: &some[0].id,
            members: some.iter().map(|each| MemberIdentity { member_id: &each.id, ..Default::default() }).collect(),
        };
        let answer = ask(connection, &request, 0).await?;
        let response: LeaveGroupResponse<'_> = answer.decode().map_err(|error| error.to_string())?;
        let each = response.members.iter().map(|member| member.error_code);
        if let Some(code) = std::iter::once(response.error_code).chain(each).find(|code| *code != 0 && !is_gone(*code))
        {
            return Err(group.refused("LeaveGroup", code));
        }
    }
    Ok(())
}

async fn ask<'a, M: Message<'a>>(
    connection: &Connection,
    request: &M,
    extra_wait_ms: i32,
) -> Result<ringmill_net::client::Answer, String> {
    let version = connection.version_of::<M>().map_err(|error| error.to_string())?;
    let extra_wait_ms = u64::try_from(extra_wait_ms).unwrap_or(0);
    let sent = connection.send(request, version, Vec::new(), extra_wait_ms).await;
    sent.map_err(|error| error.to_string())?.answer().await.map_err(|error| error.to_string())
}

fn member_ids(response: &JoinGroupResponse<'_>) -> Vec<String> {
    response.members.iter().map(|member| member.member_id.to_owned()).collect()
}

/// Whether the group has gone on without this member, which may come back.
fn is_rebalance(code: i16) -> bool {
    matches!(ErrorCode::from_code(code), Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration))
}

/// Whether the broker has already given the member up, as it does where leaving many takes longer than a session.
fn is_gone(code: i16) -> bool {
    code == ErrorCode::UnknownMemberId.code()
}

/// An assignment for each member: the partitions in turn.
fn share_out(topic: &str, partitions: i32, members: usize) -> Vec<Bytes> {
    let share = |member: usize| {
        let partitions = (0..partitions).skip(member).step_by(members).collect();
        let assigned = ConsumerProtocolAssignment {
            assigned_partitions: vec![TopicPartition { topic, partitions }],
            user_data: None,
        };
        embedded_protocol::encode(&assigned, PAYLOAD_VERSION)
    };
    (0..members).map(share).collect()
}

#[cfg(test)]
mod tests {
    use ringmill_net::wire::Uuid;

    use super::*;

    #[test]
    fn every_partition_is_shared_out_once() {
        let shares = share_out("t", 7, 3);
        let mut found = Vec::new();
        for share in &shares {
            let assignment = embedded_protocol::assignment(share).unwrap();
            assert_eq!(assignment.assigned_partitions[0].topic, "t");
            found.extend(assignment.assigned_partitions[0].partitions.clone());
        }
        found.sort_unstable();
        assert_eq!((shares.len(), found), (3, (0..7).collect::<Vec<i32>>()));
        assert!(share_out("t", 7, 0).is_empty());
    }

    #[test]
    fn a_group_is_whole_only_in_its_newest_generation_with_everybody_in_it() {
        let topic = Topic { name: "t".into(), id: Uuid::default(), partitions: 3 };
        let group = Group::new("g".into(), topic, 45_000, 2);
        assert!(!group.is_whole_in(-1));
        group.note(1, 1);
        assert!(!group.is_whole_in(1), "one of two is there");
        group.note(2, 2);
        group.note(1, 2);
        assert!(group.is_whole_in(2) && !group.is_whole_in(1), "what comes late does not count");
        group.expect(3);
        assert!(!group.is_whole_in(2));
    }
}
