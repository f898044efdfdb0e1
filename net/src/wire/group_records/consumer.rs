//! Records of groups of the consumer protocol: kinds 3 to 8, and 16.
//!
//! A group is one record of kind 3 (its epoch), a 5 for each member, a 6 (the target's epoch) with a 7 for each member's share of it, an 8
//! for what each member really has, and a 16 for each regular expression with what it matches. Kind 4 has not been written since
//! Kafka 4.0: only its key is read.

use crate::wire::schema::{Uuid, message};

message! {
    /// Which group.
    ConsumerGroupMetadataKey<'a>: record 3, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
    }

    /// The group's epoch, which grows with every change of members, subscriptions or topics.
    ConsumerGroupMetadataValue: record 3, versions 0..=0, flexible 0.. {
        epoch: i32, 0..;
        /// Over all that the subscribed topics are; another one asks for a new epoch.
        metadata_hash: i64, 0.., tag 0;
    }

    /// Which group had the partitions of its topics stored.
    ConsumerGroupPartitionMetadataKey<'a>: record 4, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
    }

    /// Which member.
    ConsumerGroupMemberMetadataKey<'a>: record 5, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
        member_id: &'a str, 0..;
    }

    /// What the member said of itself.
    ConsumerGroupMemberMetadataValue<'a>: record 5, versions 0..=0, flexible 0.. {
        instance_id: Option<&'a str>, 0.., null 0..;
        rack_id: Option<&'a str>, 0.., null 0..;
        client_id: &'a str, 0..;
        client_host: &'a str, 0..;
        subscribed_topic_names: Vec<&'a str>, 0..;
        subscribed_topic_regex: Option<&'a str>, 0.., null 0..;
        rebalance_timeout_ms: i32, 0.., default -1;
        server_assignor: Option<&'a str>, 0.., null 0..;
        /// Null for a consumer member. That must be said: what is left out means the empty struct.
        classic_member_metadata: Option<ClassicMemberMetadata<'a>>, 0.., null 0.., default Some(ClassicMemberMetadata::default()), tag 0;
    }

    /// What a member of the classic protocol said besides.
    ClassicMemberMetadata<'a> {
        session_timeout_ms: i32, 0..;
        supported_protocols: Vec<ClassicProtocol<'a>>, 0..;
    }

    /// A protocol that it offered.
    ClassicProtocol<'a> {
        name: &'a str, 0..;
        metadata: &'a [u8], 0..;
    }

    /// Which group.
    ConsumerGroupTargetAssignmentMetadataKey<'a>: record 6, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
    }

    /// The group epoch that the target was made for.
    ConsumerGroupTargetAssignmentMetadataValue: record 6, versions 0..=0, flexible 0.. {
        assignment_epoch: i32, 0..;
        assignment_timestamp: i64, 0.., tag 0;
    }

    /// Which member.
    ConsumerGroupTargetAssignmentMemberKey<'a>: record 7, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
        member_id: &'a str, 0..;
    }

    /// What the member shall have in the end.
    ConsumerGroupTargetAssignmentMemberValue: record 7, versions 0..=0, flexible 0.. {
        topic_partitions: Vec<TopicPartition>, 0..;
    }

    /// A topic's partitions in a target.
    TopicPartition {
        topic_id: Uuid, 0..;
        partitions: Vec<i32>, 0..;
    }

    /// Which member.
    ConsumerGroupCurrentMemberAssignmentKey<'a>: record 8, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
        member_id: &'a str, 0..;
    }

    /// What the member has, and how far it is on its way to its target.
    ConsumerGroupCurrentMemberAssignmentValue: record 8, versions 0..=0, flexible 0.. {
        member_epoch: i32, 0..;
        previous_member_epoch: i32, 0..;
        /// One of [`STABLE_MEMBER`] and its neighbours.
        state: i8, 0..;
        assigned_partitions: Vec<TopicPartitions>, 0..;
        partitions_pending_revocation: Vec<TopicPartitions>, 0..;
    }

    /// A topic's partitions that a member has.
    TopicPartitions {
        topic_id: Uuid, 0..;
        partitions: Vec<i32>, 0..;
        /// Since which member epoch it has each, in the order of `partitions`; empty or null where that was not stored.
        assignment_epochs: Option<Vec<i32>>, 0.., null 0.., default Some(Vec::new()), tag 0;
    }

    /// Which expression of which group.
    ConsumerGroupRegularExpressionKey<'a>: record 16, versions 0..=0, flexible none {
        group_id: &'a str, 0..;
        regular_expression: &'a str, 0..;
    }

    /// The topics that it matched, in which state of the metadata, and when that was found out.
    ConsumerGroupRegularExpressionValue<'a>: record 16, versions 0..=0, flexible 0.. {
        topics: Vec<&'a str>, 0..;
        version: i64, 0..;
        timestamp: i64, 0..;
    }
}

/// The member has what it shall have.
pub const STABLE_MEMBER: i8 = 0;
/// The member has yet to give up partitions.
pub const UNREVOKED_PARTITIONS_MEMBER: i8 = 1;
/// The member waits for partitions that others have yet to give up.
pub const UNRELEASED_PARTITIONS_MEMBER: i8 = 2;
/// Written by a version that knew states which this one does not.
pub const UNKNOWN_MEMBER_STATE: i8 = 127;
