//! The failing disk as a file that the kernel can put a loop device on: a FUSE file system with one file, `disk`, over [`Sectors`], in a
//! process of its own, because the kernel may hold any call into it while the file system above waits.
//!
//! It is steered by lines on its standard input and answers each with one line (`control.rs` is the other end), and it ends when that
//! input ends. It decides by chance which write fails; what a fault means to the broker it does not know.

use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use super::control::{DISK_FILE, Order};
use super::faults::Faults;
use super::sectors::{Kept, SECTOR_BYTES, Sectors};
use crate::random::Random;

/// The one file's number; the root's is 1.
const DISK: INodeNo = INodeNo(2);
/// The kernel may remember what never changes.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// How long a cut waits for the loop device to let go of the file, in steps.
const RELEASE_STEPS_MAX: u32 = 5_000;
const RELEASE_STEP: Duration = Duration::from_millis(2);

/// What kernel and steering share.
struct State {
    sectors: Sectors,
    faults: Faults,
    random: Random,
    /// After a cut nothing is taken any more.
    dead: bool,
    /// How many times the file is open.
    opened: u32,
    tally: Tally,
}

/// What happened since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    writes: u64,
    writes_failed: u64,
    flushes: u64,
    flushes_failed: u64,
    flushes_lied: u64,
    reads_failed: u64,
}

struct Disk(Arc<Mutex<State>>);

/// Serves a disk of this size under `mount_point` until standard input ends.
///
/// # Errors
/// When it cannot be mounted.
pub(crate) fn serve(mount_point: &Path, bytes: usize, seed: u64) -> std::io::Result<()> {
    let state = Arc::new(Mutex::new(State {
        sectors: Sectors::new(bytes),
        faults: Faults::default(),
        random: Random::new(seed),
        dead: false,
        opened: 0,
        tally: Tally::default(),
    }));
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("ringmill-torn-disk".to_owned()), MountOption::NoAtime];
    let session = fuser::spawn_mount(Disk(Arc::clone(&state)), mount_point, &config)?;
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let answer = match Order::parse(&line?) {
            Some(order) => obey(&state, order),
            None => "not understood".to_owned(),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    // What still uses it gets errors from here on, and the kernel forgets it with the last user.
    let _ = rustix::mount::unmount(mount_point, rustix::mount::UnmountFlags::DETACH);
    drop(session);
    Ok(())
}

fn obey(state: &Mutex<State>, order: Order) -> String {
    match order {
        Order::Faults(faults) => {
            lock(state).faults = faults;
            "ok".to_owned()
        }
        Order::Die => {
            let mut state = lock(state);
            state.dead = true;
            format!("unflushed {}", state.sectors.unflushed())
        }
        Order::Cut(tears) => {
            if !wait_for_release(state) {
                return "busy".to_owned();
            }
            let state = &mut *lock(state);
            let kept = Kept::by_chance(&mut state.random, tears);
            let cut = state.sectors.cut(kept, &mut state.random);
            (state.dead, state.faults) = (false, Faults::default());
            let tally = std::mem::take(&mut state.tally);
            format!(
                "kept {} lost {} torn {} writes {} writes_failed {} flushes {} flushes_failed {} flushes_lied {} reads_failed {}",
                cut.sectors_kept,
                cut.sectors_lost,
                cut.blocks_torn,
                tally.writes,
                tally.writes_failed,
                tally.flushes,
                tally.flushes_failed,
                tally.flushes_lied,
                tally.reads_failed
            )
        }
    }
}

/// The loop device closes the file a moment after the unmount.
fn wait_for_release(state: &Mutex<State>) -> bool {
    for _ in 0..RELEASE_STEPS_MAX {
        if lock(state).opened == 0 {
            return true;
        }
        std::thread::sleep(RELEASE_STEP);
    }
    false
}

/// The state is whole between any two statements, so a poisoned lock is of no matter.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        // Reads that the kernel aligns may reach past the end of what was asked, never past the disk's.
        let length = length.min(self.sectors.bytes().saturating_sub(usize::try_from(offset).unwrap_or(usize::MAX)));
        if self.dead || !self.sectors.holds(offset, length) {
            return Err(Errno::EIO);
        }
        if self.random.below(1_000_000) < self.faults.reads_failing_ppm {
            self.tally.reads_failed += 1;
            return Err(Errno::EIO);
        }
        Ok(self.sectors.read(offset, length))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if self.dead || !self.sectors.holds(offset, data.len()) {
            return Err(Errno::EIO);
        }
        self.tally.writes += 1;
        if !self.faults.spares(offset) && self.random.below(1_000_000) < self.faults.writes_failing_ppm {
            self.tally.writes_failed += 1;
            self.sectors.write_some(offset, data, &mut self.random);
            return Err(self.error());
        }
        self.sectors.write(offset, data);
        Ok(())
    }

    /// A program that makes the file system writes what it likes; the loop device only whole sectors.
    fn write_any(&mut self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let sector = SECTOR_BYTES as u64;
        let ahead = usize::try_from(offset % sector).expect("less than a sector");
        if ahead == 0 && data.len().is_multiple_of(SECTOR_BYTES) {
            return self.write(offset, data);
        }
        let first = offset - offset % sector;
        let mut whole = self.read(first, (ahead + data.len()).next_multiple_of(SECTOR_BYTES))?;
        whole.get_mut(ahead..ahead + data.len()).ok_or(Errno::ENOSPC)?.copy_from_slice(data);
        self.write(first, &whole)
    }

    fn flush(&mut self) -> Result<(), Errno> {
        if self.dead {
            return Err(Errno::EIO);
        }
        self.tally.flushes += 1;
        if self.random.below(1_000_000) < self.faults.flushes_failing_ppm {
            self.tally.flushes_failed += 1;
            return Err(self.error());
        }
        if self.random.below(1_000_000) < self.faults.flushes_lying_ppm {
            self.tally.flushes_lied += 1;
            return Ok(());
        }
        self.sectors.flush();
        Ok(())
    }

    fn error(&mut self) -> Errno {
        if self.faults.no_space { Errno::ENOSPC } else { Errno::EIO }
    }

    fn attributes(&self, number: INodeNo) -> FileAttr {
        let is_root = number == INodeNo::ROOT;
        let size = if is_root { 0 } else { self.sectors.bytes() as u64 };
        let epoch = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: number,
            size,
            blocks: size / 512,
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            crtime: epoch,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: if is_root { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == DISK_FILE {
            reply.entry(&FOR_EVER, &lock(&self.0).attributes(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &lock(&self.0).attributes(number));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        _modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _created: Option<SystemTime>,
        _flags_changed: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Times of the file are nobody's business.
        reply.attr(&FOR_EVER, &lock(&self.0).attributes(number));
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if number != DISK {
            return reply.error(Errno::EISDIR);
        }
        lock(&self.0).opened += 1;
        // The kernel must not cache what the disk holds: a flush would then not be ours to see.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match lock(&self.0).read(offset, usize::try_from(size).expect("32 bits fit")) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match lock(&self.0).write_any(offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("FUSE writes are at most some MiB")),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let delay_us = {
            let state = &mut *lock(&self.0);
            state.random.below(state.faults.flush_delay_max_us + 1)
        };
        // Nobody is kept from ending the power meanwhile.
        std::thread::sleep(Duration::from_micros(delay_us));
        match lock(&self.0).flush() {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Somebody closed a descriptor, which makes nothing safe.
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let state = &mut *lock(&self.0);
        state.opened = state.opened.checked_sub(1).expect("only what was opened is released");
        reply.ok();
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
