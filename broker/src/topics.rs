//! Topics come and go here: the one place that knows in which order partitions, metadata and names change, so that a crash at any step
//! leaves either the whole topic or none of it.
//!
//! Creating topics and adding partitions: every owner makes the partitions durable, then the metadata commits, and only then do they
//! serve. Deleting: the metadata commits, then every owner gives the names up; a start finishes what a crash has left of it. Changes
//! happen one after the other. Called by the handlers of CreateTopics, CreatePartitions, DeleteTopics and Metadata.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::core::Core;
use crate::core::hosting::{CoreId, PartitionId};
use crate::core::mailbox::{Message, NewPartition};
use crate::metadata::{MetadataError, NewTopic, PreparedTopic, Topic, TopicId};

/// Why a topic was not created, deleted or given more partitions.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicError {
    /// The metadata's rules, or its database.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The partitions cannot be made; nothing is left of them.
    #[error("the partitions cannot be made: {0}")]
    Partitions(String),
}

/// Checks all that can be checked, and shows the topic as it would be, without changing anything.
///
/// # Errors
/// [`TopicError::Metadata`].
pub async fn prepare(core: &Core, new: NewTopic) -> Result<PreparedTopic, TopicError> {
    let shared = core.shared();
    Ok(shared.metadata.prepare_topic(new, shared.clock.now_ms()).await?)
}

/// Creates a topic; when this returns it can be produced to from every core. A change that has begun is finished even when the caller
/// does not wait for it.
///
/// # Errors
/// See [`TopicError`]; then there is nothing left of it.
pub async fn create(core: &Rc<Core>, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
    let core = Rc::clone(core);
    finish(async move {
        let _alone = core.shared().topic_changes.lock().await;
        let prepared = prepare(&core, new).await?;
        check_space(&core)?;
        let (id, name) = (prepared.topic().id, Arc::clone(&prepared.topic().name));
        if let Err(error) = make_partitions(&core, prepared.topic(), 0).await {
            give_up_names(&core, id, &name, 0).await;
            return Err(error);
        }
        match core.shared().metadata.commit_topic(prepared).await {
            Ok(topic) => Ok(topic),
            // Whether it was committed is not known, so its partitions stay: the broker stops, and the next start will see.
            Err(error @ MetadataError::Failed(_)) => Err(error.into()),
            Err(error) => {
                give_up_names(&core, id, &name, 0).await;
                Err(error.into())
            }
        }
    })
    .await
}

/// Gives a topic `count` partitions instead of fewer; when this returns the new ones can be produced to from every core. A crash before
/// leaves it as it was.
///
/// # Errors
/// See [`TopicError`]; then it has the partitions that it had.
pub async fn add_partitions(core: &Rc<Core>, id: TopicId, count: i32) -> Result<Arc<Topic>, TopicError> {
    let core = Rc::clone(core);
    finish(async move {
        let shared = Arc::clone(core.shared());
        let _alone = shared.topic_changes.lock().await;
        let grown = shared.metadata.prepare_partitions(id, count).await?;
        check_space(&core)?;
        // Changes happen one after the other, so this is the count that was just found to be smaller.
        let from = core.metadata().topic_by_id(&id).map_or(0, |topic| topic.partition_count);
        let name = Arc::clone(&grown.name);
        if let Err(error) = make_partitions(&core, &grown, from).await {
            give_up_names(&core, id, &name, from).await;
            return Err(error);
        }
        match shared.metadata.commit_partitions(id, count).await {
            Ok(topic) => Ok(topic),
            // As above: whether it was committed is not known.
            Err(error @ MetadataError::Failed(_)) => Err(error.into()),
            Err(error) => {
                give_up_names(&core, id, &name, from).await;
                Err(error.into())
            }
        }
    })
    .await
}

/// Deletes a topic; when this returns its name is free again.
///
/// # Errors
/// [`TopicError::Metadata`]; then it still exists.
pub async fn delete(core: &Rc<Core>, topic: Arc<Topic>) -> Result<(), TopicError> {
    let core = Rc::clone(core);
    finish(async move {
        let shared = Arc::clone(core.shared());
        let _alone = shared.topic_changes.lock().await;
        if core.metadata().topic_by_id(&topic.id).is_none() {
            // Another request was faster; a topic of the same name may exist again, and it is not the one that was meant.
            return Err(MetadataError::Unknown(topic.name.to_string()).into());
        }
        let topic = core.commit(async || shared.metadata.delete_topic(&topic.name).await).await?;
        // Of a quarantined partition no core knows; the next start removes it.
        let hosting = core.hosting();
        let is_open = |index| hosting.find(&topic, index).is_some_and(|hosted| hosted.reader.is_some());
        let all_are_open = (0..topic.partition_count).all(is_open);
        drop(hosting);
        if give_up_names(&core, topic.id, &topic.name, 0).await && all_are_open {
            shared.metadata.finish_deletions([topic.id]).await;
        }
        Ok(())
    })
    .await
}

/// A partition takes little at first; but what is left is kept for what frees space.
fn check_space(core: &Core) -> Result<(), TopicError> {
    match core.shared().space.is_low() {
        false => Ok(()),
        true => Err(TopicError::Partitions("the disk is nearly full".to_owned())),
    }
}

/// Runs a change to its end even if whoever asked for it goes away meanwhile.
async fn finish<T: 'static>(change: impl Future<Output = Result<T, TopicError>> + 'static) -> Result<T, TopicError> {
    tokio::task::spawn_local(change).await.unwrap_or_else(|error| Err(TopicError::Partitions(error.to_string())))
}

/// What the owners of `topic`'s partitions from number `from` on have to open or make, by core.
pub(crate) fn partitions_by_core(topic: &Topic, from: i32, cores: usize) -> BTreeMap<CoreId, Vec<NewPartition>> {
    let mut by_core: BTreeMap<CoreId, Vec<NewPartition>> = BTreeMap::new();
    for index in from..topic.partition_count {
        let new = NewPartition {
            partition: PartitionId { topic: topic.id, index },
            topic_name: Arc::clone(&topic.name),
            config: topic.config.to_log_config(),
        };
        by_core.entry(CoreId(topic.owner(index, cores))).or_default().push(new);
    }
    by_core
}

async fn make_partitions(core: &Core, topic: &Topic, from: i32) -> Result<(), TopicError> {
    let mut answers = Vec::new();
    for (owner, partitions) in partitions_by_core(topic, from, core.core_count()) {
        let (answer, made) = oneshot::channel();
        core.tell(owner, Message::Create(partitions, answer)).await;
        answers.push(made);
    }
    let mut failed = None;
    for made in answers {
        failed = failed.or(match made.await {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(_) => Some("the broker stops".to_owned()),
        });
    }
    failed.map_or(Ok(()), |why| Err(TopicError::Partitions(why)))
}

/// Lets every core close and remove its partitions of a topic from number `from` on, which the metadata does not know (any more). False
/// when something of them may still be there under its name.
async fn give_up_names(core: &Core, topic: TopicId, name: &Arc<str>, from: i32) -> bool {
    core.shared().hosting.remove(topic, from);
    let mut answers = Vec::new();
    for owner in (0..core.core_count()).map(CoreId) {
        let (answer, gone) = oneshot::channel();
        core.tell(owner, Message::Delete { topic, topic_name: Arc::clone(name), from, answer }).await;
        answers.push(gone);
    }
    let mut all_are_free = true;
    for gone in answers {
        // A core that has stopped leaves its directories to the next start.
        all_are_free &= gone.await.unwrap_or(false);
    }
    all_are_free
}
