//! What became of a transaction that failed: redb may say no after a commit is durable, as when it cannot cut its file shorter behind it.
//!
//! Each transaction counts itself in the database. After a failure the file is synced, so that what it shows is also what a power cut
//! leaves, and read into memory: a full disk keeps redb from opening a file, and nobody from reading it. `store` asks this before it
//! says that nothing was changed.

use std::io;

use super::guard;
use super::storage::{OpenStorage, open_copy};
use super::store::{OpenError, read};

/// Whether transaction `number` is durable in the database at `path` (for messages), though it failed. `was_synced`: whether a sync
/// succeeded in its course.
///
/// # Errors
/// The file cannot be opened, synced or read, or it is no database any more: nobody knows then.
pub(super) fn is_durable(
    number: u64,
    was_synced: bool,
    path: &str,
    open_storage: &mut OpenStorage,
) -> io::Result<bool> {
    let bytes = match read_durably(open_storage) {
        // What was not synced before the file system became read-only is not going to be.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && !was_synced => return Ok(false),
        read => read?,
    };
    let changes = guard::opening(path, || {
        let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
        let database = open_copy(&bytes).map_err(|error| damaged(error.to_string()))?;
        let content = read(&database).map_err(|error| damaged(error.to_string()))?;
        Ok(content.map_or(0, |content| content.changes))
    });
    Ok(changes.map_err(io::Error::other)? == number)
}

fn read_durably(open_storage: &mut OpenStorage) -> io::Result<Vec<u8>> {
    let storage = open_storage()?;
    storage.sync_data()?;
    let length = usize::try_from(storage.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    storage.read(0, &mut bytes)?;
    storage.close()?;
    Ok(bytes)
}
