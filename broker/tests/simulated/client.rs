//! A client on a connection in memory: requests out, answers in, in order; an error when the connection ends.

use std::cell::{Cell, RefCell};
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use ringmill_net::Piece;
use ringmill_net::transport::Stream;
use ringmill_net::transport::memory::MemoryStream;
use ringmill_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use ringmill_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, TOPIC_RESOURCE,
};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    SET_OPERATION,
};
use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{ErrorCode, Message, Reader, Records, encode_request};

const READ_BYTES: usize = 4096;
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;

pub struct Client {
    stream: MemoryStream,
    arrived: RefCell<BytesMut>,
    correlation_id: Cell<i32>,
}

/// What one fetch of one partition brought.
pub struct Fetched {
    pub error: ErrorCode,
    pub records: Bytes,
}

impl Client {
    pub fn new(stream: MemoryStream) -> Client {
        Client { stream, arrived: RefCell::default(), correlation_id: Cell::new(0) }
    }

    async fn send<'a, M: Message<'a>>(&self, message: &M, version: i16, records: Vec<Piece>) -> io::Result<()> {
        self.correlation_id.set(self.correlation_id.get() + 1);
        let mut pieces = encode_request(message, version, self.correlation_id.get(), Some("simulated"), records);
        self.stream.send(&mut pieces).await
    }

    /// The next answer's body, its header taken off.
    async fn receive(&self, header_bytes: usize) -> io::Result<Bytes> {
        loop {
            let mut buffer = self.arrived.take();
            if let Some(length) = buffer.first_chunk::<4>() {
                let length = usize::try_from(i32::from_be_bytes(*length)).expect("a length is not negative");
                if buffer.len() >= 4 + length {
                    buffer.advance(4);
                    let mut frame = buffer.split_to(length);
                    self.arrived.replace(buffer);
                    frame.advance(header_bytes);
                    return Ok(frame.freeze());
                }
            }
            buffer.reserve(READ_BYTES);
            let (read, buffer) = self.stream.read(buffer, READ_BYTES).await;
            self.arrived.replace(buffer);
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub async fn create_topic(&self, name: &str, partitions: i32) -> io::Result<ErrorCode> {
        let topic =
            CreatableTopic { name, num_partitions: partitions, replication_factor: 1, ..CreatableTopic::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        self.send(&request, 7, Vec::new()).await?;
        let body = self.receive(5).await?;
        let response = CreateTopicsResponse::decode(&mut Reader::new(&body), 7).expect("it can be read");
        Ok(error(response.topics[0].error_code))
    }

    /// Sets one value on a resource of this type.
    pub async fn set_config(&self, of: (i8, &str), name: &str, value: &str) -> io::Result<ErrorCode> {
        let configs = vec![AlterableConfig { name, config_operation: SET_OPERATION, value: Some(value) }];
        let resources = vec![AlterConfigsResource { resource_type: of.0, resource_name: of.1, configs }];
        self.send(&IncrementalAlterConfigsRequest { resources, validate_only: false }, 1, Vec::new()).await?;
        let body = self.receive(5).await?;
        let response = IncrementalAlterConfigsResponse::decode(&mut Reader::new(&body), 1).expect("it can be read");
        Ok(error(response.responses[0].error_code))
    }

    /// The value of one setting of a topic.
    pub async fn config(&self, topic: &str, name: &str) -> io::Result<String> {
        let resource = DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: topic,
            configuration_keys: Some(vec![name]),
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        self.send(&request, 4, Vec::new()).await?;
        let body = self.receive(5).await?;
        let response = DescribeConfigsResponse::decode(&mut Reader::new(&body), 4).expect("it can be read");
        Ok(response.results[0].configs[0].value.expect("it has a value").to_owned())
    }

    /// A producer id.
    pub async fn init_producer(&self) -> io::Result<Result<i64, ErrorCode>> {
        self.send(&InitProducerIdRequest::default(), 4, Vec::new()).await?;
        let body = self.receive(5).await?;
        let response = InitProducerIdResponse::decode(&mut Reader::new(&body), 4).expect("it can be read");
        Ok(match error(response.error_code) {
            ErrorCode::None => Ok(response.producer_id),
            refused => Err(refused),
        })
    }

    pub async fn send_produce(&self, topic: &str, partition: i32, batch: Bytes) -> io::Result<()> {
        let records = Some(Records::of_length(batch.len()));
        let partition_data = vec![PartitionProduceData { index: partition, records }];
        let topic_data = vec![TopicProduceData { name: topic, partition_data, ..TopicProduceData::default() }];
        let request = ProduceRequest { acks: -1, timeout_ms: 5000, topic_data, ..ProduceRequest::default() };
        self.send(&request, PRODUCE_VERSION, vec![Piece::Bytes(batch)]).await
    }

    /// The base offset.
    pub async fn receive_produced(&self) -> io::Result<Result<i64, ErrorCode>> {
        let body = self.receive(5).await?;
        let response = ProduceResponse::decode(&mut Reader::new(&body), PRODUCE_VERSION).expect("it can be read");
        let partition = &response.responses[0].partition_responses[0];
        Ok(match error(partition.error_code) {
            ErrorCode::None => Ok(partition.base_offset),
            refused => Err(refused),
        })
    }

    pub async fn fetch(&self, topic: &str, partition: i32, offset: i64, wait_ms: i32) -> io::Result<Fetched> {
        let asked = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 10_000,
            ..FetchPartition::default()
        };
        let topics = vec![FetchTopic { topic, partitions: vec![asked], ..FetchTopic::default() }];
        let request = FetchRequest { max_wait_ms: wait_ms, min_bytes: 1, topics, ..FetchRequest::default() };
        self.send(&request, FETCH_VERSION, Vec::new()).await?;
        let body = self.receive(5).await?;
        let response = FetchResponse::decode(&mut Reader::new(&body), FETCH_VERSION).expect("it can be read");
        let partition = &response.responses[0].partitions[0];
        let range = partition.records.map(Records::range).unwrap_or_default();
        Ok(Fetched { error: error(partition.error_code), records: body.slice(range) })
    }
}

fn error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("the broker answers with codes of the protocol")
}
