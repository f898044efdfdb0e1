//! How a failing disk behaves during one life of the broker, and what may be expected of the broker then.

use super::faults::Faults;
use crate::random::Random;

/// The longest delay of a flush, which is what most cuts fall into.
const FLUSH_DELAY_MAX_US: u64 = 6_000;

/// Chances in a million of a call to fail, for a life.
const FAILING_PPM: [u64; 3] = [3_000, 30_000, 300_000];

/// Chance in a million of a flush to be a lie, on a disk that lies.
const LYING_PPM: u64 = 300_000;

/// One life's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regime {
    /// It does what it is told, until the power goes.
    Sound,
    /// Writes and flushes fail with EIO while the broker serves.
    Failing,
    /// Writes and flushes fail with ENOSPC while the broker serves, and after a while succeed again.
    Full,
    /// Reads and writes fail from before the start on.
    FailingFromTheStart,
    /// Everything fails from some moment on, and the broker lives to see it.
    Dying,
}

impl Regime {
    pub(crate) fn by_chance(lies: bool, random: &mut Random) -> Regime {
        match random.below(20) {
            // A lie is enough for one disk, mostly.
            _ if lies && !random.once_in(8) => Regime::Sound,
            0..=3 => Regime::Failing,
            4 => Regime::Full,
            5..=6 => Regime::FailingFromTheStart,
            7..=8 => Regime::Dying,
            _ => Regime::Sound,
        }
    }

    /// Whether the broker may complain, refuse, and stop itself.
    pub(crate) fn is_failing(self) -> bool {
        self != Regime::Sound
    }

    pub(crate) fn fails_at_start(self) -> bool {
        self == Regime::FailingFromTheStart
    }

    pub(crate) fn fails_while_serving(self) -> bool {
        matches!(self, Regime::Failing | Regime::Full | Regime::Dying)
    }

    /// Whether the faults end before the life does.
    pub(crate) fn recovers(self) -> bool {
        self == Regime::Full
    }

    /// Whether the broker goes on for a while after the end of its disk.
    pub(crate) fn lingers(self) -> bool {
        self == Regime::Dying
    }

    /// What a disk does wrong that is well in every other respect.
    pub(crate) fn at_peace(lies: bool, random: &mut Random) -> Faults {
        Faults {
            flush_delay_max_us: random.below(FLUSH_DELAY_MAX_US),
            flushes_lying_ppm: if lies { LYING_PPM } else { 0 },
            ..Faults::default()
        }
    }

    /// What it does wrong once its time has come.
    pub(crate) fn faults(self, lies: bool, random: &mut Random) -> Faults {
        let peace = Regime::at_peace(lies, random);
        let mut ppm = || FAILING_PPM[random.index(FAILING_PPM.len())];
        match self {
            Regime::Sound | Regime::Dying => peace,
            Regime::Failing | Regime::Full => Faults {
                writes_failing_ppm: ppm(),
                flushes_failing_ppm: ppm(),
                no_space: self == Regime::Full,
                ..peace
            },
            Regime::FailingFromTheStart => Faults { reads_failing_ppm: ppm(), writes_failing_ppm: ppm(), ..peace },
        }
    }
}
