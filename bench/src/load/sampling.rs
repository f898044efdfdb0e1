//! Collects what the workers count, a sample every so often and a total at the end.
//!
//! Each worker counts into a slot of its own; a sample exchanges the slot's tally for an empty one, so that a worker never waits
//! for longer than that exchange takes.

use std::mem;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::latency::Latency;
use crate::process_usage::{ServerProcess, own_cpu};
use crate::profile::{LoadSample, Role, Sample};
use crate::units;

/// The shortest time that a sample covers.
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// Taking a sample costs some 30 µs for each worker: so long for each keeps that at a thirtieth of one core.
const SAMPLE_INTERVAL_PER_WORKER: Duration = Duration::from_millis(1);
/// About how many samples a run of known length is cut into.
const SAMPLES_AIM: u32 = 240;
/// A run of unknown length keeps no more than these: an hour and a half of the shortest.
const SAMPLES_MAX: usize = 20_000;

/// What was counted while it counted.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// From the moment a request should have left to its answer; of a consumer in a mixed load, from the records' timestamps.
    pub(crate) latency: Latency,
    /// How much later than it should a request left, where a schedule says when: the generator's own share of the latency.
    pub(crate) lateness: Option<Latency>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally { records: 0, bytes: 0, latency: Latency::new(), lateness: None }
    }

    fn merge(&mut self, other: &Tally) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.latency.merge(&other.latency);
        if let Some(lateness) = &other.lateness {
            self.lateness.get_or_insert_with(Latency::new).merge(lateness);
        }
    }

    fn clear(&mut self) {
        (self.records, self.bytes) = (0, 0);
        self.latency.clear();
        if let Some(lateness) = &mut self.lateness {
            lateness.clear();
        }
    }
}

/// Where one worker counts.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) role: Role,
    pub(super) tally: Mutex<Tally>,
}

impl Slot {
    pub(super) fn new(role: Role) -> Slot {
        Slot { role, tally: Mutex::new(Tally::new()) }
    }

    pub(super) fn count(&self, counted: impl FnOnce(&mut Tally)) {
        counted(&mut self.tally.lock().expect("nobody panics while counting"));
    }
}

/// What the two processes had used at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) at: Instant,
    pub(super) client_cpu: Duration,
    pub(super) server_cpu: Option<Duration>,
}

impl Usage {
    pub(super) fn now(server: Option<ServerProcess>) -> Result<Usage, String> {
        let server_cpu = server.map(ServerProcess::cpu).transpose().map_err(|error| error.to_string())?;
        Ok(Usage { at: Instant::now(), client_cpu: own_cpu(), server_cpu })
    }

    /// CPU time since `earlier`, the generator's and the broker's.
    pub(super) fn since(&self, earlier: &Usage) -> (Duration, Option<Duration>) {
        let server = self.server_cpu.zip(earlier.server_cpu).map(|(now, then)| now.saturating_sub(then));
        (self.client_cpu.saturating_sub(earlier.client_cpu), server)
    }
}

/// What all workers counted in a run.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Totals by role.
    pub(crate) loads: Vec<(Role, Tally)>,
    pub(crate) samples: Vec<Sample>,
}

/// The workers' counts, as far as they were collected.
pub(super) struct Recorder<'s> {
    slots: &'s [Slot],
    server: Option<ServerProcess>,
    interval: Duration,
    opened: Usage,
    last: Usage,
    /// Exchanged for a worker's own.
    spare: Tally,
    /// Of the sample at hand, and of the whole run, by role.
    window: Tally,
    totals: Vec<(Role, Tally)>,
    samples: Vec<Sample>,
    server_memory_bytes: Option<u64>,
    pub(super) server_memory_bytes_max: u64,
}

impl<'s> Recorder<'s> {
    /// `length`: the run's, if it is known.
    pub(super) fn new(
        slots: &'s [Slot],
        server: Option<ServerProcess>,
        length: Option<Duration>,
        opened: Usage,
    ) -> Recorder<'s> {
        let workers = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let shortest = SAMPLE_INTERVAL_MIN.max(SAMPLE_INTERVAL_PER_WORKER * workers);
        let present = |role: &Role| slots.iter().any(|slot| slot.role == *role);
        Recorder {
            slots,
            server,
            interval: length.map_or(shortest, |length| shortest.max(length / SAMPLES_AIM)),
            opened,
            last: opened,
            spare: Tally::new(),
            window: Tally::new(),
            totals: Role::ALL.into_iter().filter(present).map(|role| (role, Tally::new())).collect(),
            samples: Vec::new(),
            server_memory_bytes: None,
            server_memory_bytes_max: 0,
        }
    }

    /// Looks at the broker's memory, and takes a sample if it is time for one: then what it says, for people.
    pub(super) fn look(&mut self, now: Instant) -> Result<Option<String>, String> {
        if let Some(server) = self.server {
            let bytes = server.anonymous_bytes().map_err(|error| error.to_string())?;
            self.server_memory_bytes_max = self.server_memory_bytes_max.max(bytes);
            self.server_memory_bytes = Some(bytes);
        }
        if now.saturating_duration_since(self.last.at) < self.interval {
            return Ok(None);
        }
        let sample = self.collect(Usage::now(self.server)?);
        let shown = describe(&sample);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        }
        Ok(Some(shown))
    }

    /// Takes in what was counted since the last time. `stopped` is when the clock was closed.
    pub(super) fn finish(mut self, stopped: Usage) -> Collected {
        let rest = self.collect(stopped);
        // A short rest says little and would look like an outlier.
        if rest.span * 2 >= self.interval || self.samples.is_empty() {
            self.samples.push(rest);
        }
        Collected { loads: self.totals, samples: self.samples }
    }

    fn collect(&mut self, usage: Usage) -> Sample {
        let mut loads = Vec::with_capacity(self.totals.len());
        for (role, total) in &mut self.totals {
            self.window.clear();
            for slot in self.slots.iter().filter(|slot| slot.role == *role) {
                slot.count(|tally| mem::swap(tally, &mut self.spare));
                self.window.merge(&self.spare);
                self.spare.clear();
            }
            total.merge(&self.window);
            let Tally { records, bytes, latency, .. } = &self.window;
            let measured = !latency.is_empty();
            let latency_us = measured.then(|| (latency.micros_at(0.5), latency.micros_at(0.99)));
            loads.push(LoadSample { role: *role, records: *records, bytes: *bytes, latency_us });
        }
        let (client_cpu, server_cpu) = usage.since(&self.last);
        let since = |earlier: &Usage| usage.at.saturating_duration_since(earlier.at);
        let (at, span) = (since(&self.opened), since(&self.last));
        self.last = usage;
        Sample { at, span, loads, client_cpu, server_cpu, server_memory_bytes: self.server_memory_bytes }
    }
}

/// Rate and p99 of each role, short enough for a progress bar.
fn describe(sample: &Sample) -> String {
    let load = |load: &LoadSample| {
        let rate = if load.role.moves_records() {
            units::decimal(load.bytes_per_s(sample.span), "B/s")
        } else {
            units::decimal(load.records_per_s(sample.span), "/s")
        };
        let p99 = load.latency_us.map_or_else(|| "-".to_owned(), |(_, p99)| units::micros(p99));
        if sample.loads.len() == 1 {
            format!("{rate}, p99 {p99}")
        } else {
            format!("{} {rate} p99 {p99}", load.role.name())
        }
    };
    sample.loads.iter().map(load).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up_to_the_total_and_roles_stay_apart() {
        let slots = [Slot::new(Role::Produce), Slot::new(Role::Produce), Slot::new(Role::Consume)];
        let opened = Usage::now(None).unwrap();
        let mut recorder = Recorder::new(&slots, None, None, opened);
        let count = |slot: &Slot, milliseconds| {
            slot.count(|tally| {
                tally.bytes += 10;
                tally.latency.record(Duration::from_millis(milliseconds));
            });
        };
        count(&slots[0], 1);
        count(&slots[1], 3);
        let shown = recorder.look(opened.at + SAMPLE_INTERVAL_MIN).unwrap().unwrap();
        assert!(shown.starts_with("produce ") && shown.contains(" p99 3.00 ms | consume 0 B/s p99 -"), "{shown}");
        count(&slots[1], 5);
        count(&slots[2], 7);
        let Collected { loads: totals, samples } = recorder.finish(Usage::now(None).unwrap());
        let bytes: Vec<(Role, u64)> = totals.iter().map(|(role, total)| (*role, total.bytes)).collect();
        assert_eq!(bytes, [(Role::Produce, 30), (Role::Consume, 10)]);
        assert_eq!(samples[0].loads[0].bytes, 20);
        assert!((totals[0].1.latency.micros_at(1.0) - 5000.0).abs() < 10.0);
    }
}
