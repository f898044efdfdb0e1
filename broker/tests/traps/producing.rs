//! Batches and producers: what is refused with which code, what is stamped, and how repeats are told from gaps.

use bytes::Bytes;
use ringmill_batch::DecompressLimit;
use ringmill_batch::{BatchBuilder, Codec, TimestampType, crc32c, read_records};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::raw::{Produced, Raw, batch, now_ms, sequenced};
use crate::{OK, produce, produce_request, with_logs};

const HOUR_MS: i64 = 3_600_000;

/// A batch with some bytes overwritten and its checksum made right again.
fn forged(changes: &[(usize, &[u8])]) -> Bytes {
    let mut bytes = batch(3, 10).to_vec();
    for (at, with) in changes {
        bytes[*at..at + with.len()].copy_from_slice(with);
    }
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// Records at these times, compressed with `codec`.
fn at_times(codec: Codec, times_ms: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    for time_ms in times_ms {
        builder.push(*time_ms, None, Some(b"a value that is long enough to be worth compressing, compressing"), &[]);
    }
    builder.finish().freeze()
}

/// Beside those of `bad_batches_get_their_error_and_leave_nothing_behind`.
#[test]
fn headers_that_contradict_themselves_are_refused() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let minus_one = (-1i32).to_be_bytes();
    let cases: [(&str, Bytes); 9] = [
        ("a last offset below the first", forged(&[(23, &minus_one)])),
        ("a count below zero", forged(&[(57, &minus_one)])),
        ("more offsets than records", forged(&[(23, &5i32.to_be_bytes())])),
        ("more records than bytes", forged(&[(23, &999i32.to_be_bytes()), (57, &1000i32.to_be_bytes())])),
        ("magic 0", forged(&[(16, &[0])])),
        ("magic 3", forged(&[(16, &[3])])),
        ("an unknown codec", forged(&[(21, &7i16.to_be_bytes())])),
        ("a producer without an epoch", forged(&[(43, &1i64.to_be_bytes()), (53, &0i32.to_be_bytes())])),
        ("less than a header", batch(1, 1).slice(..60)),
    ];
    for (what, bytes) in cases {
        let error = client.produce("logs", 0, bytes).error;
        assert_eq!(ErrorCode::from_code(error), Some(ErrorCode::InvalidRecord), "{what}");
    }
    assert_eq!(client.list_offset("logs", -1), (OK, 0));
    broker.stop();
}

#[test]
fn the_largest_batch_is_the_one_that_max_message_bytes_names() {
    let exact = batch(1, 500);
    let (broker, mut client, _dir) = with_logs(1, &[("max.message.bytes", &exact.len().to_string())]);
    let larger = batch(1, 501);
    assert_eq!(larger.len(), exact.len() + 1);
    assert_eq!(client.produce("logs", 0, exact), Produced { error: OK, base_offset: 0 });
    assert_eq!(client.produce("logs", 0, larger).error, ErrorCode::MessageTooLarge.code());
    broker.stop();
}

#[test]
fn timestamps_outside_the_topics_bounds_are_refused() {
    let bounds = [("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "60000")];
    let (broker, mut client, _dir) = with_logs(1, &bounds);
    let now = now_ms();
    let cases = [
        ("now", vec![now], ErrorCode::None),
        ("inside", vec![now - 30_000, now + 30_000], ErrorCode::None),
        // A producer that knows no time.
        ("none", vec![-1], ErrorCode::None),
        ("long ago", vec![now - HOUR_MS], ErrorCode::InvalidTimestamp),
        ("far ahead", vec![now + HOUR_MS], ErrorCode::InvalidTimestamp),
        ("far ahead behind one of now", vec![now, now + HOUR_MS], ErrorCode::InvalidTimestamp),
    ];
    for (what, times, expected) in cases {
        let error = client.produce("logs", 0, at_times(Codec::None, &times)).error;
        assert_eq!(ErrorCode::from_code(error), Some(expected), "{what}");
    }
    broker.stop();
}

#[test]
fn topics_that_are_not_there_are_refused_by_name_and_by_id() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let mut error = |topic: &str, id, version| {
        let bytes = batch(1, 1);
        produce(&mut client, &produce_request(topic, id, &bytes), version, bytes, |told| {
            assert_eq!(told.base_offset, -1);
            ErrorCode::from_code(told.error_code).unwrap()
        })
    };
    for version in [3, 9, 12] {
        assert_eq!(error("none", [0; 16], version), ErrorCode::UnknownTopicOrPartition, "version {version}");
        // No such topic can be, and that is all that a producer needs to know.
        assert_eq!(error("no/such/name", [0; 16], version), ErrorCode::UnknownTopicOrPartition, "version {version}");
    }
    assert_eq!(error("", [9; 16], 13), ErrorCode::UnknownTopicId);
    assert_eq!(error("", [0; 16], 13), ErrorCode::UnknownTopicId);
    broker.stop();
}

/// An id means one topic only, also when its name comes back: a producer must not write into the new one unasked.
#[test]
fn the_id_of_a_deleted_topic_does_not_lead_to_its_successor() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let id_of = |client: &mut Raw| {
        let frame = client.call(&MetadataRequest { topics: crate::named("logs"), ..MetadataRequest::default() }, 12);
        frame.decode::<MetadataResponse<'_>>(12).topics[0].topic_id
    };
    let first = id_of(&mut client);
    assert_eq!((client.delete_topic("logs"), client.create_topic("logs", 1, &[])), (OK, OK));
    let second = id_of(&mut client);
    assert_ne!(first, second);
    for (id, expected) in [(first, ErrorCode::UnknownTopicId), (second, ErrorCode::None)] {
        let bytes = batch(1, 1);
        let error = produce(&mut client, &produce_request("", id, &bytes), 13, bytes, |told| told.error_code);
        assert_eq!(ErrorCode::from_code(error), Some(expected));
    }
    broker.stop();
}

/// Attribute bit 3 and the largest timestamp are rewritten and the checksum is computed anew; nothing is decompressed for it.
#[test]
fn a_topic_with_append_times_stamps_them_into_every_batch() {
    let (broker, mut client, _dir) = with_logs(1, &[("message.timestamp.type", "LogAppendTime")]);
    for (number, codec) in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].into_iter().enumerate() {
        let before = now_ms();
        // The producer's own times do not matter, however strange.
        let bytes = at_times(codec, &[5, now_ms() + 9 * HOUR_MS]);
        let request = produce_request("logs", [0; 16], &bytes);
        let stamped = produce(&mut client, &request, 9, bytes, |told| (told.error_code, told.log_append_time_ms));
        assert_eq!(stamped.0, OK, "{codec:?}");
        assert!((before..=now_ms()).contains(&stamped.1), "{codec:?}: {}", stamped.1);
        let offset = 2 * i64::try_from(number).unwrap();
        let fetched = client.fetch("logs", offset);
        // `batches` checks the CRC.
        let header = fetched.batches()[0];
        assert_eq!(
            (header.timestamp_type(), header.max_timestamp, header.codec()),
            (TimestampType::LogAppendTime, stamped.1, codec)
        );
        let records = read_records(&fetched.records, DecompressLimit::default()).unwrap();
        assert!(records.iter().all(|record| record.unwrap().timestamp_ms == stamped.1), "{codec:?}");
        assert_eq!(client.list_offset("logs", stamped.1).0, OK);
    }
    let (error, first) = client.list_offset("logs", 0);
    assert_eq!((error, first), (OK, 0));
    broker.stop();
}

#[test]
fn producers_keep_their_own_times_elsewhere() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let (now, bytes) = (now_ms(), |now| at_times(Codec::Zstd, &[now - 5, now]));
    let request = produce_request("logs", [0; 16], &bytes(now));
    assert_eq!(produce(&mut client, &request, 9, bytes(now), |told| told.log_append_time_ms), -1);
    assert_eq!(client.fetch("logs", 0).batches()[0].max_timestamp, now);
    broker.stop();
}

/// A batch whose records were changed behind its header's back, its checksum made right.
fn lying(what: &str) -> Bytes {
    let mut bytes = batch(3, 10).to_vec();
    match what {
        "a larger maximum timestamp" => bytes[35..43].copy_from_slice(&(now_ms() + 1000).to_be_bytes()),
        // The second record's offset delta: length, attributes and timestamp delta stand before it.
        "an offset twice" => {
            let record = 61 + 1 + usize::from(bytes[61] / 2);
            bytes[record + 3] = 0;
        }
        "a record shorter than it says" => bytes[61] -= 2,
        "a byte behind the last record" => {
            bytes.push(0);
            let length = i32::try_from(bytes.len() - 12).unwrap();
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
        }
        "noise for a codec" => bytes[22] = 4,
        other => panic!("{other}"),
    }
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// Some hundred bytes that become 32 MiB.
fn bomb(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(codec, None);
    builder.push(now_ms(), None, Some(&vec![0; 32 << 20]), &[]);
    builder.finish().freeze()
}

/// Ordinary topics do not look into batches; what lies is then the consumer's to find. Strict ones do, within bounds.
#[test]
fn records_that_lie_are_refused_by_strict_topics_only() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    assert_eq!(client.create_topic("strict", 1, &[("strict.records", "true")]), OK);
    let lies = [
        "a larger maximum timestamp",
        "an offset twice",
        "a record shorter than it says",
        "a byte behind the last record",
        "noise for a codec",
    ];
    let mut cases: Vec<_> = lies.map(|what| (what, lying(what))).into();
    cases.push(("a bomb of zstd", bomb(Codec::Zstd)));
    for (what, bytes) in cases {
        assert_eq!(client.produce("logs", 0, bytes.clone()).error, OK, "{what}");
        let request = produce_request("strict", [0; 16], &bytes);
        let (error, why) = produce(&mut client, &request, 9, bytes, |told| {
            (told.error_code, told.error_message.unwrap_or_default().to_owned())
        });
        assert_eq!(ErrorCode::from_code(error), Some(ErrorCode::InvalidRecord), "{what}");
        assert!(why.starts_with("strict.records is set"), "{what}: {why}");
    }
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let now = now_ms();
        assert_eq!(client.produce("strict", 0, at_times(codec, &[now, now - 5, now + 5])).error, OK, "{codec:?}");
    }
    assert_eq!(client.list_offset("strict", -1), (OK, 15));
    broker.stop();
}

/// The header of a batch has the time of its first record, which need not be the oldest.
#[test]
fn strict_topics_find_an_old_record_behind_a_new_one() {
    let settings = [("strict.records", "true"), ("message.timestamp.before.max.ms", "60000")];
    let (broker, mut client, _dir) = with_logs(1, &settings);
    let now = now_ms();
    assert_eq!(client.produce("logs", 0, at_times(Codec::Lz4, &[now, now - 1000])).error, OK);
    let old = client.produce("logs", 0, at_times(Codec::Lz4, &[now, now - HOUR_MS]));
    assert_eq!(old.error, ErrorCode::InvalidTimestamp.code());
    broker.stop();
}

/// A search by time walks the one batch that it finds; a bomb in it must cost no memory, and everything else goes on.
#[test]
fn a_search_that_meets_a_bomb_ends_in_an_error_and_hurts_nobody() {
    for codec in [Codec::Zstd, Codec::Gzip] {
        let (broker, mut client, _dir) = with_logs(1, &[]);
        let bytes = bomb(codec);
        assert!(bytes.len() < 100_000, "{codec:?}: {}", bytes.len());
        assert_eq!(client.produce("logs", 0, bytes.clone()), Produced { error: OK, base_offset: 0 });
        let (error, _) = client.list_offset("logs", now_ms() - HOUR_MS);
        // gzip cannot reach the forbidden ratio: what it makes of these bytes is allowed.
        let expected = if codec == Codec::Zstd { ErrorCode::CorruptMessage } else { ErrorCode::None };
        assert_eq!(ErrorCode::from_code(error), Some(expected), "{codec:?}");
        assert_eq!(client.fetch("logs", 0).records[61..], bytes[61..], "{codec:?}: who wants it gets it as it is");
        assert_eq!((client.list_offset("logs", -2), client.list_offset("logs", -1)), ((OK, 0), (OK, 1)));
        broker.stop();
    }
}

fn producer_id(client: &mut Raw) -> i64 {
    let frame = client.call(&InitProducerIdRequest::default(), 4);
    frame.decode::<InitProducerIdResponse>(4).producer_id
}

#[test]
fn a_producer_names_its_id_with_its_epoch_or_neither() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    for (producer_id, producer_epoch, expected) in [
        (-1, -1, ErrorCode::None),
        (5, 0, ErrorCode::None),
        (5, -1, ErrorCode::InvalidRequest),
        (-1, 0, ErrorCode::InvalidRequest),
    ] {
        let request = InitProducerIdRequest { producer_id, producer_epoch, ..InitProducerIdRequest::default() };
        let frame = client.call(&request, 4);
        let given: InitProducerIdResponse = frame.decode(4);
        assert_eq!(ErrorCode::from_code(given.error_code), Some(expected), "{producer_id} {producer_epoch}");
        assert_eq!(given.producer_id >= 0, expected == ErrorCode::None);
    }
    broker.stop();
}

/// The broker may have forgotten a producer, and Kafka's clients go on counting.
#[test]
fn an_unknown_producer_may_start_at_any_sequence_and_sequences_wrap() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let id = producer_id(&mut client);
    let at_end = i32::MAX - 1;
    let cases = [
        ("starts at the end of the numbers", at_end, 2, Ok(0)),
        ("wraps to zero", 0, 3, Ok(2)),
        ("repeats the batch before the wrap", at_end, 2, Ok(0)),
        ("leaves a gap", 4, 1, Err(ErrorCode::OutOfOrderSequenceNumber)),
        ("goes on", 3, 1, Ok(5)),
    ];
    for (what, sequence, count, expected) in cases {
        let produced = client.produce("logs", 0, sequenced(id, 0, sequence, count));
        let expected = match expected {
            Ok(base_offset) => Produced { error: OK, base_offset },
            Err(error) => Produced { error: error.code(), base_offset: -1 },
        };
        assert_eq!(produced, expected, "{what}");
    }
    broker.stop();
}

#[test]
fn the_last_five_batches_of_a_producer_are_known_again() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let id = producer_id(&mut client);
    for number in 0..6 {
        assert_eq!(client.produce("logs", 0, sequenced(id, 0, 2 * number, 2)).error, OK);
    }
    for number in 1..6 {
        let again = client.produce("logs", 0, sequenced(id, 0, 2 * number, 2));
        assert_eq!(again, Produced { error: OK, base_offset: 2 * i64::from(number) }, "batch {number}");
    }
    assert_eq!(client.produce("logs", 0, sequenced(id, 0, 0, 2)).error, ErrorCode::OutOfOrderSequenceNumber.code());
    // Part of a batch is no repeat of it.
    assert_eq!(client.produce("logs", 0, sequenced(id, 0, 10, 1)).error, ErrorCode::OutOfOrderSequenceNumber.code());
    assert_eq!(client.list_offset("logs", -1), (OK, 12));
    broker.stop();
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let id = producer_id(&mut client);
    let mut error = |epoch, sequence| {
        ErrorCode::from_code(client.produce("logs", 0, sequenced(id, epoch, sequence, 1)).error).unwrap()
    };
    assert_eq!(error(0, 0), ErrorCode::None);
    assert_eq!(error(1, 5), ErrorCode::OutOfOrderSequenceNumber, "a new epoch begins at zero");
    assert_eq!(error(1, 0), ErrorCode::None);
    assert_eq!(error(0, 1), ErrorCode::InvalidProducerEpoch);
    broker.stop();
}

/// Acks 0 has no answer, so the only way to tell of an error is to hang up; what went well is silent.
#[test]
fn acks_decide_who_hears_what() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    for acks in [1, -1] {
        client.send_produce("logs", 0, acks, batch(1, 1));
        assert_eq!(client.receive_produced().error, OK, "acks {acks}");
    }
    for acks in [2, -2, i16::MAX] {
        client.send_produce("logs", 0, acks, batch(1, 1));
        assert_eq!(client.receive_produced().error, ErrorCode::InvalidRequiredAcks.code(), "acks {acks}");
    }
    client.send_produce("logs", 0, 0, batch(1, 1));
    client.send_fetch("logs", 2, 10_000, 1 << 20);
    assert_eq!(client.receive_fetched().batches().len(), 1, "the next answer is the fetch's");
    let broken: [(&str, &str, Bytes); 3] = [
        ("unknown topic", "none", batch(1, 1)),
        ("bad batch", "logs", forged(&[(16, &[1])])),
        ("no batch", "logs", Bytes::new()),
    ];
    for (what, topic, bytes) in broken {
        let mut client = Raw::connect(broker.address());
        client.send_produce(topic, 0, 0, bytes);
        assert!(client.receive().is_none(), "{what}");
    }
    assert_eq!(client.list_offset("logs", -1), (OK, 3));
    broker.stop();
}
