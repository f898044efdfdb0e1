//! Whether a record or a batch survives a pass.
//!
//! Pure: the map says where a key stands last in the part that was mapped, in front of which no key stands twice.

use std::collections::BTreeSet;

use ringmill_batch::{BatchHeader, Offset, Record};

use super::offset_map::OffsetMap;
use super::settled::Settled;

/// What one pass goes by.
#[derive(Debug)]
pub(crate) struct Judge {
    /// The last offset of each key between the clean part of the log and `end`.
    pub(crate) map: OffsetMap,
    /// What is known of batches there without asking it.
    pub(crate) settled: Settled,
    /// What stands from here on was not mapped, and stays as it is.
    pub(crate) end: Offset,
    /// A batch with more records is not read: its keys might not fit into the map, ever. Should a later program have more, what such a
    /// batch has superseded would still be there.
    pub(crate) records_max: usize,
    /// The broker's time at the beginning of the pass.
    pub(crate) now_ms: i64,
    /// Where the newest batch of each idempotent producer begins, and its newest durable one.
    pub(crate) newest: BTreeSet<Offset>,
    /// Whether everything in front has been cleaned: else a value would come back with its tombstone gone.
    pub(crate) tombstones_may_go: bool,
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchFate {
    /// It stays as it is.
    Keep,
    /// It stays as it is, and so does every tombstone behind it: which keys are in it is not known.
    KeepUnread,
    /// Its records are judged one by one.
    Judge,
    /// Its offsets are all that stays.
    Cover,
}

impl Judge {
    /// Judges a batch by its header.
    pub(crate) fn batch(&self, header: &BatchHeader) -> BatchFate {
        if header.base_offset >= self.end || header.is_control() {
            return BatchFate::Keep;
        }
        if header.record_count == 0 {
            return if self.holds_last_sequence(header) { BatchFate::Keep } else { BatchFate::Cover };
        }
        // Whether its records count is known once transactions exist.
        let records = usize::try_from(header.record_count).expect("a count is never negative");
        let is_unread = header.is_transactional() || records > self.records_max;
        if is_unread { BatchFate::KeepUnread } else { BatchFate::Judge }
    }

    /// What stands against reading a batch that is [`BatchFate::KeepUnread`].
    pub(crate) fn why_unread(&self, header: &BatchHeader) -> String {
        if header.is_transactional() {
            return "it belongs to a transaction".to_owned();
        }
        format!("it has {} records, {} at most fit into the map", header.record_count, self.records_max)
    }

    /// Whether the batch is the newest of its producer: a repeat of it, or what follows on it, is known by its header.
    pub(crate) fn holds_last_sequence(&self, header: &BatchHeader) -> bool {
        header.has_producer() && self.newest.contains(&header.base_offset)
    }

    /// Whether a record of the batch stays; `last` is where the map has its key last.
    pub(crate) fn keeps(&self, header: &BatchHeader, record: &Record<'_>, last: Option<Offset>) -> bool {
        // As Kafka does: without a key it can be nobody's last. Such records are of a time before the topic was compacted.
        if record.key.is_none() || last.is_some_and(|last| last > record.offset) {
            return false;
        }
        let is_expired = header.delete_horizon_ms().is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        record.value.is_some() || !(self.tombstones_may_go && is_expired)
    }
}
