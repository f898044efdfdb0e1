//! Checking and stamping of batches, as the broker does with each that is produced.

use std::hint::black_box;

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, BatchHeader, Codec, LeaderEpoch, Offset, check_produced, stamp};

use super::{HotPath, Operation, fixed_bytes};

pub(super) const PATHS: &[HotPath] = &[
    HotPath { name: "batch_header", what: "decode a batch's header", operations: 1000, prepare: header },
    HotPath {
        name: "batch_check_small",
        what: "check a produced batch of 1 record of 1 KB",
        operations: 1000,
        prepare: |_| check(1),
    },
    HotPath {
        name: "batch_check_large",
        what: "check a produced batch of 1000 records of 1 KB",
        operations: 20,
        prepare: |_| check(1000),
    },
    HotPath { name: "batch_stamp", what: "give a batch its offset and epoch", operations: 1000, prepare: stamped },
];

/// When every record of these batches was made.
pub(super) const TIMESTAMP_MS: i64 = 1_700_000_000_000;

/// Bytes of each record's value.
const VALUE_BYTES: usize = 1000;

/// A batch as producers send it, without a producer's id.
pub(super) fn of_records(count: usize) -> BytesMut {
    filled(BatchBuilder::new(Codec::None, None), count)
}

/// The same by an idempotent producer, beginning at a sequence number.
pub(super) fn of_producer(count: usize, sequence: i32) -> BytesMut {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.producer(1, 0, sequence);
    filled(builder, count)
}

fn filled(mut builder: BatchBuilder, count: usize) -> BytesMut {
    let value = fixed_bytes(VALUE_BYTES);
    for _ in 0..count {
        builder.push(TIMESTAMP_MS, None, Some(&value), &[]);
    }
    builder.finish()
}

fn header(_: usize) -> Operation {
    let batch = of_records(1);
    Box::new(move || {
        black_box(BatchHeader::parse(black_box(&batch))).expect("it is a batch");
    })
}

fn check(records: usize) -> Operation {
    let batch = of_records(records);
    Box::new(move || {
        black_box(check_produced(black_box(&batch))).expect("it is a good batch");
    })
}

fn stamped(_: usize) -> Operation {
    let mut batch = of_records(1);
    let offset = Offset::new(1 << 40).expect("it is positive");
    let epoch = LeaderEpoch::new(7).expect("it is positive");
    Box::new(move || stamp(black_box(&mut batch), black_box(offset), black_box(epoch)))
}
