//! Compaction of logs with damaged segments: they stay as they are, nothing is forgotten that they may hold, and passes come to an end.

use std::collections::BTreeMap;

use super::compaction::{LIMITS, active_base, compact, config, fill, keyed, model, records};
use super::crashes::{DIR, on_quiet_disk, segment_path};
use super::*;
use crate::compaction::CompactionLimits;
use crate::disk::sim::Fault;
use crate::log::{Abandoned, Compacted};
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
            assert_eq!(compact(log).await.unwrap().damaged, 0);
        }
        let left = records(log, &*disk).await;
        assert!(left.values().all(|&(key, _)| key == 2), "what was deleted is there again: {left:?}");
        assert!(done.damaged == 1 && done.cleaned_to <= tombstone, "{done:?}");
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
        assert_eq!(done.damaged, 1);
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
            assert_eq!((done.damaged, done.cleaned_to), (1, damaged));
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
            assert_eq!(compact(log).await.unwrap().damaged, 0);
        }
        let left = records(log, &*disk).await;
        assert!(left.values().all(|&(key, _)| key != 1), "{left:?}");
        assert_eq!(left.values().filter(|record| record.0 > 100).count(), 59);
    });
}

#[test]
fn the_time_of_a_tombstone_begins_when_nothing_is_left_that_it_hides() {
    // It began with the first pass, though damage in front kept values: the pass that took these away took the tombstone with them, and who
    // had read one of them was never told.
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        fill(log, (1..60).map(|value| vec![(1, value), (100 + value, value)])).await;
        let rot = Rot::of(log, &*disk, log.reader().snapshot()[1].base_offset()).await;
        fill(log, [vec![(1, 0)]]).await;
        for damaged in [1, 1, 0] {
            place.clock.advance(5000);
            fill(log, (1..60).map(|value| vec![(3, value)])).await;
            if damaged == 0 {
                rot.heal(log).await;
            }
            assert_eq!(compact(log).await.unwrap().damaged, damaged);
        }
        let of_key = async || {
            let left = records(log, &*disk).await;
            left.into_values().filter(|record| record.0 == 1).collect::<Vec<_>>()
        };
        assert_eq!(of_key().await, [(1, 0)], "for as long as any other");
        place.clock.advance(1000);
        fill(log, (1..60).map(|value| vec![(3, value)])).await;
        compact(log).await.unwrap();
        assert_eq!(of_key().await, []);
    });
}

#[test]
fn a_sparse_batch_in_front_of_rot_is_served_after_a_start() {
    // Nothing that followed bore out that compaction had made it, and it was refused together with what is rotten until the scrub came by.
    let place = Place::new();
    let disk = place.disk.clone();
    let log = place.create(config());
    let (all, checkpoint) = place.drive(&log, async {
        fill(&log, (0..100).map(|number| vec![(1000 + number, 1), (7, 2)])).await;
        compact(&log).await.unwrap();
        records(&log, &*disk).await
    });
    let file = path(log.dir(), Offset::ZERO, FileKind::Log);
    let whole = std::fs::read(&file).unwrap();
    let mut starts = vec![0];
    for batch in whole_batches(&whole) {
        starts.push(starts[starts.len() - 1] + batch.len());
    }
    // Of the batch behind: its magic byte, its offset, its length.
    for (byte, value) in [(16, 9), (7, 9), (8, 0x7f)] {
        let mut rotten = whole.clone();
        rotten[starts[1] + byte] = value;
        std::fs::write(&file, &rotten).unwrap();
        let log = place.open(config(), StartInfo { clean: true, checkpoint: Some(checkpoint.clone()) }).unwrap();
        place.drive(&log, async {
            let reader = log.reader();
            let mut refused = Vec::new();
            for wanted in 0..8 {
                match reader.plan(&*disk, offset(wanted), 1, true).await {
                    Ok(plan) => assert_eq!(plan.position, starts[usize::try_from(wanted / 2).unwrap()] as u64),
                    Err(error) => refused.push((wanted, error)),
                }
            }
            let refused: Vec<i64> = refused.into_iter().map(|(wanted, _)| wanted).collect();
            assert_eq!(refused, [2, 3], "byte {byte}: only what is rotten");
        });
    }
    std::fs::write(&file, &whole).unwrap();
    let log = place.open(config(), StartInfo { clean: true, checkpoint: Some(checkpoint) }).unwrap();
    assert_eq!(place.drive(&log, async { records(&log, &*disk).await }).0, all);
}

#[test]
fn a_sparse_batch_in_front_of_what_the_device_has_lost_is_served_after_a_start() {
    let simulation = on_quiet_disk(config(), async |_, _, log| {
        fill(log, (0..100).map(|number| vec![(1000 + number, 1), (7, 2)])).await;
        compact(log).await.unwrap();
    });
    simulation.crash_process();
    let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
    let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS)));
    block_on(&*disk, async {
        let log = Log::open(env, DIR.into(), ID, config(), StartInfo::default()).await.unwrap();
        let reader = log.reader();
        // Its header is cached, and the first read of the device is for what stands behind it.
        disk.read_at(reader.snapshot()[0].file(), 0, BatchHeader::BYTES).await.unwrap();
        simulation.inject(&segment_path(0), Fault::ReadFails);
        let plan = reader.plan(&*disk, Offset::ZERO, 1, true).await.unwrap();
        assert_eq!((plan.position, reader.damaged_ranges()), (0, Vec::new()));
    });
}

/// Passes until none is due, each with a map for 48 keys.
async fn compact_until_done(place: &Place, log: &Log) -> usize {
    let limits = CompactionLimits { map_bytes: 0, ..LIMITS };
    for passes in 0..60 {
        if log.cleanable(NOW_MS).is_none_or(|cleanable| !cleanable.is_due) {
            return passes;
        }
        log.compact(&limits, async |_| {}).await.unwrap().unwrap();
        place.clock.advance(5000);
    }
    panic!("there is no end to it");
}

#[test]
fn passes_come_to_an_end_and_reach_what_lies_behind_damage_and_a_full_map() {
    // Each began at the damaged segment again, and its map was full at the same place.
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        let mut all = fill(log, (0..60).map(|key| vec![(1000 + key, 1)])).await;
        let snapshot = log.reader().snapshot();
        let (damaged, next) = (snapshot[1].base_offset(), snapshot[2].base_offset());
        let rot = Rot::of(log, &*disk, offset(damaged.get() + 3)).await;
        let deleted = [all[&(damaged.get() + 3)].0, all[&(damaged.get() + 5)].0];
        all.extend(fill(log, deleted.map(|key| vec![(key, 0)])).await);
        all.extend(fill(log, (0..900).map(|number| vec![(number * 7 % 200, number + 1)])).await);
        let passes = compact_until_done(&place, log).await;
        assert!(passes > 10, "{passes} passes");
        rot.heal(log).await;
        let untouched = all.range(damaged.get()..next.get()).map(|(&offset, &record)| (offset, record));
        let mut expected = model(&all, active_base(log));
        expected.extend(untouched);
        assert_eq!(records(log, &*disk).await, expected, "one record of each key outside, and both tombstones");
        // Now that it can be read, what was mapped without it is mapped once more, before a tombstone goes.
        for _ in 0..2 {
            all.extend(fill(log, (1..60).map(|value| vec![(3, value)])).await);
            assert!(compact_until_done(&place, log).await > 0);
        }
        let mut expected = model(&all, active_base(log));
        expected.retain(|_, record| !deleted.contains(&record.0));
        assert_eq!(records(log, &*disk).await, expected);
    });
}

/// A log on which everything happens that a pass may meet, in an order that a seed gives.
struct Machine {
    dice: u64,
    known: BTreeMap<i64, (u32, u32)>,
    rot: Vec<Rot>,
    healed_in_passes: u64,
    abandoned: u64,
}

impl Machine {
    fn below(&mut self, limit: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % limit
    }

    /// Some keys come over and over, others once, and any may be deleted.
    async fn append_some(&mut self, log: &Log) {
        for _ in 0..self.below(60) {
            let count = self.known.len() as u64;
            let value = u32::try_from(count).unwrap() + 1;
            let earlier = i64::try_from(self.below(count + 1)).unwrap();
            let record = match (self.below(4), self.known.get(&earlier)) {
                (0, Some(&(key, _))) => (key, 0),
                (0 | 1, _) => (1000 + value, value),
                _ => (u32::try_from(self.below(60)).unwrap(), value),
            };
            self.known.extend(fill(log, [vec![record]]).await);
        }
    }

    /// Spoils a batch of a closed segment that is well.
    async fn rot_some(&mut self, log: &Log, disk: &dyn Disk) {
        let segments = log.reader().snapshot();
        let number = usize::try_from(self.below(segments.len() as u64)).unwrap();
        let Some([segment, next]) = segments.windows(2).nth(number).and_then(<[_]>::as_array) else { return };
        let at = self.below(next.base_offset().since(segment.base_offset()));
        let at = segment.base_offset().checked_add(at).unwrap();
        // Of a segment that retention is about to remove nothing is read any more; and what comes next may stand in another one.
        let Ok(plan) = log.reader().plan(disk, at, 1, true).await else { return };
        let file = path(log.dir(), plan.segment.base_offset(), FileKind::Log);
        if plan.segment.base_offset() == segment.base_offset() && self.rot.iter().all(|rot| rot.file != file) {
            self.rot.push(Rot::of(log, disk, at).await);
        }
    }

    async fn heal_some(&mut self, log: &Log) {
        let kept = usize::try_from(self.below(self.rot.len() as u64 + 1)).unwrap();
        for rot in self.rot.drain(kept..).filter(|rot| rot.file.exists()) {
            std::fs::write(&rot.file, &rot.whole).unwrap();
        }
        while !log.scrub(1 << 20).await.is_done {}
    }

    async fn pass(&mut self, log: &Log) {
        let limits = CompactionLimits { map_bytes: if self.below(3) > 0 { 0 } else { LIMITS.map_bytes }, ..LIMITS };
        let (heals_at, ends_at) = (self.below(8), self.below(60));
        let (mut slices, mut slices_since_met) = (0, 0);
        let done = log.compact(&limits, async |_| {
            slices += 1;
            slices_since_met += u64::from(!log.reader().damaged_ranges().is_empty());
            if slices_since_met == heals_at + 1 && !self.rot.is_empty() {
                self.heal_some(log).await;
                self.healed_in_passes += 1;
            }
            if slices == ends_at {
                log.set_config(LogConfig { compaction: None, ..config() });
            }
        });
        match done.await {
            Err(Abandoned::Closed) => self.abandoned += 1,
            done => drop(done.unwrap()),
        }
        log.set_config(config());
    }

    /// All is well again, and what a tombstone no longer hides comes to light: its time is over, and passes find it.
    async fn heal_and_expire(&mut self, place: &Place, log: &Log) {
        for rot in self.rot.drain(..).filter(|rot| rot.file.exists()) {
            std::fs::write(&rot.file, &rot.whole).unwrap();
        }
        while !log.scrub(1 << 20).await.is_done {}
        for _ in 0..6 {
            let count = u32::try_from(self.known.len()).unwrap();
            self.known.extend(fill(log, (0..30).map(|number| vec![(60, count + number)])).await);
            place.clock.advance(2000);
            self.pass(log).await;
        }
    }

    /// The last value of a key is there, and nothing of it that was deleted.
    async fn check(&self, log: &Log, disk: &dyn Disk) {
        let log_start = log.reader().watermarks().log_start.get();
        let found = records(log, disk).await;
        let seen: BTreeMap<u32, i64> = found.iter().map(|(&offset, &(key, _))| (key, offset)).collect();
        let last: BTreeMap<u32, i64> =
            self.known.range(log_start..).map(|(&offset, &(key, _))| (key, offset)).collect();
        assert!(found.iter().all(|(offset, record)| self.known[offset] == *record), "nothing moves");
        for (key, offset) in last {
            match seen.get(&key) {
                Some(&seen) => assert_eq!(seen, offset, "the last of key {key}"),
                None => assert_eq!(self.known[&offset].1, 0, "key {key} at {offset} is gone"),
            }
        }
    }
}

#[test]
fn the_last_record_of_each_key_survives_damage_that_comes_and_goes() {
    let (mut healed_in_passes, mut abandoned) = (0, 0);
    let seeds = std::env::var("RINGMILL_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(6);
    for dice in 0..seeds {
        let place = Place::new();
        let disk = place.disk.clone();
        let known = BTreeMap::new();
        let mut machine = Machine { dice, known, rot: Vec::new(), healed_in_passes: 0, abandoned: 0 };
        place.run(config(), async |log| {
            for _ in 0..80 {
                match machine.below(10) {
                    0..4 => machine.append_some(log).await,
                    4 => machine.rot_some(log, &*disk).await,
                    5 => machine.heal_some(log).await,
                    6 if machine.below(4) == 0 => {
                        let middle = i64::try_from(machine.known.len() / 2).unwrap();
                        log.delete_records_before(offset(middle)).await.unwrap();
                    }
                    6 => place.clock.advance(600),
                    _ => machine.pass(log).await,
                }
            }
            machine.heal_and_expire(&place, log).await;
            machine.check(log, &*disk).await;
        });
        healed_in_passes += machine.healed_in_passes;
        abandoned += machine.abandoned;
    }
    assert!(healed_in_passes > 0 && abandoned > 0, "{healed_in_passes} healed, {abandoned} abandoned");
}
