//! DescribeGroups (key 15): state and members of classic groups. A group that is not there is `Dead`, as in Kafka.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::{Answer, ClassicDescription, ClassicMemberDescription};
use ringmill_groups::request;
use ringmill_net::wire::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{GROUP_OPERATIONS, ask_each, each_once};
use super::{Refusal, decode, operations, respond, too_many};
use crate::core::Core;

/// From this version on (KIP-1043) a group that is not there is an error, too.
const NOT_FOUND_FROM: i16 = 6;

/// About what a member takes in the answer beside what it told and was given.
const MEMBER_BYTES: usize = 64;

const NOT_FOUND: &str = "there is no classic group of this name";

/// Answers for each group on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DescribeGroupsRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.groups.len()) {
        return Ok(refused);
    }
    let names = each_once(&asked.groups);
    let ask = |name: &&str| (Arc::from(*name), request::Request::DescribeClassic(Arc::from(*name)));
    let answers = ask_each(core, names.iter().map(ask).collect(), bytes_of).await;
    let described: Vec<Result<ClassicDescription, Refusal>> = answers
        .into_iter()
        .map(|answer| match answer? {
            Answer::DescribeClassic(described) => described.map_err(Refusal::from),
            other => unreachable!("groups answer in kind, not {other:?}"),
        })
        .collect();
    let operations = operations(asked.include_authorized_operations, GROUP_OPERATIONS);
    let version = request.header.api_version;
    let groups = names
        .iter()
        .zip(&described)
        .map(|(name, described)| DescribedGroup { group_id: name, ..describe(described, version, operations) });
    Ok(respond(request, &DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() }))
}

fn bytes_of(answer: &Answer) -> usize {
    let Answer::DescribeClassic(Ok(described)) = answer else { return 0 };
    let member = |member: &ClassicMemberDescription| {
        MEMBER_BYTES + 2 * member.member_id.len() + member.metadata.len() + member.assignment.len()
    };
    described.members.iter().map(member).sum()
}

fn describe(described: &Result<ClassicDescription, Refusal>, version: i16, operations: i32) -> DescribedGroup<'_> {
    match described {
        Ok(described) => DescribedGroup {
            group_state: described.state,
            protocol_type: &described.protocol_type,
            protocol_data: &described.protocol,
            members: described.members.iter().map(describe_member).collect(),
            authorized_operations: operations,
            ..DescribedGroup::default()
        },
        Err(refusal) if refusal.code == ErrorCode::GroupIdNotFound => {
            let is_error = version >= NOT_FOUND_FROM;
            DescribedGroup {
                error_code: if is_error { refusal.code.code() } else { 0 },
                error_message: is_error.then_some(NOT_FOUND),
                group_state: "Dead",
                authorized_operations: operations,
                ..DescribedGroup::default()
            }
        }
        Err(refusal) => DescribedGroup {
            error_code: refusal.code.code(),
            error_message: refusal.why.as_deref(),
            ..DescribedGroup::default()
        },
    }
}

fn describe_member(member: &ClassicMemberDescription) -> DescribedGroupMember<'_> {
    DescribedGroupMember {
        member_id: &member.member_id,
        group_instance_id: member.instance_id.as_deref(),
        client_id: &member.client.id,
        client_host: &member.client.host,
        member_metadata: &member.metadata,
        member_assignment: &member.assignment,
    }
}
