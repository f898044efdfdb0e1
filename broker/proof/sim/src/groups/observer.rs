//! Looks at groups from outside: what is committed, first of all after a start, and how they are described and listed.

use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

use ringmill_net::wire::{ErrorCode, embedded_protocol};
use tokio::time::{Instant, sleep};

use super::calls::Who;
use super::{CLASSIC, CONSUMER, GROUPS, Groups, come_again, is_passing};
use crate::client::Client;
use crate::life::Life;
use crate::random::Random;

/// Looks as long as the broker lives.
pub(super) async fn run(groups: Rc<Groups>, life: Rc<Life>, random: Random, has_crashed: bool) {
    let mut is_new = true;
    loop {
        let client = life.connect(&random);
        let ended = follow(&groups, &client, &life, &random, &mut is_new, has_crashed).await;
        life.history.note(("looks at groups", ended.expect_err("a session ends with its connection").kind()));
        sleep(random.millis(20)).await;
    }
}

async fn follow(
    groups: &Groups,
    client: &Client,
    life: &Life,
    random: &Random,
    is_new: &mut bool,
    has_crashed: bool,
) -> io::Result<()> {
    loop {
        let found = look_at_all(groups, client, life, None).await?;
        if std::mem::take(is_new) && has_crashed && found > 0 {
            life.history.count("commits read back after a crash");
        }
        sleep(random.millis(60)).await;
        match random.below(3) {
            0 => describe_classic(client, life).await?,
            1 => describe_newer(client, life).await?,
            _ => drop(client.list_groups().await?),
        }
    }
}

/// Asks for all offsets of all groups until they are told, which must be before `until`; how many there are.
pub(super) async fn look_at_all(
    groups: &Groups,
    client: &Client,
    life: &Life,
    until: Option<Instant>,
) -> io::Result<usize> {
    let mut there = 0;
    for (group, _) in GROUPS {
        let who = Who { group, id: "", instance: None, generation: -1 };
        there += loop {
            match groups.look(client, life, &who, &groups.topics.parts()).await? {
                Ok(there) => break there,
                Err(error) if is_passing(error) => come_again(group, error, until).await,
                Err(error) => panic!("{group}: offsets are not told: {error}"),
            }
        };
    }
    Ok(there)
}

/// In a group that is shared out nobody has what another one has.
async fn describe_classic(client: &Client, life: &Life) -> io::Result<()> {
    let (state, shares) = match client.describe_classic(CLASSIC).await? {
        Ok(described) => described,
        Err(ErrorCode::GroupIdNotFound) => return Ok(()),
        Err(error) if is_passing(error) => return Ok(()),
        Err(error) => panic!("the classic group is not described: {error}"),
    };
    let mut taken = BTreeSet::new();
    for share in shares.iter().filter(|_| state == "Stable") {
        let share = embedded_protocol::assignment(share).expect("a member of this run has made it");
        for topic in share.assigned_partitions {
            for partition in topic.partitions {
                let is_free = taken.insert((topic.topic.to_owned(), partition));
                assert!(is_free, "{}-{partition} has two owners", topic.topic);
            }
        }
    }
    life.history.count("groups described");
    Ok(())
}

async fn describe_newer(client: &Client, life: &Life) -> io::Result<()> {
    let shares = match client.describe_consumer_group(CONSUMER).await? {
        Ok(described) => described,
        Err(ErrorCode::GroupIdNotFound) => return Ok(()),
        Err(error) if is_passing(error) => return Ok(()),
        Err(error) => panic!("the group of the consumer protocol is not described: {error}"),
    };
    let mut taken = BTreeSet::new();
    for (topic, partitions) in shares.iter().flatten() {
        for partition in partitions {
            assert!(taken.insert((*topic, *partition)), "partition {partition} has two owners");
        }
    }
    life.history.count("groups described");
    Ok(())
}
