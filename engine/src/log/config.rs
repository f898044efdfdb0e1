//! What a partition's log can be told, in the engine's own words; the broker maps Kafka's setting names to them.

use ringmill_batch::TimestampType;

use crate::segment::SEGMENT_BYTES_MAX;

/// The largest bound that a partition can ever have had on its unsynced bytes: they lie in one segment. Assumed when the
/// checkpoint that recorded the real one is lost.
pub const UNSYNCED_BYTES_BOUND_MAX: u64 = SEGMENT_BYTES_MAX;

/// How a log is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Segments whose last append is younger stay as they are.
    pub min_lag_ms: i64,
    /// What was appended longer ago is compacted, however little it is; segments are closed as early.
    pub max_lag_ms: i64,
    /// The part of the log, in millionths, that may be new since the last pass before the next one.
    pub dirty_millionths_max: u32,
    /// How long a tombstone stays behind the pass that first saw it.
    pub tombstones_kept_ms: i64,
}

impl Default for CompactionConfig {
    /// Kafka's.
    fn default() -> CompactionConfig {
        CompactionConfig {
            min_lag_ms: 0,
            max_lag_ms: i64::MAX,
            dirty_millionths_max: 500_000,
            tombstones_kept_ms: 24 * 60 * 60 * 1000,
        }
    }
}

/// Settings of one log; may change while it runs. The default is Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is closed before it grows past this; 1 to [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// A segment is closed this long after its first append.
    pub segment_ms: i64,
    /// Segments whose last append is older are removed; `None` keeps them.
    pub retention_ms: Option<i64>,
    /// The oldest segments are removed while the others still hold this much; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// About every so many bytes a batch gets an index entry.
    pub index_interval_bytes: u64,
    /// Whether batches keep their producer's timestamps or get the time of append.
    pub timestamp_type: TimestampType,
    /// Answer after the write, before the sync.
    pub write_caching: bool,
    /// With `write_caching`: sync at the latest this long after a write.
    pub flush_ms: i64,
    /// With `write_caching`: no more than this many bytes are ever unsynced, and a sync begins at half of it.
    pub flush_bytes: u64,
    /// Without `write_caching`: no more than this many bytes are ever written and not durable.
    pub unsynced_bytes_max: u64,
    /// A producer that is silent for so long is forgotten.
    pub producer_expiration_ms: i64,
    /// Whether, and how, only the last record of each key is kept.
    pub compaction: Option<CompactionConfig>,
}

impl LogConfig {
    /// How many bytes may be written and not durable.
    #[must_use]
    pub fn unsynced_bound(&self) -> u64 {
        let bound = if self.write_caching { self.flush_bytes } else { self.unsynced_bytes_max };
        bound.clamp(1, UNSYNCED_BYTES_BOUND_MAX)
    }

    /// How long a segment is written to: compaction reaches only closed ones.
    #[must_use]
    pub(crate) fn segment_ms(&self) -> i64 {
        self.compaction.map_or(self.segment_ms, |compaction| compaction.max_lag_ms.min(self.segment_ms))
    }

    /// The segment size that is kept to, inside what positions can say.
    #[must_use]
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.clamp(1, SEGMENT_BYTES_MAX)
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        const HOUR_MS: i64 = 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * HOUR_MS,
            retention_ms: Some(7 * 24 * HOUR_MS),
            retention_bytes: None,
            index_interval_bytes: 4096,
            timestamp_type: TimestampType::CreateTime,
            write_caching: false,
            flush_ms: 1000,
            flush_bytes: 512 << 20,
            unsynced_bytes_max: 64 << 20,
            producer_expiration_ms: 24 * HOUR_MS,
            compaction: None,
        }
    }
}
