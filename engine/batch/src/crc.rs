//! CRC-32C (Castagnoli), the checksum of record batches; crc-fast computes it with whatever instructions the processor has.
//!
//! Kafka covers byte 21 of a batch (the attributes) to its end, so the broker may stamp offset and leader epoch without it.

use crc_fast::CrcAlgorithm::Crc32Iscsi;

/// The CRC-32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let wide = crc_fast::checksum(Crc32Iscsi, bytes);
    u32::try_from(wide).expect("a CRC of 32 bits fits into 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_values_hold() {
        // The "check" value of the CRC catalogue, and two of the vectors in RFC 3720, B.4.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(b""), 0);
    }
}
