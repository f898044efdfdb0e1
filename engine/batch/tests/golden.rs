//! Batches that another implementation wrote (`golden/make.py`) decode to what it was given, and ours come out the same.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, check_produced, read_records};

type Header<'a> = (&'a [u8], Option<&'a [u8]>);
type Line<'a> = (i64, Option<&'a [u8]>, Option<&'a [u8]>, &'a [Header<'a>]);

/// The records of every golden batch: timestamp, key, value, headers.
fn with_lines(then: impl FnOnce(&[Line<'_>])) {
    let repeated = b"a line that repeats itself, ".repeat(40);
    let headers: [Header<'_>; 3] = [(b"trace", Some(&[0x00, 0xFF])), (b"trace", None), (b"", Some(b""))];
    then(&[
        (1_700_000_000_000, Some(b"host-1"), Some(b"first line"), &[]),
        (1_700_000_000_007, None, Some(b""), &headers),
        (1_699_999_999_000, Some(b""), None, &[]),
        (1_700_000_000_007, None, Some(&repeated), &[]),
    ]);
}

fn check(batch: &[u8], codec: Codec, producer: (i64, i16, i32)) {
    let header = check_produced(batch).unwrap();
    assert_eq!(header.codec(), codec);
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), producer);
    assert_eq!((header.base_timestamp, header.max_timestamp), (1_700_000_000_000, 1_700_000_000_007));
    let records = read_records(batch, DecompressLimit::default()).unwrap();
    with_lines(|lines| {
        let walked: Vec<_> = records.iter().map(Result::unwrap).collect();
        assert_eq!(walked.len(), lines.len());
        for (index, (record, &(timestamp_ms, key, value, headers))) in walked.iter().zip(lines).enumerate() {
            assert_eq!(record.offset.get(), i64::try_from(index).unwrap());
            assert_eq!((record.timestamp_ms, record.key, record.value), (timestamp_ms, key, value));
            let expected: Vec<_> = headers.to_vec();
            assert_eq!(record.headers.iter().collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn every_codec_of_another_implementation_is_read() {
    let anonymous = (-1, -1, -1);
    check(include_bytes!("golden/none.batch"), Codec::None, anonymous);
    check(include_bytes!("golden/gzip.batch"), Codec::Gzip, anonymous);
    check(include_bytes!("golden/snappy-xerial.batch"), Codec::Snappy, anonymous);
    check(include_bytes!("golden/snappy-raw.batch"), Codec::Snappy, anonymous);
    check(include_bytes!("golden/lz4.batch"), Codec::Lz4, anonymous);
    check(include_bytes!("golden/zstd.batch"), Codec::Zstd, anonymous);
    check(include_bytes!("golden/idempotent.batch"), Codec::None, (4711, 3, i32::MAX - 2));
}

#[test]
fn the_builder_writes_the_same_bytes() {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for producer in [None, Some((4711, 3, i32::MAX - 2))] {
        if let Some((id, epoch, sequence)) = producer {
            builder.producer(id, epoch, sequence);
        }
        with_lines(|lines| {
            for &(timestamp_ms, key, value, headers) in lines {
                builder.push(timestamp_ms, key, value, headers);
            }
        });
        let golden: &[u8] = match producer {
            None => include_bytes!("golden/none.batch"),
            Some(_) => include_bytes!("golden/idempotent.batch"),
        };
        let mut golden = golden.to_vec();
        // kafka-python leaves 0 where the broker stamps its epoch; ours says −1, "unknown", as Java does.
        golden[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
        assert_eq!(builder.finish(), golden);
    }
}
