//! What this kernel, and whatever confines this process, offers; and for what it refuses, the cause and the fix in words.
//!
//! A refused system call says ENOSYS or EPERM depending on the sandbox, so both mean absent. Called by the ring when it is made,
//! by [`open`](super::open) and by whoever wants to show the findings.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use io_uring::{IoUring, Probe, opcode};

use super::{UringDisk, UringOptions, syscalls};

/// Why there is no ring, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("io_uring is not available: {cause}. To mend it: {fix}.")]
pub struct Unavailable {
    /// What was refused, and why as far as it can be told.
    pub cause: String,
    /// What the operator can do.
    pub fix: String,
}

/// The kernel's version, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

/// The oldest kernel with `DEFER_TASKRUN`, without which a ring beside a runtime is no gain.
const RING_SINCE: KernelVersion = KernelVersion { major: 6, minor: 1 };

impl fmt::Display for KernelVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl KernelVersion {
    /// Of the running kernel; 0.0 if it tells something that is no version.
    #[must_use]
    pub fn running() -> KernelVersion {
        KernelVersion::parse(&rustix::system::uname().release().to_string_lossy())
    }

    fn parse(release: &str) -> KernelVersion {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        KernelVersion { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }
}

/// What the storage engine can use on this machine.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The running kernel.
    pub kernel: KernelVersion,
    /// Whether a ring could be made and answered, else why not.
    pub ring: Result<(), Unavailable>,
    /// Whether `cachestat(2)` tells what is in the page cache; without it `preadv2(RWF_NOWAIT)` guesses.
    pub cachestat: bool,
    /// The limit for locked memory in bytes; `None` is unlimited. Kernels before 5.12 count rings against it.
    pub memlock_bytes: Option<u64>,
}

/// Tries everything out. Takes about a millisecond.
#[must_use]
pub fn findings() -> Findings {
    Findings {
        kernel: KernelVersion::running(),
        ring: UringDisk::new(UringOptions::default()).map(drop),
        cachestat: offers_cachestat(),
        memlock_bytes: rustix::process::getrlimit(rustix::process::Resource::Memlock).current,
    }
}

fn offers_cachestat() -> bool {
    let Ok(file) = rustix::fs::memfd_create("probe", rustix::fs::MemfdFlags::CLOEXEC) else { return false };
    syscalls::cachestat(file.as_fd(), 0, 1).is_ok()
}

/// Which optional operations a ring has.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingOperations {
    /// `ftruncate`, since 6.9.
    pub(super) sets_lengths: bool,
}

/// Checks that the ring knows every operation the disk submits.
pub(super) fn ring_operations(ring: &IoUring) -> Result<RingOperations, Unavailable> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| register_refused("a probe", &error))?;
    let needed = [
        ("read", opcode::Read::CODE),
        ("writev", opcode::Writev::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("sync_file_range", opcode::SyncFileRange::CODE),
        ("fallocate", opcode::Fallocate::CODE),
        ("openat", opcode::OpenAt::CODE),
        ("renameat", opcode::RenameAt::CODE),
        ("unlinkat", opcode::UnlinkAt::CODE),
        ("mkdirat", opcode::MkDirAt::CODE),
    ];
    let missing: Vec<&str> =
        needed.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(RingOperations { sets_lengths: probe.is_supported(opcode::Ftruncate::CODE) });
    }
    Err(Unavailable {
        cause: format!("the ring of kernel {} lacks {}", KernelVersion::running(), missing.join(", ")),
        fix: format!("run a kernel from {RING_SINCE}, or use --io posix"),
    })
}

/// Explains why `io_uring_setup(2)` failed.
pub(super) fn setup_refused(error: &io::Error) -> Unavailable {
    let kernel = KernelVersion::running();
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    explain_setup(error, kernel, disabled.as_deref().map(str::trim))
}

/// `disabled` is the content of `kernel.io_uring_disabled`, which exists since 6.6.
fn explain_setup(error: &io::Error, kernel: KernelVersion, disabled: Option<&str>) -> Unavailable {
    let (cause, fix) = match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) if matches!(disabled, Some("1" | "2")) => (
            format!("the setting kernel.io_uring_disabled is {}", disabled.unwrap_or_default()),
            "sysctl kernel.io_uring_disabled=0, or with 1 add this user's group to kernel.io_uring_group".to_owned(),
        ),
        Some(libc::EPERM | libc::ENOSYS | libc::EACCES) if kernel >= RING_SINCE => (
            format!("io_uring_setup is forbidden ({error}), most likely by a container's seccomp profile"),
            "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile \
             (docker: --security-opt seccomp=FILE), or use --io posix"
                .to_owned(),
        ),
        Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) if kernel < RING_SINCE => (
            format!("kernel {kernel} is older than {RING_SINCE} ({error})"),
            format!("run a kernel from {RING_SINCE}, or use --io posix"),
        ),
        Some(libc::ENOMEM) => (
            format!("there is no memory for a ring ({error}), most likely because of the limit for locked memory"),
            "raise it (ulimit -l, systemd: LimitMEMLOCK=infinity, docker: --ulimit memlock=-1)".to_owned(),
        ),
        Some(libc::EMFILE | libc::ENFILE) => (
            format!("there is no descriptor left for a ring ({error})"),
            "raise the limit for open files (ulimit -n, systemd: LimitNOFILE=1048576)".to_owned(),
        ),
        _ => (format!("io_uring_setup failed on kernel {kernel} ({error})"), "use --io posix".to_owned()),
    };
    Unavailable { cause, fix }
}

/// Explains why a ring that could be made does not serve.
pub(super) fn register_refused(what: &str, error: &io::Error) -> Unavailable {
    Unavailable {
        cause: format!("a ring was made on kernel {}, but it refuses {what} ({error})", KernelVersion::running()),
        fix: "allow io_uring_enter and io_uring_register if something filters system calls, or use --io posix"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_parsed() {
        assert_eq!(KernelVersion::parse("6.18.44-fc-v669"), KernelVersion { major: 6, minor: 18 });
        assert_eq!(KernelVersion::parse("5.10"), KernelVersion { major: 5, minor: 10 });
        assert_eq!(KernelVersion::parse("odd"), KernelVersion { major: 0, minor: 0 });
        assert!(KernelVersion { major: 6, minor: 0 } < RING_SINCE);
        assert!(KernelVersion { major: 10, minor: 0 } > RING_SINCE);
    }

    #[test]
    fn findings_agree_with_what_a_disk_gets() {
        let found = findings();
        assert!(found.kernel > KernelVersion { major: 4, minor: 0 }, "{found:?}");
        let opened = crate::disk::open(crate::disk::DiskChoice::Auto, UringOptions::default(), 1).unwrap();
        assert_eq!(found.ring.err(), opened.warning);
    }

    #[test]
    fn refusals_name_cause_and_fix() {
        let new = KernelVersion { major: 6, minor: 8 };
        let old = KernelVersion { major: 5, minor: 10 };
        let cases = [
            (libc::EPERM, new, Some("2"), "io_uring_disabled is 2", "sysctl"),
            (libc::EPERM, new, Some("0"), "seccomp", "seccomp"),
            (libc::ENOSYS, new, None, "seccomp", "seccomp"),
            (libc::EINVAL, old, None, "kernel 5.10 is older than 6.1", "run a kernel"),
            (libc::ENOMEM, new, Some("0"), "locked memory", "memlock"),
            (libc::EMFILE, new, Some("0"), "descriptor", "LimitNOFILE"),
        ];
        for (errno, kernel, disabled, cause, fix) in cases {
            let refused = explain_setup(&io::Error::from_raw_os_error(errno), kernel, disabled);
            assert!(refused.cause.contains(cause) && refused.fix.contains(fix), "{errno}: {refused}");
        }
    }
}
