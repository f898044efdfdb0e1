//! What lies between redb and its file: space that is allocated before it is used, and a memory of what went wrong.
//!
//! redb cannot tell a full disk from a failed sync once a commit has failed; the store must, because the one is refused and the other ends
//! it. Decides nothing; `store.rs` opens its database through it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, StorageBackend};
use ringmill_engine::disk::{believe_sync, is_full};
use rustix::fs::{FallocateFlags, fallocate};

/// A database that passes its checks is small: redb's cache need not be larger than this.
const CACHE_BYTES: usize = 4 << 20;

/// Gives the database's storage, again after each failed write.
pub(super) type OpenStorage = Box<dyn FnMut() -> io::Result<Box<dyn StorageBackend>> + Send>;

/// What has gone wrong under the database, told from outside of it.
#[derive(Debug, Default)]
pub(super) struct StorageFaults {
    /// A sync failed: what was durable before it is no longer known. Never taken back.
    pub(super) sync_failed: AtomicBool,
    /// A sync succeeded since this was last taken back.
    pub(super) has_synced: AtomicBool,
    /// There was no space for a write.
    pub(super) found_full: AtomicBool,
}

/// The real file. All of it is allocated, so that a commit, which writes pages anew and not in place, mostly needs no space that is not
/// there already: deleting a topic must be possible on a full disk.
#[derive(Debug)]
struct FileStorage {
    backend: FileBackend,
    /// The same file.
    file: File,
}

impl FileStorage {
    fn open(file: File) -> io::Result<FileStorage> {
        let length = file.metadata()?.len();
        if length > 0
            && let Err(error) = allocate(&file, length)
        {
            // An older database, on a disk without room for it now: its commits find out for themselves.
            tracing::debug!(%error, length, "the metadata database is not wholly allocated");
        }
        let backend = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        Ok(FileStorage { backend, file })
    }
}

/// Makes sure of space for the first `length` bytes; where a file system cannot, that is no failure. The file's own length stays: ext4
/// moves it block by block, and leaves it where the disk was full. redb sets it in one step, and refuses one that it has never set.
fn allocate(file: &File, length: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        allocated => Ok(allocated?),
    }
}

impl StorageBackend for FileStorage {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let before = self.backend.len()?;
        if length > before
            && let Err(error) = allocate(&self.file, length)
        {
            // What it got before the disk was full lies behind the end, of use to nobody: a cut to the same length gives it back. Where it
            // does not, the space is lost only until the next cut or growth.
            let _ = self.backend.set_len(before);
            return Err(error);
        }
        self.backend.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()?;
        believe_sync(self.file.as_fd())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }
}

/// The storage of a real file; with `create` it is made anew.
pub(super) fn open_file_storage(path: PathBuf, create: bool) -> OpenStorage {
    Box::new(move || {
        let file = File::options().read(true).write(true).create(create).truncate(create).open(&path)?;
        Ok(Box::new(FileStorage::open(file)?) as Box<dyn StorageBackend>)
    })
}

/// Opens the database, or makes it where the storage is empty.
pub(super) fn open_database(open_storage: &mut OpenStorage, faults: &Arc<StorageFaults>) -> io::Result<Database> {
    let inner = open_storage().inspect_err(|error| faults.note_full(error))?;
    open_on(Storage { inner, faults: Arc::clone(faults) })
}

fn open_on(storage: impl StorageBackend) -> io::Result<Database> {
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(storage);
    opened.map_err(|error| match error {
        redb::DatabaseError::Storage(redb::StorageError::Io(error)) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    })
}

/// Opens a copy of a database's bytes in memory.
pub(super) fn open_copy(bytes: &[u8]) -> io::Result<Database> {
    let memory = InMemoryBackend::new();
    memory.set_len(bytes.len() as u64)?;
    memory.write(0, bytes)?;
    open_on(memory)
}

impl StorageFaults {
    fn note_full(&self, error: &io::Error) {
        if is_full(error) {
            self.found_full.store(true, Ordering::Relaxed);
        }
    }
}

/// Any storage, watched.
struct Storage {
    inner: Box<dyn StorageBackend>,
    faults: Arc<StorageFaults>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length).inspect_err(|error| self.faults.note_full(error))
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.inner.sync_data();
        let told = if synced.is_ok() { &self.faults.has_synced } else { &self.faults.sync_failed };
        told.store(true, Ordering::Relaxed);
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data).inspect_err(|error| self.faults.note_full(error))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

#[cfg(test)]
#[path = "../../tests/raw/volume.rs"]
#[expect(dead_code, unreachable_pub, reason = "it belongs to the tests of the whole broker, which use more of it")]
mod volume;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::volume::Volume;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn blocks_bytes(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * 512
    }

    #[test]
    fn growth_that_finds_no_space_leaves_the_length_and_takes_nothing() {
        // So small a file system has blocks of 1 KiB, less than a page of redb's.
        let Some(volume) = Volume::ext4(16 * MIB, None, "defaults") else { return };
        let path = volume.path().join("metadata.redb");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let storage = FileStorage::open(file.try_clone().unwrap()).unwrap();
        storage.set_len(MIB).unwrap();
        let free = volume.free_bytes();
        assert!(blocks_bytes(&file) >= MIB, "what was set is allocated, though nothing was written");
        let error = storage.set_len(64 * MIB).unwrap_err();
        assert!(is_full(&error), "{error}");
        assert_eq!(storage.len().unwrap(), MIB);
        // But for a block that lists the others.
        assert!(volume.free_bytes() + 16 * 1024 > free, "what was taken is given back");
        storage.set_len(2 * MIB).unwrap();
        assert!(blocks_bytes(&file) >= 2 * MIB, "growing the length keeps what was allocated behind it");
        assert_eq!(storage.len().unwrap(), 2 * MIB);
    }

    /// A journal that is given up makes ext4 read-only for changes, while files can still be opened and read.
    #[test]
    fn no_sync_is_believed_of_an_ext4_that_has_given_up() {
        let Some(volume) = Volume::ext4(16 * MIB, None, "defaults") else { return };
        let file = File::create(volume.path().join("file")).unwrap();
        believe_sync(file.as_fd()).unwrap();
        let remount = std::process::Command::new("mount").args(["-o", "remount,abort"]).arg(volume.path()).status();
        assert!(remount.unwrap().success());
        File::open(volume.path().join("file")).unwrap();
        assert_eq!(believe_sync(file.as_fd()).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    }
}
