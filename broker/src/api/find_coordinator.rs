//! FindCoordinator (key 10): names the broker that keeps a group. There is one broker, so it keeps them all.
//!
//! Transactions and share groups have no coordinator here: asking for one is an invalid request.

use ringmill_net::wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, GROUP_KEY_TYPE,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{advertised, decode, respond, too_many};
use crate::core::Core;

/// From this version on a request names many keys, and the answer has an entry for each.
const MANY_KEYS_FROM: i16 = 4;

const ONLY_GROUPS: &str = "this broker coordinates consumer groups only: transactions and share groups are not served";

/// Answers for one key, or for many.
pub(super) fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: FindCoordinatorRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.coordinator_keys.len()) {
        return Ok(refused);
    }
    let (host, port) = advertised(core, request);
    let found = asked.key_type == GROUP_KEY_TYPE;
    let error = if found { ErrorCode::None } else { ErrorCode::InvalidRequest };
    let (host, port) = if found { (host.as_str(), i32::from(port)) } else { ("", -1) };
    let node_id = if found { core.shared().config.node_id } else { -1 };
    let error_message = (!found).then_some(ONLY_GROUPS);
    let mut response = FindCoordinatorResponse::default();
    if request.header.api_version >= MANY_KEYS_FROM {
        let entry = |key| Coordinator { key, node_id, host, port, error_code: error.code(), error_message };
        response.coordinators = asked.coordinator_keys.iter().copied().map(entry).collect();
    } else {
        response.error_code = error.code();
        response.error_message = error_message;
        (response.node_id, response.host, response.port) = (node_id, host, port);
    }
    Ok(respond(request, &response))
}
