//! Messages as they lie in a publish and in a chunk of a stream: each an AMQP 1.0 message of one data section, which is what RabbitMQ's own
//! clients send. To the server a message is any bytes.
//!
//! Sub-entries, by which a client may compress messages, are neither written nor read here.

use bytes::{Buf, BufMut};

use super::frames::{START_BYTES, command};
use crate::load::peers::wire::Wire;

/// The publisher that a connection has declared.
pub(super) const PUBLISHER: u8 = 0;
/// What a frame of messages has before the first: its start, the publisher, their count.
const PUBLISH_BYTES: usize = START_BYTES + 1 + 4;
/// A publishing id and a length in front of each message.
const PUBLISHED_BYTES: usize = 8 + 4;
/// How a data section begins: a described value, by AMQP's number for "data".
const DATA_SECTION: [u8; 3] = [0x00, 0x53, 0x75];
/// The forms of a binary value: one byte or four for its length.
const BINARY_SHORT: u8 = 0xa0;
const BINARY_LONG: u8 = 0xb0;
/// An entry's length, and of its data section all up to the first byte of the value's length.
const ENTRY_START_BYTES: usize = 9;
/// The highest bit of an entry's length is set for sub-entries.
const SUB_ENTRY: u32 = 1 << 31;

/// Publishes all values: in one frame if the server takes one that long, else in as few as it takes.
///
/// Their publishing ids are their places. A publisher without a name may use an id again, and an id only comes back in the confirmation.
pub(super) fn publish(values: &[Vec<u8>], frame_bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut frames = Vec::new();
    // Where the frame being written starts, and how many messages it has.
    let (mut start, mut count) = (0, 0);
    for (id, value) in (0_u64..).zip(values) {
        let message_bytes = section_bytes(value.len());
        let frame_bytes = |before: usize| before + PUBLISHED_BYTES + message_bytes;
        if frame_bytes(PUBLISH_BYTES) > frame_bytes_max {
            return Err(format!(
                "a record of {} bytes does not fit the server's frames of {frame_bytes_max}: raise stream.frame_max there",
                value.len()
            ));
        }
        if count == 0 || frame_bytes(frames.len() - start) > frame_bytes_max {
            finish(&mut frames[start..], count);
            (start, count) = (frames.len(), 0);
            frames.put_bytes(0, PUBLISH_BYTES);
        }
        frames.put_u64(id);
        frames.put_u32(u32::try_from(message_bytes).expect("shorter than a frame, which has 32 bits for its length"));
        push_section(&mut frames, value);
        count += 1;
    }
    finish(&mut frames[start..], count);
    Ok(frames)
}

/// Writes what stands in front of a frame's messages.
fn finish(frame: &mut [u8], count: u32) {
    let Some(length) = frame.len().checked_sub(4) else { return };
    let mut front = &mut frame[..PUBLISH_BYTES];
    front.put_u32(u32::try_from(length).expect("the server's limit has 32 bits"));
    front.put_u16(command::PUBLISH);
    front.put_u16(1);
    front.put_u8(PUBLISHER);
    front.put_u32(count);
}

fn section_bytes(value_bytes: usize) -> usize {
    DATA_SECTION.len() + if u8::try_from(value_bytes).is_ok() { 2 } else { 5 } + value_bytes
}

fn push_section(message: &mut Vec<u8>, value: &[u8]) {
    message.extend_from_slice(&DATA_SECTION);
    if let Ok(length) = u8::try_from(value.len()) {
        message.extend_from_slice(&[BINARY_SHORT, length]);
    } else {
        message.put_u8(BINARY_LONG);
        message.put_u32(u32::try_from(value.len()).expect("shorter than a frame, which has 32 bits for its length"));
    }
    message.extend_from_slice(value);
}

/// What stands in front of a chunk's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkHeader {
    pub(super) records: u32,
    pub(super) first_offset: u64,
    /// Bytes of all entries.
    pub(super) data_bytes: usize,
}

impl ChunkHeader {
    pub(super) const BYTES: usize = 48;

    pub(super) fn parse(header: &[u8; ChunkHeader::BYTES]) -> Result<ChunkHeader, String> {
        /// In the first half of the first byte; the format's version is in the second.
        const MAGIC: u8 = 5;
        let mut fields = &header[..];
        let (magic, kind, entries, records) = (fields.get_u8(), fields.get_u8(), fields.get_u16(), fields.get_u32());
        // The time and the leader's epoch.
        fields.advance(8 + 8);
        let first_offset = fields.get_u64();
        // The checksum, which the other loads do not look at, either.
        fields.advance(4);
        let data_bytes = usize::try_from(fields.get_u32()).expect("32 bits are fewer than an address has");
        if magic >> 4 != MAGIC {
            return Err(format!("RabbitMQ sent a chunk that begins with {magic:#x}, which this load does not know"));
        }
        // Other kinds are the server's own notes, and entries of more than one record are sub-entries.
        if kind != 0 || u32::from(entries) != records {
            return Err("a chunk holds something else than this load writes".to_owned());
        }
        Ok(ChunkHeader { records, first_offset, data_bytes })
    }

    /// The offset behind the chunk's last record.
    pub(super) fn end(&self) -> u64 {
        self.first_offset.saturating_add(u64::from(self.records))
    }
}

/// Lets an entry pass that has `left` bytes of its chunk at most, and gives the bytes of its value and those that it took of the chunk.
pub(super) fn pass_entry(wire: &mut Wire, left: usize) -> Result<(usize, usize), String> {
    if left < ENTRY_START_BYTES {
        return Err("RabbitMQ sent a chunk that ends within an entry".to_owned());
    }
    let mut start = [0; ENTRY_START_BYTES];
    wire.read_into(&mut start)?;
    let entry = Entry::parse(start)?;
    if entry.bytes > left {
        return Err(format!("RabbitMQ announces an entry of {} bytes where {left} are left", entry.bytes));
    }
    // What is left of a long value's length.
    let mut length = [0, 0, 0, entry.length_begin];
    if entry.is_long {
        length.rotate_right(1);
        wire.read_into(&mut length[1..])?;
    }
    if usize::try_from(u32::from_be_bytes(length)) != Ok(entry.value_bytes) {
        return Err(foreign());
    }
    wire.skip(entry.value_bytes)?;
    Ok((entry.value_bytes, entry.bytes))
}

/// What an entry's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// With the length in front.
    bytes: usize,
    /// Those that the entry has for its value, which the value's own length has to agree with.
    value_bytes: usize,
    is_long: bool,
    /// All of the value's own length if it is short, else the highest byte.
    length_begin: u8,
}

impl Entry {
    fn parse(start: [u8; ENTRY_START_BYTES]) -> Result<Entry, String> {
        let [l0, l1, l2, l3, section @ .., form, length_begin] = start;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let is_long = form == BINARY_LONG;
        if length & SUB_ENTRY != 0 || section != DATA_SECTION || !(is_long || form == BINARY_SHORT) {
            return Err(foreign());
        }
        let bytes = 4 + usize::try_from(length).expect("32 bits are no more than an address has");
        let front_bytes = ENTRY_START_BYTES + if is_long { 3 } else { 0 };
        let value_bytes = bytes.checked_sub(front_bytes).ok_or_else(foreign)?;
        Ok(Entry { bytes, value_bytes, is_long, length_begin })
    }
}

fn foreign() -> String {
    "an entry is no AMQP message of one data section, which is all that this load writes".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    #[test]
    fn a_publish_is_one_frame_of_amqp_data_sections() {
        let frame = publish(&[b"ab".to_vec(), vec![b'x'; 256]], NO_LIMIT).unwrap();
        let mut expected = vec![0, 0, 1, 0x30, 0, 2, 0, 1, PUBLISHER, 0, 0, 0, 2];
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0\0\x07\0Su\xa0\x02ab");
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\x01\0\0\x01\x08\0Su\xb0\0\0\x01\0");
        expected.resize(expected.len() + 256, b'x');
        assert_eq!(frame, expected);
    }

    #[test]
    fn no_frame_is_longer_than_the_server_takes() {
        let values = vec![vec![b'x'; 100]; 10];
        // 13 bytes of the frame and 117 of each message.
        let check = |frame_bytes_max, expected: &[usize]| {
            let frames = publish(&values, frame_bytes_max).unwrap();
            let mut left = &frames[..];
            let mut counts = Vec::new();
            while !left.is_empty() {
                let length = usize::try_from(left.get_u32()).unwrap();
                assert!(4 + length <= frame_bytes_max);
                counts.push(usize::try_from((&left[5..]).get_u32()).unwrap());
                left.advance(length);
            }
            assert_eq!(counts, expected);
        };
        check(13 + 10 * 117, &[10]);
        check(13 + 10 * 117 - 1, &[9, 1]);
        check(13 + 3 * 117 + 50, &[3, 3, 3, 1]);
        check(13 + 117, &[1; 10]);
        let refused = publish(&values, 13 + 116).unwrap_err();
        assert!(refused.contains("100 bytes") && refused.contains("stream.frame_max"), "{refused}");
    }

    #[test]
    fn a_chunks_header_is_what_osiris_documents() {
        let mut header = [0; ChunkHeader::BYTES];
        header[0] = 0x50;
        (header[3], header[7]) = (3, 3);
        (header[31], header[39]) = (40, 99);
        let chunk = ChunkHeader::parse(&header).unwrap();
        assert_eq!(chunk, ChunkHeader { records: 3, first_offset: 40, data_bytes: 99 });
        assert_eq!(chunk.end(), 43);
        let check = |place: usize, byte: u8, expected: &str| {
            let mut header = header;
            header[place] = byte;
            let refused = ChunkHeader::parse(&header).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        };
        check(0, 0x60, "begins with 0x60");
        check(1, 1, "something else");
        check(3, 2, "something else");
    }

    #[test]
    fn an_entrys_length_decides_how_long_its_value_is() {
        let short = Entry { bytes: 11, value_bytes: 2, is_long: false, length_begin: 2 };
        assert_eq!(Entry::parse(*b"\0\0\0\x07\0Su\xa0\x02"), Ok(short));
        let long = Entry { bytes: 268, value_bytes: 256, is_long: true, length_begin: 0 };
        assert_eq!(Entry::parse(*b"\0\0\x01\x08\0Su\xb0\0"), Ok(long));
        // Too short for its section, sub-entries, another section, another type.
        for start in
            [b"\0\0\0\x04\0Su\xa0\0", b"\x80\0\0\x07\0Su\xa0\x02", b"\0\0\0\x07\0Sw\xa0\x02", b"\0\0\0\x07\0Su\xa1\x02"]
        {
            assert_eq!(Entry::parse(*start), Err(foreign()));
        }
    }
}
