//! The simulation's second face: a file used by plain synchronous calls, with the same faults and the same crashes.
//!
//! Made for a metadata store that does its own blocking I/O (redb's `StorageBackend` needs exactly these calls), which in
//! simulation runs inline.

use std::io;
use std::path::Path;

use bytes::BytesMut;

use super::Simulation;
use crate::disk::{DiskFile, OpenHow};

/// A simulated file of one process. Dead after a crash: every call then fails. May be shared between threads.
#[derive(Debug)]
pub struct SimFile {
    simulation: Simulation,
    file: DiskFile,
}

impl SimFile {
    pub(super) fn open(simulation: &Simulation, path: &Path) -> io::Result<SimFile> {
        let mut world = simulation.lock();
        let file = match world.open(path, OpenHow::ReadWrite) {
            Err(rustix::io::Errno::NOENT) => world.open(path, OpenHow::CreateNew)?,
            other => other?,
        };
        drop(world);
        Ok(SimFile { simulation: simulation.clone(), file })
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// After a crash.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.simulation.lock().file(&self.file, false)?.length())
    }

    /// Whether the length is 0.
    ///
    /// # Errors
    /// After a crash.
    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }

    /// Fills `into` from `position`.
    ///
    /// # Errors
    /// EIO by chance or injection; `UnexpectedEof` beyond the end; after a crash.
    pub fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = self.simulation.lock().read(&self.file, position, into.len(), false)?;
        if bytes.len() < into.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.copy_from_slice(&bytes);
        Ok(())
    }

    /// Writes all of `bytes` at `position`; short writes are resumed.
    ///
    /// # Errors
    /// EIO and ENOSPC by chance or injection; after a crash.
    pub fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.simulation.lock();
        world.trace.event(format!("write {} bytes @{position} {:08x} at once", bytes.len(), crc32fast::hash(bytes)));
        let mut written = 0;
        while written < bytes.len() {
            let rest = [BytesMut::from(&bytes[written..])];
            match world.write(&self.file, position + written as u64, &rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => written += count,
            }
        }
        Ok(())
    }

    /// Cuts the file or grows it with zeros; a power cut before the next sync leaves the old length or the new one.
    ///
    /// # Errors
    /// After a crash.
    pub fn set_len(&self, length: u64) -> io::Result<()> {
        let mut world = self.simulation.lock();
        world.trace.event(format!("set length {length} at once"));
        let (write_number, now_ms) = (world.next_write_number(), world.now_ms);
        Ok(world.file(&self.file, true)?.set_length_whole(length, write_number, now_ms)?)
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// EIO and ENOSPC by chance or injection: what it covered is then lost, whatever a later call says; after a crash.
    pub fn sync_data(&self) -> io::Result<()> {
        let mut world = self.simulation.lock();
        world.trace.event("sync data at once".to_owned());
        let write_number = world.write_number;
        let capture = world.file(&self.file, true)?.capture(write_number)?;
        Ok(world.sync(&self.file, Some(capture))?)
    }
}
