//! The partitions' files: each grows by a batch in every round, into space that was secured ahead, as segments of the log do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

/// How far ahead space is secured: the broker's first step.
const STEP_BYTES: u64 = 1 << 20;

/// Open files of equal length.
#[derive(Debug)]
pub(super) struct Partitions {
    files: Vec<File>,
}

impl Partitions {
    /// Makes the files; their first space is secured and durable.
    pub(super) fn create(dir: &Path, count: usize) -> io::Result<Partitions> {
        let mut files = Vec::with_capacity(count);
        for number in 0..count {
            let path = dir.join(format!("{number}.log"));
            let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            files.push(opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?);
        }
        let partitions = Partitions { files };
        partitions.secure(0)?;
        partitions.files.iter().try_for_each(File::sync_all)?;
        File::open(dir)?.sync_all()?;
        Ok(partitions)
    }

    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// Secures the next step where a batch that ends at `end` would pass the last one.
    pub(super) fn secure_for(&self, position: u64, end: u64) -> io::Result<()> {
        let secured = position.div_ceil(STEP_BYTES).max(1) * STEP_BYTES;
        if end > secured { self.secure(secured) } else { Ok(()) }
    }

    fn secure(&self, from: u64) -> io::Result<()> {
        for file in &self.files {
            fallocate(file, FallocateFlags::empty(), from, STEP_BYTES)?;
        }
        Ok(())
    }

    /// Writes the batch to each file, into the page cache.
    pub(super) fn append(&self, batch: &[u8], position: u64) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.write_all_at(batch, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_secured_a_step_ahead_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let partitions = Partitions::create(dir.path(), 2).unwrap();
        let length = || partitions.files()[1].metadata().unwrap().len();
        for (position, end, expected) in [
            (0, 4096, STEP_BYTES),
            (STEP_BYTES - 4096, STEP_BYTES, STEP_BYTES),
            (STEP_BYTES, STEP_BYTES + 4096, 2 * STEP_BYTES),
            (STEP_BYTES + 4096, STEP_BYTES + 8192, 2 * STEP_BYTES),
        ] {
            partitions.secure_for(position, end).unwrap();
            assert_eq!(length(), expected, "at {position}");
        }
    }
}
