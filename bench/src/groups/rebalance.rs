//! One large group changes: how long it takes from the moment a member joins or leaves until everybody has what the new generation gives.
//!
//! Every member has a connection of its own, as a consumer has. They learn of a change by their heartbeats, so that interval is part of the
//! time; the last member's own way, from its JoinGroup to its assignment, is shown beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmill_net::client::Connection;
use tokio::task::JoinSet;

use super::brokers::Topic;
use super::classic;
use super::figures::{self, Usage};
use super::options::Protocol;
use super::roll_call::RollCall;
use super::site::Site;
use crate::progress;
use crate::report::{Case, Run};

/// Partitions for each member: enough that whoever leaves is missed.
const PARTITIONS_PER_MEMBER: u32 = 2;

/// What is measured, in the order of the report.
const FIRST: &str = "first generation";
const LEAVES: &str = "a member leaves";
const JOINS: &str = "a member joins";

/// How long a rebalance took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    /// From what caused it until the last member had its assignment.
    pub(super) all: Duration,
    /// In the classic protocol: until the last member joined anew.
    pub(super) told: Option<Duration>,
}

/// A member of the classic protocol with its connection.
struct Seat {
    member: classic::Member,
    connection: Arc<Connection>,
}

/// Forms the group, and lets members leave and join in turn.
pub(super) fn run(site: &Site<'_>, protocol: Protocol, number: u32, cases: &mut Vec<Case>) -> Result<(), String> {
    let options = site.options;
    let partitions = options.rebalance_members * PARTITIONS_PER_MEMBER;
    let topic = site.block_on(site.brokers.topic(&format!("{}-rebalance", options.topic), partitions))?;
    let id: Arc<str> = format!("{}-rebalance-{}-{number}", site.tag, protocol.name()).into();
    let bar = progress::things_bar("rounds", u64::from(options.rounds) * 2 + 1);
    let mut add = |name: &str, took: Took, delay: Duration| -> Result<(), String> {
        bar.inc(1);
        let run = metrics(took, delay, Usage::now(site.server)?);
        let name = format!("{name}, {}", protocol.name());
        match cases.iter_mut().find(|case| case.name == name) {
            Some(case) => case.runs.push(run),
            None => cases.push(Case { name, runs: vec![run] }),
        }
        Ok(())
    };
    let address = site.block_on(site.brokers.coordinator(&id))?;
    let delay = match (protocol, options.initial_delay) {
        (Protocol::Consumer, _) => Duration::ZERO,
        (Protocol::Classic, Some(delay)) => delay,
        (Protocol::Classic, None) => site.block_on(site.brokers.initial_delay(&topic)).ok_or(
            "the broker does not say its group.initial.rebalance.delay.ms: give it with --initial-delay".to_owned(),
        )?,
    };
    let rounds = async {
        let mut group = Subject::open(site, protocol, &id, topic, &address).await?;
        add(FIRST, group.first().await?, delay)?;
        for _ in 0..options.rounds {
            add(LEAVES, group.leave().await?, Duration::ZERO)?;
            add(JOINS, group.join().await?, Duration::ZERO)?;
        }
        site.note_leftover(group.clear().await);
        Ok(())
    };
    let outcome = site.block_on(rounds);
    bar.finish_and_clear();
    outcome
}

fn metrics(took: Took, delay: Duration, usage: Usage) -> Run {
    let mut run = vec![
        figures::seconds("to_assigned_s", took.all),
        figures::seconds("beyond_delay_s", took.all.saturating_sub(delay)),
    ];
    if let Some(told) = took.told {
        run.push(figures::seconds("last_join_after_s", told));
        run.push(figures::seconds("from_last_join_s", took.all.saturating_sub(told)));
    }
    run.extend(usage.memory("memory_after_bytes"));
    run
}

/// The group under test.
enum Subject<'s> {
    Classic(Classic<'s>),
    Consumer(RollCall),
}

/// A group of the classic protocol.
struct Classic<'s> {
    site: &'s Site<'s>,
    group: Arc<classic::Group>,
    address: String,
    heartbeat: Duration,
    seats: Vec<Seat>,
}

impl<'s> Subject<'s> {
    async fn open(
        site: &'s Site<'s>,
        protocol: Protocol,
        id: &Arc<str>,
        topic: Topic,
        address: &str,
    ) -> Result<Subject<'s>, String> {
        let options = site.options;
        let (count, timeout_ms) = (options.rebalance_members as usize, options.session_timeout_ms());
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(site.brokers.connection(address).await?);
        }
        let heartbeat = options.rebalance_heartbeat;
        Ok(match protocol {
            Protocol::Consumer => Subject::Consumer(RollCall::new(
                Arc::clone(&site.brokers),
                id,
                topic,
                timeout_ms,
                heartbeat,
                connections,
            )),
            Protocol::Classic => {
                let seat = |connection| Seat { member: classic::Member::new(), connection };
                Subject::Classic(Classic {
                    site,
                    group: Arc::new(classic::Group::new(Arc::clone(id), topic, timeout_ms, count)),
                    address: address.to_owned(),
                    heartbeat,
                    seats: connections.into_iter().map(seat).collect(),
                })
            }
        })
    }

    async fn first(&mut self) -> Result<Took, String> {
        match self {
            Subject::Classic(group) => {
                let newcomers = std::mem::take(&mut group.seats);
                group.rebalance(Instant::now(), newcomers).await
            }
            Subject::Consumer(group) => group.settle(Instant::now()).await,
        }
    }

    async fn leave(&mut self) -> Result<Took, String> {
        match self {
            Subject::Classic(group) => {
                let seat = group.seats.pop().ok_or("nobody is left to leave")?;
                group.group.expect(group.seats.len());
                let began = Instant::now();
                classic::leave(&seat.connection, &group.group, &[seat.member]).await?;
                group.rebalance(began, Vec::new()).await
            }
            Subject::Consumer(group) => {
                let began = Instant::now();
                group.leave_one().await?;
                group.settle(began).await
            }
        }
    }

    async fn join(&mut self) -> Result<Took, String> {
        match self {
            Subject::Classic(group) => {
                let connection = group.site.brokers.connection(&group.address).await?;
                group.group.expect(group.seats.len() + 1);
                let newcomer = Seat { member: classic::Member::new(), connection };
                group.rebalance(Instant::now(), vec![newcomer]).await
            }
            Subject::Consumer(group) => {
                group.add_one().await?;
                group.settle(Instant::now()).await
            }
        }
    }

    async fn clear(self) -> Result<(), String> {
        match self {
            Subject::Classic(Classic { site, group, seats, .. }) => {
                let members: Vec<classic::Member> = seats.iter().map(|seat| seat.member.clone()).collect();
                if let Some(seat) = seats.first() {
                    classic::leave(&seat.connection, &group, &members).await?;
                }
                site.brokers.delete_group(&group.id).await
            }
            Subject::Consumer(group) => group.clear().await,
        }
    }
}

impl Classic<'_> {
    /// Waits until all members are in one generation again, those who sit there by way of their heartbeats, newcomers at once.
    async fn rebalance(&mut self, began: Instant, newcomers: Vec<Seat>) -> Result<Took, String> {
        let (heartbeat, sitting) = (self.heartbeat, self.seats.len());
        let mut members = JoinSet::new();
        for mut seat in newcomers {
            let group = Arc::clone(&self.group);
            members.spawn(async move {
                let entered = seat.member.enter(&seat.connection, &group).await?;
                Ok::<_, String>((seat, entered))
            });
        }
        for (number, mut seat) in self.seats.drain(..).enumerate() {
            let group = Arc::clone(&self.group);
            members.spawn(async move {
                // Spread over the interval, as members are that came at different times.
                tokio::time::sleep(heartbeat.mul_f64(number as f64 / sitting as f64)).await;
                seat.member.await_rebalance(&seat.connection, &group, heartbeat).await?;
                let entered = seat.member.enter(&seat.connection, &group).await?;
                Ok((seat, entered))
            });
        }
        let (mut all, mut told) = (Duration::ZERO, Duration::ZERO);
        while let Some(member) = members.join_next().await {
            let (seat, entered) = member.map_err(|error| error.to_string())??;
            all = all.max(entered.assigned.saturating_duration_since(began));
            told = told.max(entered.join_sent.saturating_duration_since(began));
            self.seats.push(seat);
        }
        Ok(Took { all, told: Some(told) })
    }
}
