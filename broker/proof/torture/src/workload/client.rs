//! The few requests of the workload, over a pipelined connection of the project's one client. What an answer means is its caller's affair.

use std::net::SocketAddr;

use bytes::Bytes;
use ringmill_net::Piece;
use ringmill_net::client::{ClientError, ConnectOptions, Connection, InFlight};
use ringmill_net::wire::Records;
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringmill_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};

/// The last versions that name topics, instead of giving their ids.
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;

/// What one partition may send in one answer, and all of them together: enough that no partition starves another.
const PARTITION_BYTES: i32 = 1 << 20;
const ANSWER_BYTES: i32 = 32 << 20;

/// `ListOffsets` timestamps with a meaning.
pub(super) const EARLIEST: i64 = -2;
pub(super) const LATEST: i64 = -1;

/// A partition by name.
pub(super) type Named<'a> = (&'a str, i32);

/// What a fetch brought of one partition.
pub(super) struct Fetched {
    pub(super) code: i16,
    pub(super) log_start: i64,
    pub(super) end: i64,
    pub(super) records: Bytes,
}

pub(super) async fn connect(address: SocketAddr) -> Result<Connection, ClientError> {
    Connection::connect(&address.to_string(), &ConnectOptions::default()).await
}

/// Sends a batch to each of some partitions, no partition twice, in one request.
pub(super) async fn send_produce(
    connection: &Connection,
    acks: i16,
    batches: &[(Named<'_>, Bytes)],
) -> Result<InFlight, ClientError> {
    let data = |index, batch: &Bytes| PartitionProduceData { index, records: Some(Records::of_length(batch.len())) };
    let topic_data = by_topic(batches, data)
        .map(|(name, partition_data)| TopicProduceData { name, partition_data, ..TopicProduceData::default() })
        .collect();
    let request = ProduceRequest { acks, timeout_ms: 30_000, topic_data, ..ProduceRequest::default() };
    let pieces = batches.iter().map(|(_, batch)| Piece::Bytes(batch.clone())).collect();
    connection.send(&request, PRODUCE_VERSION, pieces, 0).await
}

/// Code and base offset for each batch of a request, in its order.
pub(super) async fn produced(in_flight: InFlight) -> Result<Vec<(i16, i64)>, ClientError> {
    let answer = in_flight.answer().await?;
    let response: ProduceResponse<'_> = answer.decode()?;
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    Ok(partitions.map(|partition| (partition.error_code, partition.base_offset)).collect())
}

/// A producer id, or the code that refused it.
pub(super) async fn init_producer(connection: &Connection) -> Result<Result<i64, i16>, ClientError> {
    let answer = connection.call(&InitProducerIdRequest::default()).await?;
    let response: InitProducerIdResponse = answer.decode()?;
    Ok(if response.error_code == 0 { Ok(response.producer_id) } else { Err(response.error_code) })
}

/// Fetches from some partitions at once; answers in their order.
pub(super) async fn fetch(
    connection: &Connection,
    wait_ms: u32,
    wanted: &[(Named<'_>, i64)],
) -> Result<Vec<Fetched>, ClientError> {
    let asked = |partition, fetch_offset: &i64| FetchPartition {
        partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: PARTITION_BYTES,
        ..FetchPartition::default()
    };
    let topics = by_topic(wanted, asked)
        .map(|(topic, partitions)| FetchTopic { topic, partitions, ..FetchTopic::default() })
        .collect();
    let max_wait_ms = i32::try_from(wait_ms).unwrap_or(i32::MAX);
    let request =
        FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: ANSWER_BYTES, topics, ..FetchRequest::default() };
    let answer = connection.send(&request, FETCH_VERSION, Vec::new(), u64::from(wait_ms)).await?.answer().await?;
    let response: FetchResponse<'_> = answer.decode()?;
    let partitions: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| {
            let range = partition.records.map(Records::range).unwrap_or_default();
            (partition.error_code, partition.log_start_offset, partition.high_watermark, range)
        })
        .collect();
    let body = answer.into_body();
    let fetched = |(code, log_start, end, range): (_, _, _, std::ops::Range<usize>)| Fetched {
        code,
        log_start,
        end,
        records: body.slice(range),
    };
    Ok(partitions.into_iter().map(fetched).collect())
}

/// Code and offset at a timestamp for each of some partitions, in their order.
pub(super) async fn list_offsets(
    connection: &Connection,
    timestamp: i64,
    wanted: &[Named<'_>],
) -> Result<Vec<(i16, i64)>, ClientError> {
    let wanted: Vec<_> = wanted.iter().map(|named| (*named, timestamp)).collect();
    let asked = |partition_index, timestamp: &i64| ListOffsetsPartition {
        partition_index,
        timestamp: *timestamp,
        ..ListOffsetsPartition::default()
    };
    let topics = by_topic(&wanted, asked).map(|(name, partitions)| ListOffsetsTopic { name, partitions }).collect();
    let request = ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() };
    let answer = connection.call(&request).await?;
    let response: ListOffsetsResponse<'_> = answer.decode()?;
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.map(|partition| (partition.error_code, partition.offset)).collect())
}

/// Removes the records before an offset: code and log start.
pub(super) async fn trim(
    connection: &Connection,
    (name, partition_index): Named<'_>,
    offset: i64,
) -> Result<(i16, i64), ClientError> {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
    let topics = vec![DeleteRecordsTopic { name, partitions }];
    let answer = connection.call(&DeleteRecordsRequest { topics, timeout_ms: 30_000 }).await?;
    let response: DeleteRecordsResponse<'_> = answer.decode()?;
    let partition = &response.topics[0].partitions[0];
    Ok((partition.error_code, partition.low_watermark))
}

/// What is asked about partitions, gathered by topic; partitions of one topic have to follow on each other. Answers keep that order.
fn by_topic<'a, T, P>(
    wanted: &[(Named<'a>, T)],
    ask: impl Fn(i32, &T) -> P,
) -> impl Iterator<Item = (&'a str, Vec<P>)> {
    let mut topics: Vec<(&str, Vec<P>)> = Vec::new();
    for ((name, index), about) in wanted {
        let asked = ask(*index, about);
        match topics.last_mut().filter(|(last, _)| last == name) {
            Some((_, partitions)) => partitions.push(asked),
            None => topics.push((name, vec![asked])),
        }
    }
    topics.into_iter()
}
