//! Properties of builder, codecs and record walk: round trips, agreement with the kafka-protocol crate, and no panic and no
//! unbounded memory on damaged bytes.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as OracleRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ringmill_batch::{
    BatchBuilder, BatchHeader, Codec, CodecError, DecompressLimit, Offset, RecordError, TimestampType as Stamp,
    check_produced, check_records, compress, crc32c, decompress, read_records, stamp_append_time,
};

/// A record that owns its parts.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn bytes_of_any_kind() -> impl Strategy<Value = Option<Vec<u8>>> {
    // Noise, and what logs are made of: the same again.
    option::of(prop_oneof![vec(any::<u8>(), 0..200), (any::<u8>(), 0..3000_usize).prop_map(|(b, n)| vec![b; n])])
}

fn line() -> impl Strategy<Value = Line> {
    (0..2_000_000_000_000_i64, bytes_of_any_kind(), bytes_of_any_kind(), vec(("[a-z]{0,5}", bytes_of_any_kind()), 0..4))
        .prop_map(|(timestamp_ms, key, value, headers)| Line { timestamp_ms, key, value, headers })
}

fn build(codec: Codec, lines: &[Line]) -> BytesMut {
    let mut builder = BatchBuilder::new(codec, None);
    push_all(&mut builder, lines);
    builder.finish()
}

fn push_all(builder: &mut BatchBuilder, lines: &[Line]) {
    for line in lines {
        let headers: Vec<_> = line.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
        builder.push(line.timestamp_ms, line.key.as_deref(), line.value.as_deref(), &headers);
    }
}

fn walk(batch: &[u8]) -> Result<Vec<(Offset, Line)>, RecordError> {
    let records = read_records(batch, DecompressLimit::default())?;
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    records
        .iter()
        .map(|record| {
            let record = record?;
            let headers = record.headers.iter();
            let headers = headers.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), owned(value)));
            let line = Line {
                timestamp_ms: record.timestamp_ms,
                key: owned(record.key),
                value: owned(record.value),
                headers: headers.collect(),
            };
            Ok((record.offset, line))
        })
        .collect()
}

fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(&Codec::ALL[..])
}

fn oracle_compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

/// The oracle keeps headers in a map, so only lines without a repeated name compare.
fn oracle_record(index: usize, line: &Line) -> OracleRecord {
    let headers: IndexMap<_, _> = line
        .headers
        .iter()
        .map(|(name, value)| (StrBytes::from_string(name.clone()), value.clone().map(Bytes::from)))
        .collect();
    OracleRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 9,
        producer_epoch: 2,
        timestamp_type: TimestampType::Creation,
        offset: i64::try_from(index).unwrap(),
        sequence: 100 + i32::try_from(index).unwrap(),
        timestamp: line.timestamp_ms,
        key: line.key.clone().map(Bytes::from),
        value: line.value.clone().map(Bytes::from),
        headers,
    }
}

fn with_distinct_headers(mut lines: Vec<Line>) -> Vec<Line> {
    for line in &mut lines {
        line.headers.sort();
        line.headers.dedup_by(|a, b| a.0 == b.0);
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_pushed_is_walked(codec in codec(), lines in vec(line(), 1..30)) {
        let batch = build(codec, &lines);
        let header = check_produced(&batch).unwrap();
        prop_assert_eq!(header.total_bytes(), batch.len());
        prop_assert_eq!(header.max_timestamp, lines.iter().map(|line| line.timestamp_ms).max().unwrap());
        let walked = walk(&batch).unwrap();
        for (index, (offset, _)) in walked.iter().enumerate() {
            prop_assert_eq!(offset.get(), i64::try_from(index).unwrap());
        }
        prop_assert_eq!(walked.into_iter().map(|(_, line)| line).collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_builder_that_is_used_again_makes_the_same_batch(codec in codec(), lines in vec(line(), 1..10)) {
        let mut builder = BatchBuilder::new(codec, None);
        push_all(&mut builder, &lines);
        let first = builder.finish();
        prop_assert!(builder.is_empty() && builder.len_bytes() == 0);
        push_all(&mut builder, &lines);
        prop_assert_eq!(builder.finish(), first);
    }

    #[test]
    fn the_oracle_reads_what_we_build(codec in codec(), lines in vec(line(), 1..10)) {
        let lines = with_distinct_headers(lines);
        let mut builder = BatchBuilder::new(codec, None);
        builder.producer(9, 2, 100);
        push_all(&mut builder, &lines);
        let mut batch = builder.finish().freeze();
        let unpack = |packed: &mut Bytes, _: Compression| Ok(decompress(codec, packed, DecompressLimit::default())?.into());
        let set = RecordBatchDecoder::decode_with_custom_compression(&mut batch, Some(unpack)).unwrap();
        prop_assert_eq!(set.compression, oracle_compression(codec));
        let expected: Vec<_> = lines.iter().enumerate().map(|(index, line)| oracle_record(index, line)).collect();
        prop_assert_eq!(set.records, expected);
    }

    #[test]
    fn we_read_what_the_oracle_builds(codec in codec(), lines in vec(line(), 1..10)) {
        let lines = with_distinct_headers(lines);
        let records: Vec<_> = lines.iter().enumerate().map(|(index, line)| oracle_record(index, line)).collect();
        let options = RecordEncodeOptions { version: 2, compression: oracle_compression(codec) };
        let mut batch = BytesMut::new();
        let pack = |plain: &mut BytesMut, out: &mut BytesMut, _| { out.extend_from_slice(&compress(codec, None, plain)); Ok(()) };
        RecordBatchEncoder::encode_with_custom_compression(&mut batch, &records, &options, Some(pack)).unwrap();
        let header = check_produced(&batch).unwrap();
        prop_assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 2, 100));
        let walked: Vec<_> = walk(&batch).unwrap().into_iter().map(|(_, line)| line).collect();
        prop_assert_eq!(walked, lines);
    }

    #[test]
    fn damage_is_refused_or_read_but_never_panics(
        codec in codec(), lines in vec(line(), 1..6), hits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut batch = build(codec, &lines);
        for (at, value) in hits {
            let at = at.index(batch.len());
            batch[at] = value;
        }
        // The walk does not compute the checksum, so every damage reaches it.
        let _ = walk(&batch);
        let _ = check_produced(&batch);
        for length in [batch.len() / 2, batch.len() - 1] {
            let _ = walk(&batch[..length]);
        }
    }

    #[test]
    fn noise_is_no_compressed_data(codec in codec(), noise in vec(any::<u8>(), 0..600)) {
        let _ = decompress(codec, &noise, DecompressLimit::default());
    }
}

fn lines(count: usize) -> Vec<Line> {
    let line = |index| Line { timestamp_ms: 5, key: None, value: Some(vec![index; 10]), headers: Vec::new() };
    (0..count).map(|index| line(index.to_le_bytes()[0])).collect()
}

/// Rewrites a batch's counts and makes its checksum right.
fn with_counts(mut batch: BytesMut, last_offset_delta: i32, record_count: i32) -> BytesMut {
    batch[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
    batch[57..61].copy_from_slice(&record_count.to_be_bytes());
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn the_count_must_be_met_exactly() {
    for codec in Codec::ALL {
        let fewer = with_counts(build(codec, &lines(3)), 1, 2);
        assert!(matches!(walk(&fewer), Err(RecordError::Trailing { .. })), "{codec}");
        let more = with_counts(build(codec, &lines(3)), 3, 4);
        assert!(matches!(walk(&more), Err(RecordError::Field { index: 3, .. })), "{codec}");
    }
}

#[test]
fn offsets_outside_the_header_are_refused() {
    let batch = with_counts(build(Codec::None, &lines(1)), 0, 1);
    let mut shifted = batch.clone();
    // Length, attributes, timestamp delta and then the offset delta.
    shifted[BatchHeader::BYTES + 3] = 2;
    assert!(matches!(walk(&shifted), Err(RecordError::OffsetDelta { offset_delta: 1, .. })));
    shifted[BatchHeader::BYTES + 3] = 1;
    assert!(matches!(walk(&shifted), Err(RecordError::OffsetDelta { offset_delta: -1, .. })));
}

#[test]
fn compacted_batches_keep_their_gaps() {
    let mut batch = with_counts(build(Codec::None, &lines(1)), 9, 1);
    batch[BatchHeader::BYTES + 3] = 8;
    let offsets: Vec<_> = walk(&batch).unwrap().into_iter().map(|(offset, _)| offset.get()).collect();
    assert_eq!(offsets, [4]);
}

#[test]
fn a_count_of_billions_costs_nothing() {
    let huge = with_counts(build(Codec::Zstd, &lines(1)), i32::MAX - 1, i32::MAX);
    assert!(matches!(walk(&huge), Err(RecordError::Count { record_count: i32::MAX, .. })));
}

#[test]
fn append_time_holds_for_every_record() {
    let mut batch = build(Codec::Lz4, &lines(3));
    let header = stamp_append_time(&mut batch, 77_000);
    assert_eq!(header.timestamp_type(), Stamp::LogAppendTime);
    assert!(walk(&batch).unwrap().iter().all(|(_, line)| line.timestamp_ms == 77_000));
}

#[test]
fn output_stops_at_its_limits() {
    let zeros = vec![0; 1 << 20];
    for codec in Codec::ALL {
        let packed = compress(codec, None, &zeros);
        let within = |output_bytes_max, ratio_max, ratio_free_bytes| {
            decompress(codec, &packed, DecompressLimit { output_bytes_max, ratio_max, ratio_free_bytes })
        };
        let too_large = |result| matches!(result, Err(CodecError::TooLarge { .. }));
        assert_eq!(within(1 << 20, usize::MAX, 0).unwrap(), zeros, "{codec}");
        assert_eq!(within(usize::MAX, 1, 1 << 20).unwrap(), zeros, "{codec}");
        assert!(too_large(within((1 << 20) - 1, usize::MAX, 0)), "{codec}");
        assert!(codec == Codec::None || too_large(within(usize::MAX, 2, 0)), "{codec}");
    }
}

#[test]
fn a_claimed_size_is_not_believed() {
    // Raw snappy that claims 4 GiB − 1; a zstd frame header that claims 2⁶⁰ bytes and holds nothing.
    let snappy = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00];
    assert!(matches!(decompress(Codec::Snappy, &snappy, DecompressLimit::default()), Err(CodecError::Damaged { .. })));
    let mut zstd = vec![0x28, 0xB5, 0x2F, 0xFD, 0xE0];
    zstd.extend((1_u64 << 60).to_le_bytes());
    zstd.extend([0x01, 0x00, 0x00]);
    assert!(decompress(Codec::Zstd, &zstd, DecompressLimit::default()).is_err());
}

#[test]
fn nothing_may_follow_the_compressed_data() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut packed = compress(codec, None, b"a line");
        packed.push(7);
        assert!(decompress(codec, &packed, DecompressLimit::default()).is_err(), "{codec}");
    }
}

#[test]
fn joined_xerial_streams_are_one() {
    let joined = [compress(Codec::Snappy, None, b"one, "), compress(Codec::Snappy, None, b"two")].concat();
    assert_eq!(decompress(Codec::Snappy, &joined, DecompressLimit::default()).unwrap(), b"one, two");
}

#[test]
fn levels_out_of_range_are_brought_back() {
    for (codec, level) in [(Codec::Gzip, 99), (Codec::Gzip, -5), (Codec::Zstd, 99), (Codec::Zstd, i32::MIN)] {
        let packed = compress(codec, Some(level), b"a line");
        assert_eq!(decompress(codec, &packed, DecompressLimit::default()).unwrap(), b"a line");
    }
}

#[test]
fn strict_checks_know_the_smallest_time_and_hold_the_largest_against_the_header() {
    for codec in [Codec::None, Codec::Zstd] {
        let mut builder = BatchBuilder::new(codec, None);
        for time_ms in [50, 20, 90, 70] {
            builder.push(time_ms, None, Some(b"v"), &[]);
        }
        let mut bytes = builder.finish();
        assert_eq!(check_records(&bytes, DecompressLimit::default()).unwrap(), 20);
        bytes[35..43].copy_from_slice(&91_i64.to_be_bytes());
        let error = check_records(&bytes, DecompressLimit::default()).unwrap_err();
        assert!(matches!(error, RecordError::MaxTimestamp { largest_ms: 90, claimed_ms: 91 }), "{error}");
    }
}
