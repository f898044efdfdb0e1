//! What a shard writes into its partition of `__consumer_offsets`, and reads back from it at a start.
//!
//! Each record has a key, so that compaction keeps the last of each; no value is a tombstone. The bytes are Kafka's own
//! (`group-coordinator` schemas of Kafka 4); [`Record`] is what they say, without any version.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::TopicId;
use crate::request::OfferedProtocol;

/// One record. `value: None` is its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A committed offset (key version 1).
    Offset {
        /// Whose.
        group: Arc<str>,
        /// Of which topic.
        topic: Arc<str>,
        /// Of which partition.
        partition: i32,
        /// The offset.
        value: Option<CommittedOffset>,
    },
    /// A classic group (key version 2).
    Classic {
        /// Which.
        group: Arc<str>,
        /// All of it.
        value: Option<StoredGroup>,
    },
    /// A group of the consumer protocol.
    Consumer {
        /// Which.
        group: Arc<str>,
        /// One of its parts.
        part: ConsumerPart,
    },
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset that the group wants to read.
    pub offset: i64,
    /// −1 where the client did not know it.
    pub leader_epoch: i32,
    /// The client's words.
    pub metadata: Arc<str>,
    /// When it was committed, milliseconds since 1970.
    pub commit_ms: i64,
    /// When it expires, if the client said so itself (versions 2 to 4 of OffsetCommit); −1 else.
    pub expire_ms: i64,
    /// The topic's id, all zero where it is not known.
    pub topic_id: TopicId,
}

/// A classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGroup {
    /// `consumer`, or what else the members agree on; empty for one that only keeps offsets.
    pub protocol_type: Arc<str>,
    /// Its generation.
    pub generation: i32,
    /// The protocol that was chosen.
    pub protocol: Option<Arc<str>>,
    /// The member that made the assignment.
    pub leader: Option<Arc<str>>,
    /// Since when it is in this state, milliseconds since 1970; −1 unknown.
    pub state_ms: i64,
    /// Who is in it.
    pub members: Vec<ClassicMember>,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its static name.
    pub instance_id: Option<Arc<str>>,
    /// Its program's name.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// What it told for the chosen protocol.
    pub subscription: Bytes,
    /// Its share.
    pub assignment: Bytes,
}

/// A part of a group of the consumer protocol; each has a key of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerPart {
    /// The group itself (key version 3): its epoch.
    Epoch(Option<ConsumerEpoch>),
    /// A member as it described itself (key version 5).
    Member {
        /// Its id.
        member_id: Arc<str>,
        /// All of it.
        value: Option<ConsumerMember>,
    },
    /// The epoch of the target assignment (key version 6).
    TargetEpoch(Option<i32>),
    /// What a member shall own (key version 7).
    Target {
        /// Its id.
        member_id: Arc<str>,
        /// Partitions by topic.
        value: Option<BTreeMap<TopicId, Vec<i32>>>,
    },
    /// What a member owns, and how far it is (key version 8).
    Current {
        /// Its id.
        member_id: Arc<str>,
        /// All of it.
        value: Option<CurrentAssignment>,
    },
    /// A regular expression and the topics that it means (key version 16).
    Regex {
        /// The expression.
        regex: Arc<str>,
        /// What it means.
        value: Option<ResolvedRegex>,
    },
}

/// A group's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerEpoch {
    /// Rises with each change of members or subscriptions.
    pub epoch: i32,
    /// Of what the assignment was made from, so that a start need not make it anew.
    pub metadata_hash: i64,
}

/// A member of a group of the consumer protocol as it described itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerMember {
    /// Its static name.
    pub instance_id: Option<Arc<str>>,
    /// Its rack.
    pub rack_id: Option<Arc<str>>,
    /// Its program's name.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// The topics it reads.
    pub subscribed_topic_names: Vec<Arc<str>>,
    /// The topics it reads, by an expression.
    pub subscribed_topic_regex: Option<Arc<str>>,
    /// How long it may take to give partitions up.
    pub rebalance_timeout_ms: i32,
    /// The assignor it wants.
    pub server_assignor: Option<Arc<str>>,
    /// What a member of the classic protocol told.
    pub classic: Option<ClassicMemberPart>,
}

/// What a classic member in a group of the consumer protocol told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicMemberPart {
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// The protocols it can follow, with what it told for each.
    pub protocols: Vec<OfferedProtocol>,
}

/// What a member owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// The epoch it has reached.
    pub member_epoch: i32,
    /// The one before, which it may have if it missed an answer.
    pub previous_member_epoch: i32,
    /// In Kafka's numbers: 0 stable, 1 unrevoked partitions, 2 unreleased partitions.
    pub state: i8,
    /// What it owns.
    pub assigned: BTreeMap<TopicId, Vec<i32>>,
    /// What it is giving up.
    pub revoking: BTreeMap<TopicId, Vec<i32>>,
}

/// The topics that an expression means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// Their names, in order.
    pub topics: Vec<Arc<str>>,
    /// Kafka's own: how new the metadata were that they were found in. Always written as 0, for nothing here asks for it.
    pub version: i64,
    /// When, milliseconds since 1970.
    pub timestamp_ms: i64,
}
