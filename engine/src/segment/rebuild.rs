//! Rebuilds a segment's indexes from its batch headers. Indexes are derived: losing them costs this walk and nothing else.
//!
//! Recovery, reopening and the owner's repair of an index that was found wrong call it.

use std::io;

use super::damage::{self, BatchEnd};
use super::headers::HeaderWalk;
use super::{IndexCursor, Segment};
use crate::disk::Disk;

/// Ends the names of the files until they are whole; a start removes what is left of them.
pub(crate) const TEMPORARY_EXTENSION: &str = "tmp";

/// Headers between two chances for others on this thread to run.
const HEADERS_PER_TURN: usize = 512;

/// Empties both indexes in memory and enters every batch before `end`; the new files replace the old ones when they are finished. What
/// is damaged is marked and passed over.
///
/// # Errors
/// The disk's, when they are no damage.
pub(crate) async fn rebuild(
    disk: &dyn Disk,
    segment: &Segment,
    end: BatchEnd,
    interval_bytes: u64,
) -> io::Result<IndexCursor> {
    segment.offset_index.begin_anew(TEMPORARY_EXTENSION);
    segment.time_index.begin_anew(TEMPORARY_EXTENSION);
    let mut cursor = IndexCursor::new();
    let mut walk = HeaderWalk::new(disk, segment, end.position);
    let mut here = BatchEnd { position: 0, offset: segment.base_offset() };
    let (mut before, mut headers) = (None, 0_usize);
    while here.offset < end.offset {
        if let Some(known) = segment.damage_holding(here.offset) {
            here = BatchEnd { position: known.positions.end, offset: known.offsets.end };
            continue;
        }
        match walk.header(here.position, here.offset).await {
            Ok(header) => {
                cursor.advance(segment, &header, here.position, interval_bytes);
                before = Some(here);
                here = BatchEnd { position: here.position + header.total_bytes() as u64, offset: header.next_offset() };
            }
            Err(fault) => here = damage::mark(disk, segment, fault, before.take(), here.offset, end).await?,
        }
        if segment.offset_index.must_spill() || segment.time_index.must_spill() {
            segment.offset_index.spill(disk).await;
            segment.time_index.spill(disk).await;
        }
        headers += 1;
        if headers.is_multiple_of(HEADERS_PER_TURN) {
            crate::turn::yield_now().await;
        }
    }
    Ok(cursor)
}
