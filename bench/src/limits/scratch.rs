//! A file to measure with, gone from the directory as soon as it is open, and buffers that O_DIRECT accepts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

/// What O_DIRECT wants of addresses, positions and lengths on every disk in use.
const ALIGNMENT: usize = 4096;

/// Creates a file in `dir`, opened with `flags`, and removes its name.
pub(crate) fn file(dir: &Path, flags: OFlags) -> io::Result<File> {
    let path = dir.join(format!(".ringmill-bench-{}", std::process::id()));
    let flags = i32::try_from(flags.bits()).expect("open flags fit an int");
    let opened = OpenOptions::new().read(true).write(true).create_new(true).custom_flags(flags).open(&path);
    let file = opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// The same with `bytes` allocated and inside its length, as segments are.
pub(crate) fn allocated_file(dir: &Path, flags: OFlags, bytes: u64) -> io::Result<File> {
    let file = file(dir, flags)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    Ok(file)
}

/// Bytes at an aligned address, filled with something that no disk can shorten.
pub(crate) struct AlignedBuffer {
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    pub(crate) fn new(length: usize) -> AlignedBuffer {
        let mut storage = vec![0; length + ALIGNMENT];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for byte in &mut storage {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
        let start = storage.as_ptr().align_offset(ALIGNMENT);
        AlignedBuffer { storage, start, length }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_file_leaves_no_name_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = allocated_file(dir.path(), OFlags::empty(), 8192).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8192);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn buffers_lie_where_direct_io_wants_them() {
        let buffer = AlignedBuffer::new(10_000);
        assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(buffer.bytes().len(), 10_000);
    }
}
