//! Chance from a seed: member ids need only be unlike each other, and a simulation must be able to repeat them.

/// A generator of numbers that look random (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An id in the form of a UUID, version 4.
    pub fn uuid(&mut self) -> String {
        let bytes = u128::from(self.next()) << 64 | u128::from(self.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn ids_are_repeatable_and_unlike_each_other() {
        let (mut one, mut same) = (Random::new(7), Random::new(7));
        let first = one.uuid();
        assert_eq!(first, same.uuid());
        assert_ne!(first, one.uuid());
        assert_eq!(first.len(), 36, "{first}");
    }
}
