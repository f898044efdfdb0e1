//! The hot paths, one at a time: each a fixed number of times on fixed input, so that callgrind can count its instructions exactly.
//!
//! `scripts/perf --instructions` runs it. Nothing here looks at a clock, starts a thread or takes a random number, files are in memory and
//! their operations complete within the call ([`disk`]), and the allocator is the system's: mimalloc, which the broker has, gives memory
//! back by the clock. What is counted is therefore what the code asks for, and not what the kernel does for it.
//!
//! Left out is what the crates do not show: a lookup in a sparse index goes through a plan, and the broker's handlers need a broker.

use std::process::ExitCode;

mod batch;
mod disk;
mod log;
mod wire;

/// What is counted once for each operation, with all that it owns.
type Operation = Box<dyn FnMut()>;

/// A path under its name.
struct HotPath {
    name: &'static str,
    /// In a line, for the table.
    what: &'static str,
    /// How many times it is counted.
    operations: usize,
    /// Makes everything ready for so many operations.
    prepare: fn(usize) -> Operation,
}

/// Operations before those that count: what is opened, allocated or looked up only once is there afterwards.
const WARM_UP_OPERATIONS: usize = 32;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => {
            paths().for_each(|path| println!("{} {} {}", path.name, path.operations, path.what));
            ExitCode::SUCCESS
        }
        [name] => match paths().find(|path| path.name == name) {
            Some(path) => {
                run(path);
                ExitCode::SUCCESS
            }
            None => refuse(&format!("there is no path {name}; without an argument all are listed")),
        },
        _ => refuse("usage: hot_paths [PATH]; without a path all are listed"),
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("hot_paths: {why}");
    ExitCode::FAILURE
}

fn paths() -> impl Iterator<Item = &'static HotPath> {
    [batch::PATHS, wire::PATHS, log::PATHS].into_iter().flatten()
}

fn run(path: &HotPath) {
    let mut operation = (path.prepare)(WARM_UP_OPERATIONS + path.operations);
    for _ in 0..WARM_UP_OPERATIONS {
        operation();
    }
    for _ in 0..path.operations {
        counted_operation(&mut *operation);
    }
}

/// Callgrind counts from where this is entered to where it is left, and knows it by its name: scripts/perf has it, too.
#[inline(never)]
fn counted_operation(operation: &mut dyn FnMut()) {
    operation();
}

/// Bytes that no codec and no disk can shorten, the same in every run.
fn fixed_bytes(length: usize) -> Vec<u8> {
    let mut numbers = Numbers::new();
    (0..length).map(|_| numbers.next().to_be_bytes()[0]).collect()
}

/// Numbers without a pattern, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn new() -> Numbers {
        Numbers(0x2545_f491_4f6c_dd1d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The lower bits of such a generator repeat soon.
        self.0 ^ (self.0 >> 29)
    }

    /// Less than `end`.
    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8) % end
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_path_runs_as_often_as_it_says() {
        for path in paths() {
            let mut operation = (path.prepare)(3);
            (0..3).for_each(|_| counted_operation(&mut *operation));
            assert!(path.operations > 0 && !path.what.is_empty(), "{}", path.name);
        }
    }

    #[test]
    fn names_are_single_words_and_differ() {
        let names: BTreeSet<&str> = paths().map(|path| path.name).collect();
        assert_eq!(names.len(), paths().count());
        assert!(names.iter().all(|name| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')));
    }
}
