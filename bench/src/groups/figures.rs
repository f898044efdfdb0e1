//! What a part has measured, as metrics: rates, latencies, and what the two processes took.

use std::time::Duration;

use crate::load::{Measured, Tally};
use crate::process_usage::ServerProcess;
use crate::report::{Metric, Run, Unit};

/// What the broker had used at a moment, where its process is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    cpu: Option<Duration>,
    pub(super) memory_bytes: Option<u64>,
}

impl Usage {
    pub(super) fn now(server: Option<ServerProcess>) -> Result<Usage, String> {
        let Some(server) = server else { return Ok(Usage::default()) };
        let read = || Ok(Usage { cpu: Some(server.cpu()?), memory_bytes: Some(server.anonymous_bytes()?) });
        read().map_err(|error: std::io::Error| error.to_string())
    }

    /// The broker's CPU time from then until now.
    pub(super) fn cpu_since(self, earlier: Usage, key: &'static str) -> Option<Metric> {
        let cpu = self.cpu?.saturating_sub(earlier.cpu?);
        Some(seconds(key, cpu))
    }

    pub(super) fn memory(self, key: &'static str) -> Option<Metric> {
        Some(bytes(key, self.memory_bytes?))
    }
}

/// How fast requests were answered, each for so many things, and how soon.
pub(super) fn speed(tally: &Tally, elapsed: Duration, per_request: u32, keys: (&'static str, &'static str)) -> Run {
    let things_per_s = as_f64(tally.records) / elapsed.as_secs_f64();
    let mut run = vec![per_second(keys.0, things_per_s)];
    if per_request > 1 {
        run.push(per_second(keys.1, things_per_s / f64::from(per_request)));
    }
    run.extend(tally.latency.metrics(&[("p50_us", 0.5), ("p99_us", 0.99), ("p99.9_us", 0.999), ("max_us", 1.0)]));
    if let Some(lateness) = tally.lateness.as_ref().filter(|lateness| !lateness.is_empty()) {
        run.extend(lateness.metrics(&[("sent_late_p99_us", 0.99)]));
    }
    run
}

/// What a measured time took of both processes, as shares of one core's time, and of the broker for each thing done.
pub(super) fn cost(measured: &Measured, things: u64, per_thing: &'static str) -> Run {
    let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / measured.elapsed.as_secs_f64();
    let mut run = Run::new();
    if let Some(server) = &measured.server {
        run.push(Metric { key: "server_busy_percent", unit: Unit::Percent, value: share(server.cpu) });
        let micros = server.cpu.as_secs_f64() * 1e6 / as_f64(things.max(1));
        run.push(Metric { key: per_thing, unit: Unit::Micros, value: micros });
        run.push(bytes("server_memory_bytes", server.anonymous_bytes_max));
    }
    run.push(Metric { key: "client_busy_percent", unit: Unit::Percent, value: share(measured.client_cpu) });
    run
}

pub(super) fn seconds(key: &'static str, time: Duration) -> Metric {
    Metric { key, unit: Unit::Seconds, value: time.as_secs_f64() }
}

pub(super) fn bytes(key: &'static str, bytes: u64) -> Metric {
    Metric { key, unit: Unit::Bytes, value: as_f64(bytes) }
}

pub(super) fn count(key: &'static str, count: u64) -> Metric {
    Metric { key, unit: Unit::Records, value: as_f64(count) }
}

pub(super) fn per_second(key: &'static str, value: f64) -> Metric {
    Metric { key, unit: Unit::RecordsPerSecond, value }
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes of a run stay far below 2^53")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}
