//! The seam between the engine and storage: owned operations go in, one concrete future comes out.
//!
//! Three implementations stand behind it: one on a ring ([`uring`]), plain system calls on a small pool ([`posix`]), and a seeded
//! simulation with faults. Whoever runs the thread awaits [`Disk::wake_fd`] and then calls [`Disk::reap`]; library users and
//! tests call [`block_on`]. No implementation ever retries a failed sync, and none frees a buffer that the kernel still uses.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use bytes::BytesMut;

mod calls;
mod choose;
mod file;
mod pending;
pub mod posix;
pub mod probe;
mod queue;
pub mod sim;
mod syscalls;
pub mod uring;

pub use choose::{DiskChoice, DiskKind, NoDisk, OpenedDisk, open};
pub use file::{DirEntry, DiskFile, FileInfo, VolumeInfo};
pub use pending::{Pending, PendingHandle, block_on};
pub use posix::PosixDisk;
pub use probe::Unavailable;
pub use sim::{SimDisk, SimOptions, Simulation};
pub use uring::{UringDisk, UringOptions};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenHow {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file for reading and writing; an existing one is an error (`AlreadyExists`).
    CreateNew,
    /// A file for reading and writing, made empty if it exists and created if not.
    CreateEmpty,
    /// A directory, for [`Op::SyncAll`].
    Directory,
}

/// One operation. It owns all that it needs: buffers and descriptor belong to the in-flight table until the completion.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant's sentence names its fields")]
pub enum Op {
    /// Opens `path`; completes with [`Done::File`].
    Open { path: PathBuf, how: OpenHow },
    /// Reads at most `length` bytes from `position`; completes with [`Done::Bytes`], shorter at the end of the file.
    Read { file: DiskFile, position: u64, length: usize },
    /// The same past the page cache (`O_DIRECT`; alignment is the implementation's business): what the device holds.
    ReadDirect { file: DiskFile, position: u64, length: usize },
    /// Writes the buffers one behind the other from `position`; completes with [`Done::Written`], whose count may be short. `send_early` asks
    /// that the first bytes leave for the device while the last are still copied; like `StartWriteback` it makes nothing durable. It is a
    /// wish: the ring's own writes do not send early.
    Write { file: DiskFile, position: u64, buffers: Vec<BytesMut>, send_early: bool },
    /// fdatasync: all that was complete when this was submitted is durable when it completes.
    SyncData { file: DiskFile },
    /// fsync, of a file or a directory.
    SyncAll { file: DiskFile },
    /// Starts writeback of a range without waiting for it (`sync_file_range(WRITE)`); makes nothing durable.
    StartWriteback { file: DiskFile, position: u64, length: u64 },
    /// Secures space inside the file's size (`fallocate` mode 0): reads of it give zeros, writes into it meet no ENOSPC.
    Allocate { file: DiskFile, position: u64, length: u64 },
    /// Sets the file's length: cuts it, or grows it with a hole.
    SetLength { file: DiskFile, length: u64 },
    /// Drops a clean range from the page cache (`POSIX_FADV_DONTNEED`).
    DropCache { file: DiskFile, position: u64, length: u64 },
    /// Finds the first data at or after `position` (`SEEK_DATA`); completes with [`Done::Position`].
    NextData { file: DiskFile, position: u64 },
    /// Length and modification time of an open file; completes with [`Done::Info`].
    Info { file: DiskFile },
    /// Names and kinds in a directory, sorted by name; completes with [`Done::Entries`].
    ListDir { path: PathBuf },
    /// Size and free space of the file system that holds `path`; completes with [`Done::Volume`].
    Volume { path: PathBuf },
    /// Creates one directory; the parent must exist.
    CreateDir { path: PathBuf },
    /// Renames, replacing an existing file. Durable only after a [`Op::SyncAll`] of the directory.
    Rename { from: PathBuf, to: PathBuf },
    /// Removes a file; open descriptors stay readable.
    RemoveFile { path: PathBuf },
    /// Removes an empty directory.
    RemoveDir { path: PathBuf },
}

impl Op {
    /// Whether it may wait long for the device while holding a worker: syncs, and starts of writeback when the device's queue is
    /// full. Every disk caps how many of them run at once.
    fn waits_for_device(&self) -> bool {
        matches!(
            self,
            Op::SyncData { .. } | Op::SyncAll { .. } | Op::StartWriteback { .. } | Op::Write { send_early: true, .. }
        )
    }
}

/// What an operation brought.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant's sentence names its fields")]
pub enum Done {
    /// Nothing beyond its success.
    Nothing,
    /// The opened file.
    File(DiskFile),
    /// The bytes that were read.
    Bytes(BytesMut),
    /// How many bytes were written, and the buffers given back in their order.
    Written { count: usize, buffers: Vec<BytesMut> },
    /// Where the next data begins; `None` when only a hole follows.
    Position(Option<u64>),
    /// Length and modification time.
    Info(FileInfo),
    /// A directory's entries.
    Entries(Vec<DirEntry>),
    /// A file system's size and free space.
    Volume(VolumeInfo),
}

/// Where a range of a file is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// Every page is in the page cache: a read or a sendfile does not wait for the device.
    Cached,
    /// At least one page is not, or it cannot be told.
    Cold,
}

/// Storage, given to the engine. See the module's page for who calls what.
pub trait Disk {
    /// Starts an operation. It may be queued, is bounded by the implementation, and completes even when the future is dropped.
    fn submit(&self, op: Op) -> Pending;

    /// Readable when [`Disk::reap`] has something to do.
    fn wake_fd(&self) -> BorrowedFd<'_>;

    /// Takes what has completed and wakes the futures that wait for it. Never blocks.
    fn reap(&self);

    /// Operations submitted and not yet completed.
    fn in_flight(&self) -> usize;

    /// Reads without waiting for the device (`preadv2(RWF_NOWAIT)`): `WouldBlock` when the bytes are not cached.
    ///
    /// # Errors
    /// `WouldBlock` as said; else what the system call says.
    fn try_read(&self, file: &DiskFile, position: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Whether a range is in the page cache (`cachestat(2)`).
    fn residency(&self, file: &DiskFile, position: u64, length: u64) -> Residency;
}

/// The operations as ordinary calls. Those that may stop short (reads, writes) are resumed here until done.
impl dyn Disk + '_ {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system says: not found, exists already, no permission, …
    pub async fn open(&self, path: &Path, how: OpenHow) -> io::Result<DiskFile> {
        match self.submit(Op::Open { path: path.to_owned(), how }).await? {
            Done::File(file) => Ok(file),
            other => unreachable!("an open completed with {other:?}"),
        }
    }

    /// Reads `length` bytes, or fewer where the file ends.
    ///
    /// # Errors
    /// EIO and its kin.
    pub async fn read_at(&self, file: &DiskFile, position: u64, length: usize) -> io::Result<BytesMut> {
        let mut whole = self.read_once(file, position, length).await?;
        while whole.len() < length {
            let more = self.read_once(file, position + whole.len() as u64, length - whole.len()).await?;
            if more.is_empty() {
                break;
            }
            whole.unsplit(more);
        }
        Ok(whole)
    }

    async fn read_once(&self, file: &DiskFile, position: u64, length: usize) -> io::Result<BytesMut> {
        match self.submit(Op::Read { file: file.clone(), position, length }).await? {
            Done::Bytes(bytes) => Ok(bytes),
            other => unreachable!("a read completed with {other:?}"),
        }
    }

    /// Reads what the device holds, past the page cache.
    ///
    /// # Errors
    /// EIO and its kin.
    pub async fn read_direct(&self, file: &DiskFile, position: u64, length: usize) -> io::Result<BytesMut> {
        match self.submit(Op::ReadDirect { file: file.clone(), position, length }).await? {
            Done::Bytes(bytes) => Ok(bytes),
            other => unreachable!("a read completed with {other:?}"),
        }
    }

    /// Writes all of `buffers`, one behind the other; short writes are resumed. Gives the buffers back, emptied of what was
    /// written but with their memory, for reuse.
    ///
    /// # Errors
    /// The first failure; how much was written before it is then not known.
    pub async fn write_all_at(
        &self,
        file: &DiskFile,
        position: u64,
        buffers: Vec<BytesMut>,
    ) -> io::Result<Vec<BytesMut>> {
        self.write_whole(file, position, buffers, false).await
    }

    /// As `write_all_at`, and the first bytes leave for the device while the last are still copied.
    ///
    /// # Errors
    /// As `write_all_at`. That bytes have left makes none of them durable.
    pub async fn write_all_early_at(
        &self,
        file: &DiskFile,
        position: u64,
        buffers: Vec<BytesMut>,
    ) -> io::Result<Vec<BytesMut>> {
        self.write_whole(file, position, buffers, true).await
    }

    async fn write_whole(
        &self,
        file: &DiskFile,
        mut position: u64,
        mut buffers: Vec<BytesMut>,
        send_early: bool,
    ) -> io::Result<Vec<BytesMut>> {
        let mut finished = Vec::new();
        loop {
            let wanted: usize = buffers.iter().map(BytesMut::len).sum();
            let write = Op::Write { file: file.clone(), position, buffers, send_early };
            let (count, back) = match self.submit(write).await? {
                Done::Written { count, buffers } => (count, buffers),
                other => unreachable!("a write completed with {other:?}"),
            };
            assert!(count <= wanted, "wrote {count} of {wanted} bytes");
            if count == wanted {
                finished.extend(back);
                return Ok(finished);
            }
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            position += count as u64;
            buffers = skip_written(back, count, &mut finished);
        }
    }

    /// fdatasync. Never call it again for the same bytes after it failed.
    ///
    /// # Errors
    /// The device's: what was not durable before may be lost, whatever a later call says.
    pub async fn sync_data(&self, file: &DiskFile) -> io::Result<()> {
        self.submit(Op::SyncData { file: file.clone() }).await.map(drop)
    }

    /// fsync of a file with its metadata.
    ///
    /// # Errors
    /// As `sync_data`.
    pub async fn sync_all(&self, file: &DiskFile) -> io::Result<()> {
        self.submit(Op::SyncAll { file: file.clone() }).await.map(drop)
    }

    /// Makes creations, renames and removals inside a directory durable.
    ///
    /// # Errors
    /// As `sync_data`.
    pub async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let dir = self.open(path, OpenHow::Directory).await?;
        self.sync_all(&dir).await
    }

    /// Starts writeback of a range.
    ///
    /// # Errors
    /// What the system says; nothing depends on its success.
    pub async fn start_writeback(&self, file: &DiskFile, position: u64, length: u64) -> io::Result<()> {
        self.submit(Op::StartWriteback { file: file.clone(), position, length }).await.map(drop)
    }

    /// Secures space.
    ///
    /// # Errors
    /// ENOSPC, cleanly: nothing was changed that matters.
    pub async fn allocate(&self, file: &DiskFile, position: u64, length: u64) -> io::Result<()> {
        self.submit(Op::Allocate { file: file.clone(), position, length }).await.map(drop)
    }

    /// Sets a file's length.
    ///
    /// # Errors
    /// What the system says.
    pub async fn set_length(&self, file: &DiskFile, length: u64) -> io::Result<()> {
        self.submit(Op::SetLength { file: file.clone(), length }).await.map(drop)
    }

    /// Drops a clean range from the page cache.
    ///
    /// # Errors
    /// What the system says; success does not promise that every page went: see [`Disk::residency`].
    pub async fn drop_cache(&self, file: &DiskFile, position: u64, length: u64) -> io::Result<()> {
        self.submit(Op::DropCache { file: file.clone(), position, length }).await.map(drop)
    }

    /// The first data at or after `position`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn next_data(&self, file: &DiskFile, position: u64) -> io::Result<Option<u64>> {
        match self.submit(Op::NextData { file: file.clone(), position }).await? {
            Done::Position(found) => Ok(found),
            other => unreachable!("a seek completed with {other:?}"),
        }
    }

    /// Length and modification time.
    ///
    /// # Errors
    /// What the system says.
    pub async fn info(&self, file: &DiskFile) -> io::Result<FileInfo> {
        match self.submit(Op::Info { file: file.clone() }).await? {
            Done::Info(info) => Ok(info),
            other => unreachable!("an info completed with {other:?}"),
        }
    }

    /// A directory's entries, sorted by name.
    ///
    /// # Errors
    /// What the system says.
    pub async fn list_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match self.submit(Op::ListDir { path: path.to_owned() }).await? {
            Done::Entries(entries) => Ok(entries),
            other => unreachable!("a listing completed with {other:?}"),
        }
    }

    /// Size and free space of the file system that holds `path`.
    ///
    /// # Errors
    /// What the system says.
    pub async fn volume(&self, path: &Path) -> io::Result<VolumeInfo> {
        match self.submit(Op::Volume { path: path.to_owned() }).await? {
            Done::Volume(volume) => Ok(volume),
            other => unreachable!("a look at a volume completed with {other:?}"),
        }
    }

    /// Creates one directory.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the system says.
    pub async fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.submit(Op::CreateDir { path: path.to_owned() }).await.map(drop)
    }

    /// Renames; call `sync_dir` after it.
    ///
    /// # Errors
    /// What the system says.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.submit(Op::Rename { from: from.to_owned(), to: to.to_owned() }).await.map(drop)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    pub async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.submit(Op::RemoveFile { path: path.to_owned() }).await.map(drop)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the system says.
    pub async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.submit(Op::RemoveDir { path: path.to_owned() }).await.map(drop)
    }
}

/// Where a range of a file is now, asked on a thread that has no disk: a range that is being sent.
#[must_use]
pub fn residency_of(file: &DiskFile, position: u64, length: u64) -> Residency {
    calls::residency(file, position, length)
}

/// Whether a sync that was made elsewhere and said 0 may be believed; every [`Disk`] asks this after its own syncs.
///
/// # Errors
/// What the file system says that has given up on its device: the sync has then failed.
pub fn believe_sync(file: BorrowedFd<'_>) -> io::Result<()> {
    calls::believe_sync(file).map_err(io::Error::from)
}

/// Whether an error says that there is no space left, on the device or for this user: what a moment ago could be written may be
/// possible again when something was deleted.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Drops the first `count` written bytes from the buffers; those wholly written go to `finished`.
fn skip_written(buffers: Vec<BytesMut>, mut count: usize, finished: &mut Vec<BytesMut>) -> Vec<BytesMut> {
    let mut rest = Vec::with_capacity(buffers.len());
    for mut buffer in buffers {
        if count >= buffer.len() {
            count -= buffer.len();
            finished.push(buffer);
        } else {
            bytes::Buf::advance(&mut buffer, count);
            count = 0;
            rest.push(buffer);
        }
    }
    rest
}
