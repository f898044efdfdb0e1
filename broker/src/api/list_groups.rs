//! ListGroups (key 16): all groups, or those in certain states or of certain types.

use std::rc::Rc;

use ringmill_groups::answer::Listed;
use ringmill_groups::listing::ListFilter;
use ringmill_net::wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::ANSWER_BYTES_MAX;
use super::{decode, respond, too_many};
use crate::core::Core;
use crate::group;
use crate::internal_topics::GROUPS;

/// Answers for all groups together: one core that cannot tell its part is an error for all, and so is a list that would be too large.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ListGroupsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.states_filter.len() + asked.types_filter.len()) {
        return Ok(refused);
    }
    let wanted = ListFilter::new(&asked.states_filter, &asked.types_filter);
    // Who only looks makes no topic.
    let listed = match core.metadata().topic(GROUPS) {
        Some(_) => group::list(core, &wanted, ANSWER_BYTES_MAX).await,
        None => Ok(Vec::new()),
    };
    let (listed, error) = match listed {
        Ok(listed) => (listed, ErrorCode::None),
        Err(code) => (Vec::new(), code),
    };
    let response = ListGroupsResponse {
        error_code: error.code(),
        groups: listed.iter().map(entry).collect(),
        ..ListGroupsResponse::default()
    };
    Ok(respond(request, &response))
}

fn entry(listed: &Listed) -> ListedGroup<'_> {
    ListedGroup {
        group_id: &listed.group,
        protocol_type: &listed.protocol_type,
        group_state: listed.state,
        group_type: listed.group_type,
    }
}
