//! What the sink answers: enough for producers to find it, send, and be content.
//!
//! Every topic exists, with the same number of partitions, and its id is made from its name, so there is nothing to remember: topics may be
//! created and deleted, and nothing happens.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use ringmill_batch::BatchHeader;
use ringmill_net::Response;
use ringmill_net::wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use ringmill_net::wire::messages::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use ringmill_net::wire::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::init_producer_id::InitProducerIdResponse;
use ringmill_net::wire::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use ringmill_net::wire::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringmill_net::wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use ringmill_net::wire::{
    Api, ApiKey, DecodeError, ErrorCode, Reader, RequestHeader, Uuid, Versioned, encode_response,
};

use super::Sink;

const NODE_ID: i32 = 1;

/// Fetch and FindCoordinator are only named: librdkafka concludes from them which record formats and codecs it may send.
const NAMED: [ApiKey; 9] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::InitProducerId,
];

/// The answer to a request, or none where none is wanted.
///
/// # Errors
/// When a request is unreadable or asks for what a sink does not do; the connection is then to be ended.
pub(super) fn answer(
    sink: &Sink,
    own_address: SocketAddr,
    header: &RequestHeader,
    body: &[u8],
) -> Result<Option<Response>, String> {
    let (version, id) = (header.api_version, header.correlation_id);
    let unreadable = |error: DecodeError| format!("an unreadable request: {error}");
    let refused = || format!("a sink does not answer API {} version {version}", header.api_key);
    let api = Api::served(header.api_key).ok_or_else(refused)?;
    if api.key == ApiKey::ApiVersions {
        return Ok(Some(api_versions(version, api.serves(version), id)));
    }
    if !api.serves(version) {
        return Err(refused());
    }
    let mut reader = Reader::new(body);
    match api.key {
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut reader, version).map_err(unreadable)?;
            let response = produce(sink, &request, body)?;
            Ok((request.acks != 0).then(|| encode_response(&response, version, id, Vec::new())))
        }
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut reader, version).map_err(unreadable)?;
            let host = own_address.ip().to_string();
            let response = metadata(sink, &host, own_address.port(), &request);
            Ok(Some(encode_response(&response, version, id, Vec::new())))
        }
        ApiKey::ListOffsets => {
            let request = ListOffsetsRequest::decode(&mut reader, version).map_err(unreadable)?;
            Ok(Some(encode_response(&list_offsets(&request), version, id, Vec::new())))
        }
        ApiKey::InitProducerId => {
            let producer_id = as_i64(sink.next_producer_id.fetch_add(1, Ordering::Relaxed));
            let response = InitProducerIdResponse { producer_id, ..Default::default() };
            Ok(Some(encode_response(&response, version, id, Vec::new())))
        }
        ApiKey::CreateTopics => {
            let request = CreateTopicsRequest::decode(&mut reader, version).map_err(unreadable)?;
            Ok(Some(encode_response(&create_topics(sink, &request), version, id, Vec::new())))
        }
        ApiKey::DeleteTopics => {
            let request = DeleteTopicsRequest::decode(&mut reader, version).map_err(unreadable)?;
            Ok(Some(encode_response(&delete_topics(&request), version, id, Vec::new())))
        }
        _ => Err(refused()),
    }
}

fn api_versions(version: i16, known: bool, id: i32) -> Response {
    let named = NAMED.iter().filter_map(|key| Api::served(key.code()));
    let api_keys = named.map(|api| ApiVersion {
        api_key: api.key.code(),
        min_version: api.advertised_from,
        max_version: api.version_max,
    });
    let error_code = if known { ErrorCode::None } else { ErrorCode::UnsupportedVersion }.code();
    let response = ApiVersionsResponse { error_code, api_keys: api_keys.collect(), ..Default::default() };
    encode_response(&response, if known { version } else { 0 }, id, Vec::new())
}

fn produce<'a>(sink: &Sink, request: &ProduceRequest<'a>, body: &[u8]) -> Result<ProduceResponse<'a>, String> {
    sink.requests.fetch_add(1, Ordering::Relaxed);
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in &request.topic_data {
        let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
        for partition in &topic.partition_data {
            let base_offset = as_i64(take(sink, partition, body)?);
            let index = partition.index;
            partition_responses.push(PartitionProduceResponse { index, base_offset, ..Default::default() });
        }
        responses.push(TopicProduceResponse { name: topic.name, topic_id: topic.topic_id, partition_responses });
    }
    Ok(ProduceResponse { responses, ..Default::default() })
}

/// Looks at the headers of a partition's batches and lets the rest pass. The offset of the first record.
fn take(sink: &Sink, partition: &PartitionProduceData, body: &[u8]) -> Result<u64, String> {
    let bytes = partition.records.as_ref().map_or(&[][..], |records| &body[records.range()]);
    let (mut at, mut records, mut batches) = (0, 0, 0);
    while at < bytes.len() {
        let header = BatchHeader::parse(&bytes[at..]).map_err(|error| format!("a damaged batch: {error}"))?;
        records += u64::try_from(header.record_count).unwrap_or(0);
        batches += 1;
        at += header.total_bytes();
    }
    Ok(sink.take(records, batches, bytes.len() as u64))
}

fn metadata<'a>(sink: &Sink, host: &'a str, port: u16, request: &MetadataRequest<'a>) -> MetadataResponse<'a> {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: NODE_ID,
        leader_epoch: 0,
        replica_nodes: vec![NODE_ID],
        isr_nodes: vec![NODE_ID],
        ..Default::default()
    };
    // Asked for all topics, it has none to name: they exist only when they are asked for.
    let topics = request.topics.iter().flatten().map(|asked| match asked.name {
        Some(name) => MetadataResponseTopic {
            name: Some(name),
            topic_id: topic_id(name),
            partitions: (0..sink.partitions).map(partition).collect(),
            ..Default::default()
        },
        None => MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId.code(),
            topic_id: asked.topic_id,
            ..Default::default()
        },
    });
    MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: NODE_ID, host, port: port.into(), rack: None }],
        cluster_id: Some("ringmill-bench-sink"),
        controller_id: NODE_ID,
        topics: topics.collect(),
        ..Default::default()
    }
}

/// Refuses only what would not come true: another number of partitions.
fn create_topics<'a>(sink: &Sink, request: &CreateTopicsRequest<'a>) -> CreateTopicsResponse<'a> {
    let topics = request.topics.iter().map(|asked| {
        let possible = asked.num_partitions == -1 || asked.num_partitions == sink.partitions;
        CreatableTopicResult {
            name: asked.name,
            topic_id: topic_id(asked.name),
            error_code: if possible { ErrorCode::None } else { ErrorCode::InvalidPartitions }.code(),
            error_message: (!possible)
                .then_some("every topic of the sink has as many partitions as its --partitions says"),
            num_partitions: sink.partitions,
            replication_factor: 1,
            ..Default::default()
        }
    });
    CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
}

fn delete_topics<'a>(request: &DeleteTopicsRequest<'a>) -> DeleteTopicsResponse<'a> {
    let named = request.topic_names.iter().map(|name| (Some(*name), Uuid::default()));
    let by_id = request.topics.iter().map(|topic| (topic.name, topic.topic_id));
    let responses =
        named.chain(by_id).map(|(name, topic_id)| DeletableTopicResult { name, topic_id, ..Default::default() });
    DeleteTopicsResponse { responses: responses.collect(), ..Default::default() }
}

/// Every partition is empty.
fn list_offsets<'a>(request: &ListOffsetsRequest<'a>) -> ListOffsetsResponse<'a> {
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .map(|asked| ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                offset: 0,
                ..Default::default()
            })
            .collect(),
    });
    ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
}

/// The same for the same name, in every run.
fn topic_id(name: &str) -> Uuid {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, name).hash(&mut hasher);
        hasher.finish().to_be_bytes()
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&half(0));
    id[8..].copy_from_slice(&half(1));
    id
}

/// Counts of a run never come near the sign.
fn as_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_id_comes_from_its_name_alone() {
        assert_eq!(topic_id("logs"), topic_id("logs"));
        assert_ne!(topic_id("logs"), topic_id("log"));
    }
}
