//! ListGroups (key 16): all groups, or those in certain states or of certain types.
//!
//! States and types are compared without regard to capital letters, and one that is not known fits no group, both as in Kafka.

use std::rc::Rc;

use ringmill_groups::answer::Listed;
use ringmill_net::wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{decode, respond, too_many};
use crate::core::Core;
use crate::group;
use crate::internal_topics::GROUPS;

/// Answers for all groups together: one core that cannot tell its part is an error for all.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ListGroupsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.states_filter.len() + asked.types_filter.len()) {
        return Ok(refused);
    }
    // Who only looks makes no topic.
    let listed = match core.metadata().topic(GROUPS) {
        Some(_) => group::ask_all(core).await,
        None => Ok(Vec::new()),
    };
    let (listed, error) = match listed {
        Ok(listed) => (listed, ErrorCode::None),
        Err(code) => (Vec::new(), code),
    };
    let is_wanted = |each: &&Listed| fits(&asked.states_filter, each.state) && fits(&asked.types_filter, each.kind);
    let groups = listed.iter().filter(is_wanted).map(|each| ListedGroup {
        group_id: &each.group,
        protocol_type: &each.protocol_type,
        group_state: each.state,
        group_type: each.kind,
    });
    let response = ListGroupsResponse { error_code: error.code(), groups: groups.collect(), ..Default::default() };
    Ok(respond(request, &response))
}

fn fits(filter: &[&str], word: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn no_filter_lets_all_through_and_an_unknown_word_nobody() {
        assert!(fits(&[], "Stable") && fits(&["sTABLE"], "Stable") && fits(&["Dead", "empty"], "Empty"));
        assert!(!fits(&["Stabl"], "Stable") && !fits(&[""], "Stable") && !fits(&["Dead", "Empty"], "Stable"));
    }
}
