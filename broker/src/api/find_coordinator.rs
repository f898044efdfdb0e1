//! FindCoordinator (key 10): names the broker that keeps a group. There is one broker, so it keeps them all, as soon as there is a topic
//! for them, which the first such request makes.
//!
//! Transactions and share groups have no coordinator here: asking for one is an invalid request. Any name of a group is fine, even the
//! empty one, as in Kafka: what is wrong with it is told by the requests about the group.

use std::rc::Rc;

use ringmill_net::wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, GROUP_KEY_TYPE,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{Refusal, advertised, decode, respond, too_many};
use crate::core::Core;
use crate::internal_topics::group_topic;

/// From this version on a request names many keys, and the answer has an entry for each.
const MANY_KEYS_FROM: i16 = 4;

const ONLY_GROUPS: &str = "this broker coordinates consumer groups only: transactions and share groups are not served";

/// Answers for one key, or for many.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: FindCoordinatorRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.coordinator_keys.len()) {
        return Ok(refused);
    }
    let found = find(core, asked.key_type).await;
    let refusal = found.as_ref().err();
    let error_code = refusal.map_or(ErrorCode::None, |refusal| refusal.code).code();
    let error_message = refusal.and_then(|refusal| refusal.why.as_deref());
    let (host, port) = advertised(core, request);
    let (node_id, host, port) = match found {
        Ok(()) => (core.shared().config.node_id, host.as_str(), i32::from(port)),
        Err(_) => (-1, "", -1),
    };
    let mut response = FindCoordinatorResponse::default();
    if request.header.api_version >= MANY_KEYS_FROM {
        let entry = |key| Coordinator { key, node_id, host, port, error_code, error_message };
        response.coordinators = asked.coordinator_keys.iter().copied().map(entry).collect();
    } else {
        response.error_code = error_code;
        response.error_message = error_message;
        (response.node_id, response.host, response.port) = (node_id, host, port);
    }
    Ok(respond(request, &response))
}

/// Whether this broker keeps such things, and can now.
async fn find(core: &Rc<Core>, key_type: i8) -> Result<(), Refusal> {
    if key_type != GROUP_KEY_TYPE {
        return Err(Refusal::new(ErrorCode::InvalidRequest, ONLY_GROUPS));
    }
    group_topic(core).await.map(drop).map_err(|error| {
        tracing::warn!(%error, "there is no topic for consumer groups, and it cannot be made");
        Refusal::new(ErrorCode::CoordinatorNotAvailable, error.to_string())
    })
}
