//! What the broker writes into a batch before it is appended: offset, leader epoch and, where the topic asks for it, the time.
//!
//! The log calls [`stamp`] on every batch; offset and epoch lie outside the checksum, so a stamp costs twelve bytes.

use crate::header::{AT_ATTRIBUTES, AT_BASE_OFFSET, AT_CRC, AT_LEADER_EPOCH, AT_MAX_TIMESTAMP, BatchHeader, put};
use crate::{LeaderEpoch, Offset, crc32c};

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
    let attributes = header.attributes.with_log_append_time();
    put(bytes, AT_ATTRIBUTES, attributes.get().to_be_bytes());
    put(bytes, AT_MAX_TIMESTAMP, now_ms.to_be_bytes());
    let crc = crc32c(&bytes[AT_ATTRIBUTES..]);
    put(bytes, AT_CRC, crc.to_be_bytes());
    BatchHeader { attributes, max_timestamp: now_ms, crc, ..header }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::hand_made;
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
}
