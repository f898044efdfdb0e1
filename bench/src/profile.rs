//! How a run went: rate and latency over time, by who did what, beside the CPU and memory that it took.
//!
//! Only data; [`load`](crate::load) fills it, the report, the histogram files and the charts show it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::latency::Latency;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Produce,
    Consume,
    /// Reads from the log's beginning while others produce.
    CatchUp,
    /// Says that members of groups live.
    Heartbeat,
    /// Commits offsets.
    Commit,
}

impl Role {
    /// In the order in which reports show them.
    pub(crate) const ALL: [Role; 5] = [Role::Produce, Role::Consume, Role::CatchUp, Role::Heartbeat, Role::Commit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Produce => "produce",
            Role::Consume => "consume",
            Role::CatchUp => "catch-up",
            Role::Heartbeat => "heartbeat",
            Role::Commit => "commit",
        }
    }

    /// Whether its rate is one of bytes, and not of what was done.
    pub(crate) fn moves_records(self) -> bool {
        matches!(self, Role::Produce | Role::Consume | Role::CatchUp)
    }
}

/// What all connections of one role did during a short time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSample {
    pub(crate) role: Role,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Median and 99th percentile of the latency, in microseconds, if anything was answered.
    pub(crate) latency_us: Option<(f64, f64)>,
}

/// A short time of a run.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Its end, from the clock's start.
    pub(crate) at: Duration,
    /// Its length.
    pub(crate) span: Duration,
    pub(crate) loads: Vec<LoadSample>,
    /// Of the load generator, during the span.
    pub(crate) client_cpu: Duration,
    /// Of the broker, during the span, if its process is known.
    pub(crate) server_cpu: Option<Duration>,
    /// The broker's anonymous memory at the end.
    pub(crate) server_memory_bytes: Option<u64>,
}

impl LoadSample {
    /// Records, or what else was done, per second over `span`.
    #[expect(clippy::cast_precision_loss, reason = "records of a sample stay far below 2^53")]
    pub(crate) fn records_per_s(&self, span: Duration) -> f64 {
        self.records as f64 / span.as_secs_f64().max(1e-9)
    }

    /// Bytes per second over `span`.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a sample stay far below 2^53")]
    pub(crate) fn bytes_per_s(&self, span: Duration) -> f64 {
        self.bytes as f64 / span.as_secs_f64().max(1e-9)
    }
}

/// One run of a load.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// From 1.
    pub(crate) run: usize,
    /// Of the whole run.
    pub(crate) latency: Vec<(Role, Latency)>,
    pub(crate) samples: Vec<Sample>,
}

impl Profile {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "run": self.run, "samples": self.samples.iter().map(Sample::to_json).collect::<Vec<_>>() })
    }
}

impl Sample {
    fn to_json(&self) -> Value {
        let loads = self.loads.iter().map(|load| {
            json!({
                "role": load.role.name(),
                "records": load.records,
                "bytes": load.bytes,
                "p50_us": load.latency_us.map(|(p50, _)| p50),
                "p99_us": load.latency_us.map(|(_, p99)| p99),
            })
        });
        json!({
            "at_s": self.at.as_secs_f64(),
            "span_s": self.span.as_secs_f64(),
            "loads": loads.collect::<Vec<_>>(),
            "client_cpu_s": self.client_cpu.as_secs_f64(),
            "server_cpu_s": self.server_cpu.map(|cpu| cpu.as_secs_f64()),
            "server_memory_bytes": self.server_memory_bytes,
        })
    }
}
