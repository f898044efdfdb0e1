//! Damage at random: some bytes flipped, zeroed, cut off or gone, in any file of the directory.

use std::collections::BTreeSet;
use std::fs;

use super::*;

/// Directories that are damaged, one after the other, each in its own way.
const CASES: u64 = 60;

/// A small generator: the same seed, the same damage.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }
}

/// Damages a file; gives its name and the range of bytes that is not what it was.
fn damage(place: &Place, chance: &mut Chance) -> (PathBuf, std::ops::Range<u64>) {
    let files: Vec<PathBuf> = tree(place.path()).into_keys().collect();
    // Every other time a segment: there are more small files than segments.
    let logs: Vec<PathBuf> =
        files.iter().filter(|file| file.extension().is_some_and(|it| it == "log")).cloned().collect();
    let from = if chance.below(2) == 0 && !logs.is_empty() { &logs } else { &files };
    let name = from[chance.below(from.len())].clone();
    let file = place.path().join(&name);
    let mut bytes = fs::read(&file).unwrap();
    let at = chance.below(bytes.len());
    let all = 0..u64::MAX;
    let range = match chance.below(8) {
        0 => {
            fs::remove_file(&file).unwrap();
            return (name, all);
        }
        1 => {
            bytes.truncate(at);
            at as u64..u64::MAX
        }
        2 => {
            let end = (at + 1 + chance.below(600)).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
            at as u64..end as u64
        }
        3 => {
            let end = (at + 1 + chance.below(40)).min(bytes.len());
            bytes[at.min(end)..end].iter_mut().for_each(|byte| *byte = u8::try_from(chance.below(256)).unwrap());
            at as u64..end as u64
        }
        _ if bytes.is_empty() => 0..0,
        _ => {
            bytes[at] ^= 1 << chance.below(8);
            at as u64..at as u64 + 1
        }
    };
    fs::write(&file, bytes).unwrap();
    (name, range)
}

#[test]
fn whatever_is_damaged_the_rest_is_served_after_a_repair() {
    let places = [Place::new(), Place::with_reigns(12)];
    for (seed, sound) in (0..CASES).flat_map(|seed| places.iter().map(move |sound| (seed, sound))) {
        let mut chance = Chance(seed);
        let place = sound.again();
        let count = 1 + chance.below(3);
        let damaged: Vec<_> = (0..count).map(|_| damage(&place, &mut chance)).collect();
        println!("seed {seed}, {} reigns: {damaged:?}", epochs(sound).len());
        if seed % 5 == 0 {
            // Stopped somewhere, and begun anew.
            let steps = chance.below(12) as u64;
            let _ = stops_after(&place.plan(), steps);
        }
        place.repair();
        place.assert_served(|stored| {
            let log = Path::new(PARTITION).join(&stored.log);
            let end = stored.position + stored.bytes.len() as u64;
            damaged.iter().all(|(file, range)| *file != log || range.end <= stored.position || range.start >= end)
        });
    }
}

#[test]
fn a_repair_that_is_stopped_anywhere_is_finished_by_the_next() {
    let sound = Place::with_reigns(12);
    let damage = |place: &Place| {
        let logs = place.logs();
        place.change(&place.file(&logs[1]), |bytes| bytes[200] ^= 0x10);
        place.change(&place.file(&logs[2].replace(".log", ".index")), |bytes| bytes[3] ^= 1);
        place.change(&place.file("partition.meta"), |bytes| bytes[20] ^= 1);
        place.change(&place.path().join("recovery-checkpoint-0"), |bytes| bytes[20] ^= 1);
        fs::remove_file(place.file(&logs[3])).unwrap();
    };
    let mut steps = 0;
    loop {
        let place = sound.again();
        damage(&place);
        let was_stopped = stops_after(&place.plan(), steps);
        // What the broker would meet now is never worse than before: the next repair has nothing more to give up.
        place.repair_or_nothing();
        let logs: BTreeSet<String> = [&sound.logs()[1], &sound.logs()[3]].into_iter().cloned().collect();
        place.assert_served(|stored| {
            !logs.contains(&stored.log) || (stored.log == sound.logs()[1] && stored.position > 200)
        });
        if !was_stopped {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "a plan of {steps} steps");
}

impl Place {
    /// As `repair`, where it may have been done already.
    fn repair_or_nothing(&self) {
        if self.plan().is_empty() {
            self.assert_sound();
        } else {
            self.repair();
        }
    }
}
