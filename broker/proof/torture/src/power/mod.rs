//! `power`: the power of the broker's disk is cut at random moments, on real file systems over loop devices.
//!
//! The order of a cut matters. First every thread of the broker stands still, only then the file system is shut down: a sync that is
//! under way meanwhile may return 0 though its data is gone (seen on ext4, in 5 of 60 runs of a program that only writes and syncs),
//! which no real power cut would let anybody hear.

use clap::Args;

use crate::report::Failure;

pub(crate) mod campaign;
mod evidence;
mod file_system;
mod lives;
mod rig;
mod shutdown;

use campaign::{Campaign, Options};

/// What a run of some hundred cycles must have reached, or the torture is not what it says.
const MUST_REACH: [&str; 12] = [
    "power cuts",
    "cuts during the start",
    "clean stops",
    "records acknowledged",
    "torn tails recovered",
    "logs that lost their end",
    "unsynced bytes lost",
    "whole readings",
    "records superseded",
    "shares of groups",
    "offsets committed",
    "commits found",
];

/// Cut the power of the broker's disk at random moments, on real file systems (needs root)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill-torture power target/checked --cycles 5000
  ringmill-torture power target/checked --cycles 500 --fs xfs --seed 7

Each cycle starts the broker on what the last cut has left of its file system, looks whether all that was promised is there, writes and
reads, and shuts the file system down under it (FS_IOC_SHUTDOWN): what was not written out of memory is gone.")]
pub(crate) struct Power {
    #[command(flatten)]
    options: Options,
}

impl Power {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        Campaign { name: "power", options: &self.options, is_torn: false, must_reach: &MUST_REACH }.run()
    }
}
