//! The power switch of a mounted file system: one ioctl after which nothing that lies in memory reaches the device any more.
//!
//! It knows no broker and no loop device. The rigs call it.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Setter, ioctl, opcode};

/// `FS_IOC_SHUTDOWN` (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`): 0x8004587d, in the kernel's `include/uapi/linux/fs.h`.
const FS_IOC_SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);

/// How a file system goes down; the values are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Shutdown {
    /// The whole file system is written out first, as by `freeze`.
    Frozen = 0,
    /// The journal is written out, dirty data is not.
    JournalFlushed = 1,
    /// Nothing is written out: what a power cut does.
    NothingFlushed = 2,
}

/// Shuts the file system down that is mounted at `mount_point`. All its calls fail with EIO from then on, until it is unmounted.
pub(crate) fn shut_down(mount_point: &Path, how: Shutdown) -> io::Result<()> {
    let root = File::open(mount_point)?;
    // SAFETY: the kernel reads one u32 behind this opcode, which is what the setter holds, for as long as the call lasts; on files
    // of other kinds the opcode is unknown and refused.
    unsafe { ioctl(&root, Setter::<FS_IOC_SHUTDOWN, u32>::new(how as u32)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_kernels() {
        assert_eq!(FS_IOC_SHUTDOWN, 0x8004_587d);
    }

    #[test]
    fn a_file_system_that_cannot_be_shut_down_says_so() {
        assert!(shut_down(Path::new("/proc"), Shutdown::NothingFlushed).is_err());
    }
}
