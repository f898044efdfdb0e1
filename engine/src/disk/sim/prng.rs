//! The simulation's only source of chance: SplitMix64, so that a seed gives the same run on every machine and forever.
//!
//! Good enough to choose faults, useless for anything that needs secrecy.

#[derive(Clone, Debug)]
pub(super) struct Prng {
    state: u64,
}

impl Prng {
    pub(super) fn new(seed: u64) -> Prng {
        Prng { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit - 1`. The slight bias of the remainder does not matter here.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below 0");
        self.next() % limit
    }

    /// The same for an index or a count.
    pub(super) fn below_usize(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("it is below a usize")
    }

    /// True with this probability; 0.0 and 1.0 are exact.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        assert!((0.0..=1.0).contains(&probability), "{probability} is no probability");
        // 53 bits, which a float holds exactly.
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below_usize(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        // The published first outputs of SplitMix64 for seed 1234567.
        let mut prng = Prng::new(1_234_567);
        assert_eq!([prng.next(), prng.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        assert!(!prng.chance(0.0) && prng.chance(1.0));
    }
}
