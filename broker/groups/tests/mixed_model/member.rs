//! A member of either protocol that follows its rules, but not always in time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmill_groups::answer::{Answer, Joined};
use ringmill_groups::request::{
    Client, ConsumerHeartbeat, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, OfferedProtocol, Request, SyncGroup,
};
use ringmill_groups::{Ticket, TopicId};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};

use super::broker::Broker;
use super::{PARTITIONS, Reached};

const TOPIC: TopicId = [1; 16];
const SESSION_MS: u64 = 20_000;
const REBALANCE_MS: u64 = 30_000;

/// What it speaks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The consumer protocol.
    Consumer,
    /// The classic protocol; gives everything up before it joins.
    Eager,
    /// The classic protocol; gives up only what it loses, and joins again then.
    Cooperative,
}

/// Where it is.
#[derive(Clone, Debug)]
enum Phase {
    Out,
    MustJoin,
    MustSync(Joined),
    In,
}

#[derive(Clone, Debug)]
enum Asked {
    /// With what it said that it owns.
    ConsumerBeat(BTreeSet<i32>),
    Join,
    Sync,
    Beat,
}

#[derive(Debug)]
pub(crate) struct Member {
    kind: Kind,
    id: Arc<str>,
    epoch: i32,
    /// What it takes for its own.
    pub(crate) owned: BTreeSet<i32>,
    /// What it was told to own.
    told: BTreeSet<i32>,
    /// What it said that it owns when it joined.
    claimed: BTreeSet<i32>,
    phase: Phase,
    /// What it waits for, and since when.
    waits: Option<(Ticket, Asked, u64)>,
    /// When it sent the newest request that was answered.
    heard_ms: u64,
    /// The same of one whose answer said that there is nothing to do.
    fine_ms: u64,
    /// It was in a group of the consumer protocol.
    was_upgraded: bool,
}

fn consumer_member_id() -> Arc<str> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static IDS: AtomicU64 = AtomicU64::new(0);
    format!("new-{:06}", IDS.fetch_add(1, Ordering::Relaxed)).into()
}

fn topic(partitions: &BTreeSet<i32>) -> Vec<TopicPartition<'static>> {
    vec![TopicPartition { topic: "t", partitions: partitions.iter().copied().collect() }]
}

impl Member {
    pub(crate) fn new(kind: Kind) -> Member {
        Member {
            kind,
            id: if kind == Kind::Consumer { consumer_member_id() } else { "".into() },
            epoch: 0,
            owned: BTreeSet::new(),
            told: BTreeSet::new(),
            claimed: BTreeSet::new(),
            phase: Phase::Out,
            waits: None,
            heard_ms: 0,
            fine_ms: 0,
            was_upgraded: false,
        }
    }

    /// The broker is another one: what was under way is not answered any more.
    pub(crate) fn disconnected(&mut self) {
        let Some((_, asked, _)) = self.waits.take() else { return };
        self.phase = match (asked, std::mem::replace(&mut self.phase, Phase::Out)) {
            (Asked::Join | Asked::Sync, _) => Phase::MustJoin,
            (_, phase) => phase,
        };
    }

    /// After so long without a word, or with something left to do, it must suppose that it is out.
    pub(crate) fn look_at_the_clock(&mut self, now_ms: u64) {
        let silent = now_ms >= self.heard_ms + SESSION_MS;
        let late = now_ms >= self.fine_ms + REBALANCE_MS;
        if silent || late {
            self.is_out();
        }
    }

    fn is_out(&mut self) {
        self.owned.clear();
        self.told.clear();
        if matches!(self.phase, Phase::In) {
            (self.phase, self.epoch) = (Phase::Out, 0);
        }
    }

    /// What its protocol has it do next; before that it may do what it was told.
    pub(crate) fn act(&mut self, broker: &mut Broker, now_ms: u64, obeys: bool) {
        if self.waits.is_some() {
            return;
        }
        if obeys {
            self.owned = &self.owned & &self.told;
        }
        let (request, asked) = match (self.kind, self.phase.clone()) {
            (Kind::Consumer, _) => self.consumer_beat(),
            (_, Phase::Out | Phase::MustJoin) => self.join(),
            (_, Phase::MustSync(joined)) => (sync(&joined), Asked::Sync),
            (_, Phase::In) => {
                let (member_id, generation) = (Arc::clone(&self.id), self.epoch);
                let beat = Heartbeat { group: "g".into(), member_id, instance_id: None, generation };
                (Request::Heartbeat(beat), Asked::Beat)
            }
        };
        self.waits = Some((broker.ask(request), asked, now_ms));
    }

    pub(crate) fn leave(&mut self, broker: &mut Broker) {
        if self.kind == Kind::Consumer {
            let mut beat = self.beat_with(BTreeSet::new());
            (beat.member_epoch, beat.topic_partitions) = (-1, None);
            broker.ask(Request::ConsumerHeartbeat(beat));
        } else {
            let members = vec![LeavingMember { member_id: Arc::clone(&self.id), instance_id: None }];
            broker.ask(Request::Leave(LeaveGroup { group: "g".into(), members }));
        }
    }

    fn beat_with(&self, owned: BTreeSet<i32>) -> ConsumerHeartbeat {
        let partitions: Vec<i32> = owned.into_iter().collect();
        let owned = BTreeMap::from([(TOPIC, partitions)]);
        ConsumerHeartbeat {
            group: "g".into(),
            member_id: Arc::clone(&self.id),
            member_epoch: self.epoch,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: i32::try_from(REBALANCE_MS).unwrap(),
            subscribed_topic_names: Some(vec!["t".into()]),
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: Some(if self.epoch == 0 { BTreeMap::new() } else { owned }),
            client: Client::default(),
            version: 1,
        }
    }

    fn consumer_beat(&mut self) -> (Request, Asked) {
        if self.epoch == 0 {
            self.owned.clear();
        }
        (Request::ConsumerHeartbeat(self.beat_with(self.owned.clone())), Asked::ConsumerBeat(self.owned.clone()))
    }

    fn join(&mut self) -> (Request, Asked) {
        if self.kind == Kind::Eager || matches!(self.phase, Phase::Out) {
            self.owned.clear();
            self.told.clear();
        }
        self.claimed.clone_from(&self.owned);
        let told = ConsumerProtocolSubscription {
            topics: vec!["t"],
            owned_partitions: topic(&self.owned),
            ..ConsumerProtocolSubscription::default()
        };
        let request = Request::Join(JoinGroup {
            group: "g".into(),
            member_id: Arc::clone(&self.id),
            instance_id: None,
            client: Client::default(),
            session_timeout_ms: i32::try_from(SESSION_MS).unwrap(),
            rebalance_timeout_ms: i32::try_from(REBALANCE_MS).unwrap(),
            protocol_type: "consumer".into(),
            protocols: vec![OfferedProtocol { name: "sticky".into(), metadata: embedded_protocol::encode(&told, 2) }],
            knows_member_id_required: true,
            knows_skip_assignment: true,
        });
        (request, Asked::Join)
    }

    /// Takes the answer that has come.
    pub(crate) fn hear(&mut self, broker: &mut Broker, now_ms: u64, reached: &mut Reached) {
        let Some((ticket, asked, sent_ms)) = &self.waits else { return };
        let Some(answer) = broker.answer(*ticket) else { return };
        if now_ms >= sent_ms + SESSION_MS && !matches!(asked, Asked::Join) {
            // It comes so late that the member may be out by now. That it joined gives it nothing yet.
            return self.disconnected();
        }
        let (_, asked, sent_ms) = self.waits.take().expect("it was just seen");
        let code = match (asked, answer) {
            (Asked::ConsumerBeat(reported), Answer::ConsumerHeartbeat(Ok(beat))) => {
                self.heard_ms = sent_ms;
                (self.epoch, self.phase) = (beat.member_epoch, Phase::In);
                if let Some(assignment) = beat.assignment {
                    reached.given += 1;
                    self.told = assignment.into_values().flatten().collect();
                    // It may have taken itself for out since it asked, and answered for nothing then.
                    self.owned = &self.owned | &self.told;
                }
                if reported.is_subset(&self.told) {
                    self.fine_ms = sent_ms;
                }
                return;
            }
            (Asked::ConsumerBeat(_), Answer::ConsumerHeartbeat(Err(refused))) => refused.code,
            (Asked::Join, Answer::Join(Ok(joined))) => return self.has_joined(joined, reached),
            (Asked::Join, Answer::Join(Err(refused))) => {
                if refused.code == ErrorCode::MemberIdRequired {
                    self.id = refused.member_id;
                    return;
                }
                refused.code
            }
            (Asked::Sync, Answer::Sync(Ok(synced))) => {
                let share = embedded_protocol::assignment(&synced.assignment).unwrap().assigned_partitions;
                self.told = share.into_iter().flat_map(|topic| topic.partitions).collect();
                self.owned = &self.owned | &self.told;
                (self.heard_ms, self.fine_ms) = (sent_ms, sent_ms);
                // What it had and was not given is nobody's until it joins without it.
                let keeps = self.owned.is_subset(&self.told) && self.claimed.is_subset(&self.told);
                self.phase = if keeps { Phase::In } else { Phase::MustJoin };
                return;
            }
            (Asked::Beat, Answer::Heartbeat(Ok(()))) => {
                (self.heard_ms, self.fine_ms) = (sent_ms, sent_ms);
                return;
            }
            (Asked::Sync, Answer::Sync(Err(code))) => code,
            (Asked::Beat, Answer::Heartbeat(Err(code))) => {
                self.heard_ms = sent_ms;
                code
            }
            (asked, answer) => panic!("{answer:?} to {asked:?}"),
        };
        self.is_refused(code);
    }

    fn has_joined(&mut self, joined: Joined, reached: &mut Reached) {
        let is_upgraded = joined.leader.is_empty();
        reached.upgrades += usize::from(is_upgraded && !self.was_upgraded);
        reached.downgrades += usize::from(!is_upgraded && self.was_upgraded);
        self.was_upgraded = is_upgraded;
        (self.id, self.epoch) = (Arc::clone(&joined.member_id), joined.generation);
        self.phase = Phase::MustSync(joined);
    }

    fn is_refused(&mut self, code: ErrorCode) {
        match code {
            ErrorCode::RebalanceInProgress => self.phase = Phase::MustJoin,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedMemberEpoch => {
                self.owned.clear();
                self.told.clear();
                (self.phase, self.epoch) = (Phase::Out, 0);
                if self.kind != Kind::Consumer && code == ErrorCode::UnknownMemberId {
                    self.id = "".into();
                }
            }
            _ => panic!("{code:?} to {self:?}"),
        }
    }
}

/// SyncGroup. The leader leaves each partition with who has it, evens out, and gives nothing to anyone that another still has.
fn sync(joined: &Joined) -> Request {
    let most = usize::try_from(PARTITIONS).unwrap().div_ceil(joined.members.len().max(1));
    let mut shares: BTreeMap<Arc<str>, BTreeSet<i32>> = BTreeMap::new();
    let mut held: BTreeSet<i32> = BTreeSet::new();
    for member in &joined.members {
        let told = embedded_protocol::subscription(&member.metadata).unwrap();
        let owned: BTreeSet<i32> = told.owned_partitions.into_iter().flat_map(|topic| topic.partitions).collect();
        held.extend(&owned);
        shares.insert(Arc::clone(&member.member_id), owned.into_iter().take(most).collect());
    }
    for partition in (0..PARTITIONS).filter(|partition| !held.contains(partition)) {
        if let Some(least) = shares.values_mut().min_by_key(|share| share.len()) {
            least.insert(partition);
        }
    }
    let encoded = |share: &BTreeSet<i32>| {
        let assigned = ConsumerProtocolAssignment { assigned_partitions: topic(share), user_data: None };
        embedded_protocol::encode(&assigned, 2)
    };
    Request::Sync(SyncGroup {
        group: "g".into(),
        member_id: Arc::clone(&joined.member_id),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol_name: None,
        assignments: shares.iter().map(|(id, share)| (Arc::clone(id), encoded(share))).collect(),
    })
}
