//! Sockets on tokio's own readiness: the fallback where io_uring is refused, and the yardstick beside the ring.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ::tokio::io::Interest;
use ::tokio::net::TcpStream;
use bytes::{BufMut, BytesMut};
use rustix::net::Shutdown;

use super::sendfile::{SendSocket, Sends, send_pieces};
use super::{ColdSends, Stream};
use crate::Piece;

/// A TCP connection on a tokio runtime.
pub(super) struct TokioStream {
    stream: TcpStream,
    sends: Sends,
    local: SocketAddr,
    peer: SocketAddr,
}

impl TokioStream {
    pub(super) fn new(socket: OwnedFd, cold_sends: ColdSends) -> io::Result<TokioStream> {
        let socket = std::net::TcpStream::from(socket);
        socket.set_nonblocking(true)?;
        let stream = TcpStream::from_std(socket)?;
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(TokioStream { stream, sends: Sends::new(cold_sends), local, peer })
    }
}

/// Runs `main` on a current-thread runtime.
pub(super) fn run<F: Future>(main: impl FnOnce() -> F) -> io::Result<F::Output> {
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = ::tokio::task::LocalSet::new();
    Ok(local.block_on(&runtime, async { main().await }))
}

impl SendSocket for TokioStream {
    fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    async fn when_writable<T>(&self, attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.stream.async_io(Interest::WRITABLE, attempt).await
    }
}

impl Stream for TokioStream {
    async fn read(&self, mut buffer: BytesMut, length_max: usize) -> (io::Result<usize>, BytesMut) {
        loop {
            match self.stream.try_read_buf(&mut (&mut buffer).limit(length_max)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.stream.readable().await {
                        return (Err(error), buffer);
                    }
                }
                result => {
                    // Bytes may come as fast as they are taken: the other connections of this core want their turn.
                    ::tokio::task::coop::consume_budget().await;
                    return (result, buffer);
                }
            }
        }
    }

    async fn send(&self, pieces: &mut Vec<Piece>) -> io::Result<()> {
        send_pieces(self, &self.sends, pieces).await
    }

    fn sent_bytes(&self) -> u64 {
        self.sends.sent_bytes()
    }

    fn shutdown_read(&self) {
        // It fails when the peer has gone; then the end is there already.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Read);
    }

    fn shutdown(&self) {
        // As above.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Both);
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}
