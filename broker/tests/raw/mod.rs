//! A client that does exactly what a test says and nothing by itself: frames over one blocking socket, and a broker to talk to.
//!
//! Shared by the integration tests; each uses a part of it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test binary compiles this file and uses its own part"
)]

pub mod process;
pub mod volume;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ringmill::Broker;
use ringmill::config::BrokerConfig;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, check_stored};
use ringmill_net::Piece;
use ringmill_net::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringmill_net::wire::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{ApiKey, Message, Reader, Records, encode_request};

/// Both ways of driving files and sockets.
pub const IO_KINDS: [&str; 2] = ["uring", "posix"];

/// Longer than anything in these tests takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub const PRODUCE_VERSION: i16 = 9;
pub const FETCH_VERSION: i16 = 12;

/// A configuration on a free port, with two cores.
pub fn config(dir: &Path, io: &str) -> BrokerConfig {
    config_with(dir, io, &[])
}

pub fn config_with(dir: &Path, io: &str, more: &[(&str, &str)]) -> BrokerConfig {
    let dir = dir.to_str().expect("the test's paths are UTF-8");
    let mut settings = vec![
        ("broker.log.dirs", dir),
        ("broker.listeners", "127.0.0.1:0"),
        ("ringmill.cores", "2"),
        ("ringmill.io", io),
    ];
    settings.extend_from_slice(more);
    BrokerConfig::from_settings(&settings).expect("the test's settings are good")
}

pub fn start(dir: &Path, io: &str) -> Broker {
    Broker::start(config(dir, io)).expect("the broker starts")
}

/// One connection.
pub struct Raw {
    stream: TcpStream,
    correlation_id: i32,
}

/// An answer's frame, behind its length.
pub struct Frame(Vec<u8>);

impl Frame {
    pub fn correlation_id(&self) -> i32 {
        i32::from_be_bytes(*self.0.first_chunk().expect("a response begins with its correlation id"))
    }

    pub fn decode<'a, M: Message<'a>>(&'a self, version: i16) -> M {
        let flexible = version >= M::FLEXIBLE_FROM && M::KEY != ApiKey::ApiVersions;
        let header_bytes = if flexible { 5 } else { 4 };
        let mut reader = Reader::new(&self.0[header_bytes..]);
        let message = M::decode(&mut reader, version).expect("the broker's answers can be read");
        assert_eq!(reader.remaining(), 0, "the answer has bytes that belong to no field");
        message
    }

    /// The bytes of a records field.
    pub fn records<'a, M: Message<'a>>(&self, version: i16, records: Records) -> &[u8] {
        let flexible = version >= M::FLEXIBLE_FROM && M::KEY != ApiKey::ApiVersions;
        &self.0[if flexible { 5 } else { 4 }..][records.range()]
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub error: i16,
    pub base_offset: i64,
}

/// What a fetch of one partition brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub error: i16,
    pub high_watermark: i64,
    pub records: Vec<u8>,
}

impl Fetched {
    /// The headers of the whole batches.
    pub fn batches(&self) -> Vec<BatchHeader> {
        let mut rest = &self.records[..];
        let mut batches = Vec::new();
        while let Ok(header) = check_stored(rest) {
            batches.push(header);
            rest = &rest[header.total_bytes()..];
        }
        batches
    }
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Raw { stream, correlation_id: 0 }
    }

    /// Bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        // The broker may have closed already; what it says is then found by reading.
        let _ = self.stream.write_all(bytes);
    }

    pub fn send<'a, M: Message<'a>>(&mut self, message: &M, version: i16, records: Vec<Piece>) -> i32 {
        self.correlation_id += 1;
        for piece in encode_request(message, version, self.correlation_id, Some("raw"), records) {
            match piece {
                Piece::Bytes(bytes) => self.send_bytes(&bytes),
                Piece::File { .. } => unreachable!("tests send bytes"),
            }
        }
        self.correlation_id
    }

    /// The next answer, or `None` when the broker has closed the connection.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
            Err(error) => panic!("no answer: {error}"),
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length is not negative")];
        match self.stream.read_exact(&mut frame) {
            Ok(()) => Some(Frame(frame)),
            // Killed in the middle of it.
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
            Err(error) => panic!("half an answer: {error}"),
        }
    }

    pub fn call<'a, M: Message<'a>>(&mut self, message: &M, version: i16) -> Frame {
        self.call_with(message, version, Vec::new())
    }

    pub fn call_with<'a, M: Message<'a>>(&mut self, message: &M, version: i16, records: Vec<Piece>) -> Frame {
        let correlation_id = self.send(message, version, records);
        let frame = self.receive().expect("the broker answers");
        assert_eq!(frame.correlation_id(), correlation_id);
        frame
    }

    /// As [`Raw::call_with`], but `None` when the broker has gone.
    pub fn try_call<'a, M: Message<'a>>(&mut self, message: &M, version: i16, records: Vec<Piece>) -> Option<Frame> {
        let correlation_id = self.send(message, version, records);
        let frame = self.receive()?;
        assert_eq!(frame.correlation_id(), correlation_id);
        Some(frame)
    }

    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        self.try_create_topic(name, partitions, configs).0
    }

    /// With what is told beside the code.
    pub fn try_create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> (i16, String) {
        let configs = configs.iter().map(|&(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect();
        let topic = CreatableTopic {
            name,
            num_partitions: partitions,
            replication_factor: 1,
            configs,
            assignments: Vec::new(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let frame = self.call(&request, 7);
        let response: CreateTopicsResponse<'_> = frame.decode(7);
        let topic = &response.topics[0];
        (topic.error_code, topic.error_message.unwrap_or_default().to_owned())
    }

    pub fn delete_topic(&mut self, name: &str) -> i16 {
        let request =
            DeleteTopicsRequest { topic_names: vec![name], timeout_ms: 1000, ..DeleteTopicsRequest::default() };
        let frame = self.call(&request, 5);
        let response: DeleteTopicsResponse<'_> = frame.decode(5);
        response.responses[0].error_code
    }

    pub fn send_produce(&mut self, topic: &str, partition: i32, acks: i16, batch: Bytes) -> i32 {
        let records = Some(Records::of_length(batch.len()));
        let partition_data = vec![PartitionProduceData { index: partition, records }];
        let topic_data = vec![TopicProduceData { name: topic, partition_data, ..TopicProduceData::default() }];
        let request = ProduceRequest { acks, timeout_ms: 30_000, topic_data, ..ProduceRequest::default() };
        self.send(&request, PRODUCE_VERSION, vec![Piece::Bytes(batch)])
    }

    pub fn receive_produced(&mut self) -> Produced {
        let frame = self.receive().expect("the broker answers");
        let response: ProduceResponse<'_> = frame.decode(PRODUCE_VERSION);
        let partition = &response.responses[0].partition_responses[0];
        Produced { error: partition.error_code, base_offset: partition.base_offset }
    }

    pub fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> Produced {
        self.send_produce(topic, partition, -1, batch);
        self.receive_produced()
    }

    pub fn send_fetch(&mut self, topic: &str, offset: i64, wait_ms: i32, bytes_max: i32) -> i32 {
        let partition = FetchPartition {
            partition: 0,
            fetch_offset: offset,
            partition_max_bytes: bytes_max,
            ..FetchPartition::default()
        };
        let topics = vec![FetchTopic { topic, partitions: vec![partition], ..FetchTopic::default() }];
        let request = FetchRequest {
            max_wait_ms: wait_ms,
            min_bytes: 1,
            max_bytes: bytes_max,
            topics,
            ..FetchRequest::default()
        };
        self.send(&request, FETCH_VERSION, Vec::new())
    }

    pub fn receive_fetched(&mut self) -> Fetched {
        let frame = self.receive().expect("the broker answers");
        let response: FetchResponse<'_> = frame.decode(FETCH_VERSION);
        assert_eq!(response.error_code, 0);
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.preferred_read_replica, -1);
        let records = frame.records::<FetchResponse<'_>>(FETCH_VERSION, partition.records.expect("a records field"));
        Fetched { error: partition.error_code, high_watermark: partition.high_watermark, records: records.to_vec() }
    }

    pub fn fetch(&mut self, topic: &str, offset: i64) -> Fetched {
        self.send_fetch(topic, offset, 0, 1 << 20);
        self.receive_fetched()
    }

    /// Everything from `offset` to the end, batch by batch.
    pub fn fetch_all(&mut self, topic: &str, mut offset: i64) -> Vec<BatchHeader> {
        let mut all = Vec::new();
        loop {
            let batches = self.fetch(topic, offset).batches();
            let Some(last) = batches.last() else { return all };
            offset = last.next_offset().get();
            all.extend(batches);
        }
    }

    /// Error and offset.
    pub fn list_offset(&mut self, topic: &str, timestamp: i64) -> (i16, i64) {
        self.list_offset_at(topic, timestamp, 11)
    }

    /// The same, asked in this version.
    pub fn list_offset_at(&mut self, topic: &str, timestamp: i64, version: i16) -> (i16, i64) {
        let partitions = vec![ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() }];
        let topics = vec![ListOffsetsTopic { name: topic, partitions }];
        let frame = self.call(&ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() }, version);
        let response: ListOffsetsResponse<'_> = frame.decode(version);
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.offset)
    }
}

/// Now, as producers stamp it.
pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the end of time")
}

/// A batch of `count` records of `bytes` each.
pub fn batch(count: usize, bytes: usize) -> Bytes {
    build(BatchBuilder::new(Codec::None, None), count, bytes)
}

/// The same from an idempotent producer.
pub fn sequenced(producer_id: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.producer(producer_id, epoch, sequence);
    build(builder, count, 20)
}

fn build(mut builder: BatchBuilder, count: usize, bytes: usize) -> Bytes {
    let value = vec![b'v'; bytes];
    for _ in 0..count {
        builder.push(now_ms(), None, Some(&value), &[]);
    }
    builder.finish().freeze()
}
