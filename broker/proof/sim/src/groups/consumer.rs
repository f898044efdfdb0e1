//! A consumer member: tells in its heartbeats what it has, hears what it shall have, and gives up before others are given.
//!
//! What it is told to own is its own until it gives it up, or until its session may be over: from then on it commits nothing. So the
//! history says, at every moment, who may work with a partition.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::Event;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::consumer_group_heartbeat::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH};
use tokio::time::{Instant, sleep, sleep_until};

use super::calls::{Beat, Beaten, Part, Parts, Who};
use super::topics::NAMES;
use super::{CONSUMER, Groups, JUDGED_WITHIN, REBALANCE, SESSION, SESSION_SLACK, is_passing, is_sound, millis_of};
use crate::client::Client;
use crate::life::Life;
use crate::random::Random;

/// Between two heartbeats, at most.
const BEAT_MS_MAX: u64 = 20;

/// So much earlier than the broker may a member take its session for over.
const CAUTION: Duration = Duration::from_millis(2);

/// One member, over all its processes.
pub(super) struct Member {
    /// Its static name.
    instance: Option<String>,
    state: RefCell<State>,
}

#[derive(Clone, Debug)]
struct State {
    id: String,
    /// 0: it has to join.
    epoch: i32,
    /// The one that it was in before this, as the same member.
    former_epoch: Option<i32>,
    /// What it shall own.
    assigned: Parts,
    /// What it shall not own any more, and has not given up yet.
    lost: Parts,
    /// The next heartbeat says all.
    says_all: bool,
    /// When the last heartbeat was sent that was answered.
    heard: Instant,
    /// When the first was sent after it.
    unheard: Option<Instant>,
    /// Since when the broker may wait for it to give something up.
    asked_to_give_up: Option<Instant>,
    /// It has said that it may be out.
    is_doubtful: bool,
}

impl State {
    fn new(random: &Random) -> State {
        State {
            id: format!("{:016x}", random.next()),
            epoch: JOIN_EPOCH,
            former_epoch: None,
            assigned: Parts::new(),
            lost: Parts::new(),
            says_all: true,
            heard: Instant::now(),
            unheard: None,
            asked_to_give_up: None,
            is_doubtful: true,
        }
    }

    /// From then on the broker may have taken it out.
    fn is_sure_until(&self) -> Instant {
        let session = self.heard + SESSION;
        let given_up = self.asked_to_give_up.map(|since| since + REBALANCE);
        given_up.map_or(session, |given_up| given_up.min(session)) - CAUTION
    }

    fn owned(&self) -> Parts {
        either(&self.assigned, &self.lost)
    }
}

impl Member {
    pub(super) fn new(instance: Option<String>, random: &Random) -> Member {
        Member { instance, state: RefCell::new(State::new(random)) }
    }

    /// Says so when its session may be over.
    pub(super) async fn watch_session(self: Rc<Self>, _groups: Rc<Groups>, life: Rc<Life>) {
        loop {
            let at = self.state.borrow().is_sure_until().max(Instant::now() + Duration::from_millis(1));
            sleep_until(at).await;
            if self.state.borrow().is_sure_until() <= Instant::now() {
                self.may_be_out(&life);
            }
        }
    }

    fn may_be_out(&self, life: &Life) {
        let mut state = self.state.borrow_mut();
        if !std::mem::replace(&mut state.is_doubtful, true) {
            let (group, member) = (CONSUMER.to_owned(), state.id.clone());
            drop(state);
            life.history.record(Event::MemberOut { group, member, told: false });
        }
    }

    /// Works as long as the broker lives.
    pub(super) async fn run(self: Rc<Self>, groups: Rc<Groups>, life: Rc<Life>, random: Random) {
        if random.one_in(4) {
            self.dies(&life, &random);
        }
        loop {
            self.state.borrow_mut().says_all = true;
            let client = life.connect(&random);
            let ended = self.session(&client, &groups, &life, &random).await;
            life.history.note((CONSUMER, &self.instance, ended.expect_err("it ends with its connection").kind()));
            sleep(random.millis(20)).await;
        }
    }

    async fn session(&self, client: &Client, groups: &Groups, life: &Life, random: &Random) -> io::Result<()> {
        loop {
            if self.state.borrow().epoch == JOIN_EPOCH {
                self.beats(client, groups, life).await?;
                sleep(random.millis(10)).await;
                continue;
            }
            match random.below(40) {
                0 => self.falls_silent(client, groups, life, random).await?,
                1 => self.leaves(client, life, random).await?,
                2 => self.dies(life, random),
                3..20 => self.commits(client, groups, life, random).await?,
                20..22 => self.looks(client, groups, life).await?,
                22..25 => self.commits_late(client, groups, life).await?,
                _ => {
                    if random.one_in(2) {
                        self.gives_up(groups, life);
                    }
                    self.beats(client, groups, life).await?;
                }
            }
            sleep(random.millis(BEAT_MS_MAX)).await;
        }
    }

    /// Its process dies without a word; the next one has another id.
    fn dies(&self, life: &Life, random: &Random) {
        self.may_be_out(life);
        self.state.replace(State::new(random));
        life.history.count("members died");
    }

    /// Ceases to work with what it shall not have any more.
    fn gives_up(&self, groups: &Groups, life: &Life) {
        let mut state = self.state.borrow_mut();
        let lost = std::mem::take(&mut state.lost);
        state.asked_to_give_up = None;
        if !lost.is_empty() {
            let (group, member, places) = (CONSUMER.to_owned(), state.id.clone(), groups.topics.places(&lost));
            drop(state);
            life.history.record(Event::GaveUp { group, member, places });
            life.history.count("partitions given up");
        }
    }

    fn who<'a>(&'a self, state: &'a State) -> Who<'a> {
        Who { group: CONSUMER, id: &state.id, instance: self.instance.as_deref(), generation: state.epoch }
    }

    /// One heartbeat; true if it is in.
    async fn beats(&self, client: &Client, groups: &Groups, life: &Life) -> io::Result<bool> {
        let sent = {
            let mut state = self.state.borrow_mut();
            state.unheard.get_or_insert(Instant::now());
            state.clone()
        };
        let (sent_at, owned) = (Instant::now(), sent.owned());
        let beat = match sent.says_all {
            true => {
                Beat { rebalance_timeout_ms: millis_of(REBALANCE), topics: Some(NAMES.to_vec()), owned: Some(&owned) }
            }
            false => Beat { rebalance_timeout_ms: -1, topics: None, owned: Some(&owned) },
        };
        match client.consumer_beat(&self.who(&sent), &beat).await? {
            Ok(beaten) => {
                self.hears(groups, life, beaten, sent_at);
                Ok(true)
            }
            Err(error) => {
                self.is_told(error, life);
                Ok(false)
            }
        }
    }

    fn hears(&self, groups: &Groups, life: &Life, beaten: Beaten, sent_at: Instant) {
        let mut state = self.state.borrow_mut();
        let Beaten { epoch, assigned } = beaten;
        let is_new = state.epoch == JOIN_EPOCH;
        let since = state.unheard.take().unwrap_or(sent_at);
        state.heard = sent_at;
        state.says_all = false;
        let changes = epoch != state.epoch || assigned.is_some() || state.is_doubtful;
        if epoch != state.epoch {
            life.history.count(if is_new { "consumer members joined" } else { "epochs reached" });
            state.former_epoch = (!is_new).then_some(state.epoch);
        }
        state.epoch = epoch;
        if let Some(assigned) = assigned {
            state.lost = minus(&state.owned(), &assigned);
            state.assigned = assigned;
        }
        if state.lost.is_empty() {
            state.asked_to_give_up = None;
        } else {
            state.asked_to_give_up.get_or_insert(since);
        }
        if !changes {
            return;
        }
        let (group, member) = (CONSUMER.to_owned(), state.id.clone());
        if state.is_sure_until() <= Instant::now() {
            // The answer was so long on its way that what it says may be over: the member knows its epoch, and nothing is its own.
            drop(state);
            life.history.record(Event::Assigned { group, member, generation: epoch, places: Vec::new() });
            self.may_be_out(life);
        } else {
            state.is_doubtful = false;
            let places = groups.topics.places(&state.assigned);
            drop(state);
            life.history.count("groups of the consumer protocol formed");
            life.history.record(Event::Assigned { group, member, generation: epoch, places });
        }
    }

    /// Takes a refusal.
    fn is_told(&self, error: ErrorCode, life: &Life) {
        let mut state = self.state.borrow_mut();
        state.says_all = true;
        match error {
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                let (group, member) = (CONSUMER.to_owned(), state.id.clone());
                *state = State { id: member.clone(), ..State::new(&Random::new(0)) };
                drop(state);
                life.history.record(Event::MemberOut { group, member, told: true });
                let fenced = error != ErrorCode::UnknownMemberId;
                life.history.count(if fenced { "members fenced" } else { "members out" });
            }
            // Its former process may still be in.
            ErrorCode::UnreleasedInstanceId => life.history.count("static names not free yet"),
            error if is_passing(error) => {}
            error => panic!("a consumer member is told {error}"),
        }
    }

    /// Commits what it may work with.
    async fn commits(&self, client: &Client, groups: &Groups, life: &Life, random: &Random) -> io::Result<()> {
        let state = self.state.borrow().clone();
        let patience = if random.one_in(12) { random.millis(4) } else { Duration::MAX };
        let mut parts = flat(&state.owned());
        parts.truncate(1 + random.index(3));
        for result in groups.commit(client, life, &self.who(&state), &parts, patience).await? {
            if result == Err(ErrorCode::StaleMemberEpoch) {
                life.history.count("stale epochs refused");
            }
        }
        Ok(())
    }

    /// Commits what it worked with before it heard of its epoch, in the one before, as if the answer had overtaken the commit: that is not
    /// taken, and what was committed stays.
    async fn commits_late(&self, client: &Client, groups: &Groups, life: &Life) -> io::Result<()> {
        let state = self.state.borrow().clone();
        let Some(former) = state.former_epoch else { return Ok(()) };
        let who = Who { generation: former, ..self.who(&state) };
        for result in groups.commit(client, life, &who, &flat(&state.owned()), Duration::MAX).await? {
            match result {
                Err(ErrorCode::StaleMemberEpoch) => life.history.count("commits of old epochs refused"),
                // Its session may be over by now, and topics go.
                Err(ErrorCode::UnknownMemberId | ErrorCode::UnknownTopicId) => {}
                Err(error) if is_passing(error) => {}
                other => panic!("a member in epoch {} commits in {former} and is told {other:?}", state.epoch),
            }
        }
        self.looks(client, groups, life).await
    }

    /// Looks up what is committed of its own.
    async fn looks(&self, client: &Client, groups: &Groups, life: &Life) -> io::Result<()> {
        let state = self.state.borrow().clone();
        let found = groups.look(client, life, &self.who(&state), &flat(&state.assigned)).await?;
        life.history.note((CONSUMER, found.map_err(ErrorCode::code)));
        Ok(())
    }

    /// Stalls for longer than its session, and goes on as if nothing had been.
    async fn falls_silent(&self, client: &Client, groups: &Groups, life: &Life, random: &Random) -> io::Result<()> {
        if !self.beats(client, groups, life).await? {
            return Ok(());
        }
        sleep(SESSION + SESSION_SLACK + random.millis(100)).await;
        let state = self.state.borrow().clone();
        let results = groups.commit(client, life, &self.who(&state), &flat(&state.owned()), Duration::MAX).await?;
        let taken = results.iter().any(Result::is_ok);
        assert!(!taken || !is_sound(life), "a member that was silent for longer than its session commits: {state:?}");
        if !results.is_empty() && !taken {
            life.history.count("stale commits refused");
        }
        let is_in = self.beats(client, groups, life).await?;
        assert!(!is_in || !is_sound(life), "a member that was silent for longer than its session is in: {state:?}");
        Ok(())
    }

    /// Leaves for good, or for a while if it has a static name.
    async fn leaves(&self, client: &Client, life: &Life, random: &Random) -> io::Result<()> {
        self.may_be_out(life);
        let state = self.state.borrow().clone();
        let pauses = self.instance.is_some() && random.one_in(2);
        let epoch = if pauses { LEAVE_STATIC_EPOCH } else { LEAVE_EPOCH };
        let who = Who { generation: epoch, ..self.who(&state) };
        let beat = Beat { rebalance_timeout_ms: -1, topics: None, owned: None };
        match client.consumer_beat(&who, &beat).await? {
            Ok(_) => {
                life.history.count("members left");
                self.state.replace(State::new(random));
            }
            Err(error) => self.is_told(error, life),
        }
        Ok(())
    }
}

fn flat(parts: &Parts) -> Vec<Part> {
    parts.iter().flat_map(|(id, partitions)| partitions.iter().map(|partition| (*id, *partition))).collect()
}

fn either(one: &Parts, other: &Parts) -> Parts {
    let mut both = one.clone();
    for (id, partition) in flat(other) {
        let partitions = both.entry(id).or_default();
        if !partitions.contains(&partition) {
            partitions.push(partition);
        }
    }
    both
}

fn minus(from: &Parts, what: &Parts) -> Parts {
    let mut left = Parts::new();
    for (id, partition) in flat(from) {
        if !what.get(&id).is_some_and(|partitions| partitions.contains(&partition)) {
            left.entry(id).or_default().push(partition);
        }
    }
    left
}

/// A new member gets everything, once the sessions of those are over who do not come any more.
pub(super) async fn judge(groups: &Groups, client: &Client, life: &Life, random: &Random) {
    // Nobody of them comes any more.
    groups.consumer.iter().for_each(|member| member.may_be_out(life));
    let member = Member::new(None, random);
    let until = Instant::now() + JUDGED_WITHIN;
    while !groups.topics.are_all_that_stay(&member.state.borrow().assigned) {
        assert!(
            Instant::now() < until,
            "the group of the consumer protocol gives nobody everything after the last crash"
        );
        member.gives_up(groups, life);
        member.beats(client, groups, life).await.expect("the connection holds");
        sleep(random.millis(BEAT_MS_MAX)).await;
    }
    life.history.count("groups worked with at the end");
}
