//! What a shard is made with: what the broker's settings and its partition's leave to it, and a seed.

use std::sync::Arc;

use ringmill_engine::log::LogReader;
use ringmill_groups::Settings;

use super::Host;
use crate::core::Core;

/// The smallest that the topic of offsets can have been made with.
const SEGMENT_BYTES_MIN: usize = 1 << 20;

impl Host {
    /// What groups go by, with this shard's part of the memory, and no group larger than the log can store.
    pub(super) fn settings(&self, core: &Core) -> Arc<Settings> {
        let image = core.metadata();
        let shards =
            image.topic_by_id(&self.partition.topic).map_or(1, |topic| topic.partition_count.unsigned_abs().max(1));
        let shard_bytes_max = core.shared().config.groups.memory_bytes / shards as usize;
        let group_bytes_max = self.segment_bytes(core) / 2;
        Arc::new(Settings { shard_bytes_max, group_bytes_max, ..Settings::clone(image.running().groups()) })
    }

    /// The largest batch that the partition takes.
    pub(super) fn segment_bytes(&self, core: &Core) -> usize {
        let image = core.metadata();
        let configured = image.topic_by_id(&self.partition.topic).map(|topic| topic.config.segment_bytes);
        configured.map_or(SEGMENT_BYTES_MIN, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Unlike that of any other shard, and of this one in another life.
    pub(super) fn seed(&self, core: &Core, reader: &LogReader) -> u64 {
        let topic = self.partition.topic.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let life = core.shared().clock.now_ms().cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let end = reader.watermarks().high_watermark.get().cast_unsigned();
        topic ^ life ^ end.rotate_left(32) ^ u64::from(self.partition.index.unsigned_abs())
    }
}
