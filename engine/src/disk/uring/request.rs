//! An operation as the ring's in-flight table holds it: everything the kernel may touch, and the entries that describe it.
//!
//! A request is built once, its memory stays where it is (buffers, slices and paths are on the heap) until the last of its
//! completions has arrived, and only then [`Request::finish`] takes it apart. It talks to no ring.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use bytes::BytesMut;
use io_uring::{opcode, squeue, types};

use crate::disk::{DiskFile, Done, Op, OpenHow, calls};

/// One write never takes more entries than this: 16 MiB. A longer one completes short, as any write may, and is resumed by its
/// caller, so that a single operation cannot take the whole ring.
pub(super) const PIECES_PER_WRITE_MAX: usize = 64;

/// The longest read of one entry; longer ones complete short. The kernel's limit is just below 2 GiB.
const READ_BYTES_MAX: usize = 1 << 30;

#[derive(Debug)]
pub(super) enum Request {
    Open { path: CString, how: OpenHow },
    Read { file: DiskFile, position: u64, buffer: BytesMut },
    Write(Write),
    Sync { file: DiskFile, data_only: bool },
    StartWriteback { file: DiskFile, position: u64, length: u64 },
    Allocate { file: DiskFile, position: u64, length: u64 },
    SetLength { file: DiskFile, length: u64 },
    CreateDir { path: CString },
    Rename { from: CString, to: CString },
    Remove { path: CString, is_dir: bool },
}

/// A write, cut into pieces of at most [`calls::WRITE_PIECE_BYTES_MAX`], one entry each. io-wq runs the buffered writes of one
/// file one after the other, so the pieces cost no contention, and their order does not matter: what counts is how many bytes
/// are written from the start without a gap.
#[derive(Debug)]
pub(super) struct Write {
    file: DiskFile,
    buffers: Vec<BytesMut>,
    slices: Vec<libc::iovec>,
    pieces: Vec<Piece>,
}

/// One entry's part of a write: its slices, its place, its length.
#[derive(Clone, Copy, Debug)]
struct Piece {
    first_slice: usize,
    slice_count: u32,
    position: u64,
    bytes: usize,
}

impl Write {
    fn new(file: DiskFile, mut position: u64, buffers: Vec<BytesMut>) -> Write {
        let mut slices = Vec::new();
        let mut pieces = Vec::new();
        for piece in calls::pieces(position, &buffers).iter().take(PIECES_PER_WRITE_MAX) {
            let first_slice = slices.len();
            // The kernel only reads through these pointers, whatever the type says.
            slices.extend(
                piece
                    .iter()
                    .map(|slice| libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() }),
            );
            let bytes = piece.iter().map(|slice| slice.len()).sum();
            pieces.push(Piece { first_slice, slice_count: small(piece.len()), position, bytes });
            position += bytes as u64;
        }
        Write { file, buffers, slices, pieces }
    }

    /// The gapless count from the start. An error counts only if nothing precedes it, as with `pwritev(2)`: the caller resumes
    /// behind what was written and meets it again.
    fn finish(self, results: &[i32]) -> io::Result<Done> {
        let mut count = 0;
        for (piece, result) in self.pieces.iter().zip(results) {
            match check(*result) {
                Ok(written) => {
                    assert!(written <= piece.bytes, "wrote {written} of {} bytes", piece.bytes);
                    count += written;
                    if written < piece.bytes {
                        break;
                    }
                }
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(Done::Written { count, buffers: self.buffers })
    }
}

impl Request {
    /// The request for an operation, or the operation back if the ring has no opcode for it.
    ///
    /// Not on the ring: what only start-up, recovery and the scrub ask (directories, holes, reads past the cache, dropping of the
    /// cache), and what never waits for a device (the length of an open file, the space on a
    /// volume).
    pub(super) fn new(op: Op, ring_sets_lengths: bool) -> Result<Request, Op> {
        Ok(match op {
            Op::Open { path, how } if has_no_nul(&path) => Request::Open { path: c_path(path), how },
            Op::Read { file, position, length } if length > 0 => {
                Request::Read { file, position, buffer: BytesMut::zeroed(length.min(READ_BYTES_MAX)) }
            }
            Op::Write { file, position, buffers, .. } if buffers.iter().any(|buffer| !buffer.is_empty()) => {
                Request::Write(Write::new(file, position, buffers))
            }
            Op::SyncData { file } => Request::Sync { file, data_only: true },
            Op::SyncAll { file } => Request::Sync { file, data_only: false },
            Op::StartWriteback { file, position, length } => Request::StartWriteback { file, position, length },
            Op::Allocate { file, position, length } => Request::Allocate { file, position, length },
            Op::SetLength { file, length } if ring_sets_lengths => Request::SetLength { file, length },
            Op::CreateDir { path } if has_no_nul(&path) => Request::CreateDir { path: c_path(path) },
            Op::Rename { from, to } if has_no_nul(&from) && has_no_nul(&to) => {
                Request::Rename { from: c_path(from), to: c_path(to) }
            }
            Op::RemoveFile { path } if has_no_nul(&path) => Request::Remove { path: c_path(path), is_dir: false },
            Op::RemoveDir { path } if has_no_nul(&path) => Request::Remove { path: c_path(path), is_dir: true },
            other => return Err(other),
        })
    }

    /// How many entries, and so completions, it takes; never 0, never more than [`PIECES_PER_WRITE_MAX`].
    pub(super) fn entry_count(&self) -> usize {
        match self {
            Request::Write(write) => write.pieces.len(),
            _ => 1,
        }
    }

    /// Such a request is never tried again, whatever its error.
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Request::Sync { .. })
    }

    /// As [`Op::waits_for_device`].
    pub(super) fn waits_for_device(&self) -> bool {
        matches!(self, Request::Sync { .. } | Request::StartWriteback { .. })
    }

    /// Describes one entry to the kernel. Its pointers lead into `self`, which therefore has to outlive the completion.
    pub(super) fn entry(&mut self, index: usize) -> squeue::Entry {
        let here = types::Fd(libc::AT_FDCWD);
        match self {
            Request::Open { path, how } => opcode::OpenAt::new(here, path.as_ptr())
                .flags(calls::open_flags(*how).bits().cast_signed())
                .mode(calls::FILE_MODE)
                .build(),
            Request::Read { file, position, buffer } => {
                opcode::Read::new(fd(file), buffer.as_mut_ptr(), small(buffer.len())).offset(*position).build()
            }
            Request::Write(write) => {
                let piece = write.pieces[index];
                let slices = write.slices[piece.first_slice..].as_ptr();
                opcode::Writev::new(fd(&write.file), slices, piece.slice_count).offset(piece.position).build()
            }
            Request::Sync { file, data_only } => {
                let flags = if *data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
                opcode::Fsync::new(fd(file)).flags(flags).build()
            }
            Request::StartWriteback { file, position, length } => {
                // The field has 32 bits. Longer ranges are given as 0, which means "to the end": more than was asked, which
                // does no harm.
                let length = u32::try_from(*length).unwrap_or(0);
                opcode::SyncFileRange::new(fd(file), length)
                    .offset(*position)
                    .flags(libc::SYNC_FILE_RANGE_WRITE)
                    .build()
            }
            Request::Allocate { file, position, length } => {
                opcode::Fallocate::new(fd(file), *length).offset(*position).build()
            }
            Request::SetLength { file, length } => opcode::Ftruncate::new(fd(file), *length).build(),
            Request::CreateDir { path } => opcode::MkDirAt::new(here, path.as_ptr()).mode(calls::DIR_MODE).build(),
            Request::Rename { from, to } => opcode::RenameAt::new(here, from.as_ptr(), here, to.as_ptr()).build(),
            Request::Remove { path, is_dir } => {
                let flags = if *is_dir { libc::AT_REMOVEDIR } else { 0 };
                opcode::UnlinkAt::new(here, path.as_ptr()).flags(flags).build()
            }
        }
    }

    /// Turns the kernel's results, one per entry, into the operation's. `adopt` makes the owner of a descriptor just opened.
    pub(super) fn finish(self, results: &[i32], adopt: impl FnOnce(i32) -> OwnedFd) -> io::Result<Done> {
        match self {
            Request::Write(write) => write.finish(results),
            Request::Open { .. } => {
                check(results[0])?;
                Ok(Done::File(DiskFile::new(adopt(results[0]))))
            }
            Request::Read { mut buffer, .. } => {
                buffer.truncate(check(results[0])?);
                Ok(Done::Bytes(buffer))
            }
            Request::Sync { file, .. } => {
                check(results[0])?;
                calls::believe_sync(file.as_fd())?;
                Ok(Done::Nothing)
            }
            _ => check(results[0]).map(|_| Done::Nothing),
        }
    }
}

/// A completion's result: a count, or an error number below zero.
fn check(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

fn fd(file: &DiskFile) -> types::Fd {
    types::Fd(file.as_fd().as_raw_fd())
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("pieces and reads are bounded far below 4 GiB")
}

fn has_no_nul(path: &std::path::Path) -> bool {
    !path.as_os_str().as_encoded_bytes().contains(&0)
}

fn c_path(path: PathBuf) -> CString {
    CString::new(path.into_os_string().into_vec()).expect("paths with a NUL went another way")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = calls::WRITE_PIECE_BYTES_MAX as u64;

    fn write_of(lengths: &[usize]) -> Write {
        let file = DiskFile::new(std::fs::File::open("/dev/null").unwrap().into());
        Write::new(file, START, lengths.iter().map(|length| BytesMut::zeroed(*length)).collect())
    }

    fn counted(write: Write, results: &[i32]) -> Result<usize, Option<i32>> {
        match write.finish(results) {
            Ok(Done::Written { count, .. }) => Ok(count),
            Ok(other) => panic!("a write completed with {other:?}"),
            Err(error) => Err(error.raw_os_error()),
        }
    }

    #[test]
    fn a_write_counts_up_to_its_first_gap() {
        let piece = calls::WRITE_PIECE_BYTES_MAX;
        let full = i32::try_from(piece).unwrap();
        let three = [3 * piece];
        assert_eq!(
            write_of(&three).pieces.iter().map(|piece| piece.position).collect::<Vec<_>>(),
            [START, START + piece as u64, START + 2 * piece as u64]
        );
        assert_eq!(counted(write_of(&three), &[full, full, full]), Ok(3 * piece));
        assert_eq!(counted(write_of(&three), &[full, 4096, full]), Ok(piece + 4096));
        assert_eq!(counted(write_of(&three), &[full, -libc::ENOSPC, full]), Ok(piece));
        assert_eq!(counted(write_of(&three), &[-libc::EIO, full, full]), Err(Some(libc::EIO)));
    }

    #[test]
    fn a_write_beyond_its_entries_completes_short() {
        let write = write_of(&[(PIECES_PER_WRITE_MAX + 1) * calls::WRITE_PIECE_BYTES_MAX]);
        assert_eq!(write.pieces.len(), PIECES_PER_WRITE_MAX);
    }
}
