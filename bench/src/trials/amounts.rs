//! How much each row moves, and for how long at most.

use std::time::Duration;

/// Of one run of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amounts {
    /// What is written to a broker, read from it, or sent over a socket; a row that is slow by nature takes a share of it.
    pub(crate) bytes: u64,
    /// When a load ends that has not moved its bytes by then.
    pub(crate) time_max: Duration,
}

impl Amounts {
    pub(crate) const FULL: Amounts = Amounts::of_bytes(1_000_000_000);

    /// As little as still goes through every step. A busy machine may take a second for a first answer.
    pub(crate) const QUICK: Amounts = Amounts { bytes: 4_000_000, time_max: Duration::from_secs(3) };

    pub(crate) const fn of_bytes(bytes: u64) -> Amounts {
        Amounts { bytes, time_max: Duration::from_secs(5) }
    }

    /// The end of a load as its command line says it: whichever comes first.
    pub(crate) fn ending(&self) -> String {
        format!("--bytes {} --duration {}ms", self.bytes, self.time_max.as_millis())
    }
}
