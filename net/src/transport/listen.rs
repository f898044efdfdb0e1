//! The listening socket of the process. It accepts and hands descriptors out; which core takes one is the broker's choice.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;

/// How long accepting rests when descriptors or memory have run out: every attempt would fail until some connection ends.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A bound, listening socket, made before any runtime runs.
///
/// Made with std and without SO_REUSEPORT, with which a second broker could bind the same port unnoticed.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    open: Arc<AtomicUsize>,
    connections_max: usize,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The connected socket: non-blocking, close-on-exec, TCP_NODELAY.
    pub socket: OwnedFd,
    /// Who connected.
    pub peer: SocketAddr,
    /// Counts as one open connection until it is dropped: keep it as long as the socket.
    pub ticket: Ticket,
}

/// One open connection among `connections_max`.
#[derive(Debug)]
pub struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// What the system says: the port is busy, the address is not this machine's, no permission.
    pub fn bind(address: impl ToSocketAddrs, connections_max: usize) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, open: Arc::default(), connections_max })
    }

    /// Sets the congestion control of all connections that will be accepted, by the kernel's name for it.
    ///
    /// # Errors
    /// What the system says: `NotFound` for a name that this kernel does not know, no permission for one that it keeps for root.
    pub fn set_congestion_control(&self, name: &str) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_tcp_congestion(&self.socket, name)?)
    }

    /// Where it listens: names the port when 0 was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How many accepted connections are open.
    #[must_use]
    pub fn connections_open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Accepts for ever, on the runtime it is called in, and gives each connection to `hand_over`. Drop the future to stop.
    /// Connections above the limit are closed at once; exhaustion of descriptors pauses and is logged.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime, or is no listening socket any more.
    pub async fn accept(&self, mut hand_over: impl FnMut(Accepted)) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket.try_clone()?)?;
        loop {
            match socket.accept().await {
                Ok((accepted, peer)) => {
                    // Away from this runtime: another core will drive it.
                    if let Some(accepted) = accepted.into_std().ok().and_then(|socket| self.admit(socket, peer)) {
                        hand_over(accepted);
                    }
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        let (open, pause_ms) = (self.connections_open(), EXHAUSTED_PAUSE.as_millis());
                        tracing::warn!(%error, open, pause_ms, "no connection can be accepted for now");
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                    Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => return Err(error),
                    // The one connection failed before it was taken: ECONNABORTED, EPROTO, and what a network may say.
                    _ => tracing::debug!(%error, "a connection failed before it was accepted"),
                },
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) -> Option<Accepted> {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let ticket = Ticket(Arc::clone(&self.open));
        if open > self.connections_max {
            let limit = self.connections_max;
            tracing::warn!(%peer, limit, "refused: too many connections");
            return None;
        }
        // It fails when the peer has gone already; then there is nobody to serve.
        socket.set_nodelay(true).ok()?;
        Some(Accepted { socket: socket.into(), peer, ticket })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::net::sockopt::tcp_congestion;

    use super::*;
    use crate::transport::{IoKind, run_core};

    #[test]
    fn accepted_connections_inherit_the_congestion_control() {
        let listener = Listener::bind("127.0.0.1:0", 2).unwrap();
        // Every kernel has it.
        listener.set_congestion_control("reno").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.socket.set_nonblocking(false).unwrap();
        assert_eq!(tcp_congestion(listener.socket.accept().unwrap().0).unwrap(), "reno");
        assert_eq!(listener.set_congestion_control("nonsense").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn connections_above_the_limit_are_closed_at_once_and_room_is_used_again() {
        let listener = Listener::bind("127.0.0.1:0", 2).unwrap();
        let address = listener.local_addr().unwrap();
        let clients = std::thread::spawn(move || {
            let mut held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
            let refused = TcpStream::connect(address).unwrap().read(&mut [0; 8]).unwrap();
            // The server drops its end when it sees this one gone.
            held.pop();
            std::thread::sleep(Duration::from_millis(50));
            let mut third = TcpStream::connect(address).unwrap();
            third.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let waits = third.read(&mut [0; 8]).unwrap_err().kind() == io::ErrorKind::WouldBlock;
            (refused, waits)
        });
        run_core(IoKind::Tokio, || async {
            let accepting = listener.accept(|accepted| {
                tokio::task::spawn_local(async move {
                    let socket = tokio::net::TcpStream::from_std(accepted.socket.into()).unwrap();
                    socket.readable().await.unwrap();
                    drop(accepted.ticket);
                });
            });
            let done = async {
                while !clients.is_finished() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                biased;
                error = accepting => error.unwrap(),
                () = done => {}
            }
        })
        .unwrap();
        assert_eq!(clients.join().unwrap(), (0, true));
    }
}
