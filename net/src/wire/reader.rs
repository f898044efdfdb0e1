//! The bounded reader: takes the protocol's primitive types from a frame that a stranger sent.
//!
//! Nothing is allocated here and every length is checked against what is left before it is believed, so a frame can cost no more
//! than its own bytes. The reader knows primitives only; which field comes when is the tables' business (`schema.rs`, `messages/`).
//! Rules: "Framing" of Kafka's protocol guide, and the bounds named below.

use std::fmt;

/// The longest string of the protocol, in bytes: its length was an `i16` first, and Kafka keeps the bound in newer versions.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// The most entries an array may claim, whatever the frame's size.
pub const ARRAY_COUNT_MAX: usize = 1_000_000;
/// The most tagged fields one section may hold; Kafka itself uses a handful.
pub const TAGGED_FIELD_COUNT_MAX: u32 = 10_000;
/// The longest unsigned varint: 32 bits, seven in each byte.
pub const VARINT_BYTES_MAX: usize = 5;

/// A position in bytes that are read front to back.
///
/// Positions count from the first byte of the slice given to [`Reader::new`], for tagged fields too.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Position of the byte after `rest`.
    end: usize,
    /// Memory that arrays may yet take.
    array_bytes_left: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader::bounded(bytes, usize::MAX)
    }

    /// The same, where all arrays together may take `array_bytes_max` of memory: an empty string is one byte of a frame and sixteen
    /// of an array.
    #[must_use]
    pub const fn bounded(bytes: &'a [u8], array_bytes_max: usize) -> Reader<'a> {
        Reader { rest: bytes, end: bytes.len(), array_bytes_left: array_bytes_max }
    }

    /// How many bytes have been read, which is the index of the next one.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.end - self.rest.len()
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes, borrowed.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(Problem::Truncated { needed: length, left: self.rest.len() })),
        }
    }

    /// The next `N` bytes as an array: every number and every id.
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.rest = rest;
                Ok(*chunk)
            }
            None => Err(self.error(Problem::Truncated { needed: N, left: self.rest.len() })),
        }
    }

    /// A big-endian 16-bit number.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    /// A big-endian 32-bit number.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    /// An unsigned varint, least significant seven bits first.
    #[inline]
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for index in 0..VARINT_BYTES_MAX {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7f);
            // The fifth byte has room for the four highest bits only.
            if index == VARINT_BYTES_MAX - 1 && byte > 0x0f {
                break;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(Problem::EndlessVarint))
    }

    /// A string, or `None` for null. `flexible` messages write the length plus one as a varint, the others as an `i16`, −1 for null.
    pub fn string(&mut self, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let length = if flexible {
            self.compact_length()?
        } else {
            let length = self.i16()?;
            self.plain_length(i64::from(length))?
        };
        let Some(length) = length else { return Ok(None) };
        if length > STRING_BYTES_MAX {
            return Err(self.error(Problem::TooLong { claimed: length, most: STRING_BYTES_MAX }));
        }
        let bytes = self.take(length)?;
        match str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.error(Problem::NotUtf8)),
        }
    }

    /// The length of a byte sequence or the count of an array, or `None` for null: a varint plus one when `flexible`, else an `i32`.
    #[inline]
    pub fn length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            self.compact_length()
        } else {
            let length = self.i32()?;
            self.plain_length(i64::from(length))
        }
    }

    /// The count of an array whose elements take at least `element_bytes_min` bytes each, or `None` for null.
    ///
    /// More entries than the rest of the frame can hold are refused before any memory is taken for them.
    pub fn array_count(&mut self, flexible: bool, element_bytes_min: usize) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length(flexible)? else { return Ok(None) };
        let most = (self.rest.len() / element_bytes_min.max(1)).min(ARRAY_COUNT_MAX);
        if count > most {
            return Err(self.error(Problem::TooLong { claimed: count, most }));
        }
        Ok(Some(count))
    }

    /// Counts the memory that an array is about to take, or refuses it.
    pub fn count_array_bytes(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.array_bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.array_bytes_left = left;
                Ok(())
            }
            None => Err(self.error(Problem::TooMuch { bytes, left: self.array_bytes_left })),
        }
    }

    /// Reads a section of tagged fields. `known` gets each tag with a reader over exactly that field's bytes and says whether it
    /// knew it; what it does not know is skipped, what it leaves over is an error.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        if count > TAGGED_FIELD_COUNT_MAX {
            let most = TAGGED_FIELD_COUNT_MAX as usize;
            return Err(self.error(Problem::TooLong { claimed: count as usize, most }));
        }
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let length = self.unsigned_varint()? as usize;
            let start = self.position();
            let (rest, array_bytes_left) = (self.take(length)?, self.array_bytes_left);
            let mut field = Reader { rest, end: start + length, array_bytes_left };
            let is_known = known(tag, &mut field)?;
            // A tag may come again and again: what was counted stays counted.
            self.array_bytes_left = field.array_bytes_left;
            if is_known && field.remaining() > 0 {
                return Err(field.error(Problem::LeftOver { left: field.remaining() }));
            }
        }
        Ok(())
    }

    /// An error at the present position.
    #[cold]
    #[must_use]
    pub fn error(&self, problem: Problem) -> DecodeError {
        DecodeError(Box::new(Detail { place: None, position: self.position(), problem }))
    }

    #[inline]
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    #[inline]
    fn plain_length(&self, length: i64) -> Result<Option<usize>, DecodeError> {
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length).map(Some).map_err(|_| self.error(Problem::NegativeLength { length })),
        }
    }
}

/// Why a frame could not be read: the peer's fault, always. Small, because every read returns one in its `Result`.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Detail>);

#[derive(Clone, PartialEq, Eq)]
struct Detail {
    place: Option<(&'static str, &'static str)>,
    position: usize,
    problem: Problem,
}

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The frame ends inside a value.
    #[error("{needed} bytes are needed, {left} are left")]
    Truncated {
        /// Bytes that the value takes.
        needed: usize,
        /// Bytes up to the end.
        left: usize,
    },
    /// A length below −1.
    #[error("a length of {length} means nothing")]
    NegativeLength {
        /// As it was sent.
        length: i64,
    },
    /// A length or count past its bound.
    #[error("{claimed} are claimed, at most {most} are possible")]
    TooLong {
        /// As it was sent.
        claimed: usize,
        /// What the rest of the frame or the named limit allows.
        most: usize,
    },
    /// Arrays of more memory than a frame is given.
    #[error("an array takes {bytes} bytes of memory, and {left} are left for this frame")]
    TooMuch {
        /// What the array takes.
        bytes: usize,
        /// What the arrays before it have left.
        left: usize,
    },
    /// Null where the version does not allow it.
    #[error("null is not allowed here")]
    UnexpectedNull,
    /// A varint of more than 32 bits.
    #[error("a varint has more than 32 bits")]
    EndlessVarint,
    /// A string that is no UTF-8.
    #[error("the string is not UTF-8")]
    NotUtf8,
    /// The size of a tagged field or a key, and its content, disagree.
    #[error("{left} bytes are left over")]
    LeftOver {
        /// Bytes that the content did not use.
        left: usize,
    },
    /// No table for this version.
    #[error("version {version} is not known")]
    UnknownVersion {
        /// As it was asked for.
        version: i16,
    },
}

impl DecodeError {
    /// Names the place, unless a deeper one has done so.
    #[cold]
    #[must_use]
    pub fn in_field(mut self, message: &'static str, field: &'static str) -> DecodeError {
        self.0.place.get_or_insert((message, field));
        self
    }

    /// The struct and field that were being read, where known.
    #[must_use]
    pub fn place(&self) -> Option<(&'static str, &'static str)> {
        self.0.place
    }

    /// Index of the first byte that could not be read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.0.position
    }

    /// What was wrong.
    #[must_use]
    pub fn problem(&self) -> Problem {
        self.0.problem
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((message, field)) = self.0.place {
            write!(f, "{message}.{field}: ")?;
        }
        write!(f, "{} (byte {})", self.0.problem, self.0.position)
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({self})")
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: fmt::Debug>(result: Result<T, DecodeError>) -> Problem {
        result.unwrap_err().problem()
    }

    #[test]
    fn varints_end_after_five_bytes_and_32_bits() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(), Ok(u32::MAX));
        assert_eq!(problem(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint()), Problem::EndlessVarint);
        assert_eq!(problem(Reader::new(&[0x80; 64]).unsigned_varint()), Problem::EndlessVarint);
        assert_eq!(problem(Reader::new(&[0x80]).unsigned_varint()), Problem::Truncated { needed: 1, left: 0 });
    }

    #[test]
    fn negative_lengths_other_than_null_are_refused() {
        assert_eq!(Reader::new(&[0xff, 0xff]).string(false), Ok(None));
        assert_eq!(problem(Reader::new(&[0xff, 0xfe]).string(false)), Problem::NegativeLength { length: -2 });
        let lowest = i32::MIN.to_be_bytes();
        assert_eq!(
            problem(Reader::new(&lowest).length(false)),
            Problem::NegativeLength { length: i64::from(i32::MIN) }
        );
    }

    #[test]
    fn an_array_may_not_claim_more_than_the_frame_can_hold() {
        let mut frame = i32::MAX.to_be_bytes().to_vec();
        frame.extend([0; 100]);
        let claimed = i32::MAX as usize;
        assert_eq!(problem(Reader::new(&frame).array_count(false, 8)), Problem::TooLong { claimed, most: 12 });
        let claimed = u32::MAX as usize - 1;
        let endless = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert_eq!(problem(Reader::new(&endless).array_count(true, 1)), Problem::TooLong { claimed, most: 2 });
    }

    #[test]
    fn arrays_share_their_memory_with_those_in_tagged_fields() {
        let mut reader = Reader::bounded(&[2, 7, 0, 7, 0, 9], 100);
        assert_eq!(reader.count_array_bytes(40), Ok(()));
        let one_more = |_, field: &mut Reader<'_>| field.count_array_bytes(40).map(|()| true);
        assert_eq!(problem(reader.tagged_fields(one_more)), Problem::TooMuch { bytes: 40, left: 20 });
        assert_eq!(Reader::new(&[]).count_array_bytes(usize::MAX), Ok(()));
    }

    #[test]
    fn a_long_compact_string_is_refused_even_when_it_is_there() {
        let mut frame = vec![0x81, 0x80, 0x02];
        frame.extend([b'a'; 40_000]);
        let wanted = Problem::TooLong { claimed: 32_768, most: STRING_BYTES_MAX };
        assert_eq!(problem(Reader::new(&frame).string(true)), wanted);
    }

    #[test]
    fn unknown_tags_are_skipped_and_known_ones_read_within_their_size() {
        let frame = [2, 7, 3, 1, 2, 3, 9, 2, 0, 5, 0xee];
        let mut seen = None;
        let mut reader = Reader::new(&frame);
        let result = reader.tagged_fields(|tag, field| {
            if tag == 9 {
                seen = Some((field.position(), field.i16()?));
            }
            Ok(tag == 9)
        });
        assert_eq!((result, seen, reader.remaining()), (Ok(()), Some((8, 5)), 1));
    }

    #[test]
    fn a_tagged_section_is_bounded_in_count_and_in_size() {
        let too_many = [0x91, 0x4e];
        let wanted = Problem::TooLong { claimed: 10_001, most: 10_000 };
        assert_eq!(problem(Reader::new(&too_many).tagged_fields(|_, _| Ok(false))), wanted);
        let too_large = [1, 0, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert!(matches!(
            problem(Reader::new(&too_large).tagged_fields(|_, _| Ok(false))),
            Problem::Truncated { left: 0, .. }
        ));
        let left_over = [1, 0, 2, 1, 1];
        let read_one = |_, field: &mut Reader<'_>| field.fixed::<1>().map(|_| true);
        assert_eq!(problem(Reader::new(&left_over).tagged_fields(read_one)), Problem::LeftOver { left: 1 });
    }
}
