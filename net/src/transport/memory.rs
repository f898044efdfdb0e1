//! Connections in memory, for the simulation: pipes with a seeded delay, partial delivery and cuts.
//!
//! Driven by tokio's clock: under a paused one, the same seed gives the same run. A file range is read from its descriptor;
//! the disk's own faults are the simulated disk's business. Both ends are [`Stream`]s: the broker serves one, the simulated
//! client uses the other.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::tokio::sync::Notify;
use ::tokio::time::{Instant, sleep_until};
use bytes::{Buf, Bytes, BytesMut};

use super::Stream;
use super::sendfile::sent_of_file;
use crate::{FileRange, Piece};

/// How a connection misbehaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides every delay and every size.
    pub seed: u64,
    /// The longest that bytes are under way.
    pub delay_max: Duration,
    /// The most bytes that are sent, or read, at once.
    pub chunk_bytes_max: usize,
    /// How many bytes a direction holds before its sender waits.
    pub capacity_bytes: usize,
    /// After so many bytes, both directions together, the connection is cut.
    pub cut_after_bytes: Option<u64>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 0,
            delay_max: Duration::from_millis(1),
            chunk_bytes_max: 64 * 1024,
            capacity_bytes: 256 * 1024,
            cut_after_bytes: None,
        }
    }
}

/// One end of a connection in memory.
pub struct MemoryStream {
    wire: Rc<Wire>,
    /// The direction that this end sends in; it reads from the other.
    sends_in: usize,
    sent_bytes: Cell<u64>,
    local: SocketAddr,
    peer: SocketAddr,
}

/// Cuts a connection from outside, as a broken network does.
#[derive(Clone)]
pub struct Cut(Rc<Wire>);

struct Wire {
    directions: [Direction; 2],
    options: Options,
    random: Cell<u64>,
    carried_bytes: Cell<u64>,
    cut: Cell<bool>,
}

#[derive(Default)]
struct Direction {
    under_way: RefCell<VecDeque<(Instant, Bytes)>>,
    bytes: Cell<usize>,
    /// Its sender sends nothing more, or its reader takes nothing more.
    ended: Cell<bool>,
    reader_left: Cell<bool>,
    arrived: Notify,
    drained: Notify,
}

/// A connection between two addresses: the client's end and the server's.
#[must_use]
pub fn connection(client: SocketAddr, server: SocketAddr, options: Options) -> (MemoryStream, MemoryStream) {
    let wire = Rc::new(Wire {
        random: Cell::new(options.seed),
        options,
        directions: Default::default(),
        carried_bytes: Cell::new(0),
        cut: Cell::new(false),
    });
    let end = |sends_in, local, peer| MemoryStream {
        wire: Rc::clone(&wire),
        sends_in,
        sent_bytes: Cell::new(0),
        local,
        peer,
    };
    (end(0, client, server), end(1, server, client))
}

impl MemoryStream {
    /// A handle that cuts the connection.
    #[must_use]
    pub fn cutter(&self) -> Cut {
        Cut(Rc::clone(&self.wire))
    }

    fn outgoing(&self) -> &Direction {
        &self.wire.directions[self.sends_in]
    }

    fn incoming(&self) -> &Direction {
        &self.wire.directions[1 - self.sends_in]
    }

    async fn send_bytes(&self, mut bytes: Bytes) -> io::Result<()> {
        let (wire, direction) = (&self.wire, self.outgoing());
        while !bytes.is_empty() {
            if wire.cut.get() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if direction.ended.get() || direction.reader_left.get() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let room = wire.options.capacity_bytes.saturating_sub(direction.bytes.get());
            if room == 0 {
                direction.drained.notified().await;
                continue;
            }
            let chunk = bytes.split_to(wire.some_of(bytes.len().min(room)));
            wire.carry(chunk.len());
            self.sent_bytes.set(self.sent_bytes.get() + chunk.len() as u64);
            direction.bytes.set(direction.bytes.get() + chunk.len());
            let mut under_way = direction.under_way.borrow_mut();
            // What was sent later does not arrive earlier.
            let earliest = under_way.back().map_or_else(Instant::now, |(arrival, _)| *arrival);
            under_way.push_back((earliest.max(Instant::now() + wire.some_delay()), chunk));
            direction.arrived.notify_one();
        }
        Ok(())
    }

    async fn send_file(&self, file: &Arc<dyn FileRange>, mut position: u64, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let slice = usize::try_from(length).unwrap_or(usize::MAX).min(self.wire.options.chunk_bytes_max);
            let mut bytes = BytesMut::zeroed(slice);
            let read = rustix::io::pread(file, &mut bytes[..], position).map_err(io::Error::from);
            let count = sent_of_file(read, file, position, length)?;
            bytes.truncate(count);
            self.send_bytes(bytes.freeze()).await?;
            position += count as u64;
            length -= count as u64;
        }
        Ok(())
    }
}

impl Stream for MemoryStream {
    async fn read(&self, mut buffer: BytesMut, length_max: usize) -> (io::Result<usize>, BytesMut) {
        let direction = self.incoming();
        loop {
            if self.wire.cut.get() {
                return (Err(io::ErrorKind::ConnectionReset.into()), buffer);
            }
            let next_arrival = direction.under_way.borrow().front().map(|(arrival, _)| *arrival);
            match next_arrival {
                Some(arrival) if arrival <= Instant::now() => {
                    let mut under_way = direction.under_way.borrow_mut();
                    let (_, bytes) = under_way.front_mut().expect("it has just been seen");
                    let count = self.wire.some_of(bytes.len().min(length_max));
                    buffer.extend_from_slice(&bytes[..count]);
                    bytes.advance(count);
                    if bytes.is_empty() {
                        under_way.pop_front();
                    }
                    direction.bytes.set(direction.bytes.get() - count);
                    direction.drained.notify_one();
                    return (Ok(count), buffer);
                }
                _ if direction.reader_left.get() => return (Ok(0), buffer),
                Some(arrival) => {
                    ::tokio::select! {
                        biased;
                        () = direction.arrived.notified() => {}
                        () = sleep_until(arrival) => {}
                    }
                }
                None if direction.ended.get() => return (Ok(0), buffer),
                None => direction.arrived.notified().await,
            }
        }
    }

    async fn send(&self, pieces: &mut Vec<Piece>) -> io::Result<()> {
        for piece in pieces.drain(..) {
            match piece {
                Piece::Bytes(bytes) => self.send_bytes(bytes).await?,
                Piece::File { file, position, length } => self.send_file(&file, position, length).await?,
            }
        }
        Ok(())
    }

    fn sent_bytes(&self) -> u64 {
        self.sent_bytes.get()
    }

    fn shutdown_read(&self) {
        self.incoming().reader_left.set(true);
        self.incoming().wake();
    }

    fn shutdown(&self) {
        self.outgoing().ended.set(true);
        self.outgoing().wake();
        self.shutdown_read();
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Cut {
    /// Cuts now: what is under way is lost, both ends see a reset.
    pub fn cut(&self) {
        self.0.cut_now();
    }
}

impl Wire {
    fn cut_now(&self) {
        self.cut.set(true);
        for direction in &self.directions {
            direction.under_way.borrow_mut().clear();
            direction.wake();
        }
    }

    fn carry(&self, bytes: usize) {
        self.carried_bytes.set(self.carried_bytes.get() + bytes as u64);
        if self.options.cut_after_bytes.is_some_and(|limit| self.carried_bytes.get() > limit) {
            self.cut_now();
        }
    }

    /// Between one byte and as many as may go at once.
    fn some_of(&self, bytes: usize) -> usize {
        let most = bytes.min(self.options.chunk_bytes_max.max(1));
        // Half of the time all of it, so that long runs stay affordable.
        let random = self.next_random();
        if random & 1 == 0 { most } else { 1 + usize::try_from((random >> 1) % most as u64).expect("below a usize") }
    }

    fn some_delay(&self) -> Duration {
        let most = u64::try_from(self.options.delay_max.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.next_random() % (most + 1))
    }

    /// SplitMix64: every seed is a good one.
    fn next_random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Direction {
    fn wake(&self) {
        self.arrived.notify_one();
        self.drained.notify_one();
    }
}
