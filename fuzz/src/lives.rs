//! One log over several lives, for the drivers that work on a whole log: opened, worked on, ended in some way, and opened again on what the
//! simulated disk has kept.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use ringmill_engine::checkpoint::CheckpointEntry;
use ringmill_engine::clock::ManualClock;
use ringmill_engine::disk::sim::{SimOptions, Simulation};
use ringmill_engine::disk::{Disk, block_on};
use ringmill_engine::log::{Identity, Log, LogConfig, LogEnv, StartInfo};

use crate::script::Script;

/// Where the log lies.
pub(crate) const DIR: &str = "/t-0";

/// When the first life begins.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// Steps of one input.
pub(crate) const STEPS_MAX: usize = 150;

const ID: Identity = Identity { topic_id: [7; 16], partition: 0 };

/// What outlives a life.
pub(crate) struct Lives {
    pub(crate) simulation: Simulation,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: LogConfig,
    pub(crate) checkpoint: Option<CheckpointEntry>,
    is_created: bool,
    is_clean: bool,
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a stop in order.
    Closed,
    /// The process is gone, and the page cache stays.
    Killed,
    /// What was not synced may be gone.
    PowerCut,
    /// With the input.
    Over,
}

/// What a driver does in each life.
pub(crate) trait Work {
    /// What outlives it.
    fn lives(&mut self) -> &mut Lives;
    /// Before the log is opened again.
    async fn between(&mut self, disk: &dyn Disk, script: &mut Script<'_>);
    /// What must hold of a log that was just opened.
    async fn check(&mut self, disk: &dyn Disk, log: &Log);
    /// The life itself.
    async fn work(&mut self, disk: &Rc<dyn Disk>, log: &Rc<Log>, script: &mut Script<'_>) -> End;
}

impl Lives {
    /// None yet; `flags` choose how the disk behaves.
    pub(crate) fn new(flags: u8, config: LogConfig) -> Lives {
        let options = if flags & 1 == 1 { SimOptions::busy() } else { SimOptions::default() };
        let simulation = Simulation::new(u64::from(flags), options);
        simulation.set_now_ms(NOW_MS);
        let clock = Arc::new(ManualClock::new(NOW_MS));
        Lives { simulation, clock, config, checkpoint: None, is_created: false, is_clean: false }
    }
}

/// Lives until the script is over.
pub(crate) fn run(world: &mut impl Work, script: &mut Script<'_>) {
    loop {
        let end = live(world, script);
        let lives = world.lives();
        lives.is_clean = end == End::Closed;
        match end {
            End::Closed | End::Killed => lives.simulation.crash_process(),
            End::PowerCut => lives.simulation.crash_power(),
            End::Over => return,
        }
    }
}

fn live(world: &mut impl Work, script: &mut Script<'_>) -> End {
    let disk: Rc<dyn Disk> = Rc::new(world.lives().simulation.disk());
    let env = LogEnv::new(Rc::clone(&disk), Arc::<ManualClock>::clone(&world.lives().clock));
    block_on(&*disk, async {
        let log = open(world, env, &*disk, script).await;
        let work = async {
            world.check(&*disk, &log).await;
            let end = world.work(&disk, &log, script).await;
            if matches!(end, End::Closed | End::Over) {
                world.lives().checkpoint = Some(log.close().await.expect("no write and no sync has failed"));
            }
            end
        };
        // It ends with the close, which has an answer to give first.
        let driven = async {
            Rc::clone(&log).drive().await;
            std::future::pending().await
        };
        tokio::select! { biased; end = work => end, end = driven => end }
    })
}

async fn open(world: &mut impl Work, env: LogEnv, disk: &dyn Disk, script: &mut Script<'_>) -> Rc<Log> {
    let config = world.lives().config.clone();
    let log = if std::mem::replace(&mut world.lives().is_created, true) {
        world.between(disk, script).await;
        let lives = world.lives();
        let clean = lives.is_clean;
        // Any older checkpoint is a lower bound too, and so is none; after a clean stop there is always one.
        let checkpoint = lives.checkpoint.clone().filter(|_| clean || !script.byte().is_multiple_of(4));
        Log::open(env, DIR.into(), ID, config, StartInfo { clean, checkpoint }).await
    } else {
        Log::create(env, DIR.into(), ID, config).await
    };
    log.expect("the disk is well, and nobody has touched the records")
}

/// Lets the log and the disk go on for so many turns.
pub(crate) async fn turns(count: u8) {
    let mut left = count;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
