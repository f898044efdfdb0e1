//! What the simulation may do to an operation: by chance, at given rates, or once, on demand.

use std::path::PathBuf;

/// Rates are probabilities per operation, 0.0 to 1.0. By default nothing goes wrong and everything completes in order at the next
/// reap.
#[derive(Clone, Debug, Default)]
pub struct SimOptions {
    /// An operation that could complete stays for a later reap. One per reap always completes.
    pub delay: f64,
    /// A reap completes its operations in any order instead of theirs.
    pub reorder: f64,
    /// A write stops at some byte before its end.
    pub short_write: f64,
    /// A write fails with EIO; any part of it may have reached the cache.
    pub write_error: f64,
    /// A sync fails with EIO; any part of it may have reached the device, the rest is marked clean and lost.
    pub sync_error: f64,
    /// A read fails with EIO.
    pub read_error: f64,
    /// An operation that takes space (creating, allocating, writing, syncing) fails with ENOSPC.
    pub no_space: f64,
    /// A question whether something is cached is answered with no, and a read that may not wait would have to.
    pub cold: f64,
    /// A write in flight when the process is killed lands during the next process's life. The registered lock prevents this on
    /// the real system; the option shows what it prevents.
    pub late_write: f64,
    /// The device's size; beyond it ENOSPC. Counted in pages of 4096 bytes that hold file data.
    pub capacity_bytes: Option<u64>,
    /// Keeps every event as text for [`Simulation::log`](super::Simulation::log), to see where two runs part.
    pub keep_log: bool,
}

impl SimOptions {
    /// Everything that a healthy but busy machine does: delays, other orders, short writes, cold pages. No errors.
    #[must_use]
    pub fn busy() -> SimOptions {
        SimOptions { delay: 0.3, reorder: 0.5, short_write: 0.1, cold: 0.2, ..SimOptions::default() }
    }
}

/// Strikes the next fitting operation on one path, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write fails with EIO.
    WriteFails,
    /// A write stops after so many bytes.
    WriteStops {
        /// How many are written; more than the write has leaves it whole.
        after_bytes: usize,
    },
    /// A write fails with ENOSPC.
    WriteFindsNoSpace,
    /// A sync fails with EIO; what it should have made durable is lost without a trace.
    SyncFails,
    /// A sync fails with ENOSPC, as on a thin device; likewise.
    SyncFindsNoSpace,
    /// A read fails with EIO.
    ReadFails,
    /// Opening the file, which is there, fails with EMFILE.
    OpenFindsNoDescriptor,
    /// An allocation fails with ENOSPC.
    AllocateFindsNoSpace,
}

/// A fault waiting for its operation.
#[derive(Debug)]
pub(super) struct Injection {
    pub(super) path: PathBuf,
    pub(super) fault: Fault,
}
