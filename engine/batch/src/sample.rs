//! One batch written down by hand for the unit tests of checks and stamps, which must not lean on the builder.

use crate::crc::crc32c;

/// A batch of one record with the value `hi`, timestamp 1000, without a producer.
pub(crate) fn hand_made() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0_i64.to_be_bytes()); // base offset
    bytes.extend((49_i32 + 9).to_be_bytes()); // batch length
    bytes.extend((-1_i32).to_be_bytes()); // leader epoch
    bytes.push(2); // magic
    bytes.extend([0; 4]); // CRC, below
    bytes.extend(0_i16.to_be_bytes()); // attributes
    bytes.extend(0_i32.to_be_bytes()); // last offset delta
    bytes.extend(1000_i64.to_be_bytes()); // base timestamp
    bytes.extend(1000_i64.to_be_bytes()); // maximum timestamp
    bytes.extend((-1_i64).to_be_bytes()); // producer id
    bytes.extend((-1_i16).to_be_bytes()); // producer epoch
    bytes.extend((-1_i32).to_be_bytes()); // base sequence
    bytes.extend(1_i32.to_be_bytes()); // record count
    // Length 8, attributes 0, timestamp delta 0, offset delta 0, no key (-1), two bytes of value, no headers.
    bytes.extend([16, 0, 0, 0, 1, 4, b'h', b'i', 0]);
    seal(&mut bytes);
    bytes
}

/// Makes the checksum right again after a change.
pub(crate) fn seal(bytes: &mut [u8]) {
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}
