//! What compaction decides, apart from all I/O: which record of a key is the last, which records go, which segments become one.
//!
//! Kafka's semantics: of each key the last record stays; one without a value, a tombstone, goes `delete.retention.ms` after the pass that
//! first saw it (KIP-534). The log reads, writes and swaps (`log/compact_pass.rs` and those beside it); memory is the map's, the bits' of
//! what the mapping has settled, and one batch's.

pub(crate) mod checkpoint;
pub(crate) mod fate;
pub(crate) mod group;
pub(crate) mod offset_map;
pub(crate) mod settled;

use offset_map::OffsetMap;
use ringmill_batch::DecompressLimit;

/// What a pass may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionLimits {
    /// Memory for the map of keys: 20 bytes for each of its places, three quarters of which are used. A log with more keys that are new to
    /// it takes several passes.
    pub map_bytes: usize,
    /// A batch whose records take more, decompressed, stays as it is.
    pub decompressed_bytes_max: usize,
    /// Keys the hash, so that nobody outside can choose keys that fall on one another.
    pub hash_key: [u64; 2],
}

/// For the map, so that a pass keeps to 64 MB with all else that it needs and what the allocator holds back: 1.2 million keys.
const MAP_BYTES: usize = 32 << 20;

/// What the records of a batch may grow to, however well they are compressed.
const RATIO_MAX: usize = 1100;

impl CompactionLimits {
    /// A batch whose records take more, decompressed, is never compacted. Whoever takes batches for a compacted log refuses it, for no
    /// tombstone behind it would ever go.
    pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

    /// The same of one with more records: their keys might not fit into the map, ever.
    pub const RECORDS_MAX: usize = OffsetMap::keys_max(MAP_BYTES);

    /// The broker's.
    #[must_use]
    pub fn new(hash_key: [u64; 2]) -> CompactionLimits {
        CompactionLimits { map_bytes: MAP_BYTES, decompressed_bytes_max: Self::DECOMPRESSED_BYTES_MAX, hash_key }
    }

    /// What a pass may make of a batch's compressed records, where they may take `decompressed_bytes_max`.
    #[must_use]
    pub fn decompress(decompressed_bytes_max: usize) -> DecompressLimit {
        DecompressLimit {
            output_bytes_max: decompressed_bytes_max,
            ratio_max: RATIO_MAX,
            ratio_free_bytes: decompressed_bytes_max.min(16 << 20),
        }
    }
}
