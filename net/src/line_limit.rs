//! How often strangers may make this process write a log line: the first ones at once, then one a second, each with the number of those
//! that were left out. Else whoever connects often enough fills the disk of whoever logs.
//!
//! One for each place that logs what peers do, on each core; it knows nothing of what the lines say.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Lines that may follow one another at once.
const BURST_LINES: u32 = 20;

/// After a burst, one line is allowed again in each of these.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// A place that logs.
#[derive(Debug)]
pub struct LineLimit {
    allowed: Cell<u32>,
    refilled: Cell<Instant>,
    left_out: Cell<u64>,
}

/// A line that may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// How many were left out since the last; none where it is the next.
    pub left_out: Option<u64>,
}

impl LineLimit {
    /// A burst may come at once.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it reads the clock")]
    pub fn new() -> LineLimit {
        LineLimit { allowed: Cell::new(BURST_LINES), refilled: Cell::new(Instant::now()), left_out: Cell::new(0) }
    }

    /// Whether a line may be written now.
    #[must_use]
    pub fn line(&self) -> Option<Line> {
        let now = Instant::now();
        let intervals = (now - self.refilled.get()).as_millis() / LINE_INTERVAL.as_millis();
        if intervals > 0 {
            let more = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.allowed.set(self.allowed.get().saturating_add(more).min(BURST_LINES));
            self.refilled.set(now);
        }
        match self.allowed.get().checked_sub(1) {
            Some(left) => {
                self.allowed.set(left);
                Some(Line { left_out: Some(self.left_out.take()).filter(|lines| *lines > 0) })
            }
            None => {
                self.left_out.set(self.left_out.get() + 1);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_lines_becomes_one_a_second_that_counts_the_others() {
        let limit = LineLimit::new();
        let lines = (0..1000).filter_map(|_| limit.line()).count();
        assert_eq!(lines, 20);
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert_eq!(limit.line(), Some(Line { left_out: Some(980) }));
        assert_eq!(limit.line(), None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(limit.line(), Some(Line { left_out: Some(1) }));
        assert_eq!((0..1000).filter_map(|_| limit.line()).count(), 19, "an hour's silence is no more than a burst");
    }
}
