//! What a batch must fulfil before it is appended, and before a stored one is believed.
//!
//! Both checks read the header and compute the CRC; neither looks into the records. Rules that need a topic's settings
//! (size, timestamps, codec) are the broker's, and so is the protocol's error code for each refusal.

use crate::TimestampType;
use crate::crc::crc32c;
use crate::header::{AT_ATTRIBUTES, BatchHeader, HeaderError};

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum BatchError {
    /// The header disagrees with itself.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The bytes end before the batch does.
    #[error("{have_bytes} bytes hold only part of a batch of {batch_bytes} bytes")]
    Incomplete { have_bytes: usize, batch_bytes: usize },
    /// Something follows the batch where exactly one is allowed.
    #[error("{trailing_bytes} bytes follow the batch")]
    Trailing { trailing_bytes: usize },
    /// The contents are not what the batch's checksum was made of.
    #[error("the CRC is {computed:#010x}, the batch says {claimed:#010x}")]
    Crc { claimed: u32, computed: u32 },
    /// A producer's batch must have a record for every offset, and at least one.
    #[error("{record_count} records for a last offset delta of {last_offset_delta}")]
    Count { record_count: i32, last_offset_delta: i32 },
    /// Only the transaction coordinator writes control batches.
    #[error("a producer may not write control batches")]
    Control,
    /// Only compaction sets a delete horizon.
    #[error("a producer may not set a delete horizon")]
    DeleteHorizon,
    /// Only the broker may say that timestamps are its own.
    #[error("a producer may not set the timestamp type LogAppendTime")]
    LogAppendTime,
}

/// Checks the records that a producer sends for one partition: exactly one batch, all of it, fit to be appended.
///
/// # Errors
/// The first rule that it breaks. [`BatchError::Crc`] says the bytes were damaged on the way; [`BatchError::LogAppendTime`] is a
/// matter of timestamps; every other one is an invalid record in the protocol's terms.
pub fn check_produced(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    let batch_bytes = header.total_bytes();
    if bytes.len() > batch_bytes {
        return Err(BatchError::Trailing { trailing_bytes: bytes.len() - batch_bytes });
    }
    // Before the rules on contents: what the checksum proves damaged is not the producer's mistake.
    check_crc(&header, bytes)?;
    let BatchHeader { record_count, last_offset_delta, .. } = header;
    if record_count <= 0 || i64::from(record_count) != i64::from(last_offset_delta) + 1 {
        return Err(BatchError::Count { record_count, last_offset_delta });
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.attributes.has_delete_horizon() {
        return Err(BatchError::DeleteHorizon);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::LogAppendTime);
    }
    Ok(header)
}

/// Checks the batch at the start of `bytes`, as read from a segment; what follows it is not looked at.
///
/// # Errors
/// [`BatchError::Header`], [`BatchError::Incomplete`] or [`BatchError::Crc`].
pub fn check_stored(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    check_crc(&header, bytes)?;
    Ok(header)
}

fn check_crc(header: &BatchHeader, bytes: &[u8]) -> Result<(), BatchError> {
    let batch_bytes = header.total_bytes();
    let Some(covered) = bytes.get(AT_ATTRIBUTES..batch_bytes) else {
        return Err(BatchError::Incomplete { have_bytes: bytes.len(), batch_bytes });
    };
    let computed = crc32c(covered);
    if computed != header.crc {
        return Err(BatchError::Crc { claimed: header.crc, computed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{hand_made, seal};

    #[test]
    fn a_sound_batch_passes_both_checks() {
        let bytes = hand_made();
        let header = check_produced(&bytes).unwrap();
        assert_eq!(header.total_bytes(), bytes.len());
        assert_eq!(check_stored(&bytes), Ok(header));
    }

    #[test]
    fn every_flipped_bit_under_the_checksum_is_found() {
        for bit in 21 * 8..hand_made().len() * 8 {
            let mut bytes = hand_made();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check_stored(&bytes).is_err(), "bit {bit}");
            assert!(check_produced(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused() {
        let bytes = hand_made();
        for length in 0..bytes.len() {
            assert!(check_stored(&bytes[..length]).is_err(), "{length} bytes");
            assert!(check_produced(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_second_batch_may_follow_in_a_segment_but_not_in_a_request() {
        let two = [hand_made(), hand_made()].concat();
        assert!(check_stored(&two).is_ok());
        assert_eq!(check_produced(&two), Err(BatchError::Trailing { trailing_bytes: hand_made().len() }));
    }

    #[test]
    fn a_producer_may_not_claim_what_is_the_brokers() {
        let with_attributes = |attributes: u8| {
            let mut bytes = hand_made();
            bytes[22] = attributes;
            seal(&mut bytes);
            assert!(check_stored(&bytes).is_ok());
            check_produced(&bytes)
        };
        assert_eq!(with_attributes(1 << 3), Err(BatchError::LogAppendTime));
        assert_eq!(with_attributes(1 << 5), Err(BatchError::Control));
        assert_eq!(with_attributes(1 << 6), Err(BatchError::DeleteHorizon));
        assert!(with_attributes(1 << 4).unwrap().is_transactional());
    }

    #[test]
    fn a_produced_batch_has_a_record_for_every_offset() {
        let with_counts = |last_offset_delta: i32, record_count: i32| {
            let mut bytes = hand_made();
            bytes[23..27].copy_from_slice(&last_offset_delta.to_be_bytes());
            bytes[57..61].copy_from_slice(&record_count.to_be_bytes());
            seal(&mut bytes);
            check_produced(&bytes).map(drop)
        };
        assert_eq!(with_counts(0, 1), Ok(()));
        assert_eq!(with_counts(0, 0), Err(BatchError::Count { record_count: 0, last_offset_delta: 0 }));
        assert_eq!(with_counts(1, 1), Err(BatchError::Count { record_count: 1, last_offset_delta: 1 }));
        assert_eq!(with_counts(i32::MAX, 1), Err(BatchError::Count { record_count: 1, last_offset_delta: i32::MAX }));
    }
}
