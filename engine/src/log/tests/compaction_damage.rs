//! Compaction of logs with damaged segments: they stay as they are, nothing is forgotten that they may hold, and passes come to an end.

use super::compaction::{LIMITS, compact, config, fill, keyed, records};
use super::*;
use crate::compaction::CompactionLimits;
use crate::log::Compacted;
use crate::segment::file::{FileKind, path};

/// A batch that cannot be read, and the way back.
struct Rot {
    file: PathBuf,
    whole: Vec<u8>,
}

impl Rot {
    /// Spoils the last byte of the batch that begins at `offset`.
    async fn of(log: &Log, disk: &dyn Disk, offset: Offset) -> Rot {
        let plan = log.reader().plan(disk, offset, 1, true).await.unwrap();
        let file = path(log.dir(), plan.segment.base_offset(), FileKind::Log);
        let whole = std::fs::read(&file).unwrap();
        let mut rotten = whole.clone();
        rotten[usize::try_from(plan.position + plan.length).unwrap() - 1] ^= 1;
        std::fs::write(&file, rotten).unwrap();
        Rot { file, whole }
    }

    /// The bytes are there again, and the scrub has seen it.
    async fn heal(&self, log: &Log) {
        std::fs::write(&self.file, &self.whole).unwrap();
        while !log.scrub(1 << 20).await.is_done {}
        assert_eq!(log.reader().damaged_ranges(), []);
    }

    /// Makes a pass during which the damage heals as soon as it was met.
    async fn heal_during_pass(&self, log: &Log, limits: &CompactionLimits) -> Compacted {
        let mut healed = 0;
        let pace = async |_| {
            if !log.reader().damaged_ranges().is_empty() {
                self.heal(log).await;
                healed += 1;
            }
        };
        let done = log.compact(limits, pace).await.unwrap().unwrap();
        assert!(healed > 0);
        done
    }
}

#[test]
fn a_tombstone_in_damage_that_heals_during_a_pass_is_not_forgotten() {
    // The mapping went around it, the rewriting no longer saw why it should stay, and the log counted as clean behind it.
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        fill(log, (1..60).map(|value| vec![(if value == 5 { 1 } else { 2 }, value)])).await;
        compact(log).await.unwrap();
        fill(log, (1..60).map(|value| vec![(2, value)])).await;
        let tombstone = append(log, keyed(Codec::None, &[(1, 0)])).await.unwrap().base_offset;
        fill(log, (1..90).map(|value| vec![(2, value)])).await;
        let rot = Rot::of(log, &*disk, tombstone).await;
        let done = rot.heal_during_pass(log, &LIMITS).await;
        for _ in 0..3 {
            place.clock.advance(5000);
            fill(log, (1..60).map(|value| vec![(2, value)])).await;
            assert_eq!(compact(log).await.unwrap().passed_over, 0);
        }
        let left = records(log, &*disk).await;
        assert!(left.values().all(|&(key, _)| key == 2), "what was deleted is there again: {left:?}");
        assert!(done.passed_over == 1 && done.cleaned_to <= tombstone, "{done:?}");
    });
}

#[test]
fn what_was_clean_before_damage_that_heals_during_a_pass_stays() {
    // A full map had ended inside a segment, at a batch that could not be found again: the keys before it were taken for later ones.
    let place = Place::new();
    let disk = place.disk.clone();
    let limits = CompactionLimits { map_bytes: 0, ..LIMITS };
    place.run(config(), async |log| {
        let all = fill(log, (0..150).map(|number| vec![(2 * number, 1), (2 * number + 1, 1)])).await;
        let done = log.compact(&limits, async |_| {}).await.unwrap().unwrap();
        let snapshot = log.reader().snapshot();
        let is_inside = |pair: &[Arc<crate::segment::Segment>]| {
            pair[0].base_offset() < done.cleaned_to && done.cleaned_to < pair[1].base_offset()
        };
        assert!(snapshot.windows(2).any(is_inside), "{done:?}");
        let rot = Rot::of(log, &*disk, done.cleaned_to).await;
        while !log.scrub(1 << 20).await.is_done {}
        let done = rot.heal_during_pass(log, &limits).await;
        assert_eq!(records(log, &*disk).await, all, "no key stands twice");
        assert_eq!(done.passed_over, 1);
    });
}

#[test]
fn a_damaged_segment_stays_as_it_is_and_no_tombstone_behind_it_goes() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        fill(log, (1..60).map(|value| vec![(1, value), (100 + value, value)])).await;
        let snapshot = log.reader().snapshot();
        let (damaged, next) = (snapshot[1].base_offset(), snapshot[2].base_offset());
        let file = path(log.dir(), damaged, FileKind::Log);
        let whole = std::fs::read(&file).unwrap();
        let mut rotten = whole.clone();
        rotten[200] ^= 1;
        std::fs::write(&file, &rotten).unwrap();
        fill(log, [vec![(1, 0)]]).await;
        for _ in 0..3 {
            fill(log, (1..60).map(|value| vec![(3, value)])).await;
            place.clock.advance(5000);
            let done = compact(log).await.unwrap();
            assert_eq!((done.passed_over, done.cleaned_to), (1, damaged));
            assert_eq!(std::fs::read(&file).unwrap(), rotten);
            assert_eq!(log.cleanable(NOW_MS * 2), None, "it is not tried again for its own sake");
        }
        let [range] = &log.reader().damaged_ranges()[..] else { panic!("one damaged range") };
        assert!(range.offsets.start >= damaged && range.offsets.end <= next, "{range}");
        // Once it can be read again, it is compacted like the others, and nothing that was deleted comes back.
        std::fs::write(&file, &whole).unwrap();
        while !log.scrub(1 << 20).await.is_done {}
        for _ in 0..2 {
            fill(log, (1..60).map(|value| vec![(3, value)])).await;
            place.clock.advance(5000);
            assert_eq!(compact(log).await.unwrap().passed_over, 0);
        }
        let left = records(log, &*disk).await;
        assert!(left.values().all(|&(key, _)| key != 1), "{left:?}");
        assert_eq!(left.values().filter(|record| record.0 > 100).count(), 59);
    });
}
