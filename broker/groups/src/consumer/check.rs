//! What is wrong with a heartbeat whatever the group is: fields that must be there, or must not, and sizes.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::consumer_group_heartbeat::{JOIN_EPOCH, LEAVE_STATIC_EPOCH};

use super::assignment;
use super::assignor::Assignor;
use super::limits::{
    MEMBER_ID_BYTES_MAX, NAME_BYTES_MAX, OWNED_PARTITIONS_MAX, SUBSCRIBED_TOPICS_MAX, TOPIC_BYTES_MAX,
};
use crate::answer::Refused;
use crate::request::ConsumerHeartbeat;

/// The rebalance timeout of a heartbeat that says nothing of it.
pub(super) const UNCHANGED_MS: i32 = -1;
/// From this version on, members bring an id of their own making (KIP-1082).
const VERSION_OWN_IDS: i16 = 1;

/// Says what is wrong with a request in itself. To be asked before a group is made for it.
pub(crate) fn check(request: &ConsumerHeartbeat) -> Result<(), Refused> {
    check_who(request)?;
    check_sizes(request)?;
    if request.member_epoch == JOIN_EPOCH {
        check_join(request)?;
    }
    if request.rebalance_timeout_ms < UNCHANGED_MS {
        return Err(invalid(format!("RebalanceTimeoutMs is {}.", request.rebalance_timeout_ms)));
    }
    if let Some(name) = &request.server_assignor
        && Assignor::of_name(name).is_none()
    {
        let known = Assignor::ALL.map(Assignor::name).join(", ");
        let why = format!("There is no assignor {:.64}: ServerAssignor may be one of {known}.", &**name);
        return Err(Refused { code: ErrorCode::UnsupportedAssignor, why });
    }
    Ok(())
}

fn check_who(request: &ConsumerHeartbeat) -> Result<(), Refused> {
    if request.group.is_empty() {
        return Err(invalid("GroupId is empty."));
    }
    let joins_without = request.member_epoch == JOIN_EPOCH && request.version < VERSION_OWN_IDS;
    if request.member_id.is_empty() && !joins_without {
        return Err(invalid("MemberId is empty."));
    }
    if request.member_id.len() > MEMBER_ID_BYTES_MAX {
        return Err(too_much("bytes", "MemberId", request.member_id.len(), MEMBER_ID_BYTES_MAX));
    }
    for (field, value) in [("InstanceId", &request.instance_id), ("RackId", &request.rack_id)] {
        match value.as_deref().map(str::len) {
            Some(0) => return Err(invalid(format!("{field} is empty; without one it must be null."))),
            Some(bytes) if bytes > NAME_BYTES_MAX => return Err(too_much("bytes", field, bytes, NAME_BYTES_MAX)),
            _ => {}
        }
    }
    match request.member_epoch {
        ..LEAVE_STATIC_EPOCH => Err(invalid(format!("MemberEpoch is {}.", request.member_epoch))),
        LEAVE_STATIC_EPOCH if request.instance_id.is_none() => {
            Err(invalid("MemberEpoch is -2, as of a static member, but InstanceId is null."))
        }
        _ => Ok(()),
    }
}

fn check_join(request: &ConsumerHeartbeat) -> Result<(), Refused> {
    if request.rebalance_timeout_ms == UNCHANGED_MS {
        return Err(invalid("RebalanceTimeoutMs is missing; a member that joins must tell it."));
    }
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return Err(invalid(
            "SubscribedTopicNames and SubscribedTopicRegex are missing; a member that joins must tell one of them.",
        ));
    }
    if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return Err(invalid("TopicPartitions must be empty, and not null, when a member joins."));
    }
    Ok(())
}

fn check_sizes(request: &ConsumerHeartbeat) -> Result<(), Refused> {
    let names: &[Arc<str>] = request.subscribed_topic_names.as_deref().unwrap_or_default();
    if names.len() > SUBSCRIBED_TOPICS_MAX {
        return Err(too_much("topics", "SubscribedTopicNames", names.len(), SUBSCRIBED_TOPICS_MAX));
    }
    if let Some(long) = names.iter().find(|name| name.len() > TOPIC_BYTES_MAX) {
        return Err(too_much("bytes", "a name in SubscribedTopicNames", long.len(), TOPIC_BYTES_MAX));
    }
    let owned = request.topic_partitions.as_ref().map_or(0, assignment::count);
    if owned > OWNED_PARTITIONS_MAX {
        return Err(too_much("partitions", "TopicPartitions", owned, OWNED_PARTITIONS_MAX));
    }
    Ok(())
}

/// INVALID_REQUEST, in words.
pub(super) fn invalid(why: impl Into<String>) -> Refused {
    Refused { code: ErrorCode::InvalidRequest, why: why.into() }
}

fn too_much(unit: &str, field: &str, is: usize, limit: usize) -> Refused {
    invalid(format!("{field} has {is} {unit}, the limit is {limit}."))
}
