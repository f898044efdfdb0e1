//! The listening socket of the process. It accepts and hands descriptors out; which core takes one is the broker's choice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::time::Instant;

use crate::line_limit::{Line, LineLimit};

/// How long accepting rests when descriptors or memory have run out: every attempt would fail until some connection ends.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Connections that are accepted at once. A core takes them out of the same mailbox as the appends to its partitions: ten thousand that
/// come together would stand before these, and so every producer would wait for all of them to be set up.
const ACCEPTS_PER_TURN: u32 = 10;

/// How long accepting rests after a turn. The runtime's clock counts in milliseconds, and late ones on a core that is busy.
const TURN_PAUSE: Duration = Duration::from_millis(1);

/// Connections that may wait to be accepted; the system's own limit may be lower.
const BACKLOG: i32 = 4096;

/// So few connections are taken whatever descriptors the files hold: where data alone holds nearly all of them, nobody could connect any more,
/// not even to delete some of it.
const CONNECTIONS_WITHOUT_LIMIT: usize = 32;

/// How many connections are taken.
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// All that may be open (`max.connections`).
    pub connections_max: usize,
    /// Those of one address that may be open (`max.connections.per.ip`).
    pub per_address_max: usize,
    /// Descriptors of the process from which on none is taken for a connection, so that files can still be opened. The system gives the
    /// lowest free number, so a new socket's own number says how many are taken. A few dozen connections are taken all the same.
    pub descriptors_max: u64,
}

impl AcceptLimits {
    /// As many as the system gives.
    pub const NONE: AcceptLimits =
        AcceptLimits { connections_max: usize::MAX, per_address_max: usize::MAX, descriptors_max: u64::MAX };
}

/// A bound, listening socket, made before any runtime runs.
///
/// Made with std and without SO_REUSEPORT, with which a second broker could bind the same port unnoticed.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    open: Arc<Open>,
    limits: AcceptLimits,
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

/// The open connections.
#[derive(Debug, Default)]
struct Open {
    all: AtomicUsize,
    /// Kept only where there is a limit for each address. At most as many entries as connections.
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Open {
    fn by_address(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection among those that may be.
#[derive(Debug)]
pub struct Ticket {
    open: Arc<Open>,
    /// Where it is counted by address.
    address: Option<IpAddr>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.open.all.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        if let Entry::Occupied(mut count) = self.open.by_address().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Why a connection is closed as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    TooMany,
    TooManyOfOneAddress,
    TooFewDescriptors,
    /// It has gone already; there is nobody to serve.
    Gone,
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// What the system says: the port is busy, the address is not this machine's, no permission.
    pub fn bind(address: impl ToSocketAddrs, limits: AcceptLimits) -> io::Result<Listener> {
        let socket = TcpListener::bind(address)?;
        // Std's own backlog is so short that a burst of connections makes the next client wait for seconds.
        rustix::net::listen(&socket, BACKLOG)?;
        // Accepted sockets inherit it: a peer that has vanished is noticed in the end, even while its request waits.
        rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
        socket.set_nonblocking(true)?;
        Ok(Listener { socket, open: Arc::default(), limits })
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
        self.open.all.load(Ordering::Relaxed)
    }

    /// Accepts for ever, on the runtime it is called in, and gives each connection to `hand_over`. Drop the future to stop.
    /// Connections above a limit are closed at once; exhaustion of descriptors pauses and is logged.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime, or is no listening socket any more.
    pub async fn accept(&self, mut hand_over: impl FnMut(Accepted)) -> io::Result<()> {
        let socket = tokio::net::TcpListener::from_std(self.socket.try_clone()?)?;
        let lines = LineLimit::new();
        let (mut turn_began, mut accepts) = (Instant::now(), 0);
        loop {
            if turn_began.elapsed() > TURN_PAUSE {
                (turn_began, accepts) = (Instant::now(), 0);
            }
            accepts += 1;
            if accepts > ACCEPTS_PER_TURN {
                tokio::time::sleep(TURN_PAUSE).await;
            }
            match socket.accept().await {
                Ok((accepted, peer)) => {
                    // Away from this runtime: another core will drive it.
                    match accepted.into_std().map_err(|_| Refused::Gone).and_then(|socket| self.admit(socket, peer)) {
                        Ok(accepted) => hand_over(accepted),
                        Err(refused) => self.tell(refused, peer, &lines),
                    }
                }
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                        let (open, pause_ms) = (self.connections_open(), EXHAUSTED_PAUSE.as_millis());
                        if let Some(Line { left_out }) = lines.line() {
                            tracing::warn!(%error, open, pause_ms, left_out, "no connection can be accepted for now");
                        }
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                    Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => return Err(error),
                    // The one connection failed before it was taken: ECONNABORTED, EPROTO, and what a network may say.
                    _ => tracing::debug!(%error, "a connection failed before it was accepted"),
                },
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) -> Result<Accepted, Refused> {
        let open = self.open.all.fetch_add(1, Ordering::Relaxed) + 1;
        let mut ticket = Ticket { open: Arc::clone(&self.open), address: None };
        if open > self.limits.connections_max {
            return Err(Refused::TooMany);
        }
        let is_late = u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number >= self.limits.descriptors_max);
        if is_late && open > CONNECTIONS_WITHOUT_LIMIT {
            return Err(Refused::TooFewDescriptors);
        }
        if self.limits.per_address_max < self.limits.connections_max {
            let address = peer.ip().to_canonical();
            let mut by_address = self.open.by_address();
            let count = by_address.entry(address).or_default();
            *count += 1;
            let too_many = *count > self.limits.per_address_max;
            drop(by_address);
            ticket.address = Some(address);
            if too_many {
                return Err(Refused::TooManyOfOneAddress);
            }
        }
        socket.set_nodelay(true).map_err(|_| Refused::Gone)?;
        Ok(Accepted { socket: socket.into(), peer, ticket })
    }

    fn tell(&self, refused: Refused, peer: SocketAddr, lines: &LineLimit) {
        if refused == Refused::Gone {
            return;
        }
        let Some(Line { left_out }) = lines.line() else { return };
        let open = self.connections_open();
        let AcceptLimits { connections_max, per_address_max, descriptors_max } = self.limits;
        match refused {
            Refused::TooMany => {
                let limit = connections_max;
                tracing::warn!(%peer, limit, left_out, "refused: too many connections (max.connections)");
            }
            Refused::TooManyOfOneAddress => {
                let limit = per_address_max;
                tracing::warn!(%peer, limit, left_out, "refused: too many connections of one address (max.connections.per.ip)");
            }
            Refused::TooFewDescriptors => {
                let descriptors = descriptors_max;
                tracing::warn!(%peer, open, descriptors, left_out, "refused: the other open files are kept for the data; raise the limit (systemd: LimitNOFILE)");
            }
            Refused::Gone => {}
        }
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
        let listener = Listener::bind("127.0.0.1:0", AcceptLimits::NONE).unwrap();
        // Every kernel has it.
        listener.set_congestion_control("reno").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.socket.set_nonblocking(false).unwrap();
        assert_eq!(tcp_congestion(listener.socket.accept().unwrap().0).unwrap(), "reno");
        assert_eq!(listener.set_congestion_control("nonsense").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn connections_above_the_limit_are_closed_at_once_and_room_is_used_again() {
        two_are_taken(AcceptLimits { connections_max: 2, ..AcceptLimits::NONE });
        two_are_taken(AcceptLimits { per_address_max: 2, ..AcceptLimits::NONE });
    }

    #[test]
    fn descriptors_that_are_kept_for_files_are_not_given_to_more_than_a_few_connections() {
        let taken = |descriptors_max| {
            let limits = AcceptLimits { descriptors_max, ..AcceptLimits::NONE };
            let listener = Listener::bind("127.0.0.1:0", limits).unwrap();
            listener.socket.set_nonblocking(false).unwrap();
            let admit = || {
                let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (socket, peer) = listener.socket.accept().unwrap();
                listener.admit(socket, peer)
            };
            let mut few: Vec<Accepted> = (0..CONNECTIONS_WITHOUT_LIMIT).map(|_| admit().unwrap()).collect();
            let one_more = admit().map(drop);
            assert_eq!(listener.connections_open(), CONNECTIONS_WITHOUT_LIMIT, "its end is noticed");
            few.pop();
            assert_eq!(admit().map(drop), Ok(()), "the room of one that has gone");
            one_more
        };
        // 0 to 2 are never free: files hold all that connections may take.
        assert_eq!(taken(3), Err(Refused::TooFewDescriptors));
        assert_eq!(taken(1_000_000), Ok(()));
    }

    fn two_are_taken(limits: AcceptLimits) {
        let listener = Listener::bind("127.0.0.1:0", limits).unwrap();
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
