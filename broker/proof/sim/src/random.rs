//! Randomness that follows from a seed, for everything outside the simulated disk, which has its own.

use std::cell::Cell;
use std::time::Duration;

/// SplitMix64: every seed is a good one.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(Cell::new(seed))
    }

    /// A stream of its own, so that what one task draws does not depend on how often another does.
    #[must_use]
    pub fn fork(&self) -> Random {
        Random::new(self.next())
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut value = self.0.get();
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// 0 to `bound`, exclusive.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// The same for an index or a count.
    pub fn index(&self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("it is below a usize")
    }

    /// True once in so many times.
    pub fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// From one to so many milliseconds: never none, so that whoever waits in a loop lets the time go on.
    pub fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(1 + self.below(most))
    }
}
