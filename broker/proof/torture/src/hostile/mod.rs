//! The hostile network: attacks on a real broker beside honest clients, and what both sides saw of them.
//!
//! One broker for each attack. The honest load is measured before it, beside it and after it, and the broker's process is watched from
//! outside. The attacker is one thread; it shares the machine's processors with the broker and the honest clients, so its own share of
//! them is told.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use self::attacks::{ATTACKS, Attack};
use self::broker::Broker;
use self::field::{Field, Progress};
use self::honest::{Honest, Seen, p99};
use self::watch::{Watched, Window};
use crate::report::Failure;

mod attacks;
mod broker;
mod field;
mod honest;
mod watch;

/// How long an attack may take to get into place.
const PLACING: Duration = Duration::from_secs(60);

/// How long what an attack took may take to come back.
const RECOVERY: Duration = Duration::from_secs(30);

/// Before the first look: caches fill, connections are made.
const WARM_UP: Duration = Duration::from_millis(300);

/// What may be left of an attack's memory: an allocator gives back what it likes.
const MEMORY_LEFT_BYTES_MAX: u64 = 96 << 20;

/// Descriptors that may be open more after the attack than before it: new segments, a connection made anew.
const DESCRIPTORS_LEFT_MAX: usize = 40;

/// What an attack may write into the broker's log.
const LOG_BYTES_PER_SECOND_MAX: u64 = 32 << 10;

/// The most times that an honest p99 may grow.
const P99_GROWTH_MAX: f64 = 2.0;

/// Descriptors for ten thousand connections on both sides, and some.
const OPEN_FILES: u64 = 65_536;

/// Attacks a real broker from the network, beside honest clients.
///
/// Each attack has a broker of its own. Four honest producers (200 records of 1 KB a second on a clock) and two consumers are measured
/// before, beside and after the attack; the broker's memory, descriptors, CPU and log are read from /proc.
///
/// Fails when the broker's memory passes its bound or does not come back, when descriptors stay open, when the log is flooded, when an
/// honest request fails, or when the broker ends. The growth of the honest p99 is told and judged only with --strict: attacker and
/// honest clients share the processors with the broker.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Hostile {
    /// Where the binary `ringmill` is.
    #[arg(value_name = "BINARY_DIR", default_value = "target/release")]
    binaries: PathBuf,
    /// Seconds for all attacks together, besides getting into place: a third before, a third during, a third after.
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    seconds: f64,
    /// Only the attacks of these names (may be given again); `list` shows them.
    #[arg(long, value_name = "NAME")]
    attack: Vec<String>,
    /// Connections of the attacks by numbers.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    connections: usize,
    /// Where the brokers' data lies while they run.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    place: PathBuf,
    /// Fails when an honest p99 more than doubles, against the better of before and after the attack.
    #[arg(long)]
    strict: bool,
}

impl Hostile {
    /// Runs the attacks.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.attack.iter().any(|name| name == "list") {
            ATTACKS.iter().for_each(|attack| println!("{:<16} {}", attack.name, attack.what));
            return Ok(());
        }
        if let Some(unknown) = self.attack.iter().find(|name| ATTACKS.iter().all(|attack| attack.name != **name)) {
            return Err(Failure::NotPossible(format!("there is no attack {unknown:?}; --attack list shows them")));
        }
        let open_files = raise_open_files_limit();
        let is_chosen = |attack: &&Attack| self.attack.is_empty() || self.attack.iter().any(|name| name == attack.name);
        let chosen: Vec<&Attack> = ATTACKS.iter().filter(is_chosen).collect();
        #[expect(clippy::cast_precision_loss, reason = "a few dozen attacks")]
        let window = Duration::from_secs_f64(self.seconds / 3.0 / chosen.len().max(1) as f64);
        println!("{CAPTION}\n\n{HEADING}");
        let (mut violations, mut doubled) = (0, 0);
        for attack in &chosen {
            let found = measure(self, attack, window, open_files);
            let found = found.map_err(|error| Failure::NotPossible(format!("{}: {error}", attack.name)))?;
            println!("{}", found.row(attack));
            for violation in found.violations(attack) {
                violations += 1;
                println!("  VIOLATION: {violation}; again: --attack {}", attack.name);
            }
            doubled += usize::from(found.p99_growth() > P99_GROWTH_MAX && !attack.is_control);
        }
        let attacks = chosen.iter().filter(|attack| !attack.is_control).count();
        let held = attacks - doubled;
        println!(
            "hostile: {attacks} attacks, {violations} violations, the honest p99 at most doubled in {held} of {attacks}"
        );
        if violations > 0 || (doubled > 0 && self.strict) {
            return Err(Failure::Broken("hostile: FAILED".to_owned()));
        }
        Ok(())
    }
}

/// Takes what is needed, or what the system allows.
fn raise_open_files_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let wished = OPEN_FILES.max(hard.min(1 << 20));
    for files in [wished, hard] {
        if setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).is_ok() {
            if files < OPEN_FILES {
                eprintln!("note: only {files} open files are allowed here, so there are fewer connections (ulimit -n)");
            }
            return files;
        }
    }
    limit.current.unwrap_or(u64::MAX)
}

/// What one window showed.
#[derive(Debug)]
struct Look {
    seen: Seen,
    produce_p99: Duration,
    delivery_p99: Duration,
    broker: Window,
}

/// What an attack showed.
struct Found {
    before: Look,
    during: Look,
    after: Look,
    length: Duration,
    done: u64,
    cut: u64,
    refused: u64,
    attacker_cpu_percent: u64,
    came_back_after: Option<Duration>,
}

fn look(honest: &Honest, watched: &Watched, length: Duration) -> Result<Look, String> {
    drop(honest.take());
    let broker = watched.window(length)?;
    let mut seen = honest.take();
    let (produce_p99, delivery_p99) = (p99(&mut seen.produce), p99(&mut seen.delivery));
    Ok(Look { seen, produce_p99, delivery_p99, broker })
}

fn measure(options: &Hostile, attack: &Attack, length: Duration, open_files: u64) -> Result<Found, String> {
    let broker = Broker::start(&options.binaries.join("ringmill"), &options.place, attack, open_files)?;
    let found = measure_on(&broker, options, attack, length);
    found.map_err(|error| format!("{error}\n--- the broker's last words\n{}", broker.last_words()))
}

fn measure_on(broker: &Broker, options: &Hostile, attack: &Attack, length: Duration) -> Result<Found, String> {
    let watched = broker.watched();
    let honest = Honest::start(&broker.address.to_string())?;
    std::thread::sleep(WARM_UP);
    let before = look(&honest, &watched, length)?;
    let rest = (before.broker.memory_bytes, before.broker.descriptors);

    let progress = Arc::new(Progress::default());
    let attacker = Attacker::start(broker, options.connections, attack, &progress)?;
    let placing = Instant::now();
    while !progress.is_under_way() && placing.elapsed() < PLACING {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut during = look(&honest, &watched, length)?;
    progress.end();
    // Some attacks cost the most when they are called off.
    let calling_off = look(&honest, &watched, Duration::from_millis(100))?;
    during.broker.memory_bytes = during.broker.memory_bytes.max(calling_off.broker.memory_bytes);

    let came_back_after = await_rest(&watched, rest)?;
    let Done { done, cut, refused, cpu } = attacker.join(&progress)?;
    let after = look(&honest, &watched, length)?;
    honest.stop()?;
    let attacker_cpu_percent = u64::try_from(cpu.as_millis() * 100 / placing.elapsed().as_millis().max(1));
    Ok(Found {
        before,
        during,
        after,
        length,
        done,
        cut,
        refused,
        attacker_cpu_percent: attacker_cpu_percent.unwrap_or(u64::MAX),
        came_back_after,
    })
}

/// Waits until memory and descriptors are nearly what they were; tells how long it took.
fn await_rest(watched: &Watched, (memory_bytes, descriptors): (u64, usize)) -> Result<Option<Duration>, String> {
    let began = Instant::now();
    while began.elapsed() < RECOVERY {
        if watched.memory_bytes()? <= memory_bytes + MEMORY_LEFT_BYTES_MAX
            && watched.descriptors()? <= descriptors + DESCRIPTORS_LEFT_MAX
        {
            return Ok(Some(began.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

/// What the attacker counted.
struct Done {
    done: u64,
    cut: u64,
    refused: u64,
    cpu: Duration,
}

/// The attack's thread.
struct Attacker(std::thread::JoinHandle<Done>);

impl Attacker {
    fn start(
        broker: &Broker,
        connections: usize,
        attack: &Attack,
        progress: &Arc<Progress>,
    ) -> Result<Attacker, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let (address, run, progress) = (broker.address, attack.run, Arc::clone(progress));
        let thread = std::thread::spawn(move || {
            let field = Rc::new(Field::new(address, connections, Arc::clone(&progress)));
            tokio::task::LocalSet::new().block_on(&runtime, run(Rc::clone(&field)));
            let cpu = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
            // What the attack keeps stays open until everything else is back.
            field.until_released();
            Done { done: field.done.get(), cut: field.cut.get(), refused: field.refused.get(), cpu }
        });
        Ok(Attacker(thread))
    }

    fn join(self, progress: &Progress) -> Result<Done, String> {
        progress.release();
        self.0.join().map_err(|_| "the attacker panicked".to_owned())
    }
}

const CAPTION: &str = "An honest p99 has doubled when it is, during the attack, more than twice the better of those before and after it, \
for produces or for deliveries.";

const HEADING: &str = "\
| attack | honest p99 of produces, ms: before / during / after | of deliveries | broker's memory, MiB: before / peak / after \
| descriptors | CPU, %: broker / attacker | log, KB | back after | the attacker | honest failures |\n\
|---|---|---|---|---|---|---|---|---|---|";

impl Found {
    fn row(&self, attack: &Attack) -> String {
        let looks = [&self.before, &self.during, &self.after];
        let three = |show: &dyn Fn(&Look) -> String| looks.map(show).join(" / ");
        let ms = |latency: Duration| format!("{:.1}", latency.as_secs_f64() * 1e3);
        let back = self.came_back_after.map_or("not".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        format!(
            "| {}: {} | {} | {} | {} | {} | {} / {} | {} | {back} | did {}, was refused {}, was cut {} | {} |",
            attack.name,
            attack.what,
            three(&|look| ms(look.produce_p99)),
            three(&|look| ms(look.delivery_p99)),
            three(&|look| (look.broker.memory_bytes >> 20).to_string()),
            three(&|look| look.broker.descriptors.to_string()),
            self.during.broker.cpu_percent,
            self.attacker_cpu_percent,
            self.during.broker.log_bytes >> 10,
            self.done,
            self.refused,
            self.cut,
            self.during.seen.failures + self.after.seen.failures,
        )
    }

    /// How many times the honest p99 has grown, produces or deliveries, against the better of before and after: neither a slow start nor
    /// what lingers of an attack excuses it.
    fn p99_growth(&self) -> f64 {
        let growth = |of: &dyn Fn(&Look) -> Duration| {
            // Zero where there was no answer at all: nothing to compare with, or, during the attack, the worst that can be.
            let quiet = [&self.before, &self.after].map(of).into_iter().filter(|p99| !p99.is_zero()).min();
            match (of(&self.during), quiet) {
                (Duration::ZERO, _) | (_, None) => f64::INFINITY,
                (during, Some(quiet)) => during.as_secs_f64() / quiet.as_secs_f64(),
            }
        };
        growth(&|look| look.produce_p99).max(growth(&|look| look.delivery_p99))
    }

    fn violations(&self, attack: &Attack) -> Vec<String> {
        let mut violations = Vec::new();
        let peak_bytes = self.during.broker.memory_bytes;
        if peak_bytes > attack.memory_bytes_max {
            let allowed = attack.memory_bytes_max >> 20;
            violations.push(format!("{} MiB of memory, {allowed} are allowed", peak_bytes >> 20));
        }
        if attack.is_refused && self.refused == 0 {
            violations.push(format!("nothing was refused: its limit was not met with {} requests", self.done));
        }
        if self.came_back_after.is_none() && !attack.stays {
            violations.push(format!("memory or descriptors did not come back within {} s", RECOVERY.as_secs()));
        }
        let log_bytes_max = LOG_BYTES_PER_SECOND_MAX * (1 + self.length.as_secs());
        if self.during.broker.log_bytes > log_bytes_max {
            violations.push(format!(
                "{} KB of log, {} are allowed",
                self.during.broker.log_bytes >> 10,
                log_bytes_max >> 10
            ));
        }
        for look in [&self.before, &self.during, &self.after] {
            if let Some(failure) = &look.seen.first_failure {
                violations.push(format!("{} honest requests failed, the first: {failure}", look.seen.failures));
            }
        }
        if self.during.seen.produce.is_empty() && self.after.seen.produce.is_empty() {
            violations.push("no honest produce was answered".to_owned());
        }
        violations
    }
}
