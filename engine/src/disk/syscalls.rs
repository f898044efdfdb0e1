//! The two system calls that rustix does not wrap: `sync_file_range(2)` and `cachestat(2)`.
//!
//! Nothing else lives here, so that `unsafe` stays in as few lines as can be. Called by the plain calls and by the probe.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `cachestat(2)` has the same number on every architecture that Linux 6.5 and later knows.
const SYS_CACHESTAT: libc::c_long = 451;

/// The kernel's `struct cachestat_range`.
#[repr(C)]
struct CachestatRange {
    offset: u64,
    length: u64,
}

/// What the page cache holds of a range: the kernel's `struct cachestat`, in pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cachestat {
    pub(super) cached_pages: u64,
    pub(super) dirty_pages: u64,
    pub(super) writeback_pages: u64,
    pub(super) evicted_pages: u64,
    pub(super) recently_evicted_pages: u64,
}

/// Counts the pages of a range that are in the page cache. `length` must not be 0, which would mean "to the end".
///
/// # Errors
/// ENOSYS or EPERM where the kernel is older than 6.5 or a filter forbids the call; EOPNOTSUPP for some file systems.
pub(super) fn cachestat(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<Cachestat> {
    debug_assert!(length > 0, "a length of 0 would count to the end of the file");
    let range = CachestatRange { offset, length };
    let mut counted = Cachestat::default();
    let range_pointer: *const CachestatRange = &raw const range;
    let counted_pointer: *mut Cachestat = &raw mut counted;
    // SAFETY: both pointers are to live, properly laid out structs of this frame, which the kernel reads and writes only
    // during the call; the descriptor is borrowed, so it is open.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range_pointer, counted_pointer, 0 as libc::c_uint) };
    if result == 0 { Ok(counted) } else { Err(io::Error::last_os_error()) }
}

/// Starts writeback of a range's dirty pages and does not wait for it.
///
/// # Errors
/// What the system says. Success makes nothing durable.
pub(super) fn start_writeback(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let length = i64::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the call takes no pointer, and the descriptor is borrowed, so it is open.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
