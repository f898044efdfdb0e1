//! A connection to RabbitMQ that has signed on: requests and their answers, and what the server says unasked.
//!
//! It signs on as RabbitMQ's own `guest`, who is let in from the same machine only, and asks for no heartbeats: a load is never idle for
//! long, and ends when the connection does.

use super::frames::{Fields, Frame, START_BYTES, Start, code, command};
use crate::load::peers::wire::Wire;

/// Longer frames than this are not written even if the server takes them.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Answers are far shorter.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const MECHANISM: &str = "PLAIN";
/// Nobody to act for, the user and the password, each behind a zero.
const SECRET: &str = "\0guest\0guest";
const VIRTUAL_HOST: &str = "/";

/// Both halves of the connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) wire: Wire,
    pub(super) server_version: String,
    /// The longest frame that the server takes.
    pub(super) frame_bytes_max: usize,
    /// Counts the requests.
    correlation: u32,
    /// The fields of what came last and was not passed over.
    fields: Vec<u8>,
}

/// What an answer says of its request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) code: u16,
    /// What else it says.
    fields: Fields<'a>,
}

impl<'a> Answer<'a> {
    /// Yes, with what it brings.
    pub(super) fn ok(self) -> Result<Fields<'a>, String> {
        if self.code == code::OK {
            Ok(self.fields)
        } else {
            Err(format!("RabbitMQ refuses: {}", code::text(self.code)))
        }
    }

    /// Yes, or that it is so already.
    pub(super) fn ok_or(self, already: u16) -> Result<(), String> {
        if self.code == already { Ok(()) } else { self.ok().map(drop) }
    }
}

impl Link {
    pub(super) fn open(address: &str) -> Result<Link, String> {
        let wire = Wire::open(address)?;
        let mut link = Link {
            wire,
            server_version: String::new(),
            frame_bytes_max: FRAME_BYTES_MAX,
            correlation: 0,
            fields: Vec::new(),
        };
        link.sign_on().map_err(|error| format!("{address}: {error}"))?;
        Ok(link)
    }

    /// All that comes before a stream can be named.
    fn sign_on(&mut self) -> Result<(), String> {
        let own = [("product", "ringmill-bench"), ("version", env!("CARGO_PKG_VERSION"))];
        let mut properties = self.request(command::PEER_PROPERTIES, |frame| frame.map(&own))?.ok()?;
        let version = properties.value("version")?.unwrap_or_default().to_owned();
        self.server_version = version;
        let mut mechanisms = self.request(command::SASL_HANDSHAKE, |frame| frame)?.ok()?;
        if !mechanisms.strings()?.contains(&MECHANISM) {
            return Err(format!("RabbitMQ does not take passwords ({MECHANISM})"));
        }
        self.request(command::SASL_AUTHENTICATE, |frame| frame.string(MECHANISM).bytes(SECRET.as_bytes()))?.ok()?;
        self.tune()?;
        self.request(command::OPEN, |frame| frame.string(VIRTUAL_HOST))?.ok().map(drop)
    }

    /// Agrees to the server's longest frame, and to no heartbeats.
    fn tune(&mut self) -> Result<(), String> {
        let mut start = self.start()?;
        while start.command != command::TUNE {
            self.pass(start)?;
            start = self.start()?;
        }
        self.take_fields(start.bytes)?;
        let offered = Fields(&self.fields).u32()?;
        // Zero is no limit.
        if offered > 0 {
            self.frame_bytes_max =
                usize::try_from(offered).map_or(FRAME_BYTES_MAX, |offered| offered.min(FRAME_BYTES_MAX));
        }
        self.wire.send(&Frame::new(command::TUNE).u32(offered).u32(0).finish())
    }

    /// Sends a command and takes its answer.
    pub(super) fn request(&mut self, number: u16, fields: impl FnOnce(Frame) -> Frame) -> Result<Answer<'_>, String> {
        self.correlation = self.correlation.wrapping_add(1);
        self.wire.send(&fields(Frame::new(number).u32(self.correlation)).finish())?;
        loop {
            let start = self.start()?;
            if start.command == number | command::ANSWER {
                self.take_fields(start.bytes)?;
                break;
            }
            // Chunks that left before the server knew.
            if number == command::UNSUBSCRIBE && start.command == command::DELIVER {
                self.wire.skip(start.bytes)?;
            } else {
                self.pass(start)?;
            }
        }
        let mut fields = Fields(&self.fields);
        let (correlation, code) = (fields.u32()?, fields.u16()?);
        if correlation != self.correlation {
            return Err("RabbitMQ answers what was not asked".to_owned());
        }
        Ok(Answer { code, fields })
    }

    /// Sends a command that has no answer.
    pub(super) fn tell(&mut self, frame: Frame) -> Result<(), String> {
        self.wire.send(&frame.finish())
    }

    /// The start of the next frame.
    pub(super) fn start(&mut self) -> Result<Start, String> {
        let mut start = [0; START_BYTES];
        self.wire.read_into(&mut start)?;
        Start::parse(start)
    }

    /// Passes over a frame that needs no answer; any but a heartbeat ends the load.
    pub(super) fn pass(&mut self, start: Start) -> Result<(), String> {
        if start.command == command::HEARTBEAT {
            return self.wire.skip(start.bytes);
        }
        self.take_fields(start.bytes)?;
        Err(reason(start.command, Fields(&self.fields)).unwrap_or_else(|error| error))
    }

    fn take_fields(&mut self, bytes: usize) -> Result<(), String> {
        if bytes > ANSWER_BYTES_MAX {
            return Err(format!("RabbitMQ announces an answer of {bytes} bytes"));
        }
        self.fields.resize(bytes, 0);
        self.wire.read_into(&mut self.fields)
    }
}

/// Why the server sends what it was not asked for.
fn reason(number: u16, mut fields: Fields<'_>) -> Result<String, String> {
    Ok(match number {
        command::CLOSE => {
            let (_correlation, code, reason) = (fields.u32()?, fields.u16()?, fields.string()?);
            format!("RabbitMQ closes the connection: {reason} ({})", code::text(code))
        }
        command::METADATA_UPDATE => {
            let (code, stream) = (fields.u16()?, fields.string()?);
            format!("RabbitMQ took the stream {stream} away: {}", code::text(code))
        }
        command::PUBLISH_ERROR => {
            let (_publisher, count, _id) = (fields.u8()?, fields.u32()?, fields.u64()?);
            format!("RabbitMQ refused {count} messages: {}", code::text(fields.u16()?))
        }
        other => format!("RabbitMQ sent command {other:#x}, which this load does not expect"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_unasked_is_put_in_words() {
        let check = |number: u16, fields: &[u8], expected: &str| {
            assert_eq!(reason(number, Fields(fields)).unwrap(), expected);
        };
        check(
            command::CLOSE,
            b"\0\0\0\x01\0\x0e\0\x03why",
            "RabbitMQ closes the connection: why (the frame is too long)",
        );
        check(
            command::METADATA_UPDATE,
            b"\0\x06\0\x01s",
            "RabbitMQ took the stream s away: the stream is not available",
        );
        check(
            command::PUBLISH_ERROR,
            b"\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\x12",
            "RabbitMQ refused 2 messages: there is no such publisher",
        );
        check(0x99, b"", "RabbitMQ sent command 0x99, which this load does not expect");
        assert!(reason(command::CLOSE, Fields(b"\0\0")).unwrap_err().contains("within a field"));
    }
}
