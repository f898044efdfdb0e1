//! Files for drivers whose parser wants a path: in memory where there is a file system for that, one per thread, written over and over.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static DIRECTORY: TempDir = new_directory();
}

/// The path of this thread's file with this name; what an earlier execution left there stays until it is written over.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    DIRECTORY.with(|directory| directory.path().join(name))
}

/// An empty directory for one execution.
#[must_use]
pub fn directory() -> TempDir {
    new_directory()
}

/// `TMPDIR` decides where it is set: whoever ends a process without its destructors, as libFuzzer does, can tidy up there.
fn new_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match std::env::var_os("TMPDIR") {
        None if memory.is_dir() => tempfile::tempdir_in(memory),
        _ => tempfile::tempdir(),
    };
    made.expect("a temporary directory can be made")
}
