//! Heartbeat (key 12): a member of the classic protocol lives, and hears whether it must join again.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::{self, Heartbeat};
use ringmill_net::wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::ask;
use super::{decode, respond};
use crate::core::Core;

/// Answers at once.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: HeartbeatRequest<'_> = decode(request)?;
    let beat = Heartbeat {
        group: asked.group_id.into(),
        member_id: asked.member_id.into(),
        instance_id: asked.group_instance_id.map(Arc::from),
        generation: asked.generation_id,
    };
    let heard = match ask(core, asked.group_id, request::Request::Heartbeat(beat)).await {
        Ok(Answer::Heartbeat(heard)) => heard,
        Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
        // As Kafka answers: some clients give up all that they have on any error that they do not know of.
        Err(ErrorCode::CoordinatorLoadInProgress) => Ok(()),
        Err(code) => Err(code),
    };
    let error_code = heard.err().unwrap_or(ErrorCode::None).code();
    Ok(respond(request, &HeartbeatResponse { error_code, ..HeartbeatResponse::default() }))
}
