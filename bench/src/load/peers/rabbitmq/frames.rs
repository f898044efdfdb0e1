//! Frames of RabbitMQ's stream protocol: a length, a command's number and version, fields with the highest byte first.
//!
//! It knows how frames are written and read, and nothing of when they are sent.

use bytes::{Buf, BufMut, TryGetError};

/// Numbers of the commands that this load sends or may be sent.
pub(super) mod command {
    pub(crate) const DECLARE_PUBLISHER: u16 = 0x01;
    pub(crate) const PUBLISH: u16 = 0x02;
    pub(crate) const PUBLISH_CONFIRM: u16 = 0x03;
    pub(crate) const PUBLISH_ERROR: u16 = 0x04;
    pub(crate) const SUBSCRIBE: u16 = 0x07;
    pub(crate) const DELIVER: u16 = 0x08;
    pub(crate) const CREDIT: u16 = 0x09;
    pub(crate) const UNSUBSCRIBE: u16 = 0x0c;
    pub(crate) const CREATE: u16 = 0x0d;
    pub(crate) const DELETE: u16 = 0x0e;
    pub(crate) const METADATA_UPDATE: u16 = 0x10;
    pub(crate) const PEER_PROPERTIES: u16 = 0x11;
    pub(crate) const SASL_HANDSHAKE: u16 = 0x12;
    pub(crate) const SASL_AUTHENTICATE: u16 = 0x13;
    pub(crate) const TUNE: u16 = 0x14;
    pub(crate) const OPEN: u16 = 0x15;
    pub(crate) const CLOSE: u16 = 0x16;
    pub(crate) const HEARTBEAT: u16 = 0x17;
    /// Set in the number of what answers a command.
    pub(crate) const ANSWER: u16 = 0x8000;
}

/// What an answer says of its request.
pub(super) mod code {
    pub(crate) const OK: u16 = 0x01;
    pub(crate) const NO_STREAM: u16 = 0x02;
    pub(crate) const STREAM_EXISTS: u16 = 0x05;
    pub(crate) const NOT_AVAILABLE: u16 = 0x06;

    /// In words, as far as a load may meet it.
    pub(crate) fn text(code: u16) -> String {
        let known = match code {
            NO_STREAM => "there is no such stream",
            STREAM_EXISTS => "there is such a stream already",
            NOT_AVAILABLE => "the stream is not available",
            0x08 | 0x0b => "guest/guest is not let in",
            0x0c => "the virtual host / is not open to guest",
            0x0d => "it does not know the command",
            0x0e => "the frame is too long",
            0x0f => "it failed inside",
            0x10 => "guest may not do that",
            0x11 => "its settings do not allow that",
            0x12 => "there is no such publisher",
            _ => return format!("code {code:#x}"),
        };
        known.to_owned()
    }
}

/// All commands here are of the first version.
const VERSION: u16 = 1;
/// The length, then command and version.
pub(super) const START_BYTES: usize = 8;

/// What stands in front of a frame's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) command: u16,
    /// Bytes of the frame that are still to come.
    pub(super) bytes: usize,
}

impl Start {
    pub(super) fn parse(start: [u8; START_BYTES]) -> Result<Start, String> {
        let mut fields = &start[..];
        let (length, command, version) = (fields.get_u32(), fields.get_u16(), fields.get_u16());
        // The length counts neither itself nor what lies behind the frame.
        let bytes = usize::try_from(length).ok().and_then(|length| length.checked_sub(START_BYTES - 4));
        match bytes {
            Some(bytes) if version == VERSION => Ok(Start { command, bytes }),
            Some(_) => {
                Err(format!("RabbitMQ sent version {version} of command {command:#x}, which this load does not know"))
            }
            None => Err(format!("RabbitMQ announces a frame of {length} bytes, which is too short for any")),
        }
    }
}

/// A frame that is being written.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new(command: u16) -> Frame {
        let mut bytes = vec![0; 4];
        bytes.put_u16(command);
        bytes.put_u16(VERSION);
        Frame(bytes)
    }

    pub(super) fn u8(mut self, value: u8) -> Frame {
        self.0.put_u8(value);
        self
    }

    pub(super) fn u16(mut self, value: u16) -> Frame {
        self.0.put_u16(value);
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Frame {
        self.0.put_u32(value);
        self
    }

    /// A text of at most 32 KiB, which all names here are.
    pub(super) fn string(mut self, text: &str) -> Frame {
        let length = i16::try_from(text.len()).expect("a command line's names are short");
        self.0.put_i16(length);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Frame {
        self.0.put_u32(u32::try_from(bytes.len()).expect("a few"));
        self.0.extend_from_slice(bytes);
        self
    }

    /// Names with values.
    pub(super) fn map(self, entries: &[(&str, &str)]) -> Frame {
        let count = u32::try_from(entries.len()).expect("a handful");
        entries.iter().fold(self.u32(count), |frame, (name, value)| frame.string(name).string(value))
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).expect("commands are short");
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The fields of a frame that has come.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn u8(&mut self) -> Result<u8, String> {
        self.0.try_get_u8().map_err(too_short)
    }

    pub(super) fn u16(&mut self) -> Result<u16, String> {
        self.0.try_get_u16().map_err(too_short)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.0.try_get_u32().map_err(too_short)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.0.try_get_u64().map_err(too_short)
    }

    /// A count, then as many texts.
    pub(super) fn strings(&mut self) -> Result<Vec<&'a str>, String> {
        (0..self.u32()?).map(|_| self.string()).collect()
    }

    /// A count, then as many names with values; the value of one of them.
    pub(super) fn value(&mut self, wanted: &str) -> Result<Option<&'a str>, String> {
        let mut found = None;
        for _ in 0..self.u32()? {
            let (name, value) = (self.string()?, self.string()?);
            found = found.or((name == wanted).then_some(value));
        }
        Ok(found)
    }

    /// A text, empty where there is none.
    pub(super) fn string(&mut self) -> Result<&'a str, String> {
        let length = usize::try_from(self.0.try_get_i16().map_err(too_short)?).unwrap_or(0);
        let Some((text, rest)) = self.0.split_at_checked(length) else {
            return Err(format!("RabbitMQ announces a text of {length} bytes where {} are left", self.0.len()));
        };
        self.0 = rest;
        str::from_utf8(text).map_err(|_| "RabbitMQ sent a text that is none".to_owned())
    }
}

fn too_short(error: TryGetError) -> String {
    format!("RabbitMQ sent a frame that ends within a field: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_what_rabbitmq_documents() {
        let frame = Frame::new(command::CREATE).u32(7).string("logs").map(&[("a", "bc")]).finish();
        let expected = b"\0\0\0\x19\0\x0d\0\x01\0\0\0\x07\0\x04logs\0\0\0\x01\0\x01a\0\x02bc";
        assert_eq!(frame, expected);
        let start = Start::parse(frame[..START_BYTES].try_into().unwrap()).unwrap();
        assert_eq!(start, Start { command: command::CREATE, bytes: frame.len() - START_BYTES });
    }

    #[test]
    fn a_start_of_no_frame_is_refused() {
        assert!(Start::parse([0, 0, 0, 3, 0, 1, 0, 1]).unwrap_err().contains("too short"));
        assert!(Start::parse([0, 0, 0, 4, 0, 1, 0, 2]).unwrap_err().contains("version 2"));
    }

    #[test]
    fn fields_end_where_their_frame_does() {
        let mut fields = Fields(b"\0\x05\0\x02ab\xff\xff\0\x04abc");
        assert_eq!(fields.u16(), Ok(5));
        assert_eq!(fields.string(), Ok("ab"));
        assert_eq!(fields.string(), Ok(""), "a length of -1 is no text");
        assert!(fields.string().unwrap_err().contains("4 bytes where 3 are left"));
        let counted = b"\0\0\0\x02\0\x01a\0\x02bc";
        assert_eq!(Fields(counted).strings().unwrap(), ["a", "bc"]);
        assert!(Fields(&counted[..8]).strings().is_err(), "a count of more than there is");
        let pairs = b"\0\0\0\x02\0\x01a\0\x01b\0\x01c\0\x01d";
        assert_eq!(Fields(pairs).value("c"), Ok(Some("d")));
        assert_eq!(Fields(pairs).value("b"), Ok(None));
        assert!(Fields(b"\0\0\0").u32().unwrap_err().contains("within a field"));
    }
}
