//! A whole broker as tasks of one thread, on a simulated disk, with connections in memory and a clock that only jumps.
//!
//! A [`Machine`] outlives its broker: [`Machine::boot`] starts one inside the caller's `LocalSet`, and dropping that set after a crash of
//! the simulated disk is the death of the process. One seed decides everything.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test binary compiles this file and uses its own part"
)]

pub mod client;
pub mod history;
pub mod workload;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
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

use self::client::Client;
use self::history::Random;

const DATA_DIR: &str = "/data";
const CORES: usize = 2;

/// A simulated device completes what it completes at these moments.
const DEVICE_TICK: Duration = Duration::from_millis(1);

/// Shows a time of day that goes with tokio's paused clock.
struct SimClock {
    booted: Instant,
    booted_ms: i64,
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.booted_ms + i64::try_from(self.booted.elapsed().as_millis()).expect("a run takes seconds")
    }
}

/// What survives a crash: the disk, the time of day and the seed.
pub struct Machine {
    pub simulation: Simulation,
    /// While set, no device completes anything.
    pub stalled: Rc<Cell<bool>>,
    pub random: Random,
    clock: Arc<SimClock>,
}

/// A broker that runs.
pub struct Running {
    shared: Arc<Shared>,
    servings: Vec<Rc<Serving>>,
    data_dir: RefCell<Option<DataDir>>,
    disk: Rc<dyn Disk>,
    pub budget: Budget,
    connections: Cell<usize>,
}

impl Machine {
    /// A machine with an initialised, empty data directory, made while nothing goes wrong.
    pub async fn new(seed: u64, simulation: Simulation) -> Machine {
        let clock = Arc::new(SimClock { booted: Instant::now(), booted_ms: 1_800_000_000_000 });
        let machine = Machine { simulation, stalled: Rc::default(), random: Random::new(seed), clock };
        let disk = machine.disk();
        disk.create_dir(Path::new(DATA_DIR)).await.expect("a fresh machine has an empty root");
        disk.sync_dir(Path::new("/")).await.expect("no faults yet");
        machine
    }

    /// Starts a broker; it serves when this returns.
    pub async fn boot(&self) -> Running {
        let dir = Path::new(DATA_DIR);
        let disk = self.disk();
        let settings = [
            ("broker.log.dirs", DATA_DIR),
            ("ringmill.cores", "2"),
            ("topic.segment.bytes", "1048576"),
            ("ringmill.disk.reserve.bytes", "65536"),
        ];
        let config = BrokerConfig::from_settings(&settings).expect("the settings are good");
        let fresh = Fresh { cluster_id: [1; 16], directory_id: [2; 16] };
        let data_dir = DataDir::open(&*disk, dir, config.node_id, fresh).await.expect("the data directory opens");
        let clean = data_dir.last_stop_was_clean();
        let metadata = self.open_metadata(&*disk, &config);
        let image = metadata.image();
        let plan = startup::plan(&*disk, dir, &image, CORES, clean).await.expect("the data directory can be tidied");
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
        Running { shared, servings, data_dir: RefCell::new(Some(data_dir)), disk, budget, connections: Cell::new(0) }
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

    fn open_metadata(&self, disk: &dyn Disk, config: &BrokerConfig) -> Metadata {
        let ids = Random::new(self.random.next());
        let new_topic_id = Box::new(move || u128::from(ids.next()).to_be_bytes());
        let cluster_id = "simulated".to_owned();
        let options = Options { cluster_id, started: config.clone(), new_topic_id };
        let path = Path::new(DATA_DIR).join("metadata.redb");
        Metadata::open_simulated(&self.simulation, disk, &path, options).expect("the metadata opens after every crash")
    }
}

impl Running {
    /// A new connection, served by one core after the other.
    pub fn connect(&self, seed: u64) -> Client {
        let number = self.connections.get();
        self.connections.set(number + 1);
        let options = memory::Options { seed, delay_max: Duration::from_millis(2), ..memory::Options::default() };
        let address = |port: u16| ([127, 0, 0, 1], port).into();
        let (ours, theirs): (MemoryStream, MemoryStream) = memory::connection(address(40_000), address(9092), options);
        self.servings[number % self.servings.len()].serve(theirs, ());
        Client::new(ours)
    }

    /// Stops in order, as SIGTERM does; true if the stop was clean.
    pub async fn stop(&self) -> bool {
        for answer in self.tell_all(Message::Drain).await {
            answer.await.expect("the core drains");
        }
        let mut clean = true;
        for answer in self.tell_all(Message::Close).await {
            let closed: Closed = answer.await.expect("the core closes");
            clean &= closed.clean;
        }
        self.shared.metadata.close().await;
        let data_dir = self.data_dir.take().expect("a broker is stopped once");
        if clean {
            data_dir.mark_clean(&*self.disk).await.expect("the superblock can be written");
        }
        clean
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
