//! A connection's bytes, as protocols of lines and announced lengths need them: sent at once, taken as they come.
//!
//! It knows no protocol. All of its errors are sentences for people, for a load ends with the first.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::load::incoming::Incoming;
use crate::load::produce;
use crate::sockets;

/// A server that takes longer over an answer is given up; one that rewrites its files may be held up for seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// Both halves of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    incoming: Incoming,
    line: Vec<u8>,
}

impl Wire {
    pub(super) fn open(address: &str) -> Result<Wire, String> {
        let named = |error: io::Error| format!("{address}: {error}");
        let resolved = address.to_socket_addrs().map_err(named)?.next();
        let resolved = resolved.ok_or_else(|| format!("{address}: this name has no address"))?;
        let stream = sockets::connect(resolved).map_err(named)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(named)?;
        let incoming = Incoming::new(stream.try_clone().map_err(named)?);
        Ok(Wire { stream, incoming, line: Vec::new() })
    }

    /// The port of this side, which no other connection to the same server has.
    pub(super) fn own_port(&self) -> Result<u16, String> {
        self.stream.local_addr().map(|address| address.port()).map_err(lost)
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(lost)
    }

    /// Waits until there is something to take, at most until `due`.
    pub(super) fn readable_before(&self, due: Instant) -> Result<bool, String> {
        if self.incoming.has_buffered() {
            return Ok(true);
        }
        produce::readable_before(&self.stream, due).map_err(lost)
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Result<&[u8], String> {
        self.incoming.line(&mut self.line).map_err(lost)?;
        Ok(self.line.trim_ascii_end())
    }

    /// Takes as many bytes as `target` holds.
    pub(super) fn read_into(&mut self, target: &mut [u8]) -> Result<(), String> {
        self.incoming.read_into(target).map_err(lost)
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), String> {
        self.incoming.skip(count).map_err(lost)
    }
}

fn lost(error: io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        _ => format!("the connection broke: {error}"),
    }
}
