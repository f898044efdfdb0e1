//! A connection that appends: sends its batch again and again, with a number of batches under way, and counts the answers to each record.

use std::collections::VecDeque;
use std::time::Instant;

use super::Driver;
use crate::load::schedule::Schedule;
use crate::load::session::{Meter, Phase};

/// How fast batches leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Of all connections together; as fast as answered if `None`.
    pub(super) rate_bytes_per_s: Option<u64>,
    pub(super) connections: u32,
    pub(super) connection: u32,
}

/// What one connection sends.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// All appends of a batch, as they are sent.
    pub(super) batch: Vec<u8>,
    pub(super) records: u64,
    pub(super) value_bytes: u64,
    /// Batches under way.
    pub(super) in_flight_max: usize,
    pub(super) pace: Pace,
}

impl Pipeline {
    /// Sends until the session is over, then waits for the answers that are still due.
    pub(super) fn run(&self, mut connection: impl Driver, meter: &Meter<'_>) -> Result<(), String> {
        // The kernel may otherwise add 50 µs to every wait for the clock.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).map_err(|error| error.to_string())?;
        let mut schedule = self.schedule();
        // When each batch without all its answers should have left, the oldest first.
        let mut in_flight: VecDeque<Instant> = VecDeque::new();
        loop {
            let stopped = meter.phase() == Phase::Stopped;
            if stopped && in_flight.is_empty() {
                return Ok(());
            }
            let full = stopped || in_flight.len() >= self.in_flight_max;
            let due = schedule.as_ref().map_or_else(Instant::now, Schedule::next);
            if !full && due <= Instant::now() {
                if let Some(schedule) = &mut schedule {
                    schedule.advance();
                    meter.leaves(due);
                }
                connection.wire().send(&self.batch)?;
                in_flight.push_back(due);
            } else if full || connection.answer_before(due)? {
                for _ in 0..self.records {
                    connection.take_answer()?;
                }
                let due = in_flight.pop_front().expect("answers are awaited only for batches under way");
                meter.count(self.records, self.value_bytes, Some(due.elapsed()));
            }
        }
    }

    fn schedule(&self) -> Option<Schedule> {
        let Pace { rate_bytes_per_s, connections, connection } = self.pace;
        rate_bytes_per_s.map(|rate| Schedule::new(Instant::now(), rate, self.value_bytes, connections, connection))
    }
}
