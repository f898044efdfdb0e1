//! Descriptions of groups, of both protocols, in one form.
//!
//! A classic group's members carry opaque bytes; those of consumers are read (`wire::embedded_protocol`), those of others are not.

use std::collections::BTreeMap;

use super::super::settings::unanswered;
use super::super::{ClientError, Connection};
use super::admin::ListedGroup;
use crate::wire::messages::consumer_group_describe::{
    self as consumer, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use crate::wire::messages::describe_groups::{self as classic, DescribeGroupsRequest, DescribeGroupsResponse};
use crate::wire::{ErrorCode, embedded_protocol};

/// Groups in one request.
const GROUPS_AT_ONCE: usize = 500;

/// The types that brokers list.
const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";

/// What a classic group that is not there is said to be, by brokers that have no error for it.
const DEAD: &str = "Dead";

/// A group as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// `classic` or `consumer`.
    pub group_type: &'static str,
    /// `Stable`, `Empty` and so on.
    pub state: String,
    /// The group's epoch; a classic group's generation is not told.
    pub epoch: Option<i32>,
    /// The epoch of the assignment that members are brought to.
    pub assignment_epoch: Option<i32>,
    /// How partitions are shared out; empty where that is not settled.
    pub assignor: String,
    /// The members, in the coordinator's order.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// The name that it keeps when it comes again, if it has one.
    pub instance_id: Option<String>,
    /// The name that its client gives itself.
    pub client_id: String,
    /// Where it comes from.
    pub host: String,
    /// The epoch that it has reached, in groups that have them.
    pub epoch: Option<i32>,
    /// The partitions that it has, by topic; none where they cannot be read.
    pub assignment: BTreeMap<String, Vec<i32>>,
}

/// Descriptions of those groups that can be described, by id. One that went meanwhile is left out.
pub(super) async fn all(
    broker: &Connection,
    groups: &[ListedGroup],
) -> Result<BTreeMap<String, GroupDescription>, ClientError> {
    let named = |types: &[&str]| -> Vec<&str> {
        groups
            .iter()
            .filter(|group| types.contains(&group.group_type.to_lowercase().as_str()))
            .map(|group| &*group.id)
            .collect()
    };
    let mut described = BTreeMap::new();
    for ids in named(&[CONSUMER]).chunks(GROUPS_AT_ONCE) {
        for group in &consumer_groups(broker, ids).await?.decode::<ConsumerGroupDescribeResponse<'_>>()?.groups {
            if group.error_code == ErrorCode::None.code() {
                described.insert(group.group_id.to_owned(), GroupDescription::consumer(group));
            }
        }
    }
    // Brokers that name no type have one only.
    for ids in named(&[CLASSIC, ""]).chunks(GROUPS_AT_ONCE) {
        for group in &classic_groups(broker, ids).await?.decode::<DescribeGroupsResponse<'_>>()?.groups {
            if group.error_code == ErrorCode::None.code() && group.group_state != DEAD {
                described.insert(group.group_id.to_owned(), GroupDescription::classic(group));
            }
        }
    }
    Ok(described)
}

/// A group whose protocol is not known beforehand.
pub(super) async fn one(coordinator: &Connection, id: &str) -> Result<GroupDescription, ClientError> {
    let what = || format!("group {id}");
    match consumer_groups(coordinator, &[id]).await {
        Ok(answer) => {
            let response: ConsumerGroupDescribeResponse<'_> = answer.decode()?;
            let group = response.groups.first().ok_or_else(|| unanswered(what()))?;
            // Not one of the consumer protocol, or none at all.
            if group.error_code != ErrorCode::GroupIdNotFound.code() {
                ClientError::check(group.error_code, group.error_message, what)?;
                return Ok(GroupDescription::consumer(group));
            }
        }
        Err(ClientError::NoCommonVersion { .. }) => {}
        Err(error) => return Err(error),
    }
    let answer = classic_groups(coordinator, &[id]).await?;
    let response: DescribeGroupsResponse<'_> = answer.decode()?;
    let group = response.groups.first().ok_or_else(|| unanswered(what()))?;
    let is_gone = group.error_code == ErrorCode::None.code() && group.group_state == DEAD;
    let code = if is_gone { ErrorCode::GroupIdNotFound.code() } else { group.error_code };
    ClientError::check(code, group.error_message, what)?;
    Ok(GroupDescription::classic(group))
}

async fn consumer_groups(broker: &Connection, ids: &[&str]) -> Result<super::super::Answer, ClientError> {
    let request = ConsumerGroupDescribeRequest { group_ids: ids.to_vec(), include_authorized_operations: false };
    broker.call(&request).await
}

async fn classic_groups(broker: &Connection, ids: &[&str]) -> Result<super::super::Answer, ClientError> {
    broker.call(&DescribeGroupsRequest { groups: ids.to_vec(), include_authorized_operations: false }).await
}

impl GroupDescription {
    fn consumer(group: &consumer::DescribedGroup<'_>) -> GroupDescription {
        let member = |member: &consumer::Member<'_>| GroupMember {
            id: member.member_id.to_owned(),
            instance_id: member.instance_id.map(str::to_owned),
            client_id: member.client_id.to_owned(),
            host: host(member.client_host),
            epoch: Some(member.member_epoch),
            assignment: member
                .assignment
                .topic_partitions
                .iter()
                .map(|topic| (topic.topic_name.to_owned(), topic.partitions.clone()))
                .collect(),
        };
        GroupDescription {
            id: group.group_id.to_owned(),
            group_type: CONSUMER,
            state: group.group_state.to_owned(),
            epoch: Some(group.group_epoch),
            assignment_epoch: Some(group.assignment_epoch),
            assignor: group.assignor_name.to_owned(),
            members: group.members.iter().map(member).collect(),
        }
    }

    fn classic(group: &classic::DescribedGroup<'_>) -> GroupDescription {
        let consumers = group.protocol_type == embedded_protocol::PROTOCOL_TYPE;
        let member = |member: &classic::DescribedGroupMember<'_>| GroupMember {
            id: member.member_id.to_owned(),
            instance_id: member.group_instance_id.map(str::to_owned),
            client_id: member.client_id.to_owned(),
            host: host(member.client_host),
            epoch: None,
            assignment: if consumers { assignment(member.member_assignment) } else { BTreeMap::new() },
        };
        GroupDescription {
            id: group.group_id.to_owned(),
            group_type: CLASSIC,
            state: group.group_state.to_owned(),
            epoch: None,
            assignment_epoch: None,
            assignor: group.protocol_data.to_owned(),
            members: group.members.iter().map(member).collect(),
        }
    }
}

/// What a member got, as far as it is to be read: a stranger's bytes are no reason to tell nothing of the group.
fn assignment(bytes: &[u8]) -> BTreeMap<String, Vec<i32>> {
    let Ok(assignment) = embedded_protocol::assignment(bytes) else { return BTreeMap::new() };
    assignment.assigned_partitions.into_iter().map(|topic| (topic.topic.to_owned(), topic.partitions)).collect()
}

/// Java writes addresses with a slash before them.
fn host(text: &str) -> String {
    text.trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_protocol::{ConsumerProtocolAssignment, TopicPartition};

    #[test]
    fn a_classic_members_part_is_read_and_nonsense_is_no_part() {
        let given = ConsumerProtocolAssignment {
            assigned_partitions: vec![TopicPartition { topic: "logs", partitions: vec![2, 0] }],
            user_data: None,
        };
        let bytes = embedded_protocol::encode(&given, 1);
        let member = |member_assignment| classic::DescribedGroupMember {
            member_id: "m",
            client_host: "/10.0.0.7",
            member_assignment,
            ..Default::default()
        };
        let group = classic::DescribedGroup {
            protocol_type: "consumer",
            members: vec![member(&bytes), member(b"??")],
            ..Default::default()
        };
        let described = GroupDescription::classic(&group);
        assert_eq!(described.members[0].assignment, BTreeMap::from([("logs".to_owned(), vec![2, 0])]));
        assert_eq!((&*described.members[0].host, described.members[1].assignment.len()), ("10.0.0.7", 0));
    }
}
