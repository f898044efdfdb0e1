//! The reader of a connection: bytes to frames, frames to requests, requests to the handler, one after the other.
//!
//! It is the only task that reads, and it awaits its reads to their end. A frame's bounds are checked and its bytes reserved
//! before anything is allocated for it; a large frame is read straight into its own buffer.

use std::rc::Rc;

use bytes::{Buf, BytesMut};

use super::{End, Handler, Link, Request};
use crate::Charge;
use crate::transport::Stream;
use crate::wire::frame::{LENGTH_BYTES, REQUEST_BYTES_MIN};
use crate::wire::{ApiKey, RequestHeader};

/// What a connection that waits for a request holds ready for it.
const IDLE_READ_BYTES: usize = 512;

/// The most that one read takes: the other connections of the core wait for its copying, some 25 µs.
const READ_BYTES_MAX: usize = 256 * 1024;

/// While memory is scarce, so much of a frame must be there before the rest is reserved: announcing one costs its peer nothing. A small
/// frame (see [`Budget`](crate::Budget)) is there as a whole then, so the part that is kept for small ones is never held by who dribbles.
const EARNEST_BYTES: usize = 16 * 1024;

/// Reads and starts requests until the connection ends, and says why it does.
pub(super) async fn read_requests<S: Stream, H: Handler>(link: Rc<Link<S>>, handler: Rc<H>) -> End {
    let mut reader = FrameReader { link: &link, arrived: BytesMut::new() };
    loop {
        let (mut frame, charge) = match reader.next().await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let frame_bytes = frame.len() as u64;
        let header = match RequestHeader::parse(&frame) {
            Ok((header, header_bytes)) => {
                frame.advance(header_bytes);
                header
            }
            Err(error) => return End::Violation(format!("a request's header cannot be read: {error}")),
        };
        if *link.info.client_id.borrow() != header.client_id {
            link.info.client_id.replace(header.client_id.clone());
        }
        let overlaps = header.api() == Some(ApiKey::Produce);
        if !link.answers.turn_to_start(overlaps).await || link.stopping.get() {
            return End::Stopped;
        }
        link.shared.count(|counters| {
            counters.requests += 1;
            counters.received_bytes += frame_bytes;
        });
        let request = Request { header, body: frame, charge, connection: Rc::clone(&link.info) };
        let answer = handler.start(request).await;
        link.answers.push(answer, overlaps);
        link.share.end_of_turn().await;
    }
}

struct FrameReader<'a, S> {
    link: &'a Link<S>,
    /// What was read and belongs to no frame yet.
    arrived: BytesMut,
}

impl<S: Stream> FrameReader<'_, S> {
    /// The next whole frame, without its length.
    async fn next(&mut self) -> Result<(BytesMut, Charge), End> {
        let length = self.length().await?;
        self.begin(length).await?;
        let charge = self.reserve(length).await?;
        if self.arrived.len() >= length {
            self.link.patience.touch();
            return Ok((self.arrived.split_to(length), charge));
        }
        self.link.patience.expect_frame(self.link.shared.limits.frame_arrival);
        let frame = self.rest_of(length).await?;
        self.link.patience.touch();
        Ok((frame, charge))
    }

    /// The length that the next frame announces, within bounds.
    async fn length(&mut self) -> Result<usize, End> {
        loop {
            if let Some(first) = self.arrived.first_chunk().copied() {
                let announced = i32::from_be_bytes(first);
                let limit = self.link.shared.limits.request_bytes_max.min(self.link.shared.budget.frame_bytes_max());
                self.arrived.advance(LENGTH_BYTES);
                return match usize::try_from(announced) {
                    Ok(length) if (REQUEST_BYTES_MIN..=limit).contains(&length) => Ok(length),
                    _ => Err(End::Violation(format!(
                        "a frame announces {announced} bytes, allowed are {REQUEST_BYTES_MIN} to {limit}{}",
                        other_protocol(first)
                    ))),
                };
            }
            let mut buffer = std::mem::take(&mut self.arrived);
            buffer.reserve(IDLE_READ_BYTES);
            self.arrived = self.read(buffer, IDLE_READ_BYTES).await?;
        }
    }

    /// Reads the beginning of a frame, as far as its peer has to show that it is in earnest.
    async fn begin(&mut self, length: usize) -> Result<(), End> {
        let earnest = length.min(EARNEST_BYTES);
        let budget = self.link.shared.budget.clone();
        if self.arrived.len() < earnest && budget.would_be_scarce(length) {
            self.link.patience.expect_frame(self.link.shared.limits.frame_arrival);
            while self.arrived.len() < earnest && budget.would_be_scarce(length) {
                let mut buffer = std::mem::take(&mut self.arrived);
                // Twice as much as came, so that what is announced costs nothing.
                let room = buffer.len().max(IDLE_READ_BYTES).min(earnest - buffer.len());
                buffer.reserve(room);
                self.arrived = self.read(buffer, room).await?;
            }
            // Whether it gets its memory soon is not the peer's doing.
            self.link.patience.touch();
        }
        Ok(())
    }

    async fn reserve(&self, length: usize) -> Result<Charge, End> {
        let mut reserved = std::pin::pin!(self.link.shared.budget.reserve(length));
        loop {
            tokio::select! {
                biased;
                // Waiting for the budget is no operation on the stream, so it may be given up.
                () = self.link.stopped.notified() => {
                    if self.link.stopping.get() {
                        return Err(End::Stopped);
                    }
                }
                charge = &mut reserved => return Ok(charge),
            }
        }
    }

    /// Reads what is missing of a frame straight into the frame's own buffer, which grows as bytes arrive.
    async fn rest_of(&mut self, length: usize) -> Result<BytesMut, End> {
        let pool = &self.link.shared.frames;
        let mut frame = pool.take(length);
        frame.extend_from_slice(&self.arrived);
        self.arrived.clear();
        while frame.len() < length {
            if frame.capacity() == frame.len() {
                // Twice as much, or the rest: what was received is never moved more than once on average.
                frame.reserve(frame.len().min(length - frame.len()));
            }
            let room = frame.capacity().min(length) - frame.len();
            frame = self.read(frame, room.min(READ_BYTES_MAX)).await?;
        }
        Ok(frame)
    }

    /// One read, awaited to its end.
    async fn read(&mut self, buffer: BytesMut, length_max: usize) -> Result<BytesMut, End> {
        if self.link.stopping.get() {
            return Err(End::Stopped);
        }
        let before = buffer.len();
        let (result, buffer) = self.link.stream.read(buffer, length_max).await;
        match result {
            Ok(0) if self.link.stopping.get() => Err(End::Stopped),
            Ok(0) => Err(End::PeerGone("end of stream".to_owned())),
            Err(error) => Err(End::PeerGone(error.to_string())),
            Ok(count) => {
                assert_eq!(buffer.len(), before + count, "a read appends what it counts");
                self.link.share.end_of_turn().await;
                Ok(buffer)
            }
        }
    }
}

/// What a peer seems to speak whose first bytes make no sense as a length: the usual mistakes are a client that is set up for TLS, and
/// a browser or a health check.
fn other_protocol(first: [u8; LENGTH_BYTES]) -> &'static str {
    match &first {
        // A handshake record of SSL 3.0 or any TLS.
        [22, 3, ..] => "; it looks like TLS, and this listener speaks PLAINTEXT",
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" => {
            "; it looks like HTTP, and this listener speaks Kafka's protocol"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_what_they_seem_to_speak() {
        assert!(other_protocol([22, 3, 1, 2]).contains("TLS"));
        assert!(other_protocol(*b"GET ").contains("HTTP"));
        assert_eq!(other_protocol([0xff; 4]), "");
    }
}
