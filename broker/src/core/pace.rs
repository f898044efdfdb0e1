//! Keeps background work to so many bytes a second.

use std::time::Duration;

use tokio::time::Instant;

/// How soon a change of the rate counts, however much there is to wait for.
const RATE_LOOKED_AT: Duration = Duration::from_secs(1);

/// What is done and not yet waited for. Nothing is saved up: what did not come in its time is not made up for by going faster.
#[derive(Debug)]
pub(super) struct Pacer {
    owed_bytes: u64,
    paid_at: Instant,
}

impl Pacer {
    pub(super) fn new() -> Pacer {
        Pacer { owed_bytes: 0, paid_at: Instant::now() }
    }

    /// Returns when so many more bytes may have been worked on at what `rate` says by then, in bytes per second; `None`: at any rate.
    pub(super) async fn keep_to(&mut self, rate: impl Fn() -> Option<u64>, bytes: u64) {
        self.owed_bytes = self.owed_bytes.saturating_add(bytes);
        while let Some(bytes_per_second) = rate() {
            let micros = self.owed_bytes.saturating_mul(1_000_000) / bytes_per_second.max(1);
            let now = Instant::now();
            let waited = now.saturating_duration_since(self.paid_at);
            let Some(left) = Duration::from_micros(micros).checked_sub(waited).filter(|left| !left.is_zero()) else {
                break;
            };
            let paid_bytes = waited.as_micros().saturating_mul(u128::from(bytes_per_second)) / 1_000_000;
            // Less than what is owed, or nothing would be left to wait for.
            self.owed_bytes -= u64::try_from(paid_bytes).unwrap_or(u64::MAX).min(self.owed_bytes);
            self.paid_at = now;
            tokio::time::sleep(left.min(RATE_LOOKED_AT)).await;
        }
        *self = Pacer::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Between two numbers, for a timer has a granularity of 1 ms.
    fn assert_about(took: Duration, least_ms: u64) {
        let range = Duration::from_millis(least_ms)..Duration::from_millis(least_ms + 2);
        assert!(range.contains(&took), "{took:?} is not {least_ms} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn work_takes_the_time_that_its_bytes_may() {
        let begun = Instant::now();
        let mut pacer = Pacer::new();
        for _ in 0..10 {
            pacer.keep_to(|| Some(1000), 700).await;
        }
        assert_about(begun.elapsed(), 7000);
        // What the work itself took counts, too, but leaves nothing over for the next.
        tokio::time::sleep(Duration::from_millis(400)).await;
        pacer.keep_to(|| Some(1000), 500).await;
        assert_about(begun.elapsed(), 7500);
        tokio::time::sleep(Duration::from_secs(50)).await;
        pacer.keep_to(|| Some(1000), 500).await;
        pacer.keep_to(|| Some(1000), 500).await;
        assert_about(begun.elapsed(), 58_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_rate_counts_within_a_second() {
        let rate = Cell::new(Some(1));
        let begun = Instant::now();
        let mut pacer = Pacer::new();
        let change = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            rate.set(Some(1000));
        };
        tokio::join!(pacer.keep_to(|| rate.get(), 3000), change);
        // It is noticed after two seconds, and counts for the second of them: a byte and a thousand are paid for by then.
        assert_about(begun.elapsed(), 3999);

        rate.set(None);
        pacer.keep_to(|| rate.get(), u64::MAX).await;
        assert_about(begun.elapsed(), 3999);
    }
}
