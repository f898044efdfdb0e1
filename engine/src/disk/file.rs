//! An open file as every disk hands it out, and what it says about files and directories.
//!
//! It holds a real descriptor in all implementations (the simulation's are memfds), so a file range can be sent from anywhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

/// An open file or directory. Cheap to clone; the descriptor closes with the last clone, so whoever plans a read keeps the
/// file alive even when retention has removed its name. May be used through any `Disk` of the process.
#[derive(Clone, Debug)]
pub struct DiskFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    descriptor: OwnedFd,
    /// Tells the simulation which of its files this is; 0 elsewhere.
    simulated: u64,
}

impl DiskFile {
    /// Wraps a descriptor of the real system.
    #[must_use]
    pub fn new(descriptor: OwnedFd) -> DiskFile {
        DiskFile::simulated(descriptor, 0)
    }

    /// Wraps a memfd that stands for the simulation's file `number`.
    pub(super) fn simulated(descriptor: OwnedFd, number: u64) -> DiskFile {
        DiskFile(Arc::new(Inner { descriptor, simulated: number }))
    }

    /// The simulation's number of this file, 0 elsewhere.
    pub(super) fn simulated_number(&self) -> u64 {
        self.0.simulated
    }

    /// Lets the simulation notice when the last clone is gone.
    pub(super) fn watch(&self) -> FileWatch {
        FileWatch(Arc::downgrade(&self.0))
    }
}

/// Knows whether a file is still open, without keeping it so.
#[derive(Debug)]
pub(super) struct FileWatch(Weak<Inner>);

impl FileWatch {
    pub(super) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl AsFd for DiskFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

/// What a disk knows about an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Bytes, holes and secured space included.
    pub length: u64,
    /// Last modification, milliseconds since 1970.
    pub modified_ms: i64,
}

/// What a disk knows about a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// What this process may still take.
    pub usable_bytes: u64,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without its directory. Names that are not UTF-8 are shown with replacement characters and can only be foreign.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}
