//! A disk whose operations complete within the call that submits them, on files in memory.
//!
//! Rings cannot be run under valgrind, the pool of plain calls has threads, and the simulation does more for its trace than a log does
//! for an append. The kernel's instructions are not counted, so that nothing is left of the disk but the calls. Neither the directory for
//! temporary files nor its file system has a part in it: already another length of a path would move what is allocated behind it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use ringmill_engine::disk::{DirEntry, Disk, DiskFile, Done, FileInfo, Op, OpenHow, Pending, Residency, VolumeInfo};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, ftruncate, memfd_create};

/// See the file's page.
#[derive(Debug)]
pub(super) struct ImmediateDisk {
    /// By name. Every opening of one gives the same file; directories are not kept.
    files: RefCell<BTreeMap<PathBuf, DiskFile>>,
    /// Never readable: nothing is ever under way.
    wake: OwnedFd,
}

impl ImmediateDisk {
    /// Without a file.
    pub(super) fn new() -> io::Result<ImmediateDisk> {
        Ok(ImmediateDisk { files: RefCell::default(), wake: eventfd(0, EventfdFlags::CLOEXEC)? })
    }

    fn perform(&self, op: Op) -> io::Result<Done> {
        match op {
            Op::Open { path, how } => self.open(path, how).map(Done::File),
            Op::Read { file, position, length } | Op::ReadDirect { file, position, length } => {
                let mut bytes = BytesMut::zeroed(length);
                let count = rustix::io::pread(&file, &mut bytes[..], position)?;
                bytes.truncate(count);
                Ok(Done::Bytes(bytes))
            }
            Op::Write { file, position, buffers, .. } => {
                let slices: Vec<io::IoSlice<'_>> = buffers.iter().map(|buffer| io::IoSlice::new(buffer)).collect();
                let count = rustix::io::pwritev(&file, &slices, position)?;
                Ok(Done::Written { count, buffers })
            }
            Op::Allocate { file, position, length } => {
                done(fallocate(&file, FallocateFlags::empty(), position, length))
            }
            Op::SetLength { file, length } => done(ftruncate(&file, length)),
            Op::SyncData { .. } | Op::SyncAll { .. } | Op::StartWriteback { .. } | Op::DropCache { .. } => done(Ok(())),
            Op::NextData { position, .. } => Ok(Done::Position(Some(position))),
            Op::Info { file } => {
                let length = u64::try_from(fstat(&file)?.st_size).map_err(io::Error::other)?;
                Ok(Done::Info(FileInfo { length, modified_ms: 0 }))
            }
            Op::ListDir { path } => Ok(Done::Entries(self.list(&path))),
            Op::Volume { .. } => Ok(Done::Volume(VolumeInfo { total_bytes: 1 << 40, usable_bytes: 1 << 39 })),
            Op::CreateDir { .. } | Op::RemoveDir { .. } => done(Ok(())),
            Op::Rename { from, to } => {
                let file = self.remove(&from)?;
                self.files.borrow_mut().insert(to, file);
                done(Ok(()))
            }
            Op::RemoveFile { path } => self.remove(&path).map(|_| Done::Nothing),
        }
    }

    fn open(&self, path: PathBuf, how: OpenHow) -> io::Result<DiskFile> {
        let mut files = self.files.borrow_mut();
        match (how, files.get(&path)) {
            (OpenHow::Directory, _) => new_file(),
            (OpenHow::CreateNew, Some(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            (OpenHow::CreateEmpty, Some(file)) => {
                ftruncate(file, 0)?;
                Ok(file.clone())
            }
            (OpenHow::CreateNew | OpenHow::CreateEmpty, None) => {
                let file = new_file()?;
                files.insert(path, file.clone());
                Ok(file)
            }
            (OpenHow::Read | OpenHow::ReadWrite, Some(file)) => Ok(file.clone()),
            (OpenHow::Read | OpenHow::ReadWrite, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<DiskFile> {
        self.files.borrow_mut().remove(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> Vec<DirEntry> {
        let files = self.files.borrow();
        let inside = files.keys().filter_map(|path| path.strip_prefix(dir).ok());
        inside.map(|name| DirEntry { name: name.to_string_lossy().into_owned(), is_dir: false }).collect()
    }
}

impl Disk for ImmediateDisk {
    fn submit(&self, op: Op) -> Pending {
        let (pending, handle) = Pending::new();
        handle.complete(self.perform(op));
        pending
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn reap(&self) {}

    fn in_flight(&self) -> usize {
        0
    }

    fn try_read(&self, file: &DiskFile, position: u64, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::pread(file, into, position)?)
    }

    fn residency(&self, _: &DiskFile, _: u64, _: u64) -> Residency {
        Residency::Cached
    }
}

fn new_file() -> io::Result<DiskFile> {
    Ok(DiskFile::new(memfd_create("hot_paths", MemfdFlags::CLOEXEC)?))
}

fn done(result: rustix::io::Result<()>) -> io::Result<Done> {
    Ok(result.map(|()| Done::Nothing)?)
}
