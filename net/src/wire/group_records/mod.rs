//! Kafka's record formats of `__consumer_offsets`: in which keys and values a group coordinator keeps offsets, groups and members.
//!
//! A key begins with its kind (16 bits) and has one version for ever; a value begins with its version. A record without a value deletes
//! what its key names. Names, versions and defaults are Kafka 4.4's (`common/message/*.json` in the kafka-group-coordinator jar). Pure
//! bytes: what the records mean together is the coordinator's business.

pub mod classic;
pub mod consumer;
pub mod offsets;
#[cfg(test)]
mod tests;

use super::prefixed;
use super::reader::{DecodeError, Problem, Reader};
use super::schema::{GroupRecordPart, Versioned};
use bytes::Bytes;
use classic::{GroupMetadataKey, GroupMetadataValue};
use consumer::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
};
use offsets::{OffsetCommitKey, OffsetCommitValue};

/// Commits of Kafka 0.8.1: key and value read as those of their successor.
const LEGACY_OFFSET_COMMIT: i16 = 0;

/// A record of `__consumer_offsets`; no value deletes what the key names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants bear the names of Kafka's records, and the tables tell about them")]
pub enum GroupRecord<'a> {
    OffsetCommit(OffsetCommitKey<'a>, Option<OffsetCommitValue<'a>>),
    GroupMetadata(GroupMetadataKey<'a>, Option<GroupMetadataValue<'a>>),
    ConsumerGroupMetadata(ConsumerGroupMetadataKey<'a>, Option<ConsumerGroupMetadataValue>),
    /// Not written since Kafka 4.0; its value is not read.
    ConsumerGroupPartitionMetadata(ConsumerGroupPartitionMetadataKey<'a>),
    ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey<'a>, Option<ConsumerGroupMemberMetadataValue<'a>>),
    ConsumerGroupTargetAssignmentMetadata(
        ConsumerGroupTargetAssignmentMetadataKey<'a>,
        Option<ConsumerGroupTargetAssignmentMetadataValue>,
    ),
    ConsumerGroupTargetAssignmentMember(
        ConsumerGroupTargetAssignmentMemberKey<'a>,
        Option<ConsumerGroupTargetAssignmentMemberValue>,
    ),
    ConsumerGroupCurrentMemberAssignment(
        ConsumerGroupCurrentMemberAssignmentKey<'a>,
        Option<ConsumerGroupCurrentMemberAssignmentValue>,
    ),
    ConsumerGroupRegularExpression(
        ConsumerGroupRegularExpressionKey<'a>,
        Option<ConsumerGroupRegularExpressionValue<'a>>,
    ),
    /// Of a kind that is not known here, such as share groups' and those of the future: to be passed over.
    Unknown {
        /// The number that its key begins with.
        kind: i16,
    },
}

impl<'a> GroupRecord<'a> {
    /// Reads a record. One of an unknown kind is no error.
    ///
    /// # Errors
    /// When the key has no kind, when key or value are not what the kind says, or when the value's version is not known: that record
    /// was damaged, or written by something newer.
    pub fn read(key: &'a [u8], value: Option<&'a [u8]>) -> Result<GroupRecord<'a>, DecodeError> {
        let (kind, mut key) = prefixed::split(key, usize::MAX, "record key")?;
        let key = &mut key;
        Ok(match kind {
            LEGACY_OFFSET_COMMIT | OffsetCommitKey::KIND => GroupRecord::OffsetCommit(whole(key)?, versioned(value)?),
            GroupMetadataKey::KIND => GroupRecord::GroupMetadata(whole(key)?, versioned(value)?),
            ConsumerGroupMetadataKey::KIND => GroupRecord::ConsumerGroupMetadata(whole(key)?, versioned(value)?),
            ConsumerGroupPartitionMetadataKey::KIND => GroupRecord::ConsumerGroupPartitionMetadata(whole(key)?),
            ConsumerGroupMemberMetadataKey::KIND => {
                GroupRecord::ConsumerGroupMemberMetadata(whole(key)?, versioned(value)?)
            }
            ConsumerGroupTargetAssignmentMetadataKey::KIND => {
                GroupRecord::ConsumerGroupTargetAssignmentMetadata(whole(key)?, versioned(value)?)
            }
            ConsumerGroupTargetAssignmentMemberKey::KIND => {
                GroupRecord::ConsumerGroupTargetAssignmentMember(whole(key)?, versioned(value)?)
            }
            ConsumerGroupCurrentMemberAssignmentKey::KIND => {
                GroupRecord::ConsumerGroupCurrentMemberAssignment(whole(key)?, versioned(value)?)
            }
            ConsumerGroupRegularExpressionKey::KIND => {
                GroupRecord::ConsumerGroupRegularExpression(whole(key)?, versioned(value)?)
            }
            kind => GroupRecord::Unknown { kind },
        })
    }
}

/// The bytes of a record's key.
#[must_use]
pub fn encode_key<'a, K: GroupRecordPart<'a>>(key: &K) -> Bytes {
    prefixed::encode(K::KIND, key, *K::VERSIONS.end())
}

/// The bytes of a record's value.
///
/// # Panics
/// When the version has no table.
#[must_use]
pub fn encode_value<'a>(value: &impl GroupRecordPart<'a>, version: i16) -> Bytes {
    prefixed::encode(version, value, version)
}

/// A key, which has nothing behind it.
fn whole<'a, K: Versioned<'a>>(reader: &mut Reader<'a>) -> Result<K, DecodeError> {
    let key = K::decode(reader, *K::VERSIONS.end())?;
    let left = reader.remaining();
    if left > 0 { Err(reader.error(Problem::LeftOver { left }).in_field(K::NAME, "end")) } else { Ok(key) }
}

/// A value in the version that it begins with.
fn versioned<'a, V: Versioned<'a>>(value: Option<&'a [u8]>) -> Result<Option<V>, DecodeError> {
    let Some(value) = value else { return Ok(None) };
    let (version, mut reader) = prefixed::split(value, usize::MAX, V::NAME)?;
    V::decode(&mut reader, version).map(Some)
}
