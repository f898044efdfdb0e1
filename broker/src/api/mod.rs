//! Requests in, answers out: which API is served by which file, and what all of them share.
//!
//! A handler decodes, acts through its core, and encodes; it holds no state of its own. Everything in a request comes from a stranger:
//! what cannot be read closes the connection, what is read but wrong gets the error code that the protocol names. Connections call
//! [`Api::start`] in the order in which requests arrive.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use ringmill_engine::log::{LogReader, LogState, ReadError};
use ringmill_net::wire::messages::metadata::AUTHORIZED_OPERATIONS_UNKNOWN;
use ringmill_net::wire::{self, ApiKey, DecodeError, ErrorCode, Message, Reader};
use ringmill_net::{Answer, Handler, Outcome, Piece, Request};

use crate::config::alter::AlterError;
use crate::core::Core;
use crate::core::turns::LONG_REQUEST_BYTES;
use crate::internal_topics::{GROUPS, is_internal};
use crate::metadata::MetadataError;
use crate::topics::TopicError;

mod alter_configs;
mod api_versions;
mod config_resource;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod group_calls;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

/// Serves the requests of one core's connections.
pub struct Api {
    core: Rc<Core>,
}

impl Api {
    /// Serves through `core`.
    #[must_use]
    pub fn new(core: Rc<Core>) -> Api {
        Api { core }
    }
}

impl Handler for Api {
    async fn start(&self, request: Request) -> Answer {
        if request.header.api_key == ApiKey::Produce.code() && serves(&request) {
            // Its batches must have their place in the log's queue before the next request is looked at.
            return produce::start(Rc::clone(&self.core), request).await;
        }
        Box::pin(answer(Rc::clone(&self.core), request))
    }
}

async fn answer(core: Rc<Core>, request: Request) -> Outcome {
    let key = ApiKey::from_code(request.header.api_key);
    if !serves(&request) {
        return match key {
            Some(ApiKey::ApiVersions) => api_versions::answer_unknown_version(&request),
            _ => not_served(&core, &request),
        };
    }
    // Before anything is decoded: what a request is in memory may be many times its size.
    let is_long = request.body.len() > LONG_REQUEST_BYTES;
    let _turn = match key {
        // They give their turn away while they are parked, or take one when they know what is asked.
        Some(ApiKey::Fetch | ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::OffsetFetch) => None,
        // Small requests with large answers.
        Some(ApiKey::DescribeConfigs | ApiKey::DescribeLogDirs | ApiKey::DescribeTopicPartitions) => {
            core.turns().to_read(true).await
        }
        Some(ApiKey::ListOffsets | ApiKey::OffsetForLeaderEpoch | ApiKey::DescribeProducers) => {
            core.turns().to_read(is_long).await
        }
        // Likewise; but other cores may keep them waiting, and no reader is to wait behind them.
        Some(ApiKey::DescribeGroups | ApiKey::ConsumerGroupDescribe | ApiKey::ListGroups | ApiKey::DeleteGroups) => {
            core.turns().to_change(true).await
        }
        _ => core.turns().to_change(is_long).await,
    };
    let outcome = match key {
        Some(ApiKey::ApiVersions) => api_versions::answer(&core, &request),
        Some(ApiKey::Metadata) => metadata::answer(&core, &request).await,
        Some(ApiKey::Fetch) => fetch::answer(&core, request).await,
        Some(ApiKey::ListOffsets) => list_offsets::answer(&core, &request).await,
        Some(ApiKey::InitProducerId) => init_producer_id::answer(&core, &request).await,
        Some(ApiKey::CreateTopics) => create_topics::answer(&core, &request).await,
        Some(ApiKey::DeleteTopics) => delete_topics::answer(&core, &request).await,
        Some(ApiKey::CreatePartitions) => create_partitions::answer(&core, &request).await,
        Some(ApiKey::DeleteRecords) => delete_records::answer(&core, &request).await,
        Some(ApiKey::DescribeCluster) => describe_cluster::answer(&core, &request),
        Some(ApiKey::DescribeLogDirs) => describe_log_dirs::answer(&core, &request).await,
        Some(ApiKey::DescribeProducers) => describe_producers::answer(&core, &request).await,
        Some(ApiKey::DescribeTopicPartitions) => describe_topic_partitions::answer(&core, &request),
        Some(ApiKey::FindCoordinator) => find_coordinator::answer(&core, &request).await,
        Some(ApiKey::OffsetForLeaderEpoch) => offset_for_leader_epoch::answer(&core, &request).await,
        Some(ApiKey::DescribeConfigs) => describe_configs::answer(&core, &request).await,
        Some(ApiKey::AlterConfigs) => alter_configs::answer(&core, &request).await,
        Some(ApiKey::IncrementalAlterConfigs) => incremental_alter_configs::answer(&core, &request).await,
        Some(ApiKey::JoinGroup) => join_group::answer(&core, request).await,
        Some(ApiKey::SyncGroup) => sync_group::answer(&core, request).await,
        Some(ApiKey::Heartbeat) => heartbeat::answer(&core, &request).await,
        Some(ApiKey::LeaveGroup) => leave_group::answer(&core, &request).await,
        Some(ApiKey::OffsetCommit) => offset_commit::answer(&core, &request).await,
        Some(ApiKey::OffsetFetch) => offset_fetch::answer(&core, &request).await,
        Some(ApiKey::OffsetDelete) => offset_delete::answer(&core, &request).await,
        Some(ApiKey::DescribeGroups) => describe_groups::answer(&core, &request).await,
        Some(ApiKey::ListGroups) => list_groups::answer(&core, &request).await,
        Some(ApiKey::DeleteGroups) => delete_groups::answer(&core, &request).await,
        Some(ApiKey::ConsumerGroupHeartbeat) => consumer_group_heartbeat::answer(&core, &request).await,
        Some(ApiKey::ConsumerGroupDescribe) => consumer_group_describe::answer(&core, &request).await,
        Some(ApiKey::ListConfigResources) => list_config_resources::answer(&core, &request),
        _ => Ok(not_served(&core, &request)),
    };
    outcome.unwrap_or_else(|error| unreadable(&error))
}

fn serves(request: &Request) -> bool {
    wire::Api::served(request.header.api_key).is_some_and(|api| api.serves(request.header.api_version))
}

/// A count and the end of the connection, which logs one line with the client's name: the protocol has no other answer.
fn not_served(core: &Core, request: &Request) -> Outcome {
    let header = &request.header;
    let refused = core.shared().unsupported_requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    let (key, version) = (header.api_key, header.api_version);
    let api = header.api().map_or_else(|| "unknown".to_owned(), |key| format!("{key:?}"));
    Outcome::Close(format!("{api} (key {key}) version {version} is not served; {refused} such requests so far"))
}

/// The most names in one request where each costs more to answer than to ask.
const NAMES_MAX: usize = 10_000;

/// The most partitions in one request: each costs some hundred bytes while it is answered.
const PARTITIONS_MAX: usize = 100_000;

/// The most settings in one request, whether they are asked for or given.
const SETTINGS_MAX: usize = 100_000;

/// What all arrays of one request may take in memory: room for [`PARTITIONS_MAX`] partitions, each in a topic of its own, in any request.
const ARRAY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Closes the connection of who asks for more than [`NAMES_MAX`]: the answer could grow to gigabytes.
fn too_many(names: usize) -> Option<Outcome> {
    more_than(NAMES_MAX, "names", names)
}

/// Closes the connection of who names more than [`PARTITIONS_MAX`], given how many each of the topics has. A topic without any counts
/// as one: it is answered, too.
fn too_many_partitions(counts: impl Iterator<Item = usize>) -> Option<Outcome> {
    more_than(PARTITIONS_MAX, "partitions", counts.map(|count| count.max(1)).sum())
}

/// Closes the connection of who names more than [`SETTINGS_MAX`], given how many each of the resources has.
fn too_many_settings(counts: impl Iterator<Item = usize>) -> Option<Outcome> {
    more_than(SETTINGS_MAX, "settings", counts.sum())
}

fn more_than(most: usize, what: &str, named: usize) -> Option<Outcome> {
    (named > most).then(|| Outcome::Close(format!("{named} {what} in one request, {most} are allowed")))
}

/// The partitions that a request names more than once.
fn named_twice<'a>(named: impl Iterator<Item = (&'a str, i32)>) -> HashSet<(&'a str, i32)> {
    let mut seen = HashSet::new();
    named.filter(|partition| !seen.insert(*partition)).collect()
}

/// What anybody may do with a topic as long as nobody is refused anything: a bit for each of Kafka's `AclOperation`s that a topic knows
/// (read, write, create, delete, alter, describe, describe configs, alter configs).
const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);

/// The same for the cluster (create, alter, describe, cluster action, describe configs, alter configs, idempotent write).
const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);

const fn bits(codes: &[u32]) -> i32 {
    let (mut set, mut index) = (0, 0);
    while index < codes.len() {
        set |= 1 << codes[index];
        index += 1;
    }
    set
}

/// The most partitions that one request may make; Kafka's own limit.
const NEW_PARTITIONS_MAX: i32 = 10_000;

/// How many partitions a request has been allowed to make so far: each costs files, descriptors and several syncs.
#[derive(Default)]
struct NewPartitions(i32);

impl NewPartitions {
    /// Counts `more`, a checked number of a single topic, or refuses them.
    fn add(&mut self, more: i32) -> Result<(), Refusal> {
        if self.0.saturating_add(more) > NEW_PARTITIONS_MAX {
            let why = format!("one request may make at most {NEW_PARTITIONS_MAX} partitions in all");
            return Err(Refusal::new(ErrorCode::PolicyViolation, why));
        }
        self.0 += more;
        Ok(())
    }
}

/// In the form of the protocol: the rights, or "no answer" where nobody asked.
fn operations(asked: bool, allowed: i32) -> i32 {
    if asked { allowed } else { AUTHORIZED_OPERATIONS_UNKNOWN }
}

fn unreadable(error: &DecodeError) -> Outcome {
    Outcome::Close(format!("the request cannot be read: {error}"))
}

fn decode<'a, M: Message<'a>>(request: &'a Request) -> Result<M, DecodeError> {
    M::decode(&mut Reader::bounded(&request.body, ARRAY_BYTES_MAX), request.header.api_version)
}

fn respond<'a, M: Message<'a>>(request: &Request, message: &M) -> Outcome {
    respond_with(request, message, Vec::new())
}

fn respond_with<'a, M: Message<'a>>(request: &Request, message: &M, records: Vec<Piece>) -> Outcome {
    let (version, correlation_id) = (request.header.api_version, request.header.correlation_id);
    Outcome::Respond(wire::encode_response(message, version, correlation_id, records))
}

/// A refusal: the protocol's code, and words where the version has a place for them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    code: ErrorCode,
    why: Option<String>,
}

impl Refusal {
    fn new(code: ErrorCode, why: impl Into<String>) -> Refusal {
        Refusal { code, why: Some(why.into()) }
    }
}

/// Refuses what would harm the broker's own topic.
fn check_not_internal(topic: &str) -> Result<(), Refusal> {
    if !is_internal(topic) {
        return Ok(());
    }
    let why = format!("{GROUPS} is the broker's own: consumer groups live in it, and clients may only read it");
    Err(Refusal::new(ErrorCode::InvalidTopicException, why))
}

/// The topics of a request, each name once and in their order, for clients look for one answer to each. A name that stands there more
/// than once is refused.
fn each_name_once<'r, T>(
    asked: &'r [T],
    name: impl Fn(&'r T) -> &'r str,
) -> impl Iterator<Item = (&'r T, Result<(), Refusal>)> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in asked {
        *times.entry(name(topic)).or_default() += 1;
    }
    asked.iter().filter_map(move |topic| match times.remove(name(topic))? {
        1 => Some((topic, Ok(()))),
        _ => {
            let why = "the request names this topic more than once";
            Some((topic, Err(Refusal::new(ErrorCode::InvalidRequest, why))))
        }
    })
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal { code, why: None }
    }
}

/// What a failed read is called in the protocol.
fn read_error_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Damaged { .. } => ErrorCode::CorruptMessage,
        ReadError::Io(_) => ErrorCode::KafkaStorageError,
    }
}

/// Compares the epoch that a client believes in with the partition's own (KIP-320); −1 compares nothing.
fn check_epoch(reader: &LogReader, client_epoch: i32) -> Result<(), ErrorCode> {
    let own = reader.watermarks().leader_epoch.get();
    match client_epoch {
        -1 => Ok(()),
        older if older < own => Err(ErrorCode::FencedLeaderEpoch),
        newer if newer > own => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// A partition that can be read, by its topic's name.
fn find_reader(core: &Core, topic: &str, index: i32) -> Result<Arc<LogReader>, ErrorCode> {
    let image = core.metadata();
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let hosting = core.hosting();
    let hosted = hosting.find(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let reader = hosted.reader.clone().ok_or(ErrorCode::KafkaStorageError)?;
    check_readable(&reader)?;
    Ok(reader)
}

/// Whether a partition can be read at all.
fn check_readable(reader: &LogReader) -> Result<(), ErrorCode> {
    match reader.watermarks().state {
        LogState::Serving | LogState::Sealed(_) => Ok(()),
        LogState::Quarantined(_) => Err(ErrorCode::KafkaStorageError),
    }
}

/// Where clients are told to come: as configured, else the address that this one dialled.
fn advertised(core: &Core, request: &Request) -> (String, u16) {
    match &core.shared().config.advertised {
        Some(configured) => (configured.host.clone(), configured.port),
        None => {
            let dialled = request.connection.local_addr;
            // An IPv4 client of a socket that listens on both would not know its address in the form ::ffff:a.b.c.d.
            (dialled.ip().to_canonical().to_string(), dialled.port())
        }
    }
}

/// What a topic that cannot be made or removed is called in the protocol.
fn topic_refusal(error: &TopicError) -> Refusal {
    match error {
        TopicError::Metadata(error) => metadata_refusal(error),
        TopicError::Partitions(_) => Refusal::new(ErrorCode::KafkaStorageError, error.to_string()),
    }
}

/// What a change that the metadata does not take is called in the protocol.
fn metadata_refusal(error: &MetadataError) -> Refusal {
    let code = match error {
        MetadataError::InvalidName(_) => ErrorCode::InvalidTopicException,
        MetadataError::Exists(_) => ErrorCode::TopicAlreadyExists,
        MetadataError::Unknown(_) => ErrorCode::UnknownTopicOrPartition,
        MetadataError::PartitionCount(_) | MetadataError::NoIncrease { .. } => ErrorCode::InvalidPartitions,
        MetadataError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
        MetadataError::Alter(AlterError::Malformed(_) | AlterError::ReadOnly(_)) => ErrorCode::InvalidRequest,
        MetadataError::Config(_)
        | MetadataError::Alter(AlterError::Refused(_))
        | MetadataError::BrokerSetting(_)
        | MetadataError::TopicBreaks { .. } => ErrorCode::InvalidConfig,
        MetadataError::NoSpace(_)
        | MetadataError::Refused(_)
        | MetadataError::Checkpoint(_)
        | MetadataError::Failed(_)
        | MetadataError::Closed => ErrorCode::KafkaStorageError,
    };
    Refusal::new(code, error.to_string())
}
