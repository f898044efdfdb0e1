//! The failing disk: it tears what was not flushed, fails calls by order and lies about flushes (`server`), in a process of its own that
//! the rig (`../power/rig.rs`) steers (`control`).

use std::path::PathBuf;

use clap::Args;

use crate::report::Failure;

pub(crate) mod control;
pub(crate) mod faults;
mod sectors;
mod server;

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
