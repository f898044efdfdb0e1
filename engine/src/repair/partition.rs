//! What mends one partition: its meta, its segments, its indexes and snapshots, in the order in which it is safe to do.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use ringmill_batch::{COVERED_OFFSETS_MAX, LeaderEpoch, Offset};

use super::root::Checkpoints;
use super::salvage::{Bounds, Piece, Salvage, salvage};
use super::{Action, Finding, Plan, Step};
use crate::checkpoint::CheckpointEntry;
use crate::disk::Disk;
use crate::epochs::EpochList;
use crate::log::swap::Swap;
use crate::log::{Identity, UNSYNCED_BYTES_BOUND_MAX};
use crate::partition_meta::PartitionMeta;
use crate::segment::SEGMENT_BYTES_MAX;
use crate::segment::file::{self, FileKind};
use crate::verify::{Problem, ProblemKind, SegmentReport, Segments, Surroundings, VerifyOptions, files, segment};

/// No believable batch of a partition without a meta has a later epoch: each takes an unclean start.
const EPOCH_MAX: i32 = 1 << 30;

/// Where a partition lies and what is known about it.
pub(super) struct Facts<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) directory: PathBuf,
    pub(super) identity: Option<Identity>,
    pub(super) surroundings: &'a Surroundings,
}

/// A segment as it will be.
struct Segment {
    base: Offset,
    end: Offset,
    last_epoch: i32,
    epochs: Vec<(i32, Offset)>,
    /// What is to be done to its file.
    action: Option<Action>,
    /// Its indexes are wrong or, where a start would take them as they are, missing.
    needs_indexes: bool,
    end_is_unknown: bool,
}

/// Adds to `plan` what mends the partition.
pub(super) fn plan(
    facts: &Facts<'_>,
    segments: Segments,
    checkpoints: &mut Checkpoints,
    plan: &mut Plan,
) -> io::Result<()> {
    let is_new = !facts.directory.is_dir();
    let mut problems = Vec::new();
    if !is_new {
        files::snapshots(facts.disk, &facts.directory, &mut problems)?;
    }
    let meta = match is_new {
        true => None,
        false => files::meta(facts.disk, &facts.directory, facts.surroundings.in_data_dir, &mut problems),
    };
    let meta_file = PartitionMeta::path(&facts.directory);
    if let Some((found, expected)) = meta.as_ref().map(|meta| meta.identity).zip(facts.identity).filter(|(a, b)| a != b)
    {
        let what = format!(
            "it belongs to {found:?}, and the metadata expects {expected:?}: the directory was put here from elsewhere"
        );
        plan.left.push(Problem::new(ProblemKind::Meta, meta_file, what));
        return Ok(());
    }
    let meta_is_lost = is_new || problems.iter().any(|problem| problem.kind == ProblemKind::Meta);
    let identity = meta.as_ref().map(|meta| meta.identity).or(facts.identity);
    for problem in problems {
        match problem.kind {
            ProblemKind::Snapshot => {
                plan.add(problem.file, "removed: the next start replays the batches", Step::Remove)
            }
            ProblemKind::Meta if identity.is_some() => {}
            _ => plan.left.push(problem),
        }
    }
    // Where whose it is stands nowhere, its segments are mended all the same, and it stays quarantined.
    let checkpoint = identity.and_then(|id| {
        let entries = &facts.surroundings.checkpoints;
        entries.iter().find(|entry| (entry.topic_id, entry.partition) == (id.topic_id, id.partition))
    });
    if is_new {
        plan.add(facts.directory.clone(), "made: the partition's directory does not exist", Step::MakeDirectory);
    }
    let mut built = Builder { facts, meta: meta.as_ref(), checkpoint, segments: Vec::new() };
    built.look_at(&segments, plan)?;
    built.add_actions(meta_is_lost, identity, checkpoints, plan);
    Ok(())
}

struct Builder<'a> {
    facts: &'a Facts<'a>,
    meta: Option<&'a PartitionMeta>,
    checkpoint: Option<&'a CheckpointEntry>,
    segments: Vec<Segment>,
}

impl Builder<'_> {
    /// Finds out what becomes of each segment, and makes those that are missing between two.
    fn look_at(&mut self, segments: &Segments, plan: &mut Plan) -> io::Result<()> {
        for (number, (base, log)) in segments.iter().enumerate() {
            let next_base = segments.get(number + 1).map(|(next, _)| *next);
            let mut problems = Vec::new();
            let (is_newest, reigns) = (next_base.is_none(), self.meta.map(|meta| &meta.epochs));
            let report = segment::verify(log, *base, is_newest, reigns, VerifyOptions::default(), &mut problems);
            let is_short = match next_base {
                Some(next) => report.next_offset > next,
                None => self.recovery_point().is_some_and(|point| report.next_offset < point),
            };
            let in_log = |problem: &Problem| problem.file == *log;
            if std::fs::metadata(log)?.len() > SEGMENT_BYTES_MAX {
                let what = format!("it is longer than the {SEGMENT_BYTES_MAX} bytes that a segment can have");
                plan.left.push(Problem::new(ProblemKind::Damage, log.clone(), what));
                continue;
            }
            let misses_index =
                next_base.is_some() && (report.offset_entries.is_none() || report.time_entries.is_none());
            let needs_indexes = misses_index || problems.iter().any(|problem| !in_log(problem));
            if is_short || problems.iter().any(in_log) || self.goes_back(&report) {
                let found = salvage(log, self.bounds(*base, next_base))?;
                self.push_salvaged(log.clone(), *base, found, needs_indexes);
            } else {
                self.push_sound(&report, needs_indexes);
            }
            if Swap::is_path(log) {
                // Its name is not the indexes' yet. The next start gives it its place, and makes them.
                self.segments.last_mut().expect("it was pushed above").needs_indexes = false;
            }
            if let Some(next_base) = next_base {
                self.fill_up_to(next_base);
            }
        }
        self.begin_where_nothing_is();
        Ok(())
    }

    fn bounds(&self, base: Offset, next_base: Option<Offset>) -> Bounds<'_> {
        Bounds {
            base,
            next_base,
            least_epoch: self.segments.last().map_or(0, |before| before.last_epoch),
            largest_epoch: self.meta.map_or(EPOCH_MAX, |meta| meta.epochs.current().get()),
            reigns: self.meta.map(|meta| &meta.epochs),
            recovery_point: self.recovery_point(),
            unsynced_bytes_max: self.checkpoint.map_or(UNSYNCED_BYTES_BOUND_MAX, |entry| entry.unsynced_bytes_max),
            clean: self.facts.surroundings.clean(),
        }
    }

    fn recovery_point(&self) -> Option<Offset> {
        self.checkpoint.map(|entry| entry.recovery_point)
    }

    /// Epochs that lie outside what meta and the segment before allow, which a look at one segment does not tell.
    fn goes_back(&self, report: &SegmentReport) -> bool {
        let bounds = self.bounds(report.base_offset, None);
        report.epochs.iter().any(|(epoch, _)| !(bounds.least_epoch..=bounds.largest_epoch).contains(epoch))
    }

    fn push_sound(&mut self, report: &SegmentReport, needs_indexes: bool) {
        let least = self.segments.last().map_or(0, |before| before.last_epoch);
        self.segments.push(Segment {
            base: report.base_offset,
            end: report.next_offset,
            last_epoch: report.epochs.last().map_or(least, |&(epoch, _)| epoch),
            epochs: report.epochs.clone(),
            action: None,
            needs_indexes,
            end_is_unknown: false,
        });
    }

    fn push_salvaged(&mut self, log: PathBuf, base: Offset, found: Salvage, needs_indexes: bool) {
        let Salvage { pieces, findings, end, last_epoch, epochs, end_is_unknown } = found;
        let is_changed = !findings.is_empty();
        let action = is_changed.then(|| Action {
            file: log,
            what: match findings.iter().any(|finding| finding.lost.is_some()) {
                true => {
                    "rewritten: an empty batch stands in place of what is lost, everything else stays at its offset"
                }
                false => "rewritten without what is wrong in it; no record is lost",
            }
            .to_owned(),
            findings,
            step: Step::Rewrite(pieces),
        });
        let needs_indexes = needs_indexes || is_changed;
        self.segments.push(Segment { base, end, last_epoch, epochs, action, needs_indexes, end_is_unknown });
    }

    /// Adds segments of empty batches from the end of the last one up to `next_base`.
    fn fill_up_to(&mut self, next_base: Offset) {
        let Some(before) = self.segments.last() else { return };
        let (mut base, mut last_epoch) = (before.end, before.last_epoch);
        while base < next_base {
            let reach = base.checked_add(COVERED_OFFSETS_MAX).map_or(next_base, |reach| reach.min(next_base));
            let reigned = self.meta.and_then(|meta| meta.epochs.at(base));
            last_epoch = reigned.map_or(last_epoch, LeaderEpoch::get);
            self.push_new(base, base..reach, last_epoch);
            base = reach;
        }
    }

    fn push_new(&mut self, base: Offset, covered: Range<Offset>, last_epoch: i32) {
        let end = covered.end;
        let is_covering = !(covered.start..covered.end).is_empty();
        let pieces = match is_covering {
            true => vec![Piece::Cover { first: covered.start, end, leader_epoch: last_epoch }],
            false => Vec::new(),
        };
        let what = "the segment is missing; one with an empty batch takes the place of its offsets".to_owned();
        let findings = match is_covering {
            true => vec![Finding { position: 0, bytes: 0, lost: Some(covered), what }],
            false => Vec::new(),
        };
        let action = Action {
            file: file::path(&self.facts.directory, base, FileKind::Log),
            what: "made, for the segment does not exist".to_owned(),
            findings,
            step: Step::Rewrite(pieces),
        };
        let epochs = if is_covering { vec![(last_epoch, base)] } else { Vec::new() };
        let action = Some(action);
        self.segments.push(Segment {
            base,
            end,
            last_epoch,
            epochs,
            action,
            needs_indexes: true,
            end_is_unknown: false,
        });
    }

    /// A log without any segment goes on where it ended, as far as that is known.
    fn begin_where_nothing_is(&mut self) {
        if !self.segments.is_empty() {
            return;
        }
        let log_start = self.meta.map_or(Offset::ZERO, |meta| meta.log_start);
        let base = self.recovery_point().map_or(log_start, |point| point.max(log_start));
        if base > Offset::ZERO || self.meta.is_none() {
            let epoch = self.meta.map_or(0, |meta| meta.epochs.current().get());
            self.push_new(base, base..base, epoch);
        }
    }

    /// Meta first: what it says must hold at every moment afterwards.
    fn add_actions(
        self,
        meta_is_lost: bool,
        identity: Option<Identity>,
        checkpoints: &mut Checkpoints,
        plan: &mut Plan,
    ) {
        let first = self.segments.first().map(|first| first.base);
        let file = PartitionMeta::path(&self.facts.directory);
        match (self.meta, identity) {
            (None, Some(identity)) if meta_is_lost => {
                let rebuilt = self.rebuilt_meta(identity);
                let what = format!(
                    "made anew out of the batches: the log starts at offset {}, epoch {} begins at {}; records deleted from the first \
                     segment may come back",
                    rebuilt.log_start,
                    rebuilt.epochs.current().get(),
                    rebuilt.epochs.entries().last().map_or(Offset::ZERO, |&(_, start)| start)
                );
                plan.add(file, what, Step::Replace(rebuilt.to_file().to_vec()));
            }
            (Some(meta), _) => {
                if let Some((changed, what)) = self.changed_meta(meta, first) {
                    plan.add(file, what, Step::Replace(changed.to_file().to_vec()));
                }
            }
            _ => {}
        }
        if let Some(identity) = identity {
            checkpoints.will_have(identity, self.segments.iter().map(|segment| segment.base).collect());
        }
        for segment in self.segments {
            let is_changed = segment.action.is_some();
            plan.actions.extend(segment.action);
            if segment.needs_indexes {
                let file = file::path(&self.facts.directory, segment.base, FileKind::OffsetIndex);
                let what = if is_changed {
                    "rebuilt with its time index for the new segment"
                } else {
                    "rebuilt with its time index"
                };
                plan.add(file, what, Step::Index(segment.base));
            }
        }
    }

    /// What the meta must say when the first segments are missing, or the end of the log is lost.
    fn changed_meta(&self, meta: &PartitionMeta, first: Option<Offset>) -> Option<(PartitionMeta, String)> {
        let mut changed = meta.clone();
        let mut what = Vec::new();
        if let Some(first) = first.filter(|&first| first > meta.log_start) {
            changed.log_start = first;
            changed.epochs.forget_before(first);
            what.push(format!(
                "the log start rises to {first}: the segments from offset {} on are missing",
                meta.log_start
            ));
        }
        if let Some(last) = self.segments.last().filter(|last| last.end_is_unknown) {
            changed.begin_next_epoch(last.end);
            what.push(format!(
                "epoch {} begins at offset {}, so that consumers see the cut",
                changed.epochs.current().get(),
                last.end
            ));
        }
        (!what.is_empty()).then(|| (changed, what.join("; ")))
    }

    /// A meta out of the batches, with an epoch that none of them and none of the starts can have had.
    fn rebuilt_meta(&self, identity: Identity) -> PartitionMeta {
        let mut entries: Vec<(LeaderEpoch, Offset)> = Vec::new();
        for &(epoch, start) in self.segments.iter().flat_map(|segment| &segment.epochs) {
            let Some(epoch) = LeaderEpoch::new(epoch) else { continue };
            if entries.last().is_none_or(|&(before, began)| epoch > before && start > began) {
                entries.push((epoch, start));
            }
        }
        let newest = entries.len().saturating_sub(crate::epochs::EPOCHS_MAX);
        let mut epochs = EpochList::from_entries(entries.split_off(newest)).unwrap_or_default();
        let starts = self.facts.surroundings.superblock.as_ref().map_or(0, |superblock| superblock.incarnation);
        // Each unclean start begins one epoch, so that no client was ever told a later one than there were starts.
        let by_starts = i32::try_from(starts).unwrap_or(EPOCH_MAX).saturating_add(1);
        let next = by_starts.max(epochs.current().get().saturating_add(1));
        let end = self.segments.last().map_or(Offset::ZERO, |last| last.end);
        epochs.begin(LeaderEpoch::new(next).expect("one more than a number that is not negative"), end);
        let log_start = self.segments.first().map_or(Offset::ZERO, |first| first.base);
        PartitionMeta { identity, log_start, epochs }
    }
}
