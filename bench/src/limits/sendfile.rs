//! How fast a cached file goes to a loopback receiver with nothing but sendfile(2): the ceiling of every fetch.

use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

use crate::cli::LimitsOptions;
use crate::report::Run;

use super::loopback::transfer;
use super::scratch::{self, AlignedBuffer};

/// The file's length: larger than the processor's caches, small enough to stay in the page cache.
const FILE_BYTES: u64 = 256 * 1024 * 1024;
const FILL_BYTES: usize = 1024 * 1024;

/// Sends the file in slices of `slice_bytes`, from its start again at its end.
pub(crate) fn run(options: &LimitsOptions, slice_bytes: usize) -> io::Result<Run> {
    let file = scratch::file(&options.dir, OFlags::empty())?;
    let fill = AlignedBuffer::new(FILL_BYTES);
    for position in (0..FILE_BYTES).step_by(FILL_BYTES) {
        file.write_all_at(fill.bytes(), position)?;
    }
    // Dirty pages would be written back while we measure.
    file.sync_all()?;
    transfer(|socket| {
        let (mut sent, mut position) = (0, 0);
        while sent < options.bytes {
            if position == FILE_BYTES {
                position = 0;
            }
            let count = rustix::fs::sendfile(&*socket, &file, Some(&mut position), slice_bytes)?;
            sent += count as u64;
        }
        Ok(sent)
    })
}
