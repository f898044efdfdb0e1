//! One suite over all streams: what a connection may rely on, whichever kind it got.
//!
//! Each scenario gets the two ends of a fresh connection. The last lines run all of them over each kind.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ::tokio::task::spawn_local;
use ::tokio::time::{sleep, timeout};
use bytes::{Bytes, BytesMut};
use rustix::io::ReadWriteFlags;

use super::{ColdSends, IoKind, SocketStream, Stream, memory, run_core};
use crate::{FileRange, Piece};

/// A file whose pages are said to be cached, said to be cold, or asked for.
pub(crate) struct TestFile {
    file: File,
    cached: Option<bool>,
    pub(crate) cold_slices: AtomicUsize,
    pub(crate) failed: Mutex<Vec<(u64, u64)>>,
}

impl TestFile {
    pub(crate) fn new(content: &[u8], cached: Option<bool>) -> Arc<TestFile> {
        // Beside the build, not in /tmp: that may be memory only, whose pages never leave the cache.
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(content).unwrap();
        Arc::new(TestFile { file, cached, cold_slices: AtomicUsize::new(0), failed: Mutex::default() })
    }

    /// Writes the pages back and drops them.
    pub(crate) fn drop_cache(&self) {
        self.file.sync_all().unwrap();
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }

    pub(crate) fn piece(self: &Arc<Self>, position: u64, length: u64) -> Piece {
        Piece::File { file: Arc::clone(self) as Arc<dyn FileRange>, position, length }
    }
}

impl AsFd for TestFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl FileRange for TestFile {
    fn is_cached(&self, position: u64, length: u64) -> bool {
        let cached = self.cached.unwrap_or_else(|| {
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            let mut into = [io::IoSliceMut::new(&mut bytes)];
            let read = rustix::io::preadv2(&self.file, &mut into, position, ReadWriteFlags::NOWAIT);
            read.is_ok_and(|count| count as u64 == length)
        });
        self.cold_slices.fetch_add(usize::from(!cached), Ordering::Relaxed);
        cached
    }

    fn read_failed(&self, position: u64, length: u64, _error: &io::Error) {
        self.failed.lock().unwrap().push((position, length));
    }
}

/// What fills every socket buffer.
const LARGE_BYTES: usize = 24 << 20;

/// Bytes that are different everywhere.
pub(crate) fn pattern(length: usize) -> Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let random = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0];
    PATTERN.get_or_init(|| (0..LARGE_BYTES as u64).map(random).collect()).slice(..length)
}

/// Two ends over loopback.
pub(crate) fn sockets(kind: IoKind) -> (SocketStream, SocketStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let cold_sends = ColdSends::start(2).unwrap();
    let wrap = |socket: std::net::TcpStream| SocketStream::new(kind, socket.into(), cold_sends.clone()).unwrap();
    (wrap(client), wrap(server))
}

/// Two ends in memory.
pub(crate) fn pipes(options: memory::Options) -> (memory::MemoryStream, memory::MemoryStream) {
    memory::connection("10.0.0.2:40000".parse().unwrap(), "10.0.0.1:9092".parse().unwrap(), options)
}

/// Reads `length` bytes, or to the end.
pub(crate) async fn read_up_to(stream: &impl Stream, length: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(length);
    while buffer.len() < length {
        let room = length - buffer.len();
        let (result, back) = stream.read(buffer, room).await;
        buffer = back;
        if result.unwrap() == 0 {
            break;
        }
    }
    buffer
}

fn bytes(content: &[u8]) -> Piece {
    Piece::Bytes(Bytes::copy_from_slice(content))
}

async fn bytes_arrive_in_order_and_are_appended<S: Stream>(a: S, b: S) {
    a.send(&mut vec![bytes(b"one "), bytes(b""), bytes(b"two "), bytes(b"three")]).await.unwrap();
    let mut buffer = BytesMut::with_capacity(64);
    buffer.extend_from_slice(b"> ");
    while buffer.len() < 15 {
        let (result, back) = b.read(buffer, 5).await;
        assert!((1..=5).contains(&result.unwrap()), "a read takes no more than it was allowed");
        buffer = back;
    }
    assert_eq!(&buffer[..], b"> one two three");
    assert_eq!(a.sent_bytes(), 13);
    assert_eq!((a.local_addr(), a.peer_addr()), (b.peer_addr(), b.local_addr()));
}

async fn hundreds_of_pieces_leave_in_order<S: Stream>(a: S, b: S) {
    let content = pattern(500 * 700);
    let mut pieces: Vec<Piece> = content.chunks(700).map(bytes).collect();
    let reading = spawn_local(async move { read_up_to(&b, 500 * 700).await });
    a.send(&mut pieces).await.unwrap();
    assert!(pieces.is_empty());
    assert!(reading.await.unwrap() == content);
}

async fn shutdown_ends_the_parked_reads_of_both<S: Stream>(a: S, b: S) {
    let (a, b) = (Rc::new(a), Rc::new(b));
    let reads: Vec<_> = [&a, &b]
        .map(|end| {
            let end = Rc::clone(end);
            spawn_local(async move { end.read(BytesMut::with_capacity(512), 512).await.0 })
        })
        .into();
    sleep(Duration::from_millis(5)).await;
    a.shutdown();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap(), 0);
    }
    assert!(a.send(&mut vec![bytes(b"late")]).await.is_err());
}

async fn shutdown_read_lets_sends_go_on<S: Stream>(a: S, b: S) {
    let a = Rc::new(a);
    let reader = Rc::clone(&a);
    let read = spawn_local(async move { reader.read(BytesMut::with_capacity(512), 512).await.0 });
    sleep(Duration::from_millis(5)).await;
    a.shutdown_read();
    assert_eq!(read.await.unwrap().unwrap(), 0);
    a.send(&mut vec![bytes(b"the last answer")]).await.unwrap();
    assert_eq!(read_up_to(&b, 15).await, "the last answer");
}

async fn a_dropped_end_is_seen_by_the_other<S: Stream>(a: S, b: S) {
    a.send(&mut vec![bytes(b"bye")]).await.unwrap();
    drop(a);
    assert_eq!(read_up_to(&b, 100).await, "bye");
    // The first send may still meet a socket that does not know yet.
    let mut failed = false;
    for _ in 0..100 {
        failed = failed || b.send(&mut vec![bytes(b"anyone?")]).await.is_err();
        sleep(Duration::from_millis(1)).await;
    }
    assert!(failed);
}

async fn both_directions_move_at_once<S: Stream>(a: S, b: S) {
    const LENGTH: usize = 6 << 20;
    let content = pattern(LENGTH);
    let (a, b) = (Rc::new(a), Rc::new(b));
    let tasks: Vec<_> = [&a, &b]
        .map(|end| {
            let (sender, reader, content) = (Rc::clone(end), Rc::clone(end), content.clone());
            let send = spawn_local(async move { sender.send(&mut vec![Piece::Bytes(content)]).await.unwrap() });
            (send, spawn_local(async move { read_up_to(&*reader, LENGTH).await }))
        })
        .into();
    for (send, read) in tasks {
        send.await.unwrap();
        assert!(read.await.unwrap() == content);
    }
}

async fn file_ranges_go_out_between_bytes<S: Stream>(a: S, b: S) {
    let content = pattern(1_500_000);
    for cached in [Some(true), Some(false)] {
        let file = TestFile::new(&content, cached);
        let (head, tail) = (file.piece(0, 700_000), file.piece(700_001, 799_999));
        let mut pieces = vec![bytes(b"head"), head, bytes(b"|"), tail, bytes(b"tail")];
        let (_, back) =
            ::tokio::join!(async { a.send(&mut pieces).await.unwrap() }, read_up_to(&b, 4 + 700_000 + 1 + 799_999 + 4));
        let expected = [b"head", &content[..700_000], b"|", &content[700_001..], b"tail"].concat();
        assert!(back == expected);
        assert!(file.failed.lock().unwrap().is_empty());
        assert_eq!(Arc::strong_count(&file), 1, "the pieces are dropped once they are sent");
    }
}

async fn a_file_cut_short_is_reported_and_ends_the_send<S: Stream>(a: S, b: S) {
    for cached in [Some(true), Some(false)] {
        let file = TestFile::new(&pattern(10_000), cached);
        let error = a.send(&mut vec![bytes(b"head"), file.piece(4_000, 7_000)]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(*file.failed.lock().unwrap(), [(10_000, 1_000)]);
        assert_eq!(read_up_to(&b, 6_004).await.len(), 6_004);
    }
}

async fn a_send_to_a_reader_that_rests_waits_and_goes_on<S: Stream>(a: S, b: S) {
    for cached in [Some(true), Some(false)] {
        let file = TestFile::new(&pattern(LARGE_BYTES), cached);
        let mut pieces = vec![file.piece(0, LARGE_BYTES as u64)];
        let before = a.sent_bytes();
        let mut send = Box::pin(a.send(&mut pieces));
        assert!(timeout(Duration::from_millis(100), &mut send).await.is_err(), "nobody reads");
        let moved = a.sent_bytes() - before;
        assert!(0 < moved && moved < LARGE_BYTES as u64);
        let (sent, received) = ::tokio::join!(send, read_up_to(&b, LARGE_BYTES));
        sent.unwrap();
        assert!(received == pattern(LARGE_BYTES));
    }
}

async fn a_dropped_send_sends_nothing_more<S: Stream>(a: S, b: S) {
    let mut pieces = vec![Piece::Bytes(pattern(LARGE_BYTES))];
    assert!(timeout(Duration::from_millis(50), a.send(&mut pieces)).await.is_err(), "nobody reads");
    let sent = usize::try_from(a.sent_bytes()).unwrap();
    a.shutdown();
    assert_eq!(read_up_to(&b, LARGE_BYTES).await.len(), sent);
}

/// Runs every scenario on a fresh connection.
async fn all<S: Stream>(pair: impl Fn() -> (S, S)) {
    macro_rules! run {
        ($($scenario:ident),* $(,)?) => {$({
            let (a, b) = pair();
            timeout(Duration::from_secs(20), $scenario(a, b)).await.expect(stringify!($scenario));
        })*};
    }
    run![
        bytes_arrive_in_order_and_are_appended,
        hundreds_of_pieces_leave_in_order,
        shutdown_ends_the_parked_reads_of_both,
        shutdown_read_lets_sends_go_on,
        a_dropped_end_is_seen_by_the_other,
        both_directions_move_at_once,
        file_ranges_go_out_between_bytes,
        a_file_cut_short_is_reported_and_ends_the_send,
        a_send_to_a_reader_that_rests_waits_and_goes_on,
        a_dropped_send_sends_nothing_more,
    ];
}

#[test]
fn tokio_sockets_conform() {
    run_core(IoKind::Tokio, || all(|| sockets(IoKind::Tokio))).unwrap();
}

#[test]
fn uring_sockets_conform() {
    if let Err(error) = super::probe_uring() {
        return eprintln!("skipped: io_uring is refused here: {error}");
    }
    run_core(IoKind::Uring, || all(|| sockets(IoKind::Uring))).unwrap();
}

#[test]
fn memory_pipes_conform() {
    for seed in 0..3 {
        let options = memory::Options { seed, ..memory::Options::default() };
        let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        ::tokio::task::LocalSet::new().block_on(&runtime, all(|| pipes(options.clone())));
    }
}

#[test]
fn cold_slices_go_through_the_helpers_and_warm_ones_do_not() {
    run_core(IoKind::Tokio, || async {
        let (a, b) = sockets(IoKind::Tokio);
        let content = pattern(4 << 20);
        let file = TestFile::new(&content, None);
        for cold in [true, false] {
            if cold {
                file.drop_cache();
            }
            file.cold_slices.store(0, Ordering::Relaxed);
            let mut pieces = vec![file.piece(0, 4 << 20)];
            let (sent, received) = ::tokio::join!(a.send(&mut pieces), read_up_to(&b, 4 << 20));
            sent.unwrap();
            assert!(received == content);
            assert_eq!(file.cold_slices.load(Ordering::Relaxed) > 0, cold);
        }
    })
    .unwrap();
}
