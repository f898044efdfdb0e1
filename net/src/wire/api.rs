//! The protocol's APIs: their keys and names, and which versions of which of them this program speaks.
//!
//! The versions come from the messages' own tables; the names of all others serve log lines about requests that are not served.

use crate::wire::messages::alter_configs::AlterConfigsRequest;
use crate::wire::messages::api_versions::ApiVersionsRequest;
use crate::wire::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use crate::wire::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::wire::messages::create_partitions::CreatePartitionsRequest;
use crate::wire::messages::create_topics::CreateTopicsRequest;
use crate::wire::messages::delete_groups::DeleteGroupsRequest;
use crate::wire::messages::delete_records::DeleteRecordsRequest;
use crate::wire::messages::delete_topics::DeleteTopicsRequest;
use crate::wire::messages::describe_cluster::DescribeClusterRequest;
use crate::wire::messages::describe_configs::DescribeConfigsRequest;
use crate::wire::messages::describe_groups::DescribeGroupsRequest;
use crate::wire::messages::describe_log_dirs::DescribeLogDirsRequest;
use crate::wire::messages::describe_producers::DescribeProducersRequest;
use crate::wire::messages::describe_topic_partitions::DescribeTopicPartitionsRequest;
use crate::wire::messages::fetch::FetchRequest;
use crate::wire::messages::find_coordinator::FindCoordinatorRequest;
use crate::wire::messages::heartbeat::HeartbeatRequest;
use crate::wire::messages::incremental_alter_configs::IncrementalAlterConfigsRequest;
use crate::wire::messages::init_producer_id::InitProducerIdRequest;
use crate::wire::messages::join_group::JoinGroupRequest;
use crate::wire::messages::leave_group::LeaveGroupRequest;
use crate::wire::messages::list_config_resources::ListConfigResourcesRequest;
use crate::wire::messages::list_groups::ListGroupsRequest;
use crate::wire::messages::list_offsets::ListOffsetsRequest;
use crate::wire::messages::metadata::MetadataRequest;
use crate::wire::messages::offset_commit::OffsetCommitRequest;
use crate::wire::messages::offset_delete::OffsetDeleteRequest;
use crate::wire::messages::offset_fetch::OffsetFetchRequest;
use crate::wire::messages::offset_for_leader_epoch::OffsetForLeaderEpochRequest;
use crate::wire::messages::produce::ProduceRequest;
use crate::wire::messages::sync_group::SyncGroupRequest;
use crate::wire::schema::Message;

/// A request's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
#[allow(missing_docs, reason = "the names are the protocol's own")]
pub enum ApiKey {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    LeaderAndIsr = 4,
    StopReplica = 5,
    UpdateMetadata = 6,
    ControlledShutdown = 7,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    WriteTxnMarkers = 27,
    TxnOffsetCommit = 28,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    AlterReplicaLogDirs = 34,
    DescribeLogDirs = 35,
    SaslAuthenticate = 36,
    CreatePartitions = 37,
    CreateDelegationToken = 38,
    RenewDelegationToken = 39,
    ExpireDelegationToken = 40,
    DescribeDelegationToken = 41,
    DeleteGroups = 42,
    ElectLeaders = 43,
    IncrementalAlterConfigs = 44,
    AlterPartitionReassignments = 45,
    ListPartitionReassignments = 46,
    OffsetDelete = 47,
    DescribeClientQuotas = 48,
    AlterClientQuotas = 49,
    DescribeUserScramCredentials = 50,
    AlterUserScramCredentials = 51,
    Vote = 52,
    BeginQuorumEpoch = 53,
    EndQuorumEpoch = 54,
    DescribeQuorum = 55,
    AlterPartition = 56,
    UpdateFeatures = 57,
    Envelope = 58,
    FetchSnapshot = 59,
    DescribeCluster = 60,
    DescribeProducers = 61,
    BrokerRegistration = 62,
    BrokerHeartbeat = 63,
    UnregisterBroker = 64,
    DescribeTransactions = 65,
    ListTransactions = 66,
    AllocateProducerIds = 67,
    ConsumerGroupHeartbeat = 68,
    ConsumerGroupDescribe = 69,
    ControllerRegistration = 70,
    GetTelemetrySubscriptions = 71,
    PushTelemetry = 72,
    AssignReplicasToDirs = 73,
    ListConfigResources = 74,
    DescribeTopicPartitions = 75,
    ShareGroupHeartbeat = 76,
    ShareGroupDescribe = 77,
    ShareFetch = 78,
    ShareAcknowledge = 79,
    AddRaftVoter = 80,
    RemoveRaftVoter = 81,
    UpdateRaftVoter = 82,
    InitializeShareGroupState = 83,
    ReadShareGroupState = 84,
    WriteShareGroupState = 85,
    DeleteShareGroupState = 86,
    ReadShareGroupStateSummary = 87,
    StreamsGroupHeartbeat = 88,
    StreamsGroupDescribe = 89,
    DescribeShareGroupOffsets = 90,
    AlterShareGroupOffsets = 91,
    DeleteShareGroupOffsets = 92,
    StreamsGroupTopologyDescriptionUpdate = 93,
    UnregisterController = 94,
}

/// What is spoken of one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// Which one.
    pub key: ApiKey,
    /// The lowest version that is advertised, which may be lower than what is served.
    pub advertised_from: i16,
    /// The lowest version that is served.
    pub version_min: i16,
    /// The highest version that is served and advertised.
    pub version_max: i16,
    /// The first version with compact lengths and tagged fields, in its headers too.
    pub flexible_from: i16,
}

/// Everything that is served, by key.
pub const SERVED: &[Api] = &[
    // Advertised from 0 though Kafka and we serve from 3: else librdkafka 2.0 sends its compressed batches uncompressed.
    Api { advertised_from: 0, ..Api::of::<ProduceRequest<'_>>() },
    Api::of::<FetchRequest<'_>>(),
    Api::of::<ListOffsetsRequest<'_>>(),
    Api::of::<MetadataRequest<'_>>(),
    Api::of::<OffsetCommitRequest<'_>>(),
    Api::of::<OffsetFetchRequest<'_>>(),
    Api::of::<FindCoordinatorRequest<'_>>(),
    Api::of::<JoinGroupRequest<'_>>(),
    Api::of::<HeartbeatRequest<'_>>(),
    Api::of::<LeaveGroupRequest<'_>>(),
    Api::of::<SyncGroupRequest<'_>>(),
    Api::of::<DescribeGroupsRequest<'_>>(),
    Api::of::<ListGroupsRequest<'_>>(),
    Api::of::<ApiVersionsRequest<'_>>(),
    Api::of::<CreateTopicsRequest<'_>>(),
    Api::of::<DeleteTopicsRequest<'_>>(),
    Api::of::<DeleteRecordsRequest<'_>>(),
    Api::of::<InitProducerIdRequest<'_>>(),
    Api::of::<OffsetForLeaderEpochRequest<'_>>(),
    Api::of::<DescribeConfigsRequest<'_>>(),
    Api::of::<AlterConfigsRequest<'_>>(),
    Api::of::<DescribeLogDirsRequest<'_>>(),
    Api::of::<CreatePartitionsRequest<'_>>(),
    Api::of::<DeleteGroupsRequest<'_>>(),
    Api::of::<IncrementalAlterConfigsRequest<'_>>(),
    Api::of::<OffsetDeleteRequest<'_>>(),
    Api::of::<DescribeClusterRequest>(),
    Api::of::<DescribeProducersRequest<'_>>(),
    Api::of::<ConsumerGroupHeartbeatRequest<'_>>(),
    Api::of::<ConsumerGroupDescribeRequest<'_>>(),
    Api::of::<ListConfigResourcesRequest>(),
    Api::of::<DescribeTopicPartitionsRequest<'_>>(),
];

impl Api {
    const fn of<'a, M: Message<'a>>() -> Api {
        let (version_min, version_max) = (*M::VERSIONS.start(), *M::VERSIONS.end());
        Api { key: M::KEY, advertised_from: version_min, version_min, version_max, flexible_from: M::FLEXIBLE_FROM }
    }

    /// The API of a request, if it is served at all.
    #[must_use]
    pub fn served(key: i16) -> Option<&'static Api> {
        SERVED.iter().find(|api| api.key.code() == key)
    }

    /// Whether requests of this version can be read.
    #[must_use]
    pub const fn serves(&self, version: i16) -> bool {
        self.version_min <= version && version <= self.version_max
    }

    /// Whether requests of this version, and their headers, are flexible.
    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }
}

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// From the wire; `None` for a number that Kafka 4.4 does not know.
    #[must_use]
    pub fn from_code(code: i16) -> Option<ApiKey> {
        // The keys have no gaps.
        usize::try_from(code).ok().and_then(|index| ALL.get(index)).copied()
    }
}

const ALL: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::LeaderAndIsr,
    ApiKey::StopReplica,
    ApiKey::UpdateMetadata,
    ApiKey::ControlledShutdown,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::SaslHandshake,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::SaslAuthenticate,
    ApiKey::CreatePartitions,
    ApiKey::CreateDelegationToken,
    ApiKey::RenewDelegationToken,
    ApiKey::ExpireDelegationToken,
    ApiKey::DescribeDelegationToken,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeClientQuotas,
    ApiKey::AlterClientQuotas,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::AlterUserScramCredentials,
    ApiKey::Vote,
    ApiKey::BeginQuorumEpoch,
    ApiKey::EndQuorumEpoch,
    ApiKey::DescribeQuorum,
    ApiKey::AlterPartition,
    ApiKey::UpdateFeatures,
    ApiKey::Envelope,
    ApiKey::FetchSnapshot,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::BrokerRegistration,
    ApiKey::BrokerHeartbeat,
    ApiKey::UnregisterBroker,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::AllocateProducerIds,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ControllerRegistration,
    ApiKey::GetTelemetrySubscriptions,
    ApiKey::PushTelemetry,
    ApiKey::AssignReplicasToDirs,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
    ApiKey::ShareGroupHeartbeat,
    ApiKey::ShareGroupDescribe,
    ApiKey::ShareFetch,
    ApiKey::ShareAcknowledge,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
    ApiKey::UpdateRaftVoter,
    ApiKey::InitializeShareGroupState,
    ApiKey::ReadShareGroupState,
    ApiKey::WriteShareGroupState,
    ApiKey::DeleteShareGroupState,
    ApiKey::ReadShareGroupStateSummary,
    ApiKey::StreamsGroupHeartbeat,
    ApiKey::StreamsGroupDescribe,
    ApiKey::DescribeShareGroupOffsets,
    ApiKey::AlterShareGroupOffsets,
    ApiKey::DeleteShareGroupOffsets,
    ApiKey::StreamsGroupTopologyDescriptionUpdate,
    ApiKey::UnregisterController,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_back_from_its_number() {
        for (index, key) in ALL.iter().enumerate() {
            assert_eq!(usize::try_from(key.code()), Ok(index));
            assert_eq!(ApiKey::from_code(key.code()), Some(*key));
        }
        assert_eq!((ApiKey::from_code(-1), ApiKey::from_code(i16::MAX)), (None, None));
    }

    #[test]
    fn what_is_served_stands_in_the_order_of_the_keys() {
        assert!(SERVED.is_sorted_by_key(|api| api.key));
    }

    #[test]
    fn produce_is_advertised_from_zero_and_served_from_three() {
        let produce = Api::served(ApiKey::Produce.code()).unwrap();
        assert_eq!((produce.advertised_from, produce.version_max), (0, 13));
        assert!(!produce.serves(2) && produce.serves(3) && produce.serves(13) && !produce.serves(14));
    }
}
