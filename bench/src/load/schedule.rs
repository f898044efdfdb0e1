//! When requests should leave: the clock decides, not the answers (an open loop).
//!
//! A broker that stalls therefore pays for every request that it kept from leaving, as it would with real producers.

use std::time::{Duration, Instant};

/// One connection's share of a steady rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    first: Instant,
    interval: Duration,
    sent: u32,
}

impl Schedule {
    /// Requests of `request_bytes` over `connections` connections that together make `rate_bytes_per_s`; the connections take turns.
    #[expect(clippy::cast_precision_loss, reason = "sizes and rates stay far below 2^53")]
    pub(crate) fn new(
        now: Instant,
        rate_bytes_per_s: u64,
        request_bytes: u64,
        connections: u32,
        connection: u32,
    ) -> Schedule {
        let turn = Duration::from_secs_f64(request_bytes as f64 / rate_bytes_per_s as f64);
        Schedule { first: now + turn * connection, interval: turn * connections, sent: 0 }
    }

    /// When the next request should leave.
    pub(crate) fn next(&self) -> Instant {
        self.first + self.interval * self.sent
    }

    /// Goes on to the one after it.
    pub(crate) fn advance(&mut self) {
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns_and_keep_the_rate() {
        let now = Instant::now();
        // 50 MB/s in requests of 100 KB: one every 2 ms, so one every 4 ms on each of two connections.
        let mut second = Schedule::new(now, 50_000_000, 100_000, 2, 1);
        assert_eq!(second.next(), now + Duration::from_millis(2));
        second.advance();
        assert_eq!(second.next(), now + Duration::from_millis(6));
    }
}
