//! The lives of a broker on one file system: each begins on what the last cut has left, and ends with the next one.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use ringmill_checker::Event;
use tokio::time::sleep;

use super::evidence::LogEnds;
use super::rig::Rig;
use super::shutdown::Shutdown;
use crate::broker::{Broker, Launch};
use crate::disk::control::{Order, number_of};
use crate::disk::regime::Regime;
use crate::random::Random;
use crate::report::Failure;
use crate::workload::{CLEANER_BACKOFF, Depth, DiskState, GROUP_SETTINGS, Ledger, World};

/// The longest life after the looking around.
const LIFE_MS_MAX: u64 = 60;

/// How long a stop may take that is asked for.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// The longest that a broker lives on after its disk has died under it.
const LINGER_MS_MAX: u64 = 30;

/// How often it is looked at what a cut has taken: reading all logs takes a while.
const LOOKED_AT_ONCE_IN: u64 = 4;

/// What a broker says, and how it is counted.
const SAYINGS: [(&str, &str); 9] = [
    ("a torn tail was set aside and cut", "torn tails recovered"),
    ("partition sealed", "partitions sealed"),
    ("there is space again: partition reopened", "partitions reopened"),
    ("the partition stays sealed", "reopenings that failed"),
    ("derived files were put right", "indexes rebuilt"),
    ("quarantined: the partition is not served and no byte of it is changed", "partitions quarantined"),
    ("the metadata database does not open after a failed write", "metadata failures"),
    ("compacted", "compactions"),
    ("a compacted segment gets its place", "swaps completed at a start"),
];

/// How a file system's story goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With another life.
    Life,
    /// It was damaged beyond use, as a disk that lies, or fails, may do.
    NewFileSystem,
}

/// One file system, and who lives on it.
pub(super) struct Lives {
    switch: Switch,
    launch: Launch,
    world: World,
    ledger: Ledger,
    random: Random,
    /// Whether this disk lies about flushes, all its life.
    lies: bool,
    /// How long starts take here, about.
    start_ms: u64,
}

/// What ends a life.
struct Switch {
    rig: Rig,
    random: Random,
    /// How the disk behaves in this life.
    regime: Regime,
    data_dir: PathBuf,
    /// Where the logs ended when the power went, in the lives in which that is looked at.
    ends: Option<LogEnds>,
}

/// How a life ended.
enum End {
    Cut,
    Stopped,
    /// By itself, which only a failing disk excuses.
    ByItself(ExitStatus),
}

impl Lives {
    /// A fresh file system in `dir`, mounted.
    pub(super) fn begin(
        mut rig: Rig,
        binary: PathBuf,
        dir: &Path,
        words: String,
        mut random: Random,
    ) -> Result<Lives, Failure> {
        rig.mount()?;
        let ledger = Ledger::begin(&dir.join("history.jsonl"), format!("{words}, {}", rig.describe()))?;
        let io = if random.once_in(4) { "posix" } else { "uring" };
        let launch = Launch {
            binary,
            data_dir: rig.path().join("data"),
            log: dir.join("broker.log"),
            io: io.to_owned(),
            cores: 2,
            settings: ["ringmill.unsynced.bytes.max=2097152", CLEANER_BACKOFF]
                .into_iter()
                .chain(GROUP_SETTINGS)
                .map(str::to_owned)
                .collect(),
        };
        let lies = rig.is_torn() && random.once_in(4);
        let world = World::new(ledger.clone(), random.branch());
        let switch = Switch {
            rig,
            random: random.branch(),
            regime: Regime::Sound,
            data_dir: launch.data_dir.clone(),
            ends: None,
        };
        Ok(Lives { switch, launch, world, ledger, random, lies, start_ms: 50 })
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.launch.data_dir
    }

    /// From a start to the next mount.
    pub(super) async fn cycle(&mut self, depth: Depth) -> Result<Next, Failure> {
        self.switch.regime =
            if self.switch.rig.is_torn() { Regime::by_chance(self.lies, &mut self.random) } else { Regime::Sound };
        if self.switch.regime.fails_at_start() {
            self.fail_from_now_on()?;
        } else {
            self.switch.rig.tell(Order::Faults(Regime::at_peace(self.lies, &mut self.random)))?;
        }
        let mut broker = self.launch.start()?;
        let end = match self.begin_life(&mut broker, depth).await? {
            Some(end) => end,
            None => return self.refused_start(&mut broker).await,
        };
        self.account(&broker, &end)?;
        self.put_down(&end)?;
        self.next_mount()
    }

    /// Starts, looks around, lives, and ends. `None` if the broker did not get ready.
    async fn begin_life(&mut self, broker: &mut Broker, depth: Depth) -> Result<Option<End>, Failure> {
        let begun = Instant::now();
        let early = match (depth, self.random.below(6)) {
            (Depth::New, 0) => Duration::from_millis(self.random.below(self.start_ms * 5 / 4)),
            _ => Duration::MAX,
        };
        let ready = tokio::select! {
            biased;
            ready = broker.ready() => ready,
            () = sleep(early) => {
                self.ledger.count("cuts during the start", 1);
                return self.switch.cut(broker).await.map(Some);
            }
        };
        let Some(address) = ready else { return Ok(None) };
        self.start_ms = (self.start_ms * 7 + elapsed_ms(begun)) / 8;
        // Other disks that fail do so only when all this is over.
        let fails = self.switch.regime.fails_at_start();
        let disk = if fails || self.lies { DiskState::Failing } else { DiskState::Sound };
        if let Err(error) = self.world.boot(address, depth, disk).await {
            self.ledger.check()?;
            if !fails {
                return Err(broken(&format!("what was left cannot be looked at: {error}"), broker));
            }
            return self.switch.cut(broker).await.map(Some);
        }
        self.ledger.check()?;
        if self.switch.regime.fails_while_serving() {
            self.fail_from_now_on()?;
        }
        let life = Duration::from_millis(1 + self.random.below(LIFE_MS_MAX));
        let stops = !self.switch.regime.is_failing() && !self.lies && self.random.once_in(12);
        let (switch, lies) = (&mut self.switch, self.lies);
        let end = self.world.live(address, async {
            sleep(life).await;
            if stops {
                return stop(broker).await;
            }
            if switch.regime.recovers() {
                // The disk is well again: a partition that ran out of space comes back by itself, after a second.
                switch.rig.tell(Order::Faults(Regime::at_peace(lies, &mut switch.random)))?;
                sleep(Duration::from_millis(1_000 + switch.random.below(600))).await;
            }
            switch.cut(broker).await
        });
        end.await.map(Some)
    }

    /// The disk begins to fail.
    fn fail_from_now_on(&mut self) -> Result<(), Failure> {
        self.ledger.put(Event::Faults { on: true });
        self.switch.rig.tell(Order::Faults(self.switch.regime.faults(self.lies, &mut self.random)))?;
        Ok(())
    }

    /// A start that did not succeed: excused where the disk fails or has lied, as long as the broker says why.
    async fn refused_start(&mut self, broker: &mut Broker) -> Result<Next, Failure> {
        let status = match broker.kill().await {
            Err(status) => status,
            Ok(()) => return Err(broken("the broker neither got ready nor gave up", broker)),
        };
        let said = broker.said();
        if said.panics > 0 || !(self.switch.regime.is_failing() || self.lies) {
            return Err(broken(&format!("the broker did not start: {status}"), broker));
        }
        if said.last_words.is_empty() {
            return Err(broken(&format!("the broker did not start and did not say why: {status}"), broker));
        }
        self.account(broker, &End::ByItself(status))?;
        self.ledger.count("starts refused with a reason", 1);
        if !self.switch.regime.is_failing() {
            // What is damaged stays damaged.
            return Ok(Next::NewFileSystem);
        }
        self.switch.rig.cut(Shutdown::NothingFlushed)?;
        self.put_down(&End::Cut)?;
        self.next_mount()
    }

    /// What the broker has said in this life, and whether it may have said it.
    fn account(&self, broker: &Broker, end: &End) -> Result<(), Failure> {
        let said = broker.said();
        for (message, what) in SAYINGS {
            self.count(what, said.messages.get(message).copied().unwrap_or(0));
        }
        if said.panics > 0 {
            return Err(broken("the broker panicked", broker));
        }
        let excused = self.switch.regime.is_failing() || self.lies;
        if !excused && !said.alarms.is_empty() {
            return Err(broken("the broker complained about a disk that was well", broker));
        }
        match end {
            End::ByItself(status) if !excused => Err(broken(&format!("the broker ended by itself: {status}"), broker)),
            End::ByItself(status) if status.code().is_none() => {
                Err(broken(&format!("the broker died: {status}"), broker))
            }
            End::ByItself(_) => {
                self.ledger.count("brokers that stopped themselves", 1);
                Ok(())
            }
            End::Cut | End::Stopped => Ok(()),
        }
    }

    /// Writes the end down, with what the disk has to say.
    fn put_down(&mut self, end: &End) -> Result<(), Failure> {
        let told = self.switch.rig.restore()?;
        for (name, what) in [
            ("lost", "sectors lost"),
            ("torn", "blocks torn"),
            ("writes_failed", "writes failed"),
            ("flushes_failed", "flushes failed"),
            ("flushes_lied", "flushes lied about"),
        ] {
            self.count(what, number_of(&told, name));
        }
        if self.switch.regime.is_failing() {
            self.ledger.put(Event::Faults { on: false });
        }
        let (event, what) = match end {
            End::Stopped => (Event::Stopped, "clean stops"),
            End::Cut | End::ByItself(_) if self.lies => (Event::LyingCut, "cuts of a lying disk"),
            End::Cut | End::ByItself(_) => (Event::PowerCut, "power cuts"),
        };
        self.ledger.put(event);
        self.ledger.count(what, 1);
        self.ledger.check()
    }

    /// What never happened does not lengthen the summary.
    fn count(&self, what: &'static str, count: u64) {
        if count > 0 {
            self.ledger.count(what, count);
        }
    }

    fn next_mount(&mut self) -> Result<Next, Failure> {
        match self.switch.rig.mount() {
            Ok(()) => {
                if let Some(ends) = self.switch.ends.take() {
                    let (logs, bytes) = ends.lost(&LogEnds::of(&self.launch.data_dir));
                    self.count("logs that lost their end", logs);
                    self.count("unsynced bytes lost", bytes);
                }
                Ok(Next::Life)
            }
            Err(_) if self.lies || self.switch.regime.is_failing() => {
                self.ledger.count("file systems lost to their disk", 1);
                Ok(Next::NewFileSystem)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Switch {
    /// Cuts the power and ends the broker.
    async fn cut(&mut self, broker: &mut Broker) -> Result<End, Failure> {
        let mut how = Shutdown::NothingFlushed;
        if self.regime.lingers() {
            self.rig.tell(Order::Die)?;
            sleep(Duration::from_millis(self.random.below(LINGER_MS_MAX))).await;
        } else {
            broker.freeze().map_err(Failure::not_possible("stopping the broker's threads"))?;
            if let Some(status) = broker.has_ended() {
                self.rig.cut(how)?;
                return Ok(End::ByItself(status));
            }
            self.ends = self.random.once_in(LOOKED_AT_ONCE_IN).then(|| LogEnds::of(&self.data_dir));
            how = match self.random.below(10) {
                0 => Shutdown::Frozen,
                1 => Shutdown::JournalFlushed,
                _ => Shutdown::NothingFlushed,
            };
        }
        self.rig.cut(how)?;
        Ok(match broker.kill().await {
            Err(status) if self.regime.lingers() => End::ByItself(status),
            // Frozen in the middle of its last step, it may still have seen its disk go: that is the cut.
            _ => End::Cut,
        })
    }
}

/// Asks the broker to stop and waits for it.
async fn stop(broker: &mut Broker) -> Result<End, Failure> {
    broker.ask_to_stop();
    match broker.ended(STOP_PATIENCE).await {
        Some(status) if status.success() => Ok(End::Stopped),
        Some(status) => Err(broken(&format!("its stop ended with {status}"), broker)),
        None => Err(broken("it did not stop", broker)),
    }
}

fn broken(words: &str, broker: &Broker) -> Failure {
    Failure::Broken(format!("{words}\n{}", broker.said().complaints()))
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
