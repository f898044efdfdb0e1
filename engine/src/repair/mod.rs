//! Offline repair: works out what mends the files of a stopped broker, and does it, for `ringmill log repair`.
//!
//! [`plan`] reads and changes nothing. [`Plan::apply`] keeps a copy of every file that it changes or removes, in a directory of its own
//! beside them, and does each step so that a stop at any moment leaves the old file or the new one: running it again goes on. What can be
//! kept is kept: everything that a checksum vouches for stays at its offset. What a start rebuilds by itself is rebuilt or taken away.
//! Whoever calls holds the data directory's lock. The metadata database is the broker's and is not touched.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ringmill_batch::Offset;

use crate::data_dir::Superblock;
use crate::disk::PosixDisk;
use crate::log::Identity;
use crate::verify::{Problem, Report, Surroundings, partitions};

mod apply;
mod hand;
mod partition;
mod root;
mod salvage;
mod window;

#[cfg(test)]
#[cfg(test)]
mod tests;

/// What the caller knows that the files to be mended may have lost.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Whose directory each partition's is, by the directory's name.
    pub identities: BTreeMap<String, Identity>,
    /// For a superblock that must be made anew; without it none is.
    pub superblock: Option<Superblock>,
}

/// What repair would do, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// Above everything that is changed; the copies go into a directory in it.
    root: PathBuf,
    /// What will be done.
    pub actions: Vec<Action>,
    /// What is wrong and cannot be mended here.
    pub left: Vec<Problem>,
}

/// One change of one file.
#[derive(Clone, Debug)]
pub struct Action {
    /// Which file.
    pub file: PathBuf,
    /// What happens to it.
    pub what: String,
    /// Where in it, and what is lost by it, if anything; in the order of their positions.
    pub findings: Vec<Finding>,
    step: Step,
}

/// A damaged place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it begins.
    pub position: u64,
    /// How many bytes of the old file it covers.
    pub bytes: u64,
    /// Whose records are lost.
    pub lost: Option<Range<Offset>>,
    /// What is done about it.
    pub what: String,
}

/// How an action is done.
#[derive(Clone, Debug)]
enum Step {
    /// Copy it and take it away.
    Remove,
    /// Copy it, if it is there, and put these bytes in its place.
    Replace(Vec<u8>),
    /// The same with a segment put together out of the old one.
    Rewrite(Vec<salvage::Piece>),
    /// Copy both indexes of this segment, and make them anew.
    Index(Offset),
    /// Make the directory.
    MakeDirectory,
}

/// What was done.
#[derive(Debug)]
pub struct Applied {
    /// Where the copies are.
    pub copies: PathBuf,
    /// Files in it.
    pub copied: u64,
}

/// Works out what mends a data directory, or one partition's directory.
///
/// # Errors
/// When `path` is neither, or cannot be read.
pub fn plan(path: &Path, known: &Known) -> io::Result<Plan> {
    let not_mended = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", path.display()));
    if !fs::metadata(path)?.is_dir() {
        return Err(not_mended("a file alone is not repaired; give its partition's directory or the data directory"));
    }
    // Names like `.` have no parent to be found by their text.
    let path = &fs::canonicalize(path)?;
    let disk = PosixDisk::new(1)?;
    let partitions = partitions(path)?;
    let is_one = partitions.iter().any(|(directory, _)| directory == path);
    let root = if is_one { path.parent().ok_or_else(|| not_mended("it has no directory above"))? } else { path };
    let mut found = Report::default();
    let surroundings = Surroundings::read(&disk, root, &mut found)?;
    let mut plan = Plan { root: root.to_owned(), ..Plan::default() };
    if !is_one {
        root::plan(found.problems, known, &mut plan);
    }
    let mut mending = root::Checkpoints::default();
    let mut directories: Vec<(PathBuf, _)> = partitions;
    if !is_one {
        root::add_missing_directories(&mut directories, root, known);
    }
    for (directory, segments) in directories {
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let facts = partition::Facts {
            disk: &disk,
            directory,
            identity: known.identities.get(&name).copied().or_else(|| root::sibling_identity(&disk, root, &name)),
            surroundings: &surroundings,
        };
        partition::plan(&facts, segments, &mut mending, &mut plan)?;
    }
    mending.plan(&disk, root, &mut plan)?;
    Ok(plan)
}

impl Plan {
    /// Whether there is nothing to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Does what was planned. The caller holds the data directory's lock.
    ///
    /// # Errors
    /// The first failure; what was done before it stays, and a new plan goes on from there.
    pub fn apply(&self) -> io::Result<Applied> {
        apply::apply(self, &hand::Hand::new())
    }

    fn add(&mut self, file: PathBuf, what: impl Into<String>, step: Step) {
        self.actions.push(Action { file, what: what.into(), findings: Vec::new(), step });
    }
}
