//! How much each row moves, and for how long at most.

use std::time::Duration;

/// Of one run of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amounts {
    /// What is written to a broker, read from it, or sent over a socket.
    pub(super) bytes: u64,
    /// What is written in small blocks without a broker: a disk takes these at a fraction of its best rate.
    pub(super) block_bytes: u64,
    /// What is compressed to see what that costs: some codecs take seconds for it.
    pub(super) packed_bytes: u64,
    /// When a load ends that has not moved its bytes by then.
    pub(super) time_max: Duration,
}

impl Amounts {
    pub(super) const FULL: Amounts = Amounts::of_bytes(1_000_000_000);

    /// As little as still goes through every step. A busy machine may take a second for a first answer.
    pub(super) const QUICK: Amounts =
        Amounts { bytes: 4_000_000, block_bytes: 1 << 20, packed_bytes: 500_000, time_max: Duration::from_secs(3) };

    /// Shares of them where a row is slow by nature.
    pub(super) const fn of_bytes(bytes: u64) -> Amounts {
        Amounts { bytes, block_bytes: bytes / 4, packed_bytes: bytes / 8, time_max: Duration::from_secs(5) }
    }

    /// The end of a load as its command line says it: whichever comes first.
    pub(super) fn ending(&self) -> String {
        format!("--bytes {} --duration {}ms", self.bytes, self.time_max.as_millis())
    }
}
