//! What the broker knows about itself beside the records: its topics, their identities and settings, its own settings, and who got
//! which producer id.
//!
//! [`Metadata`] is the handle that every core holds. Reading is an immutable [`MetadataImage`] behind a watch, replaced as a whole
//! after each durable commit; writing is a message to the one thread that owns the database, or, in the simulation, a call in
//! place. A topic is created in two steps so that the caller can make its partitions durable in between: [`Metadata::prepare_topic`]
//! gives identity and placement and writes nothing, [`Metadata::commit_topic`] makes it exist. Settings change in the same two steps.
//! Knows nothing of directories and logs.

mod doubt;
mod guard;
mod image;
pub mod inspect;
mod name;
mod reread;
mod settings;
mod simulated;
mod storage;
mod store;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use ringmill_engine::disk::Disk;
use ringmill_engine::disk::sim::Simulation;
use ringmill_engine::watch;
use tokio::sync::{mpsc, oneshot};

pub use image::{MetadataImage, Topic, TopicId};
pub(crate) use name::names_collide;
pub use name::{TOPIC_NAME_BYTES_MAX, check_topic_name};
pub use reread::take_from_device;
pub use settings::{PreparedSettings, Reconfigured, Resource};
pub use store::{OpenError, Options, PRODUCER_ID_BLOCK, PreparedTopic};

use crate::config::alter::{AlterError, Alteration};
use crate::config::running::BrokerSettingError;
use crate::config::topic::TopicConfigError;
use storage::OpenStorage;
use store::Store;

/// Writes that wait for the metadata thread; a further one waits for its turn to queue.
const QUEUE_MAX: usize = 64;

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions, at least 1.
    pub partition_count: i32,
    /// What is set on it, by Kafka's names.
    pub settings: std::collections::BTreeMap<String, String>,
}

/// Why a write was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The name breaks a rule, or collides with another topic's. INVALID_TOPIC_EXCEPTION.
    #[error("{0}")]
    InvalidName(String),
    /// The topic exists. TOPIC_ALREADY_EXISTS.
    #[error("the topic {0} exists already")]
    Exists(String),
    /// There is no such topic. UNKNOWN_TOPIC_OR_PARTITION.
    #[error("there is no topic {0}")]
    Unknown(String),
    /// The number of partitions is out of its range. INVALID_PARTITIONS.
    #[error("{0} partitions were asked for; a topic has from 1 to {max}", max = store::PARTITIONS_PER_TOPIC_MAX)]
    PartitionCount(i32),
    /// The broker would have more partitions than it may. POLICY_VIOLATION.
    #[error(
        "the broker has {now} partitions, and with {more} more it would have more than its ringmill.partitions.max = {max}"
    )]
    TooManyPartitions {
        /// Of all topics.
        now: i64,
        /// What was asked for.
        more: i64,
        /// The limit.
        max: i64,
    },
    /// A topic would not get more partitions than it has. INVALID_PARTITIONS.
    #[error("the topic {topic} has {now} partitions; {asked} would not be more")]
    NoIncrease {
        /// The topic.
        topic: String,
        /// Its partitions.
        now: i32,
        /// What was asked for.
        asked: i32,
    },
    /// A setting is unknown or refused. INVALID_CONFIG.
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    /// An alteration of settings is refused. INVALID_CONFIG or INVALID_REQUEST.
    #[error(transparent)]
    Alter(#[from] AlterError),
    /// A setting of the broker is refused. INVALID_CONFIG.
    #[error(transparent)]
    BrokerSetting(#[from] BrokerSettingError),
    /// A setting of the broker would break a topic. INVALID_CONFIG.
    #[error("topic {topic} does not fit this: {error}")]
    TopicBreaks {
        /// The topic.
        topic: String,
        /// What would be wrong with it.
        error: TopicConfigError,
    },
    /// There is no space for the write; nothing has changed. KAFKA_STORAGE_ERROR.
    #[error("the metadata database could not be written, the disk is full: {0}; nothing was changed")]
    NoSpace(String),
    /// The disk refused the write before anything was committed, because it is read-only for example; nothing has changed.
    /// KAFKA_STORAGE_ERROR.
    #[error("the metadata database could not be written: {0}; nothing was changed")]
    Refused(String),
    /// A checkpoint that a change of settings needs could not be written; nothing has changed. KAFKA_STORAGE_ERROR.
    #[error("this change needs a recovery checkpoint first, and that could not be written: {0}; nothing was changed")]
    Checkpoint(String),
    /// Whether the write is durable is not known; the broker must stop. See [`Metadata::failed`].
    #[error("the metadata database has failed: {0}; the broker must be restarted")]
    Failed(String),
    /// The database is closed.
    #[error("the metadata database is closed")]
    Closed,
}

/// The handle. Cheap to clone; usable on every thread.
#[derive(Clone)]
pub struct Metadata {
    image: watch::Receiver<Arc<MetadataImage>>,
    failure: watch::Receiver<Option<String>>,
    way: Way,
}

/// How a write reaches the store.
#[derive(Clone)]
enum Way {
    Thread(mpsc::Sender<Work>),
    InPlace(Arc<Mutex<Store>>),
}

type Work = Box<dyn FnOnce(&mut Store) + Send>;

impl Metadata {
    /// Opens the database file at `path`, creating it if it is not there, and starts the thread that owns it. The thread ends when
    /// the last handle is dropped.
    ///
    /// # Errors
    /// The database cannot be opened, is damaged, or belongs to another cluster; or the thread cannot be started.
    pub fn open(path: &Path, options: Options) -> Result<Metadata, OpenError> {
        let (store, image, failure) = Store::open_file(path, options)?;
        let (work, mut queue) = mpsc::channel::<Work>(QUEUE_MAX);
        let own = move || {
            let mut store = store;
            while let Some(work) = queue.blocking_recv() {
                work(&mut store);
            }
        };
        thread::Builder::new().name("metadata".to_owned()).spawn(own).map_err(OpenError::Thread)?;
        Ok(Metadata { image, failure, way: Way::Thread(work) })
    }

    /// The same on a simulated machine and without a thread: every write happens in the caller's place. `disk` is one of the machine's.
    ///
    /// # Errors
    /// As [`Metadata::open`].
    pub fn open_simulated(
        machine: &Simulation,
        disk: &dyn Disk,
        path: &Path,
        options: Options,
    ) -> Result<Metadata, OpenError> {
        simulated::make_if_absent(machine, disk, path, &options.cluster_id)
            .map_err(|source| OpenError::Io { path: path.display().to_string(), source })?;
        Metadata::in_place(path, simulated::open_storage(machine, path), options)
    }

    fn in_place(path: &Path, open_storage: OpenStorage, options: Options) -> Result<Metadata, OpenError> {
        let (store, image, failure) = Store::open_at(&path.display().to_string(), open_storage, options)?;
        Ok(Metadata { image, failure, way: Way::InPlace(Arc::new(Mutex::new(store))) })
    }

    /// The image at this moment.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// Tells of every later image; a core keeps one and looks only when it has changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.image.clone()
    }

    /// Resolves with the reason when the database has failed, so that the broker must stop; else never.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(()) => failure.borrow().clone().expect("waited until there is one"),
            // The store is gone because everything ends: nobody needs to stop for that.
            Err(_) => std::future::pending().await,
        }
    }

    /// Checks a topic to be created and gives it an identity and a placement. Changes nothing.
    ///
    /// # Errors
    /// The name, the number of partitions or a setting is refused, or the topic exists.
    pub async fn prepare_topic(&self, topic: NewTopic, now_ms: i64) -> Result<PreparedTopic, MetadataError> {
        self.run(move |store| store.prepare_topic(topic, now_ms)).await
    }

    /// Makes a prepared topic exist; durable when this returns. Its partitions must be durable before the call.
    ///
    /// # Errors
    /// The name was taken since, or the database failed.
    pub async fn commit_topic(&self, prepared: PreparedTopic) -> Result<Arc<Topic>, MetadataError> {
        self.run(move |store| store.commit_topic(prepared)).await
    }

    /// Checks that a topic may have `count` partitions instead of fewer, and shows it with them. Changes nothing.
    ///
    /// # Errors
    /// There is no such topic, the count is no increase, or too large.
    pub async fn prepare_partitions(&self, id: TopicId, count: i32) -> Result<Topic, MetadataError> {
        self.run(move |store| store.prepare_partitions(id, count)).await
    }

    /// Gives a topic `count` partitions instead of fewer; durable when this returns. The new ones must be durable before the call.
    ///
    /// # Errors
    /// As [`Metadata::prepare_partitions`], or the database failed.
    pub async fn commit_partitions(&self, id: TopicId, count: i32) -> Result<Arc<Topic>, MetadataError> {
        self.run(move |store| store.commit_partitions(id, count)).await
    }

    /// Makes a topic cease to exist; durable when this returns. Its partitions are the caller's to remove, after the call; until
    /// [`Metadata::finish_deletions`] says that they are, every start finds it among the image's unfinished deletions.
    ///
    /// # Errors
    /// There is no such topic, or the database failed.
    pub async fn delete_topic(&self, name: &str) -> Result<Arc<Topic>, MetadataError> {
        let name = name.to_owned();
        self.run(move |store| store.delete_topic(&name)).await
    }

    /// Checks a change of settings and works out what it would do. Changes nothing.
    ///
    /// # Errors
    /// The alteration is refused, there is no such topic, or what would be set does not fit together.
    pub async fn prepare_settings(
        &self,
        resource: Resource,
        wanted: Alteration,
    ) -> Result<PreparedSettings, MetadataError> {
        self.run(move |store| store.prepare_settings(resource, &wanted)).await
    }

    /// Makes prepared settings hold; durable when this returns. Between the two calls no topic and no setting may have changed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn commit_settings(&self, prepared: PreparedSettings) -> Result<(), MetadataError> {
        self.run(move |store| store.commit_settings(prepared)).await
    }

    /// Forgets deletions of which no file is left. Becomes durable with the next deletion, for nothing depends on it.
    pub async fn finish_deletions(&self, ids: impl IntoIterator<Item = TopicId> + Send + 'static) {
        // A store that is gone has nothing to forget.
        let _ = self
            .run(|store| {
                store.finish_deletions(ids);
                Ok(())
            })
            .await;
    }

    /// Takes a block of [`PRODUCER_ID_BLOCK`] producer ids that no one else ever gets; durable when this returns.
    ///
    /// # Errors
    /// The database failed.
    pub async fn take_producer_ids(&self) -> Result<Range<i64>, MetadataError> {
        self.run(Store::take_producer_ids).await
    }

    /// Closes the database cleanly. Later writes are refused; the last image stays readable.
    pub async fn close(&self) {
        // A store that is gone is closed already.
        let _ = self
            .run(|store| {
                store.close();
                Ok(())
            })
            .await;
    }

    async fn run<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Store) -> Result<T, MetadataError> + Send + 'static,
    ) -> Result<T, MetadataError> {
        match &self.way {
            Way::InPlace(store) => write(&mut store.lock().unwrap_or_else(PoisonError::into_inner)),
            Way::Thread(queue) => {
                let (answer, answered) = oneshot::channel();
                let work: Work = Box::new(move |store| {
                    // Nobody listens when the caller was dropped meanwhile; what is done is done.
                    let _ = answer.send(write(store));
                });
                queue.send(work).await.map_err(|_| MetadataError::Closed)?;
                answered.await.map_err(|_| MetadataError::Closed)?
            }
        }
    }
}

#[cfg(test)]
mod tests;
