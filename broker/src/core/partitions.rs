//! The partitions that a core owns: opened at start, made and removed with their topics, appended to through the mailbox.
//!
//! It decides nothing about topics; `topics.rs` does, and tells the owners. Reads do not pass here: they go by the hosting image.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, Offset};
use ringmill_engine::checkpoint::CheckpointEntry;
use ringmill_engine::log::{
    AppendError, Appended, Identity, Log, LogConfig, LogError, LogReader, LogState, OpenError, RecoveryReport,
    StartInfo, UNSYNCED_BYTES_BOUND_MAX,
};
use ringmill_engine::producer_state::ActiveProducer;
use ringmill_net::Charge;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::Core;
use super::hosting::{CoreId, Hosted, PartitionId};
use super::mailbox::{
    AppendRefused, AppendRequest, AppendResults, CreateFailed, Deletion, DeletionRefused, Message, NewPartition,
    PartitionBatch,
};
use crate::data_dir::{deleted_name, partition_dir_name, remove_tree, set_aside};
use crate::metadata::TopicId;

/// Partitions that one core opens, makes or closes at the same time: enough to keep the disk busy, few enough for its queue.
const OPENING_AT_ONCE_MAX: usize = 8;

/// The log start after a deletion, behind the deletion's place in its request.
type DeletedAt = (usize, Result<Offset, LogError>);

/// A partition that is ready to be hosted.
type Made = (PartitionId, Hosted);

/// What has become of partitions that are made together.
#[derive(Default)]
struct Creation {
    made: Vec<Made>,
    /// The first failure.
    failed: Option<CreateFailed>,
}

impl Creation {
    fn note(&mut self, created: Option<Result<Result<Made, CreateFailed>, JoinError>>) {
        let failed = match created {
            Some(Ok(Ok(made))) => return self.made.push(made),
            Some(Ok(Err(failed))) => failed,
            Some(Err(panicked)) => CreateFailed { topic_name: "".into(), why: panicked.to_string() },
            None => return,
        };
        self.failed.get_or_insert(failed);
    }
}

/// A log with the task that writes and syncs it.
pub(super) struct OwnedLog {
    pub(super) log: Rc<Log>,
    drive: JoinHandle<()>,
}

impl Core {
    /// Sends batches to their owner and tells where the answer will come. Returns once they have their place in the owner's queue,
    /// so that the next call's batches come after them. The answer is lost only when the owner has stopped.
    pub async fn append(
        &self,
        owner: CoreId,
        batches: Vec<PartitionBatch>,
        charge: Charge,
    ) -> oneshot::Receiver<AppendResults> {
        let (answer, answered) = oneshot::channel();
        let request = AppendRequest { batches, charge, answer };
        if owner == self.id {
            self.append_here(request);
        } else {
            // An error gives the request back and drops it here: its answer is lost, as said.
            let _ = self.shared.mailboxes[owner.0].send(Message::Append(request)).await;
        }
        answered
    }

    pub(super) fn append_here(&self, request: AppendRequest) {
        let AppendRequest { batches, charge, answer } = request;
        let logs = self.logs.borrow();
        let waiting: Vec<_> = batches
            .into_iter()
            .map(|each| logs.get(&each.partition).map(|owned| owned.log.append(each.batch, each.header)))
            .collect();
        tokio::task::spawn_local(async move {
            let mut results = Vec::with_capacity(waiting.len());
            for each in waiting {
                results.push(match each {
                    Some(appended) => match appended.await {
                        Ok(result) => result.map_err(AppendRefused::Log),
                        Err(_) => Err(AppendRefused::Lost),
                    },
                    None => Err(AppendRefused::NotServed),
                });
            }
            // The memory of the batches is free or durable now, whether or not anybody still waits for the answer.
            drop(charge);
            let _ = answer.send(results);
        });
    }

    /// Whether a partition is open on this core.
    #[must_use]
    pub fn owns(&self, partition: PartitionId) -> bool {
        self.logs.borrow().contains_key(&partition)
    }

    /// Reads a partition of this core.
    #[must_use]
    pub fn own_reader(&self, partition: PartitionId) -> Option<Arc<LogReader>> {
        self.logs.borrow().get(&partition).map(|owned| owned.log.reader())
    }

    /// Whether an append to a partition of this core would be taken now, for all that is known.
    #[must_use]
    pub fn takes_records(&self, partition: PartitionId) -> bool {
        let serves = |owned: &OwnedLog| owned.log.state() == LogState::Serving;
        !self.shared.space.is_low() && self.logs.borrow().get(&partition).is_some_and(serves)
    }

    /// Appends a batch of the broker's own to a partition of this core; `None` if it is not open.
    pub fn append_own(
        &self,
        partition: PartitionId,
        batch: BytesMut,
        header: BatchHeader,
    ) -> Option<oneshot::Receiver<Result<Appended, AppendError>>> {
        self.logs.borrow().get(&partition).map(|owned| owned.log.append(batch, header))
    }

    /// Opens what this core owns, hosts it, and says what was wrong with what could not be opened.
    pub(super) async fn open_partitions(self: &Rc<Self>, wanted: Vec<(NewPartition, StartInfo)>) {
        let mut opening = JoinSet::new();
        for (new, start) in wanted {
            if opening.len() >= OPENING_AT_ONCE_MAX {
                opening.join_next().await;
            }
            let core = Rc::clone(self);
            opening.spawn_local(async move { core.open_partition(new, start).await });
        }
        while opening.join_next().await.is_some() {}
    }

    async fn open_partition(&self, new: NewPartition, start: StartInfo) {
        let dir = self.partition_dir(&new);
        let name = partition_dir_name(&new.topic_name, new.partition.index);
        let known = start.checkpoint.clone();
        let opened = Log::open(self.log_env(), dir, identity(new.partition), new.config, start).await;
        let reader = match opened {
            Ok(log) => {
                report_recovery(&name, log.recovery_report());
                Some(self.host(new.partition, log))
            }
            Err(error) => {
                self.clean.set(false);
                self.quarantined.borrow_mut().extend(remembered(known, proven(new.partition, &error)));
                tracing::error!(partition = %name, %error, "quarantined: the partition is not served and no byte of it is changed");
                None
            }
        };
        self.shared.hosting.add([(new.partition, Hosted { owner: self.id, reader })]);
    }

    /// Makes partitions of a topic durably, all or none. They are served once the topic is in the metadata image.
    pub(super) async fn create_partitions(self: &Rc<Self>, wanted: Vec<NewPartition>) -> Result<(), CreateFailed> {
        let mut creating = JoinSet::new();
        let mut creation = Creation::default();
        for new in wanted.iter().cloned() {
            if creating.len() >= OPENING_AT_ONCE_MAX {
                creation.note(creating.join_next().await);
            }
            if creation.failed.is_some() {
                break;
            }
            let core = Rc::clone(self);
            creating.spawn_local(async move { core.create_partition(new).await });
        }
        while !creating.is_empty() {
            creation.note(creating.join_next().await);
        }
        let Some(failed) = creation.failed else {
            // All at once: each new image is a copy of the whole one, and wakes every parked fetch.
            self.shared.hosting.add(creation.made);
            return Ok(());
        };
        if let Some(first) = wanted.first() {
            self.remove_partitions(wanted.iter().map(|new| new.partition), &first.topic_name).await;
        }
        Err(failed)
    }

    async fn create_partition(&self, new: NewPartition) -> Result<Made, CreateFailed> {
        let create =
            || Log::create(self.log_env(), self.partition_dir(&new), identity(new.partition), new.config.clone());
        let mut created = create().await;
        if let Err(OpenError::Io { error, .. }) = &created
            && error.kind() == io::ErrorKind::AlreadyExists
        {
            // What a deleted topic of this name has left, because it was quarantined.
            let name = partition_dir_name(&new.topic_name, new.partition.index);
            if set_aside(&*self.disk, &self.shared.data_dir, &name).await.is_ok() {
                created = create().await;
            }
        }
        match created {
            Ok(log) => {
                let reader = Some(self.host(new.partition, log));
                Ok((new.partition, Hosted { owner: self.id, reader }))
            }
            Err(error) => Err(CreateFailed { topic_name: new.topic_name, why: error.to_string() }),
        }
    }

    /// Starts a log's own task and keeps it.
    fn host(&self, partition: PartitionId, log: Rc<Log>) -> Arc<LogReader> {
        let reader = log.reader();
        let drive = tokio::task::spawn_local(Rc::clone(&log).drive());
        let before = self.logs.borrow_mut().insert(partition, OwnedLog { log, drive });
        assert!(before.is_none(), "{partition:?} was opened twice");
        reader
    }

    /// Closes and removes this core's partitions of a topic from number `from` on. Returns when their names are free again, or with
    /// false if one is not; the bytes go after that.
    pub(super) async fn delete_partitions(self: &Rc<Self>, topic: TopicId, topic_name: &str, from: i32) -> bool {
        // A core that is asked nothing would go on looking at the image that had them, and keep their files open.
        drop(self.hosting());
        let first = PartitionId { topic, index: from };
        let last = PartitionId { topic, index: i32::MAX };
        self.quarantined.borrow_mut().retain(|entry| entry.topic_id != topic || entry.partition < from);
        let owned: Vec<PartitionId> = self.logs.borrow().range(first..=last).map(|(partition, _)| *partition).collect();
        self.remove_partitions(owned, topic_name).await
    }

    /// Deletes records of this core's partitions, durably; one result for each, in their order.
    pub(super) async fn delete_records(&self, wanted: Vec<Deletion>) -> Vec<Result<Offset, DeletionRefused>> {
        let mut results: Vec<_> = wanted.iter().map(|_| Err(DeletionRefused::NotServed)).collect();
        let mut deleting = JoinSet::new();
        let mut note = |deleted: Option<Result<DeletedAt, JoinError>>| {
            // A panic leaves the partition's result at "not served".
            if let Some(Ok((place, result))) = deleted {
                results[place] = result.map_err(DeletionRefused::Log);
            }
        };
        for (place, deletion) in wanted.into_iter().enumerate() {
            if deleting.len() >= OPENING_AT_ONCE_MAX {
                note(deleting.join_next().await);
            }
            let log = self.logs.borrow().get(&deletion.partition).map(|owned| Rc::clone(&owned.log));
            let Some(log) = log else { continue };
            deleting.spawn_local(async move {
                let before = deletion.before.unwrap_or_else(|| log.reader().watermarks().high_watermark);
                (place, log.delete_records_before(before).await)
            });
        }
        while !deleting.is_empty() {
            note(deleting.join_next().await);
        }
        results
    }

    /// The idempotent producers of one of this core's partitions.
    pub(super) fn active_producers(&self, partition: PartitionId) -> Option<Vec<ActiveProducer>> {
        self.logs.borrow().get(&partition).map(|owned| owned.log.active_producers())
    }

    /// Gives this core's partitions of some topics new settings.
    pub(super) fn configure(&self, configs: &[(TopicId, LogConfig)]) {
        let logs = self.logs.borrow();
        for (topic, config) in configs {
            for (_, owned) in logs.range(partitions_of(*topic)) {
                owned.log.set_config(config.clone());
            }
        }
    }

    /// Closes partitions of a topic, some at once, and gives up their names. False when one is still taken.
    async fn remove_partitions(
        self: &Rc<Self>,
        partitions: impl IntoIterator<Item = PartitionId>,
        topic_name: &str,
    ) -> bool {
        let mut retiring = JoinSet::new();
        let (mut aside, mut are_free) = (Vec::new(), true);
        let mut note = |retired: Option<Result<io::Result<PathBuf>, JoinError>>| match retired {
            Some(Ok(Ok(dir))) => aside.push(dir),
            Some(Ok(Err(error))) if error.kind() == io::ErrorKind::NotFound => {}
            Some(failed) => {
                tracing::warn!(topic_name, ?failed, "a deleted partition's directory stays until the next start");
                are_free = false;
            }
            None => {}
        };
        for partition in partitions {
            if retiring.len() >= OPENING_AT_ONCE_MAX {
                note(retiring.join_next().await);
            }
            let (core, name) = (Rc::clone(self), partition_dir_name(topic_name, partition.index));
            retiring.spawn_local(async move { core.retire(partition, &name).await });
        }
        while !retiring.is_empty() {
            note(retiring.join_next().await);
        }
        // One for all of them: ten thousand would keep the next change of a topic waiting for minutes.
        if let Err(error) = self.disk.sync_dir(&self.shared.data_dir).await {
            tracing::warn!(topic_name, %error, "the directories of deleted partitions stay until the next start");
            return false;
        }
        let disk = Rc::clone(&self.disk);
        tokio::task::spawn_local(async move {
            for dir in aside {
                if let Err(error) = remove_tree(&*disk, &dir).await {
                    tracing::warn!(path = %dir.display(), %error, "a deleted partition's files stay until the next start");
                }
            }
        });
        are_free
    }

    /// Closes one partition and renames its directory, not yet durably.
    async fn retire(&self, partition: PartitionId, name: &str) -> io::Result<PathBuf> {
        let owned = self.logs.borrow_mut().remove(&partition);
        if let Some(owned) = owned {
            // What cannot be written any more is to be removed anyway.
            let _ = owned.log.close().await;
            let _ = owned.drive.await;
        }
        let aside = self.shared.data_dir.join(deleted_name(partition));
        self.disk.rename(&self.shared.data_dir.join(name), &aside).await?;
        Ok(aside)
    }

    fn partition_dir(&self, new: &NewPartition) -> PathBuf {
        self.shared.data_dir.join(partition_dir_name(&new.topic_name, new.partition.index))
    }

    /// What a restart needs to know of this core's partitions.
    pub(super) fn checkpoint_entries(&self) -> Vec<CheckpointEntry> {
        let served = self.logs.borrow();
        let served = served.values().map(|owned| owned.log.checkpoint_entry());
        served.chain(self.quarantined.borrow().iter().cloned()).collect()
    }

    /// Lets every log whose time has come do its work; the next moment at which one wants to be asked.
    pub(super) fn on_deadline(&self, now_ms: i64) -> Option<i64> {
        self.logs.borrow().values().filter_map(|owned| owned.log.on_deadline(now_ms)).min()
    }

    /// Closes all logs: what was accepted is written and synced. The last checkpoint entries of all: of a sealed log, too, is known
    /// what of it is durable.
    pub(super) async fn close_partitions(&self) -> Vec<CheckpointEntry> {
        let logs = std::mem::take(&mut *self.logs.borrow_mut());
        let mut closing = JoinSet::new();
        for (partition, owned) in logs {
            closing.spawn_local(async move {
                let closed = owned.log.close().await;
                let _ = owned.drive.await;
                (partition, owned.log.state(), closed, owned.log.checkpoint_entry())
            });
        }
        let mut entries = self.quarantined.take();
        while let Some(closed) = closing.join_next().await {
            match closed {
                Ok((_, LogState::Serving, Ok(entry), _)) => entries.push(entry),
                Ok((partition, state, closed, entry)) => {
                    entries.push(entry);
                    self.clean.set(false);
                    tracing::warn!(?partition, ?state, error = ?closed.err(), "the partition did not close cleanly");
                }
                Err(error) => {
                    self.clean.set(false);
                    tracing::error!(%error, "closing a partition panicked");
                }
            }
        }
        entries
    }
}

/// What later starts must know of a quarantined partition: both say what is true, and the older checkpoint of a clean stop whose last one
/// could not be written says less than the clean stop.
fn remembered(known: Option<CheckpointEntry>, proven: Option<CheckpointEntry>) -> Option<CheckpointEntry> {
    match (known, proven) {
        (Some(known), Some(proven)) => Some(CheckpointEntry {
            recovery_point: known.recovery_point.max(proven.recovery_point),
            unsynced_bytes_max: known.unsynced_bytes_max.max(proven.unsynced_bytes_max),
            // Which segments there are, and since when.
            ..known
        }),
        (known, proven) => known.or(proven),
    }
}

/// What the finding itself proves to be durable, whatever the checkpoint says.
fn proven(partition: PartitionId, error: &OpenError) -> Option<CheckpointEntry> {
    let OpenError::Quarantined(quarantine) = error else { return None };
    Some(CheckpointEntry {
        topic_id: partition.topic,
        partition: partition.index,
        recovery_point: quarantine.durable_to?,
        unsynced_bytes_max: UNSYNCED_BYTES_BOUND_MAX,
        segments: Vec::new(),
    })
}

/// Nothing is cut or rebuilt without a word.
fn report_recovery(partition: &str, report: &RecoveryReport) {
    if let Some(torn) = &report.torn_tail {
        let (segment, position, bytes, why) = (torn.segment, torn.position, torn.bytes, &torn.why);
        let (next_offset, set_aside) = (torn.next_offset, torn.set_aside.display());
        tracing::warn!(partition, %segment, position, bytes, %next_offset, %set_aside, why, "a torn tail was set aside and cut");
    }
    if report.indexes_rebuilt > 0 || report.segments_removed > 0 {
        let (indexes_rebuilt, segments_removed) = (report.indexes_rebuilt, report.segments_removed);
        tracing::info!(partition, indexes_rebuilt, segments_removed, "derived files were put right");
    }
}

fn partitions_of(topic: TopicId) -> RangeInclusive<PartitionId> {
    PartitionId { topic, index: i32::MIN }..=PartitionId { topic, index: i32::MAX }
}

fn identity(partition: PartitionId) -> Identity {
    Identity { topic_id: partition.topic, partition: partition.index }
}
