//! One partition's log: appends in groups, syncs beside them, rolls, keeps to retention, and says how far it is.
//!
//! The owner core holds it as `Rc<Log>` and runs [`Log::drive`] as a local task; every core reads through [`LogReader`]. It
//! knows batch headers but no records (lookups by time aside), no sockets and no waiting for time: [`Log::on_deadline`] says
//! when it wants to be called again.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, Offset};
use tokio::sync::{Notify, oneshot};

use crate::checkpoint::{CheckpointEntry, SegmentTimes};
use crate::clock::Clock;
use crate::data_dir::DiskSpace;
use crate::disk::Disk;
use crate::partition_meta::PartitionMeta;

mod append;
mod compact;
mod compact_batch;
mod compact_output;
mod compact_pass;
mod compact_swap_in;
mod compact_unread;
mod config;
pub(crate) mod producers;
mod read;
mod recover;
mod recover_segment;
mod retain;
mod roll;
mod scan;
mod scrub;
mod seal;
pub(crate) mod swap;
mod sync;
mod timestamps;
mod watermarks;
mod writer;

#[cfg(test)]
mod tests;

pub use compact::{Abandoned, Cleanable, Compacted};
pub use compact_unread::UnreadBatch;
pub use config::{CompactionConfig, LogConfig, UNSYNCED_BYTES_BOUND_MAX};
pub use read::{LogReader, ReadError, ReadPlan};
pub use recover::{OpenError, RecoveryReport, StartInfo, TornTail};
pub use scrub::Scrubbed;
pub use timestamps::TimestampOffset;
pub use watermarks::{LogState, Quarantine, SealCause, Watermarks};

use writer::{Queued, Writer, tell};

/// What a log needs from outside.
#[derive(Clone)]
pub struct LogEnv {
    /// Where its files are.
    pub disk: Rc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How much room there is; shared by all logs of a data directory.
    pub space: Arc<DiskSpace>,
}

impl LogEnv {
    /// A log that fills its disk to the last byte before it refuses anything.
    #[must_use]
    pub fn new(disk: Rc<dyn Disk>, clock: Arc<dyn Clock>) -> LogEnv {
        LogEnv { disk, clock, space: DiskSpace::unlimited() }
    }
}

/// Which partition of which topic. Stored in `partition.meta`, so that a directory under a wrong name is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The topic's id.
    pub topic_id: [u8; 16],
    /// The partition's number in it.
    pub partition: i32,
}

/// One partition's log. See the module's page.
pub struct Log {
    env: LogEnv,
    dir: PathBuf,
    identity: Identity,
    reader: Arc<LogReader>,
    writer: RefCell<Writer>,
    /// `partition.meta` as it is on disk; held while it is written anew.
    meta: tokio::sync::Mutex<PartitionMeta>,
    wake_writer: Notify,
    wake_syncer: Notify,
    wake_keeper: Notify,
    /// A sync has ended, well or not, or the log was sealed.
    sync_ended: Notify,
    recovery: RecoveryReport,
    scrub_pass: RefCell<scrub::Pass>,
    compaction: RefCell<compact::State>,
    /// Held by whoever changes which segments there are, or names in the directory beside `drive`.
    house: tokio::sync::Mutex<()>,
}

/// What a producer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The batch's first offset.
    pub base_offset: Offset,
    /// The time of append, where the topic stamps it into the batch.
    pub append_time_ms: Option<i64>,
    /// The log's first offset.
    pub log_start: Offset,
    /// The batch had been appended before: the offset is the original's.
    pub duplicate: bool,
}

/// Why a batch was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A write or sync failed; whether the batch survives is not known.
    #[error("the partition is sealed: a write or a sync failed")]
    Sealed,
    /// The batch is larger than a segment, or than what may ever be unsynced.
    #[error("the batch is larger than a segment")]
    TooLargeForSegment,
    /// A gap in the producer's sequence.
    #[error("the producer's sequence has a gap")]
    OutOfOrderSequence,
    /// A newer epoch of the same producer is known.
    #[error("a newer epoch of this producer is known")]
    ProducerFenced,
    /// The disk is full, or has less room than is to be kept free; nothing was changed.
    #[error("the broker's disk is nearly full; it takes no records now")]
    NoSpace,
    /// Space cannot be secured, or the next segment not be made, for want of descriptors for example; nothing was changed.
    #[error("the disk takes nothing more for now; the broker's log says why")]
    Unwritable,
    /// [`QUEUED_BATCHES_MAX`] batches wait already.
    #[error("{QUEUED_BATCHES_MAX} batches wait already")]
    QueueFull,
    /// The log is closed or being closed.
    #[error("the log is closed")]
    Closed,
}

/// Batches that may wait for their turn in one partition; their bytes are the caller's budget.
pub const QUEUED_BATCHES_MAX: usize = 65_536;

/// Why a log could not be closed cleanly, or a change of it not made durable.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It is sealed.
    #[error("the partition is sealed: a write or a sync failed")]
    Sealed,
    /// It is closed.
    #[error("the log is closed")]
    Closed,
    /// The asked offset lies past the visible end.
    #[error("offset {0} lies past the end of the log")]
    OffsetOutOfRange(Offset),
    /// The disk's word.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
}

impl Log {
    /// Queues a batch that the caller has checked (`header` is its own). Batches are appended in the order of these calls; the
    /// answer comes when the batch is durable, or written with `write_caching`. Dropping the receiver cancels nothing.
    pub fn append(&self, batch: BytesMut, header: BatchHeader) -> oneshot::Receiver<Result<Appended, AppendError>> {
        assert_eq!(batch.len(), header.total_bytes(), "the header is another batch's");
        let (answer, receiver) = oneshot::channel();
        let refusal = self.writer.borrow_mut().enqueue(Queued { batch, header, answer }, self.env.space.is_low());
        match refusal {
            // Nobody waits when the receiver is gone.
            Some((refused, error)) => tell(refused.answer, Err(error)),
            None => self.wake_writer.notify_one(),
        }
        receiver
    }

    /// Writes, syncs and keeps house; ends after [`Log::close`]. Exactly one must run while the log is used.
    pub async fn drive(self: Rc<Self>) {
        tokio::join!(biased; self.write_loop(), self.sync_loop(), self.keep_loop());
    }

    /// What readers on any core use.
    #[must_use]
    pub fn reader(&self) -> Arc<LogReader> {
        Arc::clone(&self.reader)
    }

    /// Which partition this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What opening found and did.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Whether it serves.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.reader.state()
    }

    /// Takes new settings; they hold from the next append, roll or retention run on.
    pub fn set_config(&self, config: LogConfig) {
        self.writer.borrow_mut().set_config(config);
        self.wake_all();
    }

    /// The durable lower bound of this moment, for the core's checkpoint file.
    #[must_use]
    pub fn checkpoint_entry(&self) -> CheckpointEntry {
        let mut writer = self.writer.borrow_mut();
        let segments = self.reader.snapshot();
        CheckpointEntry {
            topic_id: self.identity.topic_id,
            partition: self.identity.partition,
            recovery_point: writer.ends.durable.offset,
            unsynced_bytes_max: writer.take_bound(),
            segments: segments
                .iter()
                .map(|segment| {
                    let (first_append_ms, last_append_ms) = segment.append_times_ms().unzip();
                    SegmentTimes { base_offset: segment.base_offset(), first_append_ms, last_append_ms }
                })
                .collect(),
        }
    }

    /// Drains and syncs what was appended, cuts the secured space, and ends [`Log::drive`], which must be running. Appends made
    /// after this call are refused. Whoever gives the directory's name to another log waits for [`Log::drive`] to end, too.
    ///
    /// # Errors
    /// [`LogError::Sealed`] and the disk's: the stop is then not clean.
    pub async fn close(&self) -> Result<CheckpointEntry, LogError> {
        let ended = self.end_loops().await;
        // A deletion of records may be writing partition.meta, a compaction its files. Once this has returned and `drive` has ended, nothing of this log touches
        // its directory any more: the name may be given to another partition, whose files would be overwritten.
        drop(self.meta.lock().await);
        drop(self.house.lock().await);
        ended.map(|()| self.checkpoint_entry())
    }

    async fn end_loops(&self) -> Result<(), LogError> {
        let (answer, closed) = oneshot::channel();
        let ended = {
            let mut writer = self.writer.borrow_mut();
            if !writer.ended {
                writer.closing.push(answer);
            } else if writer.seal.is_some() {
                return Err(LogError::Sealed);
            }
            writer.ended
        };
        if !ended {
            self.wake_all();
            closed.await.expect("drive() runs until it has answered every close")?;
        }
        Ok(())
    }

    fn wake_all(&self) {
        self.wake_writer.notify_one();
        self.wake_syncer.notify_one();
        self.wake_keeper.notify_one();
    }

    fn disk(&self) -> &dyn Disk {
        &*self.env.disk
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("watermarks", &self.reader.watermarks())
            .finish_non_exhaustive()
    }
}
