//! What a disk is to do wrong for a while, as chances; and the same as words of one line.

use std::fmt;

/// Chances in a million, per call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) writes_failing_ppm: u64,
    pub(crate) flushes_failing_ppm: u64,
    /// Flushes that are answered and not done. Nothing can be promised on such a disk but to name what is damaged.
    pub(crate) flushes_lying_ppm: u64,
    pub(crate) reads_failing_ppm: u64,
    /// How long a flush may take, so that a cut finds something that is not flushed.
    pub(crate) flush_delay_max_us: u64,
    /// Whether writes and flushes fail with ENOSPC, as those of a thin image do, or with EIO.
    pub(crate) no_space: bool,
    /// Bytes of the disk, first and end, whose writes do not fail: the journal, without which the file system above would only turn
    /// read-only.
    pub(crate) spared: (u64, u64),
}

impl Faults {
    /// Whether a write there never fails.
    pub(crate) fn spares(&self, offset: u64) -> bool {
        (self.spared.0..self.spared.1).contains(&offset)
    }

    pub(crate) fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Faults> {
        let mut next = || words.next()?.parse::<u64>().ok();
        Some(Faults {
            writes_failing_ppm: next()?,
            flushes_failing_ppm: next()?,
            flushes_lying_ppm: next()?,
            reads_failing_ppm: next()?,
            flush_delay_max_us: next()?,
            no_space: next()? == 1,
            spared: (next()?, next()?),
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Faults { writes_failing_ppm, flushes_failing_ppm, flushes_lying_ppm, reads_failing_ppm, .. } = self;
        write!(f, "{writes_failing_ppm} {flushes_failing_ppm} {flushes_lying_ppm} {reads_failing_ppm}")?;
        let (no_space, (spared_from, spared_to)) = (u8::from(self.no_space), self.spared);
        write!(f, " {} {no_space} {spared_from} {spared_to}", self.flush_delay_max_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_survive_being_told() {
        let faults = Faults {
            writes_failing_ppm: 1,
            flush_delay_max_us: 2,
            no_space: true,
            spared: (4096, 8192),
            ..Faults::default()
        };
        assert_eq!(Faults::parse(&mut faults.to_string().split(' ')), Some(faults));
        assert!(faults.spares(4096) && faults.spares(8191) && !faults.spares(8192));
        assert_eq!(Faults::parse(&mut "1 2 x".split(' ')), None);
    }
}
