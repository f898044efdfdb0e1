//! The client against a scripted broker: what arrives, in which order, and what becomes of it when something goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ringmill_batch::Codec;

use super::scripted::{Fault, Scripted, TOPIC};
use super::*;
use crate::wire::messages::metadata::{MetadataRequest, MetadataResponse};
use crate::wire::{ApiKey, ErrorCode};

const WAIT: Duration = Duration::from_secs(10);

/// One record a batch, so that order and numbers are tested, not the size of batches.
fn one_by_one() -> ProducerOptions {
    ProducerOptions { batch_bytes: 1, linger_ms: 0, retry_backoff_ms: 1, ..ProducerOptions::default() }
}

fn record(value: impl ToString) -> ProducerRecord {
    let value = Some(Bytes::from(value.to_string()));
    ProducerRecord { topic: TOPIC.into(), partition: Some(0), value, ..ProducerRecord::default() }
}

/// Sends the numbers up to `count` and returns what became of each: its offset, or the broker's code.
async fn send_all(broker: &Scripted, options: ProducerOptions, count: usize) -> Vec<Result<i64, ErrorCode>> {
    let producer = Producer::connect(&broker.address, options).await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..count {
        deliveries.push(producer.send(record(number)).await.unwrap());
    }
    let mut fates = Vec::new();
    for delivery in deliveries {
        fates.push(match delivery.await {
            Ok(delivered) => Ok(delivered.offset),
            Err(ClientError::Refused { code, .. }) => Err(code),
            Err(error) => panic!("{error}"),
        });
    }
    producer.close().await.unwrap();
    fates
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

async fn consumer(broker: &Scripted, start: Start, options: ConsumerOptions) -> Consumer {
    let mut consumer = Consumer::connect(&broker.address, options).await.unwrap();
    consumer.assign(TOPIC, 0, start).await.unwrap();
    consumer
}

/// Reads partition 0 until `count` values have come.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let fetched = consumer.poll(WAIT).await.unwrap().expect("there is more");
        for set in fetched.batches() {
            for record in &set.unwrap() {
                let record = record.unwrap();
                if record.offset.get() >= fetched.from {
                    values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                }
            }
        }
    }
    values
}

#[tokio::test]
async fn what_is_sent_is_read_again_in_its_order_with_every_codec() {
    for codec in Codec::ALL {
        let broker = Scripted::start(1).await;
        let options = ProducerOptions { codec, batch_bytes: 200, linger_ms: 1, ..ProducerOptions::default() };
        let offsets = send_all(&broker, options, 500).await;
        assert_eq!(offsets, (0..500).map(Ok).collect::<Vec<_>>());
        let mut consumer = consumer(&broker, Start::Earliest, ConsumerOptions::default()).await;
        assert_eq!(read(&mut consumer, 500).await, numbers(0..500), "{codec}");
        assert_eq!(consumer.position(TOPIC, 0), Some(500));
    }
}

#[tokio::test]
async fn an_error_that_may_pass_costs_neither_order_nor_records() {
    let codes = [ErrorCode::NotLeaderOrFollower, ErrorCode::KafkaStorageError, ErrorCode::RequestTimedOut];
    for idempotent in [true, false] {
        for code in codes {
            let broker = Scripted::start(1).await;
            broker.faults(ApiKey::Produce, &[Fault::Pass, Fault::Refuse(code)]);
            let in_flight_max = if idempotent { 5 } else { 1 };
            let fates = send_all(&broker, ProducerOptions { idempotent, in_flight_max, ..one_by_one() }, 20).await;
            assert!(fates.iter().all(Result::is_ok), "{code}: {fates:?}");
            assert_eq!(broker.values(0), numbers(0..20), "{code}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_leaves_no_duplicate() {
    let broker = Scripted::start(1).await;
    broker.faults(ApiKey::Produce, &[Fault::Pass, Fault::HangUp, Fault::Pass, Fault::Pass, Fault::HangUp]);
    let fates = send_all(&broker, one_by_one(), 20).await;
    assert_eq!(fates, (0..20).map(Ok).collect::<Vec<_>>());
    assert_eq!(broker.values(0), numbers(0..20));
}

#[tokio::test]
async fn an_answer_that_never_comes_is_asked_for_again() {
    let broker = Scripted::start(1).await;
    broker.faults(ApiKey::Produce, &[Fault::Silence]);
    let connect = ConnectOptions { request_timeout_ms: 100, ..ConnectOptions::default() };
    let fates = send_all(&broker, ProducerOptions { connect, in_flight_max: 1, ..one_by_one() }, 3).await;
    assert_eq!(fates, [Ok(0), Ok(1), Ok(2)]);
    assert_eq!(broker.values(0), numbers(0..3));
}

/// The first version of the producer gave everything up after one refused batch, because of the gap in its numbers.
#[tokio::test]
async fn a_refused_batch_fails_alone() {
    let broker = Scripted::start(1).await;
    broker.faults(ApiKey::Produce, &[Fault::Pass, Fault::Refuse(ErrorCode::InvalidRecord)]);
    let fates = send_all(&broker, one_by_one(), 20).await;
    assert_eq!(fates[..3], [Ok(0), Err(ErrorCode::InvalidRecord), Ok(1)]);
    assert!(fates[3..].iter().all(Result::is_ok), "{fates:?}");
    assert_eq!(broker.values(0), [numbers(0..1), numbers(2..20)].concat());
}

/// A batch that was too large for its topic failed whole, with a hundred records that were not.
#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_pieces_and_only_what_is_too_large_itself_fails() {
    for idempotent in [true, false] {
        let broker = Scripted::start(1).await;
        broker.state().partitions[0].batch_bytes_max = Some(200);
        let in_flight_max = if idempotent { 5 } else { 1 };
        let options = ProducerOptions { idempotent, in_flight_max, batch_bytes: 1000, linger_ms: 0, ..one_by_one() };
        let producer = Producer::connect(&broker.address, options).await.unwrap();
        let mut deliveries = Vec::new();
        let long = "x".repeat(300);
        for number in 0..500 {
            let record = if number == 250 { record(&long) } else { record(number) };
            deliveries.push(producer.send(record).await.unwrap());
        }
        for (number, delivery) in deliveries.into_iter().enumerate() {
            match delivery.await {
                Ok(_) => assert_ne!(number, 250),
                Err(ClientError::Refused { code: ErrorCode::MessageTooLarge, .. }) => assert_eq!(number, 250),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(broker.values(0), [numbers(0..250), numbers(251..500)].concat());
    }
}

#[tokio::test]
async fn records_fail_when_their_time_is_over() {
    let broker = Scripted::start(1).await;
    broker.faults(ApiKey::Produce, &[Fault::Refuse(ErrorCode::NotLeaderOrFollower); 1000]);
    let fates = send_all(&broker, ProducerOptions { delivery_timeout_ms: 50, ..one_by_one() }, 2).await;
    assert_eq!(fates, [Err(ErrorCode::NotLeaderOrFollower); 2]);
    assert!(broker.values(0).is_empty());
}

/// Giving up the last batch before it was ever sent left the task asleep, and who had asked for a flush waiting for ever.
#[tokio::test]
async fn closing_ends_when_the_last_records_are_given_up_unsent() {
    let broker = Scripted::start(1).await;
    let options = ProducerOptions { delivery_timeout_ms: 50, ..one_by_one() };
    let producer = Producer::connect(&broker.address, options).await.unwrap();
    let nowhere = ProducerRecord { partition: Some(7), ..record("lost") };
    let delivery = producer.send(nowhere).await.unwrap();
    tokio::time::timeout(WAIT, producer.close()).await.expect("it ends").unwrap();
    let error = delivery.await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::UnknownTopicOrPartition, .. }), "{error}");
}

#[tokio::test]
async fn without_acks_a_record_counts_as_delivered_when_it_is_sent() {
    let broker = Scripted::start(1).await;
    let fates = send_all(&broker, ProducerOptions { acks: Acks::None, ..one_by_one() }, 3).await;
    assert_eq!(fates, [Ok(-1); 3]);
    let mut consumer = consumer(&broker, Start::Earliest, ConsumerOptions::default()).await;
    assert_eq!(read(&mut consumer, 3).await, numbers(0..3));
}

#[tokio::test]
async fn callbacks_are_called_once_for_every_record() {
    let broker = Scripted::start(1).await;
    let producer = Producer::connect(&broker.address, ProducerOptions::default()).await.unwrap();
    let called = Arc::new(AtomicUsize::new(0));
    for number in 0..100 {
        let called = Arc::clone(&called);
        let count = move |fate: Result<Delivered, ClientError>| {
            assert_eq!(fate.unwrap().offset, number);
            called.fetch_add(1, Ordering::Relaxed);
        };
        producer.send_with(record(number), count).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(called.load(Ordering::Relaxed), 100);
}

#[tokio::test]
async fn a_key_keeps_its_partition_and_keyless_records_spread() {
    let broker = Scripted::start(3).await;
    let producer = Producer::connect(&broker.address, one_by_one()).await.unwrap();
    for number in 0..30 {
        let key = (number % 2 == 0).then(|| Bytes::from_static(b"foobar"));
        producer.send(ProducerRecord { partition: None, key, ..record(number) }).await.unwrap();
    }
    producer.close().await.unwrap();
    // murmur2("foobar") is −790332482, which is 1 modulo 3 once its sign is masked.
    let of_the_key = usize::try_from(i64::from(-790_332_482i32 & i32::MAX) % 3).unwrap();
    let counts: Vec<usize> = (0..3).map(|partition| broker.values(partition).len()).collect();
    for (partition, count) in counts.into_iter().enumerate() {
        assert_eq!(count, if partition == of_the_key { 20 } else { 5 });
    }
}

#[tokio::test]
async fn an_old_broker_is_spoken_to_in_its_own_versions() {
    let broker = Scripted::start(1).await;
    broker.faults(ApiKey::ApiVersions, &[Fault::Refuse(ErrorCode::UnsupportedVersion); 9]);
    for (key, version_max) in [(ApiKey::Produce, 7), (ApiKey::Fetch, 11), (ApiKey::Metadata, 4)] {
        broker.state().offered.insert(key, 0..=version_max);
    }
    broker.state().topic_id = [0; 16];
    assert_eq!(send_all(&broker, one_by_one(), 2).await, [Ok(0), Ok(1)]);
    assert!(broker.versions(ApiKey::Produce).iter().all(|version| *version == 7));
    assert!(broker.versions(ApiKey::Metadata).iter().all(|version| *version == 4));
}

#[tokio::test]
async fn topics_without_ids_are_named_even_where_the_version_would_have_ids() {
    let broker = Scripted::start(1).await;
    broker.state().topic_id = [0; 16];
    send_all(&broker, one_by_one(), 2).await;
    let mut consumer = consumer(&broker, Start::Earliest, ConsumerOptions::default()).await;
    assert_eq!(read(&mut consumer, 2).await, numbers(0..2));
    assert!(broker.versions(ApiKey::Produce).iter().all(|version| *version == 12));
    assert!(broker.versions(ApiKey::Fetch).iter().all(|version| *version == 12));
}

#[tokio::test]
async fn reading_begins_where_it_is_asked_to() {
    let broker = Scripted::start(1).await;
    let producer = Producer::connect(&broker.address, one_by_one()).await.unwrap();
    for number in 0..10 {
        producer.send(ProducerRecord { timestamp_ms: Some(1000 + number), ..record(number) }).await.unwrap();
    }
    producer.flush().await.unwrap();
    for (start, first) in [(Start::Earliest, 0), (Start::Offset(4), 4), (Start::Timestamp(1007), 7)] {
        let mut consumer = consumer(&broker, start, ConsumerOptions::default()).await;
        assert_eq!(read(&mut consumer, 10 - first).await, numbers(first..10), "{start:?}");
    }
    for start in [Start::Latest, Start::Timestamp(2000)] {
        let consumer = consumer(&broker, start, ConsumerOptions::default()).await;
        assert_eq!(consumer.position(TOPIC, 0), Some(10), "{start:?}");
    }
}

/// A seek over an answer that had arrived and was not handed out left the partition marked as being fetched, for ever.
#[tokio::test]
async fn a_seek_drops_what_was_under_way() {
    let broker = Scripted::start(2).await;
    send_all(&broker, one_by_one(), 10).await;
    let producer = Producer::connect(&broker.address, one_by_one()).await.unwrap();
    producer.send(ProducerRecord { partition: Some(1), ..record("other") }).await.unwrap().await.unwrap();
    let mut consumer = consumer(&broker, Start::Earliest, ConsumerOptions::default()).await;
    consumer.assign(TOPIC, 1, Start::Earliest).await.unwrap();
    // One answer holds both partitions; only one is handed out.
    let first = consumer.poll(WAIT).await.unwrap().unwrap();
    let other = 1 - first.partition;
    consumer.assign(TOPIC, first.partition, Start::Latest).await.unwrap();
    consumer.assign(TOPIC, other, Start::Earliest).await.unwrap();
    let next = consumer.poll(WAIT).await.unwrap().unwrap();
    assert_eq!((next.partition, next.from), (other, 0));
}

#[tokio::test]
async fn a_position_outside_the_log_is_an_error_or_a_leap() {
    let broker = Scripted::start(1).await;
    send_all(&broker, one_by_one(), 5).await;
    let mut lost = consumer(&broker, Start::Offset(99), ConsumerOptions::default()).await;
    let error = lost.poll(WAIT).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::OffsetOutOfRange, .. }), "{error}");
    let options = ConsumerOptions { reset: Some(Start::Earliest), ..ConsumerOptions::default() };
    let mut leaping = consumer(&broker, Start::Offset(99), options).await;
    assert_eq!(read(&mut leaping, 5).await, numbers(0..5));
}

#[tokio::test]
async fn a_consumer_survives_lost_connections_and_errors_that_pass() {
    let broker = Scripted::start(1).await;
    send_all(&broker, one_by_one(), 5).await;
    broker.faults(ApiKey::Fetch, &[Fault::HangUp, Fault::Refuse(ErrorCode::NotLeaderOrFollower), Fault::HangUp]);
    let options = ConsumerOptions { retry_backoff_ms: 1, ..ConsumerOptions::default() };
    let mut consumer = consumer(&broker, Start::Earliest, options).await;
    assert_eq!(read(&mut consumer, 5).await, numbers(0..5));
}

#[tokio::test]
async fn a_peer_that_does_not_speak_the_protocol_is_an_error_not_a_hang() {
    const NEGATIVE: &[u8] = &[0xff; 8];
    const HUGE: &[u8] = &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    const STRANGE_ID: &[u8] = &[0, 0, 0, 4, 1, 2, 3, 4];
    const CUT: &[u8] = &[0, 0, 0, 5, 0, 0, 0, 1, 0];
    for babble in [NEGATIVE, HUGE, STRANGE_ID, CUT] {
        let broker = Scripted::start(1).await;
        broker.faults(ApiKey::Metadata, &[Fault::Babble(babble)]);
        let connection = Connection::connect(&broker.address, &ConnectOptions::default()).await.unwrap();
        let answer = connection.call(&MetadataRequest::default()).await;
        let error = answer.and_then(|answer| answer.decode::<MetadataResponse<'_>>().map(drop)).unwrap_err();
        assert!(matches!(error, ClientError::Disconnected { .. } | ClientError::BadAnswer { .. }), "{error}");
    }
}

/// A connection whose peer had vanished was used again and again, each request waiting for its own timeout.
#[tokio::test]
async fn a_connection_without_an_answer_in_time_is_given_up() {
    let broker = Scripted::start(1).await;
    broker.faults(ApiKey::Metadata, &[Fault::Silence]);
    let options = ConnectOptions { request_timeout_ms: 50, ..ConnectOptions::default() };
    let connection = Connection::connect(&broker.address, &options).await.unwrap();
    let error = connection.call(&MetadataRequest::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }) && error.is_retriable(), "{error}");
    assert!(!connection.is_usable());
}

/// Two callers that found the connection broken both made a new one; the second replaced the first and so closed it, with a batch
/// under way on it: "the producer is closed".
#[tokio::test]
async fn callers_that_connect_at_once_share_one_connection() {
    let broker = Scripted::start(1).await;
    let cluster = Cluster::connect(&broker.address, ConnectOptions::default()).await.unwrap();
    broker.faults(ApiKey::Metadata, &[Fault::HangUp]);
    cluster.any().await.unwrap().call(&MetadataRequest::default()).await.unwrap_err();
    let (one, other) = tokio::join!(cluster.any(), cluster.any());
    assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
}

#[tokio::test]
async fn nobody_listening_is_said_at_once() {
    let error = Connection::connect("127.0.0.1:1", &ConnectOptions::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }) && error.is_retriable(), "{error}");
}

#[tokio::test]
async fn answers_find_their_requests_when_many_are_under_way() {
    let broker = Scripted::start(1).await;
    let connection = Connection::connect(&broker.address, &ConnectOptions::default()).await.unwrap();
    let mut waiting = Vec::new();
    for version in (0..=13).cycle().take(200) {
        waiting.push((version, connection.send(&MetadataRequest::default(), version, Vec::new(), 0).await.unwrap()));
    }
    for (version, in_flight) in waiting {
        let answer = in_flight.answer().await.unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(answer.decode::<MetadataResponse<'_>>().unwrap().topics[0].name, Some(TOPIC));
    }
}
