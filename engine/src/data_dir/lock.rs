//! The lock that keeps a second broker out of a data directory.
//!
//! An `flock(2)` on a file inside it. Its descriptor is registered in every ring, so that the lock outlives a killed process
//! until the last of its writes has landed. Belongs to the real system alone; the simulation has no second process. Called once
//! at start, before there is a runtime, and may therefore sleep.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

/// The lock's file name inside the data directory. The file stays; only the lock on it comes and goes.
pub const LOCK_FILE: &str = "lock";

/// How long a broker waits for its predecessor. A lock was seen to outlive a killed process by up to 71 ms on a healthy disk; on
/// a slow one the writes that keep it take longer.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(10);

const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A process id and a newline are shorter; more is not read.
const HOLDER_BYTES_MAX: usize = 32;

/// How long a look at the lock waits for that of a process that has ended.
const ENDED_HOLDER_PATIENCE: Duration = Duration::from_secs(1);

/// Held as long as this, or a ring it was registered in, lives.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone else has it.
    #[error(
        "the data directory {} is in use by {holder}: stop that process, or give this one a directory of its own",
        path.display()
    )]
    #[expect(missing_docs, reason = "the message names the fields")]
    Held { path: PathBuf, holder: String },
    /// The directory or the file cannot be made or opened.
    #[error("the data directory {} cannot be used: {source}; let this user write there, or choose another one", path.display())]
    #[expect(missing_docs, reason = "the message names the fields")]
    Io { path: PathBuf, source: io::Error },
}

impl DirLock {
    /// Takes the lock of `directory`, which must exist; tries again for `patience`.
    ///
    /// # Errors
    /// When another process holds it all that time, or the file cannot be opened.
    pub fn take(directory: &Path, patience: Duration) -> Result<DirLock, LockError> {
        let io_error = |source: io::Error| LockError::Io { path: directory.to_owned(), source };
        let path = directory.join(LOCK_FILE);
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o640).open(path).map_err(io_error)?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) if begun.elapsed() < patience => {
                    std::thread::sleep(RETRY_DELAY);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(LockError::Held { path: directory.to_owned(), holder: holder(&file) });
                }
                Err(error) => return Err(io_error(error.into())),
            }
        }
        // Only for the message above; nothing depends on it.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DirLock { file })
    }

    /// A second descriptor of the same lock, to be registered in a ring.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.try_clone().map(OwnedFd::from)
    }
}

/// Who holds the lock of `directory` at the moment, if anybody does. Changes nothing; a broker that starts at this very moment waits for
/// it. The lock of a process that has ended is waited for a little.
#[must_use]
pub fn lock_holder(directory: &Path) -> Option<String> {
    let file = File::open(directory.join(LOCK_FILE)).ok()?;
    let begun = Instant::now();
    while let Err(rustix::io::Errno::WOULDBLOCK) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        let has_ended = holder_id(&file).is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
        if !has_ended || begun.elapsed() > ENDED_HOLDER_PATIENCE {
            return Some(holder(&file));
        }
        std::thread::sleep(RETRY_DELAY);
    }
    None
}

/// Names the process that wrote its id into the lock file, as far as it can be told.
fn holder(file: &File) -> String {
    let Some(id) = holder_id(file) else { return "another process".to_owned() };
    match std::fs::read_to_string(format!("/proc/{id}/comm")) {
        Ok(name) => format!("process {id} ({})", name.trim()),
        // Killed, yet its last writes have not landed; or it lives in another container.
        Err(_) => format!("process {id}"),
    }
}

fn holder_id(file: &File) -> Option<u32> {
    let mut bytes = [0; HOLDER_BYTES_MAX];
    let count = file.read_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes[..count]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path(), Duration::ZERO).unwrap();
        let error = DirLock::take(dir.path(), Duration::from_millis(30)).unwrap_err().to_string();
        assert!(error.contains(&format!("in use by process {} (", std::process::id())), "{error}");
        assert!(lock_holder(dir.path()).is_some_and(|holder| error.contains(&holder)));
        drop(held);
        assert_eq!(lock_holder(dir.path()), None);
        DirLock::take(dir.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_lock_given_back_in_time_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path(), Duration::ZERO).unwrap();
        let second_descriptor = held.descriptor().unwrap();
        drop(held);
        let freed = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            drop(second_descriptor);
        });
        DirLock::take(dir.path(), LOCK_PATIENCE).unwrap();
        assert!(freed.is_finished(), "the second descriptor kept the lock");
        freed.join().unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let error = DirLock::take(Path::new("/no/such/directory"), Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("/no/such/directory cannot be used"), "{error}");
    }
}
