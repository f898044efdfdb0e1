//! Arbitrary messages for the tests: a seed decides every field.
//!
//! Only compiled for tests; called by the tables through `Field::sample`.

/// Bytes that look random and follow from a seed (splitmix64).
pub struct Entropy(u64);

impl Entropy {
    pub fn new(seed: u64) -> Entropy {
        Entropy(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Often a small number or an extreme one, where off-by-one errors live.
    pub fn number<const N: usize>(&mut self) -> [u8; N] {
        match self.below(4) {
            0 => [0; N],
            1 => [0xff; N],
            2 => std::array::from_fn(|index| if index == N - 1 { 1 } else { 0 }),
            _ => std::array::from_fn(|_| self.next().to_be_bytes()[0]),
        }
    }

    /// Empty, short, and longer than one byte of varint can say.
    pub fn text(&mut self) -> &'static str {
        const LONG: &str = "a name that is longer than one hundred and twenty-seven bytes, so that its compact length takes two bytes \
                            of varint; with an é, a 漢 and a 🦀";
        ["", "x", "logs", "127.0.0.1", "naïve", LONG][self.below(6)]
    }
}
