//! Memory that O_DIRECT accepts, to be filled before each write.

/// What O_DIRECT wants of addresses, positions and lengths on every disk in use.
pub(super) const ALIGNMENT: usize = 4096;

/// Zeros at an aligned address.
#[derive(Debug)]
pub(super) struct Aligned {
    /// Longer than asked for by as much as its own address may be off. Never grown, which would move it.
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(super) fn new(length: usize) -> Aligned {
        let storage = vec![0; length + ALIGNMENT];
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        Aligned { storage, start, length }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.length]
    }
}
