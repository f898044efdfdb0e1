//! The topics that groups read: one that stays, one that grows, one that goes and comes again under its name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use ringmill_checker::{Event, Place};
use ringmill_net::wire::ErrorCode;
use tokio::time::sleep;

use super::Groups;
use super::calls::{Part, Parts};
use crate::client::{Client, TopicId, TopicRef};
use crate::history::History;
use crate::life::Life;
use crate::random::Random;

const STAYS: (&str, i32) = ("shared", 3);
const GROWS: (&str, i32) = ("shared-grows", 1);
const GROWS_TO: i32 = 4;
const PASSES: (&str, i32) = ("shared-passes", 2);

/// What every member subscribes to.
pub(super) const NAMES: [&str; 3] = [STAYS.0, GROWS.0, PASSES.0];

/// What is known of them.
pub(super) struct Topics {
    by_id: RefCell<BTreeMap<TopicId, Known>>,
    /// A topic whose creation was not answered.
    asked: RefCell<Option<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    name: &'static str,
    /// Its number in the history.
    number: u32,
    /// That it has for certain.
    partitions: i32,
    /// Its deletion was asked for.
    leaves: bool,
}

impl Topics {
    /// All of them, made while nothing goes wrong.
    pub(super) async fn set_up(client: &Client, history: &History) -> Topics {
        let mut by_id = BTreeMap::new();
        for (name, partitions) in [STAYS, GROWS, PASSES] {
            let number = history.announce_topic(name, None, false);
            let id = client.create_topic(name, partitions, &[]).await.expect("the connection holds");
            history.record(Event::TopicMade { topic: number });
            by_id.insert(id.expect("nothing has gone wrong yet"), Known { name, number, partitions, leaves: false });
        }
        Topics { by_id: RefCell::new(by_id), asked: RefCell::default() }
    }

    /// A partition as the history has it; `None` of a topic that nobody has seen yet.
    pub(super) fn place(&self, (id, partition): Part) -> Option<Place> {
        self.by_id.borrow().get(&id).map(|known| Place { topic: known.number, partition })
    }

    /// The same for many.
    pub(super) fn places(&self, parts: &Parts) -> Vec<Place> {
        let parts = parts.iter().flat_map(|(id, partitions)| partitions.iter().map(|partition| (*id, *partition)));
        parts.filter_map(|part| self.place(part)).collect()
    }

    /// Whether what is said of it is still to be held to.
    pub(super) fn stays(&self, part: Part) -> bool {
        self.by_id.borrow().get(&part.0).is_some_and(|known| !known.leaves)
    }

    /// The newest topic of a name.
    pub(super) fn id_of(&self, name: &str) -> Option<TopicId> {
        let by_id = self.by_id.borrow();
        let named = by_id.iter().filter(|(_, known)| known.name == name);
        named.max_by_key(|(_, known)| known.number).map(|(id, _)| *id)
    }

    /// All partitions that are there for certain, of topics that stay.
    pub(super) fn parts(&self) -> Vec<Part> {
        let by_id = self.by_id.borrow();
        let there = by_id.iter().filter(|(_, known)| !known.leaves);
        there.flat_map(|(id, known)| (0..known.partitions).map(|partition| (*id, partition))).collect()
    }

    /// Whether these are all partitions of the topic that stays.
    pub(super) fn are_all_that_stay(&self, parts: &Parts) -> bool {
        let id = self.id_of(STAYS.0).expect("it was made first");
        parts.get(&id).is_some_and(|partitions| (0..STAYS.1).all(|partition| partitions.contains(&partition)))
    }
}

/// Lets one topic grow and another go and come.
pub(super) async fn change(groups: Rc<Groups>, life: Rc<Life>, random: Random) {
    loop {
        let client = life.connect(&random);
        let ended = change_on(&client, &groups.topics, &life, &random).await;
        life.history.note(("topics of groups", ended.expect_err("a session ends with its connection").kind()));
        sleep(random.millis(20)).await;
    }
}

async fn change_on(client: &Client, topics: &Topics, life: &Life, random: &Random) -> io::Result<()> {
    loop {
        sleep(random.millis(120)).await;
        match random.below(3) {
            0 => grow(client, topics, life).await?,
            _ => pass(client, topics, life, random).await?,
        }
    }
}

async fn grow(client: &Client, topics: &Topics, life: &Life) -> io::Result<()> {
    let Ok((id, partitions)) = client.find_topic(GROWS.0).await? else { return Ok(()) };
    let saw = |partitions| {
        topics.by_id.borrow_mut().get_mut(&id).expect("it was made first, and never deleted").partitions = partitions;
    };
    saw(partitions);
    if partitions < GROWS_TO && client.add_partitions(GROWS.0, partitions + 1).await?.is_ok() {
        saw(partitions + 1);
        life.history.count("topics grown under groups");
    }
    Ok(())
}

/// Deletes the topic if it is there, or makes it.
async fn pass(client: &Client, topics: &Topics, life: &Life, random: &Random) -> io::Result<()> {
    let (name, partitions) = PASSES;
    match client.find_topic(name).await? {
        Ok((id, _)) => {
            let number = topics.asked.borrow_mut().take();
            let known = *topics.by_id.borrow_mut().entry(id).or_insert_with(|| {
                let number = number.expect("a topic that is new was asked for");
                Known { name, number, partitions, leaves: false }
            });
            if random.one_in(2) {
                return Ok(());
            }
            life.history.record(Event::TopicDropSent { topic: known.number });
            topics.by_id.borrow_mut().entry(id).and_modify(|known| known.leaves = true);
            if client.delete_topic(TopicRef::Id(id)).await?.is_ok() {
                life.history.record(Event::TopicDropped { topic: known.number });
                life.history.count("topics deleted under groups");
            }
        }
        Err(ErrorCode::UnknownTopicOrPartition) => {
            let number = life.history.announce_topic(name, None, false);
            topics.asked.borrow_mut().replace(number);
            if let Ok(id) = client.create_topic(name, partitions, &[]).await? {
                life.history.record(Event::TopicMade { topic: number });
                topics.asked.borrow_mut().take();
                topics.by_id.borrow_mut().insert(id, Known { name, number, partitions, leaves: false });
            }
        }
        Err(error) => life.history.note((name, error.code())),
    }
    Ok(())
}
