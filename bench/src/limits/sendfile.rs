//! How fast a cached file goes to a loopback receiver with nothing but sendfile(2): the ceiling of every fetch.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;

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
    serve(&options.dir, options.bytes, |socket, file, position| {
        Ok(rustix::fs::sendfile(socket, file, Some(position), slice_bytes)?)
    })
}

/// Sends a cached file to a receiver that discards until `bytes` are sent. `send_slice` sends from a position, which it moves on, and
/// says how much that was.
pub(crate) fn serve(
    dir: &Path,
    bytes: u64,
    mut send_slice: impl FnMut(&mut TcpStream, &File, &mut u64) -> io::Result<usize>,
) -> io::Result<Run> {
    let file = scratch::file(dir, OFlags::empty())?;
    let fill = AlignedBuffer::new(FILL_BYTES);
    // Who asks for little does not wait for a long file.
    let file_bytes = FILE_BYTES.min(bytes.next_multiple_of(FILL_BYTES as u64));
    for position in (0..file_bytes).step_by(FILL_BYTES) {
        file.write_all_at(fill.bytes(), position)?;
    }
    // Dirty pages would be written back while we measure.
    file.sync_all()?;
    transfer(|socket| {
        let (mut sent, mut position) = (0, 0);
        while sent < bytes {
            if position == file_bytes {
                position = 0;
            }
            sent += send_slice(socket, &file, &mut position)? as u64;
        }
        Ok(sent)
    })
}
