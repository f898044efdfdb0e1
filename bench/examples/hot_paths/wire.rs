//! Requests in and answers out, as a connection and a handler read and write them, in the newest version of each.

use std::hint::black_box;

use bytes::Bytes;
use ringmill_net::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use ringmill_net::wire::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use ringmill_net::wire::{Message, Reader, Records, RequestHeader, encode_request, encode_response};
use ringmill_net::{Piece, Response};

use super::{HotPath, Operation, batch};

pub(super) const PATHS: &[HotPath] = &[
    HotPath {
        name: "produce_request",
        what: "decode a produce request of 1 batch",
        operations: 1000,
        prepare: produce_request,
    },
    HotPath { name: "produce_answer", what: "encode its answer", operations: 1000, prepare: produce_answer },
    HotPath {
        name: "fetch_request",
        what: "decode a fetch request of 10 partitions",
        operations: 1000,
        prepare: fetch_request,
    },
    HotPath {
        name: "fetch_answer",
        what: "encode its answer, records in each partition",
        operations: 1000,
        prepare: fetch_answer,
    },
];

const TOPIC_ID: [u8; 16] = [7; 16];
const FETCHED_PARTITIONS: i32 = 10;
/// Of each fetched partition; they are only pointed at.
const RECORDS_BYTES: usize = 64 * 1024;

fn newest<'a, M: Message<'a>>() -> i16 {
    *M::VERSIONS.end()
}

/// A request's frame without its length, in one piece as it is read off a socket.
fn frame<'a, M: Message<'a>>(request: &M, records: Vec<Piece>) -> Vec<u8> {
    const LENGTH_BYTES: usize = 4;
    let pieces = encode_request(request, newest::<M>(), 1, Some("hot_paths"), records);
    let bytes: Vec<u8> = pieces.iter().flat_map(|piece| bytes_of(piece).to_vec()).collect();
    bytes[LENGTH_BYTES..].to_vec()
}

fn bytes_of(piece: &Piece) -> &Bytes {
    match piece {
        Piece::Bytes(bytes) => bytes,
        Piece::File { .. } => unreachable!("these requests hold no file"),
    }
}

fn produce_request(_: usize) -> Operation {
    let records = batch::of_records(1).freeze();
    let partition = PartitionProduceData { index: 3, records: Some(Records::of_length(records.len())) };
    let topic = TopicProduceData { topic_id: TOPIC_ID, partition_data: vec![partition], ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    let frame = frame(&request, vec![Piece::Bytes(records)]);
    Box::new(move || decode::<ProduceRequest<'_>>(black_box(&frame)))
}

fn fetch_request(_: usize) -> Operation {
    let partition = |index| FetchPartition {
        partition: index,
        fetch_offset: 1_000_000 + i64::from(index),
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic_id: TOPIC_ID,
        partitions: (0..FETCHED_PARTITIONS).map(partition).collect(),
        ..FetchTopic::default()
    };
    let request =
        FetchRequest { max_wait_ms: 500, min_bytes: 1, max_bytes: 50 << 20, topics: vec![topic], ..Default::default() };
    let frame = frame(&request, Vec::new());
    Box::new(move || decode::<FetchRequest<'_>>(black_box(&frame)))
}

fn decode<'a, M: Message<'a>>(frame: &'a [u8]) {
    let (header, header_bytes) = RequestHeader::parse(frame).expect("it has a header");
    let request = M::decode(&mut Reader::new(&frame[header_bytes..]), header.api_version);
    black_box(request).expect("it has a body");
}

fn produce_answer(_: usize) -> Operation {
    Box::new(|| {
        let partition = PartitionProduceResponse { index: 3, base_offset: 1_000_000, ..Default::default() };
        let topic = TopicProduceResponse {
            topic_id: TOPIC_ID,
            partition_responses: vec![black_box(partition)],
            ..TopicProduceResponse::default()
        };
        answer(&ProduceResponse { responses: vec![topic], ..ProduceResponse::default() }, Vec::new());
    })
}

fn fetch_answer(_: usize) -> Operation {
    let records = Bytes::from(vec![0; RECORDS_BYTES]);
    Box::new(move || {
        let partition = |index| PartitionData {
            partition_index: black_box(index),
            high_watermark: 2_000_000,
            last_stable_offset: 2_000_000,
            log_start_offset: 0,
            records: Some(Records::of_length(RECORDS_BYTES)),
            ..PartitionData::default()
        };
        let topic = FetchableTopicResponse {
            topic_id: TOPIC_ID,
            partitions: (0..FETCHED_PARTITIONS).map(partition).collect(),
            ..FetchableTopicResponse::default()
        };
        let pieces = (0..FETCHED_PARTITIONS).map(|_| Piece::Bytes(records.clone())).collect();
        answer(&FetchResponse { responses: vec![topic], ..FetchResponse::default() }, pieces);
    })
}

fn answer<'a, M: Message<'a>>(message: &M, records: Vec<Piece>) {
    let response: Response = encode_response(message, newest::<M>(), black_box(1), records);
    black_box(response);
}
