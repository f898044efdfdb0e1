//! The machine behind all simulated disks of a run: files, names, operations in flight, chance and the trace.
//!
//! One operation takes effect as a whole at the moment it completes; what a sync covers is fixed at the moment it is submitted.
//! Crashes are in `crash`. It completes no futures: that is its callers', the disks.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::BytesMut;
use rustix::io::Errno;

use super::inode::{Capture, Inode, PAGE_BYTES};
use super::options::{Fault, Injection, SimOptions};
use super::prng::Prng;
use super::trace::{Trace, describe};
use super::tree::{ROOT, Tree};
use crate::disk::file::FileWatch;
use crate::disk::{DiskFile, Done, FileInfo, Op, OpenHow, Residency, VolumeInfo};

/// Files that nothing can reach any more are looked for after so many openings.
const SWEEP_EVERY_OPENS: u64 = 64;

/// A volume without a stated capacity, half full.
const VOLUME: VolumeInfo = VolumeInfo { total_bytes: 1 << 40, usable_bytes: 1 << 39 };

#[derive(Debug)]
pub(super) struct World {
    pub(super) options: SimOptions,
    pub(super) prng: Prng,
    pub(super) trace: Trace,
    pub(super) now_ms: i64,
    /// Rises with each crash; disks and files of an older one are dead.
    pub(super) generation: u64,
    pub(super) files: BTreeMap<u64, Inode>,
    pub(super) tree: Tree,
    pub(super) opened: BTreeMap<u64, Opened>,
    pub(super) in_flight: BTreeMap<u64, Flight>,
    /// Writes of a killed process that have not landed yet.
    pub(super) late: Vec<LateWrite>,
    pub(super) injections: Vec<Injection>,
    /// One counter for nodes, open files and operations: every number means one thing.
    next_number: u64,
    pub(super) write_number: u64,
    opens_since_sweep: u64,
}

/// What a number inside a [`DiskFile`] stands for.
#[derive(Debug)]
pub(super) struct Opened {
    node: u64,
    writable: bool,
    watch: FileWatch,
}

/// An operation between its submission and its completion.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) disk: u64,
    pub(super) op: Op,
    /// Of a sync of a file: what it has to make durable.
    pub(super) capture: Option<Capture>,
}

#[derive(Debug)]
pub(super) struct LateWrite {
    pub(super) node: u64,
    pub(super) position: u64,
    pub(super) bytes: Vec<u8>,
}

impl World {
    pub(super) fn new(seed: u64, options: SimOptions) -> World {
        World {
            prng: Prng::new(seed),
            trace: Trace::new(options.keep_log),
            options,
            now_ms: 0,
            generation: 0,
            files: BTreeMap::new(),
            tree: Tree::new(),
            opened: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            late: Vec::new(),
            injections: Vec::new(),
            next_number: ROOT + 1,
            write_number: 0,
            opens_since_sweep: 0,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Takes an operation in.
    pub(super) fn submit(&mut self, disk: u64, op: Op) -> u64 {
        let number = self.number();
        let text = describe(&op, |file| self.node_name(file));
        self.trace.event(format!("submit {number} {text}"));
        let capture = match &op {
            Op::SyncData { file } | Op::SyncAll { file } => {
                // A dead file or a directory has nothing to capture; the operation itself will say so.
                let node = self.node(file, false).ok();
                node.and_then(|node| self.files.get(&node)?.capture(self.write_number).ok())
            }
            _ => None,
        };
        self.in_flight.insert(number, Flight { disk, op, capture });
        number
    }

    /// Completes a seeded choice of a disk's operations, at least one if there are any.
    pub(super) fn complete_some(&mut self, disk: u64) -> Vec<(u64, std::io::Result<Done>)> {
        self.land_late_writes();
        let ready: Vec<u64> =
            self.in_flight.iter().filter(|(_, flight)| flight.disk == disk).map(|(n, _)| *n).collect();
        let mut chosen: Vec<u64> = ready.iter().copied().filter(|_| !self.prng.chance(self.options.delay)).collect();
        if let (true, [_, ..]) = (chosen.is_empty(), &ready[..]) {
            chosen.push(ready[self.prng.below_usize(ready.len())]);
        }
        if self.prng.chance(self.options.reorder) {
            self.prng.shuffle(&mut chosen);
        }
        chosen.into_iter().map(|number| (number, self.complete(number))).collect()
    }

    pub(super) fn complete(&mut self, number: u64) -> std::io::Result<Done> {
        let flight = self.in_flight.remove(&number).expect("only what is in flight is completed");
        let result = self.perform(flight);
        self.trace.event(match &result {
            Ok(Done::File(_)) => format!("done {number} opened"),
            Ok(Done::Written { count, .. }) => format!("done {number} wrote {count}"),
            Ok(Done::Bytes(bytes)) => format!("done {number} {} {:08x}", bytes.len(), crc32fast::hash(bytes)),
            Ok(done) => format!("done {number} {done:?}"),
            Err(error) => format!("done {number} {error}"),
        });
        result.map_err(std::io::Error::from)
    }

    fn perform(&mut self, flight: Flight) -> Result<Done, Errno> {
        let capture = flight.capture;
        match flight.op {
            Op::Open { path, how } => self.open(&path, how).map(Done::File),
            Op::Read { file, position, length } => self.read(&file, position, length, false).map(Done::Bytes),
            Op::ReadDirect { file, position, length } => self.read(&file, position, length, true).map(Done::Bytes),
            Op::Write { file, position, buffers, .. } => {
                let count = self.write(&file, position, &buffers)?;
                Ok(Done::Written { count, buffers })
            }
            Op::SyncData { file } | Op::SyncAll { file } => self.sync(&file, capture).map(nothing),
            Op::StartWriteback { file, .. } => self.file(&file, true).map(|_| Done::Nothing),
            Op::Allocate { file, position, length } => self.allocate(&file, position, length).map(nothing),
            Op::SetLength { file, length } => {
                let (write_number, now_ms) = (self.next_write_number(), self.now_ms);
                self.file(&file, true)?.set_length(length, write_number, now_ms).map(nothing)
            }
            Op::DropCache { file, position, length } => {
                self.file(&file, false)?.drop_cache(position, length).map(nothing)
            }
            Op::NextData { file, position } => self.file(&file, false)?.next_data(position).map(Done::Position),
            Op::Info { file } => {
                let inode = self.file(&file, false)?;
                Ok(Done::Info(FileInfo { length: inode.length(), modified_ms: inode.modified_ms }))
            }
            Op::ListDir { path } => {
                refuse_nul(&path)?;
                self.tree.list(&path).map(Done::Entries)
            }
            Op::Volume { path } => {
                self.tree.list(&path)?;
                Ok(Done::Volume(self.volume()))
            }
            Op::CreateDir { path } => {
                let place = self.tree.place(&path)?;
                let node = self.number();
                self.tree.create_dir(place, node).map(nothing)
            }
            Op::Rename { from, to } => self.tree.rename(&from, &to).map(nothing),
            Op::RemoveFile { path } => self.tree.remove_file(&path).map(nothing),
            Op::RemoveDir { path } => self.tree.remove_dir(&path).map(nothing),
        }
    }

    pub(super) fn open(&mut self, path: &Path, how: OpenHow) -> Result<DiskFile, Errno> {
        let node = match how {
            OpenHow::Read | OpenHow::ReadWrite | OpenHow::Directory => self.tree.lookup(path)?,
            OpenHow::CreateNew | OpenHow::CreateEmpty => self.create(path, how)?,
        };
        if self.injected(node, |fault| *fault == Fault::OpenFindsNoDescriptor).is_some() {
            return Err(Errno::MFILE);
        }
        let is_dir = self.tree.is_dir(node);
        let descriptor = match (is_dir, how) {
            (true, OpenHow::Directory) => rustix::fs::memfd_create("ringmill-dir", rustix::fs::MemfdFlags::CLOEXEC)?,
            (true, OpenHow::ReadWrite | OpenHow::CreateNew | OpenHow::CreateEmpty) => return Err(Errno::ISDIR),
            // The real system opens a directory for reading too, and then refuses the read.
            (true, OpenHow::Read) => return Err(Errno::ISDIR),
            (false, OpenHow::Directory) => return Err(Errno::NOTDIR),
            (false, _) => self.files[&node].descriptor()?,
        };
        let number = self.number();
        let file = DiskFile::simulated(descriptor, number);
        let writable = !matches!(how, OpenHow::Read | OpenHow::Directory);
        self.opened.insert(number, Opened { node, writable, watch: file.watch() });
        self.sweep_sometimes();
        Ok(file)
    }

    fn create(&mut self, path: &Path, how: OpenHow) -> Result<u64, Errno> {
        let place = self.tree.place(path)?;
        match self.tree.at(&place) {
            Some(_) if how == OpenHow::CreateNew => Err(Errno::EXIST),
            Some(node) => {
                if !self.tree.is_dir(node) {
                    let (write_number, now_ms) = (self.next_write_number(), self.now_ms);
                    let inode = self.files.get_mut(&node).expect("a name that is no directory is a file");
                    inode.set_length(0, write_number, now_ms)?;
                }
                Ok(node)
            }
            None => {
                if self.prng.chance(self.options.no_space) {
                    return Err(Errno::NOSPC);
                }
                let node = self.number();
                self.files.insert(node, Inode::new(self.now_ms)?);
                self.tree.create_file(place, node);
                Ok(node)
            }
        }
    }

    pub(super) fn read(
        &mut self,
        file: &DiskFile,
        position: u64,
        length: usize,
        direct: bool,
    ) -> Result<BytesMut, Errno> {
        let node = self.node(file, false)?;
        if self.injected(node, |fault| *fault == Fault::ReadFails).is_some()
            || self.prng.chance(self.options.read_error)
        {
            return Err(Errno::IO);
        }
        let inode = self.file(file, false)?;
        if direct { inode.read_direct(position, length) } else { inode.read(position, length) }
    }

    pub(super) fn write(&mut self, file: &DiskFile, position: u64, buffers: &[BytesMut]) -> Result<usize, Errno> {
        let node = self.node(file, true)?;
        let bytes = buffers.concat();
        let (count, error) = self.fate_of_write(node, position, bytes.len());
        let (write_number, now_ms) = (self.next_write_number(), self.now_ms);
        let inode = self.files.get_mut(&node).ok_or(Errno::ISDIR)?;
        inode.write(position, &bytes[..count], write_number, now_ms)?;
        error.map_or(Ok(count), Err)
    }

    /// How many bytes of a write reach the cache, and the error if it fails.
    fn fate_of_write(&mut self, node: u64, position: u64, length: usize) -> (usize, Option<Errno>) {
        let fits =
            |fault: &Fault| matches!(fault, Fault::WriteFails | Fault::WriteStops { .. } | Fault::WriteFindsNoSpace);
        match self.injected(node, fits) {
            Some(Fault::WriteFails) => return (0, Some(Errno::IO)),
            Some(Fault::WriteFindsNoSpace) => return (0, Some(Errno::NOSPC)),
            Some(Fault::WriteStops { after_bytes }) => return (after_bytes.min(length), None),
            _ => {}
        }
        if self.prng.chance(self.options.write_error) {
            return (self.prng.below_usize(length + 1), Some(Errno::IO));
        }
        if self.prng.chance(self.options.no_space) || !self.has_space(node, position, length as u64) {
            return (0, Some(Errno::NOSPC));
        }
        if length > 1 && self.prng.chance(self.options.short_write) {
            return (1 + self.prng.below_usize(length - 1), None);
        }
        (length, None)
    }

    fn allocate(&mut self, file: &DiskFile, position: u64, length: u64) -> Result<(), Errno> {
        let node = self.node(file, true)?;
        if length == 0 {
            return Err(Errno::INVAL);
        }
        if self.injected(node, |fault| *fault == Fault::AllocateFindsNoSpace).is_some()
            || self.prng.chance(self.options.no_space)
            || !self.has_space(node, position, length)
        {
            return Err(Errno::NOSPC);
        }
        let now_ms = self.now_ms;
        self.file(file, true)?.allocate(position, length, now_ms)
    }

    pub(super) fn sync(&mut self, file: &DiskFile, capture: Option<Capture>) -> Result<(), Errno> {
        let node = self.node(file, false)?;
        let fits = |fault: &Fault| matches!(fault, Fault::SyncFails | Fault::SyncFindsNoSpace);
        let error = match self.injected(node, fits) {
            Some(Fault::SyncFindsNoSpace) => Some(Errno::NOSPC),
            Some(_) => Some(Errno::IO),
            None if self.prng.chance(self.options.sync_error) => Some(Errno::IO),
            None if self.prng.chance(self.options.no_space) => Some(Errno::NOSPC),
            None => None,
        };
        match (self.files.get_mut(&node), capture, error) {
            (Some(inode), Some(capture), None) => inode.make_durable(capture),
            (Some(inode), Some(capture), Some(_)) => inode.lose(capture, &mut self.prng),
            (None, _, None) => self.tree.make_durable(node),
            _ => {}
        }
        error.map_or(Ok(()), Err)
    }

    pub(super) fn try_read(&mut self, file: &DiskFile, position: u64, into: &mut [u8]) -> Result<usize, Errno> {
        let surprise = self.prng.chance(self.options.cold);
        let inode = self.file(file, false)?;
        let wanted = (into.len() as u64).min(inode.length().saturating_sub(position));
        if wanted > 0 && (surprise || inode.is_cold(position, wanted)) {
            return Err(Errno::AGAIN);
        }
        let bytes = inode.read(position, into.len())?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    pub(super) fn residency(&mut self, file: &DiskFile, position: u64, length: u64) -> Residency {
        let surprise = length > 0 && self.prng.chance(self.options.cold);
        match self.file(file, false) {
            Ok(inode) if !surprise && !inode.is_cold(position, length) => Residency::Cached,
            _ => Residency::Cold,
        }
    }

    pub(super) fn next_write_number(&mut self) -> u64 {
        self.write_number += 1;
        self.write_number
    }

    pub(super) fn node(&self, file: &DiskFile, for_writing: bool) -> Result<u64, Errno> {
        // A file of before a crash is no longer known.
        let opened = self.opened.get(&file.simulated_number()).ok_or(Errno::BADF)?;
        if for_writing && !opened.writable { Err(Errno::BADF) } else { Ok(opened.node) }
    }

    pub(super) fn file(&mut self, file: &DiskFile, for_writing: bool) -> Result<&mut Inode, Errno> {
        let node = self.node(file, for_writing)?;
        self.files.get_mut(&node).ok_or(Errno::ISDIR)
    }

    fn node_name(&self, file: &DiskFile) -> String {
        self.node(file, false).map_or_else(|_| "dead".to_owned(), |node| format!("#{node}"))
    }

    /// Takes the first waiting injection that fits, if its path leads to this node now.
    fn injected(&mut self, node: u64, fits: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let strikes = |injection: &Injection| {
            fits(&injection.fault) && self.tree.lookup(&injection.path).is_ok_and(|found| found == node)
        };
        let place = self.injections.iter().position(strikes)?;
        Some(self.injections.remove(place).fault)
    }

    fn has_space(&self, node: u64, position: u64, length: u64) -> bool {
        let Some(capacity_bytes) = self.options.capacity_bytes else { return true };
        let needed = self.files.get(&node).map_or(0, |inode| inode.unallocated_pages(position, length));
        needed == 0 || self.used_bytes() + needed.saturating_mul(PAGE_BYTES) <= capacity_bytes
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let named = self.tree.named();
        let files = self.files.iter().filter(|(node, _)| named.contains(node));
        files.map(|(_, inode)| inode.allocated_pages()).sum::<u64>() * PAGE_BYTES
    }

    fn volume(&self) -> VolumeInfo {
        let Some(total_bytes) = self.options.capacity_bytes else { return VOLUME };
        VolumeInfo { total_bytes, usable_bytes: total_bytes.saturating_sub(self.used_bytes()) }
    }

    pub(super) fn flip_bit(&mut self, path: &Path) -> Result<bool, Errno> {
        let Ok(node) = self.tree.lookup(path) else { return Ok(false) };
        let Some(inode) = self.files.get_mut(&node) else { return Ok(false) };
        let Some(position) = inode.flip_bit(&mut self.prng)? else { return Ok(false) };
        self.trace.event(format!("a bit flips in {} @{position}", path.display()));
        Ok(true)
    }

    /// Gives back the memory of removed files that are closed and that no crash can bring back.
    fn sweep_sometimes(&mut self) {
        self.opens_since_sweep += 1;
        if self.opens_since_sweep < SWEEP_EVERY_OPENS {
            return;
        }
        self.opens_since_sweep = 0;
        self.opened.retain(|_, opened| opened.watch.is_open());
        let mut kept = self.tree.reachable();
        kept.extend(self.opened.values().map(|opened| opened.node));
        kept.extend(self.late.iter().map(|late| late.node));
        self.files.retain(|node, _| kept.contains(node));
        self.tree.forget_dirs_except(&kept);
    }
}

fn nothing((): ()) -> Done {
    Done::Nothing
}

fn refuse_nul(path: &Path) -> Result<(), Errno> {
    if path.as_os_str().as_encoded_bytes().contains(&0) { Err(Errno::INVAL) } else { Ok(()) }
}
