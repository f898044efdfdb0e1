//! The data directory: its lock, its superblock, and the mechanism for its small files.
//!
//! An empty directory initialises itself, a foreign one is refused untouched. Partitions, metadata and checkpoints live inside it
//! and are other modules' business. Called by the broker at start and at a clean stop.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::disk::{DirEntry, Disk};
use durable_file::ReadError;

pub mod durable_file;
mod lock;
mod space;
mod superblock;

pub use lock::{DirLock, LOCK_FILE, LOCK_PATIENCE, LockError, lock_holder};
pub use space::{DiskSpace, Outlook, RESERVE_FILE, SpaceLimits};
pub use superblock::{SUPERBLOCK_FILE, Superblock};

/// What a fresh file system puts into its root.
const LOST_AND_FOUND: &str = "lost+found";

/// So many of a foreign directory's entries are named.
const FOREIGN_NAMED_MAX: usize = 3;

/// What an empty directory becomes. The ids are made up by the caller, who owns randomness.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// For a new directory's [`Superblock::cluster_id`].
    pub cluster_id: [u8; 16],
    /// For a new directory's [`Superblock::directory_id`].
    pub directory_id: [u8; 16],
}

/// An opened data directory. From here on it counts as not cleanly stopped, until [`DataDir::mark_clean`].
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    superblock: Superblock,
    last_stop_was_clean: bool,
    is_new: bool,
}

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum DataDirError {
    /// It holds something else.
    #[error(
        "{} is no data directory of Ringmill and not empty (it holds {found}): give an empty or a new directory",
        path.display()
    )]
    Foreign { path: PathBuf, found: String },
    /// The superblock cannot be read.
    #[error(
        "the data directory's superblock is unusable, so the broker does not start, and nothing was changed: {0}; \
         restore this file from a backup"
    )]
    Superblock(ReadError),
    /// A newer program wrote the superblock.
    #[error(transparent)]
    Newer(ReadError),
    /// It was made by a program that knows more.
    #[error(
        "{} uses features {unknown:#x} that this program does not know: run the newer program again",
        path.display()
    )]
    UnknownFeatures { path: PathBuf, unknown: u64 },
    /// It belongs to another node.
    #[error(
        "{} belongs to node.id {found}, and node.id {configured} is configured: correct the one or the other",
        path.display()
    )]
    OtherNode { path: PathBuf, found: i32, configured: i32 },
    /// The disk failed.
    #[error("the data directory {} cannot be used: {source}; let this user write there, or choose another one", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl From<ReadError> for DataDirError {
    fn from(error: ReadError) -> DataDirError {
        match error {
            ReadError::Newer { .. } => DataDirError::Newer(error),
            _ => DataDirError::Superblock(error),
        }
    }
}

impl DataDir {
    /// Opens `path`, or initialises it if it is empty. The next incarnation begins, and the clean mark is gone durably, before
    /// this returns. The caller holds the [`DirLock`], except in simulation.
    ///
    /// # Errors
    /// See [`DataDirError`]; a directory that is refused is left as it was.
    pub async fn open(disk: &dyn Disk, path: &Path, node_id: i32, fresh: Fresh) -> Result<DataDir, DataDirError> {
        let io_error = |source: io::Error| DataDirError::Io { path: path.to_owned(), source };
        let found = match durable_file::read(disk, &path.join(SUPERBLOCK_FILE), &superblock::FORMAT).await {
            Ok(payload) => Some(Superblock::decode(&payload.bytes).map_err(|why| damaged(path, why))?),
            Err(ReadError::Missing { .. }) => {
                let entries = disk.list_dir(path).await.map_err(io_error)?;
                refuse_foreign(path, &entries)?;
                None
            }
            Err(error) => return Err(error.into()),
        };
        let is_new = found.is_none();
        let before = found.unwrap_or(Superblock {
            cluster_id: fresh.cluster_id,
            directory_id: fresh.directory_id,
            node_id,
            incarnation: 0,
            features: 0,
            // Nothing was ever written, so there is nothing to recover.
            clean: true,
        });
        let unknown = before.features & !superblock::FEATURES_KNOWN;
        if unknown != 0 {
            return Err(DataDirError::UnknownFeatures { path: path.to_owned(), unknown });
        }
        if before.node_id != node_id {
            return Err(DataDirError::OtherNode { path: path.to_owned(), found: before.node_id, configured: node_id });
        }
        let last_stop_was_clean = before.clean;
        let superblock = Superblock { incarnation: before.incarnation + 1, clean: false, ..before };
        let dir = DataDir { path: path.to_owned(), superblock, last_stop_was_clean, is_new };
        dir.write_superblock(disk).await.map_err(io_error)?;
        Ok(dir)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As it stands on disk now.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Whether recovery may trust what it finds. True for a new directory.
    #[must_use]
    pub fn last_stop_was_clean(&self) -> bool {
        self.last_stop_was_clean
    }

    /// Whether it was empty and has just been initialised.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Marks the stop clean: the last write of all. Only when loading had finished, everything is drained and synced, and no
    /// partition is sealed.
    ///
    /// # Errors
    /// What the disk says; the next start then recovers as after a crash.
    pub async fn mark_clean(mut self, disk: &dyn Disk) -> io::Result<()> {
        assert!(!self.superblock.clean, "the mark is set once, by the value that is consumed here");
        self.superblock.clean = true;
        self.write_superblock(disk).await
    }

    async fn write_superblock(&self, disk: &dyn Disk) -> io::Result<()> {
        let path = self.path.join(SUPERBLOCK_FILE);
        durable_file::write(disk, &path, &superblock::FORMAT, &self.superblock.encode()).await
    }
}

/// Creates the directory if it does not exist, refuses a foreign one, and takes its lock. Waits for up to [`LOCK_PATIENCE`].
///
/// Apart from [`DataDir::open`], because the rings want the lock before there is a disk to open with.
///
/// # Errors
/// When it is foreign, cannot be used, or is in use.
pub fn prepare(path: &Path) -> Result<DirLock, PrepareError> {
    let io_error = |source: io::Error| DataDirError::Io { path: path.to_owned(), source };
    create_durably(path).map_err(io_error)?;
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), is_dir: false });
    }
    // Before the lock file is made, so that a foreign directory stays as it was.
    entries.sort();
    if !entries.iter().any(|entry| entry.name == SUPERBLOCK_FILE) {
        refuse_foreign(path, &entries)?;
    }
    Ok(DirLock::take(path, LOCK_PATIENCE)?)
}

/// Creates a directory and those above it that are missing, and syncs the parents: what is synced inside a directory is lost if
/// the directory's own name is.
fn create_durably(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).collect();
    for at in missing.into_iter().rev() {
        std::fs::DirBuilder::new().mode(0o750).create(at)?;
        let parent = at.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Why [`prepare`] failed.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The directory itself.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its lock.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// A directory without a superblock may hold only what a fresh file system, or a first start that was cut short, leaves.
fn refuse_foreign(path: &Path, entries: &[DirEntry]) -> Result<(), DataDirError> {
    let superblock_temporary = format!("{SUPERBLOCK_FILE}{}", durable_file::TEMPORARY_SUFFIX);
    let ours = [LOST_AND_FOUND, LOCK_FILE, RESERVE_FILE, &superblock_temporary];
    let foreign: Vec<&str> = entries.iter().map(|entry| &entry.name[..]).filter(|name| !ours.contains(name)).collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let more = foreign.len().saturating_sub(FOREIGN_NAMED_MAX);
    let mut found = foreign[..foreign.len() - more].join(", ");
    if more > 0 {
        found.push_str(&format!(" and {more} more"));
    }
    Err(DataDirError::Foreign { path: path.to_owned(), found })
}

fn damaged(path: &Path, why: String) -> DataDirError {
    DataDirError::Superblock(ReadError::Damaged { path: path.join(SUPERBLOCK_FILE), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{PosixDisk, block_on};

    const FRESH: Fresh = Fresh { cluster_id: [1; 16], directory_id: [2; 16] };

    fn open(path: &Path) -> Result<DataDir, DataDirError> {
        let disk = PosixDisk::new(1).unwrap();
        block_on(&disk, DataDir::open(&disk, path, 3, FRESH))
    }

    fn mark_clean(dir: DataDir) {
        let disk = PosixDisk::new(1).unwrap();
        block_on(&disk, dir.mark_clean(&disk)).unwrap();
    }

    #[test]
    fn an_empty_directory_initialises_itself_and_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(LOST_AND_FOUND)).unwrap();
        std::fs::write(dir.path().join("superblock.tmp"), b"cut short").unwrap();
        let lock = prepare(dir.path()).unwrap();
        let first = open(dir.path()).unwrap();
        assert!(first.is_new() && first.last_stop_was_clean());
        assert_eq!((first.superblock().incarnation, first.superblock().cluster_id), (1, FRESH.cluster_id));
        drop((first, lock));
        let other = Fresh { cluster_id: [8; 16], directory_id: [9; 16] };
        let disk = PosixDisk::new(1).unwrap();
        let second = block_on(&disk, DataDir::open(&disk, dir.path(), 3, other)).unwrap();
        assert!(!second.is_new() && !second.last_stop_was_clean());
        let superblock = second.superblock();
        assert_eq!((superblock.incarnation, superblock.directory_id), (2, FRESH.directory_id));
    }

    #[test]
    fn the_clean_mark_holds_for_one_start() {
        let dir = tempfile::tempdir().unwrap();
        mark_clean(open(dir.path()).unwrap());
        let second = open(dir.path()).unwrap();
        assert!(second.last_stop_was_clean() && !second.is_new());
        drop(second);
        assert!(!open(dir.path()).unwrap().last_stop_was_clean());
    }

    #[test]
    fn a_foreign_directory_is_refused_by_name_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.txt", "b", "c", "d", "e"] {
            std::fs::write(dir.path().join(name), b"mine").unwrap();
        }
        let expected = "it holds a.txt, b, c and 2 more";
        let error = prepare(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5);
    }

    #[test]
    fn a_damaged_superblock_another_node_and_unknown_features_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = PosixDisk::new(1).unwrap();
        open(dir.path()).unwrap();
        let error = block_on(&disk, DataDir::open(&disk, dir.path(), 4, FRESH)).unwrap_err().to_string();
        assert!(error.contains("belongs to node.id 3, and node.id 4 is configured"), "{error}");
        let mut future = open(dir.path()).unwrap();
        assert_eq!(future.superblock.incarnation, 2, "a refused start is no start");
        future.superblock.features = 0x10;
        block_on(&disk, future.write_superblock(&disk)).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("features 0x10"), "{error}");
        std::fs::write(dir.path().join(SUPERBLOCK_FILE), b"rubbish of more than twenty bytes").unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("superblock is damaged"), "{error}");
    }

    #[test]
    fn a_missing_directory_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/deep");
        let _lock = prepare(&path).unwrap();
        assert!(open(&path).unwrap().is_new());
        let error = prepare(Path::new("/proc/no")).unwrap_err().to_string();
        assert!(error.contains("/proc/no cannot be used"), "{error}");
    }
}
