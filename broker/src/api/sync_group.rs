//! SyncGroup (key 14): the leader brings the assignment, and every member waits for its share of it.
//!
//! While it waits, nothing is held for it but its place: neither the frame nor a turn.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_groups::answer::{Answer, Synced};
use ringmill_groups::request::{self, SyncGroup};
use ringmill_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{ask, release};
use super::{PARTITIONS_MAX, decode, more_than, respond};
use crate::core::Core;
use crate::core::turns::LONG_REQUEST_BYTES;

/// From this version on a member must say what it takes part in, so that one that missed a generation is found out.
const PROTOCOL_FROM: i16 = 5;

/// Answers when the assignment is there, or at once with a refusal.
pub(super) async fn answer(core: &Rc<Core>, mut request: Request) -> Result<Outcome, DecodeError> {
    let turn = core.turns().to_change(request.body.len() > LONG_REQUEST_BYTES).await;
    let asked: SyncGroupRequest<'_> = decode(&request)?;
    if let Some(refused) = more_than(PARTITIONS_MAX, "assignments", asked.assignments.len()) {
        return Ok(refused);
    }
    if request.header.api_version >= PROTOCOL_FROM && (asked.protocol_type.is_none() || asked.protocol_name.is_none()) {
        return Ok(respond(&request, &refuse(ErrorCode::InconsistentGroupProtocol)));
    }
    let sync = owned(&asked);
    drop((asked, turn));
    release(&mut request);
    let group = Arc::clone(&sync.group);
    let synced = match ask(core, &group, request::Request::Sync(sync)).await {
        Ok(Answer::Sync(synced)) => synced,
        Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
        Err(code) => Err(code),
    };
    Ok(match &synced {
        Ok(synced) => respond(&request, &share(synced)),
        Err(code) => respond(&request, &refuse(*code)),
    })
}

fn owned(asked: &SyncGroupRequest<'_>) -> SyncGroup {
    let assignments = asked.assignments.iter();
    SyncGroup {
        group: asked.group_id.into(),
        member_id: asked.member_id.into(),
        instance_id: asked.group_instance_id.map(Arc::from),
        generation: asked.generation_id,
        protocol_type: asked.protocol_type.map(Arc::from),
        protocol_name: asked.protocol_name.map(Arc::from),
        assignments: assignments.map(|each| (each.member_id.into(), Bytes::copy_from_slice(each.assignment))).collect(),
    }
}

fn share(synced: &Synced) -> SyncGroupResponse<'_> {
    SyncGroupResponse {
        protocol_type: synced.protocol_type.as_deref(),
        protocol_name: synced.protocol_name.as_deref(),
        assignment: &synced.assignment,
        ..SyncGroupResponse::default()
    }
}

fn refuse(code: ErrorCode) -> SyncGroupResponse<'static> {
    SyncGroupResponse { error_code: code.code(), ..SyncGroupResponse::default() }
}
