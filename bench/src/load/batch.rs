//! The batch that a connection sends again and again, built once before the clock starts.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use ringmill_batch::{BatchBuilder, Codec};

use crate::cli::Payload;

/// A batch of `records` values of `value_bytes` each, without keys, different for each `seed`.
pub(super) fn build(records: u64, value_bytes: usize, payload: Payload, codec: Codec, seed: u32) -> BytesMut {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let mut random = Random(u64::from(seed) + 1);
    let mut value = Vec::with_capacity(value_bytes + LINE_BYTES_MAX);
    let mut builder = BatchBuilder::new(codec, None);
    for _ in 0..records {
        value.clear();
        while value.len() < value_bytes {
            match payload {
                Payload::Text => push_line(&mut value, &mut random),
                Payload::Random => value.extend_from_slice(&random.next().to_be_bytes()),
            }
        }
        builder.push(timestamp_ms, None, Some(&value[..value_bytes]), &[]);
    }
    builder.finish()
}

const LINE_BYTES_MAX: usize = 256;

/// A line of an access log: much repeats, some of it does not.
fn push_line(value: &mut Vec<u8>, random: &mut Random) {
    const METHODS: [&str; 4] = ["GET", "GET", "GET", "POST"];
    const PATHS: [&str; 8] = [
        "/",
        "/index.html",
        "/api/v1/orders",
        "/api/v1/orders/recent",
        "/static/css/site.css",
        "/static/js/app.js",
        "/login",
        "/health",
    ];
    const CODES: [u16; 8] = [200, 200, 200, 200, 204, 304, 404, 500];
    let bits = random.next();
    let pick = |shift: u32, length: u64| usize::try_from((bits >> shift) % length).unwrap_or(0);
    let line = format!(
        "10.{}.{}.{} - - [20/Nov/2026:{:02}:{:02}:{:02} +0000] \"{} {}?id={} HTTP/1.1\" {} {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\" {:.3}\n",
        pick(0, 4),
        pick(8, 256),
        pick(16, 256),
        pick(3, 24),
        pick(24, 60),
        pick(30, 60),
        METHODS[pick(40, 4)],
        PATHS[pick(42, 8)],
        bits >> 44,
        CODES[pick(45, 8)],
        pick(20, 50_000),
        f64::from(u16::try_from(pick(50, 4000)).unwrap_or(0)) / 1000.0,
    );
    value.extend_from_slice(line.as_bytes());
}

/// A small generator (splitmix64): load data need no better one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

#[cfg(test)]
mod tests {
    use ringmill_batch::check_produced;

    use super::*;

    #[test]
    fn text_compresses_like_logs_and_random_bytes_do_not() {
        let whole = build(100, 1000, Payload::Text, Codec::None, 0).len();
        let text = build(100, 1000, Payload::Text, Codec::Zstd, 0).len();
        let random = build(100, 1000, Payload::Random, Codec::Zstd, 0).len();
        assert!(text * 3 < whole && text * 20 > whole, "{text} of {whole}");
        assert!(random * 100 > whole * 99, "{random} of {whole}");
    }

    #[test]
    fn a_broker_would_take_the_batch() {
        let batch = build(1000, 100, Payload::Text, Codec::Lz4, 3);
        assert_eq!(check_produced(&batch).unwrap().record_count, 1000);
        assert_ne!(batch, build(1000, 100, Payload::Text, Codec::Lz4, 4));
    }
}
