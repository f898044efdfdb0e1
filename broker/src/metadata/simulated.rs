//! The metadata database on a simulated machine: redb's storage over the simulation's synchronous files.
//!
//! The same faults and crashes strike it as strike the logs. Nothing here decides anything; `Metadata::open_simulated` calls it.

use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use ringmill_engine::disk::sim::{SimFile, Simulation};
use ringmill_engine::disk::{Disk, OpenHow, block_on};

use super::reread::take_from_device;
use super::storage::OpenStorage;
use super::store;

/// A file of the simulation, as redb wants one.
#[derive(Debug)]
struct SimStorage(SimFile);

impl StorageBackend for SimStorage {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

/// Opens the file at `path`, again after each failed write.
pub(super) fn open_storage(machine: &Simulation, path: &Path) -> OpenStorage {
    let (machine, path) = (machine.clone(), path.to_owned());
    Box::new(move || Ok(Box::new(SimStorage(machine.file(&path)?))))
}

/// Makes the database under another name first, as on a real disk: one cut off in its making could not be told from a damaged one.
pub(super) fn make_if_absent(machine: &Simulation, disk: &dyn Disk, path: &Path, cluster_id: &str) -> io::Result<()> {
    match block_on(disk, disk.open(path, OpenHow::Read)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(_) => return block_on(disk, take_from_device(disk, path)),
    }
    let unfinished = PathBuf::from(format!("{}.new", path.display()));
    // What an earlier start left there is nobody's.
    machine.file(&unfinished)?.set_len(0)?;
    store::make(open_storage(machine, &unfinished), cluster_id)?;
    block_on(disk, disk.rename(&unfinished, path))?;
    machine.sync_dir(path.parent().unwrap_or(Path::new("/")))
}
