//! RabbitMQ streams: publishes with a confirmation for each message, a subscription by credit to read, in the binary protocol of
//! RabbitMQ's stream plugin.
//!
//! A batch is one frame, or as few as the server takes. It takes anything unexpected for an error.

mod frames;
mod link;
mod messages;

use std::thread;
use std::time::{Duration, Instant};

use super::Driver;
use super::wire::Wire;
use crate::durability;
use crate::load::session::{Meter, Phase};
use frames::{Fields, Frame, Start, code, command};
use link::Link;
use messages::{ChunkHeader, PUBLISHER};

const SUBSCRIPTION: u8 = 0;
/// Chunks under way to a reader: what RabbitMQ's Java client asks for.
const CREDITS: u16 = 10;
/// Where a subscription begins.
const FROM_FIRST_CHUNK: u16 = 1;
const FROM_LAST_CHUNK: u16 = 2;
/// A stream's last chunk comes at once if there is one; that there is none the server does not say.
const EMPTY_AFTER: Duration = Duration::from_secs(3);

/// A stream without a leader for longer is not waited for; one that was there before the server began has it within seconds.
const LEADER_WITHIN: Duration = Duration::from_secs(20);
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// A connection to RabbitMQ.
#[derive(Debug)]
pub(super) struct Connection {
    link: Link,
    /// Confirmations that came and were not taken as answers yet: many come in one frame, and those of two batches in one, too.
    confirmed: usize,
}

impl Driver for Connection {
    const BATCH: &str = "in a publish, each an AMQP 1.0 message of one data section";

    fn open(address: &str) -> Result<Connection, String> {
        Link::open(address).map(|link| Connection { link, confirmed: 0 })
    }

    fn prepare(&mut self, stream: &str, fresh: bool) -> Result<(), String> {
        if fresh {
            self.delete(stream)?;
        }
        self.link.request(command::CREATE, |frame| frame.string(stream).map(&[]))?.ok_or(code::STREAM_EXISTS)?;
        // Without a name, for the server would look for each message of a named publisher whether it has it already.
        let publisher = |frame: Frame| frame.u8(PUBLISHER).string("").string(stream);
        self.ask_for(stream, command::DECLARE_PUBLISHER, publisher)
    }

    fn appends(&self, _stream: &str, values: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        messages::publish(values, self.link.frame_bytes_max)
    }

    fn take_answer(&mut self) -> Result<(), String> {
        while self.confirmed == 0 {
            self.take_frame()?;
        }
        self.confirmed -= 1;
        Ok(())
    }

    fn answer_before(&mut self, due: Instant) -> Result<bool, String> {
        while self.confirmed == 0 {
            if !self.link.wire.readable_before(due)? {
                return Ok(false);
            }
            self.take_frame()?;
        }
        Ok(true)
    }

    fn read(mut self, stream: &str, again: bool, meter: &Meter<'_>) -> Result<(), String> {
        let end = self.end(stream)?;
        loop {
            self.read_once(stream, end, meter)?;
            if !again || meter.phase() == Phase::Stopped {
                return Ok(());
            }
        }
    }

    fn durability(&mut self) -> Result<String, String> {
        Ok(judge(&self.link.server_version).to_owned())
    }

    fn delete(&mut self, stream: &str) -> Result<(), String> {
        self.link.request(command::DELETE, |frame| frame.string(stream))?.ok_or(code::NO_STREAM)
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.link.wire
    }
}

impl Connection {
    /// Takes a frame while messages are under way, and counts what it confirms.
    fn take_frame(&mut self) -> Result<(), String> {
        /// The publisher and the number of ids.
        const FRONT_BYTES: usize = 1 + 4;
        const ID_BYTES: usize = 8;
        let start = self.link.start()?;
        if start.command != command::PUBLISH_CONFIRM {
            return self.link.pass(start);
        }
        let Some(ids_bytes) = start.bytes.checked_sub(FRONT_BYTES) else {
            return Err("RabbitMQ sent a confirmation that is too short".to_owned());
        };
        let mut front = [0; FRONT_BYTES];
        self.link.wire.read_into(&mut front)?;
        let count = usize::try_from(Fields(&front[1..]).u32()?).unwrap_or(usize::MAX);
        if count.checked_mul(ID_BYTES) != Some(ids_bytes) {
            return Err(format!("RabbitMQ announces {count} confirmations in {ids_bytes} bytes"));
        }
        self.confirmed += count;
        self.link.wire.skip(ids_bytes)
    }

    /// The offset behind the last record that the stream has now.
    fn end(&mut self, stream: &str) -> Result<u64, String> {
        self.subscribe(stream, FROM_LAST_CHUNK, 1)?;
        let until = Instant::now() + EMPTY_AFTER;
        loop {
            if !self.link.wire.readable_before(until)? {
                return Err(format!("the stream {stream} is empty: produce to the topic first"));
            }
            let start = self.link.start()?;
            if start.command == command::DELIVER {
                let (chunk, bytes) = self.chunk(start)?;
                self.link.wire.skip(bytes)?;
                self.unsubscribe()?;
                return Ok(chunk.end());
            }
            self.link.pass(start)?;
        }
    }

    /// Reads from the start up to the offset `end`.
    fn read_once(&mut self, stream: &str, end: u64, meter: &Meter<'_>) -> Result<(), String> {
        self.subscribe(stream, FROM_FIRST_CHUNK, CREDITS)?;
        let mut asked = Instant::now();
        while meter.phase() != Phase::Stopped {
            let start = self.link.start()?;
            if start.command != command::DELIVER {
                self.link.pass(start)?;
                continue;
            }
            let (chunk, frame_bytes) = self.chunk(start)?;
            let is_last = chunk.end() >= end;
            if !is_last {
                self.link.tell(Frame::new(command::CREDIT).u8(SUBSCRIPTION).u16(1))?;
            }
            let mut left = chunk.data_bytes;
            let mut bytes = 0;
            for _ in 0..chunk.records {
                let (value_bytes, entry_bytes) = messages::pass_entry(&mut self.link.wire, left)?;
                bytes += value_bytes;
                left -= entry_bytes;
            }
            self.link.wire.skip(frame_bytes - chunk.data_bytes + left)?;
            meter.count(u64::from(chunk.records), bytes as u64, Some(asked.elapsed()));
            asked = Instant::now();
            if is_last {
                return self.unsubscribe();
            }
        }
        Ok(())
    }

    /// A chunk's header, and how many bytes its frame has behind that.
    fn chunk(&mut self, start: Start) -> Result<(ChunkHeader, usize), String> {
        let mut front = [0; 1 + ChunkHeader::BYTES];
        let Some(bytes) = start.bytes.checked_sub(front.len()) else {
            return Err("RabbitMQ sent a chunk that is too short".to_owned());
        };
        self.link.wire.read_into(&mut front)?;
        let [_subscription, header @ ..] = front;
        let chunk = ChunkHeader::parse(&header)?;
        if chunk.data_bytes > bytes {
            return Err(format!(
                "RabbitMQ announces a chunk of {} bytes in a frame that has {bytes}",
                chunk.data_bytes
            ));
        }
        Ok((chunk, bytes))
    }

    fn subscribe(&mut self, stream: &str, from: u16, credits: u16) -> Result<(), String> {
        let fields = |frame: Frame| frame.u8(SUBSCRIPTION).string(stream).u16(from).u16(credits).map(&[]);
        self.ask_for(stream, command::SUBSCRIBE, fields)
    }

    /// Asks for the use of a stream; again where it has no leader yet, as when the server has just begun.
    fn ask_for(&mut self, stream: &str, number: u16, fields: impl Fn(Frame) -> Frame) -> Result<(), String> {
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            let answer = self.link.request(number, &fields)?;
            if answer.code != code::NOT_AVAILABLE || Instant::now() >= until {
                return answer.ok().map(drop).map_err(|error| format!("{stream}: {error}"));
            }
            thread::sleep(ASK_PAUSE);
        }
    }

    fn unsubscribe(&mut self) -> Result<(), String> {
        self.link.request(command::UNSUBSCRIBE, |frame| frame.u8(SUBSCRIPTION))?.ok().map(drop)
    }
}

/// Streams are never synced: a confirmed message is in the page cache of as many servers as keep it, which is said of the versions that
/// there are.
fn judge(server_version: &str) -> &'static str {
    if server_version.starts_with("3.") || server_version.starts_with("4.") { "unsynced" } else { durability::UNKNOWN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_server_syncs_is_not_known() {
        assert_eq!(judge("3.10.8"), "unsynced");
        assert_eq!(judge("4.1.0"), "unsynced");
        assert_eq!(judge("40.0"), "durability unknown");
        assert_eq!(judge(""), "durability unknown");
    }
}
