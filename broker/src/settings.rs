//! Settings change here: the one place that knows in which order checkpoints, metadata and partitions learn of it.
//!
//! A change is checked and worked out by the metadata, made durable there, and told to the cores that own the partitions concerned;
//! only then is it answered. Changes of topics and settings happen one after the other. Called by the handlers of AlterConfigs and
//! IncrementalAlterConfigs.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::alter::Alteration;
use crate::core::Core;
use crate::core::hosting::CoreId;
use crate::core::mailbox::Message;
use crate::metadata::{MetadataError, Reconfigured, Resource};

/// Changes what is set on a resource, or with `validate_only` says whether it could be. When this returns, the change is durable and
/// every partition goes by it. A change that has begun is finished even when the caller does not wait for it.
///
/// # Errors
/// As [`crate::metadata::Metadata::prepare_settings`], or the database refused or failed; then nothing has changed.
pub async fn alter(
    core: &Rc<Core>,
    resource: Resource,
    wanted: Alteration,
    validate_only: bool,
) -> Result<(), MetadataError> {
    if validate_only {
        return core.shared().metadata.prepare_settings(resource, wanted).await.map(drop);
    }
    let core = Rc::clone(core);
    let change = async move {
        let shared = Arc::clone(core.shared());
        let _alone = shared.topic_changes.lock().await;
        let prepared = shared.metadata.prepare_settings(resource.clone(), wanted).await?;
        let topics = prepared.topics().to_vec();
        if topics.iter().any(lowers_unsynced_bound) {
            write_checkpoints(&core).await?;
        }
        core.commit(async || shared.metadata.commit_settings(prepared.clone()).await).await?;
        let reconfigured = topics.len();
        configure(&core, topics).await;
        tracing::info!(?resource, reconfigured, "settings were changed by the admin protocol");
        Ok(())
    };
    match tokio::task::spawn_local(change).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The core ends, and with it whoever waits for this answer.
        Err(_) => Err(MetadataError::Closed),
    }
}

/// A partition may have written more than the new bound and not yet synced it. Recovery takes the larger of the bounds in settings and
/// checkpoint, so the old one must stand in the checkpoint before it is gone from the settings.
fn lowers_unsynced_bound(topic: &Reconfigured) -> bool {
    let bound = |config: &crate::config::TopicConfig| config.to_log_config().unsynced_bound();
    bound(&topic.after.config) < bound(&topic.before.config)
}

async fn write_checkpoints(core: &Core) -> Result<(), MetadataError> {
    for answer in tell_all(core, Message::Checkpoint).await {
        // A core that has stopped wrote its last checkpoint as it did.
        if let Ok(Err(error)) = answer.await {
            return Err(MetadataError::Checkpoint(error.to_string()));
        }
    }
    Ok(())
}

async fn configure(core: &Core, topics: Vec<Reconfigured>) {
    let configs: Arc<[_]> = topics
        .iter()
        .map(|topic| (topic.after.id, topic.after.config.to_log_config(), topic.before.config.to_log_config()))
        .filter(|(_, after, before)| after != before)
        .map(|(id, after, _)| (id, after))
        .collect();
    if configs.is_empty() {
        return;
    }
    for answer in tell_all(core, |answer| Message::Configure(Arc::clone(&configs), answer)).await {
        // A core that has stopped opens its partitions with the new settings at the next start.
        let _ = answer.await;
    }
}

async fn tell_all<T>(core: &Core, message: impl Fn(oneshot::Sender<T>) -> Message) -> Vec<oneshot::Receiver<T>> {
    let mut answers = Vec::new();
    for owner in (0..core.core_count()).map(CoreId) {
        let (answer, answered) = oneshot::channel();
        core.tell(owner, message(answer)).await;
        answers.push(answered);
    }
    answers
}
