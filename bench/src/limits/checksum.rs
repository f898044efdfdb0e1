//! How fast one core computes the record batches' checksum.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::report::{Run, rate};

const ENOUGH: Duration = Duration::from_millis(200);

/// CRC-32C over the same `length` bytes until the clock has something to show.
pub(crate) fn run(length: usize) -> Run {
    let bytes = vec![0xa5; length];
    let started = Instant::now();
    let mut summed = 0;
    while started.elapsed() < ENOUGH {
        for _ in 0..16 {
            black_box(ringmill_batch::crc32c(black_box(&bytes)));
            summed += length as u64;
        }
    }
    vec![rate(summed, started.elapsed())]
}
