//! What a shard answers; the broker's handlers turn it into the protocol's messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::ErrorCode;

use crate::TopicId;
use crate::listing::ListedPart;

/// The answer to one [`Request`](crate::request::Request), of the same kind.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To JoinGroup.
    Join(Result<Joined, JoinRefused>),
    /// To SyncGroup.
    Sync(Result<Synced, ErrorCode>),
    /// To Heartbeat.
    Heartbeat(Result<(), ErrorCode>),
    /// To LeaveGroup: for each member in turn, or for the request as a whole.
    Leave(Result<Vec<Result<(), ErrorCode>>, ErrorCode>),
    /// To OffsetCommit: for each partition in turn.
    Commit(Vec<Result<(), ErrorCode>>),
    /// To OffsetFetch.
    Fetch(Result<Vec<TopicOffsets>, ErrorCode>),
    /// To OffsetDelete: for each partition of each topic in turn, or for the request as a whole.
    DeleteOffsets(Result<Vec<Vec<Result<(), ErrorCode>>>, ErrorCode>),
    /// To DescribeGroups.
    DescribeClassic(Result<ClassicDescription, ErrorCode>),
    /// To ConsumerGroupDescribe.
    DescribeConsumer(Result<ConsumerDescription, ErrorCode>),
    /// To ListGroups.
    List(ListedPart),
    /// To DeleteGroups.
    Delete(Result<(), ErrorCode>),
    /// To ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Result<ConsumerBeat, Refused>),
}

/// A refusal with words for the user, where the protocol has a place for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The protocol's code.
    pub code: ErrorCode,
    /// What is wrong and what to do.
    pub why: String,
}

/// JoinGroup succeeded: the member is in this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Which generation.
    pub generation: i32,
    /// What the members agree on.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that was chosen.
    pub protocol_name: Option<Arc<str>>,
    /// The member that makes the assignment; empty where the coordinator does, in a group of the consumer protocol.
    pub leader: Arc<str>,
    /// KIP-814: the leader is to keep the assignment that there is.
    pub skip_assignment: bool,
    /// The member itself.
    pub member_id: Arc<str>,
    /// For the leader: everybody, with what each told for the chosen protocol.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its static name.
    pub instance_id: Option<Arc<str>>,
    /// What it told for the chosen protocol.
    pub metadata: Bytes,
}

/// JoinGroup was refused; the member id is the one to come back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// The protocol's code.
    pub code: ErrorCode,
    /// As it was given, or a new one with MEMBER_ID_REQUIRED.
    pub member_id: Arc<str>,
}

/// SyncGroup succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What the members agree on.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that was chosen.
    pub protocol_name: Option<Arc<str>>,
    /// The member's share.
    pub assignment: Bytes,
}

/// The committed offsets of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOffsets {
    /// Which topic.
    pub topic: Arc<str>,
    /// By partition, in the order asked for; `None` where nothing is committed.
    pub partitions: Vec<(i32, Option<FetchedOffset>)>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The next offset that the group wants to read.
    pub offset: i64,
    /// −1 where the client did not know it.
    pub leader_epoch: i32,
    /// The client's words.
    pub metadata: Arc<str>,
}

/// A group in the list of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub group: Arc<str>,
    /// `consumer`, or what else its members agree on; empty for one that only keeps offsets.
    pub protocol_type: Arc<str>,
    /// In Kafka's words: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Assigning`, `Reconciling`, `Stable`.
    pub state: &'static str,
    /// In Kafka's words: `classic` or `consumer`.
    pub group_type: &'static str,
}

/// A group for DescribeGroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicDescription {
    /// In Kafka's words.
    pub state: &'static str,
    /// What the members agree on.
    pub protocol_type: Arc<str>,
    /// The protocol that was chosen, once there is one.
    pub protocol: Arc<str>,
    /// Who is in it.
    pub members: Vec<ClassicMemberDescription>,
}

/// A member for DescribeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its static name.
    pub instance_id: Option<Arc<str>>,
    /// Its program.
    pub client: crate::request::Client,
    /// What it told for the chosen protocol.
    pub metadata: Bytes,
    /// Its share.
    pub assignment: Bytes,
}

/// A group for ConsumerGroupDescribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    /// In Kafka's words: `Empty`, `Assigning`, `Reconciling`, `Stable`.
    pub state: &'static str,
    /// Rises with each change of members or subscriptions.
    pub group_epoch: i32,
    /// The group epoch that the target assignment was made for.
    pub assignment_epoch: i32,
    /// `uniform` or `range`.
    pub assignor: Arc<str>,
    /// Who is in it.
    pub members: Vec<ConsumerMemberDescription>,
}

/// A member for ConsumerGroupDescribe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its static name.
    pub instance_id: Option<Arc<str>>,
    /// Its rack.
    pub rack_id: Option<Arc<str>>,
    /// Which epoch it has reached.
    pub member_epoch: i32,
    /// Its program.
    pub client: crate::request::Client,
    /// What it reads.
    pub subscribed_topic_names: Vec<Arc<str>>,
    /// What it reads, by a regular expression.
    pub subscribed_topic_regex: Option<Arc<str>>,
    /// What it owns: topics in order, with their partitions in order.
    pub assignment: Vec<AssignedTopic>,
    /// What it shall own.
    pub target_assignment: Vec<AssignedTopic>,
    /// Whether it speaks the classic protocol (0) or the consumer protocol (1); −1 unknown.
    pub member_type: i8,
}

/// A topic's share of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedTopic {
    /// The topic's id.
    pub topic_id: TopicId,
    /// Its name.
    pub topic: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// ConsumerGroupHeartbeat succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerBeat {
    /// The member.
    pub member_id: Arc<str>,
    /// The epoch it has reached.
    pub member_epoch: i32,
    /// How long to wait before the next heartbeat; 0 for one that has left.
    pub heartbeat_interval_ms: i32,
    /// What to own now, by topic id; `None`: as before.
    pub assignment: Option<BTreeMap<TopicId, Vec<i32>>>,
}
