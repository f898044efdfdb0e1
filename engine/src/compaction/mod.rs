//! What compaction decides, apart from all I/O: which record of a key is the last, which records go, which segments become one.
//!
//! Kafka's semantics: of each key the last record stays; one without a value, a tombstone, goes `delete.retention.ms` after the pass that
//! first saw it (KIP-534). The log reads, writes and swaps (`log/compact.rs`); memory is the map's, the bits' of
//! what the mapping has settled, and one batch's.

pub(crate) mod checkpoint;
pub(crate) mod fate;
pub(crate) mod group;
pub(crate) mod offset_map;
pub(crate) mod settled;

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

impl CompactionLimits {
    /// 32 MiB for the map (1.2 million keys), so that a pass keeps to 64 MB with all else that it needs and what the allocator holds back; at
    /// most 64 MiB for a batch.
    #[must_use]
    pub fn new(hash_key: [u64; 2]) -> CompactionLimits {
        CompactionLimits { map_bytes: 32 << 20, decompressed_bytes_max: 64 << 20, hash_key }
    }
}
