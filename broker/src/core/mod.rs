//! A core: one thread that owns partitions, serves connections and has its own disk.
//!
//! Everything here is local to its thread (in the simulation: to its task) but what [`Shared`] holds. The composition root makes the
//! cores (`serve.rs`), the handlers use one (`api/`); neither sockets nor requests are known here beyond the hand-over.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use ringmill_engine::checkpoint::CheckpointEntry;
use ringmill_engine::clock::Clock;
use ringmill_engine::data_dir::DiskSpace;
use ringmill_engine::disk::Disk;
use ringmill_engine::log::LogEnv;
use ringmill_engine::watch;

use crate::config::BrokerConfig;
use crate::fetch_sessions::FetchSessions;
use crate::group::Hosts;
use crate::metadata::{Metadata, MetadataImage};

mod compact;
#[cfg(test)]
mod full_mailbox_tests;
pub mod hosting;
pub mod listen;
pub mod mailbox;
mod pace;
pub mod partitions;
pub mod run;
pub mod scrub;
mod space;
pub mod turns;

use hosting::{CoreId, Hosting, HostingImage, View};
use mailbox::{Mailbox, Message};
use partitions::OwnedLog;
use turns::Turns;

/// What all cores of the process share. Nothing in it is locked on the way of a produce or a fetch.
pub struct Shared {
    /// The settings the broker was started with.
    pub config: BrokerConfig,
    /// Where the partitions' directories lie.
    pub data_dir: PathBuf,
    /// Topics and their settings.
    pub metadata: Metadata,
    /// The partitions of this process.
    pub hosting: Hosting,
    /// How much room the data directory has.
    pub space: Arc<DiskSpace>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// One mailbox per core, by [`CoreId`].
    pub mailboxes: Vec<Mailbox>,
    /// Open connections per core, by [`CoreId`]: the next goes where the fewest are.
    pub connections: Vec<AtomicUsize>,
    /// Changes of topics and of settings happen one after the other: a name is never made and removed at once, and what was worked out
    /// for a change still holds when it is committed.
    pub topic_changes: tokio::sync::Mutex<()>,
    /// Requests of an API or version that is not served.
    pub unsupported_requests: AtomicU64,
    /// Producer ids that are taken from the metadata and not yet given.
    pub producer_ids: tokio::sync::Mutex<std::ops::Range<i64>>,
}

impl Shared {
    /// The shared state of a broker that hosts nothing yet; as many cores as there are mailboxes.
    #[must_use]
    pub fn new(
        config: BrokerConfig,
        metadata: Metadata,
        clock: Arc<dyn Clock>,
        mailboxes: Vec<Mailbox>,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            data_dir: config.data_dir.clone(),
            space: DiskSpace::new(&config.data_dir, config.disk_space),
            connections: mailboxes.iter().map(|_| AtomicUsize::new(0)).collect(),
            config,
            metadata,
            hosting: Hosting::new(),
            clock,
            mailboxes,
            topic_changes: tokio::sync::Mutex::new(()),
            unsupported_requests: AtomicU64::new(0),
            producer_ids: tokio::sync::Mutex::new(0..0),
        })
    }
}

/// One core. Lives on its thread as `Rc<Core>`.
pub struct Core {
    id: CoreId,
    shared: Arc<Shared>,
    disk: Rc<dyn Disk>,
    metadata: View<MetadataImage>,
    hosting: View<HostingImage>,
    logs: RefCell<BTreeMap<hosting::PartitionId, OwnedLog>>,
    /// What the checkpoints say of partitions that could not be opened. It must be said on: without it a later start could not tell
    /// what was durable in them, and would take damage for a torn tail.
    quarantined: RefCell<Vec<CheckpointEntry>>,
    /// Whether all that was to be loaded was, and nothing has failed since: else the next start checks everything.
    clean: Cell<bool>,
    /// Whether the core stops: whoever waits for something new is answered with what there is.
    draining: watch::Sender<bool>,
    /// Held while the recovery checkpoint is written: an older one must not replace a newer.
    checkpoint_writing: tokio::sync::Mutex<()>,
    /// Rotates which partition of a fetch is asked first.
    fetches: Cell<usize>,
    fetch_sessions: RefCell<FetchSessions>,
    turns: Turns,
    groups: Hosts,
}

impl Core {
    /// A core that owns nothing yet; see [`run`].
    #[must_use]
    pub fn new(id: CoreId, shared: Arc<Shared>, disk: Rc<dyn Disk>) -> Rc<Core> {
        let metadata = View::new(shared.metadata.watch());
        let hosting = View::new(shared.hosting.subscribe());
        let fetch_sessions = RefCell::new(fetch_sessions(id, &shared));
        Rc::new(Core {
            id,
            shared,
            disk,
            metadata,
            hosting,
            logs: RefCell::default(),
            quarantined: RefCell::default(),
            clean: Cell::new(true),
            draining: watch::Sender::new(false),
            checkpoint_writing: tokio::sync::Mutex::new(()),
            fetches: Cell::new(0),
            fetch_sessions,
            turns: Turns::new(),
            groups: Hosts::new(),
        })
    }

    /// Which one this is.
    #[must_use]
    pub fn id(&self) -> CoreId {
        self.id
    }

    /// What it shares with the others.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Its disk; for plans of reads.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Topics and their settings, newest.
    #[must_use]
    pub fn metadata(&self) -> Arc<MetadataImage> {
        self.metadata.get()
    }

    /// The partitions of this process, newest.
    #[must_use]
    pub fn hosting(&self) -> Arc<HostingImage> {
        self.hosting.get()
    }

    /// Tells when a topic comes or goes.
    #[must_use]
    pub fn watch_hosting(&self) -> watch::Receiver<Arc<HostingImage>> {
        self.hosting.watch()
    }

    /// Turns true when the core stops.
    #[must_use]
    pub fn watch_draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Whether the core stops.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// The consumer groups of this core.
    #[must_use]
    pub fn groups(&self) -> &Hosts {
        &self.groups
    }

    /// A number that rises with each fetch.
    #[must_use]
    pub fn next_fetch(&self) -> usize {
        let number = self.fetches.get();
        self.fetches.set(number.wrapping_add(1));
        number
    }

    /// Whose turn it is among requests that cost much.
    #[must_use]
    pub fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The fetch sessions of this core's connections; not to be held over an await.
    #[must_use]
    pub fn fetch_sessions(&self) -> RefMut<'_, FetchSessions> {
        self.fetch_sessions.borrow_mut()
    }

    /// How many cores there are.
    #[must_use]
    pub fn core_count(&self) -> usize {
        self.shared.mailboxes.len()
    }

    /// Puts a message into a core's mailbox. One to a core that has ended is dropped, and with it the answer it would have had.
    pub async fn tell(&self, core: CoreId, message: Message) {
        let _ = self.shared.mailboxes[core.0].send(message).await;
    }

    fn log_env(&self) -> LogEnv {
        let (disk, clock) = (Rc::clone(&self.disk), Arc::clone(&self.shared.clock));
        LogEnv { disk, clock, space: Arc::clone(&self.shared.space) }
    }
}

/// A core's share of the sessions that are allowed.
fn fetch_sessions(id: CoreId, shared: &Shared) -> FetchSessions {
    let number = |number: usize| u16::try_from(number).expect("at most 1024 cores");
    let cores = shared.mailboxes.len();
    let sessions_max = shared.config.fetch_sessions_max.div_ceil(cores);
    FetchSessions::new(sessions_max, shared.clock.now_ms().cast_unsigned(), number(id.0), number(cores))
}
