//! A broker of a few hundred lines for the client's tests: one topic and one group in memory, and faults that the test asks for.
//!
//! It speaks through the same tables as the client, checks sequence numbers as a broker does, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ringmill_batch::{BatchHeader, LeaderEpoch, Offset, check_produced, read_records, stamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use crate::wire::messages::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use crate::wire::messages::init_producer_id::InitProducerIdResponse;
use crate::wire::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::wire::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::messages::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use crate::wire::{Api, ApiKey, ErrorCode, Reader, Records, RequestHeader, Uuid, Versioned, encode_response};
use crate::{Piece, Response};

mod groups;

use groups::Group;

pub(super) const TOPIC: &str = "logs";
const NODE_ID: i32 = 7;

/// What is to go wrong with a request of one API.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing: the fault after it is for the next request.
    Pass,
    /// It is refused.
    Refuse(ErrorCode),
    /// It is carried out, and the connection ends instead of the answer.
    HangUp,
    /// It is carried out, and no answer comes.
    Silence,
    /// Bytes come that are no answer.
    Babble(&'static [u8]),
}

pub(super) struct Scripted {
    pub(super) address: String,
    state: Arc<Mutex<State>>,
}

pub(super) struct State {
    pub(super) partitions: Vec<Log>,
    pub(super) topic_id: Uuid,
    pub(super) faults: BTreeMap<ApiKey, VecDeque<Fault>>,
    /// Every request so far.
    pub(super) seen: Vec<(ApiKey, i16)>,
    /// Narrows what is advertised.
    pub(super) offered: BTreeMap<ApiKey, RangeInclusive<i16>>,
    /// Its only group.
    pub(super) group: Group,
    next_producer_id: i64,
    port: u16,
}

#[derive(Default)]
pub(super) struct Log {
    pub(super) start: i64,
    /// Larger batches are refused.
    pub(super) batch_bytes_max: Option<usize>,
    batches: Vec<(BatchHeader, Bytes)>,
    /// The sequence number that each producer id must send next.
    sequences: BTreeMap<i64, i32>,
}

impl Scripted {
    pub(super) async fn start(partitions: usize) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            partitions: std::iter::repeat_with(Log::default).take(partitions).collect(),
            topic_id: [9; 16],
            faults: BTreeMap::new(),
            seen: Vec::new(),
            offered: BTreeMap::new(),
            group: Group::new(),
            next_producer_id: 100,
            port,
        }));
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&served)));
            }
        });
        Scripted { address: format!("127.0.0.1:{port}"), state }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn faults(&self, key: ApiKey, faults: &[Fault]) {
        self.state().faults.insert(key, faults.iter().copied().collect());
    }

    /// The values in a partition, in their order.
    pub(super) fn values(&self, partition: usize) -> Vec<String> {
        let state = self.state();
        let mut values = Vec::new();
        for (_, batch) in &state.partitions[partition].batches {
            let set = read_records(batch, Default::default()).unwrap();
            let value = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            values.extend(set.iter().map(|record| value(record.unwrap().value.unwrap())));
        }
        values
    }

    /// The versions that requests of an API came in.
    pub(super) fn versions(&self, key: ApiKey) -> Vec<i16> {
        self.state().seen.iter().filter(|(seen, _)| *seen == key).map(|(_, version)| *version).collect()
    }
}

impl Log {
    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |(header, _)| header.next_offset().get())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<i64, ErrorCode> {
        let header = check_produced(bytes).map_err(|_| ErrorCode::CorruptMessage)?;
        if self.batch_bytes_max.is_some_and(|limit| bytes.len() > limit) {
            return Err(ErrorCode::MessageTooLarge);
        }
        if header.has_producer() {
            let expected = self.sequences.entry(header.producer_id).or_insert(0);
            if header.base_sequence < *expected {
                let is_it = |(old, _): &&(BatchHeader, Bytes)| {
                    (old.producer_id, old.base_sequence) == (header.producer_id, header.base_sequence)
                };
                let old = self.batches.iter().find(is_it).ok_or(ErrorCode::DuplicateSequenceNumber)?;
                return Ok(old.0.base_offset.get());
            }
            if header.base_sequence > *expected {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            *expected += header.record_count;
        }
        let base = Offset::new(self.end()).unwrap();
        let mut stamped = bytes.to_vec();
        stamp(&mut stamped, base, LeaderEpoch::ZERO);
        self.batches.push((header.stamped(base, LeaderEpoch::ZERO), stamped.into()));
        Ok(base.get())
    }

    fn from(&self, offset: i64) -> Vec<u8> {
        let wanted = self.batches.iter().filter(|(header, _)| header.next_offset().get() > offset);
        wanted.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }
}

async fn serve(mut socket: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    loop {
        let length = socket.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut frame).await.ok()?;
        let (header, body_at) = RequestHeader::parse(&frame).unwrap();
        let key = header.api().unwrap();
        let (answer, fault) = {
            let mut state = state.lock().unwrap();
            state.seen.push((key, header.api_version));
            let fault = state.faults.get_mut(&key).and_then(VecDeque::pop_front).unwrap_or(Fault::Pass);
            (state.answer(&header, &frame[body_at..], fault), fault)
        };
        match (fault, answer) {
            (Fault::HangUp, _) => return None,
            (Fault::Babble(bytes), _) => socket.write_all(bytes).await.ok()?,
            (Fault::Pass | Fault::Refuse(_), Some(answer)) => {
                for piece in answer.into_pieces() {
                    let Piece::Bytes(bytes) = piece else { panic!("all is in memory") };
                    socket.write_all(&bytes).await.ok()?;
                }
            }
            (Fault::Silence, _) | (_, None) => {}
        }
        // A fetch that finds nothing is answered by the test's own patience.
        tokio::task::yield_now().await;
    }
}

impl State {
    fn answer(&mut self, header: &RequestHeader, body: &[u8], fault: Fault) -> Option<Response> {
        let refused = match fault {
            Fault::Refuse(code) => Some(code),
            _ => None,
        };
        let (version, id) = (header.api_version, header.correlation_id);
        match header.api().unwrap() {
            ApiKey::ApiVersions => Some(self.api_versions(version, id, refused)),
            ApiKey::Metadata => Some(self.metadata(version, id, refused)),
            ApiKey::InitProducerId => {
                self.next_producer_id += 1;
                let response = InitProducerIdResponse {
                    error_code: refused.unwrap_or(ErrorCode::None).code(),
                    producer_id: self.next_producer_id,
                    ..Default::default()
                };
                Some(encode_response(&response, version, id, Vec::new()))
            }
            ApiKey::Produce => self.produce(version, id, body, refused),
            ApiKey::Fetch => Some(self.fetch(version, id, body, refused)),
            ApiKey::ListOffsets => Some(self.list_offsets(version, id, body)),
            _ => Some(self.group.answer((self.topic_id, self.port), header, body, refused)),
        }
    }

    fn api_versions(&self, version: i16, id: i32, refused: Option<ErrorCode>) -> Response {
        let api_keys = crate::wire::api::SERVED.iter().map(|api: &Api| {
            let offered = self.offered.get(&api.key).cloned().unwrap_or(api.advertised_from..=api.version_max);
            ApiVersion { api_key: api.key.code(), min_version: *offered.start(), max_version: *offered.end() }
        });
        let error_code = refused.unwrap_or(ErrorCode::None).code();
        let response = ApiVersionsResponse { error_code, api_keys: api_keys.collect(), ..Default::default() };
        encode_response(&response, if refused.is_some() { 0 } else { version }, id, Vec::new())
    }

    fn metadata(&self, version: i16, id: i32, refused: Option<ErrorCode>) -> Response {
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: NODE_ID,
            leader_epoch: 3,
            replica_nodes: vec![NODE_ID],
            isr_nodes: vec![NODE_ID],
            ..Default::default()
        };
        let response = MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NODE_ID,
                host: "127.0.0.1",
                port: i32::from(self.port),
                rack: None,
            }],
            topics: vec![MetadataResponseTopic {
                error_code: refused.unwrap_or(ErrorCode::None).code(),
                name: Some(TOPIC),
                topic_id: self.topic_id,
                partitions: (0..).take(self.partitions.len()).map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        encode_response(&response, version, id, Vec::new())
    }

    fn produce(&mut self, version: i16, id: i32, body: &[u8], refused: Option<ErrorCode>) -> Option<Response> {
        let request = ProduceRequest::decode(&mut Reader::new(body), version).unwrap();
        let topic = &request.topic_data[0];
        assert!(version < 13 && topic.name == TOPIC || version >= 13 && topic.topic_id == self.topic_id);
        let mut answers = Vec::new();
        for partition in &topic.partition_data {
            let log = &mut self.partitions[usize::try_from(partition.index).unwrap()];
            let result = match refused {
                Some(code) => Err(code),
                None => log.append(&body[partition.records.unwrap().range()]),
            };
            answers.push(PartitionProduceResponse {
                index: partition.index,
                error_code: result.err().unwrap_or(ErrorCode::None).code(),
                base_offset: result.unwrap_or(-1),
                ..Default::default()
            });
        }
        let answered = request.acks != 0;
        let response = ProduceResponse {
            responses: vec![TopicProduceResponse {
                name: topic.name,
                topic_id: topic.topic_id,
                partition_responses: answers,
            }],
            ..Default::default()
        };
        answered.then(|| encode_response(&response, version, id, Vec::new()))
    }

    fn fetch(&self, version: i16, id: i32, body: &[u8], refused: Option<ErrorCode>) -> Response {
        let request = FetchRequest::decode(&mut Reader::new(body), version).unwrap();
        let topic = &request.topics[0];
        assert!(version < 13 && topic.topic == TOPIC || version >= 13 && topic.topic_id == self.topic_id);
        let (mut partitions, mut pieces) = (Vec::new(), Vec::new());
        for asked in &topic.partitions {
            assert!(version < 9 || asked.current_leader_epoch == 3, "the client tells which epoch it knows");
            let log = &self.partitions[usize::try_from(asked.partition).unwrap()];
            let in_range = (log.start..=log.end()).contains(&asked.fetch_offset);
            let error = refused.or((!in_range).then_some(ErrorCode::OffsetOutOfRange));
            let records = if error.is_none() { log.from(asked.fetch_offset) } else { Vec::new() };
            partitions.push(PartitionData {
                partition_index: asked.partition,
                error_code: error.unwrap_or(ErrorCode::None).code(),
                high_watermark: log.end(),
                log_start_offset: log.start,
                records: Some(Records::of_length(records.len())),
                ..Default::default()
            });
            pieces.push(Piece::Bytes(records.into()));
        }
        let topic = FetchableTopicResponse { topic: topic.topic, topic_id: topic.topic_id, partitions };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        encode_response(&response, version, id, pieces)
    }

    fn list_offsets(&self, version: i16, id: i32, body: &[u8]) -> Response {
        let request = ListOffsetsRequest::decode(&mut Reader::new(body), version).unwrap();
        let asked = &request.topics[0].partitions[0];
        let log = &self.partitions[usize::try_from(asked.partition_index).unwrap()];
        let offset = match asked.timestamp {
            -1 => log.end(),
            -2 => log.start,
            time => {
                let found = log.batches.iter().find(|(header, _)| header.max_timestamp >= time);
                found.map_or(-1, |(header, _)| header.base_offset.get())
            }
        };
        let partition =
            ListOffsetsPartitionResponse { partition_index: asked.partition_index, offset, ..Default::default() };
        let topic = ListOffsetsTopicResponse { name: TOPIC, partitions: vec![partition] };
        encode_response(&ListOffsetsResponse { topics: vec![topic], ..Default::default() }, version, id, Vec::new())
    }
}
