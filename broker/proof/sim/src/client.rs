//! A client on a connection in memory: requests out, answers in, in order; an error when the connection ends.
//!
//! It knows no retries and judges nothing; whoever calls it decides what an answer means.

use std::cell::{Cell, RefCell};
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use ringmill_net::Piece;
use ringmill_net::transport::Stream;
use ringmill_net::transport::memory::MemoryStream;
use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ringmill_net::wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringmill_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ringmill_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, TOPIC_RESOURCE,
};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    SET_OPERATION,
};
use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringmill_net::wire::messages::list_offsets::{
    EARLIEST_TIMESTAMP, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{ErrorCode, Message, Reader, Records, Versioned, encode_request};

/// The most that is asked of the connection at once.
const READ_BYTES: usize = 16 * 1024;

/// Topics come by name in these, by id in the others.
const PRODUCE_BY_NAME: i16 = 9;
const PRODUCE_BY_ID: i16 = 13;
const FETCH_BY_NAME: i16 = 12;
const FETCH_BY_ID: i16 = 13;

/// How an answer's header looks in all versions used here: a correlation id and no tagged field.
const HEADER_BYTES: usize = 5;

/// The identity of a topic; one made again under its name has another.
pub type TopicId = [u8; 16];

/// How a request names a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// Whatever has this name now.
    Name(&'a str),
    /// This one and no other.
    Id(TopicId),
}

/// A client's end of a connection.
pub struct Client {
    stream: MemoryStream,
    arrived: RefCell<BytesMut>,
    correlation_id: Cell<i32>,
}

/// What one fetch of one partition brought.
pub struct Fetched {
    /// Of the partition.
    pub error: ErrorCode,
    /// The first offset that may be read; −1 beside some errors.
    pub log_start: i64,
    /// The visible end; −1 beside some errors.
    pub high_watermark: i64,
    /// Whole batches, the last perhaps cut.
    pub records: Bytes,
}

/// What a fetch asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The partition's number.
    pub partition: i32,
    /// The first wanted offset.
    pub offset: i64,
    /// How long the broker may wait for news.
    pub wait_ms: i32,
    /// The most bytes of records; a first batch is sent whole all the same.
    pub bytes_max: i32,
}

impl Client {
    /// A client on its end of a connection.
    #[must_use]
    pub fn new(stream: MemoryStream) -> Client {
        Client { stream, arrived: RefCell::default(), correlation_id: Cell::new(0) }
    }

    /// Sends a request.
    pub(crate) async fn send<'a, M: Message<'a>>(
        &self,
        message: &M,
        version: i16,
        records: Vec<Piece>,
    ) -> io::Result<()> {
        self.correlation_id.set(self.correlation_id.get() + 1);
        let mut pieces = encode_request(message, version, self.correlation_id.get(), Some("simulated"), records);
        self.stream.send(&mut pieces).await
    }

    /// The next answer's body, its header taken off.
    pub(crate) async fn receive(&self, header_bytes: usize) -> io::Result<Bytes> {
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

    /// Sends a request and waits for the answer to it.
    pub(crate) async fn call<'a, M: Message<'a>>(&self, message: &M, version: i16) -> io::Result<Bytes> {
        self.send(message, version, Vec::new()).await?;
        self.receive(HEADER_BYTES).await
    }

    /// Creates a topic; its id, if it was made.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, String)],
    ) -> io::Result<Result<TopicId, ErrorCode>> {
        let configs = settings.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect();
        let topic = CreatableTopic {
            name,
            num_partitions: partitions,
            replication_factor: 1,
            configs,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        let body = self.call(&request, 7).await?;
        let response = CreateTopicsResponse::decode(&mut Reader::new(&body), 7).expect("it can be read");
        let topic = &response.topics[0];
        Ok(success(topic.error_code).map(|()| topic.topic_id))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn delete_topic(&self, topic: TopicRef<'_>) -> io::Result<Result<(), ErrorCode>> {
        let (name, topic_id) = match topic {
            TopicRef::Name(name) => (Some(name), TopicId::default()),
            TopicRef::Id(id) => (None, id),
        };
        let topics = vec![DeleteTopicState { name, topic_id }];
        let body = self.call(&DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() }, 6).await?;
        let response = DeleteTopicsResponse::decode(&mut Reader::new(&body), 6).expect("it can be read");
        Ok(success(response.responses[0].error_code))
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn add_partitions(&self, name: &str, count: i32) -> io::Result<Result<(), ErrorCode>> {
        let topics = vec![CreatePartitionsTopic { name, count, assignments: None }];
        let body = self.call(&CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() }, 3).await?;
        let response = CreatePartitionsResponse::decode(&mut Reader::new(&body), 3).expect("it can be read");
        Ok(success(response.results[0].error_code))
    }

    /// The id of a topic and how many partitions it has; asking does not create it.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn find_topic(&self, name: &str) -> io::Result<Result<(TopicId, i32), ErrorCode>> {
        let topics = Some(vec![MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() }]);
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
        let body = self.call(&request, 12).await?;
        let response = MetadataResponse::decode(&mut Reader::new(&body), 12).expect("it can be read");
        let topic = &response.topics[0];
        let partitions = i32::try_from(topic.partitions.len()).expect("a topic has few partitions");
        Ok(success(topic.error_code).map(|()| (topic.topic_id, partitions)))
    }

    /// Deletes the records of a partition before an offset; the log start then.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn delete_records(
        &self,
        name: &str,
        partition_index: i32,
        offset: i64,
    ) -> io::Result<Result<i64, ErrorCode>> {
        let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
        let topics = vec![DeleteRecordsTopic { name, partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 5000 };
        let body = self.call(&request, 2).await?;
        let response = DeleteRecordsResponse::decode(&mut Reader::new(&body), 2).expect("it can be read");
        let partition = &response.topics[0].partitions[0];
        Ok(success(partition.error_code).map(|()| partition.low_watermark))
    }

    /// The log start of a partition.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn log_start(&self, name: &str, partition_index: i32) -> io::Result<Result<i64, ErrorCode>> {
        let wanted =
            ListOffsetsPartition { partition_index, timestamp: EARLIEST_TIMESTAMP, ..ListOffsetsPartition::default() };
        let topics = vec![ListOffsetsTopic { name, partitions: vec![wanted] }];
        let body = self.call(&ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, 7).await?;
        let response = ListOffsetsResponse::decode(&mut Reader::new(&body), 7).expect("it can be read");
        let partition = &response.topics[0].partitions[0];
        Ok(success(partition.error_code).map(|()| partition.offset))
    }

    /// Sets one value on a resource of this type.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn set_config(&self, of: (i8, &str), name: &str, value: &str) -> io::Result<Result<(), ErrorCode>> {
        let configs = vec![AlterableConfig { name, config_operation: SET_OPERATION, value: Some(value) }];
        let resources = vec![AlterConfigsResource { resource_type: of.0, resource_name: of.1, configs }];
        let body = self.call(&IncrementalAlterConfigsRequest { resources, validate_only: false }, 1).await?;
        let response = IncrementalAlterConfigsResponse::decode(&mut Reader::new(&body), 1).expect("it can be read");
        Ok(success(response.responses[0].error_code))
    }

    /// The value of one setting of a topic.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn config(&self, topic: &str, name: &str) -> io::Result<Result<String, ErrorCode>> {
        let resource = DescribeConfigsResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: topic,
            configuration_keys: Some(vec![name]),
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        let body = self.call(&request, 4).await?;
        let response = DescribeConfigsResponse::decode(&mut Reader::new(&body), 4).expect("it can be read");
        let result = &response.results[0];
        Ok(success(result.error_code).map(|()| result.configs[0].value.expect("it has a value").to_owned()))
    }

    /// A producer id.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn init_producer(&self) -> io::Result<Result<i64, ErrorCode>> {
        let body = self.call(&InitProducerIdRequest::default(), 4).await?;
        let response = InitProducerIdResponse::decode(&mut Reader::new(&body), 4).expect("it can be read");
        Ok(success(response.error_code).map(|()| response.producer_id))
    }

    /// Sends a batch and does not wait for its answer.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn send_produce(&self, topic: TopicRef<'_>, partition: i32, batch: Bytes) -> io::Result<()> {
        let records = Some(Records::of_length(batch.len()));
        let partition_data = vec![PartitionProduceData { index: partition, records }];
        let (version, topic_data) = match topic {
            TopicRef::Name(name) => {
                (PRODUCE_BY_NAME, TopicProduceData { name, partition_data, ..TopicProduceData::default() })
            }
            TopicRef::Id(topic_id) => {
                (PRODUCE_BY_ID, TopicProduceData { topic_id, partition_data, ..TopicProduceData::default() })
            }
        };
        let topic_data = vec![topic_data];
        let request = ProduceRequest { acks: -1, timeout_ms: 5000, topic_data, ..ProduceRequest::default() };
        self.send(&request, version, vec![Piece::Bytes(batch)]).await
    }

    /// The base offset that the next unanswered batch got; `topic` as it was sent with.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn receive_produced(&self, topic: TopicRef<'_>) -> io::Result<Result<i64, ErrorCode>> {
        Ok(self.receive_produced_and_named(topic).await?.0)
    }

    /// The same, and which records of the batch are named in a refusal.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn receive_produced_and_named(
        &self,
        topic: TopicRef<'_>,
    ) -> io::Result<(Result<i64, ErrorCode>, Vec<i32>)> {
        let version = if matches!(topic, TopicRef::Name(_)) { PRODUCE_BY_NAME } else { PRODUCE_BY_ID };
        let body = self.receive(HEADER_BYTES).await?;
        let response = ProduceResponse::decode(&mut Reader::new(&body), version).expect("it can be read");
        let partition = &response.responses[0].partition_responses[0];
        let named = partition.record_errors.iter().map(|error| error.batch_index).collect();
        Ok((success(partition.error_code).map(|()| partition.base_offset), named))
    }

    /// Fetches from one partition.
    ///
    /// # Errors
    /// The connection's end.
    pub async fn fetch(&self, topic: TopicRef<'_>, wanted: Wanted) -> io::Result<Fetched> {
        let Wanted { partition, offset, wait_ms, bytes_max } = wanted;
        let asked = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: bytes_max,
            ..FetchPartition::default()
        };
        let partitions = vec![asked];
        let (version, asked) = match topic {
            TopicRef::Name(topic) => (FETCH_BY_NAME, FetchTopic { topic, partitions, ..FetchTopic::default() }),
            TopicRef::Id(topic_id) => (FETCH_BY_ID, FetchTopic { topic_id, partitions, ..FetchTopic::default() }),
        };
        let topics = vec![asked];
        let request = FetchRequest { max_wait_ms: wait_ms, min_bytes: 1, topics, ..FetchRequest::default() };
        let body = self.call(&request, version).await?;
        let response = FetchResponse::decode(&mut Reader::new(&body), version).expect("it can be read");
        let partition = &response.responses[0].partitions[0];
        let range = partition.records.map(Records::range).unwrap_or_default();
        Ok(Fetched {
            error: error(partition.error_code),
            log_start: partition.log_start_offset,
            high_watermark: partition.high_watermark,
            records: body.slice(range),
        })
    }
}

/// What an answer's code says.
pub(crate) fn success(code: i16) -> Result<(), ErrorCode> {
    match error(code) {
        ErrorCode::None => Ok(()),
        refused => Err(refused),
    }
}

fn error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).expect("the broker answers with codes of the protocol")
}
