//! A client of the classic protocol that follows its rules, but not always in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_groups::Ticket;
use ringmill_groups::answer::{Answer, Joined};
use ringmill_groups::request::{
    Client, Heartbeat, JoinGroup, LeaveGroup, LeavingMember, OfferedProtocol, OffsetCommit, PartitionCommit, Request,
    SyncGroup,
};
use ringmill_net::wire::ErrorCode;

use super::broker::Broker;
use super::{Chance, GROUP, PARTITIONS, Seen};

/// Where it is.
#[derive(Debug)]
pub(crate) enum Phase {
    Out,
    Joining(Ticket),
    Joined(Joined),
    Syncing(Joined, Ticket),
    Sharing(Joined, Vec<i32>),
}

/// A commit on its way.
struct Commit {
    ticket: Ticket,
    generation: i32,
    /// The newest generation that anybody had a share of when it was sent.
    newest: i32,
    partition: i32,
    offset: i64,
}

pub(crate) struct Member {
    id: Arc<str>,
    knows_member_id_required: bool,
    pub(crate) phase: Phase,
    commits: Vec<Commit>,
    /// Commits that the network holds back.
    late: Vec<OffsetCommit>,
    beating: Option<Ticket>,
}

impl Member {
    pub(crate) fn new(knows_member_id_required: bool) -> Member {
        Member {
            id: "".into(),
            knows_member_id_required,
            phase: Phase::Out,
            commits: Vec::new(),
            late: Vec::new(),
            beating: None,
        }
    }

    pub(crate) fn partitions(&self) -> &[i32] {
        match &self.phase {
            Phase::Sharing(_, partitions) => partitions,
            _ => &[],
        }
    }

    /// The broker is another one: what was under way is not answered any more.
    pub(crate) fn disconnected(&mut self) {
        self.commits.clear();
        self.late.clear();
        self.beating = None;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Out) {
            Phase::Joining(_) => Phase::Out,
            Phase::Syncing(joined, _) => Phase::Joined(joined),
            other => other,
        };
    }

    /// Something that a member might do now, sensible or late.
    pub(crate) fn act(&mut self, broker: &mut Broker, chance: &mut Chance, seen: &mut Seen) {
        match chance.below(10) {
            0 => self.leave(broker),
            1..6 => self.commit(broker, chance, seen),
            6 => {
                // Comes again though nobody asked it to, for example because its topics have changed.
                if let Phase::Sharing(..) = self.phase {
                    self.join(broker);
                }
            }
            7 => {
                if let Some(late) = self.late.pop() {
                    self.send(broker, seen, late);
                }
            }
            _ => self.go_on(broker),
        }
    }

    /// What its protocol has it do next.
    pub(crate) fn go_on(&mut self, broker: &mut Broker) {
        match &self.phase {
            Phase::Out => self.join(broker),
            Phase::Joined(joined) => {
                let joined = joined.clone();
                let ticket = broker.ask(Request::Sync(sync(&joined)));
                self.phase = Phase::Syncing(joined, ticket);
            }
            Phase::Sharing(joined, _) if self.beating.is_none() => {
                let (member_id, generation) = (Arc::clone(&self.id), joined.generation);
                let beat = Heartbeat { group: GROUP.into(), member_id, instance_id: None, generation };
                self.beating = Some(broker.ask(Request::Heartbeat(beat)));
            }
            Phase::Joining(_) | Phase::Syncing(..) | Phase::Sharing(..) => {}
        }
    }

    fn join(&mut self, broker: &mut Broker) {
        let ticket = broker.ask(Request::Join(JoinGroup {
            group: GROUP.into(),
            member_id: Arc::clone(&self.id),
            instance_id: None,
            client: Client::default(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 20_000,
            protocol_type: "consumer".into(),
            protocols: vec![OfferedProtocol { name: "range".into(), metadata: Bytes::new() }],
            knows_member_id_required: self.knows_member_id_required,
            knows_skip_assignment: true,
        }));
        self.phase = Phase::Joining(ticket);
    }

    fn leave(&mut self, broker: &mut Broker) {
        if let Phase::Sharing(..) = self.phase {
            let members = vec![LeavingMember { member_id: Arc::clone(&self.id), instance_id: None }];
            broker.ask(Request::Leave(LeaveGroup { group: GROUP.into(), members }));
            (self.phase, self.id) = (Phase::Out, "".into());
        }
    }

    /// Commits what it owns, or once owned: a stalled member does not know better.
    fn commit(&mut self, broker: &mut Broker, chance: &mut Chance, seen: &mut Seen) {
        let Phase::Sharing(joined, partitions) = &self.phase else { return };
        let count = u64::try_from(partitions.len()).unwrap();
        if count == 0 {
            return;
        }
        let partition = partitions[usize::try_from(chance.below(count)).unwrap()];
        let commit = PartitionCommit {
            topic: "t".into(),
            topic_id: [1; 16],
            partition,
            offset: 0,
            leader_epoch: -1,
            metadata: None,
            retention_ms: None,
        };
        let request = OffsetCommit {
            group: GROUP.into(),
            member_id: Arc::clone(&self.id),
            instance_id: None,
            generation: joined.generation,
            knows_epochs: true,
            offsets: vec![commit],
        };
        match chance.below(4) {
            0 => self.late.push(request),
            _ => self.send(broker, seen, request),
        }
    }

    /// The offset is that of the moment at which it arrives: what counts is the order in which the broker sees them.
    fn send(&mut self, broker: &mut Broker, seen: &mut Seen, mut request: OffsetCommit) {
        let (generation, newest) = (request.generation, seen.newest());
        let partition = request.offsets[0].partition;
        let offset = seen.next_offset(partition);
        request.offsets[0].offset = offset;
        let ticket = broker.ask(Request::Commit(request));
        self.commits.push(Commit { ticket, generation, newest, partition, offset });
    }

    /// Takes the answers that have come.
    pub(crate) fn hear(&mut self, broker: &mut Broker, seen: &mut Seen) {
        self.commits.retain(|commit| match broker.answer(commit.ticket) {
            Some(Answer::Commit(results)) => {
                seen.committed(commit.generation, commit.newest, commit.partition, commit.offset, results[0]);
                false
            }
            _ => true,
        });
        if let Some(Answer::Heartbeat(result)) = self.beating.and_then(|ticket| broker.answer(ticket)) {
            self.beating = None;
            self.hear_error(broker, result.err(), seen);
        }
        match &self.phase {
            Phase::Joining(ticket) => match broker.answer(*ticket) {
                Some(Answer::Join(Ok(joined))) => {
                    self.id = Arc::clone(&joined.member_id);
                    self.phase = Phase::Joined(joined);
                }
                Some(Answer::Join(Err(refused))) => {
                    self.phase = Phase::Out;
                    match refused.code {
                        ErrorCode::MemberIdRequired => self.id = refused.member_id,
                        code => self.hear_error(broker, Some(code), seen),
                    }
                }
                _ => {}
            },
            Phase::Syncing(joined, ticket) => match broker.answer(*ticket) {
                Some(Answer::Sync(Ok(synced))) => {
                    let partitions: Vec<i32> = synced.assignment.iter().map(|byte| i32::from(*byte)).collect();
                    seen.share(joined.generation, &self.id, &partitions);
                    self.phase = Phase::Sharing(joined.clone(), partitions);
                }
                Some(Answer::Sync(Err(code))) => {
                    self.phase = Phase::Out;
                    self.hear_error(broker, Some(code), seen);
                }
                _ => {}
            },
            Phase::Out | Phase::Joined(_) | Phase::Sharing(..) => {}
        }
    }

    fn hear_error(&mut self, broker: &mut Broker, error: Option<ErrorCode>, seen: &mut Seen) {
        match error {
            None => {}
            Some(ErrorCode::RebalanceInProgress) => self.join(broker),
            Some(ErrorCode::UnknownMemberId) => {
                (self.phase, self.id) = (Phase::Out, "".into());
                seen.put_out();
            }
            Some(_) => self.phase = Phase::Out,
        }
    }
}

/// SyncGroup; a leader shares the partitions out in turn.
fn sync(joined: &Joined) -> SyncGroup {
    let mut shares: BTreeMap<Arc<str>, Vec<u8>> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        if let Some(place) = usize::try_from(partition).unwrap().checked_rem(joined.members.len()) {
            let member = &joined.members[place].member_id;
            shares.entry(Arc::clone(member)).or_default().push(u8::try_from(partition).unwrap());
        }
    }
    SyncGroup {
        group: GROUP.into(),
        member_id: Arc::clone(&joined.member_id),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol_name: None,
        assignments: shares.into_iter().map(|(id, share)| (id, share.into())).collect(),
    }
}
