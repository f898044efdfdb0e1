//! The seam between connections and sockets: one byte stream, three kinds of it, and the runtime that drives them.
//!
//! Reads take and give back owned buffers, for the kernel may write into them until the completion. Sends are direct
//! non-blocking system calls, the same for both kinds of sockets. Above this seam only tokio's `sync`, `time` and local tasks
//! are used, so that a simulation can run connections on [`memory`] pipes and a paused clock.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use bytes::BytesMut;

use crate::Piece;

mod cold;
#[cfg(test)]
pub(crate) mod conformance;
mod listen;
pub mod memory;
mod sendfile;
mod tokio;
mod uring;

pub use cold::ColdSends;
pub use listen::{AcceptLimits, Accepted, Listener};

/// A connected byte stream. All futures of one stream belong to one thread.
pub trait Stream: 'static {
    /// Appends up to `length_max` bytes to `buffer`, which has at least that much spare capacity, and gives it back with how
    /// many came: 0 is the end. Nobody may drop this future before it is done, except after [`Stream::shutdown`] and then
    /// only together with the runtime: the kernel may still write into the buffer, and what it reads would be lost.
    /// One read at a time.
    fn read(&self, buffer: BytesMut, length_max: usize) -> impl Future<Output = (io::Result<usize>, BytesMut)>;

    /// Sends all pieces in their order and leaves the vector empty (its memory is for reuse). After an error, or when the
    /// future is dropped, the peer has an unknown part: the connection is of no more use. One send at a time.
    fn send(&self, pieces: &mut Vec<Piece>) -> impl Future<Output = io::Result<()>>;

    /// Bytes sent so far: tells a slow peer from one that has stopped.
    fn sent_bytes(&self) -> u64;

    /// Ends reading: a read that waits returns 0, once what has arrived is taken. Sends go on.
    fn shutdown_read(&self);

    /// Ends both directions: a read that waits returns 0, sends fail.
    fn shutdown(&self);

    /// The address that the peer dialled.
    fn local_addr(&self) -> SocketAddr;

    /// The peer's address.
    fn peer_addr(&self) -> SocketAddr;
}

/// How the sockets of a core are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// tokio-uring: reads wait on a ring.
    Uring,
    /// tokio's own readiness: the fallback where io_uring is refused, and the yardstick.
    Tokio,
}

/// Entries of a core's connection ring: operations submitted at once, not connections. Few, as a busy core fills it up to have it submitted.
const RING_ENTRIES: u32 = 8;

/// Runs `main` on this thread's own runtime: `tokio::task::spawn_local`, tokio's `sync`, `time` and `AsyncFd` work inside.
///
/// With [`IoKind::Uring`], every connection must have ended when `main` returns (see [`crate::Connections::drain`]): the
/// kernel may write into the buffer of a read that waits, and the runtime frees it when this returns.
///
/// # Errors
/// When the runtime or its ring cannot be made: io_uring is missing or forbidden, or memory or descriptors are short.
pub fn run_core<F: Future>(kind: IoKind, main: impl FnOnce() -> F) -> io::Result<F::Output> {
    match kind {
        IoKind::Uring => uring::run(RING_ENTRIES, main),
        IoKind::Tokio => tokio::run(main),
    }
}

/// Whether tokio-uring can work here.
///
/// # Errors
/// What the kernel said when a ring was asked for.
pub fn probe_uring() -> io::Result<()> {
    uring::probe(RING_ENTRIES)
}

/// A TCP connection, driven by either kind.
pub struct SocketStream(Kind);

enum Kind {
    Uring(uring::UringStream),
    Tokio(tokio::TokioStream),
}

impl SocketStream {
    /// Takes an accepted descriptor over on the thread, and inside the runtime, that will drive it.
    ///
    /// # Errors
    /// When the peer is gone already, or the descriptor cannot be registered.
    pub fn new(kind: IoKind, socket: OwnedFd, cold_sends: ColdSends) -> io::Result<SocketStream> {
        Ok(SocketStream(match kind {
            IoKind::Uring => Kind::Uring(uring::UringStream::new(socket, cold_sends)?),
            IoKind::Tokio => Kind::Tokio(tokio::TokioStream::new(socket, cold_sends)?),
        }))
    }
}

impl Stream for SocketStream {
    async fn read(&self, buffer: BytesMut, length_max: usize) -> (io::Result<usize>, BytesMut) {
        match &self.0 {
            Kind::Uring(stream) => stream.read(buffer, length_max).await,
            Kind::Tokio(stream) => stream.read(buffer, length_max).await,
        }
    }

    async fn send(&self, pieces: &mut Vec<Piece>) -> io::Result<()> {
        match &self.0 {
            Kind::Uring(stream) => stream.send(pieces).await,
            Kind::Tokio(stream) => stream.send(pieces).await,
        }
    }

    fn sent_bytes(&self) -> u64 {
        match &self.0 {
            Kind::Uring(stream) => stream.sent_bytes(),
            Kind::Tokio(stream) => stream.sent_bytes(),
        }
    }

    fn shutdown_read(&self) {
        match &self.0 {
            Kind::Uring(stream) => stream.shutdown_read(),
            Kind::Tokio(stream) => stream.shutdown_read(),
        }
    }

    fn shutdown(&self) {
        match &self.0 {
            Kind::Uring(stream) => stream.shutdown(),
            Kind::Tokio(stream) => stream.shutdown(),
        }
    }

    fn local_addr(&self) -> SocketAddr {
        match &self.0 {
            Kind::Uring(stream) => stream.local_addr(),
            Kind::Tokio(stream) => stream.local_addr(),
        }
    }

    fn peer_addr(&self) -> SocketAddr {
        match &self.0 {
            Kind::Uring(stream) => stream.peer_addr(),
            Kind::Tokio(stream) => stream.peer_addr(),
        }
    }
}
