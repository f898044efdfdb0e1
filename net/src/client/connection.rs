//! One connection to a broker: versions negotiated once, requests pipelined, answers matched by their order.
//!
//! Requests go out whole and in the order of the calls; a reader task takes the answers in. When either side fails, every
//! request that waits gets the same error and the connection is of no more use: whoever needs another makes one.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::ClientError;
use crate::piece::Piece;
use crate::wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ApiKey, ErrorCode, Message, Reader, encode_request};

/// The ApiVersions version to ask with: every broker since Kafka 2.4 knows it, and older ones say so.
const API_VERSIONS_VERSION: i16 = 3;
/// How much is reserved at a time for an answer whose bytes have not come yet.
const RESERVE_BYTES_MIN: usize = 64 * 1024;
/// Buffers kept for reuse by [`Connection::recycle`].
const SPARE_BUFFERS_MAX: usize = 4;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The name that the broker logs.
    pub client_id: String,
    /// For the connection itself.
    pub connect_timeout_ms: u64,
    /// For an answer. Requests that the broker may hold back (fetches, produces) add their own waiting time.
    pub request_timeout_ms: u64,
    /// The largest answer that is taken.
    pub answer_bytes_max: usize,
    /// TCP congestion control by name, the system's own if `None`. Benchmarks set `cubic`: some hosts default to one that
    /// throttles the loopback.
    pub congestion_control: Option<&'static str>,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            client_id: "ringmill".to_owned(),
            connect_timeout_ms: 10_000,
            request_timeout_ms: 30_000,
            answer_bytes_max: 256 * 1024 * 1024,
            congestion_control: None,
        }
    }
}

/// A connection. Shared by reference; requests of all callers go out in one order.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    writer: tokio::sync::Mutex<Writer>,
    versions: Vec<(i16, RangeInclusive<i16>)>,
    options: ConnectOptions,
}

#[derive(Debug)]
struct Shared {
    address: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those who wait for answers, in the order of their requests.
    waiting: VecDeque<Waiting>,
    /// Why the connection is of no more use.
    broken: Option<ClientError>,
    /// Buffers that answers may be read into.
    spare: Vec<BytesMut>,
    /// Ends the reader task, and with it the socket's half.
    reader: Option<AbortHandle>,
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Result<BytesMut, ClientError>>,
}

#[derive(Debug)]
struct Writer {
    half: OwnedWriteHalf,
    next_correlation_id: i32,
}

/// A request that has been sent; await it for the answer.
#[derive(Debug)]
pub struct InFlight {
    api: ApiKey,
    version: i16,
    /// Whether the answer's header has tagged fields.
    flexible: bool,
    /// `None` for a request that gets no answer.
    answer: Option<oneshot::Receiver<Result<BytesMut, ClientError>>>,
    timeout_ms: u64,
    shared: Arc<Shared>,
}

/// An answer's frame, to be decoded in place.
#[derive(Debug)]
pub struct Answer {
    api: ApiKey,
    version: i16,
    /// Correlation id, the rest of the header, and the body.
    frame: BytesMut,
    body_at: usize,
}

impl Connection {
    /// Connects to `host:port` and asks which versions the broker speaks.
    ///
    /// # Errors
    /// When nobody answers there in time, or the answer is not Kafka's.
    pub async fn connect(address: &str, options: &ConnectOptions) -> Result<Connection, ClientError> {
        let failed = |reason: String| ClientError::Connect { address: address.to_owned(), reason };
        let limit = Duration::from_millis(options.connect_timeout_ms);
        let socket = match timeout(limit, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(format!("no connection within {} ms", options.connect_timeout_ms))),
        };
        set_socket_options(&socket, options).map_err(|error| failed(error.to_string()))?;
        let (read_half, write_half) = socket.into_split();
        let shared = Arc::new(Shared { address: address.to_owned(), state: Mutex::default() });
        let reader = tokio::spawn(read_answers(read_half, Arc::clone(&shared), options.answer_bytes_max));
        shared.lock().reader = Some(reader.abort_handle());
        let mut connection = Connection {
            shared,
            writer: tokio::sync::Mutex::new(Writer { half: write_half, next_correlation_id: 0 }),
            versions: Vec::new(),
            options: options.clone(),
        };
        connection.versions = connection.ask_versions().await?;
        Ok(connection)
    }

    async fn ask_versions(&self) -> Result<Vec<(i16, RangeInclusive<i16>)>, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "ringmill",
            client_software_version: env!("CARGO_PKG_VERSION"),
            ..Default::default()
        };
        let mut answer = self.send(&request, API_VERSIONS_VERSION, Vec::new(), 0).await?.answer().await?;
        let error_code = answer.frame.get(answer.body_at..answer.body_at + 2).map_or(0, |mut bytes| bytes.get_i16());
        if error_code == ErrorCode::UnsupportedVersion.code() {
            // An older broker answers in version 0, with its whole list (KIP-511).
            answer.version = 0;
        }
        let response: ApiVersionsResponse<'_> = answer.decode()?;
        if answer.version != 0 {
            ClientError::check(response.error_code, None, || "ApiVersions".to_owned())?;
        }
        Ok(response.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect())
    }

    /// The highest version of a request that both sides speak.
    ///
    /// # Errors
    /// When there is none.
    pub fn version_of<'a, M: Message<'a>>(&self) -> Result<i16, ClientError> {
        let spoken = M::VERSIONS;
        let offered = self.versions.iter().find(|(key, _)| *key == M::KEY.code()).map(|(_, versions)| versions);
        let common = offered.map(|offered| *offered.end().min(spoken.end()));
        match common {
            Some(version) if spoken.contains(&version) && offered.is_some_and(|o| o.contains(&version)) => Ok(version),
            _ => Err(ClientError::NoCommonVersion {
                api: M::KEY,
                offered: offered.map_or("none".to_owned(), |o| format!("{}..={}", o.start(), o.end())),
                spoken: format!("{}..={}", spoken.start(), spoken.end()),
            }),
        }
    }

    /// Sends a request in the highest common version and waits for its answer.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`InFlight::answer`].
    pub async fn call<'a, M: Message<'a>>(&self, request: &M) -> Result<Answer, ClientError> {
        self.send(request, self.version_of::<M>()?, Vec::new(), 0).await?.answer().await
    }

    /// Sends a request; `records` are the bytes of its records fields, in order. The returned value waits for the answer,
    /// `extra_wait_ms` longer than the request timeout.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send<'a, M: Message<'a>>(
        &self,
        request: &M,
        version: i16,
        records: Vec<Piece>,
        extra_wait_ms: u64,
    ) -> Result<InFlight, ClientError> {
        let answer = self.write(request, version, records, true).await?;
        let timeout_ms = self.options.request_timeout_ms.saturating_add(extra_wait_ms);
        let flexible = version >= M::FLEXIBLE_FROM && M::KEY != ApiKey::ApiVersions;
        Ok(InFlight { api: M::KEY, version, flexible, answer, timeout_ms, shared: Arc::clone(&self.shared) })
    }

    /// Sends a request that the broker will not answer: a produce with acks=0.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send_unanswered<'a, M: Message<'a>>(
        &self,
        request: &M,
        version: i16,
        records: Vec<Piece>,
    ) -> Result<(), ClientError> {
        self.write(request, version, records, false).await.map(drop)
    }

    async fn write<'a, M: Message<'a>>(
        &self,
        request: &M,
        version: i16,
        records: Vec<Piece>,
        answered: bool,
    ) -> Result<Option<oneshot::Receiver<Result<BytesMut, ClientError>>>, ClientError> {
        let mut writer = self.writer.lock().await;
        let correlation_id = writer.next_correlation_id;
        writer.next_correlation_id = correlation_id.wrapping_add(1);
        let pieces = encode_request(request, version, correlation_id, Some(&self.options.client_id), records);
        let receiver = self.shared.expect_answer(correlation_id, answered)?;
        // A frame that is cut off midway, by an error or because the caller stopped waiting, breaks the connection.
        let torn = TornFrame { shared: &self.shared, sent: false };
        let written = write_pieces(&mut writer.half, pieces).await;
        torn.finish(written)?;
        Ok(receiver)
    }

    /// Gives an answer's buffer back, so that the next large answer needs no fresh memory.
    pub fn recycle(&self, answer: Answer) {
        let mut frame = answer.frame;
        frame.clear();
        let mut state = self.shared.lock();
        if state.spare.len() < SPARE_BUFFERS_MAX && frame.capacity() >= RESERVE_BYTES_MIN {
            state.spare.push(frame);
        }
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.shared.lock().broken.is_none()
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The reader's half of the socket goes with its task, the writer's with this.
        self.shared.break_with(&ClientError::Closed);
    }
}

impl InFlight {
    /// Waits for the answer.
    ///
    /// # Errors
    /// When the connection breaks before it, or the time is up, which breaks the connection; the request may then have been
    /// carried out or not.
    pub async fn answer(self) -> Result<Answer, ClientError> {
        let InFlight { api, version, flexible, answer, timeout_ms, shared } = self;
        let answer = answer.expect("only requests with an answer are returned");
        let frame = match timeout(Duration::from_millis(timeout_ms), answer).await {
            Ok(Ok(frame)) => frame?,
            Ok(Err(_)) => return Err(ClientError::Closed),
            Err(_) => {
                // A peer that has vanished is only noticed like this: whoever tries again needs another connection.
                let error = ClientError::TimedOut { api, timeout_ms };
                shared.break_with(&error);
                return Err(error);
            }
        };
        let body_at = body_position(api, flexible, &frame)?;
        Ok(Answer { api, version, frame, body_at })
    }
}

impl Answer {
    /// Decodes the body; strings and records stay where they are.
    ///
    /// # Errors
    /// When the broker sent something else than the protocol's tables say.
    pub fn decode<'a, M: Message<'a>>(&'a self) -> Result<M, ClientError> {
        let mut reader = Reader::new(self.body());
        M::decode(&mut reader, self.version).map_err(|error| ClientError::BadAnswer { api: self.api, error })
    }

    /// The body: what a decoded `Records` range counts from.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.frame[self.body_at..]
    }

    /// The body as shared bytes, for answers whose record batches are to be kept.
    #[must_use]
    pub fn into_body(mut self) -> Bytes {
        self.frame.advance(self.body_at);
        self.frame.freeze()
    }

    /// The version that the answer is written in.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.version
    }
}

impl Shared {
    /// The state is only ever changed by statements that cannot panic halfway, so a poisoned lock is still whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect_answer(
        &self,
        correlation_id: i32,
        answered: bool,
    ) -> Result<Option<oneshot::Receiver<Result<BytesMut, ClientError>>>, ClientError> {
        let mut state = self.lock();
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        if !answered {
            return Ok(None);
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(Waiting { correlation_id, answer: sender });
        Ok(Some(receiver))
    }

    /// Fails all that wait and all that will be asked.
    fn break_with(&self, error: &ClientError) {
        let waiting = {
            let mut state = self.lock();
            state.broken.get_or_insert_with(|| error.clone());
            if let Some(reader) = state.reader.take() {
                reader.abort();
            }
            std::mem::take(&mut state.waiting)
        };
        for each in waiting {
            // Who no longer waits does not mind.
            let _ = each.answer.send(Err(error.clone()));
        }
    }
}

/// Breaks the connection unless the whole frame went out.
struct TornFrame<'a> {
    shared: &'a Shared,
    sent: bool,
}

impl TornFrame<'_> {
    fn finish(mut self, written: io::Result<()>) -> Result<(), ClientError> {
        match written {
            Ok(()) => {
                self.sent = true;
                Ok(())
            }
            Err(error) => {
                let error = ClientError::disconnected(&self.shared.address, &error);
                self.shared.break_with(&error);
                Err(error)
            }
        }
    }
}

impl Drop for TornFrame<'_> {
    fn drop(&mut self) {
        if !self.sent {
            let error = io::Error::other("a request was abandoned while it was being sent");
            self.shared.break_with(&ClientError::disconnected(&self.shared.address, &error));
        }
    }
}

fn set_socket_options(socket: &TcpStream, options: &ConnectOptions) -> io::Result<()> {
    socket.set_nodelay(true)?;
    if let Some(name) = options.congestion_control {
        rustix::net::sockopt::set_tcp_congestion(socket, name)?;
    }
    Ok(())
}

async fn write_pieces(half: &mut OwnedWriteHalf, pieces: Vec<Piece>) -> io::Result<()> {
    let mut rest: VecDeque<Bytes> = VecDeque::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => rest.push_back(bytes),
            Piece::File { .. } => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a client sends bytes only")),
        }
    }
    while !rest.is_empty() {
        let slices: Vec<io::IoSlice<'_>> = rest.iter().take(64).map(|bytes| io::IoSlice::new(bytes)).collect();
        let mut count = half.write_vectored(&slices).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(front) = rest.front_mut() {
            if count < front.len() {
                front.advance(count);
                break;
            }
            count -= front.len();
            rest.pop_front();
        }
    }
    Ok(())
}

/// Takes answers in until the connection ends, and hands each to who waits for it.
async fn read_answers(mut half: OwnedReadHalf, shared: Arc<Shared>, answer_bytes_max: usize) {
    loop {
        let frame = match read_frame(&mut half, &shared, answer_bytes_max).await {
            Ok(frame) => frame,
            Err(error) => return shared.break_with(&ClientError::disconnected(&shared.address, &error)),
        };
        let waiting = shared.lock().waiting.pop_front();
        let correlation_id = frame.get(..4).map(|mut bytes| bytes.get_i32());
        match waiting {
            Some(waiting) if Some(waiting.correlation_id) == correlation_id => {
                // Who no longer waits does not mind.
                let _ = waiting.answer.send(Ok(frame));
            }
            stranger => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "an answer came that belongs to no request");
                let error = ClientError::disconnected(&shared.address, &error);
                shared.break_with(&error);
                if let Some(Waiting { answer, .. }) = stranger {
                    let _ = answer.send(Err(error));
                }
                return;
            }
        }
    }
}

async fn read_frame(half: &mut OwnedReadHalf, shared: &Shared, answer_bytes_max: usize) -> io::Result<BytesMut> {
    let length = half.read_i32().await?;
    let length =
        usize::try_from(length).ok().filter(|length| (4..=answer_bytes_max).contains(length)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the broker announced an answer of {length} bytes"))
        })?;
    let mut frame = shared.lock().spare.pop().unwrap_or_default();
    while frame.len() < length {
        if frame.capacity() == frame.len() {
            // Memory follows the bytes: a claim alone costs at most what has come already.
            frame.reserve(RESERVE_BYTES_MIN.max(frame.len()).min(length - frame.len()));
        }
        let missing = length - frame.len();
        if half.read_buf(&mut (&mut frame).limit(missing)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame)
}

/// Where an answer's body begins: behind the correlation id and, in flexible versions, the header's tagged fields.
fn body_position(api: ApiKey, flexible: bool, frame: &[u8]) -> Result<usize, ClientError> {
    let mut reader = Reader::new(frame);
    let bad = |error| ClientError::BadAnswer { api, error };
    reader.i32().map_err(bad)?;
    if flexible {
        reader.tagged_fields(|_, _| Ok(false)).map_err(bad)?;
    }
    Ok(reader.position())
}
