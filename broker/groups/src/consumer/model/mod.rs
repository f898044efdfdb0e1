//! A group among members that crash, stall, lose answers and change their minds, from seeds.
//!
//! The members' own view is what counts: a partition is theirs from the answer that gives it until they report that they gave it up,
//! leave, or could have been told that they are out. No two may have one at a time, whatever the group believes.

mod classic;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assignment::{Assignment, count, minus, normal, pairs};
use super::assignor::Assignor;
use super::check::UNCHANGED_MS;
use super::world::World;
use crate::TopicId;
use crate::answer::{ConsumerBeat, Refused};
use crate::request::{Client, ConsumerHeartbeat};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::consumer_group_heartbeat::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH};

/// Runs of the ordinary test; `RINGMILL_SEEDS` asks for others.
const SEEDS: u64 = 300;
const STEPS: u64 = 60;
const TOPICS: [&str; 4] = ["a", "b", "c", "log-d"];
const MEMBERS: usize = 6;
/// How long a member may take to give partitions up.
const REBALANCE_MS: u64 = 20_000;
/// The least time between two assignments: of one seed none, of the next so long that it is felt.
const PAUSES_MS: [u64; 2] = [0, 4_000];
/// How long one of the classic protocol may be silent.
const CLASSIC_SESSION_MS: u64 = 30_000;

/// Chance of the test's own.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }
}

/// A client, as it sees itself.
#[derive(Clone, Debug, Default)]
struct Member {
    id: Arc<str>,
    instance_id: Option<Arc<str>>,
    /// It believes to be in the group.
    is_in: bool,
    epoch: i32,
    /// What it owns.
    owned: Assignment,
    /// What it was told to own last.
    told: Assignment,
    names: Vec<Arc<str>>,
    regex: Option<Arc<str>>,
    assignor: Option<Arc<str>>,
    /// The next request tells everything.
    tells_all: bool,
    /// The next request tells its subscription.
    tells_subscription: bool,
    /// When the broker heard of it last, as it knows itself.
    heard_ms: u64,
    /// Since when it is to give something up, or may be without knowing it, as an answer is lost.
    revokes_since_ms: Option<u64>,
    /// The largest epoch it was told, under this id.
    largest_epoch: i32,
    /// It speaks the classic protocol: `tells_all` and `tells_subscription` make it join again.
    is_classic: bool,
    /// It has joined, and asks for its assignment next.
    must_sync: bool,
}

impl Member {
    /// After an answer: whether there is something to give up, or to report as given up.
    fn note_revocation(&mut self, reported: Option<&Assignment>, now_ms: u64) {
        if reported.is_some_and(|reported| minus(reported, &self.told).is_empty()) {
            self.revokes_since_ms = None;
        } else if !minus(&self.owned, &self.told).is_empty() {
            self.revokes_since_ms.get_or_insert(now_ms);
        }
    }

    fn is_out(&mut self) {
        self.is_in = false;
        self.must_sync = false;
        self.owned.clear();
        self.told.clear();
        self.revokes_since_ms = None;
    }
}

struct Model {
    seed: u64,
    dice: Dice,
    world: World,
    members: Vec<Member>,
    ids: u32,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut model = Model {
            seed,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1),
            world: World::new(),
            members: vec![Member::default(); MEMBERS],
            ids: 0,
        };
        model.world.settings.consumer_assignment_interval_ms =
            PAUSES_MS[usize::try_from(seed).unwrap() % PAUSES_MS.len()];
        for topic in TOPICS {
            let partitions = i32::try_from(model.dice.below(7)).unwrap();
            model.world.topics.set(topic, partitions);
        }
        model
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.event();
            self.check_owners();
        }
        self.world.check_replay();
        self.settle();
    }

    fn event(&mut self) {
        let at = self.dice.index(MEMBERS);
        match self.dice.below(100) {
            0..60 => self.beat(at),
            60..66 => self.change_subscription(at),
            66..70 => self.leave(at),
            70..74 => self.crash(at),
            74..78 => self.members[at].tells_all = true,
            78..86 => {
                let ms = self.dice.below(40_000);
                self.pass(ms);
            }
            86..92 => {
                let topic = TOPICS[self.dice.index(TOPICS.len())];
                let partitions = i32::try_from(self.dice.below(9)).unwrap();
                let known = crate::Topics::find(&self.world.topics, topic).map_or(0, |(_, known)| known);
                // Topics grow, or are deleted, but never shrink.
                self.world.set_topic(topic, if partitions == 0 { 0 } else { partitions.max(known) });
            }
            92..95 => self.old_epoch(at),
            95..97 => self.world.restart(),
            _ => self.pass(1_000),
        }
    }

    /// Who was silent for its session, by its own clock, no longer takes itself for a member.
    fn pass(&mut self, ms: u64) {
        self.world.pass(ms);
        let session_ms = u64::try_from(self.world.settings.consumer_session_timeout_ms).unwrap();
        for member in &mut self.members {
            let session_ms = if member.is_classic { CLASSIC_SESSION_MS } else { session_ms };
            let silent = self.world.now_ms >= member.heard_ms + session_ms;
            let late = member.revokes_since_ms.is_some_and(|since_ms| self.world.now_ms >= since_ms + REBALANCE_MS);
            if member.is_in && (silent || late) {
                member.is_out();
            }
        }
    }

    fn crash(&mut self, at: usize) {
        let old = std::mem::take(&mut self.members[at]);
        // A static one comes back with its name, under another id.
        self.members[at].instance_id = old.instance_id;
    }

    fn join(&mut self, at: usize) {
        self.ids += 1;
        let new_id = self.members[at].id.is_empty() || self.dice.below(2) == 0;
        let is_static = self.dice.below(3) == 0;
        let is_classic = self.dice.below(3) == 0;
        let member = &mut self.members[at];
        if is_static && member.instance_id.is_none() {
            member.instance_id = Some(Arc::from(format!("i{at}")));
        }
        if new_id {
            // A static member of the classic protocol is given an id.
            let named = !is_classic || member.instance_id.is_none();
            member.id = if named { Arc::from(format!("m{}", self.ids)) } else { Arc::from("") };
            member.largest_epoch = 0;
        }
        member.is_classic = is_classic;
        member.tells_all = is_classic;
        member.is_out();
        member.is_in = true;
        member.epoch = JOIN_EPOCH;
        self.subscribe(at);
    }

    fn subscribe(&mut self, at: usize) {
        let (kind, topics, assignor) = (self.dice.below(8), self.dice.below(15) + 1, self.dice.below(6));
        let member = &mut self.members[at];
        let named = |(bit, name): (usize, &&str)| (topics >> bit & 1 == 1).then(|| Arc::from(*name));
        member.names = TOPICS.iter().enumerate().filter_map(named).collect();
        member.regex = match kind {
            0 => Some(Arc::from("log-.*")),
            1 => Some(Arc::from("[ab]")),
            2.. => Some(Arc::from("")),
        };
        member.assignor = (assignor < 2).then(|| Arc::from(Assignor::ALL[usize::try_from(assignor).unwrap()].name()));
        member.tells_subscription = true;
    }

    fn change_subscription(&mut self, at: usize) {
        if self.members[at].is_in {
            self.subscribe(at);
        }
    }

    fn request(&mut self, at: usize) -> ConsumerHeartbeat {
        let member = &self.members[at];
        let all = member.tells_all || member.epoch == JOIN_EPOCH;
        let subscription = all || member.tells_subscription;
        let reports = all || self.dice.below(3) > 0;
        ConsumerHeartbeat {
            group: Arc::from("g"),
            member_id: Arc::clone(&member.id),
            member_epoch: member.epoch,
            instance_id: member.instance_id.clone(),
            rack_id: None,
            rebalance_timeout_ms: if all { i32::try_from(REBALANCE_MS).unwrap() } else { UNCHANGED_MS },
            subscribed_topic_names: subscription.then(|| member.names.clone()),
            subscribed_topic_regex: member.regex.clone().filter(|_| subscription),
            server_assignor: member.assignor.clone().filter(|_| subscription),
            topic_partitions: reports.then(|| member.owned.clone()),
            client: Client::default(),
            version: 1,
        }
    }

    fn send(&mut self, request: &ConsumerHeartbeat) -> Result<ConsumerBeat, Refused> {
        self.world.step(|group, cx| group.heartbeat(cx, request))
    }

    /// An ordinary heartbeat, before or after the member did what it was told; its answer may be lost.
    fn beat(&mut self, at: usize) {
        if !self.members[at].is_in {
            self.join(at);
        }
        if self.dice.below(3) > 0 {
            self.obey(at);
        }
        if self.members[at].is_classic {
            return self.classic_step(at, true);
        }
        let request = self.request(at);
        let before = self.world.log.len();
        let outcome = self.send(&request);
        let lost = self.dice.below(10) == 0;
        let now_ms = self.world.now_ms;
        let member = &mut self.members[at];
        if lost {
            member.tells_all = true;
            member.revokes_since_ms.get_or_insert(now_ms);
            return;
        }
        match outcome {
            Ok(beat) => {
                assert!(beat.member_epoch >= member.largest_epoch, "an epoch went back: {beat:?} {member:?}");
                assert!(beat.member_epoch > 0, "{beat:?}");
                (member.tells_all, member.tells_subscription) = (false, false);
                member.heard_ms = now_ms;
                member.epoch = beat.member_epoch;
                member.largest_epoch = beat.member_epoch;
                if let Some(assignment) = beat.assignment {
                    member.told = assignment;
                    // New ones are its own at once; what it is to give up it still has.
                    let new = minus(&member.told, &member.owned);
                    for (topic, partition) in pairs(&new) {
                        member.owned.entry(*topic).or_default().push(partition);
                    }
                    member.owned = normal(&member.owned);
                }
                member.note_revocation(request.topic_partitions.as_ref(), now_ms);
            }
            Err(refused) => {
                assert_eq!(self.world.log.len(), before, "a refusal writes nothing: {refused:?}");
                self.refused(at, &refused);
            }
        }
    }

    fn refused(&mut self, at: usize, refused: &Refused) {
        let member = &mut self.members[at];
        match refused.code {
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::FencedInstanceId => {
                member.is_out();
            }
            ErrorCode::UnreleasedInstanceId => member.is_in = false,
            _ => panic!("seed {}: {refused:?} to {member:?}", self.seed),
        }
    }

    /// The member gives up what it was told to.
    fn obey(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.owned = super::assignment::both(&member.owned, &member.told);
    }

    fn leave(&mut self, at: usize) {
        if self.members[at].is_in && self.members[at].is_classic {
            return self.classic_leave(at);
        }
        let pauses = self.dice.below(2) == 0 && self.members[at].instance_id.is_some();
        if !self.members[at].is_in || self.members[at].epoch == JOIN_EPOCH {
            return;
        }
        let mut request = self.request(at);
        request.member_epoch = if pauses { LEAVE_STATIC_EPOCH } else { LEAVE_EPOCH };
        let _ = self.send(&request);
        let member = &mut self.members[at];
        member.is_out();
    }

    /// A request that no honest member sends: the group may refuse it, or take it, but must stay what it is to others.
    fn old_epoch(&mut self, at: usize) {
        let mut request = self.request(at);
        if !self.members[at].is_in || self.members[at].is_classic || request.member_epoch < 2 {
            return;
        }
        request.member_epoch -= 1 + i32::try_from(self.dice.below(2)).unwrap();
        if request.member_epoch > 0
            && self.send(&request).is_err_and(|refused| refused.code == ErrorCode::FencedMemberEpoch)
        {
            return;
        }
        // It was taken for a member whose answer was lost: so it is one.
        self.members[at].tells_all = true;
        self.members[at].revokes_since_ms.get_or_insert(self.world.now_ms);
    }

    /// One owner at a time, in the members' own view.
    fn check_owners(&self) {
        let mut owners: BTreeMap<(TopicId, i32), &Member> = BTreeMap::new();
        for member in self.members.iter().filter(|member| member.is_in) {
            for (topic, partition) in pairs(&member.owned) {
                if let Some(other) = owners.insert((*topic, partition), member) {
                    panic!("seed {}: {topic:?}-{partition} belongs to {other:?} and {member:?}", self.seed);
                }
            }
        }
    }

    /// Left alone, a group comes to rest: everybody owns what it shall own.
    fn settle(&mut self) {
        for _ in 0..12 {
            if self.is_at_rest() {
                break;
            }
            self.pass(5_000);
            for at in 0..MEMBERS {
                for _ in 0..2 {
                    self.quiet_beat(at);
                    self.check_owners();
                }
            }
        }
        let group = &self.world.group;
        let described = group.describe(&self.world.topics);
        let rest = if self.members.iter().any(|member| member.is_in) { "Stable" } else { "Empty" };
        assert_eq!(described.state, rest, "seed {}: {described:?}", self.seed);
        let mut partitions = 0;
        for member in self.members.iter().filter(|member| member.is_in) {
            let current = &group.tables.current[&member.id];
            let none = Assignment::new();
            assert_eq!(current.assigned, member.owned, "seed {}: {member:?}", self.seed);
            assert_eq!(&current.assigned, group.tables.targets.get(&member.id).unwrap_or(&none), "seed {}", self.seed);
            partitions += count(&member.owned);
        }
        assert_eq!(partitions, group.tables.owners.len(), "seed {}", self.seed);
        let log = self.world.log.len();
        (0..MEMBERS).for_each(|at| self.quiet_beat(at));
        assert_eq!(self.world.log.len(), log, "seed {}: heartbeats that change nothing write nothing", self.seed);
        self.world.check_replay();
        for record in self.world.group.tombstones() {
            let crate::record::Record::Consumer { part, .. } = record else { panic!("{record:?}") };
            self.world.group.apply(&part);
        }
        assert!(self.world.group.is_unwritten(), "seed {}: tombstones leave something", self.seed);
    }

    /// Everybody in the group is there, has told all it has to tell, and has what it is to have.
    fn is_at_rest(&self) -> bool {
        let is_settled =
            |member: &&Member| member.is_in && !member.tells_all && !member.tells_subscription && !member.must_sync;
        let settled = self.members.iter().filter(is_settled).count();
        let there = self.members.iter().filter(|member| member.is_in).count();
        let group = &self.world.group;
        group.state() == "Stable" && there == settled && there == group.tables.members.len()
    }

    fn quiet_beat(&mut self, at: usize) {
        if !self.members[at].is_in {
            return;
        }
        self.obey(at);
        if self.members[at].is_classic {
            return self.classic_step(at, false);
        }
        let mut request = self.request(at);
        request.topic_partitions = Some(self.members[at].owned.clone());
        let outcome = self.send(&request);
        let now_ms = self.world.now_ms;
        let member = &mut self.members[at];
        match outcome {
            Ok(beat) => {
                assert!(beat.member_epoch >= member.largest_epoch, "an epoch went back: {beat:?} {member:?}");
                (member.tells_all, member.tells_subscription, member.heard_ms) = (false, false, now_ms);
                (member.epoch, member.largest_epoch) = (beat.member_epoch, beat.member_epoch);
                if let Some(assignment) = beat.assignment {
                    // It gives up at once what it is to give up, but says so only with its next heartbeat.
                    member.owned = super::assignment::either(&member.owned, &assignment);
                    member.told = assignment;
                }
                member.note_revocation(request.topic_partitions.as_ref(), now_ms);
            }
            Err(refused) => self.refused(at, &refused),
        }
    }
}

#[test]
fn no_partition_has_two_owners_and_every_group_comes_to_rest() {
    let seeds = std::env::var("RINGMILL_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        Model::new(seed).run();
    }
}
