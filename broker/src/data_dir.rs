//! The names inside the data directory that belong to topics, and what is done at start with those that belong to none.
//!
//! Lock, superblock and small files are the engine's. A directory that no topic claims is moved aside, never deleted blindly: removed
//! is only what a deletion has renamed, or what says of itself that it belongs to a topic whose deletion is durable. Called by the
//! composition root before any partition is opened, and by the cores.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use ringmill_engine::disk::Disk;
use ringmill_engine::partition_meta::PartitionMeta;

use crate::core::hosting::PartitionId;
use crate::metadata::TopicId;

/// Where directories of no topic are moved to.
pub const ORPHANS_DIR: &str = "orphans";

const DELETED_SUFFIX: &str = ".deleted";

/// What an orphan keeps of its name: a directory's name has at most 255 bytes, and a number comes behind it.
const ORPHAN_NAME_BYTES_MAX: usize = 244;

/// The directory of a partition: `<topic>-<partition>`, as Kafka names it.
#[must_use]
pub fn partition_dir_name(topic_name: &str, index: i32) -> String {
    format!("{topic_name}-{index}")
}

/// What a deleted partition's directory is called until its files are gone. Without the topic's name, which may be as long as a
/// directory's name can be; no partition's directory ends in the suffix.
#[must_use]
pub(crate) fn deleted_name(partition: PartitionId) -> String {
    let PartitionId { topic, index } = partition;
    format!("{}-{index}{DELETED_SUFFIX}", uuid::Uuid::from_bytes(topic).simple())
}

/// Whether `name` is what a partition's directory could be called.
fn is_partition_dir_name(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(topic, index)| {
        !topic.is_empty() && !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether any partition's directory lies in the data directory.
///
/// # Errors
/// When the directory cannot be listed.
pub async fn holds_partitions(disk: &dyn Disk, data_dir: &Path) -> io::Result<bool> {
    Ok(disk.list_dir(data_dir).await?.iter().any(|entry| entry.is_dir && is_partition_dir_name(&entry.name)))
}

/// Removes what deletions have left, those of the topics `deleted` among it, and moves other partition directories that are not
/// `claimed` aside. Names what was moved.
///
/// # Errors
/// When the directory cannot be listed, or a move fails.
pub async fn sweep(
    disk: &dyn Disk,
    data_dir: &Path,
    claimed: &BTreeSet<String>,
    deleted: &BTreeSet<TopicId>,
) -> io::Result<Vec<String>> {
    let (mut moved, mut removed) = (Vec::new(), false);
    for entry in disk.list_dir(data_dir).await? {
        if !entry.is_dir {
            continue;
        }
        if entry.name.ends_with(DELETED_SUFFIX) {
            // The deletion was committed and the name given up: finishing it is all that is left.
            remove_tree(disk, &data_dir.join(&entry.name)).await?;
            removed = true;
        } else if is_partition_dir_name(&entry.name) && !claimed.contains(&entry.name) {
            let dir = data_dir.join(&entry.name);
            // Without a word about whose it is, it is nobody's to remove.
            let meta = PartitionMeta::read(disk, &dir).await;
            if meta.is_ok_and(|meta| deleted.contains(&meta.identity.topic_id)) {
                remove_tree(disk, &dir).await?;
                removed = true;
                continue;
            }
            set_aside(disk, data_dir, &entry.name).await?;
            moved.push(entry.name);
        }
    }
    if removed {
        // Whoever called will forget that they were to be removed.
        disk.sync_dir(data_dir).await?;
    }
    Ok(moved)
}

/// Moves one directory to the orphans, durably.
///
/// # Errors
/// What the system says.
pub(crate) async fn set_aside(disk: &dyn Disk, data_dir: &Path, name: &str) -> io::Result<()> {
    let orphans = data_dir.join(ORPHANS_DIR);
    match disk.create_dir(&orphans).await {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let taken: BTreeSet<String> = disk.list_dir(&orphans).await?.into_iter().map(|entry| entry.name).collect();
    // An earlier orphan of the same name keeps its place.
    let kept = &name[..name.floor_char_boundary(ORPHAN_NAME_BYTES_MAX)];
    let free = (0u32..).map(|number| format!("{kept}.{number}")).find(|candidate| !taken.contains(candidate));
    let free = free.expect("a directory holds fewer than 2^32 names");
    disk.rename(&data_dir.join(name), &orphans.join(free)).await?;
    disk.sync_dir(&orphans).await?;
    disk.sync_dir(data_dir).await
}

/// Removes a directory of files.
///
/// # Errors
/// What the system says; a directory inside it is none of ours and stops the removal.
pub(crate) async fn remove_tree(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for entry in disk.list_dir(dir).await? {
        disk.remove_file(&dir.join(&entry.name)).await?;
    }
    disk.remove_dir(dir).await
}

#[cfg(test)]
mod tests {
    use ringmill_engine::disk::block_on;
    use ringmill_engine::disk::posix::PosixDisk;

    use super::*;

    #[test]
    fn what_no_topic_claims_is_moved_and_what_was_deleted_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let deleted = deleted_name(PartitionId { topic: [7; 16], index: 0 });
        for name in ["logs-0", "lost-3", "lost+found", deleted.as_str(), "notes"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("file"), b"x").unwrap();
        }
        let disk = PosixDisk::new(1).unwrap();
        let claimed = BTreeSet::from(["logs-0".to_owned()]);
        let moved = block_on(&disk, sweep(&disk, dir.path(), &claimed, &BTreeSet::new())).unwrap();
        assert_eq!(moved, ["lost-3"]);
        assert!(dir.path().join("orphans/lost-3.0/file").exists());
        assert!(dir.path().join("logs-0/file").exists() && dir.path().join("notes/file").exists());
        assert!(!dir.path().join(deleted).exists());
        // A second orphan of the same name does not replace the first.
        std::fs::create_dir(dir.path().join("lost-3")).unwrap();
        block_on(&disk, sweep(&disk, dir.path(), &claimed, &BTreeSet::new())).unwrap();
        assert!(dir.path().join("orphans/lost-3.0/file").exists() && dir.path().join("orphans/lost-3.1").exists());
    }

    /// A name that was too long with a number behind it kept the broker from starting.
    #[test]
    fn an_orphan_with_the_longest_name_is_moved_too() {
        let dir = tempfile::tempdir().unwrap();
        let name = partition_dir_name(&"a".repeat(249), 9999);
        let disk = PosixDisk::new(1).unwrap();
        for _ in 0..2 {
            std::fs::create_dir(dir.path().join(&name)).unwrap();
            assert_eq!(
                block_on(&disk, sweep(&disk, dir.path(), &BTreeSet::new(), &BTreeSet::new())).unwrap(),
                [name.as_str()]
            );
        }
        assert_eq!(std::fs::read_dir(dir.path().join(ORPHANS_DIR)).unwrap().count(), 2);
    }

    #[test]
    fn only_a_number_behind_the_last_dash_makes_a_partition() {
        for (name, expected) in
            [("a-0", true), ("a-b-12", true), ("a", false), ("a-", false), ("-1", false), ("a-1x", false)]
        {
            assert_eq!(is_partition_dir_name(name), expected, "{name}");
        }
    }
}
