//! NATS JetStream: a publish with an answer for each record, a pull consumer without acknowledgements to read.
//!
//! It speaks the text protocol and the few requests of JetStream that this takes, and takes anything unexpected for an error.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::{Value, json};

use super::Driver;
use super::wire::Wire;
use crate::load::session::{Meter, Phase};

/// Messages that one pull asks for: as many as a batch of the other loads has records.
const MESSAGES_PER_PULL: u64 = 1000;
/// Pulls under way, so that the server need not wait for the next one.
const PULLS_MAX: usize = 2;
/// Answers to requests are far shorter.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const LINE_END: &[u8] = b"\r\n";
/// JetStream's number for a stream that is not there.
const STREAM_NOT_FOUND: u64 = 10_059;

/// A connection to a NATS server.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    /// Where answers go, by their last word.
    inbox: String,
    server_version: String,
    payload: Vec<u8>,
}

/// A message's size and kind, before its payload is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrival {
    bytes: usize,
    /// It has headers, which only the server's own words have here.
    has_headers: bool,
}

impl Driver for Connection {
    fn open(address: &str) -> Result<Connection, String> {
        let mut wire = Wire::open(address)?;
        let greeting = wire.line()?.strip_prefix(b"INFO ").map(serde_json::from_slice::<Value>);
        let Some(Ok(greeting)) = greeting else { return Err(format!("{address} does not greet as NATS does")) };
        let server_version = greeting["version"].as_str().unwrap_or_default().to_owned();
        let inbox = format!("_INBOX.ringmill-bench-{}", wire.own_port()?);
        let connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "name": "ringmill-bench", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
        });
        wire.send(format!("CONNECT {connect}\r\nSUB {inbox}.* 1\r\nPING\r\n").as_bytes())?;
        let mut connection = Connection { wire, inbox, server_version, payload: Vec::new() };
        match connection.wire.line()? {
            b"PONG" => Ok(connection),
            other => Err(format!("{address} refuses: {}", String::from_utf8_lossy(other))),
        }
    }

    fn prepare(&mut self, stream: &str, fresh: bool) -> Result<(), String> {
        if fresh {
            self.delete(stream)?;
        }
        let config = json!({ "name": stream, "subjects": [stream], "storage": "file", "num_replicas": 1 });
        refused(&self.request(&format!("STREAM.CREATE.{stream}"), &config)?)
    }

    fn appends(&self, stream: &str, values: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        let mut publishes = Vec::new();
        for value in values {
            publishes.extend_from_slice(format!("PUB {stream} {}.a {}\r\n", self.inbox, value.len()).as_bytes());
            publishes.extend_from_slice(value);
            publishes.extend_from_slice(LINE_END);
        }
        Ok(publishes)
    }

    fn take_answer(&mut self) -> Result<(), String> {
        let arrival = self.arrival()?;
        self.take_payload(arrival)?;
        // An answer names the stream first, a refusal its error.
        if !arrival.has_headers && self.payload.starts_with(b"{\"stream\"") {
            return Ok(());
        }
        Err(format!("NATS refused a message: {}", String::from_utf8_lossy(&self.payload).trim()))
    }

    fn read(mut self, stream: &str, again: bool, meter: &Meter<'_>) -> Result<(), String> {
        loop {
            self.read_once(stream, meter)?;
            if !again || meter.phase() == Phase::Stopped {
                return Ok(());
            }
        }
    }

    fn durability(&mut self) -> Result<String, String> {
        Ok(judge(&self.server_version).to_owned())
    }

    fn delete(&mut self, stream: &str) -> Result<(), String> {
        let answer = self.request(&format!("STREAM.DELETE.{stream}"), &Value::Null)?;
        if answer["error"]["err_code"] == STREAM_NOT_FOUND { Ok(()) } else { refused(&answer) }
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

impl Connection {
    /// Reads all that the stream holds now, with a consumer of its own that the server forgets when it is idle.
    fn read_once(&mut self, stream: &str, meter: &Meter<'_>) -> Result<(), String> {
        let config = json!({ "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant" });
        let consumer = json!({ "stream_name": stream, "config": config });
        let created = self.request(&format!("CONSUMER.CREATE.{stream}"), &consumer)?;
        refused(&created)?;
        let (Some(name), Some(pending)) = (created["name"].as_str(), created["num_pending"].as_u64()) else {
            return Err("NATS made a consumer without saying which".to_owned());
        };
        if pending == 0 {
            return Err(format!("the stream {stream} is empty: produce to the topic first"));
        }
        let mut unasked = pending;
        // Each pull's size, and when its messages began to be waited for.
        let mut pulls: VecDeque<u64> = VecDeque::new();
        let mut asked = Instant::now();
        loop {
            while unasked > 0 && pulls.len() < PULLS_MAX && meter.phase() != Phase::Stopped {
                let size = unasked.min(MESSAGES_PER_PULL);
                let pull = json!({ "batch": size }).to_string();
                let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
                self.wire.send(format!("PUB {subject} {}.m {}\r\n{pull}\r\n", self.inbox, pull.len()).as_bytes())?;
                unasked -= size;
                pulls.push_back(size);
            }
            let Some(size) = pulls.pop_front() else { return Ok(()) };
            let mut bytes = 0;
            for _ in 0..size {
                bytes += self.pass_message()?;
            }
            meter.count(size, bytes as u64, Some(asked.elapsed()));
            asked = Instant::now();
        }
    }

    /// Lets a message of a stream pass, and gives its length.
    fn pass_message(&mut self) -> Result<usize, String> {
        let arrival = self.arrival()?;
        if arrival.has_headers {
            self.take_payload(arrival)?;
            return Err(format!("NATS ended a pull: {}", String::from_utf8_lossy(&self.payload).trim()));
        }
        self.wire.skip(arrival.bytes + LINE_END.len())?;
        Ok(arrival.bytes)
    }

    /// Asks JetStream something; nothing else may be under way.
    fn request(&mut self, what: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let publish = format!("PUB $JS.API.{what} {}.r {}\r\n{body}\r\n", self.inbox, body.len());
        self.wire.send(publish.as_bytes())?;
        let arrival = self.arrival()?;
        self.take_payload(arrival)?;
        let answer = if arrival.has_headers { None } else { serde_json::from_slice(&self.payload).ok() };
        answer.ok_or_else(|| format!("JetStream does not answer {what}: is it on?"))
    }

    fn take_payload(&mut self, arrival: Arrival) -> Result<(), String> {
        if arrival.bytes > ANSWER_BYTES_MAX {
            return Err(format!("NATS announces an answer of {} bytes", arrival.bytes));
        }
        self.payload.resize(arrival.bytes, 0);
        self.wire.read_into(&mut self.payload)?;
        self.wire.skip(LINE_END.len())
    }

    /// The next message; answers what the server asks in between.
    fn arrival(&mut self) -> Result<Arrival, String> {
        loop {
            let line = self.wire.line()?;
            match arrival(line) {
                Some(arrival) => return Ok(arrival),
                None if line == b"PING" => self.wire.send(b"PONG\r\n")?,
                // The server tells of changes to itself.
                None if line == b"PONG" || line == b"+OK" || line.starts_with(b"INFO ") => {}
                None => return Err(format!("NATS says: {}", String::from_utf8_lossy(line))),
            }
        }
    }
}

/// Reads the line in front of a message: `MSG subject sid [reply] bytes`, or HMSG with the headers' bytes before the last number.
fn arrival(line: &[u8]) -> Option<Arrival> {
    let mut words = line.split(|byte| *byte == b' ');
    let has_headers = match words.next()? {
        b"MSG" => false,
        b"HMSG" => true,
        _ => return None,
    };
    let bytes = str::from_utf8(words.next_back()?).ok()?.parse().ok()?;
    Some(Arrival { bytes, has_headers })
}

fn refused(answer: &Value) -> Result<(), String> {
    match answer["error"]["description"].as_str() {
        None if answer["error"].is_null() => Ok(()),
        reason => Err(format!("JetStream refuses: {}", reason.unwrap_or("without a reason"))),
    }
}

/// Up to version 2.9 a stream's file is synced every two minutes whatever anyone says; later ones have a setting that clients cannot see.
fn judge(server_version: &str) -> &'static str {
    let mut numbers = server_version.split('.').map(|number| number.parse::<u32>().unwrap_or(u32::MAX));
    let version = (numbers.next().unwrap_or(u32::MAX), numbers.next().unwrap_or(u32::MAX));
    if version < (2, 10) { "unsynced" } else { "durability unknown" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_messages_length_is_its_lines_last_word() {
        let plain = Some(Arrival { bytes: 23, has_headers: false });
        assert_eq!(arrival(b"MSG _INBOX.x.a 1  23"), plain);
        assert_eq!(arrival(b"MSG logs-0 1 $JS.ACK.a.b.1.1.1.9.2 23"), plain);
        assert_eq!(arrival(b"HMSG _INBOX.x.a 1 16 20"), Some(Arrival { bytes: 20, has_headers: true }));
        assert_eq!((arrival(b"PING"), arrival(b"MSG a 1 x"), arrival(b"")), (None, None, None));
    }

    #[test]
    fn what_a_newer_server_syncs_cannot_be_seen() {
        assert_eq!(judge("2.9.10"), "unsynced");
        assert_eq!(judge("2.10.1"), "durability unknown");
        assert_eq!(judge(""), "durability unknown");
    }
}
