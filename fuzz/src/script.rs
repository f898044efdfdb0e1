//! An input read as a sequence of small decisions: what the stateful drivers do is spelled out by the bytes, one after the other.
//!
//! It ends where the bytes end, and takes a shorter last piece as it is, so that cutting an input cuts the sequence and nothing else.

/// What is left of an input.
#[derive(Clone, Debug)]
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// The whole input.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Script<'a> {
        Script(data)
    }

    /// The next byte, which begins a step; `None` when there is nothing left to do.
    pub fn step(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The next byte, 0 beyond the end.
    pub fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    /// 0 to `bound`, exclusive, by one byte.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// One of them.
    pub fn choose<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }

    /// True for an odd byte.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Often small, sometimes at an edge, sometimes anything: one byte says which, up to eight more say the rest.
    pub fn number(&mut self) -> i64 {
        match self.byte() {
            small @ 0..=199 => i64::from(small),
            edge @ 200..=219 => {
                const EDGES: [i64; 10] =
                    [-1, -2, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN, 1 << 32, 65_535, -3, 1 << 20];
                EDGES[usize::from(edge - 200) / 2]
            }
            220..=239 => i64::from(i16::from_be_bytes([self.byte(), self.byte()])),
            _ => i64::from_be_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// [`Script::number`] in 32 bits, cut.
    pub fn number_i32(&mut self) -> i32 {
        let [.., a, b, c, d] = self.number().to_be_bytes();
        i32::from_be_bytes([a, b, c, d])
    }

    /// [`Script::number`] in 16 bits, cut.
    pub fn number_i16(&mut self) -> i16 {
        let [.., a, b] = self.number().to_be_bytes();
        i16::from_be_bytes([a, b])
    }

    /// Up to `most` bytes: two bytes give the number, and they follow.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = usize::from(u16::from_be_bytes([self.byte(), self.byte()])) % (most + 1);
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Text of up to `most` bytes, if they are text.
    pub fn text(&mut self, most: usize) -> &'a str {
        std::str::from_utf8(self.bytes(most)).unwrap_or("\u{e9}")
    }
}
