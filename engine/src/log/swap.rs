//! Puts a compacted segment in the place of those that it was made of, so that a stop at any moment leaves the old ones or the new one.
//!
//! The new file is written under a name that means nothing, synced, and renamed to one that says which offsets it stands for:
//! `<first>.to-<end>.swap`. Once that name is durable the swap has happened, and whoever finds it completes it: the log when it has made it,
//! recovery when a stop came between. Bytes that were once served stay in their old file, whose name goes.

use std::io;
use std::path::{Path, PathBuf};

use ringmill_batch::Offset;

use crate::disk::Disk;
use crate::segment::file::{self, FileKind};
use crate::segment::rebuild;

/// Ends the name of a segment that is being made, and those of its indexes; a start removes them.
pub(super) const UNFINISHED_EXTENSION: &str = "cleaned.tmp";

/// Ends the name of one that is to take its place.
const SWAP_SUFFIX: &str = ".swap";

/// A compacted segment that has not got its last name yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Swap {
    /// Its first offset.
    pub(crate) base: Offset,
    /// The offset that follows it: segments that begin between the two are its old ones.
    pub(crate) end: Offset,
}

impl Swap {
    /// Where it lies until its name is right.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:020}.to-{:020}{SWAP_SUFFIX}", self.base.get(), self.end.get()))
    }

    /// Reads a name; `None` for any other file.
    pub(crate) fn parse(name: &str) -> Option<Swap> {
        let (base, end) = name.strip_suffix(SWAP_SUFFIX)?.split_once(".to-")?;
        let offset = |digits: &str| {
            let is_number = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
            Offset::new(digits.parse().ok().filter(|_| is_number)?)
        };
        let swap = Swap { base: offset(base)?, end: offset(end)? };
        (swap.base < swap.end).then_some(swap)
    }

    /// Whether `path` names one.
    pub(crate) fn is_path(path: &Path) -> bool {
        path.file_name().and_then(|name| name.to_str()).and_then(Swap::parse).is_some()
    }

    /// Whether a segment that begins at `base` is one of its old ones.
    pub(crate) fn replaces(&self, base: Offset) -> bool {
        (self.base..self.end).contains(&base)
    }
}

/// Where the segment that begins at `base` is made.
pub(super) fn unfinished_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.{UNFINISHED_EXTENSION}", base.get()))
}

/// Makes the swap happen: durable when this returns.
///
/// # Errors
/// The disk's. After a failed sync it is not known whether it has.
pub(super) async fn commit(disk: &dyn Disk, dir: &Path, swap: Swap) -> Result<(), NotCommitted> {
    let renamed = disk.rename(&unfinished_path(dir, swap.base), &swap.path(dir)).await;
    renamed.map_err(|error| NotCommitted { error, is_certain: true })?;
    disk.sync_dir(dir).await.map_err(|error| NotCommitted { error, is_certain: false })
}

/// A swap that failed.
pub(super) struct NotCommitted {
    pub(super) error: io::Error,
    /// It has not happened, and will not.
    pub(super) is_certain: bool,
}

/// Gives a committed segment its name and removes what it replaces. May be done again after a stop at any moment.
///
/// # Errors
/// The disk's; the swap is then still to be completed.
pub(super) async fn complete(disk: &dyn Disk, dir: &Path, swap: Swap) -> io::Result<()> {
    let entries = disk.list_dir(dir).await?;
    for (base, kind) in entries.iter().filter_map(|entry| file::parse(&entry.name)) {
        let is_derived = matches!(kind, FileKind::OffsetIndex | FileKind::TimeIndex);
        // The name of the first is taken over, so that at no moment is there none.
        let is_replaced = kind == FileKind::Log && base != swap.base;
        if swap.replaces(base) && (is_derived || is_replaced) {
            disk.remove_file(&file::path(dir, base, kind)).await?;
        }
    }
    // Before the name that says so is gone: a file system may keep the rename and lose the removals.
    disk.sync_dir(dir).await?;
    disk.rename(&swap.path(dir), &file::path(dir, swap.base, FileKind::Log)).await?;
    disk.sync_dir(dir).await
}

/// At a start: completes what a stop has cut off, and removes what was not finished. True if anything was.
///
/// # Errors
/// The disk's.
pub(super) async fn complete_all(disk: &dyn Disk, dir: &Path, names: &[&str]) -> io::Result<bool> {
    let mut is_changed = false;
    for &name in names {
        if let Some(swap) = Swap::parse(name) {
            tracing::info!(dir = %dir.display(), base = %swap.base, end = %swap.end, "a compacted segment gets its place");
            complete(disk, dir, swap).await?;
            is_changed = true;
        } else if is_unfinished(name) {
            disk.remove_file(&dir.join(name)).await?;
            is_changed = true;
        }
    }
    Ok(is_changed)
}

/// Whether a name is that of a segment in the making, or of an index that a pass or the keeper has not finished.
fn is_unfinished(name: &str) -> bool {
    let before = |extension| name.strip_suffix(extension).and_then(|name| name.strip_suffix('.'));
    let rebuilt = before(rebuild::TEMPORARY_EXTENSION).and_then(file::parse);
    before(UNFINISHED_EXTENSION).is_some() || matches!(rebuilt, Some((_, FileKind::OffsetIndex | FileKind::TimeIndex)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{SimOptions, Simulation};
    use crate::disk::{OpenHow, block_on};

    #[test]
    fn a_swap_that_has_happened_survives_a_power_cut() {
        let simulation = Simulation::new(1, SimOptions::default());
        let disk: std::rc::Rc<dyn Disk> = std::rc::Rc::new(simulation.disk());
        let dir = Path::new("/t-0");
        let swap = Swap { base: Offset::ZERO, end: Offset::new(9).unwrap() };
        block_on(&*disk, async {
            disk.create_dir(dir).await.unwrap();
            disk.sync_dir(Path::new("/")).await.unwrap();
            disk.open(&unfinished_path(dir, swap.base), OpenHow::CreateEmpty).await.unwrap();
            assert!(commit(&*disk, dir, swap).await.is_ok());
        });
        let names: Vec<PathBuf> = simulation.durable_names(dir).iter().map(|name| dir.join(name)).collect();
        assert_eq!(names, [swap.path(dir)], "readers have seen what it shows");
    }

    #[test]
    fn names_are_read_back_and_others_are_none() {
        let offset = |value| Offset::new(value).unwrap();
        let swap = Swap { base: offset(170_210), end: offset(200_000) };
        let path = swap.path(Path::new("t-0"));
        assert_eq!(path, Path::new("t-0/00000000000000170210.to-00000000000000200000.swap"));
        assert_eq!(Swap::parse(path.file_name().unwrap().to_str().unwrap()), Some(swap));
        assert!(swap.replaces(offset(170_210)) && swap.replaces(offset(199_999)) && !swap.replaces(offset(200_000)));
        for name in [
            "00000000000000170210.swap",
            "00000000000000170210.to-200000.swap",
            "00000000000000170210.to-00000000000000170210.swap",
            "00000000000000170210.log",
            "00000000000000170210.cleaned.tmp",
        ] {
            assert_eq!(Swap::parse(name), None, "{name}");
        }
    }
}
