//! Walks the batch headers of a segment, reading little and never waiting where the page cache has the bytes.
//!
//! Plans, lookups by time and rebuilt indexes use it. It trusts nothing: a header that is none, or that goes back, is an error.

use std::io;

use ringmill_batch::{BatchHeader, Offset};

use super::Segment;
use super::offset_index::lies_in_segment;
use crate::disk::{Disk, DiskFile};

/// Bytes read at once: some small batches share a window, and the header of a large one costs no more than a system call.
const WINDOW_BYTES: usize = 1024;

/// Bytes read at once from a file that is not cached.
const COLD_WINDOW_BYTES: usize = 4096;

/// Why a header could not be had.
#[derive(Debug)]
pub(crate) enum HeaderFault {
    /// The bytes there are no header, or one that cannot stand there.
    Damaged { position: u64, why: String },
    /// The read failed.
    Io { position: u64, error: io::Error },
}

/// Reads headers of one file, forwards.
pub(crate) struct HeaderWalk<'a> {
    disk: &'a dyn Disk,
    file: &'a DiskFile,
    base: Offset,
    /// Where the readable bytes end.
    end: u64,
    window: Vec<u8>,
    window_position: u64,
}

impl<'a> HeaderWalk<'a> {
    /// Over the bytes of `segment` before `end`.
    pub(crate) fn new(disk: &'a dyn Disk, segment: &'a Segment, end: u64) -> HeaderWalk<'a> {
        HeaderWalk {
            disk,
            file: segment.file(),
            base: segment.base_offset(),
            end,
            window: Vec::new(),
            window_position: 0,
        }
    }

    /// The header at `position`, whose batch must end within the range and begin with the offset `next`: nothing in a log leaves gaps,
    /// and the checksum does not cover the offset.
    pub(crate) async fn header(&mut self, position: u64, next: Offset) -> Result<BatchHeader, HeaderFault> {
        let header = self.header_at(position).await?;
        if header.base_offset != next {
            let why = format!("offset {} where {next} is next", header.base_offset);
            return Err(HeaderFault::Damaged { position, why });
        }
        Ok(header)
    }

    /// The same where it is not known which offset is next.
    pub(crate) async fn header_at(&mut self, position: u64) -> Result<BatchHeader, HeaderFault> {
        let damaged = |why: String| HeaderFault::Damaged { position, why };
        if self.end.saturating_sub(position) < BatchHeader::BYTES as u64 {
            return Err(damaged(format!("no header fits before the end at {}", self.end)));
        }
        if !self.in_window(position) {
            self.load(position).await.map_err(|error| HeaderFault::Io { position, error })?;
        }
        if !self.in_window(position) {
            return Err(damaged(format!("the file ends before {}", self.end)));
        }
        let start = usize::try_from(position - self.window_position).expect("within the window");
        let header = BatchHeader::parse(&self.window[start..start + BatchHeader::BYTES])
            .map_err(|error| damaged(error.to_string()))?;
        if header.total_bytes() as u64 > self.end - position {
            return Err(damaged(format!("a batch of {} bytes passes the end at {}", header.total_bytes(), self.end)));
        }
        // Every batch was taken with a record for every offset, and nothing is compacted; where a repair has put a batch in place of a lost
        // one, it is empty.
        if header.record_count != 0 && i64::from(header.record_count) != i64::from(header.last_offset_delta) + 1 {
            let BatchHeader { record_count, last_offset_delta, .. } = header;
            return Err(damaged(format!("{record_count} records for a last offset delta of {last_offset_delta}")));
        }
        if !lies_in_segment(self.base, header.last_offset()) {
            return Err(damaged(format!("offset {} is too far from the segment's first", header.last_offset())));
        }
        Ok(header)
    }

    fn in_window(&self, position: u64) -> bool {
        position >= self.window_position
            && position + BatchHeader::BYTES as u64 <= self.window_position + self.window.len() as u64
    }

    async fn load(&mut self, position: u64) -> io::Result<()> {
        let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        self.window.resize(WINDOW_BYTES.min(left), 0);
        self.window_position = position;
        match self.disk.try_read(self.file, position, &mut self.window) {
            Ok(count) if count >= BatchHeader::BYTES => {
                self.window.truncate(count);
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.window.clear();
                return Err(error);
            }
        }
        // Whoever goes on behind a failed read must not meet the window that was meant for it.
        self.window.clear();
        let bytes = self.disk.read_at(self.file, position, COLD_WINDOW_BYTES.min(left)).await?;
        self.window.extend_from_slice(&bytes);
        Ok(())
    }
}
