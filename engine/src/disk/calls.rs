//! Every operation as plain system calls on the calling thread.
//!
//! The pool of [`PosixDisk`](super::posix::PosixDisk) runs all of its operations here, and the ring those few that have no
//! opcode. Nothing here queues, retries a sync or knows a future.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::BytesMut;
use rustix::fs::{Advice, FallocateFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use super::{DirEntry, DiskFile, Done, FileInfo, Op, OpenHow, Residency, VolumeInfo, syscalls};

/// No single call copies more than this into the page cache, and none goes beyond a multiple of it in the file: the kernel takes a folio
/// as large as the place of a copy allows, and large folios cost less to write, to sync and to send. Against pieces of 128 KiB from
/// wherever a write begins: a fifth less CPU for a durable produce, a thirtieth less for a fetch. In a
/// virtual machine whose host has yet to back the memory larger copies cost more: these half as much again, of 1 MiB six times as much.
pub(super) const WRITE_PIECE_BYTES_MAX: usize = 256 * 1024;

/// At least so many bytes at a time leave early. With 1 MB in flight, durable: 596 MB/s without, 652 in portions of 128 KiB, 682 of 256.
const EARLY_BYTES: usize = WRITE_PIECE_BYTES_MAX;

/// The kernel's own limit for one vectored call (`UIO_MAXIOV`).
pub(super) const WRITE_PIECE_SLICES_MAX: usize = 1024;

/// What `O_DIRECT` wants of positions, lengths and memory on every device in use (512 would do for most).
const DIRECT_ALIGNMENT_BYTES: usize = 4096;

/// New files: read by the group, for tools; nothing for others, since logs tell secrets.
pub(super) const FILE_MODE: u32 = 0o640;
/// New directories, likewise.
pub(super) const DIR_MODE: u32 = 0o750;

/// Runs one operation to its end.
pub(super) fn perform(op: Op) -> io::Result<Done> {
    match op {
        Op::Open { path, how } => open(&path, how).map(Done::File),
        Op::Read { file, position, length } => read(&file, position, length).map(Done::Bytes),
        Op::ReadDirect { file, position, length } => read_direct(&file, position, length).map(Done::Bytes),
        Op::Write { file, position, buffers, send_early } => {
            let count = write(&file, position, &buffers, send_early)?;
            Ok(Done::Written { count, buffers })
        }
        // Not even after EINTR: a sync that failed in any way is never tried again.
        Op::SyncData { file } => rustix::fs::fdatasync(&file).and_then(|()| believe_sync(file.as_fd())).map(nothing),
        Op::SyncAll { file } => rustix::fs::fsync(&file).and_then(|()| believe_sync(file.as_fd())).map(nothing),
        Op::StartWriteback { file, position, length } => {
            return syscalls::start_writeback(file.as_fd(), position, length).map(nothing);
        }
        Op::Allocate { file, position, length } => {
            retry_on_intr(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), position, length)).map(nothing)
        }
        Op::SetLength { file, length } => retry_on_intr(|| rustix::fs::ftruncate(&file, length)).map(nothing),
        Op::DropCache { file, position, length } => {
            // A length of 0 means "to the end" to the kernel and "nothing" here.
            match std::num::NonZeroU64::new(length) {
                Some(length) => rustix::fs::fadvise(&file, position, Some(length), Advice::DontNeed).map(nothing),
                None => Ok(Done::Nothing),
            }
        }
        Op::NextData { file, position } => next_data(&file, position).map(Done::Position),
        Op::Info { file } => rustix::fs::fstat(&file).map(|stat| Done::Info(file_info(&stat))),
        Op::ListDir { path } => return list_dir(&path).map(Done::Entries),
        Op::Volume { path } => rustix::fs::statvfs(&path).map(|stat| Done::Volume(volume_info(&stat))),
        Op::CreateDir { path } => rustix::fs::mkdir(&path, Mode::from_raw_mode(DIR_MODE)).map(nothing),
        Op::Rename { from, to } => rustix::fs::rename(&from, &to).map(nothing),
        Op::RemoveFile { path } => rustix::fs::unlink(&path).map(nothing),
        Op::RemoveDir { path } => rustix::fs::rmdir(&path).map(nothing),
    }
    .map_err(io::Error::from)
}

/// Whether a sync that said 0 may be believed: not if the file system has given up on its device meanwhile.
///
/// When ext4 aborts its journal, or xfs shuts down, a sync that is under way or comes after it can still return 0 while its data is gone: the
/// change that would have made the new blocks part of the file is dropped without a word to the waiting sync (seen on kernel 6.18, with
/// failing disks and with `FS_IOC_SHUTDOWN`). xfs notices at once; ext4 when the next change of anything asks the journal, which after a
/// commit that failed alone took up to 30 ms: long enough for other syncs to be told 0. So the file is touched, twice: the first asks the
/// journal, and is told 0 even where that has refused; the second is refused by a file system that has noticed. (Opening the file is not
/// enough: reading goes on where ext4 has made itself read-only.) Only the time of access is set: it means nothing to us, and the next sync
/// of data need not write it. What is no sign of a dead file system, as a file of another owner, is let pass.
pub(super) fn believe_sync(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    for _ in 0..2 {
        let touched = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: omitted });
        if let Err(error @ (Errno::IO | Errno::ROFS | Errno::SHUTDOWN)) = touched {
            return Err(error);
        }
    }
    Ok(())
}

fn nothing((): ()) -> Done {
    Done::Nothing
}

/// The flags that `how` stands for, the same for `open(2)` and for the ring.
pub(super) fn open_flags(how: OpenHow) -> OFlags {
    OFlags::CLOEXEC
        | match how {
            OpenHow::Read => OFlags::RDONLY,
            OpenHow::ReadWrite => OFlags::RDWR,
            OpenHow::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            OpenHow::CreateEmpty => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
            OpenHow::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
        }
}

fn open(path: &Path, how: OpenHow) -> Result<DiskFile, Errno> {
    let descriptor = retry_on_intr(|| rustix::fs::open(path, open_flags(how), Mode::from_raw_mode(FILE_MODE)))?;
    Ok(DiskFile::new(descriptor))
}

/// Reads without waiting for the device; `WouldBlock` when nothing at `position` is cached.
pub(super) fn try_read(file: &DiskFile, position: u64, into: &mut [u8]) -> io::Result<usize> {
    if into.is_empty() {
        return Ok(0);
    }
    let mut slices = [io::IoSliceMut::new(into)];
    match rustix::io::preadv2(file, &mut slices, position, ReadWriteFlags::NOWAIT) {
        // File systems without this flag say EOPNOTSUPP, filters may say ENOSYS or EPERM: the caller goes through the disk.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
        other => other.map_err(io::Error::from),
    }
}

/// Whether every page of a range is cached. Where `cachestat(2)` is missing (before 6.5, or filtered) one byte at either end is
/// read without waiting: it can take a hole in the middle for cached, which costs a wait and nothing else.
pub(super) fn residency(file: &DiskFile, position: u64, length: u64) -> Residency {
    if length == 0 {
        return Residency::Cached;
    }
    let last = position.saturating_add(length - 1);
    let page_bytes = rustix::param::page_size() as u64;
    match syscalls::cachestat(file.as_fd(), position, length) {
        Ok(counted) if counted.cached_pages > last / page_bytes - position / page_bytes => Residency::Cached,
        Ok(_) => Residency::Cold,
        Err(_) => {
            let mut byte = [0];
            let cached = |at: u64, byte: &mut [u8]| matches!(try_read(file, at, byte), Ok(1));
            if cached(position, &mut byte) && cached(last, &mut byte) { Residency::Cached } else { Residency::Cold }
        }
    }
}

fn read(file: &DiskFile, position: u64, length: usize) -> Result<BytesMut, Errno> {
    let mut bytes = BytesMut::zeroed(length);
    let count = retry_on_intr(|| rustix::io::pread(file, &mut bytes[..], position))?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Reads through a second descriptor of the same file that has `O_DIRECT`. A file system without it (tmpfs) has nothing below
/// the page cache, so there a plain read is the same.
fn read_direct(file: &DiskFile, position: u64, length: usize) -> Result<BytesMut, Errno> {
    let own_path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let direct = match retry_on_intr(|| rustix::fs::open(own_path.as_str(), flags, Mode::empty())) {
        Ok(direct) => direct,
        Err(Errno::INVAL) => return read(file, position, length),
        Err(error) => return Err(error),
    };
    let alignment = DIRECT_ALIGNMENT_BYTES;
    let before = usize::try_from(position % alignment as u64).expect("a remainder of 4096 is small");
    let wanted = (before + length).next_multiple_of(alignment);
    let mut memory = BytesMut::zeroed(wanted + alignment);
    let _ = memory.split_to(memory.as_ptr().align_offset(alignment));
    memory.truncate(wanted);
    let mut filled = 0;
    while filled < wanted {
        let at = position - before as u64 + filled as u64;
        let count = retry_on_intr(|| rustix::io::pread(&direct, &mut memory[filled..], at))?;
        filled += count;
        // A count that is not aligned is the end of the file, and going on from it would be refused.
        if count == 0 || !count.is_multiple_of(alignment) {
            break;
        }
    }
    memory.truncate(filled.min(before + length));
    let _ = memory.split_to(before.min(memory.len()));
    Ok(memory)
}

/// Writes piece by piece; stops at the first piece that is short or fails, and reports an error only if nothing was written,
/// as `pwritev(2)` itself does.
fn write(file: &DiskFile, position: u64, buffers: &[BytesMut], send_early: bool) -> Result<usize, Errno> {
    let (mut total, mut sent) = (0, 0);
    for piece in pieces(position, buffers) {
        let wanted: usize = piece.iter().map(|slice| slice.len()).sum();
        match retry_on_intr(|| rustix::io::pwritev(file, &piece, position + total as u64)) {
            Ok(count) => {
                total += count;
                if count < wanted {
                    break;
                }
                if send_early && total - sent >= EARLY_BYTES {
                    // A hint: what becomes of these bytes, the sync tells.
                    let _ = syscalls::start_writeback(file.as_fd(), position + sent as u64, (total - sent) as u64);
                    sent = total;
                }
            }
            Err(error) if total == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(total)
}

/// Cuts buffers that go to `position` into vectored writes that end where the file reaches a multiple of [`WRITE_PIECE_BYTES_MAX`], or
/// after [`WRITE_PIECE_SLICES_MAX`] slices. Empty buffers vanish.
pub(super) fn pieces(position: u64, buffers: &[BytesMut]) -> Vec<Vec<IoSlice<'_>>> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let past_boundary = usize::try_from(position % WRITE_PIECE_BYTES_MAX as u64).expect("less than a piece is small");
    let mut to_boundary = WRITE_PIECE_BYTES_MAX - past_boundary;
    for buffer in buffers {
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            if to_boundary == 0 || piece.len() == WRITE_PIECE_SLICES_MAX {
                pieces.push(std::mem::take(&mut piece));
            }
            if to_boundary == 0 {
                to_boundary = WRITE_PIECE_BYTES_MAX;
            }
            let (now, later) = rest.split_at(rest.len().min(to_boundary));
            piece.push(IoSlice::new(now));
            to_boundary -= now.len();
            rest = later;
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

fn next_data(file: &DiskFile, position: u64) -> Result<Option<u64>, Errno> {
    match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

fn file_info(stat: &rustix::fs::Stat) -> FileInfo {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).expect("nanoseconds are below one billion");
    FileInfo {
        length: u64::try_from(stat.st_size).expect("the kernel knows no negative length"),
        modified_ms: stat.st_mtime.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000),
    }
}

fn volume_info(stat: &rustix::fs::StatVfs) -> VolumeInfo {
    VolumeInfo {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        usable_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    }
}

fn list_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        entries.push(DirEntry { name: readable(&entry.file_name()), is_dir: entry.file_type()?.is_dir() });
    }
    entries.sort();
    Ok(entries)
}

fn readable(name: &OsStr) -> String {
    String::from_utf8_lossy(name.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece_lengths(position: u64, buffers: &[usize]) -> Vec<Vec<usize>> {
        let buffers: Vec<BytesMut> = buffers.iter().map(|length| BytesMut::zeroed(*length)).collect();
        pieces(position, &buffers).iter().map(|piece| piece.iter().map(|slice| slice.len()).collect()).collect()
    }

    #[test]
    fn pieces_end_at_the_byte_limit_and_cut_through_buffers() {
        let max = WRITE_PIECE_BYTES_MAX;
        assert_eq!(piece_lengths(0, &[]), Vec::<Vec<usize>>::new());
        assert_eq!(piece_lengths(0, &[0, 5, 0]), vec![vec![5]]);
        assert_eq!(piece_lengths(0, &[max]), vec![vec![max]]);
        assert_eq!(piece_lengths(0, &[max - 1, 2, 7]), vec![vec![max - 1, 1], vec![1, 7]]);
        assert_eq!(piece_lengths(0, &[2 * max + 3]), vec![vec![max], vec![max], vec![3]]);
    }

    #[test]
    fn pieces_end_at_boundaries_of_the_file() {
        let max = WRITE_PIECE_BYTES_MAX;
        assert_eq!(piece_lengths(3 * max as u64, &[max + 1]), vec![vec![max], vec![1]]);
        assert_eq!(piece_lengths(max as u64 + 10, &[max, 20]), vec![vec![max - 10], vec![10, 20]]);
        assert_eq!(piece_lengths(max as u64 - 1, &[1, max]), vec![vec![1], vec![max]]);
    }

    #[test]
    fn a_sync_of_a_sound_file_system_is_believed_even_of_a_removed_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"x").unwrap();
        let file = file.into_file();
        believe_sync(file.as_fd()).unwrap();
        assert_eq!(believe_sync(std::fs::File::open("/tmp").unwrap().as_fd()), Ok(()));
    }

    #[test]
    fn pieces_end_at_the_slice_limit() {
        let lengths = piece_lengths(0, &[1; WRITE_PIECE_SLICES_MAX + 1]);
        assert_eq!(lengths.len(), 2);
        assert_eq!(lengths[0].len(), WRITE_PIECE_SLICES_MAX);
        assert_eq!(lengths[1].len(), 1);
    }
}
