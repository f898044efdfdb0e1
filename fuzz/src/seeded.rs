//! Runs a driver over its corpus and over seeded mutations of it, as an ordinary test does.
//!
//! The same seed gives the same inputs on every machine. An input that makes a driver panic is written to a file, to be debugged
//! and then kept in the corpus.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use crate::Target;

/// Mutated inputs are never longer.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Changes made to one input at most.
const MUTATIONS_MAX: u64 = 6;

/// Runs every file of the corpus as it is, then `iterations` mutations.
///
/// # Panics
/// When the driver does, or when the target has no corpus.
pub fn run(target: &Target, iterations: u64, seed: u64) {
    let corpus = corpus(target.name);
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    corpus.iter().for_each(|input| drive(target, input));
    let mut random = Random(seed);
    for _ in 0..iterations {
        drive(target, &mutated(&corpus, &mut random));
    }
}

/// Where the inputs of a target lie.
#[must_use]
pub fn corpus_directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = corpus_directory(name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the corpus can be listed").path()).collect();
    // The directory's own order differs from machine to machine.
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("the corpus can be read")).collect()
}

fn drive(target: &Target, input: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.driver)(input))) else { return };
    let path = std::env::temp_dir().join(format!("ringmill-fuzz-{}-{}", target.name, std::process::id()));
    let kept =
        fs::write(&path, input).map_or_else(|error| format!("is lost: {error}"), |()| format!("is {}", path.display()));
    eprintln!("{}: the input of {} bytes {kept}", target.name, input.len());
    resume_unwind(panic);
}

fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.next() % MUTATIONS_MAX {
        mutate(&mut input, corpus, random);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

/// One change: the kinds that find most in length-prefixed formats.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if input.is_empty() {
        input.push(random.byte());
        return;
    }
    let at = random.below(input.len());
    match random.next() % 9 {
        0 | 1 => input[at] ^= 1 << (random.next() % 8),
        2 => input[at] = random.byte(),
        3 | 4 => {
            // A number where a length or a count may stand.
            const EXTREMES: [i64; 10] =
                [0, -1, 1, 127, 128, 65_535, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];
            let value = EXTREMES[random.below(EXTREMES.len())].to_be_bytes();
            let width = [1, 2, 4, 8][random.below(4)].min(input.len() - at);
            input[at..at + width].copy_from_slice(&value[8 - width..]);
        }
        5 => input.truncate(at),
        6 => {
            let length = random.below(input.len() - at) + 1;
            input.drain(at..at + length.min(64));
        }
        7 => {
            let length = (random.below(input.len() - at) + 1).min(64);
            let copy = input[at..at + length].to_vec();
            let to = random.below(input.len());
            input.splice(to..to, copy);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

/// Numbers that look random and follow from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than the bound")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}
