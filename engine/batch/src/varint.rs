//! Variable-length integers of the record format: zigzag, seven bits a byte, lowest first.
//!
//! Reading is bounded to 5 bytes (32 bits) or 10 bytes (64 bits) and refuses bits past the width. Records and builder use it.

/// Longest encoding of 32 bits.
pub(crate) const VARINT32_BYTES_MAX: usize = 5;
/// Longest encoding of 64 bits.
pub(crate) const VARINT64_BYTES_MAX: usize = 10;

/// Takes an `i32` off the front of `bytes`; `None` when it is cut off, too long or too wide.
pub(crate) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    // Nearly all lengths and deltas take one byte.
    if let Some((&first, rest)) = bytes.split_first()
        && first < 0x80
    {
        *bytes = rest;
        let half = i32::from(first >> 1);
        return Some(half ^ -i32::from(first & 1));
    }
    let raw = u32::try_from(take(bytes, VARINT32_BYTES_MAX)?).ok()?;
    Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
}

/// Takes an `i64` off the front of `bytes`; `None` when it is cut off, too long or too wide.
pub(crate) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take(bytes, VARINT64_BYTES_MAX)?;
    Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
}

fn take(bytes: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let mut raw = 0_u64;
    for (index, &byte) in bytes.iter().take(bytes_max).enumerate() {
        let group = u64::from(byte & 0x7F);
        let shift = 7 * index;
        // Only the tenth byte can lose bits here: 64 = 9 × 7 + 1.
        if (group << shift) >> shift != group {
            return None;
        }
        raw |= group << shift;
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(raw);
        }
    }
    None
}

/// Writes `value` at the start of `into`; answers the bytes it took. A 32-bit value takes the same bytes as in its own width.
pub(crate) fn put(into: &mut [u8], value: i64) -> usize {
    let mut raw = zigzag(value);
    let mut at = 0;
    loop {
        let low = raw.to_le_bytes()[0];
        raw >>= 7;
        if raw == 0 {
            into[at] = low & 0x7F;
            return at + 1;
        }
        into[at] = low | 0x80;
        at += 1;
    }
}

/// Bytes that [`put`] takes for `value`, 1 to 10.
pub(crate) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(value: i64) -> Vec<u8> {
        let mut bytes = [0; VARINT64_BYTES_MAX];
        let taken = put(&mut bytes, value);
        assert_eq!(taken, size(value));
        bytes[..taken].to_vec()
    }

    #[test]
    fn known_encodings_hold() {
        for (value, bytes) in
            [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (63, vec![126]), (64, vec![128, 1]), (300, vec![0xD8, 4])]
        {
            assert_eq!(encoded(value), bytes, "{value}");
        }
        assert_eq!(encoded(i64::MIN).len(), 10);
        assert_eq!(encoded(i32::MIN.into()).len(), 5);
    }

    #[test]
    fn too_long_too_wide_and_cut_off_are_refused() {
        let refused = |bytes: &[u8]| take_i32(&mut &*bytes).is_none() && take_i64(&mut &*bytes).is_none();
        assert!(refused(&[]));
        assert!(refused(&[0x80; 4]));
        assert!(refused(&[0x80; 11]));
        assert_eq!(take_i32(&mut &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F][..]), Some(i32::MIN));
        assert_eq!(take_i32(&mut &[0xFF, 0xFF, 0xFF, 0xFF, 0x1F][..]), None);
        let widest = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        assert_eq!(take_i64(&mut &widest[..]), Some(i64::MIN));
        let too_wide = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02];
        assert_eq!(take_i64(&mut &too_wide[..]), None);
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(wide: i64, narrow: i32, behind: u8) {
            let mut bytes = encoded(wide);
            bytes.push(behind);
            let mut rest = &bytes[..];
            prop_assert_eq!(take_i64(&mut rest), Some(wide));
            prop_assert_eq!(rest, &[behind]);

            let bytes = encoded(narrow.into());
            let mut rest = &bytes[..];
            prop_assert_eq!(take_i32(&mut rest), Some(narrow));
            prop_assert!(rest.is_empty());
        }
    }
}
