//! JoinGroup (key 11): a member of the classic protocol enters its group, and waits until the others have come or their time is over.
//!
//! While it waits, which may take as long as a rebalance, nothing is held for it but its place: neither the frame nor a turn.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_groups::answer::{Answer, JoinRefused, Joined, JoinedMember};
use ringmill_groups::request::{self, JoinGroup, OfferedProtocol};
use ringmill_net::wire::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{are_short, ask, client_of, release};
use super::{decode, respond, too_many};
use crate::core::Core;
use crate::core::turns::LONG_REQUEST_BYTES;

/// From this version on a rebalance has a timeout of its own; before, that of the session serves for both.
const REBALANCE_TIMEOUT_FROM: i16 = 1;

/// From this version on (KIP-394) a new member is given an id before it is let in.
const MEMBER_ID_REQUIRED_FROM: i16 = 4;

/// From this version on the name of the protocol may be null.
const NULL_PROTOCOL_FROM: i16 = 7;

/// From this version on (KIP-814) a leader that comes back can be told not to assign.
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// Answers when the rebalance has ended, or at once with a refusal.
pub(super) async fn answer(core: &Rc<Core>, mut request: Request) -> Result<Outcome, DecodeError> {
    let turn = core.turns().to_change(request.body.len() > LONG_REQUEST_BYTES).await;
    let asked: JoinGroupRequest<'_> = decode(&request)?;
    if let Some(refused) = too_many(asked.protocols.len()) {
        return Ok(refused);
    }
    tracing::debug!(group = asked.group_id, member = asked.member_id, reason = asked.reason, "joins");
    if !are_short([asked.protocol_type].into_iter().chain(asked.group_instance_id)) {
        let refused = JoinRefused { code: ErrorCode::InvalidRequest, member_id: asked.member_id.into() };
        return Ok(respond(&request, &not_entered(&refused, request.header.api_version)));
    }
    let join = owned(&asked, &request);
    drop((asked, turn));
    release(&mut request);
    let (group, member_id) = (Arc::clone(&join.group), Arc::clone(&join.member_id));
    let joined = match ask(core, &group, request::Request::Join(join)).await {
        Ok(Answer::Join(joined)) => joined,
        Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
        Err(code) => Err(JoinRefused { code, member_id }),
    };
    let version = request.header.api_version;
    Ok(match &joined {
        Ok(joined) => respond(&request, &entered(joined, version)),
        Err(refused) => respond(&request, &not_entered(refused, version)),
    })
}

fn owned(asked: &JoinGroupRequest<'_>, request: &Request) -> JoinGroup {
    let version = request.header.api_version;
    let protocol = |protocol: &JoinGroupRequestProtocol<'_>| OfferedProtocol {
        name: protocol.name.into(),
        metadata: Bytes::copy_from_slice(protocol.metadata),
    };
    JoinGroup {
        group: asked.group_id.into(),
        member_id: asked.member_id.into(),
        instance_id: asked.group_instance_id.map(Arc::from),
        client: client_of(request),
        session_timeout_ms: asked.session_timeout_ms,
        rebalance_timeout_ms: match version {
            REBALANCE_TIMEOUT_FROM.. => asked.rebalance_timeout_ms,
            _ => asked.session_timeout_ms,
        },
        protocol_type: asked.protocol_type.into(),
        protocols: asked.protocols.iter().map(protocol).collect(),
        knows_member_id_required: version >= MEMBER_ID_REQUIRED_FROM,
        knows_skip_assignment: version >= SKIP_ASSIGNMENT_FROM,
    }
}

fn entered(joined: &Joined, version: i16) -> JoinGroupResponse<'_> {
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref(),
        protocol_name: protocol_name(joined.protocol_name.as_deref(), version),
        leader: &joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: &joined.member_id,
        members: joined.members.iter().map(describe).collect(),
        ..JoinGroupResponse::default()
    }
}

fn describe(member: &JoinedMember) -> JoinGroupResponseMember<'_> {
    JoinGroupResponseMember {
        member_id: &member.member_id,
        group_instance_id: member.instance_id.as_deref(),
        metadata: &member.metadata,
    }
}

fn not_entered(refused: &JoinRefused, version: i16) -> JoinGroupResponse<'_> {
    JoinGroupResponse {
        error_code: refused.code.code(),
        protocol_name: protocol_name(None, version),
        member_id: &refused.member_id,
        ..JoinGroupResponse::default()
    }
}

/// None is told as no text where the version has no null.
fn protocol_name(name: Option<&str>, version: i16) -> Option<&str> {
    if version >= NULL_PROTOCOL_FROM { name } else { Some(name.unwrap_or_default()) }
}
