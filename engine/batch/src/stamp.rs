//! What the broker writes into a batch before it is appended: offset, leader epoch and, where the topic asks for it, the time.
//!
//! The log calls [`stamp`] on every batch; offset and epoch lie outside the checksum, so a stamp costs twelve bytes.

use crate::header::{AT_ATTRIBUTES, AT_BASE_OFFSET, AT_CRC, AT_LEADER_EPOCH, AT_MAX_TIMESTAMP, BatchHeader, put};
use crate::{DecompressLimit, LeaderEpoch, Offset, RecordError, crc32c, read_records};

/// Writes base offset and leader epoch; the CRC does not cover them and stays.
///
/// # Panics
/// When `bytes` is shorter than a header.
pub fn stamp(bytes: &mut [u8], base_offset: Offset, epoch: LeaderEpoch) {
    assert!(bytes.len() >= BatchHeader::BYTES, "{} bytes are no batch", bytes.len());
    put(bytes, AT_BASE_OFFSET, base_offset.get().to_be_bytes());
    put(bytes, AT_LEADER_EPOCH, epoch.get().to_be_bytes());
}

/// Makes `now_ms` the time of every record (attribute bit 3 and the maximum timestamp) and computes the CRC anew. `bytes` is
/// one whole batch that [`check_produced`](crate::check_produced) has passed. Answers its header as it is now.
///
/// # Panics
/// When `bytes` is no such batch.
pub fn stamp_append_time(bytes: &mut [u8], now_ms: i64) -> BatchHeader {
    let header = BatchHeader::parse(bytes).expect("a checked batch has a header");
    assert_eq!(bytes.len(), header.total_bytes(), "exactly one batch is stamped");
    put_times(
        bytes,
        BatchHeader { attributes: header.attributes.with_log_append_time(), max_timestamp: now_ms, ..header },
    )
}

/// Walks the records and makes the largest of their timestamps the batch's, with the CRC anew: for batches whose producer
/// [left it out](BatchHeader::lacks_max_timestamp). `bytes` is as for [`stamp_append_time`]. Answers the header as it is now.
///
/// # Errors
/// When the records cannot be read within `limit`; `bytes` are then unchanged.
///
/// # Panics
/// When `bytes` is no such batch.
pub fn stamp_max_timestamp(bytes: &mut [u8], limit: DecompressLimit) -> Result<BatchHeader, RecordError> {
    let records = read_records(bytes, limit)?;
    let header = *records.header();
    assert_eq!(bytes.len(), header.total_bytes(), "exactly one batch is stamped");
    let mut max_timestamp = i64::MIN;
    for record in &records {
        max_timestamp = max_timestamp.max(record?.timestamp_ms);
    }
    Ok(put_times(bytes, BatchHeader { max_timestamp, ..header }))
}

/// Writes attributes, maximum timestamp and the CRC that follows from them.
fn put_times(bytes: &mut [u8], header: BatchHeader) -> BatchHeader {
    put(bytes, AT_ATTRIBUTES, header.attributes.get().to_be_bytes());
    put(bytes, AT_MAX_TIMESTAMP, header.max_timestamp.to_be_bytes());
    let crc = crc32c(&bytes[AT_ATTRIBUTES..]);
    put(bytes, AT_CRC, crc.to_be_bytes());
    BatchHeader { crc, ..header }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{hand_made, seal};
    use crate::{TimestampType, check_stored};

    #[test]
    fn a_stamp_changes_twelve_bytes_and_no_checksum() {
        let before = hand_made();
        let mut bytes = before.clone();
        let (base_offset, epoch) = (Offset::new(0x0102_0304_0506_0708).unwrap(), LeaderEpoch::new(9).unwrap());
        stamp(&mut bytes, base_offset, epoch);
        let header = check_stored(&bytes).unwrap();
        assert_eq!(header, check_stored(&before).unwrap().stamped(base_offset, epoch));
        assert_eq!((header.base_offset, header.leader_epoch), (base_offset, 9));
        assert_eq!(bytes[8..12], before[8..12]);
        assert_eq!(bytes[16..], before[16..]);
    }

    #[test]
    fn append_time_replaces_the_producers() {
        let mut bytes = hand_made();
        let answered = stamp_append_time(&mut bytes, 5_000);
        let header = check_stored(&bytes).unwrap();
        assert_eq!(answered, header);
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((header.base_timestamp, header.max_timestamp), (1_000, 5_000));
    }

    #[test]
    fn a_maximum_left_out_is_found_in_the_records() {
        let mut bytes = hand_made();
        let whole = check_stored(&bytes).unwrap();
        assert!(!whole.lacks_max_timestamp());
        put(&mut bytes, AT_MAX_TIMESTAMP, (-1_i64).to_be_bytes());
        seal(&mut bytes);
        assert!(check_stored(&bytes).unwrap().lacks_max_timestamp());
        assert_eq!(stamp_max_timestamp(&mut bytes, DecompressLimit::default()).unwrap(), whole);
        assert_eq!(bytes, hand_made());
    }
}
