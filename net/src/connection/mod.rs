//! One connection: frames in, answers out in the order of the requests, and nothing held longer than its limits say.
//!
//! A reader task owns the reads and calls [`Handler::start`]; [`serve`] itself sends the answers and watches the limits. It
//! knows of a request only what its header says. The broker spawns [`serve`] as a local task of the core that got the
//! connection.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;

use self::frames::FramePool;
use self::patience::Patience;
use self::share::{Fair, Lane, Share};
use self::unread::Unread;
use self::write::{AnswerQueue, Written};
use crate::line_limit::{Line, LineLimit};
use crate::transport::Stream;
use crate::wire::RequestHeader;
use crate::{Budget, Charge, Response};

mod frames;
mod patience;
mod read;
mod share;
#[cfg(test)]
mod tests;
mod unread;
mod write;

/// What one connection may take. All are the process's configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest request frame in bytes (`socket.request.max.bytes`); a larger one closes the connection.
    pub request_bytes_max: usize,
    /// How long a frame may take to arrive once its bytes are reserved.
    pub frame_arrival: Duration,
    /// How long a connection may ask nothing, or take nothing of its answer (`connections.max.idle.ms`).
    pub idle: Duration,
    /// Requests of one connection that were started and are not yet answered; reading stops there.
    pub answers_waiting_max: usize,
    /// Answers of one core that stand in memory because their peers do not read them, in bytes; beyond it the connection that has
    /// been sending the longest is closed.
    pub unread_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes_max: 100 * 1024 * 1024,
            frame_arrival: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            answers_waiting_max: 128,
            unread_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Who is at the other end.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Counts the connections of this core.
    pub id: u64,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The address that the peer dialled: what to advertise where nothing is configured.
    pub local_addr: SocketAddr,
    client_id: RefCell<Option<Arc<str>>>,
}

impl ConnectionInfo {
    /// The name that the client gave itself in its last request.
    #[must_use]
    pub fn client_id(&self) -> Option<Arc<str>> {
        self.client_id.borrow().clone()
    }
}

/// One request as it was read.
#[derive(Debug)]
pub struct Request {
    /// Its header.
    pub header: RequestHeader,
    /// Everything behind the header. Uniquely owned: parts can be split off and written to without copying.
    pub body: BytesMut,
    /// The frame's bytes in the [`Budget`]. Whoever keeps a part of the body keeps a clone of this.
    pub charge: Charge,
    /// Where it came from.
    pub connection: Rc<ConnectionInfo>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// This is sent.
    Respond(Response),
    /// Nothing is sent (a produce with acks=0).
    Silent,
    /// What was answered before is sent, then the connection is closed and the reason logged.
    Close(String),
}

/// The outcome to come. It is polled only when those before it are sent, and dropped when the peer is gone: what must happen
/// in any case is set going by [`Handler::start`].
pub type Answer = Pin<Box<dyn Future<Output = Outcome>>>;

/// What requests mean.
pub trait Handler: 'static {
    /// Starts a request. Called in the order read, one at a time for each connection; it may wait, for example for room in a
    /// mailbox, and nothing more is read meanwhile. Produces are started while others before them run; any other request,
    /// and a produce behind any other, is started when those before it are answered.
    fn start(&self, request: Request) -> impl Future<Output = Answer>;
}

/// What happened on the connections of a core since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections served.
    pub connections: u64,
    /// Requests started.
    pub requests: u64,
    /// Bytes of request frames.
    pub received_bytes: u64,
    /// Bytes of answers, of connections that have ended.
    pub sent_bytes: u64,
    /// Connections closed for a frame or header that breaks the protocol.
    pub closed_for_violation: u64,
    /// Connections that a handler closed.
    pub closed_by_handler: u64,
    /// Connections closed because a limit of time had passed.
    pub closed_for_time: u64,
}

/// What the connections of one core share.
pub struct Connections {
    limits: Limits,
    budget: Budget,
    frames: Rc<FramePool>,
    unread: Unread,
    lane: Rc<Lane>,
    lines: LineLimit,
    counters: Cell<Counters>,
    // No `watch`: it wakes its receivers in an order of chance, and the simulation wants the same one each time.
    stop: Cell<Stop>,
    told_to_stop: Notify,
    open: Cell<usize>,
    ended: Notify,
}

/// How far a core's connections are told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// No further request; those that were started are answered.
    Gently,
    AtOnce,
}

impl Connections {
    /// Limits for each, one budget for the process.
    #[must_use]
    pub fn new(limits: Limits, budget: Budget) -> Rc<Connections> {
        Rc::new(Connections {
            unread: Unread::new(limits.unread_bytes_max),
            limits,
            budget,
            frames: Rc::default(),
            lane: Rc::new(Lane::new()),
            lines: LineLimit::new(),
            counters: Cell::default(),
            stop: Cell::new(Stop::No),
            told_to_stop: Notify::new(),
            open: Cell::new(0),
            ended: Notify::new(),
        })
    }

    /// How many are open on this core.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// Ends all connections: nothing more is read, what was started is answered within `grace`, then the rest is cut. When
    /// this returns no read is in flight on this core. Connections served from now on end at once.
    pub async fn drain(&self, grace: Duration) {
        self.tell(Stop::Gently);
        // Only the wait is cut short here, no operation.
        if tokio::time::timeout(grace, self.all_ended()).await.is_err() {
            self.tell(Stop::AtOnce);
            self.all_ended().await;
        }
    }

    fn tell(&self, stop: Stop) {
        self.stop.set(stop);
        self.told_to_stop.notify_waiters();
    }

    /// Waits until the connections are told something else than `heard`.
    async fn told_after(&self, heard: Stop) -> Stop {
        loop {
            let told = self.told_to_stop.notified();
            if self.stop.get() != heard {
                return self.stop.get();
            }
            told.await;
        }
    }

    async fn all_ended(&self) {
        while self.open.get() > 0 {
            self.ended.notified().await;
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// The peer closed it, or the network did.
    PeerGone(String),
    /// The peer broke the protocol.
    Violation(String),
    /// A handler said so.
    Handler(String),
    /// A limit of time has passed.
    Time(&'static str),
    /// The broker stops.
    Stopped,
}

/// One connection's state, shared by its reader and its writer.
struct Link<S> {
    stream: S,
    info: Rc<ConnectionInfo>,
    shared: Rc<Connections>,
    answers: AnswerQueue,
    patience: Patience,
    share: Rc<Share>,
    /// The reader takes no further request.
    stopping: Cell<bool>,
    stopped: Notify,
}

/// Serves one connection to its end. When it returns, no read is in flight, and the stream is shut down and closed.
pub async fn serve<S: Stream, H: Handler>(stream: S, handler: Rc<H>, connections: Rc<Connections>) {
    let _open = Open::new(&connections);
    let link = Rc::new(Link {
        info: Rc::new(ConnectionInfo {
            id: connections.counters().connections,
            peer: canonical(stream.peer_addr()),
            local_addr: canonical(stream.local_addr()),
            client_id: RefCell::default(),
        }),
        stream,
        answers: AnswerQueue::new(connections.limits.answers_waiting_max),
        patience: Patience::new(connections.limits.idle),
        share: Rc::new(Share::new(Rc::clone(&connections.lane))),
        shared: Rc::clone(&connections),
        stopping: Cell::new(false),
        stopped: Notify::new(),
    });
    let mut reader = tokio::task::spawn_local(Fair::new(&link.share, read::read_requests(Rc::clone(&link), handler)));
    let mut reader_end = None;
    let end = Fair::new(&link.share, write_and_watch(&link, &mut reader, &mut reader_end)).await;

    // The read that waits returns 0 now; dropping it would leave it in the kernel, with the buffer.
    link.stop_reading();
    link.answers.close();
    link.stream.shutdown();
    if reader_end.is_none() {
        joined(reader.await);
    }
    link.report(&end);
}

/// Sends answers until the connection's end is known, and says why it is.
async fn write_and_watch<S: Stream>(
    link: &Rc<Link<S>>,
    reader: &mut tokio::task::JoinHandle<End>,
    reader_end: &mut Option<End>,
) -> End {
    let mut writer = pin!(write::write_answers(link));
    let mut limit_passed = pin!(link.patience.limit_passed(link));
    let mut heard = Stop::No;
    loop {
        tokio::select! {
            biased;
            told = link.shared.told_after(heard) => {
                heard = told;
                match told {
                    Stop::No => {}
                    Stop::Gently => link.stop_reading(),
                    Stop::AtOnce => return End::Stopped,
                }
            }
            ended = &mut *reader, if reader_end.is_none() => {
                let end = reader_end.insert(joined(ended));
                if let End::PeerGone(_) = end {
                    return end.clone();
                }
                link.answers.finish();
            }
            written = &mut writer => return match written {
                Written::All => reader_end.clone().expect("the answers end after the reader"),
                Written::Close(reason) => End::Handler(reason),
                Written::Failed(error) => End::PeerGone(error.to_string()),
                Written::GivenUp => End::Time("others need the memory of an answer that the peer does not read"),
            },
            limit = &mut limit_passed => return End::Time(limit),
        }
    }
}

/// A panic of the reader is this task's panic.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(error) => unreachable!("nobody aborts a reader: {error}"),
    })
}

impl<S: Stream> Link<S> {
    fn stop_reading(&self) {
        self.stopping.set(true);
        self.stopped.notify_one();
        self.stream.shutdown_read();
    }

    fn report(&self, end: &End) {
        let (id, peer, client) = (self.info.id, self.info.peer, self.info.client_id());
        let client = client.as_deref().map_or("", shortened);
        self.shared.count(|counters| counters.sent_bytes += self.stream.sent_bytes());
        // What peers can bring about as often as they like must not fill the log.
        match end {
            End::Violation(reason) => {
                self.shared.count(|counters| counters.closed_for_violation += 1);
                if let Some(Line { left_out }) = self.shared.lines.line() {
                    tracing::warn!(id, %peer, client, reason, left_out, "closed: the peer breaks the protocol");
                }
            }
            End::Handler(reason) => {
                self.shared.count(|counters| counters.closed_by_handler += 1);
                if let Some(Line { left_out }) = self.shared.lines.line() {
                    tracing::warn!(id, %peer, client, reason, left_out, "closed: the request cannot be answered");
                }
            }
            End::Time(limit) => {
                self.shared.count(|counters| counters.closed_for_time += 1);
                if let Some(Line { left_out }) = self.shared.lines.line() {
                    tracing::info!(id, %peer, client, limit, left_out, "closed: a limit of time has passed");
                }
            }
            End::PeerGone(how) => tracing::debug!(id, %peer, client, how, "closed by the peer"),
            End::Stopped => tracing::debug!(id, %peer, client, "closed: the broker stops"),
        }
    }
}

/// The longest piece of a stranger's text in a log line, in bytes.
const LOGGED_BYTES_MAX: usize = 256;

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOGGED_BYTES_MAX)]
}

/// An IPv4 peer of a socket that listens on both is an IPv4 peer.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Counts a connection as open while it lives.
struct Open(Rc<Connections>);

impl Open {
    fn new(connections: &Rc<Connections>) -> Open {
        connections.open.set(connections.open.get() + 1);
        connections.count(|counters| counters.connections += 1);
        Open(Rc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.ended.notify_one();
    }
}
