//! The few ways in which repair touches a disk. Each leaves the old file or the new one, durably, whenever it is stopped.
//!
//! What is made belongs to whom its directory belongs to: an administrator repairs what the broker's own user will open. In tests it
//! stops after so many steps, as a power cut would.

use std::cell::Cell;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Ends the name of a file that repair is writing.
const TEMPORARY_EXTENSION: &str = "repair.tmp";

const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

/// See the file's page.
pub(super) struct Hand {
    /// Steps before it stops; `None` for ever.
    steps_left: Cell<Option<u64>>,
}

impl Hand {
    pub(super) fn new() -> Hand {
        Hand { steps_left: Cell::new(None) }
    }

    /// One that fails after `steps` changes.
    #[cfg(test)]
    pub(super) fn stopping_after(steps: u64) -> Hand {
        Hand { steps_left: Cell::new(Some(steps)) }
    }

    /// Comes before each change.
    fn step(&self) -> io::Result<()> {
        match self.steps_left.get() {
            Some(0) => Err(io::Error::other("stopped by the test")),
            left => {
                self.steps_left.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    /// Makes a directory durably; false if it is there already.
    pub(super) fn make_dir(&self, directory: &Path) -> io::Result<bool> {
        self.step()?;
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            made => made?,
        }
        let above = parent(directory);
        own_like(directory, above)?;
        self.sync_dir(above)?;
        Ok(true)
    }

    /// Keeps `file` under another name, durably: the same file where the file system can link, else its bytes. Nothing that has a second
    /// name here is written in place afterwards.
    pub(super) fn keep(&self, file: &Path, copy: &Path) -> io::Result<()> {
        self.step()?;
        match fs::hard_link(file, copy) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {
                fs::copy(file, copy)?;
                File::open(copy)?.sync_all()?;
            }
        }
        self.sync_dir(parent(copy))
    }

    /// Puts what `write` writes in the place of `file`, which need not exist; the time of its last change stays.
    pub(super) fn replace(&self, file: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let temporary = file.with_added_extension(TEMPORARY_EXTENSION);
        self.step()?;
        let mut options = File::options();
        let mut made = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&temporary)?;
        self.step()?;
        write(&mut made)?;
        if let Ok(before) = fs::metadata(file) {
            // Retention goes by it where the checkpoint is lost.
            made.set_modified(before.modified()?)?;
        }
        own_like(&temporary, parent(file))?;
        made.sync_all()?;
        self.step()?;
        fs::rename(&temporary, file)?;
        self.sync_dir(parent(file))
    }

    /// Removes a file durably; one that is not there is no error.
    pub(super) fn remove(&self, file: &Path) -> io::Result<()> {
        self.step()?;
        match fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.sync_dir(parent(file))),
        }
    }

    /// Gives a file that others made to the owner of its directory.
    pub(super) fn give(&self, file: &Path) -> io::Result<()> {
        self.step()?;
        own_like(file, parent(file))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.step()?;
        File::open(directory)?.sync_all()
    }
}

/// Writes `bytes`, for [`Hand::replace`].
pub(super) fn writing(bytes: &[u8]) -> impl FnOnce(&mut File) -> io::Result<()> + '_ {
    |file| file.write_all(bytes)
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("repair touches nothing but what lies in a directory")
}

fn own_like(file: &Path, directory: &Path) -> io::Result<()> {
    let (has, wanted) = (fs::metadata(file)?, fs::metadata(directory)?);
    if (has.uid(), has.gid()) == (wanted.uid(), wanted.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(file, Some(wanted.uid()), Some(wanted.gid()))
}
