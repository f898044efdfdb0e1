//! The sized writer: a message is walked twice, once to count its bytes and once to write them into one buffer of that size.
//!
//! Record batches are never written here: their place is noted as a splice, and whoever sends the frame puts the caller's bytes or
//! file ranges there. Used by the tables of `schema.rs` and by `frame.rs`.

use crate::wire::reader::STRING_BYTES_MAX;
use bytes::{BufMut, BytesMut};

/// What a message is written into; one walk serves both the counting and the writing.
pub trait Sink {
    /// Writes `bytes` as they are.
    fn put(&mut self, bytes: &[u8]);

    /// Leaves a place for `length` bytes that the caller sends from elsewhere.
    fn splice(&mut self, length: usize);

    /// Writes an unsigned varint, least significant seven bits first.
    fn put_unsigned_varint(&mut self, mut value: u32) {
        let mut bytes = [0; 5];
        let mut count = 0;
        while value >= 0x80 {
            bytes[count] = (value & 0x7f) as u8 | 0x80;
            value >>= 7;
            count += 1;
        }
        bytes[count] = (value & 0x7f) as u8;
        self.put(&bytes[..=count]);
    }

    /// Writes a string or null. One longer than the protocol allows is cut at a character: no legal name is that long, and half of an
    /// explanation is better than none.
    fn put_string(&mut self, text: Option<&str>, flexible: bool) {
        let Some(text) = text else {
            return if flexible { self.put(&[0]) } else { self.put(&(-1i16).to_be_bytes()) };
        };
        let text = &text[..text.floor_char_boundary(STRING_BYTES_MAX)];
        if flexible {
            self.put_compact_length(text.len());
        } else {
            let length = i16::try_from(text.len()).expect("the text was cut at STRING_BYTES_MAX");
            self.put(&length.to_be_bytes());
        }
        self.put(text.as_bytes());
    }

    /// Writes the length of a byte sequence or the count of an array, or null.
    fn put_length(&mut self, length: Option<usize>, flexible: bool) {
        match (length, flexible) {
            (None, true) => self.put(&[0]),
            (None, false) => self.put(&(-1i32).to_be_bytes()),
            (Some(length), true) => self.put_compact_length(length),
            (Some(length), false) => {
                let length = i32::try_from(length).expect("a frame holds less than 2 GiB");
                self.put(&length.to_be_bytes());
            }
        }
    }

    /// Writes a length plus one, as flexible messages do.
    fn put_compact_length(&mut self, length: usize) {
        self.put_unsigned_varint(u32::try_from(length + 1).expect("a frame holds less than 2 GiB"));
    }
}

/// Counts what would be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizer {
    /// Bytes of the message itself.
    pub own_bytes: usize,
    /// Bytes that come from elsewhere.
    pub spliced_bytes: usize,
}

impl Sizer {
    /// Bytes on the wire.
    #[must_use]
    pub const fn total_bytes(&self) -> usize {
        self.own_bytes + self.spliced_bytes
    }
}

impl Sink for Sizer {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.own_bytes += bytes.len();
    }

    fn splice(&mut self, length: usize) {
        self.spliced_bytes += length;
    }
}

/// Writes into one buffer and notes where the splices go.
#[derive(Debug, Default)]
pub struct Writer {
    /// The message's own bytes.
    pub bytes: BytesMut,
    /// In order; empty for every message but Produce requests and Fetch responses.
    pub splices: Vec<Splice>,
}

/// A place in a message for bytes from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice {
    /// Index in the message's own bytes before which they go.
    pub at: usize,
    /// How many, never 0.
    pub length: usize,
}

impl Writer {
    /// An empty writer with room for `own_bytes`.
    #[must_use]
    pub fn with_capacity(own_bytes: usize) -> Writer {
        Writer { bytes: BytesMut::with_capacity(own_bytes), splices: Vec::new() }
    }
}

impl Sink for Writer {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    fn splice(&mut self, length: usize) {
        if length > 0 {
            self.splices.push(Splice { at: self.bytes.len(), length });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reader::Reader;

    #[test]
    fn varints_come_back_as_they_were() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 28, u32::MAX] {
            let mut writer = Writer::default();
            writer.put_unsigned_varint(value);
            assert_eq!(Reader::new(&writer.bytes).unsigned_varint(), Ok(value));
        }
    }

    #[test]
    fn an_overlong_text_is_cut_at_a_character() {
        let text = "é".repeat(20_000);
        for flexible in [false, true] {
            let mut writer = Writer::default();
            writer.put_string(Some(&text), flexible);
            let read = Reader::new(&writer.bytes).string(flexible).unwrap().unwrap();
            assert_eq!(read.len(), STRING_BYTES_MAX - 1);
        }
    }
}
