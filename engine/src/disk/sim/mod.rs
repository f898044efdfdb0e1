//! The simulated disk: one seed decides every delay, fault and crash, and the same seed with the same calls gives the same run.
//!
//! A [`Simulation`] is the machine with its storage; each core takes a [`SimDisk`] of it, and after a crash the next process takes
//! new ones. Nothing here touches the real file system. What is durable follows POSIX and no kinder file system: data by a sync
//! of its file, names by a sync of their directory, and a failed sync loses what it covered while the cache goes on showing it.
//!
//! Simplifications: an operation takes effect at one moment; writeback happens only in syncs and crashes; sectors of 512 bytes
//! are never torn; permissions, times of access and links do not exist; paths are absolute and without `..`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::event::EventfdFlags;
use rustix::io::Errno;

use super::{Disk, DiskFile, Op, Pending, PendingHandle, Residency};
use options::Injection;
use world::World;

mod crash;
mod inode;
mod options;
mod prng;
mod sync_file;
#[cfg(test)]
mod tests;
mod trace;
mod tree;
mod world;

pub use options::{Fault, SimOptions};
pub use sync_file::SimFile;

/// The machine: what every process of a run shares, across all its crashes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Simulation {
    world: Arc<Mutex<World>>,
}

impl Simulation {
    /// An empty machine: only `/` exists.
    #[must_use]
    pub fn new(seed: u64, options: SimOptions) -> Simulation {
        Simulation { world: Arc::new(Mutex::new(World::new(seed, options))) }
    }

    /// A disk for one core of the process that runs now.
    ///
    /// # Panics
    /// When the real system is out of descriptors.
    #[must_use]
    pub fn disk(&self) -> SimDisk {
        let mut world = self.lock();
        let number = world.number();
        SimDisk {
            simulation: self.clone(),
            number,
            generation: world.generation,
            waiting: RefCell::default(),
            wake: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .expect("the real system has a descriptor left"),
        }
    }

    /// Opens a file for synchronous use, read and write; creates it if it is not there. Its name is durable only after
    /// [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// No such directory.
    pub fn file(&self, path: &Path) -> io::Result<SimFile> {
        SimFile::open(self, path)
    }

    /// Makes the names in a directory durable, at once.
    ///
    /// # Errors
    /// No such directory.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.lock();
        let dir = world.tree.lookup(path)?;
        if !world.tree.is_dir(dir) {
            return Err(Errno::NOTDIR.into());
        }
        world.trace.event(format!("sync dir {} at once", path.display()));
        world.tree.make_durable(dir);
        Ok(())
    }

    /// Kills the process: see [`SimOptions::late_write`]. All disks and open files are dead afterwards, their futures never
    /// complete; take new ones.
    pub fn crash_process(&self) {
        self.lock().kill_process().expect("memfds work");
    }

    /// Cuts the power: what was not synced survives by chance. Otherwise as [`crash_process`](Self::crash_process).
    pub fn crash_power(&self) {
        self.lock().cut_power().expect("memfds work");
    }

    /// Lets `fault` strike the next fitting operation on the file that `path` names then.
    pub fn inject(&self, path: &Path, fault: Fault) {
        self.lock().injections.push(Injection { path: path.to_owned(), fault });
    }

    /// Changes the rates from here on.
    pub fn set_options(&self, options: SimOptions) {
        self.lock().options = options;
    }

    /// Sets the time that written files get, milliseconds since 1970.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.lock().now_ms = now_ms;
    }

    /// A number for all that happened so far: equal for equal runs.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.lock().trace.hash()
    }

    /// How many events the trace covers.
    #[must_use]
    pub fn trace_events(&self) -> u64 {
        self.lock().trace.events()
    }

    /// The events as text, if [`SimOptions::keep_log`] was set from the beginning.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.lock().trace.log().to_vec()
    }

    /// The same from event number `first` on.
    #[must_use]
    pub fn log_from(&self, first: usize) -> Vec<String> {
        self.lock().trace.log().get(first..).unwrap_or_default().to_vec()
    }

    /// The names in a directory as every process sees them, sorted; none where there is no such directory.
    #[must_use]
    pub fn names(&self, dir: &Path) -> Vec<String> {
        let entries = self.lock().tree.list(dir).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// The names in a directory that are on the device, sorted: what is there after a power cut that takes all the rest.
    #[must_use]
    pub fn durable_names(&self, dir: &Path) -> Vec<String> {
        self.lock().tree.list_durable(dir).unwrap_or_default()
    }

    /// How much of the device is taken, in bytes; see [`SimOptions::capacity_bytes`].
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Flips one bit of what the device holds of a file, and shows it to readers; false where there is no such file, or nothing on
    /// the device.
    pub fn flip_bit(&self, path: &Path) -> bool {
        self.lock().flip_bit(path).expect("memfds work")
    }

    /// Lets all writes of a killed process land that have not yet: what waiting for its lock comes to.
    pub fn finish_late_writes(&self) {
        let mut world = self.lock();
        while !world.late.is_empty() {
            world.land_late_writes();
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("the simulation does not panic while it is locked")
    }
}

/// One core's disk on a [`Simulation`].
#[derive(Debug)]
pub struct SimDisk {
    simulation: Simulation,
    number: u64,
    generation: u64,
    waiting: RefCell<BTreeMap<u64, PendingHandle>>,
    wake: OwnedFd,
}

impl SimDisk {
    /// The first disk of a new machine.
    #[must_use]
    pub fn new(seed: u64, options: SimOptions) -> SimDisk {
        Simulation::new(seed, options).disk()
    }

    /// The machine, for crashes, faults and more disks.
    #[must_use]
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// The machine, if this disk's process still lives.
    fn world(&self) -> Option<MutexGuard<'_, World>> {
        Some(self.simulation.lock()).filter(|world| world.generation == self.generation)
    }

    fn signal(&self) {
        // Fails only when the counter is full, and then it is readable anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Disk for SimDisk {
    fn submit(&self, op: Op) -> Pending {
        let (pending, handle) = Pending::new();
        // After the crash nobody is told anything: the future stays pending, like everything of a dead process.
        if let Some(mut world) = self.world() {
            let number = world.submit(self.number, op);
            self.waiting.borrow_mut().insert(number, handle);
            self.signal();
        }
        pending
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn reap(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut count);
        let Some(mut world) = self.world() else { return };
        let completed = world.complete_some(self.number);
        drop(world);
        for (number, result) in completed {
            let handle = self.waiting.borrow_mut().remove(&number).expect("an operation completes once");
            handle.complete(result);
        }
        if !self.waiting.borrow().is_empty() {
            self.signal();
        }
    }

    fn in_flight(&self) -> usize {
        self.waiting.borrow().len()
    }

    fn try_read(&self, file: &DiskFile, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world().ok_or(Errno::IO)?;
        Ok(world.try_read(file, position, into)?)
    }

    fn residency(&self, file: &DiskFile, position: u64, length: u64) -> Residency {
        self.world().map_or(Residency::Cold, |mut world| world.residency(file, position, length))
    }
}

impl Drop for SimDisk {
    /// A disk that is given up in order completes what was submitted, as the real ones do.
    fn drop(&mut self) {
        let waiting = std::mem::take(self.waiting.get_mut());
        for (number, handle) in waiting {
            let Some(result) = self.world().map(|mut world| world.complete(number)) else { return };
            handle.complete(result);
        }
    }
}
