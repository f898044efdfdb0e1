//! What is decided before the cores run: which partition goes to which core, and what is known about it from the last run.
//!
//! Pure bookkeeping over the metadata image and the data directory; the composition root and the simulation call it with their disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use ringmill_engine::checkpoint;
use ringmill_engine::disk::Disk;
use ringmill_engine::log::StartInfo;

use crate::core::mailbox::NewPartition;
use crate::data_dir;
use crate::metadata::MetadataImage;
use crate::topics::partitions_by_core;

/// What each core opens, by its number.
pub type Plan = Vec<Vec<(NewPartition, StartInfo)>>;

/// Tidies the data directory and shares the partitions out to `cores` cores. `clean` is the superblock's word about the last stop.
///
/// # Errors
/// When the data directory cannot be read or tidied.
pub async fn plan(disk: &dyn Disk, dir: &Path, image: &MetadataImage, cores: usize, clean: bool) -> io::Result<Plan> {
    let mut claimed = BTreeSet::new();
    for topic in image.topics() {
        claimed.extend((0..topic.partition_count).map(|index| data_dir::partition_dir_name(&topic.name, index)));
    }
    for directory in data_dir::sweep(disk, dir, &claimed, image.unfinished_deletions()).await? {
        let to = data_dir::ORPHANS_DIR;
        tracing::warn!(directory, to, "a partition directory of no topic was moved aside");
    }
    let entries = checkpoint::read_all(disk, dir).await?;
    let mut known: BTreeMap<_, _> =
        entries.into_iter().map(|entry| ((entry.topic_id, entry.partition), entry)).collect();
    let mut plan: Plan = (0..cores).map(|_| Vec::new()).collect();
    for topic in image.topics() {
        for (core, partitions) in partitions_by_core(topic, 0, cores) {
            plan[core.0].extend(partitions.into_iter().map(|new| {
                let checkpoint = known.remove(&(new.partition.topic, new.partition.index));
                (new, StartInfo { clean, checkpoint })
            }));
        }
    }
    Ok(plan)
}
