//! Redis Streams: XADD for each record, XRANGE to read, in the protocol that Redis calls RESP 2.
//!
//! It reads the few forms of answers that these commands have, and takes any other for an error.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::load::incoming::Incoming;
use crate::load::session::{Meter, Phase};
use crate::sockets;

/// A server that takes longer over an answer is given up: a rewrite of its file may hold it up for seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Entries that one XRANGE asks for: as many as a batch of the other loads has records.
const ENTRIES_PER_READ: u64 = 1000;

/// A connection; it blocks its caller.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    incoming: Incoming,
    /// The line that was read last.
    line: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Connection, String> {
        let named = |error: io::Error| format!("{address}: {error}");
        let resolved = address.to_socket_addrs().map_err(named)?.next();
        let resolved = resolved.ok_or_else(|| format!("{address}: this name has no address"))?;
        let stream = sockets::connect(resolved).map_err(named)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(named)?;
        let incoming = Incoming::new(stream.try_clone().map_err(named)?);
        Ok(Connection { stream, incoming, line: Vec::new() })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether something was received that is not taken yet.
    pub(super) fn has_buffered(&self) -> bool {
        self.incoming.has_buffered()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Takes the answer to one XADD.
    pub(super) fn take_id(&mut self) -> Result<(), String> {
        let length = self.number(b'$')?;
        self.skip(length)
    }

    /// Removes a stream, if there is one.
    pub(super) fn delete(&mut self, stream: &str) -> Result<(), String> {
        self.call(&[b"UNLINK", stream.as_bytes()])?;
        self.number(b':').map(drop)
    }

    /// What an answer to XADD means for the record.
    pub(super) fn durability(&mut self) -> Result<String, String> {
        let (appendonly, appendfsync) = (self.setting("appendonly")?, self.setting("appendfsync")?);
        Ok(judge(&appendonly, &appendfsync).to_owned())
    }

    /// Reads a stream from start to end; once, or from its start again until the session is over.
    pub(super) fn read(mut self, stream: &str, again: bool, meter: &Meter<'_>) -> Result<(), String> {
        let count = ENTRIES_PER_READ.to_string();
        let mut from = b"-".to_vec();
        let mut empty = true;
        while meter.phase() != Phase::Stopped {
            let asked = Instant::now();
            self.call(&[b"XRANGE", stream.as_bytes(), &from, b"+", b"COUNT", count.as_bytes()])?;
            let entries = self.number(b'*')?;
            let mut bytes = 0;
            for _ in 0..entries {
                bytes += self.entry(&mut from)?;
            }
            empty &= entries == 0;
            if entries > 0 {
                meter.count(entries as u64, bytes as u64, Some(asked.elapsed()));
            } else if empty {
                return Err(format!("the stream {stream} is empty: produce to the topic first"));
            } else if again {
                from = b"-".to_vec();
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes an entry of one field, makes `from` the place behind it, and gives the value's length.
    fn entry(&mut self, from: &mut Vec<u8>) -> Result<usize, String> {
        self.number(b'*')?;
        let id = self.text()?;
        from.clear();
        from.push(b'(');
        from.extend_from_slice(&id);
        if self.number(b'*')? != 2 {
            return Err("an entry has other fields than this load writes".to_owned());
        }
        let name_length = self.number(b'$')?;
        self.skip(name_length)?;
        let value_length = self.number(b'$')?;
        self.skip(value_length)?;
        Ok(value_length)
    }

    fn setting(&mut self, name: &str) -> Result<String, String> {
        self.call(&[b"CONFIG", b"GET", name.as_bytes()])?;
        if self.number(b'*')? != 2 {
            return Err(format!("Redis does not know the setting {name}"));
        }
        self.text()?;
        self.text().map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    fn call(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let mut command = Vec::new();
        push_command(&mut command, words);
        self.send(&command).map_err(lost)
    }

    /// A string of any bytes.
    fn text(&mut self) -> Result<Vec<u8>, String> {
        let length = self.number(b'$')?;
        if length > TEXT_BYTES_MAX {
            return Err(format!("Redis announces a name of {length} bytes"));
        }
        let mut text = vec![0; length];
        self.incoming.read_into(&mut text).map_err(lost)?;
        self.skip_line_end()?;
        Ok(text)
    }

    /// A line of the form that `mark` stands for, and the number in it.
    fn number(&mut self, mark: u8) -> Result<usize, String> {
        self.incoming.line(&mut self.line).map_err(lost)?;
        let line = self.line.trim_ascii_end();
        let number = line.strip_prefix(&[mark]).and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        number.ok_or_else(|| format!("Redis answered: {}", String::from_utf8_lossy(line)))
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.incoming.skip(length).map_err(lost)?;
        self.skip_line_end()
    }

    fn skip_line_end(&mut self) -> Result<(), String> {
        self.incoming.skip(LINE_END.len()).map_err(lost)
    }
}

const LINE_END: &[u8] = b"\r\n";
/// Ids and settings are far shorter.
const TEXT_BYTES_MAX: usize = 4096;

/// An XADD for each value, one after the other.
pub(super) fn appends(stream: &str, values: &[Vec<u8>]) -> Vec<u8> {
    let mut commands = Vec::new();
    for value in values {
        push_command(&mut commands, &[b"XADD", stream.as_bytes(), b"*", b"v", value]);
    }
    commands
}

fn push_command(commands: &mut Vec<u8>, words: &[&[u8]]) {
    commands.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        commands.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        commands.extend_from_slice(word);
        commands.extend_from_slice(LINE_END);
    }
}

/// Without its append-only file Redis keeps a stream in memory; with it, a setting says when the file is synced.
fn judge(appendonly: &str, appendfsync: &str) -> &'static str {
    match (appendonly, appendfsync) {
        ("no", _) => "in memory only",
        (_, "always") => "synced",
        (_, "everysec") => "synced every second",
        _ => "unsynced",
    }
}

fn lost(error: io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        _ => format!("the connection broke: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_append_is_what_redis_documents() {
        let commands = appends("logs-0", &[b"a\r\nb".to_vec()]);
        assert_eq!(
            String::from_utf8(commands).unwrap(),
            "*5\r\n$4\r\nXADD\r\n$6\r\nlogs-0\r\n$1\r\n*\r\n$1\r\nv\r\n$4\r\na\r\nb\r\n"
        );
    }

    #[test]
    fn only_a_sync_before_each_answer_is_called_synced() {
        assert_eq!(judge("no", "always"), "in memory only");
        assert_eq!(judge("yes", "always"), "synced");
        assert_eq!(judge("yes", "everysec"), "synced every second");
        assert_eq!(judge("yes", "no"), "unsynced");
    }
}
