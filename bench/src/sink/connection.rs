//! One connection of the sink: frames in, answers out, in the order of the requests.
//!
//! It blocks, and holds one request at a time. What is answered is `answers`' part.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;

use ringmill_net::Piece;
use ringmill_net::wire::RequestHeader;

use super::{Sink, answers};
use crate::sockets;

/// As much as Kafka takes by default (`socket.request.max.bytes`).
const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Takes small requests several at a time; what is larger is read past it, straight into the frame.
const BUFFER_BYTES: usize = 64 * 1024;

/// Answers until the client ends the connection, or asks for what a sink does not have.
pub(super) fn serve(mut stream: &TcpStream, sink: &Sink) -> Result<(), String> {
    let broken = |error: io::Error| format!("it broke: {error}");
    sockets::tune(stream).map_err(broken)?;
    let own_address = stream.local_addr().map_err(broken)?;
    let mut incoming = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut frame = Vec::new();
    while read_frame(&mut incoming, &mut frame)? {
        let (header, body_at) = RequestHeader::parse(&frame).map_err(|error| error.to_string())?;
        let Some(answer) = answers::answer(sink, own_address, &header, &frame[body_at..])? else { continue };
        for piece in answer.into_pieces() {
            let Piece::Bytes(bytes) = piece else { unreachable!("no answer of a sink holds a file") };
            stream.write_all(&bytes).map_err(broken)?;
        }
    }
    Ok(())
}

/// Reads the next frame without its length. False at the connection's end.
fn read_frame(incoming: &mut impl BufRead, frame: &mut Vec<u8>) -> Result<bool, String> {
    let broken = |error: io::Error| format!("it broke within a request: {error}");
    match incoming.fill_buf() {
        Ok([]) => return Ok(false),
        Ok(_) => {}
        // Clients may leave without a word.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
        Err(error) => return Err(broken(error)),
    }
    let mut length = [0; 4];
    incoming.read_exact(&mut length).map_err(broken)?;
    let length = i32::from_be_bytes(length);
    match usize::try_from(length) {
        Ok(length) if length <= FRAME_BYTES_MAX => frame.resize(length, 0),
        _ => return Err(format!("it announced a request of {length} bytes, the limit is {FRAME_BYTES_MAX}")),
    }
    incoming.read_exact(frame).map(|()| true).map_err(broken)
}
