//! The compacted topic: few keys, segments that close after some milliseconds, and a cleaner that hardly rests, so that kills and cuts
//! find it at work.

use ringmill_checker::Event;

use super::Plan;
use super::ledger::Ledger;
use super::producer::Sizes;

/// What brokers are set to, so that the topic is compacted while they live.
pub(crate) const CLEANER_BACKOFF: &str = "broker.log.cleaner.backoff.ms=5";

/// Tombstones are shown for `delete.retention.ms`; half of it is promised here, for the broker goes by the time of day.
const TOMBSTONES_KEPT_US: u64 = 100_000;

pub(super) const PLAN: Plan = Plan {
    name: "compacted",
    partitions: 1,
    caching: false,
    retained_records_min: None,
    trimmed: true,
    sizes: Sizes { records_per_batch_max: 6, value_bytes_max: 300, large_once_in: 500, keys: Some(200) },
    configs: &[
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "30"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("delete.retention.ms", "200"),
    ],
};

/// Says how a topic that was just announced is compacted, if it is.
pub(super) fn announce(ledger: &Ledger, topic: u32, plan: &Plan) {
    if let Some(keys) = plan.sizes.keys {
        ledger.put(Event::Compacted { topic, keys, tombstones_kept_us: TOMBSTONES_KEPT_US });
    }
}
