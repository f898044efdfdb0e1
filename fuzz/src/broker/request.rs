//! One request out of a script: any API that is served, in any of its versions, about topics that may exist, with values at the edges.
//!
//! It can always be read, so it must be answered. Topics called [`KEPT`] are written and read, and never changed.

mod groups;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use ringmill_batch::{BatchBuilder, Codec};
use ringmill_net::Piece;
use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::*;
use ringmill_net::wire::{Api, ApiKey, Message, Records, Uuid, encode_request};

use crate::script::Script;

/// The topic whose records must all be there in the end.
pub(super) const KEPT: &str = "kept";

/// Partitions of [`KEPT`].
pub(super) const KEPT_PARTITIONS: i32 = 2;

const NAMES: [&str; 6] = ["a", "b.c", "b_c", "nobody", "", "a/b"];

/// A timestamp that every topic takes.
pub(super) const NOW_MS: i64 = 1_800_000_000_000;

/// Of things that are worth writing.
const SETTINGS: [(&str, &[&str]); 12] = [
    ("retention.ms", &["1", "-1", "1000"]),
    ("retention.bytes", &["1", "-1", "100"]),
    ("segment.bytes", &["1048576", "2000000", "1"]),
    ("segment.ms", &["1", "1000", "604800000"]),
    ("write.caching", &["true", "false"]),
    ("flush.ms", &["1", "9223372036854775807", "0"]),
    ("max.message.bytes", &["100", "0", "1048588"]),
    ("message.timestamp.type", &["LogAppendTime", "CreateTime"]),
    ("strict.records", &["true", "false"]),
    ("num.partitions", &["1", "3", "0"]),
    ("log.retention.ms", &["1", "-1", "x"]),
    ("cleanup.policy", &["delete", "compact"]),
];

/// A request, ready to be sent.
pub(super) struct Made {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) frame: Bytes,
    /// No answer will come.
    pub(super) silent: bool,
    /// A batch for this partition of [`KEPT`], without a producer's id, whose only record has this number as its value.
    pub(super) keeps: Option<(i32, u64)>,
}

/// What requests need to know of the world.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Ids of topics, as answers told them.
    pub(super) ids: BTreeMap<String, Uuid>,
    /// Numbers given to records so far.
    pub(super) numbers: u64,
    /// Fetch sessions that were opened, with the epoch that comes next.
    pub(super) sessions: Vec<(i32, i32)>,
    /// Ids of members of classic groups, as answers told them.
    pub(super) members: Vec<String>,
}

/// The next request.
pub(super) fn make(script: &mut Script<'_>, known: &mut Known, correlation_id: i32) -> Made {
    // Most of what real clients say.
    let api = match script.byte() {
        0..=63 => Api::served(ApiKey::Produce.code()),
        64..=127 => Api::served(ApiKey::Fetch.code()),
        group @ 128..=191 => Api::served(groups::APIS[usize::from(group) % groups::APIS.len()].code()),
        other => SERVED.get(usize::from(other) % SERVED.len()),
    };
    let api = api.expect("these are served");
    let version = api.version_min + i16::from(script.byte()) % (api.version_max - api.version_min + 1);
    let mut maker = Maker { script, known, api, version, correlation_id, silent: false, keeps: None };
    let frame = maker.frame();
    Made { key: api.key, version, frame, silent: maker.silent, keeps: maker.keeps }
}

struct Maker<'s, 'd> {
    script: &'s mut Script<'d>,
    known: &'s mut Known,
    api: &'static Api,
    version: i16,
    correlation_id: i32,
    silent: bool,
    keeps: Option<(i32, u64)>,
}

impl Maker<'_, '_> {
    fn encode<'a>(&self, message: &impl Message<'a>) -> Bytes {
        self.encode_with(message, Vec::new())
    }

    fn encode_with<'a>(&self, message: &impl Message<'a>, records: Vec<Piece>) -> Bytes {
        let mut frame = BytesMut::new();
        for piece in encode_request(message, self.version, self.correlation_id, Some("fuzz"), records) {
            match piece {
                Piece::Bytes(bytes) => frame.extend_from_slice(&bytes),
                Piece::File { .. } => unreachable!("no files are sent here"),
            }
        }
        frame.freeze()
    }

    fn frame(&mut self) -> Bytes {
        match self.api.key {
            ApiKey::Produce => self.produce(),
            ApiKey::Fetch => self.fetch(),
            ApiKey::ListOffsets => self.list_offsets(),
            ApiKey::Metadata => self.metadata(),
            ApiKey::FindCoordinator => self.find_coordinator(),
            ApiKey::ApiVersions => self.api_versions(),
            ApiKey::CreateTopics => self.create_topics(),
            ApiKey::DeleteTopics => self.delete_topics(),
            ApiKey::DeleteRecords => self.delete_records(),
            ApiKey::InitProducerId => self.init_producer_id(),
            ApiKey::OffsetForLeaderEpoch => self.offset_for_leader_epoch(),
            ApiKey::DescribeConfigs => self.describe_configs(),
            ApiKey::AlterConfigs => self.alter_configs(),
            ApiKey::IncrementalAlterConfigs => self.incremental_alter_configs(),
            ApiKey::DescribeLogDirs => self.describe_log_dirs(),
            ApiKey::CreatePartitions => self.create_partitions(),
            ApiKey::DescribeCluster => self.encode(&describe_cluster::DescribeClusterRequest::default()),
            ApiKey::DescribeProducers => self.describe_producers(),
            ApiKey::ListConfigResources => self.encode(&list_config_resources::ListConfigResourcesRequest::default()),
            ApiKey::DescribeTopicPartitions => self.describe_topic_partitions(),
            ApiKey::JoinGroup => self.join_group(),
            ApiKey::SyncGroup => self.sync_group(),
            ApiKey::Heartbeat => self.heartbeat(),
            ApiKey::LeaveGroup => self.leave_group(),
            ApiKey::OffsetCommit => self.offset_commit(),
            ApiKey::OffsetFetch => self.offset_fetch(),
            ApiKey::OffsetDelete => self.offset_delete(),
            ApiKey::DescribeGroups => self.describe_groups(),
            ApiKey::ListGroups => self.list_groups(),
            ApiKey::DeleteGroups => self.delete_groups(),
            ApiKey::ConsumerGroupHeartbeat => self.consumer_group_heartbeat(),
            ApiKey::ConsumerGroupDescribe => self.consumer_group_describe(),
            other => unreachable!("{other:?} is not made here yet"),
        }
    }

    /// A topic that may be changed.
    fn name(&mut self) -> &'static str {
        self.script.choose(&NAMES)
    }

    /// Any topic.
    fn name_to_read(&mut self) -> &'static str {
        if self.script.flag() { KEPT } else { self.name() }
    }

    fn id_of(&mut self, name: &str) -> Uuid {
        match self.script.byte() {
            0 => [0; 16],
            1 => [9; 16],
            _ => self.known.ids.get(name).copied().unwrap_or_default(),
        }
    }

    fn partition(&mut self) -> i32 {
        match self.script.byte() {
            255 => self.script.number_i32(),
            small => i32::from(small % 3),
        }
    }

    /// Rarely many, mostly one.
    fn count(&mut self) -> usize {
        match self.script.byte() {
            0..=15 => 0,
            16..=199 => 1,
            200..=250 => 2,
            _ => 5,
        }
    }

    fn produce(&mut self) -> Bytes {
        let acks = match self.script.byte() {
            0..=15 => 0,
            16..=31 => 1,
            32 => self.script.number_i16(),
            _ => -1,
        };
        self.silent = acks == 0;
        let kept = self.script.flag();
        let topics = if kept { 1 } else { self.count() };
        let (mut pieces, mut topic_data) = (Vec::new(), Vec::new());
        for _ in 0..topics {
            let name = if kept { KEPT } else { self.name() };
            let topic_id = if kept { self.known.ids.get(name).copied().unwrap_or_default() } else { self.id_of(name) };
            let mut partition_data = Vec::new();
            for _ in 0..if kept { 1 } else { self.count() } {
                let index = self.partition();
                let (batch, number) = self.batch(kept);
                if let Some(number) = number.filter(|_| kept) {
                    self.keeps = Some((index, number));
                }
                let records = (!batch.is_empty() || self.script.flag()).then(|| Records::of_length(batch.len()));
                partition_data.push(produce::PartitionProduceData { index, records });
                pieces.push(Piece::Bytes(batch));
            }
            topic_data.push(produce::TopicProduceData { name, topic_id, partition_data });
        }
        let transactional_id = (self.script.byte() == 255).then_some("t");
        if transactional_id.is_some() || !matches!(acks, -1 | 1) {
            self.keeps = None;
        }
        let request = produce::ProduceRequest { transactional_id, acks, timeout_ms: 1000, topic_data };
        self.encode_with(&request, pieces)
    }

    /// A batch, and its number if it is one that must be found again.
    fn batch(&mut self, kept: bool) -> (Bytes, Option<u64>) {
        let kind = self.script.byte();
        let codec = match kind % 8 {
            1 => self.script.choose(&Codec::ALL),
            _ => Codec::None,
        };
        let mut builder = BatchBuilder::new(codec, None);
        let idempotent = (kind / 8).is_multiple_of(4);
        if idempotent {
            let sequence = match self.script.byte() {
                255 => self.script.number_i32() & i32::MAX,
                small => (small % 8).into(),
            };
            builder.producer(i64::from(self.script.byte() % 3), i16::from(self.script.byte() % 2), sequence);
        }
        let number = self.known.numbers;
        self.known.numbers += 1;
        let timestamp_ms = if kept { NOW_MS } else { NOW_MS + self.script.number().clamp(-1 << 40, 1 << 40) };
        builder.push(timestamp_ms, None, Some(number.to_string().as_bytes()), &[]);
        if !kept {
            for _ in 0..self.count() {
                let value = self.script.bytes(300);
                builder.push(NOW_MS, Some(b"key"), Some(value), &[(b"h", None)]);
            }
        }
        let mut batch = builder.finish();
        if kind == 255 {
            // One byte of it is wrong, and sometimes its end is missing.
            let at = self.script.below(batch.len());
            batch[at] = self.script.byte();
            batch.truncate(batch.len() - self.script.below(2) * 7);
            return (batch.freeze(), None);
        }
        (batch.freeze(), (!idempotent).then_some(number))
    }

    fn fetch(&mut self) -> Bytes {
        let (session_id, session_epoch) = match self.script.byte() % 4 {
            0 => (0, 0),
            1 if !self.known.sessions.is_empty() => {
                let at = self.script.below(self.known.sessions.len());
                let (id, epoch) = &mut self.known.sessions[at];
                *epoch += 1;
                (*id, *epoch - 1)
            }
            2 => (self.script.number_i32(), self.script.number_i32()),
            _ => (0, -1),
        };
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let topic = self.name_to_read();
            let topic_id = self.id_of(topic);
            let partitions = (0..self.count()).map(|_| self.fetched_partition()).collect();
            topics.push(fetch::FetchTopic { topic, topic_id, partitions });
        }
        let mut forgotten_topics_data = Vec::new();
        if self.script.byte() > 240 {
            let topic = self.name_to_read();
            let (topic_id, partitions) = (self.id_of(topic), vec![self.partition()]);
            forgotten_topics_data.push(fetch::ForgottenTopic { topic, topic_id, partitions });
        }
        let request = fetch::FetchRequest {
            max_wait_ms: self.script.choose(&[0, 0, 1, 20, -1]),
            min_bytes: self.script.choose(&[0, 1, 1, i32::MAX, -1]),
            max_bytes: self.script.choose(&[i32::MAX, 1 << 20, 100, 0, -1]),
            isolation_level: self.script.choose(&[0, 1, 7]),
            session_id,
            session_epoch,
            topics,
            forgotten_topics_data,
            ..Default::default()
        };
        self.encode(&request)
    }

    fn fetched_partition(&mut self) -> fetch::FetchPartition {
        fetch::FetchPartition {
            partition: self.partition(),
            current_leader_epoch: self.script.choose(&[-1, 0, 1, 7]),
            fetch_offset: self.script.number(),
            last_fetched_epoch: self.script.choose(&[-1, 0, 5]),
            partition_max_bytes: self.script.choose(&[1 << 20, 1, 0, -1, 200]),
            ..Default::default()
        }
    }

    fn list_offsets(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let name = self.name_to_read();
            let partitions = (0..self.count())
                .map(|_| list_offsets::ListOffsetsPartition {
                    partition_index: self.partition(),
                    current_leader_epoch: self.script.choose(&[-1, 0, 1, 7]),
                    timestamp: self.script.choose(&[-1, -2, -3, -4, -5, -6, 0, NOW_MS, i64::MAX, i64::MIN]),
                })
                .collect();
            topics.push(list_offsets::ListOffsetsTopic { name, partitions });
        }
        self.encode(&list_offsets::ListOffsetsRequest { replica_id: -1, topics, ..Default::default() })
    }

    fn metadata(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let name = self.name_to_read();
            let by_id = self.version >= 12 && self.script.flag();
            let topic_id = if by_id { self.id_of(name) } else { [0; 16] };
            topics.push(metadata::MetadataRequestTopic { topic_id, name: (!by_id).then_some(name) });
        }
        let topics = (self.script.byte() > 20).then_some(topics);
        let allow_auto_topic_creation = self.script.flag();
        self.encode(&metadata::MetadataRequest { topics, allow_auto_topic_creation, ..Default::default() })
    }

    fn find_coordinator(&mut self) -> Bytes {
        let key = self.script.text(20);
        let coordinator_keys = (0..self.count()).map(|_| key).collect();
        let key_type = self.script.choose(&[0, 1, 2, 3]);
        self.encode(&find_coordinator::FindCoordinatorRequest { key, key_type, coordinator_keys })
    }

    fn setting(&mut self) -> (&'static str, Option<&'static str>) {
        let (name, values) = self.script.choose(&SETTINGS);
        let value = self.script.choose(values);
        (name, (self.script.byte() > 8).then_some(value))
    }

    fn api_versions(&mut self) -> Bytes {
        let (client_software_name, client_software_version) = (self.script.text(20), self.script.text(20));
        self.encode(&api_versions::ApiVersionsRequest {
            client_software_name,
            client_software_version,
            ..Default::default()
        })
    }

    fn create_topics(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let name = self.name();
            let configs = (0..self.script.below(3))
                .map(|_| self.setting())
                .map(|(name, value)| create_topics::CreatableTopicConfig { name, value })
                .collect();
            topics.push(create_topics::CreatableTopic {
                name,
                num_partitions: self.script.choose(&[1, 2, 3, -1, 0, i32::MAX]),
                replication_factor: self.script.choose(&[1, -1, 2, 0]),
                assignments: Vec::new(),
                configs,
            });
        }
        let validate_only = self.script.byte() > 200;
        self.encode(&create_topics::CreateTopicsRequest { topics, timeout_ms: 1000, validate_only })
    }

    fn delete_topics(&mut self) -> Bytes {
        let (mut topics, mut topic_names) = (Vec::new(), Vec::new());
        for _ in 0..self.count() {
            let name = self.name();
            let by_id = self.script.flag();
            let topic_id = if by_id { self.id_of(name) } else { [0; 16] };
            topics.push(delete_topics::DeleteTopicState { name: (!by_id).then_some(name), topic_id });
            topic_names.push(name);
        }
        self.encode(&delete_topics::DeleteTopicsRequest { topics, topic_names, timeout_ms: 1000 })
    }

    fn delete_records(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let name = self.name();
            let partitions = (0..self.count())
                .map(|_| delete_records::DeleteRecordsPartition {
                    partition_index: self.partition(),
                    offset: self.script.number(),
                })
                .collect();
            topics.push(delete_records::DeleteRecordsTopic { name, partitions });
        }
        self.encode(&delete_records::DeleteRecordsRequest { topics, timeout_ms: 1000 })
    }

    fn init_producer_id(&mut self) -> Bytes {
        let transactional_id = (self.script.byte() > 230).then_some("t");
        let (producer_id, producer_epoch) = match self.script.byte() % 4 {
            0 => (self.script.number(), self.script.number_i16()),
            1 => (i64::from(self.script.byte() % 3), i16::from(self.script.byte() % 3)),
            _ => (-1, -1),
        };
        let transaction_timeout_ms = self.script.number_i32();
        self.encode(&init_producer_id::InitProducerIdRequest {
            transactional_id,
            transaction_timeout_ms,
            producer_id,
            producer_epoch,
        })
    }

    fn offset_for_leader_epoch(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let topic = self.name_to_read();
            let partitions = (0..self.count())
                .map(|_| offset_for_leader_epoch::OffsetForLeaderPartition {
                    partition: self.partition(),
                    current_leader_epoch: self.script.choose(&[-1, 0, 1, 7]),
                    leader_epoch: self.script.number_i32(),
                })
                .collect();
            topics.push(offset_for_leader_epoch::OffsetForLeaderTopic { topic, partitions });
        }
        self.encode(&offset_for_leader_epoch::OffsetForLeaderEpochRequest { replica_id: -1, topics })
    }

    /// A resource that may be changed.
    fn resource(&mut self) -> (i8, &'static str) {
        match self.script.byte() % 8 {
            0 => (4, ""),
            1 => (4, "1"),
            2 => (4, "x"),
            3 => (8, "1"),
            4 => (7, "1"),
            _ => (2, self.name()),
        }
    }

    fn describe_configs(&mut self) -> Bytes {
        let mut resources = Vec::new();
        for _ in 0..self.count() {
            let (resource_type, resource_name) = self.resource();
            let keys = (0..self.count()).map(|_| self.setting().0).collect();
            let configuration_keys = (self.script.byte() > 200).then_some(keys);
            resources.push(describe_configs::DescribeConfigsResource {
                resource_type,
                resource_name,
                configuration_keys,
            });
        }
        let include_synonyms = self.script.flag();
        self.encode(&describe_configs::DescribeConfigsRequest { resources, include_synonyms, ..Default::default() })
    }

    fn alter_configs(&mut self) -> Bytes {
        let mut resources = Vec::new();
        for _ in 0..self.count() {
            let (resource_type, resource_name) = self.resource();
            let configs = (0..self.count())
                .map(|_| self.setting())
                .map(|(name, value)| alter_configs::AlterableConfig { name, value })
                .collect();
            resources.push(alter_configs::AlterConfigsResource { resource_type, resource_name, configs });
        }
        let validate_only = self.script.byte() > 220;
        self.encode(&alter_configs::AlterConfigsRequest { resources, validate_only })
    }

    fn incremental_alter_configs(&mut self) -> Bytes {
        let mut resources = Vec::new();
        for _ in 0..self.count() {
            let (resource_type, resource_name) = self.resource();
            let mut configs = Vec::new();
            for _ in 0..self.count() {
                let (name, value) = self.setting();
                let config_operation = self.script.choose(&[0, 0, 0, 0, 1, 2, 3, 9]);
                configs.push(incremental_alter_configs::AlterableConfig { name, config_operation, value });
            }
            resources.push(incremental_alter_configs::AlterConfigsResource { resource_type, resource_name, configs });
        }
        let validate_only = self.script.byte() > 220;
        self.encode(&incremental_alter_configs::IncrementalAlterConfigsRequest { resources, validate_only })
    }

    fn describe_log_dirs(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let (topic, partitions) = (self.name_to_read(), vec![self.partition()]);
            topics.push(describe_log_dirs::DescribableLogDirTopic { topic, partitions });
        }
        let topics = self.script.flag().then_some(topics);
        self.encode(&describe_log_dirs::DescribeLogDirsRequest { topics })
    }

    fn create_partitions(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let (name, count) = (self.name(), self.script.choose(&[1, 2, 3, 4, 0, -1, i32::MAX]));
            topics.push(create_partitions::CreatePartitionsTopic { name, count, assignments: None });
        }
        let validate_only = self.script.byte() > 220;
        self.encode(&create_partitions::CreatePartitionsRequest { topics, timeout_ms: 1000, validate_only })
    }

    fn describe_producers(&mut self) -> Bytes {
        let mut topics = Vec::new();
        for _ in 0..self.count() {
            let (name, partition_indexes) = (self.name_to_read(), vec![self.partition()]);
            topics.push(describe_producers::TopicRequest { name, partition_indexes });
        }
        self.encode(&describe_producers::DescribeProducersRequest { topics })
    }

    fn describe_topic_partitions(&mut self) -> Bytes {
        let topics =
            (0..self.count()).map(|_| describe_topic_partitions::TopicRequest { name: self.name_to_read() }).collect();
        let cursor = self.script.flag().then(|| describe_topic_partitions::Cursor {
            topic_name: self.name_to_read(),
            partition_index: self.partition(),
        });
        let response_partition_limit = self.script.number_i32();
        self.encode(&describe_topic_partitions::DescribeTopicPartitionsRequest {
            topics,
            response_partition_limit,
            cursor,
        })
    }
}
