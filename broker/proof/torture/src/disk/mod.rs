//! `disk`: the broker on a disk that tears what was not flushed, fails and lies.
//!
//! The disk (`server`, over `sectors`) lives in a process of its own that the rig (`../power/rig.rs`) steers (`control`, `faults`);
//! `regime` says what it does wrong in a life and what may then be expected.

use std::path::PathBuf;

use clap::Args;

use crate::power::campaign::{Campaign, Options};
use crate::report::Failure;

pub(crate) mod control;
pub(crate) mod faults;
pub(crate) mod regime;
mod sectors;
mod server;

/// What a run of some hundred cycles must have reached, or the torture is not what it says.
const MUST_REACH: [&str; 16] = [
    "power cuts",
    "cuts of a lying disk",
    "cuts during the start",
    "clean stops",
    "records acknowledged",
    "torn tails recovered",
    "sectors lost",
    "writes failed",
    "flushes failed",
    "flushes lied about",
    "partitions sealed",
    "records superseded",
    "shares of groups",
    "offsets committed",
    "commits found",
    // The last, for it is left out where there is no ext4.
    "blocks torn",
];

/// Put the broker on a disk that tears, fails and lies, and cut its power (needs root)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill-torture disk target/checked --cycles 1000
  ringmill-torture disk target/checked --cycles 200 --fs ext4 --seed 7

The disk keeps in memory what was not flushed. A cut persists any part of it, out of order, by sectors of 512 bytes on ext4 and by
blocks on xfs. In some lives writes, flushes or reads fail with EIO, or writes with ENOSPC for a while; one disk in four lies about
flushes: there nothing can be promised but that what is served was written, and that damage is named.

Ctrl-C and SIGTERM leave nothing behind. After SIGKILL the kernel may wait for the disk that is gone, with its loop device:
  mount -t fusectl none /sys/fs/fuse/connections; echo 1 > /sys/fs/fuse/connections/N/abort")]
pub(crate) struct Disk {
    #[command(flatten)]
    options: Options,
}

impl Disk {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let without_tears = &MUST_REACH[..MUST_REACH.len() - 1];
        let must_reach = if self.options.has_ext4() { &MUST_REACH } else { without_tears };
        Campaign { name: "disk", options: &self.options, is_torn: true, must_reach }.run()
    }
}

/// The failing disk's own process.
#[derive(Debug, Args)]
pub(crate) struct DiskServer {
    mount_point: PathBuf,
    bytes: u64,
    seed: u64,
}

impl DiskServer {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let bytes = usize::try_from(self.bytes).expect("a disk in memory");
        server::serve(&self.mount_point, bytes, self.seed).map_err(Failure::not_possible("the failing disk"))
    }
}
