//! A large group of the consumer protocol under test: every member sends heartbeats by itself, until a roll shows that all agree.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmill_net::client::Connection;
use tokio::task::JoinSet;

use super::brokers::{Brokers, Topic};
use super::consumer::{Member, Roll};
use super::rebalance::Took;

/// A group of healthy members that has not settled by then never will.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(300);

/// The group.
pub(super) struct RollCall {
    brokers: Arc<Brokers>,
    id: Arc<str>,
    topic: Topic,
    rebalance_timeout_ms: i32,
    heartbeat: Duration,
    seats: Vec<Seat>,
    /// Numbers every member that ever was.
    next_number: usize,
}

struct Seat {
    member: Member,
    connection: Arc<Connection>,
}

/// What the members of one rebalance share.
struct Call {
    roll: Mutex<Roll>,
    settled: Mutex<Option<Instant>>,
    is_over: AtomicBool,
    topic: Topic,
    rebalance_timeout_ms: i32,
    heartbeat: Duration,
}

impl RollCall {
    /// A member for each connection, which has not joined yet.
    pub(super) fn new(
        brokers: Arc<Brokers>,
        id: &Arc<str>,
        topic: Topic,
        rebalance_timeout_ms: i32,
        heartbeat: Duration,
        connections: Vec<Arc<Connection>>,
    ) -> RollCall {
        let next_number = connections.len();
        let seat = |(number, connection)| Seat { member: Member::new(id, number), connection };
        let seats = connections.into_iter().enumerate().map(seat).collect();
        RollCall { brokers, id: Arc::clone(id), topic, rebalance_timeout_ms, heartbeat, seats, next_number }
    }

    /// Waits until all members have what they shall have; `began` is when the reason for it arose.
    pub(super) async fn settle(&mut self, began: Instant) -> Result<Took, String> {
        let call = Arc::new(Call {
            roll: Mutex::new(Roll::new(self.topic.partitions, self.seats.len())),
            settled: Mutex::default(),
            is_over: AtomicBool::new(false),
            topic: self.topic.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            heartbeat: self.heartbeat,
        });
        let count = self.seats.len();
        let mut members = JoinSet::new();
        for (number, seat) in self.seats.drain(..).enumerate() {
            let newcomer = seat.member.has_news();
            // Spread over the interval, as members are that came at different times; who joins does so at once.
            let wait = if newcomer { Duration::ZERO } else { self.heartbeat.mul_f64(number as f64 / count as f64) };
            members.spawn(follow(seat, Arc::clone(&call), wait));
        }
        while let Some(seat) = members.join_next().await {
            self.seats.push(seat.map_err(|error| error.to_string())??);
        }
        let settled = call.settled.lock().expect("nobody panics while looking");
        let settled = settled
            .ok_or_else(|| format!("group {} did not settle within {} s", self.id, SETTLE_TIME_MAX.as_secs()))?;
        Ok(Took { all: settled.saturating_duration_since(began), told: None })
    }

    /// The last member goes.
    pub(super) async fn leave_one(&mut self) -> Result<(), String> {
        let seat = self.seats.pop().ok_or("nobody is left to leave")?;
        seat.member.leave(&seat.connection).await
    }

    /// A new member sits down, to join when the group [settles](Self::settle).
    pub(super) async fn add_one(&mut self) -> Result<(), String> {
        let address = self.seats.first().ok_or("nobody is left to join")?.connection.address().to_owned();
        let connection = self.brokers.connection(&address).await?;
        self.seats.push(Seat { member: Member::new(&self.id, self.next_number), connection });
        self.next_number += 1;
        Ok(())
    }

    /// What is left when nothing is to change any more.
    pub(super) fn into_members(self) -> Vec<Member> {
        self.seats.into_iter().map(|seat| seat.member).collect()
    }

    /// All leave, and the group is removed.
    pub(super) async fn clear(self) -> Result<(), String> {
        for seat in &self.seats {
            seat.member.leave(&seat.connection).await?;
        }
        self.brokers.delete_group(&self.id).await
    }
}

/// Sends a member's heartbeats until the call is over, at once where it has something to say.
async fn follow(mut seat: Seat, call: Arc<Call>, wait: Duration) -> Result<Seat, String> {
    let deadline = Instant::now() + SETTLE_TIME_MAX;
    tokio::time::sleep(wait).await;
    while !call.is_over.load(Ordering::Acquire) && Instant::now() < deadline {
        seat.member.heartbeat(&seat.connection, &call.topic, call.rebalance_timeout_ms).await?;
        call.note(&seat.member);
        if !seat.member.has_news() {
            tokio::time::sleep(call.heartbeat).await;
        }
    }
    Ok(seat)
}

impl Call {
    fn note(&self, member: &Member) {
        let mut roll = self.roll.lock().expect("nobody panics while noting");
        roll.note(member);
        if roll.is_whole() && !self.is_over.swap(true, Ordering::AcqRel) {
            *self.settled.lock().expect("nobody panics while noting") = Some(Instant::now());
        }
    }
}
