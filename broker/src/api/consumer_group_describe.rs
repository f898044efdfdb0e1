//! ConsumerGroupDescribe (key 69): state, epochs and members of groups of the consumer protocol.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::{Answer, AssignedTopic, ConsumerDescription, ConsumerMemberDescription};
use ringmill_groups::request;
use ringmill_net::wire::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{GROUP_OPERATIONS, ask_each, check_group_id, each_once};
use super::{Refusal, decode, operations, respond, too_many};
use crate::core::Core;

/// About what a member, a topic of its assignment and a partition of it take in the answer beside their names.
const MEMBER_BYTES: usize = 64;
const TOPIC_BYTES: usize = 20;
const PARTITION_BYTES: usize = 4;

/// Answers for each group on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ConsumerGroupDescribeRequest<'_> = decode(request)?;
    if let Some(refused) = too_many(asked.group_ids.len()) {
        return Ok(refused);
    }
    let names = each_once(&asked.group_ids);
    let described = match core.shared().config.groups.consumer_protocol {
        true => describe_all(core, &names).await,
        false => names.iter().map(|_| Err(ErrorCode::UnsupportedVersion.into())).collect(),
    };
    let operations = operations(asked.include_authorized_operations, GROUP_OPERATIONS);
    let groups = names
        .iter()
        .zip(&described)
        .map(|(name, described)| DescribedGroup { group_id: name, ..describe(described, operations) });
    let response = ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() };
    Ok(respond(request, &response))
}

async fn describe_all(core: &Rc<Core>, names: &[&str]) -> Vec<Result<ConsumerDescription, Refusal>> {
    let checked: Vec<Result<(), ErrorCode>> = names.iter().map(|name| check_group_id(name)).collect();
    let named = names.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
    let ask = |name: &str| (Arc::from(name), request::Request::DescribeConsumer(Arc::from(name)));
    let mut answers = ask_each(core, named.map(|(name, _)| ask(name)).collect(), bytes_of).await.into_iter();
    let mut described = |checked: Result<(), ErrorCode>| {
        checked?;
        match answers.next().expect("there is an answer for each group that was asked for")? {
            Answer::DescribeConsumer(described) => described.map_err(refusal),
            other => unreachable!("groups answer in kind, not {other:?}"),
        }
    };
    checked.into_iter().map(&mut described).collect()
}

fn refusal(code: ErrorCode) -> Refusal {
    match code {
        ErrorCode::GroupIdNotFound => Refusal::new(code, "there is no consumer group of this name"),
        _ => code.into(),
    }
}

fn bytes_of(answer: &Answer) -> usize {
    let Answer::DescribeConsumer(Ok(described)) = answer else { return 0 };
    let topic = |topic: &AssignedTopic| TOPIC_BYTES + topic.topic.len() + PARTITION_BYTES * topic.partitions.len();
    let member = |member: &ConsumerMemberDescription| {
        let assigned = member.assignment.iter().chain(&member.target_assignment).map(topic).sum::<usize>();
        let subscribed = member.subscribed_topic_names.iter().map(|name| name.len() + 1).sum::<usize>();
        MEMBER_BYTES + member.member_id.len() + assigned + subscribed
    };
    described.members.iter().map(member).sum()
}

fn describe(described: &Result<ConsumerDescription, Refusal>, operations: i32) -> DescribedGroup<'_> {
    match described {
        Ok(described) => DescribedGroup {
            group_state: described.state,
            group_epoch: described.group_epoch,
            assignment_epoch: described.assignment_epoch,
            assignor_name: &described.assignor,
            members: described.members.iter().map(describe_member).collect(),
            authorized_operations: operations,
            ..DescribedGroup::default()
        },
        Err(refusal) => DescribedGroup {
            error_code: refusal.code.code(),
            error_message: refusal.why.as_deref(),
            ..DescribedGroup::default()
        },
    }
}

fn describe_member(member: &ConsumerMemberDescription) -> Member<'_> {
    Member {
        member_id: &member.member_id,
        instance_id: member.instance_id.as_deref(),
        rack_id: member.rack_id.as_deref(),
        member_epoch: member.member_epoch,
        client_id: &member.client.id,
        client_host: &member.client.host,
        subscribed_topic_names: member.subscribed_topic_names.iter().map(|name| &**name).collect(),
        subscribed_topic_regex: member.subscribed_topic_regex.as_deref(),
        assignment: assignment(&member.assignment),
        target_assignment: assignment(&member.target_assignment),
        member_type: member.member_type,
    }
}

fn assignment(topics: &[AssignedTopic]) -> Assignment<'_> {
    Assignment { topic_partitions: topics.iter().map(describe_topic).collect() }
}

fn describe_topic(topic: &AssignedTopic) -> TopicPartitions<'_> {
    TopicPartitions { topic_id: topic.topic_id, topic_name: &topic.topic, partitions: topic.partitions.clone() }
}
