//! Turns what the runs of a load measured into a report: a case for each role and, where there are several, one for all together.

use std::time::Duration;

use crate::cli::LoadOptions;
use crate::latency::Latency;
use crate::limits;
use crate::profile::{Profile, Role};
use crate::report::{Case, Metric, Report, Run, Unit, cpu_per_gb, rate};

use super::sampling::Tally;
use super::session::Measured;

/// Above this share of its threads' or the machine's time the load generator itself may be what is measured.
const BUSY_PERCENT_MAX: f64 = 90.0;

/// The machine's own limits, measured right before a run: what each role's rate is compared with.
#[derive(Debug, Default)]
pub(super) struct RunLimits {
    write: Option<Run>,
    read: Option<Run>,
    append_sync: Option<Run>,
}

impl RunLimits {
    /// Measures what the roles need, if the options ask for it. Where batches leave by the clock, their latency has a limit, too: that of a
    /// bare append of such a batch.
    pub(super) fn measure(
        load: &LoadOptions,
        roles: &[Role],
        paced_batch_bytes: Option<usize>,
    ) -> Result<RunLimits, String> {
        let Some(dir) = &load.limit else { return Ok(RunLimits::default()) };
        let produces = roles.contains(&Role::Produce);
        let write = produces.then(|| limits::direct_write(dir)).transpose()?;
        let append_sync =
            paced_batch_bytes.filter(|_| produces).map(|bytes| limits::append_sync(dir, bytes)).transpose()?;
        let reads = roles.iter().any(|role| *role != Role::Produce);
        Ok(RunLimits { write, append_sync, read: reads.then(|| limits::bare_sendfile(dir)).transpose()? })
    }

    /// A latency of the role's beside what a bare append and sync took at the same quantile.
    fn beside_append_sync(&self, role: Role, latency: &Latency) -> Run {
        let named = |name: &str| self.append_sync.as_ref()?.iter().find(|metric| metric.key == name);
        let Some(bare) = named("p50_us").filter(|_| role == Role::Produce && !latency.is_empty()) else {
            return Run::new();
        };
        let share = 100.0 * latency.micros_at(0.5) / bare.value;
        vec![
            Metric { key: "append_sync_p50_us", unit: Unit::Micros, value: bare.value },
            Metric { key: "p50_to_append_sync_percent", unit: Unit::Percent, value: share },
        ]
    }

    /// Bytes per second. The rate is the first metric of every limit.
    fn of(&self, role: Role) -> Option<f64> {
        let run = if role == Role::Produce { &self.write } else { &self.read };
        run.as_ref()?.first().map(|metric| metric.value)
    }
}

/// All runs of a load so far.
#[derive(Debug)]
pub(super) struct Outcome {
    command: &'static str,
    threads: u32,
    cases: Vec<Case>,
    profiles: Vec<Profile>,
    busiest_percent: f64,
}

impl Outcome {
    /// `threads`: how many of them work at once.
    pub(super) fn new(command: &'static str, threads: u32) -> Outcome {
        Outcome { command, threads, cases: Vec::new(), profiles: Vec::new(), busiest_percent: 0.0 }
    }

    /// Takes a run in.
    pub(super) fn add(&mut self, measured: Measured, limits: &RunLimits) {
        let alone = measured.collected.loads.len() == 1;
        for (role, tally) in &measured.collected.loads {
            let mut run = speed(tally, measured.elapsed, limits.of(*role));
            run.extend(limits.beside_append_sync(*role, &tally.latency));
            if alone {
                run.extend(cost(&measured));
            }
            run.push(Metric { key: "records_total", unit: Unit::Records, value: as_f64(tally.records) });
            run.push(elapsed(&measured));
            self.case(if alone { self.command } else { role.name() }).runs.push(run);
        }
        if !alone {
            let mut run = vec![rate(measured.bytes(), measured.elapsed)];
            run.extend(cost(&measured));
            run.push(elapsed(&measured));
            self.case("together").runs.push(run);
        }
        let cores = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        let busy = busy_percent(&measured) / f64::from(self.threads.clamp(1, cores));
        self.busiest_percent = self.busiest_percent.max(busy);
        let latency = measured.collected.loads.into_iter().map(|(role, tally)| (role, tally.latency)).collect();
        self.profiles.push(Profile { run: self.profiles.len() + 1, latency, samples: measured.collected.samples });
    }

    /// All that there is to say.
    pub(super) fn report(self, conditions: Vec<(&'static str, String)>, mut warnings: Vec<String>) -> Report {
        if self.busiest_percent > BUSY_PERCENT_MAX {
            warnings.push(format!(
                "the load generator itself was busy for {:.0} % of its time: it may be what was measured",
                self.busiest_percent
            ));
        }
        Report {
            command: self.command,
            conditions,
            cases: self.cases,
            groups: Vec::new(),
            warnings,
            profiles: self.profiles,
        }
    }

    fn case(&mut self, name: &str) -> &mut Case {
        let at = self.cases.iter().position(|case| case.name == name).unwrap_or_else(|| {
            self.cases.push(Case { name: name.to_owned(), runs: Vec::new() });
            self.cases.len() - 1
        });
        &mut self.cases[at]
    }
}

/// How fast a role was, alone and beside the machine's own limit.
fn speed(tally: &Tally, elapsed: Duration, limit_bytes_per_s: Option<f64>) -> Run {
    let Tally { records, bytes, latency, lateness } = tally;
    let records_per_s = as_f64(*records) / elapsed.as_secs_f64();
    let rate = rate(*bytes, elapsed);
    let mut run = vec![Metric { key: "records_per_s", unit: Unit::RecordsPerSecond, value: records_per_s }, rate];
    if let Some(limit) = limit_bytes_per_s {
        run.push(Metric { key: "limit_bytes_per_s", unit: Unit::BytesPerSecond, value: limit });
        let share = 100.0 * rate.value / limit;
        run.push(Metric { key: "share_of_limit_percent", unit: Unit::Percent, value: share });
    }
    if !latency.is_empty() {
        run.extend(latency.metrics(&[("p50_us", 0.5), ("p99_us", 0.99), ("p99.9_us", 0.999), ("max_us", 1.0)]));
    }
    if let Some(lateness) = lateness.as_ref().filter(|lateness| !lateness.is_empty()) {
        run.extend(lateness.metrics(&[("sent_late_p99_us", 0.99)]));
    }
    run
}

/// What a run took of the machine.
fn cost(measured: &Measured) -> Run {
    let mut run = vec![
        cpu_per_gb("client_cpu_s_per_gb", measured.client_cpu, measured.bytes()),
        Metric { key: "client_busy_percent", unit: Unit::Percent, value: busy_percent(measured) },
    ];
    if let Some(server) = &measured.server {
        run.push(cpu_per_gb("server_cpu_s_per_gb", server.cpu, measured.bytes()));
        let memory = as_f64(server.anonymous_bytes_max);
        run.push(Metric { key: "server_memory_bytes", unit: Unit::Bytes, value: memory });
    }
    run
}

/// The load generator's CPU time as a share of one core's.
fn busy_percent(measured: &Measured) -> f64 {
    100.0 * measured.client_cpu.as_secs_f64() / measured.elapsed.as_secs_f64()
}

fn elapsed(measured: &Measured) -> Metric {
    Metric { key: "elapsed_s", unit: Unit::Seconds, value: measured.elapsed.as_secs_f64() }
}

#[expect(clippy::cast_precision_loss, reason = "records and bytes of a run stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producers_median_stands_beside_a_bare_append_and_sync() {
        let mut latency = Latency::new();
        latency.record(Duration::from_micros(300));
        let bare = vec![Metric { key: "p50_us", unit: Unit::Micros, value: 200.0 }];
        let limits = RunLimits { append_sync: Some(bare), ..RunLimits::default() };
        let run = limits.beside_append_sync(Role::Produce, &latency);
        assert_eq!((run[0].key, run[1].key), ("append_sync_p50_us", "p50_to_append_sync_percent"));
        assert!((run[1].value - 150.0).abs() < 1.0, "{run:?}");
        assert!(limits.beside_append_sync(Role::Consume, &latency).is_empty());
        assert!(RunLimits::default().beside_append_sync(Role::Produce, &latency).is_empty());
    }
}
