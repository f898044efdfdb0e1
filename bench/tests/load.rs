//! The load generator against a broker of a few lines, which keeps batches in memory and answers by the protocol's tables.
//!
//! It checks what is counted and reported. How a real broker fares under it is not a test's business.

#![expect(clippy::unwrap_used, reason = "a test's own machinery may panic")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use ringmill_batch::{BatchHeader, DecompressLimit, LeaderEpoch, Offset, check_produced, read_records, stamp};
use ringmill_net::Piece;
use ringmill_net::wire::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use ringmill_net::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use ringmill_net::wire::messages::init_producer_id::InitProducerIdResponse;
use ringmill_net::wire::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use ringmill_net::wire::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ringmill_net::wire::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use ringmill_net::wire::{ApiKey, ErrorCode, Reader, Records, RequestHeader, Versioned, encode_response};
use serde_json::Value;

/// The log of a topic's only partition.
struct Log {
    bytes: Vec<u8>,
    next_offset: i64,
    last_sequence: i32,
}

impl Default for Log {
    fn default() -> Log {
        Log { bytes: Vec::new(), next_offset: 0, last_sequence: -1 }
    }
}

impl Log {
    /// Every record's value, in order.
    fn values(&self) -> Vec<String> {
        let (mut values, mut at) = (Vec::new(), 0);
        while at < self.bytes.len() {
            let batch = &self.bytes[at..];
            let batch = &batch[..BatchHeader::parse(batch).unwrap().total_bytes()];
            let records = read_records(batch, DecompressLimit::default()).unwrap();
            values.extend(records.iter().map(|record| String::from_utf8_lossy(record.unwrap().value.unwrap()).into()));
            at += batch.len();
        }
        values
    }
}

/// All topics' logs, shared by all connections.
#[derive(Default)]
struct Logs {
    of: BTreeMap<String, Log>,
    /// How often someone asked for a producer id.
    producers_asked: u32,
}

impl Logs {
    /// A topic's log, which is made where it is missing.
    fn of(&mut self, topic: &str) -> &mut Log {
        self.of.entry(topic.to_owned()).or_default()
    }
}

/// Answers on a port of its own until the test's process ends.
struct FakeBroker {
    port: u16,
    logs: Arc<Mutex<Logs>>,
}

impl FakeBroker {
    fn start() -> FakeBroker {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let logs = Arc::new(Mutex::new(Logs::default()));
        let shared = Arc::clone(&logs);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, logs) = (stream.unwrap(), Arc::clone(&shared));
                thread::spawn(move || serve(stream, port, &logs));
            }
        });
        FakeBroker { port, logs }
    }

    /// Looks at a topic's log.
    fn with_log<T>(&self, topic: &str, look: impl FnOnce(&mut Log) -> T) -> T {
        look(self.logs.lock().unwrap().of(topic))
    }

    /// Whether the command succeeded, and its report or its error.
    fn bench(&self, arguments: &[&str]) -> (bool, String) {
        let broker = format!("127.0.0.1:{}", self.port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
        let output = command.args(arguments).args(["--broker", &broker, "--json"]).output().unwrap();
        let succeeded = output.status.success();
        (succeeded, String::from_utf8(if succeeded { output.stdout } else { output.stderr }).unwrap())
    }

    fn metric(&self, arguments: &[&str], key: &str) -> f64 {
        let (succeeded, text) = self.bench(arguments);
        assert!(succeeded, "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        let metric = &report["cases"][0]["metrics"][key]["median"];
        metric.as_f64().unwrap_or_else(|| panic!("no {key} in {text}"))
    }
}

fn serve(mut stream: TcpStream, port: u16, logs: &Mutex<Logs>) {
    stream.set_nodelay(true).unwrap();
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        stream.read_exact(&mut frame).unwrap();
        let (header, body_at) = RequestHeader::parse(&frame).unwrap();
        for piece in answer(&header, &frame[body_at..], port, &mut logs.lock().unwrap()) {
            let Piece::Bytes(bytes) = piece else { panic!("no files here") };
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    }
}

fn answer(header: &RequestHeader, body: &[u8], port: u16, logs: &mut Logs) -> Vec<Piece> {
    let (version, id) = (header.api_version, header.correlation_id);
    let response = match header.api().unwrap() {
        ApiKey::ApiVersions => encode_response(&versions(), version, id, Vec::new()),
        ApiKey::Metadata => encode_response(&metadata(port, body, version), version, id, Vec::new()),
        ApiKey::InitProducerId => {
            logs.producers_asked += 1;
            // A broker that has just started does not know yet.
            let error_code =
                if logs.producers_asked == 1 { ErrorCode::CoordinatorLoadInProgress } else { ErrorCode::None };
            let response =
                InitProducerIdResponse { error_code: error_code.code(), producer_id: 9, ..Default::default() };
            encode_response(&response, version, id, Vec::new())
        }
        ApiKey::ListOffsets => encode_response(&list_offsets(logs, body, version), version, id, Vec::new()),
        ApiKey::Produce => encode_response(&produce(logs, body, version), version, id, Vec::new()),
        ApiKey::Fetch => {
            let request = FetchRequest::decode(&mut Reader::new(body), version).unwrap();
            let mut pieces = Vec::new();
            let topics = request.topics.iter().map(|topic| {
                let records = fetch(logs.of(topic.topic), &topic.partitions[0]);
                let records_length = Records::of_length(records.len());
                pieces.push(Piece::Bytes(records.into()));
                let partition = PartitionData { records: Some(records_length), ..Default::default() };
                FetchableTopicResponse { topic: topic.topic, partitions: vec![partition], ..Default::default() }
            });
            let response = FetchResponse { responses: topics.collect(), ..Default::default() };
            encode_response(&response, version, id, pieces)
        }
        other => panic!("{other:?} was not expected"),
    };
    response.into_pieces()
}

fn versions() -> ApiVersionsResponse<'static> {
    let api = |(api_key, min_version, max_version)| ApiVersion { api_key, min_version, max_version };
    let api_keys = [(0, 0, 9), (1, 4, 12), (2, 1, 6), (3, 0, 9), (18, 0, 3), (22, 0, 2)].map(api).to_vec();
    ApiVersionsResponse { api_keys, ..Default::default() }
}

/// Every topic that is asked for exists.
fn metadata(port: u16, body: &[u8], version: i16) -> MetadataResponse<'_> {
    let brokers = vec![MetadataResponseBroker { node_id: 1, host: "127.0.0.1", port: port.into(), rack: None }];
    let request = MetadataRequest::decode(&mut Reader::new(body), version).unwrap();
    let topics = request.topics.unwrap_or_default().into_iter().map(|asked| {
        let partitions = vec![MetadataResponsePartition { leader_id: 1, ..Default::default() }];
        MetadataResponseTopic { name: asked.name, partitions, ..Default::default() }
    });
    MetadataResponse { brokers, topics: topics.collect(), ..Default::default() }
}

fn list_offsets<'a>(logs: &mut Logs, body: &'a [u8], version: i16) -> ListOffsetsResponse<'a> {
    let request = ListOffsetsRequest::decode(&mut Reader::new(body), version).unwrap();
    let topic = &request.topics[0];
    let latest = topic.partitions[0].timestamp == -1;
    let offset = if latest { logs.of(topic.name).next_offset } else { 0 };
    let partitions = vec![ListOffsetsPartitionResponse { offset, ..Default::default() }];
    let topics = vec![ListOffsetsTopicResponse { name: topic.name, partitions }];
    ListOffsetsResponse { topics, ..Default::default() }
}

fn produce<'a>(logs: &mut Logs, body: &'a [u8], version: i16) -> ProduceResponse<'a> {
    let request = ProduceRequest::decode(&mut Reader::new(body), version).unwrap();
    let topic = &request.topic_data[0];
    let mut batch = body[topic.partition_data[0].records.unwrap().range()].to_vec();
    let error_code = append(logs.of(topic.name), &mut batch).code();
    let partition_responses = vec![PartitionProduceResponse { error_code, ..Default::default() }];
    let responses = vec![TopicProduceResponse { name: topic.name, partition_responses, ..Default::default() }];
    ProduceResponse { responses, ..Default::default() }
}

/// Keeps the batch; refuses one out of sequence, as a broker does.
fn append(log: &mut Log, batch: &mut [u8]) -> ErrorCode {
    let header = check_produced(batch).unwrap();
    if header.has_producer() && header.base_sequence != log.last_sequence + 1 {
        return ErrorCode::OutOfOrderSequenceNumber;
    }
    stamp(batch, Offset::new(log.next_offset).unwrap(), LeaderEpoch::ZERO);
    log.bytes.extend_from_slice(batch);
    log.next_offset += i64::from(header.record_count);
    log.last_sequence = header.last_sequence();
    ErrorCode::None
}

/// Bytes from the wanted batch on, cut at the limit in the middle of a batch as a broker may.
fn fetch(log: &Log, wanted: &FetchPartition) -> Vec<u8> {
    let mut at = 0;
    while let Some(bytes) = log.bytes.get(at..at + BatchHeader::BYTES) {
        let header = BatchHeader::parse(bytes).unwrap();
        if header.next_offset().get() > wanted.fetch_offset {
            let limit = header.total_bytes().max(usize::try_from(wanted.partition_max_bytes).unwrap());
            return log.bytes[at..log.bytes.len().min(at + limit)].to_vec();
        }
        at += header.total_bytes();
    }
    Vec::new()
}

#[test]
fn what_was_produced_is_consumed_whatever_the_fetches_cut() {
    let broker = FakeBroker::start();
    let produce =
        ["produce", "--bytes", "300KB", "--record-bytes", "100", "--batch-records", "50", "--connections", "2"];
    let produced = broker.metric(&produce, "records_total");
    assert!(produced >= 3000.0, "{produced}");
    // All that was answered, and what was still under way when the last byte came.
    let stored = broker.with_log("bench", |log| i32::try_from(log.next_offset).unwrap());
    assert!(f64::from(stored) >= produced);
    for fetch_bytes in ["1", "6000", "12345", "1MB"] {
        let consumed = broker.metric(&["consume", "--check-crc", "--fetch-bytes", fetch_bytes], "records_total");
        assert!((consumed - f64::from(stored)).abs() < 0.5, "{consumed} of {stored}, fetch size {fetch_bytes}");
    }
}

#[test]
fn many_topics_take_turns_and_are_read_by_fewer_connections() {
    let broker = FakeBroker::start();
    let topics = ["--topics", "5", "--topic", "t"];
    // One connection, whose partitions take turns; of several one may be done before another begins.
    let produce = ["produce", "--bytes", "100KB", "-r", "100", "-n", "10"];
    assert!(broker.metric(&[&produce[..], &topics].concat(), "records_total") >= 1000.0);
    let each: Vec<i64> = (0..5).map(|topic| broker.with_log(&format!("t-{topic}"), |log| log.next_offset)).collect();
    assert!(each.iter().all(|records| *records >= 200), "{each:?}");
    let consume = ["consume", "--connections", "2", "--fetch-bytes", "3000"];
    let consumed = broker.metric(&[&consume[..], &topics].concat(), "records_total");
    let stored = each.iter().map(|records| i32::try_from(*records).unwrap()).sum::<i32>();
    assert!((consumed - f64::from(stored)).abs() < 0.5, "{consumed} of {stored}");
}

#[test]
fn idempotent_batches_are_numbered_without_gaps() {
    let broker = FakeBroker::start();
    let arguments = ["produce", "--bytes", "100KB", "--batch-records", "10", "--idempotent", "--in-flight", "3"];
    assert!(broker.metric(&arguments, "records_total") >= 100.0);
}

#[test]
fn generated_lines_of_every_codec_are_taken_with_keys_and_sizes_of_all_kinds() {
    let broker = FakeBroker::start();
    for (codec, sizes) in
        [("none", "line"), ("gzip", "50..500"), ("snappy", "log:200"), ("lz4", "100"), ("zstd", "line")]
    {
        let arguments = ["produce", "--bytes", "50KB", "-n", "20", "-z", codec, "-r", sizes, "--keys", "5"];
        assert!(broker.metric(&[&arguments[..], &["--payload", "text"]].concat(), "records_total") >= 20.0);
    }
}

#[test]
fn a_files_lines_come_once_or_until_enough_is_sent() {
    let broker = FakeBroker::start();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut lines: Vec<String> = (0..95).map(|line| format!("line {line} of a file")).collect();
    for line in &lines {
        writeln!(file, "{line}").unwrap();
    }
    let path = file.path().to_str().unwrap();
    let arguments = ["replay", path, "-n", "10", "-z", "zstd", "--connections", "3", "--acks", "all"];
    assert!((broker.metric(&arguments, "records_total") - 95.0).abs() < 0.5);
    // Three connections mix the batches, but every line is there once.
    let mut values = broker.with_log("bench", |log| log.values());
    lines.sort();
    values.sort();
    assert_eq!(values, lines);
    let again = [&arguments[..], &["--loop", "--bytes", "10KB"]].concat();
    assert!(broker.metric(&again, "records_total") > 500.0);
    let (succeeded, error) = broker.bench(&["replay", path, "-n", "50", "--connections", "3"]);
    assert!(!succeeded && error.contains("too few for 3 connections"), "{error}");
}

#[test]
fn a_mixed_load_measures_from_end_to_end_beside_readers_that_catch_up() {
    let broker = FakeBroker::start();
    let arguments = ["mixed", "--bytes", "300KB", "--rate", "1MB", "-r", "100", "-n", "10", "--max-wait", "10ms"];
    let more = ["--backlog", "50KB", "--catch-up", "1", "--fetch-bytes", "5000", "--check-crc"];
    let (succeeded, text) = broker.bench(&[&arguments[..], &more].concat());
    assert!(succeeded, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> =
        report["cases"].as_array().unwrap().iter().map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["produce", "consume", "catch-up", "together"]);
    let metric = |case: usize, key: &str| report["cases"][case]["metrics"][key]["median"].as_f64().unwrap();
    assert!(metric(0, "records_total") >= 3000.0, "{text}");
    // The backlog is not the followers' business, so they see no more than was produced meanwhile, and catching up no less
    // than the whole backlog.
    assert!((1.0..=3100.0).contains(&metric(1, "records_total")), "{text}");
    assert!(metric(2, "records_total") >= 500.0, "{text}");
    // From end to end a record was under way for less than the run lasted.
    assert!((1.0..metric(3, "elapsed_s") * 1e6).contains(&metric(1, "p50_us")), "{text}");
    let samples = report["runs"][0]["samples"].as_array().unwrap();
    let sampled: f64 = samples.iter().map(|sample| sample["loads"][0]["records"].as_f64().unwrap()).sum();
    assert!(sampled > 0.0 && sampled <= metric(0, "records_total"), "{text}");
}

#[test]
fn histogram_files_are_written_for_each_run_and_role() {
    let broker = FakeBroker::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let arguments = ["produce", "--bytes", "50KB", "-n", "10", "--runs", "2", "--hgrm", path.to_str().unwrap()];
    assert!(broker.bench(&arguments).0);
    for file in ["produce-1.hgrm", "produce-2.hgrm"] {
        let text = std::fs::read_to_string(path.join(file)).unwrap();
        assert!(text.contains("1.000000000000") && text.contains("#[Max "), "{text}");
    }
}

#[test]
fn a_page_shows_how_a_load_went_and_under_what_conditions() {
    let broker = FakeBroker::start();
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("report.html");
    let pid = std::process::id().to_string();
    let arguments = ["produce", "--duration", "600ms", "--rate", "1MB", "-r", "100", "-n", "10"];
    assert!(broker.bench(&[&arguments[..], &["--pid", &pid, "--html", page.to_str().unwrap()]].concat()).0);
    let page = std::fs::read_to_string(page).unwrap();
    for part in ["<h3>Throughput</h3>", "<h3>CPU</h3>", "<polyline", "durability unknown", "broker command", "kernel"] {
        assert!(page.contains(part), "no {part} in {page}");
    }
}

#[test]
fn a_report_goes_to_a_file_beside_the_table() {
    let broker = FakeBroker::start();
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let address = format!("127.0.0.1:{}", broker.port);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
    command.args(["produce", "--bytes", "50KB", "-n", "10", "--broker", &address, "--json"]).arg(&json);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("records total"), "{output:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["command"], "produce");
}

#[test]
fn an_open_loop_keeps_its_rate_and_says_how_late_it_was() {
    let broker = FakeBroker::start();
    let arguments =
        ["produce", "--duration", "300ms", "--rate", "1MB", "--record-bytes", "100", "--batch-records", "10"];
    let rate = broker.metric(&arguments, "rate_bytes_per_s");
    assert!((100_000.0..2_000_000.0).contains(&rate), "{rate}");
    assert!(broker.metric(&arguments, "sent_late_p99_us") >= 0.0);
}

#[test]
fn a_refused_batch_ends_the_load_with_the_brokers_reason() {
    let broker = FakeBroker::start();
    broker.with_log("bench", |log| log.last_sequence = 77);
    let (succeeded, error) = broker.bench(&["produce", "--bytes", "1MB", "--idempotent"]);
    assert!(!succeeded && error.contains("OUT_OF_ORDER_SEQUENCE_NUMBER"), "{error}");
}

#[test]
fn an_empty_topic_cannot_be_consumed() {
    let (succeeded, error) = FakeBroker::start().bench(&["consume"]);
    assert!(!succeeded && error.contains("produce to the topic first"), "{error}");
}
