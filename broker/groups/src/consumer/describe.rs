//! A group as ConsumerGroupDescribe shows it.

use std::sync::Arc;

use ringmill_net::wire::messages::consumer_group_describe::{CLASSIC_MEMBER_TYPE, CONSUMER_MEMBER_TYPE};

use super::ConsumerGroup;
use super::assignment::Assignment;
use crate::answer::{AssignedTopic, ConsumerDescription, ConsumerMemberDescription};
use crate::record::ConsumerMember;
use crate::request::Client;
use crate::topics::Topics;

impl ConsumerGroup {
    /// All of it.
    pub(crate) fn describe(&self, topics: &dyn Topics) -> ConsumerDescription {
        let members = self.tables.members.iter();
        ConsumerDescription {
            state: self.state(),
            group_epoch: self.epoch(),
            assignment_epoch: self.target_epoch(),
            assignor: Arc::from(self.preferred_assignor().name()),
            members: members.map(|(member_id, member)| self.describe_member(member_id, member, topics)).collect(),
        }
    }

    fn describe_member(
        &self,
        member_id: &Arc<str>,
        member: &ConsumerMember,
        topics: &dyn Topics,
    ) -> ConsumerMemberDescription {
        let current = self.tables.current_of(member_id);
        let target = self.tables.targets.get(member_id);
        ConsumerMemberDescription {
            member_id: Arc::clone(member_id),
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            member_epoch: current.member_epoch,
            client: Client { id: Arc::clone(&member.client_id), host: Arc::clone(&member.client_host) },
            subscribed_topic_names: member.subscribed_topic_names.clone(),
            subscribed_topic_regex: member.subscribed_topic_regex.clone(),
            assignment: named(&current.assigned, topics),
            target_assignment: target.map(|target| named(target, topics)).unwrap_or_default(),
            member_type: if member.classic.is_some() { CLASSIC_MEMBER_TYPE } else { CONSUMER_MEMBER_TYPE },
        }
    }
}

/// By name; deleted topics have none and are left out.
fn named(set: &Assignment, topics: &dyn Topics) -> Vec<AssignedTopic> {
    let named = |(topic_id, partitions): (&crate::TopicId, &Vec<i32>)| {
        let topic = Arc::from(topics.name(topic_id)?);
        Some(AssignedTopic { topic_id: *topic_id, topic, partitions: partitions.clone() })
    };
    let mut all: Vec<AssignedTopic> = set.iter().filter_map(named).collect();
    all.sort_by(|one, other| one.topic.cmp(&other.topic));
    all
}
