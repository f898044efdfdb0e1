//! Checks the small files: superblock, checkpoints, `partition.meta`, producer snapshots; and names what only lies about.
//!
//! A file that is missing because it was never written, or that a start rebuilds without a word, is no problem.

use std::fs;
use std::io;
use std::path::Path;

use super::{Leftover, Problem, ProblemKind, Problems, Report, SegmentReport};
use crate::checkpoint::{self, CheckpointEntry};
use crate::data_dir::durable_file::ReadError;
use crate::data_dir::{SUPERBLOCK_FILE, Superblock};
use crate::disk::{Disk, block_on};
use crate::log::producers;
use crate::partition_meta::PartitionMeta;
use crate::segment::file::{self, FileKind};

/// Where `ringmill log repair` keeps what it changes, followed by a number.
pub(crate) const COPIES_PREFIX: &str = "before-repair.";

/// Reads the superblock of `root`. One that is not there is a problem only beside checkpoints.
pub(super) fn superblock(disk: &dyn Disk, root: &Path, into: &mut Report) -> Option<Superblock> {
    let read = block_on(disk, Superblock::read(disk, root));
    let file = root.join(SUPERBLOCK_FILE);
    let mut problems = Problems::of(&file, &mut into.problems);
    match read {
        Ok(superblock) => {
            into.files_checked += 1;
            return Some(superblock);
        }
        Err(ReadError::Missing { .. }) if !holds_checkpoint(root) => {}
        Err(ReadError::Missing { .. }) => {
            problems.add(ProblemKind::Superblock, 0, "there is none, and checkpoints of a broker lie beside it");
        }
        Err(error) => problems.add(kind_of(&error, ProblemKind::Superblock), 0, reason(error)),
    }
    None
}

fn holds_checkpoint(root: &Path) -> bool {
    let names = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_str().is_some_and(checkpoint::is_checkpoint))
}

/// Reads the checkpoints of all cores and merges them.
pub(super) fn checkpoints(disk: &dyn Disk, root: &Path, into: &mut Report) -> io::Result<Vec<CheckpointEntry>> {
    let mut entries = Vec::new();
    for name in names(root)? {
        if !checkpoint::is_checkpoint(&name) {
            continue;
        }
        let file = root.join(&name);
        match block_on(disk, checkpoint::read(disk, &file)) {
            Ok(found) => {
                into.files_checked += 1;
                entries.extend(found);
            }
            Err(error) => {
                let mut problems = Problems::of(&file, &mut into.problems);
                problems.add(kind_of(&error, ProblemKind::Checkpoint), 0, reason(error));
            }
        }
    }
    Ok(checkpoint::merge(entries))
}

/// Reads a partition's meta. Kafka's own directories have none, so that it must be there only in a data directory.
pub(crate) fn meta(
    disk: &dyn Disk,
    directory: &Path,
    must_exist: bool,
    into: &mut Vec<Problem>,
) -> Option<PartitionMeta> {
    let file = PartitionMeta::path(directory);
    let mut problems = Problems::of(&file, into);
    match block_on(disk, PartitionMeta::read(disk, directory)) {
        Ok(meta) => return Some(meta),
        Err(ReadError::Missing { .. }) if !must_exist => {}
        Err(ReadError::Missing { .. }) => problems.add(ProblemKind::Meta, 0, "it does not exist"),
        Err(error) => problems.add(kind_of(&error, ProblemKind::Meta), 0, reason(error)),
    }
    None
}

/// Reads the producer snapshots of a partition; gives how many are well.
pub(crate) fn snapshots(disk: &dyn Disk, directory: &Path, into: &mut Vec<Problem>) -> io::Result<u64> {
    let mut checked = 0;
    for name in names(directory)? {
        if !file::parse(&name).is_some_and(|(_, kind)| kind == FileKind::Producers) {
            continue;
        }
        let file = directory.join(&name);
        match block_on(disk, producers::read_snapshot(disk, &file)) {
            Ok(_) => checked += 1,
            Err(error) => {
                Problems::of(&file, into).add(kind_of(&error, ProblemKind::Snapshot), 0, reason(error));
            }
        }
    }
    Ok(checked)
}

/// Compares the segments that are there with what meta and checkpoint say must be.
pub(crate) fn presence(
    directory: &Path,
    segments: &[SegmentReport],
    meta: &PartitionMeta,
    checkpoint: Option<&CheckpointEntry>,
    into: &mut Vec<Problem>,
) {
    let path_of = |base| file::path(directory, base, FileKind::Log);
    let first = segments.first().map(|segment| segment.base_offset);
    match first {
        Some(first) if first > meta.log_start => {
            let what = format!("the log starts at offset {}, its first segment at {first}", meta.log_start);
            Problems::of(&path_of(meta.log_start), into).add(ProblemKind::Missing, 0, what);
        }
        None if meta.log_start.get() > 0 => {
            let what = format!("the log starts at offset {} and has no segment at all", meta.log_start);
            Problems::of(&path_of(meta.log_start), into).add(ProblemKind::Missing, 0, what);
        }
        _ => {}
    }
    let Some(checkpoint) = checkpoint else { return };
    for known in &checkpoint.segments {
        let is_kept = first.is_none_or(|first| known.base_offset >= first);
        // One that begins inside another has been joined to it by a compaction since.
        let holds = |segment: &SegmentReport| {
            segment.base_offset <= known.base_offset && known.base_offset < segment.next_offset
        };
        let is_there = segments.iter().any(|segment| segment.base_offset == known.base_offset || holds(segment));
        if is_kept && known.base_offset < checkpoint.recovery_point && !is_there {
            let what = "the recovery checkpoint lists this segment, and it does not exist";
            Problems::of(&path_of(known.base_offset), into).add(ProblemKind::Missing, 0, what);
        }
    }
    if let Some(last) = segments.last().filter(|last| last.next_offset < checkpoint.recovery_point) {
        let what = format!(
            "the log ends at offset {}, and everything before {} was durable",
            last.next_offset, checkpoint.recovery_point
        );
        Problems::of(&last.path, into).add(ProblemKind::Damage, last.bytes, what);
    }
}

/// What lies in a data directory beside partitions and small files.
pub(super) fn leftovers_of_data_dir(root: &Path) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for name in names(root)? {
        let what = if name.ends_with(".tmp") {
            "temporary of a write that a stop cut off; the next such write replaces it"
        } else if name.ends_with(".deleted") {
            "a deleted topic's partition; the next start removes it"
        } else if name == "orphans" {
            "partition directories of no topic, moved aside by a start; remove them when nobody misses them"
        } else if name.starts_with(COPIES_PREFIX) {
            "what a repair changed, as it was before; remove it when nobody misses it"
        } else {
            continue;
        };
        found.push(Leftover { file: root.join(name), what });
    }
    Ok(found)
}

/// What lies in a partition's directory beside its files.
pub(super) fn leftovers_of_partition(directory: &Path) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for name in names(directory)? {
        let what = if name.ends_with(".tmp") {
            "temporary of a write that a stop cut off; the next such write replaces it, or the next start removes it"
        } else if name.ends_with(".swap") {
            "a compacted segment that a stop has kept from its place; the next start puts it there"
        } else if name.ends_with(".torn") {
            "a torn tail that recovery cut, as it was; remove it when nobody misses it"
        } else {
            continue;
        };
        found.push(Leftover { file: directory.join(name), what });
    }
    Ok(found)
}

/// The names in a directory, in order.
pub(crate) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // A name that is no text is none of ours.
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// A newer program's file and a device's refusal are no damage that could be mended here.
pub(crate) fn kind_of(error: &ReadError, damaged: ProblemKind) -> ProblemKind {
    match error {
        ReadError::Missing { .. } | ReadError::Damaged { .. } => damaged,
        ReadError::Newer { .. } | ReadError::Io { .. } => ProblemKind::Unreadable,
    }
}

/// The error without the path, which the problem names.
fn reason(error: ReadError) -> String {
    match error {
        ReadError::Missing { .. } => "it does not exist".to_owned(),
        ReadError::Damaged { why, .. } => why,
        ReadError::Newer { found, known, .. } => format!("it has version {found}, this program reads up to {known}"),
        ReadError::Io { source, .. } => source.to_string(),
    }
}
