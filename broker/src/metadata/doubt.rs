//! What became of a transaction that failed: redb may say no after a commit is durable, as when it cannot cut its file shorter behind it.
//!
//! Each transaction counts itself in the database. After a failure the file is synced, so that what it shows is also what a power cut
//! leaves, and read into memory: a disk that is full or read-only keeps redb from opening a file, and nobody from reading it.
//! `store` asks this before it says that nothing was changed.

use std::io;

use super::guard;
use super::storage::{OpenStorage, open_copy};
use super::store::{OpenError, read};

/// How many transactions the database at `path` (for messages) has seen to their end.
///
/// # Errors
/// The file cannot be synced or read, or it is no database any more: nobody knows then.
pub(super) fn count_changes(path: &str, open_storage: &mut OpenStorage) -> Result<u64, String> {
    let bytes = read_durably(open_storage).map_err(|error| format!("reading it again: {error}"))?;
    let counted = guard::opening(path, || {
        let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
        let database = open_copy(&bytes).map_err(|error| damaged(error.to_string()))?;
        let content = read(&database).map_err(|error| damaged(error.to_string()))?;
        Ok(content.map_or(0, |content| content.changes))
    });
    counted.map_err(|error| error.to_string())
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
