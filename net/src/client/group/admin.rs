//! Questions and orders about groups: which there are, who is in them, where they are, and changes from outside.
//!
//! Methods of [`Cluster`], because each group has its own coordinator. Topics are named, not numbered: a topic that is gone has no id
//! that could be looked up, and its positions are still to be told.

use std::collections::BTreeMap;

use super::super::settings::unanswered;
use super::super::{ClientError, Cluster, Connection};
use super::coordinator::patiently;
use super::describe;
use super::{GroupDescription, Position};
use crate::wire::ErrorCode;
use crate::wire::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use crate::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use crate::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};

/// From the next version on, OffsetFetch and OffsetCommit name topics by their ids.
const LAST_VERSION_BY_NAME: i16 = 9;

/// A group as a broker lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub id: String,
    /// `classic`, `consumer` or another protocol; empty from brokers that know of one only.
    pub group_type: String,
    /// `Stable`, `Empty` and so on; empty from brokers that do not say.
    pub state: String,
}

/// Positions of a group by topic and partition.
pub type Positions = BTreeMap<(String, i32), Position>;

/// As whom a group is asked or told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaker<'a> {
    pub(super) group: &'a str,
    pub(super) member_id: &'a str,
    pub(super) epoch: i32,
}

impl<'a> Speaker<'a> {
    /// Somebody who is no member.
    pub(super) fn outside(group: &'a str) -> Speaker<'a> {
        Speaker { group, member_id: "", epoch: -1 }
    }
}

impl Cluster {
    /// All groups of all brokers, sorted by id, each with its description where its protocol has one that is understood here.
    ///
    /// # Errors
    /// Of the connections; `Refused` with a broker's reason.
    pub async fn groups(&self) -> Result<Vec<(ListedGroup, Option<GroupDescription>)>, ClientError> {
        let mut groups = BTreeMap::new();
        for broker in self.brokers().await? {
            let listed = patiently(async || list(&broker).await).await?;
            let mut described = describe::all(&broker, &listed).await?;
            for group in listed {
                let description = described.remove(&group.id);
                groups.insert(group.id.clone(), (group, description));
            }
        }
        Ok(groups.into_values().collect())
    }

    /// A group's state and members.
    ///
    /// # Errors
    /// Of the connections; `Refused` with the broker's reason, GROUP_ID_NOT_FOUND where there is no such group.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        self.ask_coordinator(group, async |coordinator| describe::one(coordinator, group).await).await
    }

    /// All positions that a group has stored.
    ///
    /// # Errors
    /// Of the connections; `Refused` with the broker's reason.
    pub async fn group_positions(&self, group: &str) -> Result<Positions, ClientError> {
        let speaker = Speaker::outside(group);
        self.ask_coordinator(group, async |coordinator| fetch_positions(coordinator, speaker, None).await).await
    }

    /// Sets positions of a group that has no members. What became of each.
    ///
    /// # Errors
    /// Of the connections.
    pub async fn set_group_positions(
        &self,
        group: &str,
        positions: &BTreeMap<(String, i32), i64>,
    ) -> Result<BTreeMap<(String, i32), Result<(), ClientError>>, ClientError> {
        let speaker = Speaker::outside(group);
        self.ask_coordinator(group, async |coordinator| commit_positions(coordinator, speaker, positions).await).await
    }

    /// Deletes a group that has no members, with its positions.
    ///
    /// # Errors
    /// Of the connections; `Refused` with the broker's reason.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        self.ask_coordinator(group, async |coordinator| {
            let answer = coordinator.call(&DeleteGroupsRequest { groups_names: vec![group] }).await?;
            let response: DeleteGroupsResponse<'_> = answer.decode()?;
            let what = || format!("delete group {group}");
            let result = response.results.first().ok_or_else(|| unanswered(what()))?;
            ClientError::check(result.error_code, result.error_message, what)
        })
        .await
    }
}

async fn list(broker: &Connection) -> Result<Vec<ListedGroup>, ClientError> {
    let answer = broker.call(&ListGroupsRequest::default()).await?;
    let response: ListGroupsResponse<'_> = answer.decode()?;
    ClientError::check(response.error_code, None, || format!("groups of {}", broker.address()))?;
    let listed = response.groups.iter().map(|group| ListedGroup {
        id: group.group_id.to_owned(),
        group_type: group.group_type.to_owned(),
        state: group.group_state.to_owned(),
    });
    Ok(listed.collect())
}

/// Stored positions of some partitions, or of all; partitions without one are left out.
pub(super) async fn fetch_positions(
    coordinator: &Connection,
    Speaker { group, member_id, epoch }: Speaker<'_>,
    partitions: Option<&[(String, i32)]>,
) -> Result<Positions, ClientError> {
    let by_topic = partitions.map(by_topic);
    // Up to version 7 the one group stands in the request itself.
    let topics = by_topic.as_ref().map(|topics| {
        let topics = topics.iter();
        topics.map(|(name, all)| OffsetFetchRequestTopic { name, partition_indexes: all.clone() }).collect()
    });
    let in_group = by_topic.as_ref().map(|topics| {
        let topics = topics.iter().map(|(name, all)| OffsetFetchRequestTopics {
            name,
            partition_indexes: all.clone(),
            ..Default::default()
        });
        topics.collect()
    });
    let member_id = (!member_id.is_empty()).then_some(member_id);
    let groups = vec![OffsetFetchRequestGroup { group_id: group, member_id, member_epoch: epoch, topics: in_group }];
    let request = OffsetFetchRequest { group_id: group, topics, groups, require_stable: false };
    let version = coordinator.version_of::<OffsetFetchRequest<'_>>()?.min(LAST_VERSION_BY_NAME);
    let answer = coordinator.send(&request, version, Vec::new(), 0).await?.answer().await?;
    let response: OffsetFetchResponse<'_> = answer.decode()?;
    let what = || format!("positions of group {group}");
    let mut found = Vec::new();
    if version >= 8 {
        let group = response.groups.first().ok_or_else(|| unanswered(what()))?;
        ClientError::check(group.error_code, None, what)?;
        for topic in &group.topics {
            found.extend(
                topic.partitions.iter().map(|each| {
                    (topic.name, each.partition_index, each.committed_offset, each.metadata, each.error_code)
                }),
            );
        }
    } else {
        ClientError::check(response.error_code, None, what)?;
        for topic in &response.topics {
            found.extend(
                topic.partitions.iter().map(|each| {
                    (topic.name, each.partition_index, each.committed_offset, each.metadata, each.error_code)
                }),
            );
        }
    }
    let mut positions = Positions::new();
    for (topic, partition, offset, metadata, code) in found {
        ClientError::check(code, None, || format!("position of group {group} in {topic}-{partition}"))?;
        if offset >= 0 {
            let metadata = metadata.unwrap_or_default().to_owned();
            positions.insert((topic.to_owned(), partition), Position { offset, metadata });
        }
    }
    Ok(positions)
}

/// Stores positions. What became of each; an error that is the coordinator's own, not one partition's, is the answer's.
pub(super) async fn commit_positions(
    coordinator: &Connection,
    Speaker { group, member_id, epoch }: Speaker<'_>,
    positions: &BTreeMap<(String, i32), i64>,
) -> Result<BTreeMap<(String, i32), Result<(), ClientError>>, ClientError> {
    let mut topics: Vec<OffsetCommitRequestTopic<'_>> = Vec::new();
    for ((name, partition_index), committed_offset) in positions {
        let partition = OffsetCommitRequestPartition {
            partition_index: *partition_index,
            committed_offset: *committed_offset,
            committed_metadata: Some(""),
            ..Default::default()
        };
        match topics.last_mut().filter(|last| last.name == name) {
            Some(last) => last.partitions.push(partition),
            None => topics.push(OffsetCommitRequestTopic { name, partitions: vec![partition], ..Default::default() }),
        }
    }
    let request = OffsetCommitRequest {
        group_id: group,
        generation_id_or_member_epoch: epoch,
        member_id,
        topics,
        ..Default::default()
    };
    let version = coordinator.version_of::<OffsetCommitRequest<'_>>()?.min(LAST_VERSION_BY_NAME);
    let answer = coordinator.send(&request, version, Vec::new(), 0).await?.answer().await?;
    let response: OffsetCommitResponse<'_> = answer.decode()?;
    let mut fates = BTreeMap::new();
    for topic in &response.topics {
        for result in &topic.partitions {
            let what = || format!("position of group {group} in {}-{}", topic.name, result.partition_index);
            let fate = ClientError::check(result.error_code, None, what);
            if let Err(ClientError::Refused { code, .. }) = &fate
                && is_the_coordinators(*code)
            {
                fate?;
            } else {
                fates.insert((topic.name.to_owned(), result.partition_index), fate);
            }
        }
    }
    match positions.keys().find(|place| !fates.contains_key(place)) {
        Some((topic, partition)) => Err(unanswered(format!("position of group {group} in {topic}-{partition}"))),
        None => Ok(fates),
    }
}

/// Codes that a commit repeats for each partition, and that say nothing about a single one.
fn is_the_coordinators(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::NotCoordinator
            | ErrorCode::UnknownMemberId
            | ErrorCode::StaleMemberEpoch
            | ErrorCode::FencedMemberEpoch
            | ErrorCode::IllegalGeneration
            | ErrorCode::RebalanceInProgress
            | ErrorCode::GroupIdNotFound
            | ErrorCode::GroupAuthorizationFailed
            | ErrorCode::InvalidGroupId
    )
}

fn by_topic(partitions: &[(String, i32)]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    topics
}
