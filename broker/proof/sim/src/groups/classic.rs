//! A member of the classic protocol: joins, shares out by ranges when it leads, keeps alive, commits what it owns.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ringmill_checker::Event;
use ringmill_net::wire::ErrorCode;
use tokio::time::{Instant, sleep};

use super::calls::{Join, Joined, Part, Parts, Who, share};
use super::topics::NAMES;
use super::{CLASSIC, Groups, JUDGED_WITHIN, REBALANCE, SESSION, SESSION_SLACK, is_passing, is_sound, millis_of};
use crate::client::Client;
use crate::life::Life;
use crate::random::Random;

/// Between two signs of life, at most.
const BEAT_MS_MAX: u64 = 20;

/// One member, over all its processes.
pub(super) struct Member {
    /// Its static name.
    instance: Option<String>,
    join_version: i16,
    state: RefCell<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Empty: it is given one when it joins.
    id: String,
    /// The last generation that it was in.
    generation: i32,
    /// What it got in it.
    owned: Parts,
    /// Whether it is in it, for all it knows.
    is_in: bool,
    /// The id of its former process, which another one has taken the place of.
    former: Option<String>,
}

impl Member {
    pub(super) fn new(instance: Option<String>, random: &Random) -> Member {
        Member { instance, join_version: random.pick(&[6, 9]), state: RefCell::default() }
    }

    /// Works as long as the broker lives.
    pub(super) async fn run(self: Rc<Self>, groups: Rc<Groups>, life: Rc<Life>, random: Random) {
        if random.one_in(4) {
            self.dies(&life);
        }
        loop {
            let client = life.connect(&random);
            let ended = self.session(&client, &groups, &life, &random).await;
            life.history.note((CLASSIC, &self.instance, ended.expect_err("it ends with its connection").kind()));
            sleep(random.millis(20)).await;
        }
    }

    async fn session(&self, client: &Client, groups: &Groups, life: &Life, random: &Random) -> io::Result<()> {
        loop {
            if !self.state.borrow().is_in {
                if !self.enter(client, groups, life).await? {
                    sleep(random.millis(10)).await;
                }
                continue;
            }
            sleep(random.millis(BEAT_MS_MAX)).await;
            match random.below(40) {
                0 => self.falls_silent(client, groups, life, random).await?,
                1 => self.leaves(client, life).await?,
                2 => self.dies(life),
                3..20 => self.commits(client, groups, life, random).await?,
                _ => drop(self.beats(client, life).await?),
            }
        }
    }

    /// Its process dies without a word; the next one knows nothing of it but the static name.
    fn dies(&self, life: &Life) {
        let mut state = self.state.borrow_mut();
        let former = std::mem::take(&mut *state).id;
        if self.instance.is_some() && !former.is_empty() {
            state.former = Some(former.clone());
            let (group, told) = (CLASSIC.to_owned(), false);
            drop(state);
            life.history.record(Event::MemberOut { group, member: former, told });
        }
        life.history.count("members died");
    }

    /// Goes through a rebalance; false if it has to come again.
    async fn enter(&self, client: &Client, groups: &Groups, life: &Life) -> io::Result<bool> {
        let before = self.state.borrow().clone();
        let instance = self.instance.as_deref();
        let join = Join {
            version: self.join_version,
            session_timeout_ms: millis_of(SESSION),
            rebalance_timeout_ms: millis_of(REBALANCE),
            topics: NAMES.to_vec(),
        };
        let who = Who { group: CLASSIC, id: &before.id, instance, generation: -1 };
        let Joined { generation, id, to_assign } = match client.join(&who, &join).await? {
            Ok(joined) => joined,
            Err((ErrorCode::MemberIdRequired, id)) => {
                self.state.borrow_mut().id = id;
                return Ok(false);
            }
            Err((error, _)) => {
                self.is_told(error, life);
                return Ok(false);
            }
        };
        self.state.borrow_mut().id.clone_from(&id);
        let shares = match to_assign {
            Some(members) => shares(client, &members).await?,
            None => Vec::new(),
        };
        let who = Who { id: &id, generation, ..who };
        let topics = match client.sync(&who, &shares).await? {
            Ok(topics) => topics,
            Err(error) => {
                self.is_told(error, life);
                return Ok(false);
            }
        };
        let named = topics.into_iter().filter_map(|(name, parts)| Some((groups.topics.id_of(&name)?, parts)));
        let owned: Parts = named.collect();
        let (group, places) = (CLASSIC.to_owned(), groups.topics.places(&owned));
        life.history.record(Event::Assigned { group, member: id.clone(), generation, places });
        life.history.count(if shares.is_empty() { "shares received" } else { "generations formed" });
        if before.is_in_before(generation) {
            life.history.count("rebalances ended");
        }
        let parts = flat(&owned);
        let former = before.former.clone().filter(|former| *former != id);
        *self.state.borrow_mut() = State { id, generation, owned, is_in: true, former: None };
        if let Some(former) = former {
            self.was_replaced(client, groups, life, &former, &parts).await?;
        }
        // Where to read from.
        let outside = Who { group: CLASSIC, id: "", instance: None, generation: -1 };
        let found = groups.look(client, life, &outside, &parts).await?;
        life.history.note((CLASSIC, found.map_err(ErrorCode::code)));
        Ok(true)
    }

    /// The former process was only slow: nothing of it is taken.
    async fn was_replaced(
        &self,
        client: &Client,
        groups: &Groups,
        life: &Life,
        former: &str,
        parts: &[Part],
    ) -> io::Result<()> {
        let generation = self.state.borrow().generation;
        let who = Who { group: CLASSIC, id: former, instance: self.instance.as_deref(), generation };
        let results = groups.commit(client, life, &who, parts, Duration::MAX).await?;
        assert!(results.iter().all(Result::is_err), "a process commits that another one has replaced: {who:?}");
        if results.contains(&Err(ErrorCode::FencedInstanceId)) {
            life.history.count("members fenced");
        }
        Ok(())
    }

    /// Takes a refusal.
    fn is_told(&self, error: ErrorCode, life: &Life) {
        match error {
            ErrorCode::UnknownMemberId => {
                let mut state = self.state.borrow_mut();
                state.is_in = false;
                let member = std::mem::take(&mut state.id);
                drop(state);
                // A start may bring the generation back that this member was in, and its name's next process may take its place there.
                if self.instance.is_some() && !member.is_empty() {
                    life.history.record(Event::MemberOut { group: CLASSIC.to_owned(), member, told: false });
                }
                life.history.count("members out");
            }
            ErrorCode::FencedInstanceId => {
                life.history.count("members fenced");
                self.dies(life);
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.state.borrow_mut().is_in = false,
            // Its group may be the same as before.
            error if is_passing(error) => {}
            // Of topics that are gone.
            ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition => {}
            error => panic!("a member of the classic protocol is told {error}"),
        }
    }

    /// Says that it lives; true if all is as before.
    async fn beats(&self, client: &Client, life: &Life) -> io::Result<bool> {
        let state = self.state.borrow().clone();
        let beaten = client.beat(&self.who(&state)).await?;
        if let Err(error) = beaten {
            self.is_told(error, life);
        }
        Ok(beaten.is_ok())
    }

    fn who<'a>(&'a self, state: &'a State) -> Who<'a> {
        let (instance, generation) = (self.instance.as_deref(), state.generation);
        Who { group: CLASSIC, id: &state.id, instance, generation }
    }

    async fn commits(&self, client: &Client, groups: &Groups, life: &Life, random: &Random) -> io::Result<()> {
        let state = self.state.borrow().clone();
        let patience = if random.one_in(12) { random.millis(4) } else { Duration::MAX };
        let mut parts = flat(&state.owned);
        parts.truncate(1 + random.index(3));
        for result in groups.commit(client, life, &self.who(&state), &parts, patience).await? {
            if let Err(error) = result
                && self.state.borrow().is_in
            {
                self.is_told(error, life);
            }
        }
        Ok(())
    }

    /// Stalls for longer than its session, and goes on as if nothing had been.
    async fn falls_silent(&self, client: &Client, groups: &Groups, life: &Life, random: &Random) -> io::Result<()> {
        if !self.beats(client, life).await? {
            return Ok(());
        }
        sleep(SESSION + SESSION_SLACK + random.millis(100)).await;
        let state = self.state.borrow().clone();
        let results = groups.commit(client, life, &self.who(&state), &flat(&state.owned), Duration::MAX).await?;
        let taken = results.iter().any(Result::is_ok);
        assert!(!taken || !is_sound(life), "a member that was silent for longer than its session commits: {state:?}");
        if !results.is_empty() && !taken {
            life.history.count("stale commits refused");
        }
        let is_in = self.beats(client, life).await?;
        assert!(!is_in || !is_sound(life), "a member that was silent for longer than its session is in: {state:?}");
        Ok(())
    }

    async fn leaves(&self, client: &Client, life: &Life) -> io::Result<()> {
        let state = self.state.borrow().clone();
        let (group, member, told) = (CLASSIC.to_owned(), state.id.clone(), false);
        life.history.record(Event::MemberOut { group, member, told });
        match client.leave(&self.who(&state)).await? {
            Ok(()) => {
                life.history.count("members left");
                *self.state.borrow_mut() = State::default();
            }
            Err(error) => {
                self.is_told(error, life);
                // It is in still, and its own is its own again.
                self.state.borrow_mut().is_in = false;
            }
        }
        Ok(())
    }
}

impl State {
    fn is_in_before(&self, generation: i32) -> bool {
        self.generation > 0 && self.generation < generation
    }
}

/// Each topic's partitions in ranges, for one member after the other.
async fn shares(client: &Client, members: &[String]) -> io::Result<Vec<(String, Bytes)>> {
    let mut shares: Vec<BTreeMap<&str, Vec<i32>>> = vec![BTreeMap::new(); members.len()];
    for name in NAMES {
        let Ok((_, partitions)) = client.find_topic(name).await? else { continue };
        let count = usize::try_from(partitions).expect("a topic has no negative number of them");
        for (number, partition) in (0..partitions).enumerate() {
            let member = number * members.len() / count;
            shares[member].entry(name).or_default().push(partition);
        }
    }
    Ok(members.iter().cloned().zip(shares.iter().map(share)).collect())
}

fn flat(parts: &Parts) -> Vec<Part> {
    parts.iter().flat_map(|(id, partitions)| partitions.iter().map(|partition| (*id, *partition))).collect()
}

/// A new member gets into the group, once the sessions of those are over who do not come any more.
pub(super) async fn judge(groups: &Groups, client: &Client, life: &Life, random: &Random) {
    let member = Member::new(None, random);
    let until = Instant::now() + JUDGED_WITHIN;
    loop {
        let entered = member.enter(client, groups, life).await.expect("the connection holds");
        if entered && groups.topics.are_all_that_stay(&member.state.borrow().owned) {
            break;
        }
        assert!(Instant::now() < until, "nobody gets into the classic group after the last crash");
        if entered {
            // Others are in who do not come any more.
            while member.beats(client, life).await.expect("the connection holds") {
                assert!(Instant::now() < until, "members that are long gone are never taken out");
                sleep(random.millis(BEAT_MS_MAX)).await;
            }
        }
        sleep(random.millis(BEAT_MS_MAX)).await;
    }
    life.history.count("groups worked with at the end");
}
