//! Consumer groups: two classic members in one group, and a consumer member in another, that commit ever larger offsets over all
//! lives of the broker. What is left of their commits is looked up after each start; the checker knows which those may be.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmill_checker::{Event, Place};
use ringmill_net::client::{ClientError, Connection};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use ringmill_net::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JOIN_EPOCH, TopicPartitions,
};
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringmill_net::wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ringmill_net::wire::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};
use ringmill_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringmill_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponsePartitions,
};
use ringmill_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use tokio::time::sleep;

use super::ledger::Ledger;
use super::{DiskState, client};
use crate::random::Random;

/// What the broker is set to: lives are short, and starts shall be.
pub(crate) const SETTINGS: [&str; 2] =
    ["broker.group.initial.rebalance.delay.ms=0", "broker.offsets.topic.num.partitions=2"];

/// The topic that is read: the first of the plan.
const TOPIC: u32 = 0;
const NAME: &str = super::PLANS[0].name;
const PARTITIONS: i32 = super::PLANS[0].partitions;

const CLASSIC: &str = "classic";
const CONSUMER: &str = "newer";

/// The last versions that name topics.
const COMMIT_VERSION: i16 = 9;
const OFFSETS_VERSION: i16 = 9;
const LEAVE_VERSION: i16 = 5;

/// Longer than any machine stalls: nobody is silent for so long but between two lives.
const SESSION_MS: i32 = 30_000;

/// Between two requests of a member, at most.
const PAUSE_MS_MAX: u64 = 12;

/// How long a lookup is repeated for which the coordinator is not ready: longer than any load takes, and where nothing has to become of
/// it, only so long that most do.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(10);
const LOOKUP_PATIENCE_FAILING: Duration = Duration::from_millis(300);
const LOOKUP_PAUSE: Duration = Duration::from_millis(5);

/// What passes by itself.
const PASSING: [ErrorCode; 3] =
    [ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable, ErrorCode::NotCoordinator];

/// The member is out of its group.
const OUT: [i16; 2] = [ErrorCode::UnknownMemberId.code(), ErrorCode::FencedMemberEpoch.code()];
/// It is in, and has to join once more.
const JOIN_AGAIN: [i16; 2] = [ErrorCode::IllegalGeneration.code(), ErrorCode::RebalanceInProgress.code()];

/// All members.
#[derive(Debug)]
pub(super) struct Groups {
    members: [Member; 3],
    /// The number of the next commit, which is its offset, too.
    next: Cell<u32>,
}

#[derive(Debug)]
struct Member {
    group: &'static str,
    id: String,
    /// Or epoch.
    generation: i32,
    is_in: bool,
    topic_id: [u8; 16],
    owned: Vec<i32>,
}

impl Groups {
    /// Announces groups that nobody is in yet.
    pub(super) fn new(ledger: &Ledger) -> Groups {
        for (group, is_consumer) in [(CLASSIC, false), (CONSUMER, true)] {
            ledger.put(Event::Group { group: group.to_owned(), is_consumer });
        }
        let member = |group, id: &str| Member {
            group,
            id: id.to_owned(),
            generation: JOIN_EPOCH,
            is_in: false,
            topic_id: [0; 16],
            owned: Vec::new(),
        };
        Groups { members: [member(CLASSIC, ""), member(CLASSIC, ""), member(CONSUMER, "member")], next: Cell::new(0) }
    }

    /// Works until the connections end.
    pub(super) async fn run(&mut self, address: SocketAddr, ledger: &Ledger, mut random: Random) {
        let next = &self.next;
        let mut working = self.members.each_mut().into_iter().map(|member| {
            let random = random.branch();
            member.live(address, ledger, next, random)
        });
        let mut work = || working.next().expect("there are three");
        let (one, other, consumer) = (work(), work(), work());
        drop(tokio::join!(one, other, consumer));
    }
}

/// Looks up what is committed after a start, once the coordinator has loaded it.
///
/// A group that is kept back on a sound disk is an error; on one that fails it is counted.
pub(super) async fn look(connection: &Connection, ledger: &Ledger, disk: DiskState) -> Result<(), ClientError> {
    let patience = match disk {
        DiskState::Sound => LOOKUP_PATIENCE,
        DiskState::Failing => LOOKUP_PATIENCE_FAILING,
    };
    let until = Instant::now() + patience;
    let mut left = vec![CLASSIC, CONSUMER];
    loop {
        let refused = look_at(connection, ledger, &left).await?;
        let is_over = Instant::now() >= until;
        left.clear();
        for (group, code) in refused {
            if PASSING.contains(&code) && !is_over {
                left.push(group);
            } else if disk == DiskState::Failing {
                ledger.count("lookups of groups refused", 1);
            } else {
                let what = format!("what the group {group} has committed");
                return Err(ClientError::Refused { what, code, message: None });
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        sleep(LOOKUP_PAUSE).await;
    }
}

/// Looks up some groups, and gives those that were refused.
async fn look_at(
    connection: &Connection,
    ledger: &Ledger,
    groups: &[&'static str],
) -> Result<Vec<(&'static str, ErrorCode)>, ClientError> {
    let asked = ledger.now();
    let wanted = |group_id| OffsetFetchRequestGroup {
        group_id,
        topics: Some(vec![OffsetFetchRequestTopics {
            name: NAME,
            partition_indexes: (0..PARTITIONS).collect(),
            ..OffsetFetchRequestTopics::default()
        }]),
        ..OffsetFetchRequestGroup::default()
    };
    let request =
        OffsetFetchRequest { groups: groups.iter().copied().map(wanted).collect(), ..OffsetFetchRequest::default() };
    let answer = connection.send(&request, OFFSETS_VERSION, Vec::new(), 0).await?.answer().await?;
    let response: OffsetFetchResponse<'_> = answer.decode()?;
    let mut refused = Vec::new();
    for &group in groups {
        let partitions = match told(&response, group) {
            Ok(partitions) => partitions,
            Err(code) => {
                refused.push((group, code));
                continue;
            }
        };
        for each in partitions {
            let offset = Some(each.committed_offset).filter(|offset| *offset >= 0);
            let commit = each.metadata.and_then(|words| words.parse().ok());
            let place = Place { topic: TOPIC, partition: each.partition_index };
            ledger.count("commits found", u64::from(offset.is_some()));
            ledger.put(Event::CommitFound { group: group.to_owned(), place, asked, offset, commit });
        }
    }
    Ok(refused)
}

/// All that was asked for of a group, or the first code that keeps some of it back. What is missing without a word is kept back, too.
fn told<'r, 'a>(
    response: &'r OffsetFetchResponse<'a>,
    group: &str,
) -> Result<Vec<&'r OffsetFetchResponsePartitions<'a>>, ErrorCode> {
    let success = |code| {
        if code == 0 { Ok(()) } else { Err(ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)) }
    };
    let group = response.groups.iter().find(|each| each.group_id == group).ok_or(ErrorCode::UnknownServerError)?;
    success(group.error_code)?;
    let partitions: Vec<_> = group.topics.iter().flat_map(|topic| &topic.partitions).collect();
    partitions.iter().try_for_each(|each| success(each.error_code))?;
    let is_all = partitions.iter().map(|each| each.partition_index).eq(0..PARTITIONS);
    if is_all { Ok(partitions) } else { Err(ErrorCode::UnknownServerError) }
}

impl Member {
    async fn live(
        &mut self,
        address: SocketAddr,
        ledger: &Ledger,
        next: &Cell<u32>,
        mut random: Random,
    ) -> Result<(), ClientError> {
        let connection = client::connect(address).await?;
        while connection.is_usable() {
            let is_consumer = self.group == CONSUMER;
            match (self.is_in, is_consumer, random.below(40)) {
                (false, false, _) => self.enter(&connection, ledger).await?,
                (_, true, 0..8) | (false, true, _) => self.beat_newer(&connection, ledger).await?,
                (true, false, 0..8) => self.beat(&connection, ledger).await?,
                (true, false, 8) => self.leave(&connection).await?,
                _ => self.commit(&connection, ledger, next).await?,
            }
            sleep(Duration::from_millis(1 + random.below(PAUSE_MS_MAX))).await;
        }
        Err(ClientError::Closed)
    }

    fn places(&self) -> Vec<Place> {
        self.owned.iter().map(|partition| Place { topic: TOPIC, partition: *partition }).collect()
    }

    fn is_assigned(&self, ledger: &Ledger) {
        let (group, member, generation) = (self.group.to_owned(), self.id.clone(), self.generation);
        ledger.put(Event::Assigned { group, member, generation, places: self.places() });
        ledger.count("shares of groups", 1);
    }

    /// Takes a refusal; any other than these may have passed by the next time.
    fn is_told(&mut self, ledger: &Ledger, code: i16) {
        if OUT.contains(&code) {
            if self.group == CONSUMER {
                let (group, member) = (self.group.to_owned(), self.id.clone());
                ledger.put(Event::MemberOut { group, member, told: true });
            } else {
                self.id.clear();
            }
            (self.is_in, self.generation) = (false, JOIN_EPOCH);
            self.owned.clear();
        }
        self.is_in &= !JOIN_AGAIN.contains(&code);
    }

    /// Joins, shares out if it leads, and gets its share.
    async fn enter(&mut self, connection: &Connection, ledger: &Ledger) -> Result<(), ClientError> {
        let subscription = ConsumerProtocolSubscription { topics: vec![NAME], ..Default::default() };
        let metadata = embedded_protocol::encode(&subscription, 1);
        let request = JoinGroupRequest {
            group_id: self.group,
            session_timeout_ms: SESSION_MS,
            // Whoever died with its id forgotten holds nobody up for longer.
            rebalance_timeout_ms: 20,
            member_id: &self.id,
            protocol_type: embedded_protocol::PROTOCOL_TYPE,
            protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: &metadata }],
            ..JoinGroupRequest::default()
        };
        let answer = connection.call(&request).await?;
        let joined: JoinGroupResponse<'_> = answer.decode()?;
        if joined.error_code == ErrorCode::MemberIdRequired.code() || joined.error_code == 0 {
            joined.member_id.clone_into(&mut self.id);
        }
        if joined.error_code != 0 {
            self.is_told(ledger, joined.error_code);
            return Ok(());
        }
        let members: Vec<&str> = match joined.leader == joined.member_id {
            true => joined.members.iter().map(|member| member.member_id).collect(),
            false => Vec::new(),
        };
        let shares: Vec<Bytes> = (0..members.len()).map(|number| share(number, members.len())).collect();
        let assignments = members
            .iter()
            .zip(&shares)
            .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: self.group,
            generation_id: joined.generation_id,
            member_id: &self.id,
            protocol_type: Some(embedded_protocol::PROTOCOL_TYPE),
            protocol_name: Some("range"),
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        let answer = connection.call(&request).await?;
        let synced: SyncGroupResponse<'_> = answer.decode()?;
        if synced.error_code != 0 {
            self.is_told(ledger, synced.error_code);
            return Ok(());
        }
        let own = embedded_protocol::assignment(synced.assignment).map_err(|_| ClientError::Closed)?;
        self.owned = own.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect();
        (self.generation, self.is_in) = (joined.generation_id, true);
        self.is_assigned(ledger);
        Ok(())
    }

    async fn beat(&mut self, connection: &Connection, ledger: &Ledger) -> Result<(), ClientError> {
        let request = HeartbeatRequest {
            group_id: self.group,
            generation_id: self.generation,
            member_id: &self.id,
            group_instance_id: None,
        };
        let answer = connection.call(&request).await?;
        self.is_told(ledger, answer.decode::<HeartbeatResponse>()?.error_code);
        Ok(())
    }

    async fn leave(&mut self, connection: &Connection) -> Result<(), ClientError> {
        let member = MemberIdentity { member_id: &self.id, ..MemberIdentity::default() };
        let request = LeaveGroupRequest { group_id: self.group, members: vec![member], ..LeaveGroupRequest::default() };
        let answer = connection.send(&request, LEAVE_VERSION, Vec::new(), 0).await?.answer().await?;
        if answer.decode::<LeaveGroupResponse<'_>>()?.error_code == 0 {
            (self.is_in, self.id) = (false, String::new());
        }
        Ok(())
    }

    /// A ConsumerGroupHeartbeat that says all, so that no lost answer matters. Its only member never has to give anything up.
    async fn beat_newer(&mut self, connection: &Connection, ledger: &Ledger) -> Result<(), ClientError> {
        let owned = TopicPartitions { topic_id: self.topic_id, partitions: self.owned.clone() };
        let owned = if self.owned.is_empty() { Vec::new() } else { vec![owned] };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group,
            member_id: &self.id,
            member_epoch: self.generation,
            rebalance_timeout_ms: SESSION_MS,
            subscribed_topic_names: Some(vec![NAME]),
            topic_partitions: Some(owned),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answer = connection.call(&request).await?;
        let told: ConsumerGroupHeartbeatResponse<'_> = answer.decode()?;
        if told.error_code != 0 {
            self.is_told(ledger, told.error_code);
            return Ok(());
        }
        (self.generation, self.is_in) = (told.member_epoch, true);
        if let Some(assignment) = told.assignment {
            self.owned.clear();
            for topic in assignment.topic_partitions {
                (self.topic_id, self.owned) = (topic.topic_id, topic.partitions);
            }
        }
        self.is_assigned(ledger);
        Ok(())
    }

    async fn commit(&mut self, connection: &Connection, ledger: &Ledger, next: &Cell<u32>) -> Result<(), ClientError> {
        let group = || self.group.to_owned();
        let mut sent = Vec::new();
        for place in self.places() {
            let number = next.replace(next.get() + 1);
            let (commit, offset, generation) = (u64::from(number), i64::from(number), self.generation);
            let member = Some(self.id.clone());
            ledger.put(Event::CommitSent { group: group(), member, generation, commit, place, offset });
            sent.push((commit, place, offset, number.to_string()));
        }
        if sent.is_empty() {
            return Ok(());
        }
        let partitions = sent.iter().map(|(_, place, offset, words)| OffsetCommitRequestPartition {
            partition_index: place.partition,
            committed_offset: *offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(words),
        });
        let request = OffsetCommitRequest {
            group_id: self.group,
            generation_id_or_member_epoch: self.generation,
            member_id: &self.id,
            topics: vec![OffsetCommitRequestTopic {
                name: NAME,
                partitions: partitions.collect(),
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let answer = connection.send(&request, COMMIT_VERSION, Vec::new(), 0).await?.answer().await?;
        let response: OffsetCommitResponse<'_> = answer.decode()?;
        let codes: Vec<i16> =
            response.topics.iter().flat_map(|topic| &topic.partitions).map(|each| each.error_code).collect();
        for (code, &(commit, place, ..)) in codes.iter().zip(&sent) {
            match *code {
                0 => drop(ledger.put(Event::Committed { group: group(), commit, place })),
                code => drop(ledger.put(Event::CommitRefused { group: group(), commit, place, code })),
            }
            ledger.count(if *code == 0 { "offsets committed" } else { "commits refused" }, 1);
        }
        codes.first().into_iter().for_each(|code| self.is_told(ledger, *code));
        Ok(())
    }
}

/// What one of so many members gets.
fn share(number: usize, members: usize) -> Bytes {
    let partitions = (0..PARTITIONS).zip((0..members).cycle()).filter(|(_, owner)| *owner == number);
    let topic = TopicPartition { topic: NAME, partitions: partitions.map(|(partition, _)| partition).collect() };
    let assigned = ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
    embedded_protocol::encode(&assigned, 1)
}
