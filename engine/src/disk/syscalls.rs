//! The system calls that rustix does not wrap: `sync_file_range(2)`, `cachestat(2)` and `getrusage(2)`.
//!
//! Nothing else lives here, so that `unsafe` stays in as few lines as can be. Called by the plain calls, by the ring's disk and by the probe.

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

/// How often the calling thread has gone to sleep so far, as it does to wait for a device or for memory. Only its changes mean anything.
pub(super) fn sleeps_of_thread() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a live `rusage` of this frame, which the kernel fills during the call; all of its fields are integers, so
    // that zeros, which stay where the call fails, are a value too.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_nvcsw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_seen_to_sleep() {
        let before = sleeps_of_thread();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(sleeps_of_thread() > before);
    }
}
