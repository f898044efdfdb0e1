//! Walks the batch headers of a segment, reading little and never waiting where the page cache has the bytes.
//!
//! Plans, lookups by time and rebuilt indexes use it. It trusts nothing: a header that is none, or that goes back, is an error.

use std::io;

use ringmill_batch::{BatchHeader, Offset, check_stored};

use super::Segment;
use super::damage::is_device_error;
use super::offset_index::lies_in_segment;
use crate::disk::Disk;

/// Bytes read at once: some small batches share a window, and the header of a large one costs no more than a system call.
const WINDOW_BYTES: usize = 1024;

/// Bytes read at once from a file that is not cached.
const COLD_WINDOW_BYTES: usize = 4096;

/// The largest batch that is read whole where nothing but its own checksum can bear it out, for what stands behind it is no batch that follows.
/// A larger one has to wait for the scrub.
const ALONE_BYTES_MAX: usize = 16 << 20;

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
    segment: &'a Segment,
    /// Where the readable bytes end.
    end: u64,
    window: Vec<u8>,
    window_position: u64,
}

impl<'a> HeaderWalk<'a> {
    /// Over the bytes of `segment` before `end`.
    pub(crate) fn new(disk: &'a dyn Disk, segment: &'a Segment, end: u64) -> HeaderWalk<'a> {
        HeaderWalk { disk, segment, end, window: Vec::new(), window_position: 0 }
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
        // Every batch was taken with a record for every offset; where a repair or compaction has put one in place of others, it is empty;
        // and where compaction has taken records out, the checksum says so.
        if header.record_count != 0 && !header.is_dense() && !self.segment.is_sparse() {
            self.bear_out(position, &header).await?;
        }
        if !lies_in_segment(self.segment.base_offset(), header.last_offset()) {
            return Err(damaged(format!("offset {} is too far from the segment's first", header.last_offset())));
        }
        Ok(header)
    }

    /// Whether a batch with fewer records than offsets is one that compaction has made: all that tells is the checksum. Once there is one,
    /// others are expected.
    async fn bear_out(&self, position: u64, header: &BatchHeader) -> Result<(), HeaderFault> {
        let BatchHeader { record_count, last_offset_delta, .. } = header;
        let why = format!("{record_count} records for a last offset delta of {last_offset_delta}");
        // Asked first, for the length is not under the checksum, and what a wrong one claims is hardly worth reading.
        let behind = position + header.total_bytes() as u64;
        let follows = match self.disk.read_at(self.segment.file(), behind, BatchHeader::BYTES).await {
            Ok(following) => BatchHeader::parse(&following).is_ok_and(|next| next.base_offset == header.next_offset()),
            // What stands behind it cannot be read, which says nothing about it.
            Err(error) if is_device_error(&error) => false,
            Err(error) => return Err(HeaderFault::Io { position, error }),
        };
        if !follows && behind != self.end && header.total_bytes() > ALONE_BYTES_MAX {
            return Err(HeaderFault::Damaged { position, why });
        }
        let io = |error| HeaderFault::Io { position, error };
        let batch = self.disk.read_at(self.segment.file(), position, header.total_bytes()).await.map_err(io)?;
        if check_stored(&batch).is_err() {
            return Err(HeaderFault::Damaged { position, why });
        }
        self.segment.note_sparse();
        Ok(())
    }

    fn in_window(&self, position: u64) -> bool {
        position >= self.window_position
            && position + BatchHeader::BYTES as u64 <= self.window_position + self.window.len() as u64
    }

    async fn load(&mut self, position: u64) -> io::Result<()> {
        let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
        self.window.resize(WINDOW_BYTES.min(left), 0);
        self.window_position = position;
        match self.disk.try_read(self.segment.file(), position, &mut self.window) {
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
        let bytes = self.disk.read_at(self.segment.file(), position, COLD_WINDOW_BYTES.min(left)).await?;
        self.window.extend_from_slice(&bytes);
        Ok(())
    }
}

/// The offset behind the last batch of a closed segment, `None` if its headers do not lead there. Begins at the last index entry that can be
/// believed.
///
/// # Errors
/// The disk's.
pub(crate) async fn end_of(disk: &dyn Disk, segment: &Segment) -> io::Result<Option<Offset>> {
    let length = disk.info(segment.file()).await?.length;
    let mut walk = HeaderWalk::new(disk, segment, length);
    let (mut position, mut next) = (0, segment.base_offset());
    if let Ok(Some(entry)) = segment.offset_index.adopt(disk).await
        && let Ok(header) = walk.header_at(entry.position.into()).await
        && entry.last_offset(segment.base_offset()) == Some(header.last_offset())
    {
        (position, next) = (entry.position.into(), header.base_offset);
    }
    while position < length {
        match walk.header(position, next).await {
            Ok(header) => (position, next) = (position + header.total_bytes() as u64, header.next_offset()),
            Err(HeaderFault::Damaged { .. }) => return Ok(None),
            Err(HeaderFault::Io { error, .. }) => return Err(error),
        }
    }
    Ok(Some(next))
}
