//! LeaveGroup (key 13): members of the classic protocol go, or are shown out by a tool that knows their static names.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::{self, LeaveGroup, LeavingMember};
use ringmill_net::wire::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::ask;
use super::{decode, respond, too_many};
use crate::core::Core;

/// From this version on several members go at once, and each has an answer of its own.
const MEMBERS_FROM: i16 = 3;

/// Answers for each member, or up to version 2 for the one.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let mut asked: LeaveGroupRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.members.len()) {
        return Ok(refused);
    }
    let is_one = request.header.api_version < MEMBERS_FROM;
    if is_one {
        asked.members = vec![MemberIdentity { member_id: asked.member_id, ..MemberIdentity::default() }];
    }
    for member in &asked.members {
        let (id, instance) = (member.member_id, member.group_instance_id);
        tracing::debug!(group = asked.group_id, member = id, instance, reason = member.reason, "leaves");
    }
    let leaving = |member: &MemberIdentity<'_>| LeavingMember {
        member_id: member.member_id.into(),
        instance_id: member.group_instance_id.map(Arc::from),
    };
    let leave = LeaveGroup { group: asked.group_id.into(), members: asked.members.iter().map(leaving).collect() };
    let left = match ask(core, asked.group_id, request::Request::Leave(leave)).await {
        Ok(Answer::Leave(left)) => left,
        Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
        Err(code) => Err(code),
    };
    let code = |left: &Result<(), ErrorCode>| left.err().unwrap_or(ErrorCode::None).code();
    let of_each = |left: &[Result<(), ErrorCode>]| {
        let members = asked.members.iter().zip(left).map(|(member, left)| MemberResponse {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error_code: code(left),
        });
        LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
    };
    let response = match left {
        // The group is not there: where there is a place for each, this is said of each.
        Err(ErrorCode::UnknownMemberId) if !is_one => {
            of_each(&vec![Err(ErrorCode::UnknownMemberId); asked.members.len()])
        }
        Err(refused) => LeaveGroupResponse { error_code: refused.code(), ..LeaveGroupResponse::default() },
        Ok(left) if is_one => {
            LeaveGroupResponse { error_code: left.first().map_or(0, code), ..LeaveGroupResponse::default() }
        }
        Ok(left) => of_each(&left),
    };
    Ok(respond(request, &response))
}
