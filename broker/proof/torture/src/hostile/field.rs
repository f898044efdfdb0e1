//! The field of an attack: where to connect to, for how long, and the sockets that attackers use.
//!
//! An attack runs on one thread, on raw sockets: it sends what no client would. It comes from addresses of its own (127.0.0.2 and on), so
//! that it does not take the honest clients' ports.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Connections from one address; the system has some 28,000 ports for each.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;

/// Between two looks at whether the attack is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// After a connection that was refused or cut.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// How far an attack is, for the thread that measures.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

const UNDER_WAY: u8 = 1;
const OVER: u8 = 2;
const RELEASED: u8 = 3;

impl Progress {
    /// Whether everything that belongs to the attack is in place.
    pub(super) fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Acquire) == UNDER_WAY
    }

    /// Whether the attack has to end.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) >= OVER
    }

    /// Ends the attack.
    pub(super) fn end(&self) {
        self.0.store(OVER, Ordering::Release);
    }

    /// Ends what is left of it.
    pub(super) fn release(&self) {
        self.0.store(RELEASED, Ordering::Release);
    }
}

/// Where an attack takes place. Lives on the attack's thread.
pub(super) struct Field {
    address: SocketAddr,
    /// How many connections an attack by numbers makes.
    pub(super) connections: usize,
    /// What the attack did: requests, frames, connections, as it counts itself.
    pub(super) done: Cell<u64>,
    /// Connections that the broker closed or refused.
    pub(super) cut: Cell<u64>,
    /// What the broker refused for want of room.
    pub(super) refused: Cell<u64>,
    /// How far it is, for threads of its own.
    pub(super) progress: Arc<Progress>,
    made: Cell<usize>,
    kept: RefCell<Vec<TcpStream>>,
}

impl Field {
    pub(super) fn new(address: SocketAddr, connections: usize, progress: Arc<Progress>) -> Field {
        Field {
            address,
            connections,
            done: Cell::new(0),
            cut: Cell::new(0),
            refused: Cell::new(0),
            progress,
            made: Cell::new(0),
            kept: RefCell::default(),
        }
    }

    /// From now on it counts.
    pub(super) fn under_way(&self) {
        let _ = self.progress.0.compare_exchange(0, UNDER_WAY, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn is_over(&self) -> bool {
        self.progress.is_over()
    }

    pub(super) async fn until_over(&self) {
        while !self.is_over() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    pub(super) fn count(&self, more: u64) {
        self.done.set(self.done.get() + more);
    }

    /// Keeps sockets open beyond the attack's end.
    pub(super) fn keep(&self, streams: Vec<TcpStream>) {
        self.kept.replace(streams);
    }

    /// Waits, with what is kept, until the broker was seen without it.
    pub(super) fn until_released(&self) {
        while self.progress.0.load(Ordering::Acquire) != RELEASED {
            std::thread::sleep(LOOK_INTERVAL);
        }
        // No farewell that would go on for minutes.
        for stream in self.kept.take() {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// A connection, from an address of the attackers'.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let number = self.made.get();
        self.made.set(number + 1);
        let host = u8::try_from(2 + number / CONNECTIONS_PER_ADDRESS % 250).expect("below 252");
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
        socket.connect(self.address).await
    }

    /// A connection, tried until the attack is over; with none then.
    pub(super) async fn connect_patiently(&self) -> Option<TcpStream> {
        while !self.is_over() {
            match self.connect().await {
                Ok(stream) => return Some(stream),
                Err(_) => self.lost().await,
            }
        }
        None
    }

    /// Counts a connection that was cut, and rests a little.
    pub(super) async fn lost(&self) {
        self.cut.set(self.cut.get() + 1);
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }

    /// As many connections as the attack makes; fewer where the system or the broker refuses more.
    pub(super) async fn open_all(&self, count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::with_capacity(count);
        while streams.len() < count && !self.is_over() {
            match self.connect().await {
                Ok(stream) => streams.push(stream),
                Err(_) => self.cut.set(self.cut.get() + 1),
            }
            if streams.len() + usize::try_from(self.cut.get()).unwrap_or(usize::MAX) >= 2 * count {
                break;
            }
        }
        streams
    }

    /// Counts those of `streams` that the broker has ended.
    pub(super) fn count_ended(&self, streams: &[TcpStream]) {
        let ended = |stream: &&TcpStream| match stream.try_read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        self.cut.set(self.cut.get() + streams.iter().filter(ended).count() as u64);
    }

    /// Sends `chunk` of `requests` again and again on one connection, taking the answers away if `reads`, until the attack is over.
    pub(super) async fn flood(&self, chunk: &[u8], requests: u64, reads: bool) {
        while let Some(mut stream) = self.connect_patiently().await {
            let (mut from, mut to) = stream.split();
            let sending = async {
                while to.write_all(chunk).await.is_ok() {
                    self.count(requests);
                }
            };
            let reading = async {
                let mut buffer = vec![0; if reads { 256 * 1024 } else { 0 }];
                if !reads {
                    std::future::pending::<()>().await;
                }
                while from.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            };
            tokio::select! {
                () = self.until_over() => return,
                () = sending => {}
                () = reading => {}
            }
            self.lost().await;
        }
    }
}
