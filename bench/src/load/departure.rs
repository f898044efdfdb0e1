//! When a batch left its producer, written into the batch itself so that a consumer can tell how long it was under way.
//!
//! Timestamps count whole milliseconds, which is too coarse beside latencies of a tenth of one. The sequence number means nothing
//! in a batch without a producer id and every broker passes it on as it is, so it carries the microseconds; a batch of an
//! idempotent producer has only its milliseconds, and its latency is shown up to one millisecond too long.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmill_batch::{BatchHeader, TimestampType};

const MICROS_PER_MS: i64 = 1000;

/// Writes into the header that its records are as old as `at`. The header's deltas are all zero, for a stock's batches have one
/// time for all their records.
pub(super) fn stamp(header: &mut BatchHeader, at: SystemTime) {
    let micros = micros_since_1970(at);
    header.base_timestamp = micros / MICROS_PER_MS;
    header.max_timestamp = header.base_timestamp;
    if !header.has_producer() {
        header.base_sequence = i32::try_from(micros % MICROS_PER_MS).expect("less than a thousand");
    }
}

/// How long ago a batch left, by this machine's clock; zero if the clock was set back meanwhile.
pub(super) fn time_since(header: &BatchHeader) -> Duration {
    // With the broker's own time in it, a batch no longer says when it left, but when it was appended.
    let is_exact = !header.has_producer() && header.timestamp_type() == TimestampType::CreateTime;
    let beyond_ms = i64::from(header.base_sequence);
    let beyond_ms = if is_exact && (0..MICROS_PER_MS).contains(&beyond_ms) { beyond_ms } else { 0 };
    let left = header.max_timestamp.saturating_mul(MICROS_PER_MS).saturating_add(beyond_ms);
    let micros = micros_since_1970(SystemTime::now()).saturating_sub(left);
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn micros_since_1970(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use ringmill_batch::{BatchBuilder, Codec};

    use super::*;

    #[test]
    fn a_batch_tells_when_it_left_to_the_microsecond_or_millisecond() {
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.push(5, None, Some(b"value"), &[]);
        let mut header = BatchHeader::parse(&builder.finish()).unwrap();
        let left = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        stamp(&mut header, left);
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_700_000_000_123, 1_700_000_000_123));
        let exact = time_since(&header);
        assert!(exact <= left.elapsed().unwrap(), "{exact:?}");
        (header.producer_id, header.producer_epoch, header.base_sequence) = (1, 0, 7);
        stamp(&mut header, left);
        assert_eq!(header.base_sequence, 7);
        assert!(time_since(&header) >= exact + Duration::from_micros(456), "{exact:?}");
    }
}
