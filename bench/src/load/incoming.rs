//! What a broker sends, taken in through one buffer that is used over and over.
//!
//! Numbers are read where they stand and record bytes are passed over, so a gigabyte costs the client a gigabyte received and
//! nothing more. It blocks; it knows the protocol's numbers and no messages.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

/// Small enough to stay in the processor's cache.
const BUFFER_BYTES: usize = 256 * 1024;
/// No protocol that has lines sends longer ones.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct Incoming<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    /// What was received and not yet taken lies in `start..end` of the buffer.
    start: usize,
    end: usize,
}

// Generic over the stream only so that tests can dribble bytes.
impl<S: Read> Incoming<S> {
    pub(crate) fn new(stream: S) -> Incoming<S> {
        Incoming { stream, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// Whether something was received that is not taken yet.
    pub(crate) fn has_buffered(&self) -> bool {
        self.start < self.end
    }

    pub(crate) fn i16(&mut self) -> io::Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> io::Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A length or a count, where a negative number means none.
    pub(crate) fn length(&mut self) -> io::Result<usize> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Takes exactly as many bytes as `target` holds.
    pub(crate) fn read_into(&mut self, target: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < target.len() {
            let count = self.available()?.min(target.len() - filled);
            target[filled..filled + count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
            filled += count;
        }
        Ok(())
    }

    /// Takes what comes up to and with the next line feed, in `line`'s place.
    pub(crate) fn line(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        line.clear();
        while line.last() != Some(&b'\n') {
            self.available()?;
            let lying = &self.buffer[self.start..self.end];
            let count = lying.iter().position(|byte| *byte == b'\n').map_or(lying.len(), |at| at + 1);
            if line.len() + count > LINE_BYTES_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "a line without an end"));
            }
            line.extend_from_slice(&lying[..count]);
            self.start += count;
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub(crate) fn skip(&mut self, mut count: usize) -> io::Result<()> {
        while count > 0 {
            let passed = self.available()?.min(count);
            self.start += passed;
            count -= passed;
        }
        Ok(())
    }

    /// How many bytes lie ready, waiting for some if there are none.
    fn available(&mut self) -> io::Result<usize> {
        while self.start == self.end {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the broker closed the connection")),
                Ok(count) => (self.start, self.end) = (0, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end - self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(3).min(target.len());
            target[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn lines_may_arrive_in_pieces_and_must_end() {
        let mut incoming = Incoming::new(Dribble(b"+hello\r\n:12\r\nrest"));
        let mut line = Vec::new();
        incoming.line(&mut line).unwrap();
        assert_eq!(line, b"+hello\r\n");
        incoming.line(&mut line).unwrap();
        assert_eq!(line, b":12\r\n");
        assert_eq!(incoming.line(&mut line).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(Incoming::new(&endless[..]).line(&mut line).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn numbers_and_gaps_may_arrive_in_pieces() {
        let mut incoming = Incoming::new(Dribble(&[0, 0, 1, 0, 9, 9, 9, 9, 9, 0, 7]));
        assert_eq!(incoming.i32().unwrap(), 256);
        incoming.skip(5).unwrap();
        assert_eq!(incoming.i16().unwrap(), 7);
        assert_eq!(incoming.i16().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
