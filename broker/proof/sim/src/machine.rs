//! The machine and the broker on it: what outlives a crash, and what dies by it.
//!
//! A [`Machine`] outlives its broker: [`Machine::boot`] starts one inside the caller's `LocalSet`, and dropping that set after a crash of
//! the simulated disk is the death of the process. It judges nothing; runs, tests and fuzz targets drive it.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ringmill::config::BrokerConfig;
use ringmill::core::hosting::CoreId;
use ringmill::core::mailbox::{Closed, MAILBOX_MESSAGES_MAX, Message};
use ringmill::core::run::Serving;
use ringmill::core::{Core, Shared};
use ringmill::metadata::{Metadata, Options};
use ringmill::startup;
use ringmill_engine::clock::Clock;
use ringmill_engine::data_dir::{DataDir, Fresh};
use ringmill_engine::disk::{Disk, Simulation};
use ringmill_net::transport::memory::{self, MemoryStream};
use ringmill_net::{Budget, Connections, Limits};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::random::Random;

/// Where the broker of every machine keeps its data.
pub const DATA_DIR: &str = "/data";

/// Cores of every broker: two, so that requests cross from one to the other.
pub const CORES: usize = 2;

/// A simulated device completes what it completes at these moments.
const DEVICE_TICK: Duration = Duration::from_millis(1);

/// The time of day at which a machine is made, milliseconds since 1970.
const BEGINNING_MS: i64 = 1_800_000_000_000;

/// Shows a time of day that goes with tokio's paused clock, and jumps when it is told to.
struct SimClock {
    made: Instant,
    made_ms: AtomicI64,
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.made.elapsed().as_millis()).expect("a run takes seconds");
        self.made_ms.load(Ordering::Relaxed) + elapsed_ms
    }
}

/// What survives a crash: the disk, the time of day and the seed.
pub struct Machine {
    /// The disk and what goes wrong on it.
    pub simulation: Simulation,
    /// While set, no device completes anything.
    pub stalled: Rc<Cell<bool>>,
    /// Where every later choice of the run comes from.
    pub random: Random,
    /// What the next boot is configured with, beside the data directory and the cores: names as in `--set`.
    pub settings: RefCell<Vec<(&'static str, String)>>,
    clock: Arc<SimClock>,
}

/// Why a broker did not start.
#[derive(Debug)]
pub struct NotBooted(pub String);

/// A broker that runs.
pub struct Running {
    shared: Arc<Shared>,
    servings: Vec<Rc<Serving>>,
    data_dir: RefCell<Option<DataDir>>,
    disk: Rc<dyn Disk>,
    /// The memory of requests that are being read or not yet answered.
    pub budget: Budget,
    connections: Cell<usize>,
}

impl Machine {
    /// A machine with an empty data directory, made while nothing goes wrong. To be called inside a `LocalSet` of a runtime whose time
    /// is paused.
    ///
    /// # Panics
    /// When the simulation was given faults already.
    pub async fn new(seed: u64, simulation: Simulation) -> Machine {
        let clock = Arc::new(SimClock { made: Instant::now(), made_ms: AtomicI64::new(BEGINNING_MS) });
        let (stalled, random, settings) = (Rc::default(), Random::new(seed), RefCell::default());
        let machine = Machine { simulation, stalled, random, settings, clock };
        let disk = machine.disk();
        disk.create_dir(Path::new(DATA_DIR)).await.expect("a fresh machine has an empty root");
        disk.sync_dir(Path::new("/")).await.expect("no faults yet");
        machine
    }

    /// The time of day, milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lets the time of day jump, forward or backward; timers do not see it.
    pub fn jump_ms(&self, by_ms: i64) {
        self.clock.made_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Starts a broker; it serves when this returns. Its tasks belong to the `LocalSet` in which this is called.
    ///
    /// # Errors
    /// When the disk fails or the metadata does not open.
    ///
    /// # Panics
    /// When [`Machine::settings`] are no good.
    pub async fn boot(&self) -> Result<Running, NotBooted> {
        let dir = Path::new(DATA_DIR);
        // The last process's lock is held until its last write has landed.
        self.simulation.finish_late_writes();
        let disk = self.disk();
        let config = self.config();
        let fresh = Fresh { cluster_id: [1; 16], directory_id: [2; 16] };
        let failed = |what: &'static str| move |error: &dyn std::fmt::Display| NotBooted(format!("{what}: {error}"));
        let data_dir = DataDir::open(&*disk, dir, config.node_id, fresh).await;
        let data_dir = data_dir.map_err(|error| failed("the data directory")(&error))?;
        let clean = data_dir.last_stop_was_clean();
        let metadata = self.open_metadata(&*disk, &config).map_err(|error| failed("the metadata")(&error))?;
        let image = metadata.image();
        let plan = startup::plan(&*disk, dir, &image, CORES, clean).await;
        let plan = plan.map_err(|error| failed("tidying the data directory")(&error))?;
        metadata.finish_deletions(Vec::from_iter(image.unfinished_deletions().iter().copied())).await;
        let (mailboxes, receivers): (Vec<_>, Vec<_>) = (0..CORES).map(|_| mpsc::channel(MAILBOX_MESSAGES_MAX)).unzip();
        let budget = Budget::new(config.request_memory_bytes);
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let shared = Shared::new(config, metadata, clock, mailboxes);
        let mut servings = Vec::new();
        for ((index, wanted), mailbox) in plan.into_iter().enumerate().zip(receivers) {
            let core = Core::new(CoreId(index), Arc::clone(&shared), self.disk());
            core.load(wanted).await;
            let connections = Connections::new(Limits::default(), budget.clone());
            let serving = Serving::new(Rc::clone(&core), connections);
            servings.push(Rc::clone(&serving));
            spawn_local(core.run(mailbox, serving, |_, _| unreachable!("there is no socket")));
        }
        Ok(Running {
            shared,
            servings,
            data_dir: RefCell::new(Some(data_dir)),
            disk,
            budget,
            connections: Cell::new(0),
        })
    }

    fn config(&self) -> BrokerConfig {
        let settings = self.settings.borrow();
        let given = settings.iter().map(|(name, value)| (*name, value.as_str()));
        // The usual reserve would be written and moved about in every run.
        let fixed = [
            ("broker.log.dirs", DATA_DIR),
            ("ringmill.cores", "2"),
            ("ringmill.disk.reserve.bytes", "65536"),
            // A clock that jumps back must not let what was made before it jumped look like a producer's mistake.
            ("topic.message.timestamp.after.max.ms", "9223372036854775807"),
        ];
        BrokerConfig::from_settings(&Vec::from_iter(fixed.into_iter().chain(given))).expect("the settings are good")
    }

    /// A disk of the process that runs now, and somebody who takes its completions.
    fn disk(&self) -> Rc<dyn Disk> {
        let disk: Rc<dyn Disk> = Rc::new(self.simulation.disk());
        let (reaped, simulation, clock) = (Rc::clone(&disk), self.simulation.clone(), Arc::clone(&self.clock));
        let stalled = Rc::clone(&self.stalled);
        spawn_local(async move {
            loop {
                sleep(DEVICE_TICK).await;
                simulation.set_now_ms(clock.now_ms());
                if reaped.in_flight() > 0 && !stalled.get() {
                    reaped.reap();
                }
            }
        });
        disk
    }

    fn open_metadata(&self, disk: &dyn Disk, config: &BrokerConfig) -> Result<Metadata, ringmill::metadata::OpenError> {
        let ids = Random::new(self.random.next());
        let new_topic_id = Box::new(move || u128::from(ids.next()).to_be_bytes());
        let cluster_id = "simulated".to_owned();
        let options = Options { cluster_id, started: config.clone(), new_topic_id };
        let path = Path::new(DATA_DIR).join("metadata.redb");
        Metadata::open_simulated(&self.simulation, disk, &path, options)
    }
}

impl Running {
    /// A client on a new connection, served by one core after the other. `seed` decides its delays and the sizes that arrive.
    pub fn connect(&self, seed: u64) -> Client {
        let options = memory::Options { seed, delay_max: Duration::from_millis(2), ..memory::Options::default() };
        Client::new(self.open(options))
    }

    /// The client's end of a new connection that misbehaves as `options` say.
    pub fn open(&self, options: memory::Options) -> MemoryStream {
        let number = self.connections.get();
        self.connections.set(number + 1);
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        let (ours, theirs): (MemoryStream, MemoryStream) = memory::connection(address(40_000), address(9092), options);
        self.servings[number % self.servings.len()].serve(theirs, ());
        ours
    }

    /// Resolves with the reason when the metadata has failed and the broker has to stop; else never.
    pub async fn failed(&self) -> String {
        self.shared.metadata.failed().await
    }

    /// Stops in order, as SIGTERM does; true if the stop was clean.
    ///
    /// # Panics
    /// When a core has ended, or when it is called twice.
    pub async fn stop(&self) -> bool {
        for answer in self.tell_all(Message::Drain).await {
            answer.await.expect("the core drains");
        }
        let _no_more = self.shared.topic_changes.lock().await;
        let mut clean = true;
        for answer in self.tell_all(Message::Close).await {
            let closed: Closed = answer.await.expect("the core closes");
            clean &= closed.clean;
        }
        self.shared.metadata.close().await;
        let data_dir = self.data_dir.take().expect("a broker is stopped once");
        clean && data_dir.mark_clean(&*self.disk).await.is_ok()
    }

    async fn tell_all<T>(&self, message: impl Fn(oneshot::Sender<T>) -> Message) -> Vec<oneshot::Receiver<T>> {
        let mut answers = Vec::new();
        for mailbox in &self.shared.mailboxes {
            let (answer, answered) = oneshot::channel();
            assert!(mailbox.send(message(answer)).await.is_ok(), "a core has ended");
            answers.push(answered);
        }
        answers
    }
}
