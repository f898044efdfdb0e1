//! Connections that asked one thing and then keep silent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringmill_net::Piece;
use ringmill_net::wire::encode_request;
use ringmill_net::wire::messages::api_versions::ApiVersionsRequest;

/// A request is answered in a moment, unless nobody answers at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const LENGTH_BYTES: usize = 4;
/// The answer is a list of some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// They stay open until this is dropped.
pub(super) struct IdleConnections {
    streams: Vec<TcpStream>,
}

impl IdleConnections {
    /// Opens so many, one after the other. Each is answered once, so that the broker has taken it in and served it.
    ///
    /// # Errors
    /// What the system or the broker refused, and at which of them.
    pub(super) fn open(address: &str, count: u32) -> Result<IdleConnections, String> {
        let mut streams = Vec::new();
        for number in 1..=count {
            let stream = open_one(address).map_err(|error| {
                format!("idle connection {number} of {count}: {error}; `ulimit -n` and `max.connections` limit them")
            })?;
            streams.push(stream);
        }
        Ok(IdleConnections { streams })
    }

    /// Fails if the broker closed some meanwhile, or had more to say to them.
    pub(super) fn still_open(&self) -> Result<(), String> {
        let is_silent = |mut stream: &TcpStream| {
            let heard = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0]));
            heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        match self.streams.iter().filter(|stream| !is_silent(stream)).count() {
            0 => Ok(()),
            closed => Err(format!("the broker closed {closed} of {} idle connections", self.streams.len())),
        }
    }
}

fn open_one(address: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    for piece in encode_request(&ApiVersionsRequest::default(), 0, 0, Some("ringmill-bench"), Vec::new()) {
        if let Piece::Bytes(bytes) = piece {
            stream.write_all(&bytes)?;
        }
    }
    let mut length = [0; LENGTH_BYTES];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "this is no answer of a Kafka broker"));
    }
    stream.read_exact(&mut vec![0; length])?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn each_is_answered_once_and_a_closed_one_is_noticed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let answer = |_| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                stream.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize]).unwrap();
                stream.write_all(&[0, 0, 0, 2, 7, 7]).unwrap();
                stream
            };
            (0..3).map(answer).collect::<Vec<TcpStream>>()
        });
        let idle = IdleConnections::open(&address, 3).unwrap();
        let mut served = server.join().unwrap();
        idle.still_open().unwrap();
        served.pop();
        // The end of a connection takes a moment to arrive even on one machine.
        idle.streams[2].set_nonblocking(false).unwrap();
        assert_eq!((&idle.streams[2]).read(&mut [0]).unwrap(), 0);
        assert!(idle.still_open().unwrap_err().contains("closed 1 of 3"));
    }

    #[test]
    fn who_is_not_there_is_told_with_the_number_of_the_connection() {
        let error = IdleConnections::open("127.0.0.1:1", 5).err().unwrap();
        assert!(error.contains("connection 1 of 5"), "{error}");
    }
}
