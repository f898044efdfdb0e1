//! What became of the records: counts, the first line that failed, and the sentence about it all at the end.
//!
//! The producer's task reports each record here; `produce` reads it out.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringmill_net::client::ClientError;
use ringmill_net::wire::ErrorCode;

/// A line of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineAt {
    pub(super) source: usize,
    /// From 1.
    pub(super) line: u64,
}

/// Counts what was handed to the producer and what came back.
pub(super) struct Deliveries {
    names: Vec<Arc<str>>,
    began: Instant,
    delivered: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    /// The failure of the earliest line that failed.
    first_failure: Mutex<Option<(LineAt, ClientError)>>,
    /// The last line of each input that was handed over; 0 for none.
    read_up_to: Vec<AtomicU64>,
}

impl Deliveries {
    pub(super) fn new(names: Vec<Arc<str>>, now: Instant) -> Deliveries {
        Deliveries {
            read_up_to: names.iter().map(|_| AtomicU64::new(0)).collect(),
            names,
            began: now,
            delivered: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            first_failure: Mutex::new(None),
        }
    }

    /// The producer has the line.
    pub(super) fn handed_over(&self, at: LineAt) {
        self.read_up_to[at.source].fetch_max(at.line, Ordering::Relaxed);
    }

    /// The producer says what became of it.
    pub(super) fn reported(&self, at: LineAt, record_bytes: u64, fate: Result<(), ClientError>) {
        match fate {
            Ok(()) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(record_bytes, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let mut first = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
                if first.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
                    *first = Some((at, error));
                }
            }
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) > 0
    }

    /// The earliest failure, and a sentence that says where, why and what can be done.
    pub(super) fn failure(&self, topic: &str) -> Option<(ClientError, String)> {
        let first = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (at, error) = first?;
        let advice = match &error {
            ClientError::Refused { code: ErrorCode::MessageTooLarge, .. } => format!(
                "; where the topic's max.message.bytes is the limit, `ringmill topic config {topic} --set max.message.bytes=N` raises it"
            ),
            _ => String::new(),
        };
        let (place, counts, read) = (self.place(at), self.counts(), self.read_up_to());
        let message = format!("{place} was not delivered: {error}{advice}; {counts}; read {read}");
        Some((error, message))
    }

    /// A line by its input's name.
    pub(super) fn place(&self, LineAt { source, line }: LineAt) -> String {
        format!("line {line} of {}", self.names[source])
    }

    /// How many records were delivered, and how many were not.
    pub(super) fn counts(&self) -> String {
        let delivered = records(self.delivered.load(Ordering::Relaxed));
        match self.failed.load(Ordering::Relaxed) {
            0 => format!("{delivered} delivered"),
            failed => format!("{delivered} delivered, {failed} not"),
        }
    }

    /// How far each input was read.
    pub(super) fn read_up_to(&self) -> String {
        let mut text = String::new();
        for (name, line) in self.names.iter().zip(&self.read_up_to) {
            let line = line.load(Ordering::Relaxed);
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{name} up to line {line}");
        }
        text
    }

    /// The sentence at the end.
    pub(super) fn summary(&self, topic: &str, acknowledged: bool, now: Instant) -> String {
        let verb = if acknowledged { "delivered to" } else { "sent without asking for an answer to" };
        let records = records(self.delivered.load(Ordering::Relaxed));
        let seconds = now.duration_since(self.began).max(Duration::from_millis(1)).as_secs_f64();
        let bytes = self.bytes.load(Ordering::Relaxed);
        format!("{records} ({}) {verb} {topic} in {seconds:.3} s", indicatif::DecimalBytes(bytes))
    }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_failure_is_told_with_its_line() {
        let now = Instant::now();
        let deliveries = Deliveries::new(vec!["a.log".into(), "b.log".into()], now);
        let at = |source, line| LineAt { source, line };
        let too_large =
            || ClientError::Refused { what: "a batch".to_owned(), code: ErrorCode::MessageTooLarge, message: None };
        deliveries.handed_over(at(1, 3));
        deliveries.reported(at(1, 1), 10, Ok(()));
        deliveries.reported(at(1, 3), 10, Err(ClientError::Closed));
        deliveries.reported(at(0, 9), 10, Err(too_large()));
        deliveries.reported(at(0, 10), 10, Err(ClientError::Closed));
        let (_, message) = deliveries.failure("logs").unwrap();
        assert!(message.starts_with("line 9 of a.log was not delivered: a batch: MESSAGE_TOO_LARGE"), "{message}");
        assert!(message.contains("`ringmill topic config logs --set max.message.bytes=N`"), "{message}");
        let end = "; 1 record delivered, 3 not; read a.log up to line 0, b.log up to line 3";
        assert!(message.ends_with(end), "{message}");
        assert_eq!(deliveries.read_up_to(), "a.log up to line 0, b.log up to line 3");
        assert_eq!(deliveries.summary("logs", true, now), "1 record (10 B) delivered to logs in 0.001 s");
    }
}
