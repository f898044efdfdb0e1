//! Rebuilds a segment's indexes from its batch headers. Indexes are derived: losing them costs this walk and nothing else.
//!
//! Recovery, reopening and the owner's repair of an index that was found wrong call it.

use std::io;

use super::headers::{HeaderFault, HeaderWalk};
use super::{IndexCursor, Segment};
use crate::disk::Disk;

/// Headers between two chances for others on this thread to run.
const HEADERS_PER_TURN: usize = 512;

/// Empties both indexes in memory and enters every batch before `end`; the new files replace the old ones when they are finished.
///
/// # Errors
/// The disk's; `InvalidData` when a header is none.
pub(crate) async fn rebuild(
    disk: &dyn Disk,
    segment: &Segment,
    end: u64,
    interval_bytes: u64,
) -> io::Result<IndexCursor> {
    segment.offset_index.begin_anew();
    segment.time_index.begin_anew();
    let mut cursor = IndexCursor::new();
    let mut walk = HeaderWalk::new(disk, segment, end);
    let (mut position, mut next_offset, mut headers) = (0, segment.base_offset(), 0_usize);
    while position < end {
        let header = walk.header(position, next_offset).await.map_err(into_io)?;
        cursor.advance(segment, &header, position, interval_bytes);
        if segment.offset_index.must_spill() || segment.time_index.must_spill() {
            segment.offset_index.spill(disk).await;
            segment.time_index.spill(disk).await;
        }
        position += header.total_bytes() as u64;
        next_offset = header.next_offset();
        headers += 1;
        if headers.is_multiple_of(HEADERS_PER_TURN) {
            crate::turn::yield_now().await;
        }
    }
    Ok(cursor)
}

/// The fault as an error of the file.
pub(crate) fn into_io(fault: HeaderFault) -> io::Error {
    match fault {
        HeaderFault::Io { error, .. } => error,
        HeaderFault::Damaged { position, why } => {
            io::Error::new(io::ErrorKind::InvalidData, format!("at byte {position}: {why}"))
        }
    }
}
