//! Reads a segment's bytes for salvage, however the device behind them feels: a sector that cannot be read is taken for zeros, which no
//! checksum passes, and its neighbours are still read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// What a device that fails is asked for at a time.
const SECTOR_BYTES: usize = 4096;

/// A segment's file, read mostly forwards.
pub(super) struct Window {
    file: File,
    length: u64,
    bytes: Vec<u8>,
    position: u64,
}

impl Window {
    pub(super) fn open(path: &Path) -> io::Result<Window> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Window { file, length, bytes: Vec::new(), position: 0 })
    }

    /// The file's length.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `position`, `length` of them or fewer where the file ends.
    pub(super) fn at(&mut self, position: u64, length: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.length.saturating_sub(position)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let held = position >= self.position && position + length as u64 <= self.position + self.bytes.len() as u64;
        if !held {
            self.bytes = self.read(position, length.max(WINDOW_BYTES).min(left))?;
            self.position = position;
        }
        let start = usize::try_from(position - self.position).expect("within the window");
        Ok(&self.bytes[start..start + length])
    }

    /// Whether nothing but zeros stands from `position` on; true at the end of the file.
    pub(super) fn only_zeros_from(&mut self, position: u64) -> io::Result<bool> {
        Ok(self.next_byte_that_counts(position)?.is_none())
    }

    fn next_byte_that_counts(&mut self, mut position: u64) -> io::Result<Option<u64>> {
        while position < self.length {
            let bytes = self.at(position, WINDOW_BYTES)?;
            if let Some(found) = bytes.iter().position(|&byte| byte != 0) {
                return Ok(Some(position + found as u64));
            }
            position += bytes.len() as u64;
        }
        Ok(None)
    }

    fn read(&self, position: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.file.read_exact_at(&mut bytes, position) {
            Err(error) if is_device_error(&error) => {}
            read => return read.map(|()| bytes),
        }
        let mut at = 0;
        while at < length {
            let end = (at + SECTOR_BYTES).min(length);
            if let Err(error) = self.file.read_exact_at(&mut bytes[at..end], position + at as u64) {
                if !is_device_error(&error) {
                    return Err(error);
                }
                bytes[at..end].fill(0);
            }
            at = end;
        }
        Ok(bytes)
    }
}

fn is_device_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
