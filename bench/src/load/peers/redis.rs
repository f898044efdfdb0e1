//! Redis Streams: XADD for each record, XRANGE to read, in the protocol that Redis calls RESP 2.
//!
//! It reads the few forms of answers that these commands have, and takes any other for an error.

use std::time::Instant;

use super::Driver;
use super::wire::Wire;
use crate::load::session::{Meter, Phase};

/// Entries that one XRANGE asks for: as many as a batch of the other loads has records.
const ENTRIES_PER_READ: u64 = 1000;
const LINE_END: &[u8] = b"\r\n";
/// Ids and settings are far shorter.
const TEXT_BYTES_MAX: usize = 4096;

/// A connection to Redis.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
}

impl Driver for Connection {
    fn open(address: &str) -> Result<Connection, String> {
        Wire::open(address).map(|wire| Connection { wire })
    }

    fn prepare(&mut self, stream: &str, fresh: bool) -> Result<(), String> {
        // The first XADD makes a stream.
        if fresh { self.delete(stream) } else { Ok(()) }
    }

    fn appends(&self, stream: &str, values: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        let mut commands = Vec::new();
        for value in values {
            push_command(&mut commands, &[b"XADD", stream.as_bytes(), b"*", b"v", value]);
        }
        Ok(commands)
    }

    fn take_answer(&mut self) -> Result<(), String> {
        let id_length = self.number(b'$')?;
        self.skip(id_length)
    }

    fn read(mut self, stream: &str, again: bool, meter: &Meter<'_>) -> Result<(), String> {
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

    fn durability(&mut self) -> Result<String, String> {
        let (appendonly, appendfsync) = (self.setting("appendonly")?, self.setting("appendfsync")?);
        Ok(judge(&appendonly, &appendfsync).to_owned())
    }

    fn delete(&mut self, stream: &str) -> Result<(), String> {
        self.call(&[b"UNLINK", stream.as_bytes()])?;
        self.number(b':').map(drop)
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

impl Connection {
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
        self.wire.send(&command)
    }

    /// A string of any bytes.
    fn text(&mut self) -> Result<Vec<u8>, String> {
        let length = self.number(b'$')?;
        if length > TEXT_BYTES_MAX {
            return Err(format!("Redis announces a name of {length} bytes"));
        }
        let mut text = vec![0; length];
        self.wire.read_into(&mut text)?;
        self.wire.skip(LINE_END.len())?;
        Ok(text)
    }

    /// A line of the form that `mark` stands for, and the number in it.
    fn number(&mut self, mark: u8) -> Result<usize, String> {
        let line = self.wire.line()?;
        let number = line.strip_prefix(&[mark]).and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        number.ok_or_else(|| format!("Redis answered: {}", String::from_utf8_lossy(line)))
    }

    /// Passes over a string and its end.
    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.wire.skip(length + LINE_END.len())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_redis_documents() {
        let mut command = Vec::new();
        push_command(&mut command, &[b"XADD", b"logs-0", b"a\r\nb"]);
        assert_eq!(String::from_utf8(command).unwrap(), "*3\r\n$4\r\nXADD\r\n$6\r\nlogs-0\r\n$4\r\na\r\nb\r\n");
    }

    #[test]
    fn only_a_sync_before_each_answer_is_called_synced() {
        assert_eq!(judge("no", "always"), "in memory only");
        assert_eq!(judge("yes", "always"), "synced");
        assert_eq!(judge("yes", "everysec"), "synced every second");
        assert_eq!(judge("yes", "no"), "unsynced");
    }
}
