//! A file system in a file, mounted over a loop device: made, mounted, cut off from its device, unmounted.
//!
//! It knows no broker. The loop device is bound to its mount (`mount -o loop` asks the kernel to release it with the last user), and
//! the mount to the private namespace (`../namespace.rs`), so nothing is left behind whoever is killed.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};

use super::shutdown::{Shutdown, shut_down};
use crate::report::Failure;

/// How long a killed broker's last calls may keep a mount busy.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);
const UNMOUNT_RETRY: Duration = Duration::from_millis(2);

/// Which file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    /// As `mkfs` and `mount` call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        }
    }

    /// What differs from one file system to the next: ways of journaling that people run. All promise that what was synced stays.
    const fn mount_options(self) -> &'static [&'static str] {
        match self {
            Kind::Ext4 => &["defaults", "nodelalloc", "data=journal", "commit=1,journal_checksum", "dioread_lock"],
            Kind::Xfs => &["defaults", "logbsize=256k", "noalign,logbufs=2"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a file system could not be made, mounted or left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileSystemError {
    /// A program said no.
    #[error("{program}: {said}")]
    Program { program: String, said: String },
    /// The kernel said no.
    #[error("{what}")]
    Io {
        what: &'static str,
        #[source]
        error: io::Error,
    },
}

impl From<FileSystemError> for Failure {
    fn from(error: FileSystemError) -> Failure {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Failure::NotPossible(format!("{error}{cause}"))
    }
}

impl FileSystemError {
    fn io(what: &'static str) -> impl FnOnce(io::Error) -> FileSystemError {
        move |error| FileSystemError::Io { what, error }
    }
}

/// A file system in an image. Dropping it unmounts it, whatever still uses it.
#[derive(Debug)]
pub(crate) struct FileSystem {
    kind: Kind,
    image: PathBuf,
    mount_point: PathBuf,
    options: &'static str,
    mounted: bool,
}

impl FileSystem {
    /// Makes a fresh one in `image`, which must exist with its full length, to be mounted at `mount_point`. `variant` chooses among
    /// the ways of mounting.
    ///
    /// # Errors
    /// What `mkfs` said.
    pub(crate) fn make(
        kind: Kind,
        image: &Path,
        mount_point: &Path,
        variant: usize,
    ) -> Result<FileSystem, FileSystemError> {
        let mut mkfs = Command::new(format!("mkfs.{kind}"));
        match kind {
            // Without the lazy initialisation a thread of the kernel would go on writing tables for the first minutes.
            Kind::Ext4 => mkfs.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]),
            Kind::Xfs => mkfs.args(["-q", "-f", "-K"]),
        };
        run(mkfs.arg(image))?;
        fs::create_dir_all(mount_point).map_err(FileSystemError::io("making the mount point"))?;
        let options = kind.mount_options();
        Ok(FileSystem {
            kind,
            image: image.to_owned(),
            mount_point: mount_point.to_owned(),
            options: options[variant % options.len()],
            mounted: false,
        })
    }

    /// Mounts it; after a cut this is where the journal is replayed.
    ///
    /// # Errors
    /// What `mount` said: of a sound disk none is expected.
    pub(crate) fn mount(&mut self) -> Result<(), FileSystemError> {
        assert!(!self.mounted, "{self:?}");
        let options = format!("loop,noatime,{}", self.options);
        run(Command::new("mount")
            .args(["-t", self.kind.name(), "-o", &options])
            .arg(&self.image)
            .arg(&self.mount_point))?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts it off from its device: what was not written out is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn shut_down(&self, how: Shutdown) -> Result<(), FileSystemError> {
        shut_down(&self.mount_point, how).map_err(FileSystemError::io("shutting the file system down"))
    }

    /// Unmounts it and waits until the kernel has let go of it.
    ///
    /// # Errors
    /// When something keeps it busy for too long.
    pub(crate) fn unmount(&mut self) -> Result<(), FileSystemError> {
        let deadline = Instant::now() + UNMOUNT_PATIENCE;
        loop {
            match unmount(&self.mount_point, UnmountFlags::empty()) {
                Ok(()) => break,
                // io_uring's workers may hold files for a moment after their process is gone.
                Err(rustix::io::Errno::BUSY) if Instant::now() < deadline => thread::sleep(UNMOUNT_RETRY),
                Err(error) => return Err(FileSystemError::io("unmounting")(error.into())),
            }
        }
        self.mounted = false;
        Ok(())
    }

    pub(crate) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The way of mounting, to be shown.
    pub(crate) fn options(&self) -> &'static str {
        self.options
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        if self.mounted {
            // The last resort: it goes when its last user goes.
            let _ = unmount(&self.mount_point, UnmountFlags::DETACH);
        }
    }
}

/// Makes a sparse file of this length.
///
/// # Errors
/// The kernel's.
pub(crate) fn make_image(path: &Path, bytes: u64) -> Result<(), FileSystemError> {
    let file = File::create(path).map_err(FileSystemError::io("creating the image"))?;
    file.set_len(bytes).map_err(FileSystemError::io("sizing the image"))
}

fn run(command: &mut Command) -> Result<(), FileSystemError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| FileSystemError::Program { program: program.clone(), said: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}, {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Err(FileSystemError::Program { program, said })
}
