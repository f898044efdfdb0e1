//! Says what the next start, or the first fetch, will make of a problem.
//!
//! It repeats the rules of recovery in words and decides nothing.

use super::{PartitionReport, Problem, ProblemKind};
use crate::checkpoint::CheckpointEntry;

const QUARANTINED: &str =
    "the start quarantines the partition: produce and fetch are answered with KAFKA_STORAGE_ERROR (56)";
const DAMAGED_RANGE: &str = "the start does not read so far back: the partition serves, and a fetch that meets it is answered \
                             with CORRUPT_MESSAGE (2)";
const TORN: &str = "the stop was not clean: the start takes it for a torn tail, copies it aside and cuts it, unless too many bytes of \
                    valid batches follow; then it quarantines the partition";

/// What a problem means when nothing more is known.
pub(super) fn in_general(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Index => {
            "nothing is lost: the index is rebuilt by the start, or when a fetch meets the wrong entry"
        }
        ProblemKind::Gap => "fetches that come to the missing offsets are refused",
        ProblemKind::Damage => "recovery decides: a torn tail is cut, anything else is refused",
        ProblemKind::Missing => QUARANTINED,
        ProblemKind::Unreadable => "whatever needs the file fails with what the system said",
        ProblemKind::Superblock => "the broker does not start",
        ProblemKind::Meta => QUARANTINED,
        ProblemKind::Checkpoint => "nothing is lost: the start scans all of its partitions",
        ProblemKind::Snapshot => "nothing is lost: the start replays more batches to know the producers",
        ProblemKind::Metadata => "the broker does not start: without it, it does not know its topics",
    }
}

/// Fills in what the place of each problem in its partition says.
pub(super) fn fill_in(partition: &mut PartitionReport, clean: bool, checkpoint: Option<&CheckpointEntry>) {
    let recovery_point = checkpoint.map(|entry| entry.recovery_point);
    let segments = partition.segments.clone();
    for problem in &mut partition.problems {
        let Some(place) = segments.iter().position(|segment| segment.path == problem.file) else { continue };
        let next_base = segments.get(place + 1).map(|next| next.base_offset);
        problem.meaning = match (problem.kind, next_base) {
            (ProblemKind::Gap, _) if begins_segment(problem, place) => QUARANTINED,
            (ProblemKind::Damage, Some(next)) if recovery_point.is_some_and(|point| next <= point) => DAMAGED_RANGE,
            (ProblemKind::Damage, Some(_)) => QUARANTINED,
            (ProblemKind::Damage, None) if clean && recovery_point.is_some() => {
                "the start reads headers only up to the recovery point: it quarantines the partition if it cannot walk them, else a \
                 fetch that meets it is answered with CORRUPT_MESSAGE (2)"
            }
            (ProblemKind::Damage, None) if clean => QUARANTINED,
            (ProblemKind::Damage, None) => TORN,
            _ => problem.meaning,
        };
    }
}

/// Whether offsets are missing before a segment, and not inside one.
fn begins_segment(problem: &Problem, place: usize) -> bool {
    place > 0 && problem.position == 0
}
