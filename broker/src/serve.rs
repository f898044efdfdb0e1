//! The composition root: puts disk, metadata, cores and listener together into a broker, and takes it apart again.
//!
//! It decides the order of things and nothing else. Start: lock, port, superblock, metadata, tidying, loading on all cores at once, and
//! only then the first accepted connection. Stop: no new connection, answer what was asked, close the logs, and mark the stop clean if
//! everything was loaded and closed. `ringmill serve` and the tests call it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringmill_engine::clock::SystemClock;
use ringmill_engine::data_dir::{DataDir, DataDirError, DirLock, DiskSpace, Fresh};
use ringmill_engine::disk::{self, Disk, DiskChoice, NoDisk, PosixDisk, UringOptions, block_on, is_full};
use ringmill_engine::log::StartInfo;
use ringmill_net::transport::{self, AcceptLimits, Accepted, ColdSends, IoKind, Listener, SocketStream};
use ringmill_net::{Budget, Connections, Limits};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::config::BrokerConfig;
use crate::config::resolved::IoKind as ConfiguredIo;
use crate::core::hosting::CoreId;
use crate::core::listen::Handed;
use crate::core::mailbox::{Closed, MAILBOX_MESSAGES_MAX, Message, NewPartition};
use crate::core::run::{Serving, reap};
use crate::core::{Core, Shared};
use crate::metadata::{Metadata, Options, take_from_device};
use crate::{data_dir, startup};

/// How long a busy port is waited for: the last process's sockets outlive it by a moment.
const PORT_PATIENCE: Duration = Duration::from_secs(10);

/// How often a busy port is tried.
const PORT_RETRY: Duration = Duration::from_millis(50);

/// Threads of a plain-call disk; each core has its own.
const POSIX_THREADS: usize = 4;

/// Answers of all cores that stand in memory because nobody reads them: what requests may take, a second time, would be too much.
const UNREAD_BYTES_MAX: usize = 128 << 20;

/// Of these, what a core has at least: on a machine with many cores two large answers must not end each other.
const UNREAD_BYTES_PER_CORE_MIN: usize = 16 << 20;

/// Of all descriptors that the process may have, connections leave one in so many for files: a log that cannot roll is worse than a
/// client that has to wait. A few dozen connections are taken all the same.
const DESCRIPTORS_KEPT_SHARE: u64 = 4;

/// With fewer descriptors than this a broker of some hundred partitions and clients does not get far.
const DESCRIPTORS_ENOUGH: u64 = 4096;

/// Where the metadata lies inside the data directory.
pub const METADATA_FILE: &str = "metadata.redb";

/// Why the broker did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory: foreign, in use, not permitted, damaged.
    #[error(transparent)]
    Prepare(#[from] ringmill_engine::data_dir::PrepareError),
    /// The data directory's superblock.
    #[error(transparent)]
    DataDir(#[from] ringmill_engine::data_dir::DataDirError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system said, and what to do.
        why: String,
    },
    /// The congestion control that was asked for.
    #[error("ringmill.tcp.congestion.control = {name:?} is refused ({source}): {hint}")]
    CongestionControl {
        /// As configured.
        name: String,
        /// What the system said.
        source: io::Error,
        /// What to do.
        hint: String,
    },
    /// `--io uring`, and it is refused.
    #[error(transparent)]
    NoDisk(#[from] NoDisk),
    /// The metadata store's file is gone, and partitions are there.
    #[error(
        "the metadata database {} is missing, but partitions lie beside it; restore it from a backup, or, to start without \
         these topics, move their directories away",
        .0.display()
    )]
    MetadataLost(PathBuf),
    /// The metadata store.
    #[error(transparent)]
    Metadata(#[from] crate::metadata::OpenError),
    /// A write of the metadata failed, and whether it is durable is not known; the broker has stopped.
    #[error("the metadata database has failed: {0}; start the broker again once its disk works")]
    MetadataFailed(String),
    /// Threads, rings, descriptors, or the data directory's listing.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Io { what, source }
}

/// Runs a broker until `shutdown` is done, then stops it.
///
/// # Errors
/// See [`ServeError`]. That the stop was not clean is said in the log only: nothing acknowledged is lost by it.
pub fn serve(config: BrokerConfig, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    raise_open_files_limit();
    let broker = Broker::start(config)?;
    let failed = broker.waiting.block_on(async {
        tokio::select! {
            biased;
            why = broker.shared.metadata.failed() => Some(why),
            () = shutdown => None,
        }
    });
    broker.stop();
    failed.map_or(Ok(()), |why| Err(ServeError::MetadataFailed(why)))
}

/// Takes all descriptors that the system allows: every segment and every connection needs some, and the usual soft limit of 1024 is
/// for programs that use select(2), which this one does not.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        let current = limit.current.unwrap_or(u64::MAX);
        tracing::warn!(%error, current, "the limit for open files cannot be raised; raise it outside (systemd: LimitNOFILE)");
    }
    let open_files = open_files_limit();
    if open_files < DESCRIPTORS_ENOUGH {
        let enough = DESCRIPTORS_ENOUGH;
        tracing::warn!(
            open_files,
            enough,
            "few open files are allowed: each partition takes three and each connection one (systemd: LimitNOFILE)"
        );
    }
}

fn open_files_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    shared: Arc<Shared>,
    data_dir: DataDir,
    cores: Vec<JoinHandle<()>>,
    /// Where the thread that started the broker waits for it.
    waiting: Runtime,
    // Released last: until then no other process may touch the directory.
    _lock: DirLock,
}

impl Broker {
    /// Starts a broker; it answers when this returns. Not to be called inside a runtime.
    ///
    /// # Errors
    /// See [`ServeError`]. What was begun is undone, but that the next start recovers as after a crash.
    pub fn start(config: BrokerConfig) -> Result<Broker, ServeError> {
        let began = Instant::now();
        let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let waiting = waiting.map_err(io_error("the main thread's runtime cannot be made"))?;
        let lock = ringmill_engine::data_dir::prepare(&config.data_dir)?;
        let listener = listen(&config)?;
        if let Some(name) = &config.congestion_control {
            set_congestion_control(&listener, name)?;
        }
        let address = listener.local_addr().map_err(io_error("the listening address cannot be read"))?;
        let (choice, kind) = choose_io(config.io);

        let disk = PosixDisk::new(1).map_err(io_error("the threads of the plain-call disk cannot be started"))?;
        let fresh = Fresh { cluster_id: random_id(), directory_id: random_id() };
        let data_dir = block_on(&disk, open_data_dir(&disk, &config, fresh))?;
        let metadata = open_metadata(&disk, &config, &data_dir)?;
        let clean = data_dir.last_stop_was_clean();
        let image = metadata.image();
        let plan = block_on(&disk, startup::plan(&disk, &config.data_dir, &image, config.cores, clean))
            .map_err(io_error("the data directory cannot be tidied"))?;
        let deleted = Vec::from_iter(image.unfinished_deletions().iter().copied());
        waiting.block_on(metadata.finish_deletions(deleted));

        let (mailboxes, receivers): (Vec<_>, Vec<_>) =
            (0..config.cores).map(|_| mpsc::channel(MAILBOX_MESSAGES_MAX)).unzip();
        let process = Process {
            kind,
            choice,
            budget: Budget::new(config.request_memory_bytes),
            limits: Limits {
                request_bytes_max: config.request_bytes_max,
                idle: config.idle,
                unread_bytes_max: UNREAD_BYTES_MAX.div_ceil(config.cores).max(UNREAD_BYTES_PER_CORE_MIN),
                ..Limits::default()
            },
            cold_sends: ColdSends::start(ColdSends::THREADS_DEFAULT)
                .map_err(io_error("the threads of cold sends cannot be started"))?,
        };
        let shared = Shared::new(config, metadata, Arc::new(SystemClock), mailboxes);
        // Before the partitions open, which may need the reserve. The first core says what is wrong with the volume, if anything.
        let _ = block_on(&disk, shared.space.look(&disk));
        let seats = plan.into_iter().zip(receivers).enumerate().map(|(index, (wanted, mailbox))| Seat {
            id: CoreId(index),
            shared: Arc::clone(&shared),
            process: process.clone(),
            mailbox,
            wanted,
        });
        let (mut cores, readiness) = start_cores(seats, &lock)?;
        let fell_back = await_cores(&shared, &readiness, &mut cores)?;
        // The last step: whoever connected before waits in the socket's queue until now.
        let _ = shared.mailboxes[0].blocking_send(Message::Listen(listener));
        let io = if fell_back || kind == IoKind::Tokio { "posix" } else { "uring" };
        let start_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        say_ready(&shared, address, io, clean, start_ms);
        Ok(Broker { address, shared, data_dir, cores, waiting, _lock: lock })
    }

    /// Where it listens: names the port when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was asked, syncs, closes, and marks the stop clean if it was. True if so.
    pub fn stop(self) -> bool {
        let answers = tell_all(&self.shared, Message::Drain);
        answers.into_iter().for_each(|answer| drop(answer.blocking_recv()));
        // A topic that is being made or removed is finished first, though nobody waits for it any more; none is begun after it.
        let _no_more = self.waiting.block_on(self.shared.topic_changes.lock());
        let closed: Vec<Option<Closed>> =
            tell_all(&self.shared, Message::Close).into_iter().map(|answer| answer.blocking_recv().ok()).collect();
        // The topics' changes are done with their connections, so nothing is lost by closing their database now.
        self.waiting.block_on(self.shared.metadata.close());
        let joined = self.cores.into_iter().all(|core| core.join().is_ok());
        let clean = joined && closed.iter().all(|closed| closed.is_some_and(|closed| closed.clean));
        let marked = clean && mark_clean(self.data_dir, &self.shared);
        tracing::info!(clean = marked, "stopped");
        marked
    }
}

/// One line with what an operator wants to know first, and one where clients may not find the way.
fn say_ready(shared: &Shared, address: SocketAddr, io: &str, clean: bool, start_ms: u64) {
    let partitions: i64 = shared.metadata.image().topics().map(|topic| i64::from(topic.partition_count)).sum();
    let (data_dir, cores) = (shared.data_dir.display(), shared.mailboxes.len());
    tracing::info!(%address, %data_dir, cores, io, partitions, clean, start_ms, "ready");
    if shared.config.advertised.is_none() && !address.ip().is_loopback() {
        tracing::info!("clients are told the address that they dialled; behind NAT, set advertised.listeners");
    }
}

/// Opens the data directory, with the reserve's help on a full disk: a broker that does not start there cannot delete anything.
async fn open_data_dir(disk: &PosixDisk, config: &BrokerConfig, fresh: Fresh) -> Result<DataDir, DataDirError> {
    let open = async || DataDir::open(disk, &config.data_dir, config.node_id, fresh).await;
    let mut opened = open().await;
    let space = DiskSpace::new(&config.data_dir, config.disk_space);
    while let Err(DataDirError::Io { source, .. }) = &opened
        && is_full(source)
        && space.look(disk).await.is_ok()
        && space.give_up_slice(disk).await
    {
        opened = open().await;
    }
    opened
}

fn open_metadata(disk: &PosixDisk, config: &BrokerConfig, data_dir: &DataDir) -> Result<Metadata, ServeError> {
    let cluster_id = uuid::Uuid::from_bytes(data_dir.superblock().cluster_id).to_string();
    let options = Options::new(&cluster_id, config);
    let path = config.data_dir.join(METADATA_FILE);
    let holds_partitions = || block_on(disk, data_dir::holds_partitions(disk, &config.data_dir));
    // An empty database in its place would make orphans of all that is there.
    if !path.exists() && holds_partitions().map_err(io_error("the data directory cannot be listed"))? {
        return Err(ServeError::MetadataLost(path));
    }
    block_on(disk, take_from_device(disk, &path)).map_err(io_error("the metadata database cannot be read"))?;
    Ok(Metadata::open(&path, options)?)
}

/// Starts a thread for every seat; each says once whether it has loaded.
fn start_cores(
    seats: impl Iterator<Item = Seat>,
    lock: &DirLock,
) -> Result<(Vec<JoinHandle<()>>, std_mpsc::Receiver<Readiness>), ServeError> {
    let (ready, readiness) = std_mpsc::channel();
    let mut cores = Vec::new();
    for seat in seats {
        let lock = lock.descriptor().map_err(io_error("the lock's descriptor cannot be copied"))?;
        let ready = ready.clone();
        let thread = thread::Builder::new()
            .name(format!("core-{}", seat.id.0))
            .spawn(move || seat.run(lock, &ready))
            .map_err(io_error("a core's thread cannot be started"))?;
        cores.push(thread);
    }
    Ok((cores, readiness))
}

/// What every core gets of the process.
#[derive(Clone)]
struct Process {
    kind: IoKind,
    choice: DiskChoice,
    budget: Budget,
    limits: Limits,
    cold_sends: ColdSends,
}

/// One core's place, before its thread runs.
struct Seat {
    id: CoreId,
    shared: Arc<Shared>,
    process: Process,
    mailbox: mpsc::Receiver<Message>,
    wanted: Vec<(NewPartition, StartInfo)>,
}

/// Whether a core has loaded, and why it uses plain calls if it was not told to.
type Readiness = Result<Option<disk::Unavailable>, ServeError>;

impl Seat {
    /// The thread of a core, from its disk to its last word.
    fn run(self, lock: OwnedFd, ready: &std_mpsc::Sender<Readiness>) {
        let uring = UringOptions { lock: Some(lock), ..UringOptions::default() };
        let opened = match disk::open(self.process.choice, uring, POSIX_THREADS) {
            Ok(opened) => opened,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        let kind = self.process.kind;
        let ran = transport::run_core(kind, || self.live(opened.disk, opened.warning, ready));
        if let Err(source) = ran {
            let _ = ready.send(Err(ServeError::Io { what: "a core's runtime cannot be made", source }));
        }
    }

    async fn live(self, disk: Rc<dyn Disk>, warning: Option<disk::Unavailable>, ready: &std_mpsc::Sender<Readiness>) {
        let reaper = tokio::task::spawn_local(reap(Rc::clone(&disk)));
        let core = Core::new(self.id, self.shared, disk);
        core.load(self.wanted).await;
        let _ = ready.send(Ok(warning));
        let Process { kind, budget, limits, cold_sends, .. } = self.process;
        let serving = Serving::new(Rc::clone(&core), Connections::new(limits, budget));
        core.run(self.mailbox, serving, |serving, Handed { accepted, counted }| {
            let Accepted { socket, peer, ticket } = accepted;
            match SocketStream::new(kind, socket, cold_sends.clone()) {
                Ok(stream) => serving.serve(stream, (ticket, counted)),
                Err(error) => tracing::debug!(%peer, %error, "a connection ended before it was served"),
            }
        })
        .await;
        reaper.abort();
    }
}

/// Waits until every core has loaded; one warning if the ring was refused, however many cores there are. Tells whether it was.
fn await_cores(
    shared: &Arc<Shared>,
    readiness: &std_mpsc::Receiver<Readiness>,
    cores: &mut Vec<JoinHandle<()>>,
) -> Result<bool, ServeError> {
    let mut warned = None;
    let mut failed = None;
    for _ in 0..cores.len() {
        match readiness.recv() {
            Ok(Ok(warning)) => warned = warned.or(warning),
            Ok(Err(error)) => failed = failed.or(Some(error)),
            Err(_) => {
                let source = io::Error::other("a core's thread ended while it was loading");
                failed = failed.or(Some(ServeError::Io { what: "loading failed", source }));
                break;
            }
        }
    }
    if let Some(error) = failed {
        drop(tell_all(shared, Message::Close));
        cores.drain(..).for_each(|core| drop(core.join()));
        return Err(error);
    }
    if let Some(warning) = &warned {
        tracing::warn!("plain system calls instead of io_uring: {warning}");
    }
    Ok(warned.is_some())
}

/// Sends every core a message that it answers.
fn tell_all<T>(shared: &Shared, message: impl Fn(oneshot::Sender<T>) -> Message) -> Vec<oneshot::Receiver<T>> {
    let tell = |mailbox: &mpsc::Sender<Message>| {
        let (answer, answered) = oneshot::channel();
        // A core that has ended drops the answer, which its receiver sees.
        let _ = mailbox.blocking_send(message(answer));
        answered
    };
    shared.mailboxes.iter().map(tell).collect()
}

fn mark_clean(data_dir: DataDir, shared: &Shared) -> bool {
    let marked = PosixDisk::new(1).and_then(|disk| {
        // There is one attempt; the reserve is filled again when there is room.
        if shared.space.is_low() {
            block_on(&disk, shared.space.give_up_slice(&disk));
        }
        block_on(&disk, data_dir.mark_clean(&disk))
    });
    if let Err(error) = &marked {
        tracing::warn!(%error, "the stop cannot be marked clean: the next start checks as after a crash");
    }
    marked.is_ok()
}

fn listen(config: &BrokerConfig) -> Result<Listener, ServeError> {
    let address = config.listen;
    let open_files = open_files_limit();
    let limits = AcceptLimits {
        connections_max: config.connections_max,
        per_address_max: config.connections_per_address_max,
        descriptors_max: open_files - open_files / DESCRIPTORS_KEPT_SHARE,
    };
    let deadline = Instant::now() + PORT_PATIENCE;
    let mut told = false;
    loop {
        match Listener::bind(address, limits) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                if !told {
                    tracing::warn!(%address, patience_s = PORT_PATIENCE.as_secs(), "the port is in use; waiting for it");
                    told = true;
                }
                thread::sleep(PORT_RETRY);
            }
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => ": another process listens there; stop it or choose another port",
                    io::ErrorKind::PermissionDenied => ": ports below 1024 need the capability CAP_NET_BIND_SERVICE",
                    io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
                    _ => "",
                };
                return Err(ServeError::Listen { address, why: format!("{error}{hint}") });
            }
        }
    }
}

fn set_congestion_control(listener: &Listener, name: &str) -> Result<(), ServeError> {
    listener.set_congestion_control(name).map_err(|source| {
        let names = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap_or_default();
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => "add it to net.ipv4.tcp_allowed_congestion_control".to_owned(),
            _ => format!("this kernel has {}; for another, load its module (tcp_{name})", names.trim()),
        };
        ServeError::CongestionControl { name: name.to_owned(), source, hint }
    })
}

/// How disks and sockets are driven. Each core probes its own ring for files; the sockets' ring is probed here.
fn choose_io(configured: ConfiguredIo) -> (DiskChoice, IoKind) {
    match configured {
        ConfiguredIo::Posix => (DiskChoice::Posix, IoKind::Tokio),
        ConfiguredIo::Auto if transport::probe_uring().is_err() => (DiskChoice::Auto, IoKind::Tokio),
        ConfiguredIo::Auto => (DiskChoice::Auto, IoKind::Uring),
        // A refusal is worded by the disk, which meets the same one.
        ConfiguredIo::Uring => (DiskChoice::Uring, IoKind::Uring),
    }
}

fn random_id() -> [u8; 16] {
    uuid::Uuid::new_v4().into_bytes()
}
