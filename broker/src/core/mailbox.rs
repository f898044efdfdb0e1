//! What cores say to one another: appends and other orders to the owners of partitions, and the few orders of the composition root.
//!
//! A core answers a message without ever waiting for another core's mailbox, so two cores that write to each other cannot lock each
//! other up. The byte budget bounds what appends may hold; the queue's own length is bounded besides.

use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, Offset};
use ringmill_engine::log::{AppendError, Appended, LogConfig, LogError};
use ringmill_engine::producer_state::ActiveProducer;
use ringmill_net::Charge;
use ringmill_net::transport::Listener;
use tokio::sync::{mpsc, oneshot};

use super::hosting::{CoreId, PartitionId};
use super::listen::Handed;
use crate::group::Ask;
use crate::metadata::TopicId;

/// Messages that may wait in one core's mailbox; a sender waits while it is full.
pub const MAILBOX_MESSAGES_MAX: usize = 4096;

/// The sending half of a core's mailbox.
pub type Mailbox = mpsc::Sender<Message>;

/// Why an append did not become durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendRefused {
    /// The log's own reason.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// The partition is gone, or it never opened: nothing was appended.
    #[error("the partition is not served")]
    NotServed,
    /// The log ended without a word: whether the batch was appended is not known.
    #[error("the log ended while the batch was under way")]
    Lost,
}

/// One result per batch, in the order of the request.
pub type AppendResults = Vec<Result<Appended, AppendRefused>>;

/// One checked batch and where it goes.
pub struct PartitionBatch {
    /// The partition.
    pub partition: PartitionId,
    /// Exactly one batch, uniquely owned.
    pub batch: BytesMut,
    /// Its header, as checked.
    pub header: BatchHeader,
}

/// All batches of one produce request that go to one owner.
pub struct AppendRequest {
    /// In the order of the request.
    pub batches: Vec<PartitionBatch>,
    /// Their share of the byte budget; returns when the last of them is durable or refused.
    pub charge: Charge,
    /// Told when the last of them is known.
    pub answer: oneshot::Sender<AppendResults>,
}

/// Records that are to be deleted.
#[derive(Clone, Copy, Debug)]
pub struct Deletion {
    /// Of which partition.
    pub partition: PartitionId,
    /// The first offset that stays; `None`: the high watermark, as it is when the owner comes to it.
    pub before: Option<Offset>,
}

/// Why records were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeletionRefused {
    /// The log's own reason.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The partition is gone, or it never opened.
    #[error("the partition is not served")]
    NotServed,
}

/// A partition that is to be made.
#[derive(Clone, Debug)]
pub struct NewPartition {
    /// Its identity.
    pub partition: PartitionId,
    /// Its topic's name, which names the directory.
    pub topic_name: Arc<str>,
    /// The topic's settings.
    pub config: LogConfig,
}

/// One message to a core.
pub enum Message {
    /// Append these batches.
    Append(AppendRequest),
    /// Make these partitions durably and host them; answers with the first failure.
    Create(Vec<NewPartition>, oneshot::Sender<Result<(), CreateFailed>>),
    /// Close this topic's partitions from a number on, take their directories out of the way, then remove them.
    Delete {
        /// The topic.
        topic: TopicId,
        /// Its name, which names the directories.
        topic_name: Arc<str>,
        /// The first partition that goes; 0 for all of them.
        from: i32,
        /// Told when it is done: whether the names are free again.
        answer: oneshot::Sender<bool>,
    },
    /// Delete records of these partitions; one result for each, in their order.
    DeleteRecords(Vec<Deletion>, oneshot::Sender<Vec<Result<Offset, DeletionRefused>>>),
    /// Tell the producers that are active in this partition; `None` if it is not served.
    DescribeProducers(PartitionId, oneshot::Sender<Option<Vec<ActiveProducer>>>),
    /// Ask a consumer group of this core.
    Group(Ask),
    /// Let the partitions of these topics go by these settings from now on.
    Configure(Arc<[(TopicId, LogConfig)]>, oneshot::Sender<()>),
    /// Write the recovery checkpoint now; answers when it is durable.
    Checkpoint(oneshot::Sender<std::io::Result<()>>),
    /// Accept connections and hand them out; only the first core gets this.
    Listen(Listener),
    /// Serve this accepted connection.
    Connection(Handed),
    /// Stop reading requests, answer those that were read, close the connections.
    Drain(oneshot::Sender<()>),
    /// Close the logs; the mailbox ends with this message.
    Close(oneshot::Sender<Closed>),
}

/// Why a partition could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {why}", topic_name)]
pub struct CreateFailed {
    /// Whose.
    pub topic_name: Arc<str>,
    /// What the engine or the system said.
    pub why: String,
}

/// How a core's logs ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which core.
    pub core: CoreId,
    /// Whether every partition was served until now and closed without an error: only then may the superblock say "clean".
    pub clean: bool,
}
