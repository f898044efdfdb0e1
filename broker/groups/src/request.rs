//! What a shard is asked, in a form that outlives the frame it came in. The meaning of each field is that of the protocol's message.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::listing::ListGroups;

/// Who sends a request, as groups are described with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// The client's own name for itself.
    pub id: Arc<str>,
    /// Its address, in Kafka's form: `/127.0.0.1`.
    pub host: Arc<str>,
}

/// A request about one group (but for the list of all).
#[derive(Clone, Debug)]
pub enum Request {
    /// JoinGroup.
    Join(JoinGroup),
    /// SyncGroup.
    Sync(SyncGroup),
    /// Heartbeat.
    Heartbeat(Heartbeat),
    /// LeaveGroup.
    Leave(LeaveGroup),
    /// OffsetCommit.
    Commit(OffsetCommit),
    /// OffsetFetch, one group of it.
    Fetch(OffsetFetch),
    /// OffsetDelete.
    DeleteOffsets(OffsetDelete),
    /// DescribeGroups, one group of it.
    DescribeClassic(Arc<str>),
    /// ConsumerGroupDescribe, one group of it.
    DescribeConsumer(Arc<str>),
    /// ListGroups, a part of this shard's part of it.
    List(ListGroups),
    /// DeleteGroups, one group of it.
    Delete(Arc<str>),
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(ConsumerHeartbeat),
}

/// A protocol that a classic member can follow, with what it tells the leader for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferedProtocol {
    /// For example `range`.
    pub name: Arc<str>,
    /// Usually a `ConsumerProtocolSubscription`.
    pub metadata: Bytes,
}

/// The most protocols that a member may offer: clients know a handful. Each is looked for at every other member.
pub(crate) const PROTOCOLS_MAX: usize = 32;

/// About what a protocol takes in memory beside its words, which may be none.
const PROTOCOL_BYTES: usize = 120;

impl OfferedProtocol {
    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        PROTOCOL_BYTES + self.name.len() + self.metadata.len()
    }
}

/// JoinGroup.
#[derive(Clone, Debug)]
pub struct JoinGroup {
    /// Which group.
    pub group: Arc<str>,
    /// Empty: a new member.
    pub member_id: Arc<str>,
    /// KIP-345: a name that outlives the process.
    pub instance_id: Option<Arc<str>>,
    /// Who asks.
    pub client: Client,
    /// How long the member may be silent: from `session_timeout_min_ms` to `session_timeout_max_ms` of the
    /// [settings](crate::Settings), else INVALID_SESSION_TIMEOUT.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for this member. Negative counts as 0.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, or what else the members agree on.
    pub protocol_type: Arc<str>,
    /// In the member's order of preference: 1 to 32, of which all other members know one, else INCONSISTENT_GROUP_PROTOCOL.
    pub protocols: Vec<OfferedProtocol>,
    /// From version 4 on (KIP-394): a new member is given an id first, and joins with it.
    pub knows_member_id_required: bool,
    /// From version 9 on (KIP-814): a static leader that comes back is told not to assign.
    pub knows_skip_assignment: bool,
}

/// SyncGroup.
#[derive(Clone, Debug)]
pub struct SyncGroup {
    /// Which group.
    pub group: Arc<str>,
    /// Which member.
    pub member_id: Arc<str>,
    /// The member's static name.
    pub instance_id: Option<Arc<str>>,
    /// The generation that the member joined.
    pub generation: i32,
    /// From version 5 on: compared where it is there.
    pub protocol_type: Option<Arc<str>>,
    /// From version 5 on: compared where it is there.
    pub protocol_name: Option<Arc<str>>,
    /// By member id; the leader's alone counts.
    pub assignments: BTreeMap<Arc<str>, Bytes>,
}

/// Heartbeat.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// Which group.
    pub group: Arc<str>,
    /// Which member.
    pub member_id: Arc<str>,
    /// The member's static name.
    pub instance_id: Option<Arc<str>>,
    /// The member's generation (classic) or epoch (classic members of a group of the consumer protocol).
    pub generation: i32,
}

/// LeaveGroup.
#[derive(Clone, Debug)]
pub struct LeaveGroup {
    /// Which group.
    pub group: Arc<str>,
    /// Who goes; one up to version 2.
    pub members: Vec<LeavingMember>,
}

/// One that leaves.
#[derive(Clone, Debug)]
pub struct LeavingMember {
    /// Empty where only the static name counts.
    pub member_id: Arc<str>,
    /// The member's static name.
    pub instance_id: Option<Arc<str>>,
}

/// OffsetCommit. Topics that do not exist have been refused before.
#[derive(Clone, Debug)]
pub struct OffsetCommit {
    /// Which group.
    pub group: Arc<str>,
    /// Empty: nobody's commit, of a tool or of a consumer that assigns itself.
    pub member_id: Arc<str>,
    /// The member's static name.
    pub instance_id: Option<Arc<str>>,
    /// The member's generation or epoch; −1 beside an empty member id.
    pub generation: i32,
    /// From version 9 on (KIP-848): a consumer member may commit, and knows what it may be refused with.
    pub knows_epochs: bool,
    /// One entry for each partition.
    pub offsets: Vec<PartitionCommit>,
}

/// A partition's new offset.
#[derive(Clone, Debug)]
pub struct PartitionCommit {
    /// Of which topic.
    pub topic: Arc<str>,
    /// The topic's id, all zero where it is not known.
    pub topic_id: crate::TopicId,
    /// Of which partition.
    pub partition: i32,
    /// The next offset that the group wants to read.
    pub offset: i64,
    /// −1 where the client does not know it.
    pub leader_epoch: i32,
    /// Words of the client, given back as they are; `None` comes back as empty ones, as from Kafka.
    pub metadata: Option<Arc<str>>,
    /// Versions 2 to 4: the offset's own time to live, which overrides the broker's.
    pub retention_ms: Option<i64>,
}

/// OffsetFetch of one group.
#[derive(Clone, Debug)]
pub struct OffsetFetch {
    /// Which group.
    pub group: Arc<str>,
    /// From version 9 on: the member that asks.
    pub member_id: Option<Arc<str>>,
    /// From version 9 on: its epoch; −1 where there is none.
    pub member_epoch: i32,
    /// By topic; `None`: all that there are.
    pub topics: Option<Vec<(Arc<str>, Vec<i32>)>>,
}

/// OffsetDelete.
#[derive(Clone, Debug)]
pub struct OffsetDelete {
    /// Which group.
    pub group: Arc<str>,
    /// By topic.
    pub topics: Vec<(Arc<str>, Vec<i32>)>,
}

/// ConsumerGroupHeartbeat. Fields that did not change since the last heartbeat are `None`.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    /// Which group.
    pub group: Arc<str>,
    /// Given by the client from version 1 on; empty when a member of version 0 joins.
    pub member_id: Arc<str>,
    /// 0: joins; −1: leaves; −2: a static member leaves for a while.
    pub member_epoch: i32,
    /// The member's static name.
    pub instance_id: Option<Arc<str>>,
    /// The member's rack.
    pub rack_id: Option<Arc<str>>,
    /// How long the member may take to give partitions up; −1: unchanged, which one that joins may not say. Less is INVALID_REQUEST.
    pub rebalance_timeout_ms: i32,
    /// Names of topics.
    pub subscribed_topic_names: Option<Vec<Arc<str>>>,
    /// A regular expression; empty: none any more.
    pub subscribed_topic_regex: Option<Arc<str>>,
    /// The assignor that the member wants: `uniform` or `range`.
    pub server_assignor: Option<Arc<str>>,
    /// What the member owns now, by topic id.
    pub topic_partitions: Option<BTreeMap<crate::TopicId, Vec<i32>>>,
    /// Who asks.
    pub client: Client,
    /// The request's version, for what only newer clients understand.
    pub version: i16,
}
