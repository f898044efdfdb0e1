//! Sends, the same for both kinds of sockets: non-blocking `send(2)` and `sendfile(2)`, in slices, with turns for others.
//!
//! A slice that is not in the page cache is sent by a helper thread. A full socket is waited for on the core, never on a
//! helper. This file knows neither frames nor requests; the streams call [`send_pieces`].

use std::cell::{Cell, OnceCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::ColdSends;
use crate::{FileRange, Piece};

/// Bytes given to one system call. Large enough that the call itself costs nothing (35 ms of CPU per GiB), small enough that
/// the other connections of the core wait some 40 µs.
const SLICE_BYTES: usize = 256 * 1024;

/// Bytes of a file after which the other tasks of the core get their turn, some 80 µs at the speed of loopback. A turn after each
/// slice cost a sixth more CPU than this.
const TURN_BYTES: usize = 2 * SLICE_BYTES;

/// Bytes given to a helper at once: a job costs two changes of thread.
const COLD_SLICE_BYTES: usize = 1024 * 1024;

/// Byte pieces given to one `sendmsg(2)`.
const SLICES_PER_CALL_MAX: usize = 32;

/// A non-blocking socket and the way to wait for it.
pub(super) trait SendSocket {
    /// The descriptor.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Calls `attempt` until it says something else than `WouldBlock`, and waits for writability in between.
    async fn when_writable<T>(&self, attempt: impl FnMut() -> io::Result<T>) -> io::Result<T>;
}

/// What a stream keeps for its sends.
pub(super) struct Sends {
    sent_bytes: Cell<u64>,
    cold_sends: ColdSends,
    // A second descriptor, made at the first cold send: a helper may outlive the stream by one job.
    for_helpers: OnceCell<Arc<OwnedFd>>,
}

impl Sends {
    pub(super) fn new(cold_sends: ColdSends) -> Sends {
        Sends { sent_bytes: Cell::new(0), cold_sends, for_helpers: OnceCell::new() }
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.get()
    }

    fn count(&self, bytes: usize) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes as u64);
    }

    fn descriptor_for_helpers(&self, socket: BorrowedFd<'_>) -> io::Result<Arc<OwnedFd>> {
        if let Some(descriptor) = self.for_helpers.get() {
            return Ok(Arc::clone(descriptor));
        }
        let descriptor = Arc::new(socket.try_clone_to_owned()?);
        Ok(Arc::clone(self.for_helpers.get_or_init(|| descriptor)))
    }
}

/// Sends all pieces and empties the vector.
pub(super) async fn send_pieces(socket: &impl SendSocket, sends: &Sends, pieces: &mut Vec<Piece>) -> io::Result<()> {
    let mut next = 0;
    while let Some(piece) = pieces.get(next) {
        match piece {
            Piece::Bytes(_) => {
                let run = pieces[next..].iter().take_while(|piece| matches!(piece, Piece::Bytes(_))).count();
                let run = run.min(SLICES_PER_CALL_MAX);
                let more_follows = next + run < pieces.len();
                send_bytes(socket, sends, &pieces[next..next + run], more_follows).await?;
                next += run;
            }
            Piece::File { file, position, length } => {
                send_file(socket, sends, file, *position, *length).await?;
                next += 1;
            }
        }
    }
    pieces.clear();
    Ok(())
}

/// Sends a run of byte pieces; the kernel holds the last packet back when more follows.
async fn send_bytes(socket: &impl SendSocket, sends: &Sends, run: &[Piece], more_follows: bool) -> io::Result<()> {
    let flags = if more_follows { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
    let total: usize = run.iter().map(|piece| as_bytes(piece).len()).sum();
    let mut sent = 0;
    while sent < total {
        if sent > 0 {
            tokio::task::yield_now().await;
        }
        let count = socket.when_writable(|| send_some(socket.fd(), run, sent, flags)).await?;
        sends.count(count);
        sent += count;
    }
    Ok(())
}

/// One system call over what remains after the first `skip` bytes of the run, at most a slice of it.
fn send_some(socket: BorrowedFd<'_>, run: &[Piece], mut skip: usize, flags: SendFlags) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_PER_CALL_MAX];
    let mut used = 0;
    let mut room = SLICE_BYTES;
    for piece in run {
        let bytes = as_bytes(piece);
        if skip >= bytes.len() {
            skip -= bytes.len();
            continue;
        }
        let bytes = &bytes[skip..];
        let bytes = &bytes[..bytes.len().min(room)];
        slices[used] = IoSlice::new(bytes);
        (skip, used, room) = (0, used + 1, room - bytes.len());
        if room == 0 {
            break;
        }
    }
    match &slices[..used] {
        [one] => retry_interrupted(|| rustix::net::send(socket, one, flags)),
        many => retry_interrupted(|| rustix::net::sendmsg(socket, many, &mut SendAncillaryBuffer::default(), flags)),
    }
}

fn as_bytes(piece: &Piece) -> &Bytes {
    match piece {
        Piece::Bytes(bytes) => bytes,
        Piece::File { .. } => unreachable!("a run holds byte pieces only"),
    }
}

/// Sends a range of a file. When the file does not give what was promised, it is told so, and this fails.
async fn send_file(
    socket: &impl SendSocket,
    sends: &Sends,
    file: &Arc<dyn FileRange>,
    mut position: u64,
    mut length: u64,
) -> io::Result<()> {
    let mut turn_bytes = 0;
    while length > 0 {
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let slice = wanted.min(SLICE_BYTES);
        let result = if file.is_cached(position, slice as u64) {
            socket.when_writable(|| send_file_slice(socket.fd(), file, position, slice)).await
        } else {
            send_cold_slice(socket, sends, file, position, wanted.min(COLD_SLICE_BYTES)).await
        };
        let count = sent_of_file(result, file, position, length)?;
        sends.count(count);
        position += count as u64;
        length -= count as u64;
        turn_bytes += count;
        if turn_bytes >= TURN_BYTES && length > 0 {
            turn_bytes = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn send_cold_slice(
    socket: &impl SendSocket,
    sends: &Sends,
    file: &Arc<dyn FileRange>,
    position: u64,
    length: usize,
) -> io::Result<usize> {
    let descriptor = sends.descriptor_for_helpers(socket.fd())?;
    loop {
        match sends.cold_sends.send(Arc::clone(&descriptor), file, position, length).await {
            // The helper met a full socket. Asking the kernel, inside the attempt, closes the gap in which the socket
            // became writable before this task began to wait for it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.when_writable(|| check_writable(socket.fd())).await?;
            }
            other => return other,
        }
    }
}

/// One `sendfile(2)`: on a core for cached slices, on a helper for cold ones.
pub(super) fn send_file_slice(
    socket: impl AsFd,
    file: &Arc<dyn FileRange>,
    position: u64,
    length: usize,
) -> io::Result<usize> {
    let mut offset = position;
    retry_interrupted(|| rustix::fs::sendfile(&socket, file, Some(&mut offset), length))
}

fn check_writable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [PollFd::new(&socket, PollFlags::OUT)];
    match retry_interrupted(|| rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

fn retry_interrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

/// How much of a range went out. Nothing means that the file ends too early; if the file failed, and not the peer, it is told.
pub(super) fn sent_of_file(
    result: io::Result<usize>,
    file: &Arc<dyn FileRange>,
    position: u64,
    length: u64,
) -> io::Result<usize> {
    match result {
        Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the range does")),
        other => other,
    }
    .inspect_err(|error| {
        if is_files_fault(error) {
            file.read_failed(position, length, error);
        }
    })
}

/// Whether the file or its disk failed, and not the peer or the network: a disk's errors and a file cut short.
fn is_files_fault(error: &io::Error) -> bool {
    // EUCLEAN and EBADMSG are what ext4 and xfs say about damage that they have found themselves.
    const DISK: [Errno; 6] = [Errno::IO, Errno::NODATA, Errno::UCLEAN, Errno::BADMSG, Errno::REMOTEIO, Errno::ILSEQ];
    error.kind() == io::ErrorKind::UnexpectedEof || Errno::from_io_error(error).is_some_and(|e| DISK.contains(&e))
}
