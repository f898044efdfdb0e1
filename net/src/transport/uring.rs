//! Sockets on tokio-uring: a read that has to wait waits on the ring. All rules for that crate are kept in this file.
//!
//! - A read is never dropped half-way: it would go on in the kernel and swallow the peer's bytes. Only a connection's reader
//!   task awaits it; `shutdown(2)` ends it.
//! - The runtime is not dropped while a read is in flight: the kernel still writes into the buffer ([`run`] sees to it).
//! - What is put on the ring is handed to the kernel only when the runtime parks with nothing to do, and a runtime whose tasks step back
//!   for each other (`yield_now`, a spent budget) never does: reads waited until all the others were done ([`Submitting`]).
//! - A ring read writes at the start of what it is given: it is given the buffer's tail.
//! - Sends do not go through the ring: they are direct calls on the same non-blocking descriptor (`sendfile.rs`).

use std::cell::{Cell, OnceCell};
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::pin;
use std::task::{Context, Waker};

use bytes::BytesMut;
use rustix::net::{RecvFlags, Shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use super::sendfile::{SendSocket, Sends, send_pieces};
use super::{ColdSends, Stream};
use crate::Piece;

/// Completions that wait to be seen without the kernel having to set some aside.
const COMPLETIONS: u32 = 16 * 1024;

thread_local! {
    /// Ring reads of this thread whose completion has not come yet.
    static READS_IN_FLIGHT: Cell<usize> = const { Cell::new(0) };
    /// Whether a read was put on this thread's ring since [`Submitting`] last looked.
    static READ_BEGUN: Cell<bool> = const { Cell::new(false) };
}

/// A TCP connection on a tokio-uring runtime.
pub(super) struct UringStream {
    // Registered at the first full socket; declared first, so that it is deregistered before the descriptor is closed.
    readiness: OnceCell<AsyncFd<RawFd>>,
    stream: TcpStream,
    sends: Sends,
    local: SocketAddr,
    peer: SocketAddr,
}

impl UringStream {
    pub(super) fn new(socket: OwnedFd, cold_sends: ColdSends) -> io::Result<UringStream> {
        let socket = std::net::TcpStream::from(socket);
        // One sendfile to a stalled peer would freeze the thread otherwise.
        socket.set_nonblocking(true)?;
        let (local, peer) = (socket.local_addr()?, socket.peer_addr()?);
        let stream = TcpStream::from_std(socket);
        Ok(UringStream { readiness: OnceCell::new(), stream, sends: Sends::new(cold_sends), local, peer })
    }

    fn readiness(&self) -> io::Result<&AsyncFd<RawFd>> {
        if let Some(readiness) = self.readiness.get() {
            return Ok(readiness);
        }
        // SAFETY: `stream` owns the descriptor and keeps it open; it is dropped after `readiness`, being declared after it.
        let readiness = unsafe { AsyncFd::register(self.stream.as_raw_fd()) }?;
        Ok(self.readiness.get_or_init(|| readiness))
    }

    /// Takes what has arrived, without waiting.
    fn try_recv(&self, buffer: &mut BytesMut, length_max: usize) -> io::Result<usize> {
        let spare = &mut buffer.spare_capacity_mut()[..length_max];
        let (_, count) = rustix::net::recv(self.fd(), spare, RecvFlags::DONTWAIT)?;
        // SAFETY: the kernel has just written `count` bytes, at most `length_max`, behind the buffer's length, and
        // `spare_capacity_mut` bounds them by the capacity.
        unsafe { buffer.set_len(buffer.len() + count) };
        Ok(count)
    }

    /// Waits on the ring. The kernel owns the buffer until the completion.
    async fn read_on_ring(&self, buffer: BytesMut, length_max: usize) -> (io::Result<usize>, BytesMut) {
        let start = buffer.len();
        READS_IN_FLIGHT.with(|reads| reads.set(reads.get() + 1));
        READ_BEGUN.set(true);
        let (result, slice) = self.stream.read(buffer.slice(start..start + length_max)).await;
        READS_IN_FLIGHT.with(|reads| reads.set(reads.get() - 1));
        (result, slice.into_inner())
    }
}

/// Runs `main` on a tokio-uring runtime.
pub(super) fn run<F: Future>(entries: u32, main: impl FnOnce() -> F) -> io::Result<F::Output> {
    let runtime = ManuallyDrop::new(runtime(entries)?);
    let output = runtime.block_on(async {
        let (mut main, mut submitting) = (pin!(main()), Submitting::new(entries));
        // Polled once in every round of the runtime, whoever it was that was woken.
        poll_fn(|context| {
            submitting.round();
            main.as_mut().poll(context)
        })
        .await
    });
    let reads_in_flight = READS_IN_FLIGHT.get();
    if reads_in_flight == 0 {
        drop(ManuallyDrop::into_inner(runtime));
    } else {
        // Its memory is lost, which is harmless; the kernel writing into freed memory would not be.
        tracing::error!(reads_in_flight, "connections were left open; their runtime is not freed");
    }
    Ok(output)
}

/// Makes a runtime and drops it.
pub(super) fn probe(entries: u32) -> io::Result<()> {
    runtime(entries).map(drop)
}

fn runtime(entries: u32) -> io::Result<tokio_uring::Runtime> {
    let mut ring = tokio_uring::uring_builder();
    // Completions are run when the thread enters the kernel anyway, and not by interrupting it: a third more requests.
    ring.setup_coop_taskrun();
    ring.setup_cqsize(COMPLETIONS);
    tokio_uring::Runtime::new(tokio_uring::builder().entries(entries).uring_builder(&ring))
}

/// Sees to it that reads reach the kernel while the runtime is too busy to park.
struct Submitting {
    runtime: tokio::runtime::RuntimeMetrics,
    parked: u64,
    entries: u32,
}

impl Submitting {
    fn new(entries: u32) -> Submitting {
        Submitting { runtime: tokio::runtime::Handle::current().metrics(), parked: 0, entries }
    }

    /// A round of the runtime begins. If none of those since reads were begun has parked, they still lie in the submission queue.
    fn round(&mut self) {
        let parked = self.runtime.worker_park_count(0);
        let has_parked = std::mem::replace(&mut self.parked, parked) != parked;
        if READ_BEGUN.replace(false) && !has_parked {
            // The crate hands over a full queue before it puts one more on it, and has no other way to ask for that.
            for _ in 0..=self.entries {
                let mut nothing = pin!(tokio_uring::no_op());
                let _ = nothing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
        }
    }
}

impl SendSocket for UringStream {
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `stream` owns the descriptor and closes it only when it is dropped, and the borrow is bound to `self`.
        unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) }
    }

    async fn when_writable<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        self.readiness()?.async_io(Interest::WRITABLE, |_| attempt()).await
    }
}

impl Stream for UringStream {
    async fn read(&self, mut buffer: BytesMut, length_max: usize) -> (io::Result<usize>, BytesMut) {
        loop {
            match self.try_recv(&mut buffer, length_max) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => {
                    // Bytes may come as fast as they are taken: the other connections of this core want their turn.
                    tokio::task::coop::consume_budget().await;
                    return (result, buffer);
                }
            }
            let result;
            (result, buffer) = self.read_on_ring(buffer, length_max).await;
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Kernels before 6 do not let a ring read wait on a non-blocking socket.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = match self.readiness() {
                        Ok(readiness) => readiness.readable().await.map(|mut ready| ready.clear_ready()),
                        Err(error) => Err(error),
                    };
                    if let Err(error) = waited {
                        return (Err(error), buffer);
                    }
                }
                result => return (result, buffer),
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
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Read);
    }

    fn shutdown(&self) {
        // As above.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Both);
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}

#[cfg(test)]
mod tests {
    //! A test for each trap of tokio-uring. Those that any stream could have (reads append, reads and writes at once, sends
    //! that stop when they are dropped, ends that are seen) stand in the conformance suite.

    use std::io::{Read, Write};
    use std::time::{Duration, Instant};

    use tokio::task::spawn_local;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::transport::conformance::{TestFile, pattern, sockets};
    use crate::transport::{AcceptLimits, IoKind, Listener};

    /// False, and said so, where there is no io_uring.
    fn available() -> bool {
        probe(8).inspect_err(|error| eprintln!("skipped: io_uring is refused here: {error}")).is_ok()
    }

    /// A stream on the ring and an ordinary socket at its other end.
    fn stream_and_peer() -> (UringStream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        (UringStream::new(accepted.into(), ColdSends::start(1).unwrap()).unwrap(), peer)
    }

    /// The trap: a read that is dropped goes on in the kernel and swallows the next bytes, into memory that the runtime
    /// would free. Nothing in this crate drops one; if it happens, the runtime's memory must stay.
    #[test]
    fn a_runtime_with_an_abandoned_read_is_not_freed() {
        if !available() {
            return;
        }
        std::thread::spawn(|| {
            let mut peer = run(8, || async {
                let (stream, peer) = stream_and_peer();
                let read = stream.read(BytesMut::with_capacity(512), 512);
                assert!(timeout(Duration::from_millis(20), read).await.is_err());
                peer
            })
            .unwrap();
            assert_eq!(READS_IN_FLIGHT.get(), 1);
            // The kernel writes this into the buffer, which is still there.
            peer.write_all(&[7; 100]).unwrap();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_runtime_whose_reads_have_ended_is_freed() {
        if !available() {
            return;
        }
        run(8, || async {
            let (stream, mut peer) = stream_and_peer();
            let stream = std::rc::Rc::new(stream);
            let reader = std::rc::Rc::clone(&stream);
            let read = spawn_local(async move { reader.read(BytesMut::with_capacity(512), 512).await.0 });
            sleep(Duration::from_millis(10)).await;
            assert_eq!(READS_IN_FLIGHT.get(), 1);
            stream.shutdown();
            assert_eq!(read.await.unwrap().unwrap(), 0);
            drop(stream);
            // The descriptor is closed, not held open by an operation: the peer sees the end.
            assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        })
        .unwrap();
        assert_eq!(READS_IN_FLIGHT.get(), 0);
    }

    #[test]
    fn an_accepted_descriptor_is_handed_to_another_core_and_the_port_is_ours_alone() {
        if !available() {
            return;
        }
        let listener = Listener::bind("127.0.0.1:0", AcceptLimits::NONE).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(Listener::bind(address, AcceptLimits::NONE).unwrap_err().kind(), io::ErrorKind::AddrInUse);

        let (hand_over, mut handed_over) = tokio::sync::mpsc::unbounded_channel();
        let core = std::thread::spawn(move || {
            run(8, || async move {
                let accepted: crate::transport::Accepted = handed_over.recv().await.unwrap();
                let stream = UringStream::new(accepted.socket, ColdSends::start(1).unwrap()).unwrap();
                let (result, buffer) = stream.read(BytesMut::with_capacity(512), 512).await;
                result.unwrap();
                stream.send(&mut vec![Piece::Bytes(buffer.freeze())]).await.unwrap();
            })
            .unwrap();
        });
        let client = std::thread::spawn(move || {
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(b"echo").unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).unwrap();
            back
        });
        run(8, || async {
            let accepting = listener.accept(|accepted| drop(hand_over.send(accepted)));
            let done = async {
                while !client.is_finished() {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                biased;
                error = accepting => error.unwrap(),
                () = done => {}
            }
        })
        .unwrap();
        assert_eq!(client.join().unwrap(), b"echo");
        core.join().unwrap();
    }

    #[test]
    fn a_sendfile_to_a_stalled_peer_does_not_freeze_the_thread() {
        if !available() {
            return;
        }
        run(8, || async {
            // The accepted socket is a blocking one here.
            let (stream, _stalled) = stream_and_peer();
            let file = TestFile::new(&pattern(24 << 20), Some(true));
            let mut pieces = vec![file.piece(0, 24 << 20)];
            let mut slowest = Duration::ZERO;
            let ticking = async {
                for _ in 0..50 {
                    let before = Instant::now();
                    sleep(Duration::from_millis(2)).await;
                    slowest = slowest.max(before.elapsed());
                }
            };
            tokio::select! {
                biased;
                sent = stream.send(&mut pieces) => panic!("nobody reads: {sent:?}"),
                () = ticking => {}
            }
            assert!(slowest < Duration::from_millis(300), "{slowest:?}");
        })
        .unwrap();
    }

    /// The trap: a task that steps back again and again kept every read of its core from the kernel.
    #[test]
    fn reads_go_on_beside_a_task_that_only_steps_back() {
        if !available() {
            return;
        }
        run(8, || async {
            spawn_local(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            let (stream, mut peer) = stream_and_peer();
            let reader = spawn_local(async move { stream.read(BytesMut::with_capacity(512), 512).await.0 });
            sleep(Duration::from_millis(5)).await;
            peer.write_all(b"hello").unwrap();
            // Seconds, where the others gave way in microseconds.
            let read = timeout(Duration::from_secs(5), reader).await;
            assert_eq!(read.expect("the read reaches the kernel").unwrap().unwrap(), 5);
        })
        .unwrap();
    }

    #[test]
    fn tokio_tasks_timers_and_channels_work_inside() {
        if !available() {
            return;
        }
        run(8, || async {
            let (tell, told) = tokio::sync::oneshot::channel();
            spawn_local(async move {
                sleep(Duration::from_millis(1)).await;
                tell.send(5).unwrap();
            });
            assert_eq!(told.await.unwrap(), 5);
            // Many reads wait at once, more than the ring has entries.
            let pairs: Vec<_> = (0..50).map(|_| sockets(IoKind::Uring)).collect();
            let (ends, others): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let reads: Vec<_> = ends
                .into_iter()
                .map(|end| spawn_local(async move { end.read(BytesMut::with_capacity(512), 512).await.0.unwrap() }))
                .collect();
            sleep(Duration::from_millis(5)).await;
            for other in &others {
                other.send(&mut vec![Piece::Bytes("hello".into())]).await.unwrap();
            }
            for read in reads {
                assert_eq!(read.await.unwrap(), 5);
            }
        })
        .unwrap();
    }
}
