//! Consumer groups, where the state machine of `ringmill-groups` meets the broker: which core keeps a group, and how to ask it.
//!
//! A group belongs to a partition of `__consumer_offsets`, and lives on the core that owns it (`host.rs`); handlers on any core ask
//! through [`ask`]. What a core keeps is loaded from the log before it answers (`load.rs`).

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::Request;
use ringmill_net::wire::ErrorCode;
use tokio::sync::oneshot;

use crate::core::Core;
use crate::core::hosting::{CoreId, PartitionId};
use crate::core::mailbox::Message;
use crate::internal_topics;
use crate::metadata::Topic;

mod host;
mod hosts;
mod list;
mod load;
mod place;
mod topics;
mod writer;

pub use hosts::Hosts;
pub use list::list;
use place::partition_of;

/// A request on its way to the core that keeps its group.
pub struct Ask {
    /// The partition of the topic of offsets that the group belongs to.
    pub partition: PartitionId,
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub reply: Reply,
}

/// Where an answer goes. Who asked may have gone.
pub type Reply = oneshot::Sender<Result<Answer, ErrorCode>>;

/// Asks the core that keeps `group`. The answer comes when all that it rests on is durable.
///
/// # Errors
/// COORDINATOR_LOAD_IN_PROGRESS and COORDINATOR_NOT_AVAILABLE: the client comes again. After the latter a commit may have happened.
pub async fn ask(core: &Rc<Core>, group: &str, request: Request) -> Result<Answer, ErrorCode> {
    let topic = group_topic(core).await?;
    let index = partition_of(group, topic.partition_count);
    ask_partition(core, &topic, index, request).await
}

/// The topic of offsets, made if it is not there.
async fn group_topic(core: &Rc<Core>) -> Result<Arc<Topic>, ErrorCode> {
    internal_topics::group_topic(core).await.map_err(|error| {
        tracing::warn!(%error, "the topic of the consumer groups' offsets cannot be made");
        ErrorCode::CoordinatorNotAvailable
    })
}

async fn ask_partition(core: &Rc<Core>, topic: &Arc<Topic>, index: i32, request: Request) -> Result<Answer, ErrorCode> {
    let partition = PartitionId { topic: topic.id, index };
    let (reply, answered) = oneshot::channel();
    let ask = Ask { partition, request, reply };
    let owner = CoreId(topic.owner(index, core.core_count()));
    match owner == core.id() {
        true => Hosts::take(core, ask),
        false => core.tell(owner, Message::Group(ask)).await,
    }
    answered.await.unwrap_or(Err(ErrorCode::CoordinatorNotAvailable))
}
