//! ConsumerGroupDescribe (key 69): the state and the members of groups of the consumer protocol.

use crate::wire::schema::{Uuid, message};

/// It is not known by which protocol a member takes part.
pub const UNKNOWN_MEMBER_TYPE: i8 = -1;
/// A member of the classic protocol, while the group moves from one to the other.
pub const CLASSIC_MEMBER_TYPE: i8 = 0;
/// A consumer member.
pub const CONSUMER_MEMBER_TYPE: i8 = 1;

message! {
    /// Which groups.
    ConsumerGroupDescribeRequest<'a>: ConsumerGroupDescribe, versions 0..=1, flexible 0.. {
        group_ids: Vec<&'a str>, 0..;
        include_authorized_operations: bool, 0..;
    }

    /// What they are.
    ConsumerGroupDescribeResponse<'a>: ConsumerGroupDescribe, versions 0..=1, flexible 0.. {
        throttle_time_ms: i32, 0..;
        groups: Vec<DescribedGroup<'a>>, 0..;
    }

    /// A group.
    DescribedGroup<'a> {
        error_code: i16, 0..;
        error_message: Option<&'a str>, 0.., null 0..;
        group_id: &'a str, 0..;
        group_state: &'a str, 0..;
        group_epoch: i32, 0..;
        assignment_epoch: i32, 0..;
        assignor_name: &'a str, 0..;
        members: Vec<Member<'a>>, 0..;
        /// The lowest number for "not told".
        authorized_operations: i32, 0.., default i32::MIN;
    }

    /// A member: what it wants, has, and shall have.
    Member<'a> {
        member_id: &'a str, 0..;
        instance_id: Option<&'a str>, 0.., null 0..;
        rack_id: Option<&'a str>, 0.., null 0..;
        member_epoch: i32, 0..;
        client_id: &'a str, 0..;
        client_host: &'a str, 0..;
        subscribed_topic_names: Vec<&'a str>, 0..;
        subscribed_topic_regex: Option<&'a str>, 0.., null 0..;
        assignment: Assignment<'a>, 0..;
        target_assignment: Assignment<'a>, 0..;
        /// See [`CLASSIC_MEMBER_TYPE`] and its neighbours.
        member_type: i8, 1.., default -1;
    }

    /// A topic's partitions.
    TopicPartitions<'a> {
        topic_id: Uuid, 0..;
        topic_name: &'a str, 0..;
        partitions: Vec<i32>, 0..;
    }

    /// Partitions of several topics.
    Assignment<'a> {
        topic_partitions: Vec<TopicPartitions<'a>>, 0..;
    }
}
