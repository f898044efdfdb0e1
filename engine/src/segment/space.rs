//! How far ahead a segment's space is secured: in steps that double from 1 to 16 MiB, so that a thousand quiet partitions do
//! not reserve a terabyte and a busy one seldom asks.
//!
//! Pure policy; the log's writer does the allocating, before offsets are assigned.

use super::SEGMENT_BYTES_MAX;

/// The first step.
pub(crate) const STEP_BYTES_MIN: u64 = 1 << 20;

/// The largest step.
pub(crate) const STEP_BYTES_MAX: u64 = 16 << 20;

/// Space of the active segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    secured: u64,
    step_bytes: u64,
}

impl Space {
    /// A segment of which `length` bytes exist and nothing more.
    pub(crate) fn new(length: u64) -> Space {
        Space { secured: length, step_bytes: STEP_BYTES_MIN }
    }

    /// The same partition's next segment: it goes on with the step that the last one had reached.
    pub(crate) fn next_segment(self) -> Space {
        Space { secured: 0, step_bytes: self.step_bytes }
    }

    /// Up to where writes meet no ENOSPC.
    pub(crate) fn secured(&self) -> u64 {
        self.secured
    }

    /// How many bytes to allocate behind [`Space::secured`] so that the file reaches `needed`, ahead by a step where the
    /// segment goes on that far.
    pub(crate) fn wanted(&self, needed: u64, segment_bytes: u64) -> u64 {
        assert!(needed > self.secured && needed <= SEGMENT_BYTES_MAX, "{needed} bytes needed of {self:?}");
        let ahead = self.secured.saturating_add(self.step_bytes).min(segment_bytes);
        needed.max(ahead) - self.secured
    }

    /// `length` more bytes are there.
    pub(crate) fn grown(&mut self, length: u64) {
        self.secured += length;
        self.step_bytes = (self.step_bytes * 2).min(STEP_BYTES_MAX);
    }

    /// The file was cut to `length`.
    pub(crate) fn cut(&mut self, length: u64) {
        self.secured = length;
    }

    /// The file system cannot secure space: writes find out for themselves.
    pub(crate) fn cannot_secure(&mut self) {
        self.secured = SEGMENT_BYTES_MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[test]
    fn steps_double_up_to_the_largest() {
        let mut space = Space::new(0);
        let mut steps = Vec::new();
        for _ in 0..6 {
            let wanted = space.wanted(space.secured() + 100, GIB);
            steps.push(wanted / MIB);
            space.grown(wanted);
        }
        assert_eq!(steps, [1, 2, 4, 8, 16, 16]);
    }

    #[test]
    fn a_small_segment_is_not_passed_and_a_large_batch_is_not_short() {
        assert_eq!(Space::new(0).wanted(100, 4096), 4096);
        assert_eq!(Space::new(0).wanted(5 * MIB, GIB), 5 * MIB);
    }
}
