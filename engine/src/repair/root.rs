//! What mends the data directory's own files, and what is known of its partitions from beside them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ringmill_batch::Offset;

use super::{Known, Plan, Step};
use crate::checkpoint::{self, CheckpointEntry};
use crate::disk::{Disk, block_on};
use crate::log::Identity;
use crate::partition_meta::PartitionMeta;
use crate::verify::{Problem, ProblemKind, Segments, files};

/// Plans for damaged checkpoints and the superblock.
pub(super) fn plan(problems: Vec<Problem>, known: &Known, plan: &mut Plan) {
    for problem in problems {
        match (problem.kind, &known.superblock) {
            (ProblemKind::Checkpoint, _) => {
                plan.add(
                    problem.file,
                    "removed: the next start scans its partitions and writes a new one",
                    Step::Remove,
                );
            }
            (ProblemKind::Superblock, Some(superblock)) => {
                let what = format!(
                    "made anew for node.id {} of the metadata's cluster; the next start recovers as after a crash",
                    superblock.node_id
                );
                plan.add(problem.file, what, Step::Replace(superblock.to_file().to_vec()));
            }
            _ => plan.left.push(problem),
        }
    }
}

/// Partitions of which not even the directory is there.
pub(super) fn add_missing_directories(directories: &mut Vec<(PathBuf, Segments)>, root: &Path, known: &Known) {
    for name in known.identities.keys() {
        let directory = root.join(name);
        if !directories.iter().any(|(there, _)| *there == directory) {
            directories.push((directory, Segments::new()));
        }
    }
    directories.sort();
}

/// The identity of the partition in the directory `name`, by another partition of its topic that knows the topic's id.
pub(super) fn sibling_identity(disk: &dyn Disk, root: &Path, name: &str) -> Option<Identity> {
    let (topic, partition) = name.rsplit_once('-')?;
    let partition = partition.parse().ok()?;
    for other in files::names(root).ok()? {
        let is_sibling =
            other.rsplit_once('-').is_some_and(|(same, index)| same == topic && index.parse::<i32>().is_ok());
        if is_sibling
            && other != name
            && let Ok(meta) = block_on(disk, PartitionMeta::read(disk, &root.join(&other)))
        {
            return Some(Identity { topic_id: meta.identity.topic_id, partition });
        }
    }
    None
}

/// Checkpoint entries that must say something else after the repair.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// By topic and number: the segments that will be there.
    segments: BTreeMap<([u8; 16], i32), Vec<Offset>>,
}

impl Checkpoints {
    /// The partition will have these segments and no other.
    pub(super) fn will_have(&mut self, id: Identity, segments: Vec<Offset>) {
        self.segments.insert((id.topic_id, id.partition), segments);
    }

    /// Plans the checkpoints without segments that are gone: a start would go on missing them.
    pub(super) fn plan(self, disk: &dyn Disk, root: &Path, plan: &mut Plan) -> io::Result<()> {
        for name in files::names(root)? {
            let file = root.join(&name);
            if !checkpoint::is_checkpoint(&name) {
                continue;
            }
            let Ok(before) = block_on(disk, checkpoint::read(disk, &file)) else { continue };
            let mut after = before.clone();
            after.iter_mut().for_each(|entry| self.correct(entry));
            if after != before {
                let what = "segments that do not exist any more are taken out of it";
                plan.add(file, what, Step::Replace(checkpoint::to_file(&after).to_vec()));
            }
        }
        Ok(())
    }

    fn correct(&self, entry: &mut CheckpointEntry) {
        if let Some(segments) = self.segments.get(&(entry.topic_id, entry.partition)) {
            entry.segments.retain(|known| segments.contains(&known.base_offset));
        }
    }
}
