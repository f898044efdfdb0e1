//! The life of a core: load, answer the mailbox, keep house, drain, close.
//!
//! The same on a thread of its own and as a task of the simulation: who runs it gives it a disk that somebody reaps, a mailbox, and
//! connections. It ends with [`Message::Close`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringmill_engine::checkpoint::{self, CheckpointEntry};
use ringmill_engine::disk::Disk;
use ringmill_engine::log::StartInfo;
use ringmill_net::transport::Stream;
use ringmill_net::{Connections, serve};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::listen::{Handed, accept};
use super::mailbox::{Closed, Message, NewPartition};
use super::{Core, compact, scrub, space};
use crate::api::Api;
use crate::group::Hosts;

/// How often a core's recovery checkpoint is written while something changes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stopping core waits for the answers under way.
const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// The longest time between two looks at what the logs want to do by time: an append may set an earlier moment.
const DEADLINES_LOOKED_AT: Duration = Duration::from_millis(100);

/// The connections of one core and what answers them.
pub struct Serving {
    connections: Rc<Connections>,
    api: Rc<Api>,
}

impl Serving {
    /// Answers the requests of `connections` through `core`.
    #[must_use]
    pub fn new(core: Rc<Core>, connections: Rc<Connections>) -> Rc<Serving> {
        Rc::new(Serving { connections, api: Rc::new(Api::new(core)) })
    }

    /// Serves one connection as a local task. `held` is dropped when it has ended.
    pub fn serve<T: 'static>(&self, stream: impl Stream, held: T) {
        let (api, connections) = (Rc::clone(&self.api), Rc::clone(&self.connections));
        tokio::task::spawn_local(async move {
            serve(stream, api, connections).await;
            drop(held);
        });
    }
}

impl Core {
    /// Opens the core's partitions. What cannot be opened is quarantined; the others are hosted when this returns.
    pub async fn load(self: &Rc<Self>, wanted: Vec<(NewPartition, StartInfo)>) {
        self.open_partitions(wanted).await;
    }

    /// Answers the mailbox until it is told to close. `connect` wraps an accepted socket and serves it.
    pub async fn run(
        self: Rc<Self>,
        mut mailbox: mpsc::Receiver<Message>,
        serving: Rc<Serving>,
        connect: impl Fn(&Serving, Handed),
    ) {
        let deadlines = tokio::task::spawn_local(keep_deadlines(Rc::clone(&self)));
        let watching = (self.id.0 == 0).then(|| tokio::task::spawn_local(space::watch(Rc::clone(&self))));
        let scrubbing = tokio::task::spawn_local(scrub::keep_scrubbing(Rc::clone(&self)));
        let compacting = tokio::task::spawn_local(compact::keep_compacting(Rc::clone(&self)));
        let (stop_checkpoints, stopped) = oneshot::channel();
        let checkpoints = tokio::task::spawn_local(write_checkpoints(Rc::clone(&self), stopped));
        Hosts::start(&self);
        let mut accepting = None;
        while let Some(message) = mailbox.recv().await {
            match message {
                Message::Append(request) => self.append_here(request),
                Message::Group(ask) => Hosts::take(&self, ask),
                Message::Listen(listener) => {
                    let shared = Arc::clone(&self.shared);
                    accepting = Some(tokio::task::spawn_local(accept(listener, shared)));
                }
                Message::Connection(handed) => connect(&serving, handed),
                Message::Create(wanted, answer) => {
                    let core = Rc::clone(&self);
                    tokio::task::spawn_local(async move { answer.send(core.create_partitions(wanted).await) });
                }
                Message::Delete { topic, topic_name, from, answer } => {
                    let core = Rc::clone(&self);
                    tokio::task::spawn_local(async move {
                        answer.send(core.delete_partitions(topic, &topic_name, from).await)
                    });
                }
                Message::DeleteRecords(wanted, answer) => {
                    let core = Rc::clone(&self);
                    tokio::task::spawn_local(async move { answer.send(core.delete_records(wanted).await) });
                }
                Message::DescribeProducers(partition, answer) => {
                    // Who asked may have gone.
                    let _ = answer.send(self.active_producers(partition));
                }
                Message::Configure(configs, answer) => {
                    self.configure(&configs);
                    // Who asked may have gone; the settings hold all the same.
                    let _ = answer.send(());
                }
                Message::Checkpoint(answer) => {
                    let core = Rc::clone(&self);
                    tokio::task::spawn_local(
                        async move { answer.send(core.write_checkpoint_unless(&[]).await.map(drop)) },
                    );
                }
                Message::Drain(answer) => {
                    // The port is closed with its task.
                    accepting.take().inspect(JoinHandle::abort);
                    self.draining.send_replace(true);
                    let connections = Rc::clone(&serving.connections);
                    tokio::task::spawn_local(async move {
                        connections.drain(DRAIN_GRACE).await;
                        answer.send(())
                    });
                }
                Message::Close(answer) => {
                    deadlines.abort();
                    scrubbing.abort();
                    // What it leaves behind, the next start completes or removes.
                    compacting.abort();
                    watching.inspect(JoinHandle::abort);
                    // Not cut off in the middle: a write that is still under way would meet the last one's file.
                    drop(stop_checkpoints);
                    let _ = checkpoints.await;
                    // Those that were handed over too late have ended when nothing waits in the kernel any more.
                    serving.connections.drain(DRAIN_GRACE).await;
                    self.groups().stop();
                    let closed = self.close().await;
                    // Who asked may have given up; the files are closed all the same.
                    let _ = answer.send(closed);
                    return;
                }
            }
        }
    }

    async fn close(&self) -> Closed {
        let entries = self.close_partitions().await;
        let _alone = self.checkpoint_writing.lock().await;
        if let Err(error) = self.write_checkpoint(&entries).await {
            // Derived data: the next start takes longer.
            tracing::warn!(%error, "the last recovery checkpoint cannot be written");
        }
        Closed { core: self.id, clean: self.clean.get() }
    }

    async fn write_checkpoint(&self, entries: &[CheckpointEntry]) -> std::io::Result<()> {
        let write = async || checkpoint::write(&*self.disk, &self.shared.data_dir, self.id.0, entries).await;
        self.shared.space.with_reserve(&*self.disk, write).await
    }

    /// Writes the checkpoint of this moment, unless it says what `written` says. Gives what it says.
    async fn write_checkpoint_unless(&self, written: &[CheckpointEntry]) -> std::io::Result<Vec<CheckpointEntry>> {
        let _alone = self.checkpoint_writing.lock().await;
        // Taken only now: whoever waited here must not write what was true before.
        let entries = self.checkpoint_entries();
        if entries != written {
            self.write_checkpoint(&entries).await?;
        }
        Ok(entries)
    }
}

/// Writes the core's recovery checkpoint about every second, when it says something new; until `stop` is dropped.
async fn write_checkpoints(core: Rc<Core>, mut stop: oneshot::Receiver<()>) {
    let mut written = Vec::new();
    let mut failure_is_told = false;
    let mut ticks = tokio::time::interval(CHECKPOINT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return,
            _ = ticks.tick() => {}
        }
        match core.write_checkpoint_unless(&written).await {
            Ok(entries) => (written, failure_is_told) = (entries, false),
            Err(error) if !failure_is_told => {
                tracing::warn!(%error, "the recovery checkpoint cannot be written: a restart would scan more");
                failure_is_told = true;
            }
            Err(_) => {}
        }
    }
}

/// Lets the logs roll, flush and forget when their time has come.
async fn keep_deadlines(core: Rc<Core>) {
    loop {
        let now_ms = core.shared.clock.now_ms();
        let wait = match core.on_deadline(now_ms) {
            Some(next_ms) => Duration::from_millis(u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0)),
            None => DEADLINES_LOOKED_AT,
        };
        // At least a millisecond: a deadline that stays in the past must not keep the core busy.
        let wait = wait.clamp(Duration::from_millis(1), DEADLINES_LOOKED_AT);
        tokio::time::sleep_until(Instant::now() + wait).await;
    }
}

/// Takes the completions of a real disk whenever it says that there are some. Never ends; its task is dropped with the runtime.
///
/// # Errors
/// When the disk's descriptor cannot be registered with the runtime.
pub async fn reap(disk: Rc<dyn Disk>) -> std::io::Result<()> {
    #[expect(
        deprecated,
        reason = "the descriptor is borrowed from the disk, which this function holds: it stays open and the same"
    )]
    let wake = AsyncFd::with_interest(disk.wake_fd(), tokio::io::Interest::READABLE)?;
    loop {
        // Cleared first: what completes while we reap makes the descriptor ready again.
        wake.readable().await?.clear_ready();
        disk.reap();
    }
}
