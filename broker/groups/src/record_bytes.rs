//! Records as the bytes that Kafka gives them, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::DecodeError;
use ringmill_net::wire::group_records::classic::{GroupMetadataKey, GroupMetadataValue, MemberMetadata};
use ringmill_net::wire::group_records::consumer::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, TopicPartition, TopicPartitions,
};
use ringmill_net::wire::group_records::offsets::{OffsetCommitKey, OffsetCommitValue};
use ringmill_net::wire::group_records::{GroupRecord, encode_key, encode_value};

use crate::TopicId;
use crate::record::{
    ClassicMember, ClassicMemberPart, CommittedOffset, ConsumerEpoch, ConsumerMember, ConsumerPart, CurrentAssignment,
    Record, ResolvedRegex, StoredGroup,
};
use crate::request::OfferedProtocol;

/// The one version of an offset's value that can say when it expires.
const OFFSET_WITH_EXPIRY: i16 = 1;
/// The first version of an offset's value with the topic's id.
const OFFSET_WITH_TOPIC_ID: i16 = 4;
/// The version before, for tools that know no other.
const OFFSET: i16 = 3;
/// Of a classic group's value: the last that Kafka 2 and 3 read as well.
const CLASSIC: i16 = 3;
/// Of every value of the consumer protocol.
const CONSUMER: i16 = 0;

impl Record {
    /// The bytes of its key: compaction keeps the last record of each.
    #[must_use]
    pub fn key(&self) -> Bytes {
        match self {
            Record::Offset { group, topic, partition, .. } => {
                encode_key(&OffsetCommitKey { group, topic, partition: *partition })
            }
            Record::Classic { group, .. } => encode_key(&GroupMetadataKey { group }),
            Record::Consumer { group: group_id, part } => part.key(group_id),
        }
    }

    /// The bytes of its value; none for a removal.
    #[must_use]
    pub fn value(&self) -> Option<Bytes> {
        match self {
            Record::Offset { value, .. } => value.as_ref().map(CommittedOffset::bytes),
            Record::Classic { value, .. } => value.as_ref().map(StoredGroup::bytes),
            Record::Consumer { part, .. } => part.value(),
        }
    }

    /// Reads a record. `None` for one that means nothing here: of share groups, of the future, or no longer used.
    ///
    /// # Errors
    /// When the bytes are not what their key says.
    pub fn read(key: &[u8], value: Option<&[u8]>) -> Result<Option<Record>, DecodeError> {
        Ok(Some(match GroupRecord::read(key, value)? {
            GroupRecord::OffsetCommit(key, value) => Record::Offset {
                group: key.group.into(),
                topic: key.topic.into(),
                partition: key.partition,
                value: value.as_ref().map(CommittedOffset::of),
            },
            GroupRecord::GroupMetadata(key, value) => {
                Record::Classic { group: key.group.into(), value: value.as_ref().map(StoredGroup::of) }
            }
            GroupRecord::ConsumerGroupMetadata(key, value) => {
                let epoch = value.map(|value| ConsumerEpoch { epoch: value.epoch, metadata_hash: value.metadata_hash });
                consumer(key.group_id, ConsumerPart::Epoch(epoch))
            }
            GroupRecord::ConsumerGroupMemberMetadata(key, value) => {
                let (member_id, value) = (key.member_id.into(), value.as_ref().map(ConsumerMember::of));
                consumer(key.group_id, ConsumerPart::Member { member_id, value })
            }
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, value) => {
                consumer(key.group_id, ConsumerPart::TargetEpoch(value.map(|value| value.assignment_epoch)))
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember(key, value) => {
                let of = |value: ConsumerGroupTargetAssignmentMemberValue| {
                    value.topic_partitions.into_iter().map(|topic| (topic.topic_id, topic.partitions)).collect()
                };
                let (member_id, value) = (key.member_id.into(), value.map(of));
                consumer(key.group_id, ConsumerPart::Target { member_id, value })
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value) => {
                let (member_id, value) = (key.member_id.into(), value.map(CurrentAssignment::of));
                consumer(key.group_id, ConsumerPart::Current { member_id, value })
            }
            GroupRecord::ConsumerGroupRegularExpression(key, value) => {
                let of = |value: ConsumerGroupRegularExpressionValue<'_>| ResolvedRegex {
                    topics: value.topics.into_iter().map(Arc::from).collect(),
                    version: value.version,
                    timestamp_ms: value.timestamp,
                };
                let (regex, value) = (key.regular_expression.into(), value.map(of));
                consumer(key.group_id, ConsumerPart::Regex { regex, value })
            }
            GroupRecord::ConsumerGroupPartitionMetadata(_) | GroupRecord::Unknown { .. } => return Ok(None),
        }))
    }
}

fn consumer(group: &str, part: ConsumerPart) -> Record {
    Record::Consumer { group: group.into(), part }
}

impl CommittedOffset {
    fn bytes(&self) -> Bytes {
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: &self.metadata,
            commit_timestamp: self.commit_ms,
            expire_timestamp: self.expire_ms,
            topic_id: self.topic_id,
        };
        let version = match (self.expire_ms, self.topic_id == [0; 16]) {
            (-1, true) => OFFSET,
            (-1, false) => OFFSET_WITH_TOPIC_ID,
            _ => OFFSET_WITH_EXPIRY,
        };
        encode_value(&value, version)
    }

    fn of(value: &OffsetCommitValue<'_>) -> CommittedOffset {
        CommittedOffset {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into(),
            commit_ms: value.commit_timestamp,
            expire_ms: value.expire_timestamp,
            topic_id: value.topic_id,
        }
    }
}

impl StoredGroup {
    fn bytes(&self) -> Bytes {
        let value = GroupMetadataValue {
            protocol_type: &self.protocol_type,
            generation: self.generation,
            protocol: self.protocol.as_deref(),
            leader: self.leader.as_deref(),
            current_state_timestamp: self.state_ms,
            members: self.members.iter().map(ClassicMember::stored).collect(),
        };
        encode_value(&value, CLASSIC)
    }

    fn of(value: &GroupMetadataValue<'_>) -> StoredGroup {
        let member = |member: &MemberMetadata<'_>| ClassicMember {
            member_id: member.member_id.into(),
            instance_id: member.group_instance_id.map(Arc::from),
            client_id: member.client_id.into(),
            client_host: member.client_host.into(),
            // Before version 1 the session's was used for both.
            rebalance_timeout_ms: match member.rebalance_timeout {
                -1 => member.session_timeout,
                timeout_ms => timeout_ms,
            },
            session_timeout_ms: member.session_timeout,
            subscription: Bytes::copy_from_slice(member.subscription),
            assignment: Bytes::copy_from_slice(member.assignment),
        };
        StoredGroup {
            protocol_type: value.protocol_type.into(),
            generation: value.generation,
            protocol: value.protocol.map(Arc::from),
            leader: value.leader.map(Arc::from),
            state_ms: value.current_state_timestamp,
            members: value.members.iter().map(member).collect(),
        }
    }
}

impl ClassicMember {
    fn stored(&self) -> MemberMetadata<'_> {
        MemberMetadata {
            member_id: &self.member_id,
            group_instance_id: self.instance_id.as_deref(),
            client_id: &self.client_id,
            client_host: &self.client_host,
            rebalance_timeout: self.rebalance_timeout_ms,
            session_timeout: self.session_timeout_ms,
            subscription: &self.subscription,
            assignment: &self.assignment,
        }
    }
}

impl ConsumerPart {
    fn key(&self, group_id: &str) -> Bytes {
        match self {
            ConsumerPart::Epoch(_) => encode_key(&ConsumerGroupMetadataKey { group_id }),
            ConsumerPart::Member { member_id, .. } => {
                encode_key(&ConsumerGroupMemberMetadataKey { group_id, member_id })
            }
            ConsumerPart::TargetEpoch(_) => encode_key(&ConsumerGroupTargetAssignmentMetadataKey { group_id }),
            ConsumerPart::Target { member_id, .. } => {
                encode_key(&ConsumerGroupTargetAssignmentMemberKey { group_id, member_id })
            }
            ConsumerPart::Current { member_id, .. } => {
                encode_key(&ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id })
            }
            ConsumerPart::Regex { regex: regular_expression, .. } => {
                encode_key(&ConsumerGroupRegularExpressionKey { group_id, regular_expression })
            }
        }
    }

    fn value(&self) -> Option<Bytes> {
        match self {
            ConsumerPart::Epoch(epoch) => epoch.map(|ConsumerEpoch { epoch, metadata_hash }| {
                encode_value(&ConsumerGroupMetadataValue { epoch, metadata_hash }, CONSUMER)
            }),
            ConsumerPart::Member { value, .. } => value.as_ref().map(ConsumerMember::bytes),
            ConsumerPart::TargetEpoch(epoch) => epoch.map(|assignment_epoch| {
                let value = ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, ..Default::default() };
                encode_value(&value, CONSUMER)
            }),
            ConsumerPart::Target { value, .. } => value.as_ref().map(|target| {
                let topic = |(topic_id, partitions): (&TopicId, &Vec<i32>)| TopicPartition {
                    topic_id: *topic_id,
                    partitions: partitions.clone(),
                };
                let topic_partitions = target.iter().map(topic).collect();
                encode_value(&ConsumerGroupTargetAssignmentMemberValue { topic_partitions }, CONSUMER)
            }),
            ConsumerPart::Current { value, .. } => value.as_ref().map(CurrentAssignment::bytes),
            ConsumerPart::Regex { value, .. } => value.as_ref().map(|resolved| {
                let value = ConsumerGroupRegularExpressionValue {
                    topics: resolved.topics.iter().map(|topic| &**topic).collect(),
                    version: resolved.version,
                    timestamp: resolved.timestamp_ms,
                };
                encode_value(&value, CONSUMER)
            }),
        }
    }
}

impl ConsumerMember {
    fn bytes(&self) -> Bytes {
        let value = ConsumerGroupMemberMetadataValue {
            instance_id: self.instance_id.as_deref(),
            rack_id: self.rack_id.as_deref(),
            client_id: &self.client_id,
            client_host: &self.client_host,
            subscribed_topic_names: self.subscribed_topic_names.iter().map(|name| &**name).collect(),
            subscribed_topic_regex: self.subscribed_topic_regex.as_deref(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.server_assignor.as_deref(),
            classic_member_metadata: self.classic.as_ref().map(ClassicMemberPart::stored),
        };
        encode_value(&value, CONSUMER)
    }

    fn of(value: &ConsumerGroupMemberMetadataValue<'_>) -> ConsumerMember {
        let classic = |classic: &ClassicMemberMetadata<'_>| ClassicMemberPart {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .supported_protocols
                .iter()
                .map(|each| OfferedProtocol { name: each.name.into(), metadata: Bytes::copy_from_slice(each.metadata) })
                .collect(),
        };
        ConsumerMember {
            instance_id: value.instance_id.map(Arc::from),
            rack_id: value.rack_id.map(Arc::from),
            client_id: value.client_id.into(),
            client_host: value.client_host.into(),
            subscribed_topic_names: value.subscribed_topic_names.iter().map(|name| Arc::from(*name)).collect(),
            subscribed_topic_regex: value.subscribed_topic_regex.map(Arc::from),
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            server_assignor: value.server_assignor.map(Arc::from),
            classic: value.classic_member_metadata.as_ref().map(classic),
        }
    }
}

impl ClassicMemberPart {
    fn stored(&self) -> ClassicMemberMetadata<'_> {
        ClassicMemberMetadata {
            session_timeout_ms: self.session_timeout_ms,
            supported_protocols: self
                .protocols
                .iter()
                .map(|each| ClassicProtocol { name: &each.name, metadata: &each.metadata })
                .collect(),
        }
    }
}

impl CurrentAssignment {
    fn bytes(&self) -> Bytes {
        let topics = |partitions: &BTreeMap<TopicId, Vec<i32>>| {
            let topic = |(topic_id, partitions): (&TopicId, &Vec<i32>)| TopicPartitions {
                topic_id: *topic_id,
                partitions: partitions.clone(),
                ..TopicPartitions::default()
            };
            partitions.iter().map(topic).collect()
        };
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.member_epoch,
            previous_member_epoch: self.previous_member_epoch,
            state: self.state,
            assigned_partitions: topics(&self.assigned),
            partitions_pending_revocation: topics(&self.revoking),
        };
        encode_value(&value, CONSUMER)
    }

    fn of(value: ConsumerGroupCurrentMemberAssignmentValue) -> CurrentAssignment {
        let topics =
            |topics: Vec<TopicPartitions>| topics.into_iter().map(|topic| (topic.topic_id, topic.partitions)).collect();
        CurrentAssignment {
            member_epoch: value.member_epoch,
            previous_member_epoch: value.previous_member_epoch,
            state: value.state,
            assigned: topics(value.assigned_partitions),
            revoking: topics(value.partitions_pending_revocation),
        }
    }
}
