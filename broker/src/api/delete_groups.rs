//! DeleteGroups (key 42): groups without members go, and with them where they have read to.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request;
use ringmill_net::wire::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{ask_each, each_once};
use super::{Refusal, decode, respond, too_many};
use crate::core::Core;

/// Answers for each group on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DeleteGroupsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.groups_names.len()) {
        return Ok(refused);
    }
    let names = each_once(&asked.groups_names);
    let ask = |name: &&str| (Arc::from(*name), request::Request::Delete(Arc::from(*name)));
    let answers = ask_each(core, names.iter().map(ask).collect(), |_| 0).await;
    let refusals: Vec<Option<Refusal>> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(Answer::Delete(deleted)) => deleted.err().map(refusal),
            Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
            Err(refusal) => Some(refusal),
        })
        .collect();
    let results = names.iter().zip(&refusals).map(|(name, refusal)| DeletableGroupResult {
        group_id: name,
        error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.code).code(),
        error_message: refusal.as_ref().and_then(|refusal| refusal.why.as_deref()),
    });
    Ok(respond(request, &DeleteGroupsResponse { results: results.collect(), ..DeleteGroupsResponse::default() }))
}

fn refusal(code: ErrorCode) -> Refusal {
    match code {
        ErrorCode::GroupIdNotFound => Refusal::new(code, "there is no group of this name"),
        ErrorCode::NonEmptyGroup => Refusal::new(code, "the group has members; stop them first"),
        _ => code.into(),
    }
}
