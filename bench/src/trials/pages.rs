//! Empties the page cache of one file, which needs no rights beyond those to read it.

use std::fs::File;
use std::io;

use rustix::fs::{Advice, fadvise};

/// The next read of the file comes from the disk. Dirty pages would stay, so they are written first.
pub(crate) fn drop_pages(file: &File) -> io::Result<()> {
    file.sync_all()?;
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}
