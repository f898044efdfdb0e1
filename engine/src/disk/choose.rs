//! Which disk a core gets: the ring where it is offered, else plain calls with one warning that says why.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::str::FromStr;

use super::{Disk, PosixDisk, Unavailable, UringDisk, UringOptions};

/// What was asked for: the values of `--io`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskChoice {
    /// The ring if it is offered, else plain calls.
    #[default]
    Auto,
    /// The ring, or an error.
    Uring,
    /// Plain calls.
    Posix,
}

/// What was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// [`UringDisk`].
    Uring,
    /// [`PosixDisk`].
    Posix,
}

impl fmt::Display for DiskKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DiskKind::Uring => "uring",
            DiskKind::Posix => "posix",
        })
    }
}

impl FromStr for DiskChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DiskChoice, String> {
        match text {
            "auto" => Ok(DiskChoice::Auto),
            "uring" => Ok(DiskChoice::Uring),
            "posix" => Ok(DiskChoice::Posix),
            _ => Err(format!("{text:?} is none of auto, uring, posix")),
        }
    }
}

impl fmt::Display for DiskChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DiskChoice::Auto => "auto",
            DiskChoice::Uring => "uring",
            DiskChoice::Posix => "posix",
        })
    }
}

/// A disk for the calling thread.
pub struct OpenedDisk {
    /// The disk itself.
    pub disk: Rc<dyn Disk>,
    /// What it is.
    pub kind: DiskKind,
    /// Why it is not the ring, if [`DiskChoice::Auto`] fell back.
    pub warning: Option<Unavailable>,
}

impl fmt::Debug for OpenedDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenedDisk")
            .field("kind", &self.kind)
            .field("warning", &self.warning)
            .finish_non_exhaustive()
    }
}

/// Why a core has no disk.
#[derive(Debug, thiserror::Error)]
pub enum NoDisk {
    /// The ring was demanded and is refused.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The pool of plain calls could not be started.
    #[error("the threads of the plain-call disk cannot be started: {0}")]
    Pool(#[from] io::Error),
}

/// Opens a disk for the calling thread. `posix_threads` is the size of the pool if plain calls are used.
///
/// # Errors
/// When the ring was demanded and is refused, or when threads are.
pub fn open(choice: DiskChoice, uring: UringOptions, posix_threads: usize) -> Result<OpenedDisk, NoDisk> {
    let posix = |warning| -> Result<OpenedDisk, NoDisk> {
        Ok(OpenedDisk { disk: Rc::new(PosixDisk::new(posix_threads)?), kind: DiskKind::Posix, warning })
    };
    if choice == DiskChoice::Posix {
        return posix(None);
    }
    match UringDisk::new(uring) {
        Ok(disk) => Ok(OpenedDisk { disk: Rc::new(disk), kind: DiskKind::Uring, warning: None }),
        Err(refused) if choice == DiskChoice::Auto => posix(Some(refused)),
        Err(refused) => Err(refused.into()),
    }
}
