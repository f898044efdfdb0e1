//! A group without members: its offsets are committed from outside and deleted, one by one or with the group. What it must then have
//! is known exactly, but for what was not answered.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmill_net::wire::ErrorCode;
use tokio::time::sleep;

use super::calls::{Found, Part, Who};
use super::{Groups, is_passing};
use crate::client::Client;
use crate::life::Life;
use crate::random::Random;

/// Its name.
pub(super) const SCRATCH: &str = "scratch";

/// The topic and the partitions that it knows.
const TOPIC: &str = "shared";
const PARTITIONS: usize = 2;

/// What is known of it, by partition.
#[derive(Default)]
pub(super) struct Scratch {
    slots: RefCell<[Slot; PARTITIONS]>,
    next: Cell<i64>,
}

/// An offset: what it is for certain, unless it is one of those that were asked for and not answered.
#[derive(Clone, Debug, Default)]
struct Slot {
    certain: Option<i64>,
    open: Vec<Option<i64>>,
}

impl Scratch {
    fn open(&self, slot: usize, value: Option<i64>) {
        self.slots.borrow_mut()[slot].open.push(value);
    }

    /// What was opened last has happened, or has not.
    fn close(&self, slot: usize, value: Option<i64>, result: Result<(), ErrorCode>) {
        let slot = &mut self.slots.borrow_mut()[slot];
        // After this code it may have happened.
        if result != Err(ErrorCode::CoordinatorNotAvailable) {
            slot.open.pop();
        }
        if result.is_ok() {
            slot.certain = value;
        }
    }

    /// Looks it up, which must agree, unless the coordinator asks to come again.
    pub(super) async fn look(
        &self,
        groups: &Groups,
        client: &Client,
        life: &Life,
    ) -> io::Result<Result<(), ErrorCode>> {
        let parts = parts(groups);
        let who = Who { group: SCRATCH, id: "", instance: None, generation: -1 };
        let found = match client.offsets(&who, &parts).await? {
            Ok(found) => found,
            Err(error) => {
                assert!(is_passing(error), "offsets of a group without members are not told: {error}");
                return Ok(Err(error));
            }
        };
        for (slot, found) in self.slots.borrow_mut().iter_mut().zip(found) {
            let found = found.expect("the topic stays").map(|found| found.offset);
            let expected = found == slot.certain || slot.open.contains(&found);
            assert!(expected, "a group without members has {found:?}, and what was asked for is {slot:?}");
            slot.certain = found;
            life.history.count(if found.is_some() { "offsets found" } else { "deleted offsets not found" });
        }
        Ok(Ok(()))
    }
}

fn parts(groups: &Groups) -> Vec<Part> {
    let id = groups.topics.id_of(TOPIC).expect("it stays");
    (0..).take(PARTITIONS).map(|partition| (id, partition)).collect()
}

/// Works as long as the broker lives.
pub(super) async fn run(groups: Rc<Groups>, life: Rc<Life>, random: Random) {
    let mut is_new = true;
    loop {
        let client = life.connect(&random);
        let ended = work(&groups, &client, &life, &random, &mut is_new).await;
        life.history.note((SCRATCH, ended.expect_err("a session ends with its connection").kind()));
        sleep(random.millis(20)).await;
    }
}

async fn work(groups: &Groups, client: &Client, life: &Life, random: &Random, is_new: &mut bool) -> io::Result<()> {
    let scratch = &groups.scratch;
    loop {
        if scratch.look(groups, client, life).await?.is_ok() && std::mem::take(is_new) {
            // Of the last life nothing is under way any more, and of this one there is nothing yet.
            scratch.slots.borrow_mut().iter_mut().for_each(|slot| slot.open.clear());
        }
        sleep(random.millis(25)).await;
        if *is_new {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        let slot = random.index(PARTITIONS);
        match random.below(8) {
            0 => delete_group(scratch, client, life).await?,
            1 | 2 => {
                scratch.open(slot, None);
                let partition = i32::try_from(slot).expect("a handful");
                let result = client.delete_offset(SCRATCH, TOPIC, partition).await?;
                life.history.count(if result.is_ok() { "offsets deleted" } else { "deletions refused" });
                scratch.close(slot, None, result);
            }
            _ => commit(groups, client, slot).await?,
        }
    }
}

async fn commit(groups: &Groups, client: &Client, slot: usize) -> io::Result<()> {
    let scratch = &groups.scratch;
    let offset = scratch.next.get();
    scratch.next.set(offset + 1);
    scratch.open(slot, Some(offset));
    let who = Who { group: SCRATCH, id: "", instance: None, generation: -1 };
    let results = client.commit(&who, &[(parts(groups)[slot], Found { offset, words: String::new() })]).await?;
    scratch.close(slot, Some(offset), results[0]);
    Ok(())
}

async fn delete_group(scratch: &Scratch, client: &Client, life: &Life) -> io::Result<()> {
    (0..PARTITIONS).for_each(|slot| scratch.open(slot, None));
    let result = client.delete_group(SCRATCH).await?;
    life.history.count(if result.is_ok() { "groups deleted" } else { "deletions refused" });
    (0..PARTITIONS).for_each(|slot| scratch.close(slot, None, result));
    Ok(())
}
