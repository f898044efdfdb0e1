//! The database under the metadata, and the rules by which it changes: one writer, every change one durable transaction.
//!
//! Runs on the metadata thread or, in the simulation, in the caller's place; waits for nothing but its storage. A write that the disk
//! refuses (no space, read-only) is rolled back by opening the database again at its last commit, at once or, where even that is
//! impossible, before the next write; a failed sync leaves open what is durable, so it ends the store and, through `failure`, the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use ringmill_engine::watch;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::image::{MetadataImage, Topic, TopicId};
use super::name::{check_topic_name, names_collide};
use super::storage::{OpenStorage, StorageFaults, open_database, open_file_storage};
use super::{MetadataError, NewTopic, doubt, guard};
use crate::config::running::BrokerSettingError;
use crate::config::topic::TopicConfig;
use crate::config::{BrokerConfig, DynamicSettings, RunningConfig};

/// How many producer ids one transaction takes, so that a new producer rarely waits for a sync.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// A larger counter cannot have come about: it starts at 0, and every block costs a sync.
const PRODUCER_ID_MAX: u64 = i64::MAX.unsigned_abs() / 2;

/// A topic's largest number of partitions.
pub(super) const PARTITIONS_PER_TOPIC_MAX: i32 = 10_000;

/// Rises when the tables below change in a way that older code would misread. 2: settings of brokers.
pub(super) const FORMAT_VERSION: u64 = 2;

/// Words: `cluster id`.
const WORDS: TableDefinition<'_, &str, &str> = TableDefinition::new("words");
/// Numbers: `format version`, `next producer id`, `next placement`, `changes`.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Topics by name; the value is a [`TopicRow`] as JSON.
pub(super) const TOPICS: TableDefinition<'_, &str, &str> = TableDefinition::new("topics");
/// Topics that are deleted and whose files may still be there, by id; the value is the name they had.
const DELETIONS: TableDefinition<'_, &str, &str> = TableDefinition::new("deletions");
/// What is set on brokers by the admin protocol, by node id, and under the empty name for all of them; the value is an object of
/// names and values as JSON. Not there in format 1.
pub(super) const BROKERS: TableDefinition<'_, &str, &str> = TableDefinition::new("brokers");

/// What the store is told from outside.
pub struct Options {
    /// The cluster's id, out of the superblock; a database of another cluster is refused.
    pub cluster_id: String,
    /// What the broker was started with: what topics get for settings that are not set on them, and who the broker is.
    pub started: BrokerConfig,
    /// Gives identities that never repeat: random ones, or in the simulation the seed's.
    pub new_topic_id: Box<dyn FnMut() -> TopicId + Send>,
}

impl Options {
    /// Options with random topic ids.
    #[must_use]
    pub fn new(cluster_id: &str, started: &BrokerConfig) -> Options {
        let new_topic_id = Box::new(|| Uuid::new_v4().into_bytes());
        Options { cluster_id: cluster_id.to_owned(), started: started.clone(), new_topic_id }
    }
}

/// Why the database does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system says no.
    #[error("cannot open the metadata database {path}: {source}; check owner and permissions of the data directory")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its content is not what was written.
    #[error(
        "the metadata database {path} is damaged: {why}; restore it from a backup. Without it the broker does not know its topics, \
         so it does not start; no byte of the records is touched"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        why: String,
    },
    /// It is another cluster's.
    #[error(
        "the metadata database {path} belongs to cluster {found}, the data directory to cluster {expected}; \
         one of them was copied from elsewhere: put the two together that belong together"
    )]
    OtherCluster {
        /// The file.
        path: String,
        /// The id in the database.
        found: String,
        /// The id in the superblock.
        expected: String,
    },
    /// It was written by a newer Ringmill.
    #[error(
        "the metadata database {path} has format {found}, this Ringmill knows {FORMAT_VERSION}; start the newer Ringmill that wrote it"
    )]
    NewerFormat {
        /// The file.
        path: String,
        /// Its format.
        found: u64,
    },
    /// A stored topic's settings contradict the broker's configuration of today.
    #[error("topic {topic} does not fit the configuration: {why}")]
    Topic {
        /// The topic.
        topic: String,
        /// What contradicts what.
        why: String,
    },
    /// What the admin protocol has set on the broker contradicts its configuration of today.
    #[error(
        "what was set on the broker by the admin protocol does not fit its configuration: {0}; change the configuration back, and \
         delete the setting by the admin protocol first"
    )]
    Broker(BrokerSettingError),
    /// The metadata thread cannot be started.
    #[error("the metadata thread cannot be started: {0}")]
    Thread(io::Error),
}

/// A topic that has an identity and a placement, and does not exist yet.
#[derive(Clone, Debug)]
pub struct PreparedTopic(Topic);

impl PreparedTopic {
    /// The topic as it will be.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.0
    }
}

/// A topic as the database keeps it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicRow {
    pub(super) id: Uuid,
    pub(super) partitions: i32,
    placement: u64,
    created_ms: i64,
    settings: BTreeMap<String, String>,
}

/// The database and the image of what is committed.
pub(super) struct Store {
    /// `None` once closed or failed, and while a failed write keeps it from opening again.
    database: Option<Database>,
    is_to_reopen: bool,
    open_storage: OpenStorage,
    faults: Arc<StorageFaults>,
    /// The file's name, for messages.
    path: String,
    pub(super) options: Options,
    next_placement: u64,
    /// Transactions that were ever committed; see `doubt`.
    changes: u64,
    /// Rows of [`DELETIONS`] that the next deletion takes away: a transaction of their own would cost a sync for nothing.
    finished_deletions: Vec<TopicId>,
    pub(super) image: watch::Sender<Arc<MetadataImage>>,
    failure: watch::Sender<Option<String>>,
}

type Opened = (Store, watch::Receiver<Arc<MetadataImage>>, watch::Receiver<Option<String>>);

impl Store {
    /// Opens the file at `path`, or makes it: under another name first, since a database cut off in its making could not be told
    /// from a damaged one.
    pub(super) fn open_file(path: &Path, options: Options) -> Result<Opened, OpenError> {
        let name_error = |source| OpenError::Io { path: path.display().to_string(), source };
        if !path.try_exists().map_err(name_error)? {
            let unfinished = PathBuf::from(format!("{}.new", path.display()));
            make(open_file_storage(unfinished.clone(), true), &options.cluster_id).map_err(name_error)?;
            std::fs::rename(&unfinished, path).map_err(name_error)?;
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // A rename alone may not survive power loss.
            std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(name_error)?;
        }
        Store::open_at(&path.display().to_string(), open_file_storage(path.to_owned(), false), options)
    }

    /// Opens a database on any storage, and makes it there if the storage is empty. `path` is for messages.
    pub(super) fn open_at(path: &str, mut open_storage: OpenStorage, options: Options) -> Result<Opened, OpenError> {
        let faults = Arc::<StorageFaults>::default();
        let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
        let (database, content) = guard::opening(path, || {
            let mut database = open_database(&mut open_storage, &faults).map_err(|source| match source.kind() {
                io::ErrorKind::InvalidData => damaged(source.to_string()),
                _ => OpenError::Io { path: path.to_owned(), source },
            })?;
            // Compares every page with its checksum; the database is small, and a wrong topic is worse than a millisecond.
            database.check_integrity().map_err(|error| damaged(error.to_string()))?;
            let content = read(&database).map_err(|error| damaged(error.to_string()))?;
            Ok((database, content))
        })?;
        let mut content = match content {
            Some(content) => content,
            None => {
                let new = initialise(&database, &options.cluster_id);
                new.map_err(|error| OpenError::Io { path: path.to_owned(), source: io::Error::other(error) })?;
                let cluster_id = options.cluster_id.clone();
                Content { format: FORMAT_VERSION, cluster_id, ..Content::default() }
            }
        };
        if content.format > FORMAT_VERSION {
            return Err(OpenError::NewerFormat { path: path.to_owned(), found: content.format });
        }
        if content.cluster_id != options.cluster_id {
            let expected = options.cluster_id;
            return Err(OpenError::OtherCluster { path: path.to_owned(), found: content.cluster_id, expected });
        }
        if content.next_producer_id > PRODUCER_ID_MAX {
            return Err(damaged(format!("the next producer id is {}", content.next_producer_id)));
        }
        let mut settings_of = |broker: &str| match content.brokers.remove(broker) {
            Some(row) => {
                serde_json::from_str(&row).map_err(|error| damaged(format!("the row of broker {broker:?}: {error}")))
            }
            None => Ok(BTreeMap::new()),
        };
        let broker = settings_of(&options.started.node_id.to_string())?;
        let dynamic = DynamicSettings { cluster: settings_of("")?, broker };
        let running = RunningConfig::resolve(&options.started, dynamic).map_err(OpenError::Broker)?;
        let mut image = MetadataImage::new(&options.cluster_id, running);
        for (name, row) in content.topics {
            let row: TopicRow =
                serde_json::from_str(&row).map_err(|error| damaged(format!("the row of topic {name:?}: {error}")))?;
            row.check(&name, &image).map_err(|why| damaged(format!("the row of topic {name:?}: {why}")))?;
            let config = image.running.topic_defaults().resolve(&row.settings);
            let config = config.map_err(|error| OpenError::Topic { topic: name.clone(), why: error.to_string() })?;
            let topic = Arc::new(row.into_topic(&name, config));
            image.names.insert(topic.id, Arc::clone(&topic.name));
            image.topics.insert(Arc::clone(&topic.name), topic);
        }
        image.deletions = Arc::new(deleted_topics(&content.deletions).map_err(damaged)?);
        let (image, failure) = (watch::Sender::new(Arc::new(image)), watch::Sender::new(None));
        let (image_watch, failure_watch) = (image.subscribe(), failure.subscribe());
        let store = Store {
            database: Some(database),
            is_to_reopen: false,
            open_storage,
            faults,
            path: path.to_owned(),
            options,
            next_placement: content.next_placement,
            changes: content.changes,
            finished_deletions: Vec::new(),
            image,
            failure,
        };
        Ok((store, image_watch, failure_watch))
    }

    pub(super) fn prepare_topic(&mut self, new: NewTopic, now_ms: i64) -> Result<PreparedTopic, MetadataError> {
        let NewTopic { name, partition_count, settings } = new;
        check_topic_name(&name).map_err(MetadataError::InvalidName)?;
        self.check_name_is_free(&name)?;
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&partition_count) {
            return Err(MetadataError::PartitionCount(partition_count));
        }
        self.check_partitions_in_all(partition_count)?;
        let config = self.image.borrow().running.topic_defaults().resolve(&settings)?;
        Ok(PreparedTopic(Topic {
            name: name.into(),
            id: (self.options.new_topic_id)(),
            partition_count,
            placement: self.next_placement,
            created_ms: now_ms,
            settings,
            config: Arc::new(config),
        }))
    }

    /// Each partition costs files, descriptors and memory for as long as the broker runs.
    fn check_partitions_in_all(&self, more: i32) -> Result<(), MetadataError> {
        let now = self.image.borrow().topics().map(|topic| i64::from(topic.partition_count)).sum();
        let (more, max) = (i64::from(more), self.options.started.partitions_max);
        if now + more > max { Err(MetadataError::TooManyPartitions { now, more, max }) } else { Ok(()) }
    }

    pub(super) fn commit_topic(&mut self, prepared: PreparedTopic) -> Result<Arc<Topic>, MetadataError> {
        let PreparedTopic(topic) = prepared;
        // Two creations may have been prepared side by side.
        self.check_name_is_free(&topic.name)?;
        let next_placement = self.next_placement.wrapping_add(topic.partition_count.unsigned_abs().into());
        let row =
            serde_json::to_string(&TopicRow::of(&topic)).expect("a row of numbers and strings is always valid JSON");
        self.write(|transaction| {
            transaction.open_table(TOPICS)?.insert(&*topic.name, row.as_str())?;
            transaction.open_table(NUMBERS)?.insert("next placement", next_placement)?;
            Ok(())
        })?;
        self.next_placement = next_placement;
        let topic = Arc::new(topic);
        self.image.send_modify(|image| *image = Arc::new(image.with(Arc::clone(&topic))));
        Ok(topic)
    }

    pub(super) fn prepare_partitions(&mut self, id: TopicId, count: i32) -> Result<Topic, MetadataError> {
        let image = self.image.borrow();
        let topic = image.topic_by_id(&id).ok_or_else(|| MetadataError::Unknown(Uuid::from_bytes(id).to_string()))?;
        if count <= topic.partition_count {
            let (topic, now) = (topic.name.to_string(), topic.partition_count);
            return Err(MetadataError::NoIncrease { topic, now, asked: count });
        }
        if count > PARTITIONS_PER_TOPIC_MAX {
            return Err(MetadataError::PartitionCount(count));
        }
        self.check_partitions_in_all(count - topic.partition_count)?;
        Ok(Topic { partition_count: count, ..Topic::clone(topic) })
    }

    pub(super) fn commit_partitions(&mut self, id: TopicId, count: i32) -> Result<Arc<Topic>, MetadataError> {
        let topic = Arc::new(self.prepare_partitions(id, count)?);
        let row =
            serde_json::to_string(&TopicRow::of(&topic)).expect("a row of numbers and strings is always valid JSON");
        self.write(|transaction| {
            transaction.open_table(TOPICS)?.insert(&*topic.name, row.as_str())?;
            Ok(())
        })?;
        self.image.send_modify(|image| *image = Arc::new(image.with(Arc::clone(&topic))));
        Ok(topic)
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> Result<Arc<Topic>, MetadataError> {
        let topic = self.image.borrow().topic(name).cloned();
        let topic = topic.ok_or_else(|| MetadataError::Unknown(name.to_owned()))?;
        let finished = std::mem::take(&mut self.finished_deletions);
        self.write(|transaction| {
            transaction.open_table(TOPICS)?.remove(name)?;
            let mut deletions = transaction.open_table(DELETIONS)?;
            for id in finished {
                deletions.remove(Uuid::from_bytes(id).to_string().as_str())?;
            }
            deletions.insert(Uuid::from_bytes(topic.id).to_string().as_str(), name)?;
            Ok(())
        })?;
        self.image.send_modify(|image| *image = Arc::new(image.without(&topic)));
        Ok(topic)
    }

    pub(super) fn finish_deletions(&mut self, ids: impl IntoIterator<Item = TopicId>) {
        self.finished_deletions.extend(ids);
    }

    pub(super) fn take_producer_ids(&mut self) -> Result<Range<i64>, MetadataError> {
        let first = self.write(|transaction| {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let first = numbers.get("next producer id")?.map_or(0, |next| next.value());
            numbers.insert("next producer id", first + PRODUCER_ID_BLOCK.unsigned_abs())?;
            Ok(first)
        })?;
        let first = i64::try_from(first)
            .expect("it was compared with this when the database was opened, and 2^63 ids last for ever");
        Ok(first..first + PRODUCER_ID_BLOCK)
    }

    pub(super) fn close(&mut self) {
        self.database = None;
        self.is_to_reopen = false;
    }

    fn check_name_is_free(&self, name: &str) -> Result<(), MetadataError> {
        let image = self.image.borrow();
        match image.topics().find(|topic| names_collide(&topic.name, name)) {
            None => Ok(()),
            Some(topic) if &*topic.name == name => Err(MetadataError::Exists(name.to_owned())),
            Some(topic) => Err(MetadataError::InvalidName(format!(
                "the topic's name {name} collides with the topic {}: they differ only in '.' and '_'",
                topic.name
            ))),
        }
    }

    /// One durable transaction. A failure rolls back, or, when nobody can know what is durable, ends the store.
    pub(super) fn write<T>(
        &mut self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, MetadataError> {
        if self.database.is_none() {
            self.reopen()?;
        }
        let database = self.database.as_ref().expect("opened before, or just now");
        let number = self.changes.wrapping_add(1);
        let mut made = None;
        self.faults.has_synced.store(false, Ordering::Relaxed);
        let outcome = transact(database, |transaction| {
            made = Some(change(transaction)?);
            transaction.open_table(NUMBERS)?.insert("changes", number)?;
            Ok(())
        });
        if let Err(error) = outcome {
            self.settle(number, error.to_string())?;
        }
        self.changes = number;
        Ok(made.expect("only a change that was made is counted"))
    }

    /// After transaction `number` failed: `Ok` if it is durable nevertheless.
    fn settle(&mut self, number: u64, error: String) -> Result<(), MetadataError> {
        // After a failed write redb refuses everything: only what it finds when it opens the file anew can be believed.
        self.database = None;
        self.is_to_reopen = true;
        let refused = self.refusal(error);
        if matches!(refused, MetadataError::Failed(_)) {
            return Err(refused);
        }
        let was_synced = self.faults.has_synced.load(Ordering::Relaxed);
        let durable = doubt::is_durable(number, was_synced, &self.path, &mut self.open_storage)
            .map_err(|error| self.fail(error.to_string()))?;
        // Now rather than at the next write, so that a full disk is not found to be half full of it.
        let _ = self.reopen();
        if !durable {
            return Err(refused);
        }
        tracing::warn!(%refused, "a change of the metadata was durable before the disk refused what comes after it");
        Ok(())
    }

    /// Opens the database again after a write that failed. Should even this be impossible for now (the disk is still full, or
    /// read-only), the next write tries again: nothing committed is lost, and the image is whole.
    fn reopen(&mut self) -> Result<(), MetadataError> {
        if !self.is_to_reopen {
            let reason = self.failure.borrow().clone();
            return Err(reason.map_or(MetadataError::Closed, MetadataError::Failed));
        }
        match open_database(&mut self.open_storage, &self.faults) {
            Ok(database) => {
                self.database = Some(database);
                self.is_to_reopen = false;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the metadata database does not open after a failed write; the next write tries again");
                Err(self.refusal(error.to_string()))
            }
        }
    }

    /// What a failure means: if a sync failed, nobody knows what is durable, and the broker must stop.
    fn refusal(&mut self, error: String) -> MetadataError {
        if self.faults.sync_failed.load(Ordering::Relaxed) {
            return self.fail(error);
        }
        match self.faults.found_full.swap(false, Ordering::Relaxed) {
            true => MetadataError::NoSpace(error),
            false => MetadataError::Refused(error),
        }
    }

    fn fail(&mut self, error: String) -> MetadataError {
        self.is_to_reopen = false;
        self.failure.send_replace(Some(error.clone()));
        MetadataError::Failed(error)
    }
}

impl TopicRow {
    pub(super) fn of(topic: &Topic) -> TopicRow {
        TopicRow {
            id: Uuid::from_bytes(topic.id),
            partitions: topic.partition_count,
            placement: topic.placement,
            created_ms: topic.created_ms,
            settings: topic.settings.clone(),
        }
    }

    /// Whether a topic with this row could have been made. The name is that of directories, the number that of logs to be opened.
    fn check(&self, name: &str, before: &MetadataImage) -> Result<(), String> {
        check_topic_name(name)?;
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&self.partitions) {
            return Err(format!("{} partitions", self.partitions));
        }
        match before.names.get(self.id.as_bytes()) {
            Some(other) => Err(format!("its id is that of topic {other}, too")),
            None => Ok(()),
        }
    }

    fn into_topic(self, name: &str, config: TopicConfig) -> Topic {
        Topic {
            name: name.into(),
            id: self.id.into_bytes(),
            partition_count: self.partitions,
            placement: self.placement,
            created_ms: self.created_ms,
            settings: self.settings,
            config: Arc::new(config),
        }
    }
}

/// All that the database holds and the image needs.
#[derive(Default)]
pub(super) struct Content {
    pub(super) format: u64,
    pub(super) cluster_id: String,
    next_placement: u64,
    next_producer_id: u64,
    pub(super) changes: u64,
    pub(super) topics: Vec<(String, String)>,
    pub(super) deletions: Vec<String>,
    brokers: BTreeMap<String, String>,
}

/// The rows of [`DELETIONS`] as topics.
pub(super) fn deleted_topics(rows: &[String]) -> Result<BTreeSet<TopicId>, String> {
    let ids = rows.iter().map(|id| Uuid::parse_str(id).map(Uuid::into_bytes));
    ids.collect::<Result<_, _>>().map_err(|error| format!("a deletion's row: {error}"))
}

/// `None` from a database in which nothing was ever committed.
pub(super) fn read(database: &Database) -> Result<Option<Content>, redb::Error> {
    let transaction = database.begin_read()?;
    let words = match transaction.open_table(WORDS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        words => words?,
    };
    let numbers = transaction.open_table(NUMBERS)?;
    let number = |name: &str| Ok::<_, redb::Error>(numbers.get(name)?.map_or(0, |number| number.value()));
    let topics = rows(&transaction, TOPICS)?;
    let deletions = rows(&transaction, DELETIONS)?.into_iter().map(|(id, _)| id).collect();
    let brokers = rows(&transaction, BROKERS)?.into_iter().collect();
    Ok(Some(Content {
        format: number("format version")?,
        cluster_id: words.get("cluster id")?.map_or_else(String::new, |id| id.value().to_owned()),
        next_placement: number("next placement")?,
        next_producer_id: number("next producer id")?,
        changes: number("changes")?,
        topics,
        deletions,
        brokers,
    }))
}

/// All rows of a table; none where the database is from before there was such a table.
fn rows(
    transaction: &redb::ReadTransaction,
    table: TableDefinition<'_, &str, &str>,
) -> Result<Vec<(String, String)>, redb::Error> {
    let table = match transaction.open_table(table) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let rows = table.iter()?.map(|row| row.map(|(key, row)| (key.value().to_owned(), row.value().to_owned())));
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes a new database and closes it.
pub(super) fn make(mut open_storage: OpenStorage, cluster_id: &str) -> io::Result<()> {
    let database = open_database(&mut open_storage, &Arc::default())?;
    initialise(&database, cluster_id).map_err(io::Error::other)
}

fn initialise(database: &Database, cluster_id: &str) -> Result<(), redb::Error> {
    transact(database, |transaction| {
        transaction.open_table(WORDS)?.insert("cluster id", cluster_id)?;
        transaction.open_table(NUMBERS)?.insert("format version", FORMAT_VERSION)?;
        transaction.open_table(TOPICS)?;
        Ok(())
    })
}

fn transact<T>(
    database: &Database,
    change: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let transaction = database.begin_write()?;
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}
