//! How much room is left for the data directory, and what is kept back for the day when there is none.
//!
//! Two things guard against a full disk. The *mark*: below so many free bytes no record is taken any more, so that Ringmill itself
//! never eats the last of them. The *reserve*: a file of allocated bytes that nobody reads, given up slice by slice when another process
//! has filled the disk all the same, and something has to be written that frees space again: a log start, a deletion, a checkpoint.
//! Nothing is ever deleted for want of space but what the settings of a topic do not keep.
//!
//! The broker looks at the volume from time to time ([`DiskSpace::look`]); logs ask before they secure space. It waits for nothing
//! and logs only what it gives up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::disk::{Disk, DiskFile, OpenHow, is_full};

/// The reserve's file name inside the data directory.
pub const RESERVE_FILE: &str = "reserve";

/// The mark is at most this part of the volume: a disk of 8 MB keeps 256 KB free, not all of itself.
const MARK_PART_MAX: u64 = 32;

/// The reserve is at most this part of the volume.
const RESERVE_PART_MAX: u64 = 64;

/// So great a part of what is left of the reserve is given up at a time, so that whoever else fills the disk does not get all of it at once.
const SLICE_PART: u64 = 4;

/// But no less: it should last longer than the other process's next write.
const SLICE_BYTES_MIN: u64 = 64 << 10;

/// A block of most file systems: less cannot be held back.
const BLOCK_BYTES: u64 = 4096;

/// What a user asks to be kept free; 0 switches the one or the other off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceLimits {
    /// Below so many free bytes no record is taken; at most a 32nd of the volume.
    pub free_bytes_min: u64,
    /// The reserve's size; at most a 64th of the volume.
    pub reserve_bytes: u64,
}

/// What a look at the volume has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Bytes that this process can still write, the reserve not counted.
    pub usable_bytes: u64,
    /// Below so many, records are refused.
    pub mark_bytes: u64,
    /// From so many on they are taken again.
    pub resume_bytes: u64,
    /// Whether they are refused now.
    pub is_low: bool,
}

/// See the module's page. Shared by all cores.
#[derive(Debug)]
pub struct DiskSpace {
    dir: PathBuf,
    limits: SpaceLimits,
    /// As of the last look, less what has been secured since. Before the first look there is no limit.
    usable_bytes: AtomicU64,
    mark_bytes: AtomicU64,
    is_low: AtomicBool,
    reserve: tokio::sync::Mutex<Reserve>,
}

#[derive(Debug, Default)]
struct Reserve {
    file: Option<DiskFile>,
    held_bytes: u64,
}

impl DiskSpace {
    /// The space of the volume under `dir`, not looked at yet: everything is admitted until it is.
    #[must_use]
    pub fn new(dir: &Path, limits: SpaceLimits) -> Arc<DiskSpace> {
        Arc::new(DiskSpace {
            dir: dir.to_owned(),
            limits,
            usable_bytes: AtomicU64::new(u64::MAX),
            mark_bytes: AtomicU64::new(0),
            is_low: AtomicBool::new(false),
            reserve: tokio::sync::Mutex::default(),
        })
    }

    /// Without a mark and without a reserve: the disk's own word is all that counts.
    #[must_use]
    pub fn unlimited() -> Arc<DiskSpace> {
        DiskSpace::new(Path::new(""), SpaceLimits { free_bytes_min: 0, reserve_bytes: 0 })
    }

    /// Whether records are to be refused.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    /// What was asked for.
    #[must_use]
    pub fn limits(&self) -> SpaceLimits {
        self.limits
    }

    /// As if a look had found so much.
    #[cfg(test)]
    pub(crate) fn set_usable_bytes(&self, usable_bytes: u64) {
        self.usable_bytes.store(usable_bytes, Ordering::Relaxed);
    }

    /// Counts `length` bytes as taken, unless that would leave less than the mark.
    pub(crate) fn take(&self, length: u64) -> bool {
        let mark_bytes = self.mark_bytes.load(Ordering::Relaxed);
        let take = |usable: u64| usable.checked_sub(length).filter(|rest| *rest >= mark_bytes);
        self.usable_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// As [`take`](Self::take), for what can wait: as much as the mark stays free beyond it, so that records do not meet the mark for it.
    pub(crate) fn take_spare(&self, length: u64) -> bool {
        let kept_bytes = self.mark_bytes.load(Ordering::Relaxed).saturating_mul(2);
        let take = |usable: u64| usable.checked_sub(length).filter(|rest| *rest >= kept_bytes);
        self.usable_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes back what [`take`](Self::take) has counted and nobody got.
    pub(crate) fn give_back(&self, length: u64) {
        let give = |usable: u64| Some(usable.saturating_add(length));
        // The closure never refuses.
        let _ = self.usable_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    /// Not even the `length` bytes that a waiting batch needs were there. If it is the mark that they would have stepped over, records are
    /// refused from now on, everywhere, until a look finds more room; a quota or a lack of inodes may concern this one partition.
    pub(crate) fn note_refused(&self, length: u64) {
        let (usable_bytes, mark_bytes) =
            (self.usable_bytes.load(Ordering::Relaxed), self.mark_bytes.load(Ordering::Relaxed));
        // Without a mark nobody would look again.
        if mark_bytes > 0 && usable_bytes.saturating_sub(length) < mark_bytes {
            self.is_low.store(true, Ordering::Relaxed);
        }
    }

    /// Looks at the volume, fills the reserve if there is room for it, and decides whether records are taken. Call it about every
    /// second, and more often near the mark; one call at a time.
    ///
    /// # Errors
    /// When the volume cannot be asked; everything then stays as it was.
    pub async fn look(&self, disk: &dyn Disk) -> io::Result<Outlook> {
        let mut reserve = self.reserve.lock().await;
        let mut volume = disk.volume(&self.dir).await?;
        let mark_bytes = self.limits.free_bytes_min.min(volume.total_bytes / MARK_PART_MAX);
        let resume_bytes = mark_bytes + mark_bytes / 4;
        let wanted_bytes = whole_blocks(self.limits.reserve_bytes.min(volume.total_bytes / RESERVE_PART_MAX));
        if reserve.file.is_none() && wanted_bytes > 0 {
            // It counts again at the next look; a reserve that cannot be had keeps nobody from anything.
            let _ = reserve.open(disk, &self.dir.join(RESERVE_FILE), wanted_bytes).await;
        }
        let missing_bytes = wanted_bytes.saturating_sub(reserve.held_bytes);
        if missing_bytes > 0 && volume.usable_bytes >= resume_bytes + missing_bytes {
            reserve.fill(disk, wanted_bytes).await;
            volume = disk.volume(&self.dir).await?;
        }
        let missing_bytes = wanted_bytes.saturating_sub(reserve.held_bytes);
        let usable_bytes = volume.usable_bytes;
        // The gap keeps it from going to and fro, and the reserve comes before the records.
        let is_low = match self.is_low() {
            true => usable_bytes < resume_bytes + missing_bytes,
            false => usable_bytes < mark_bytes,
        };
        self.usable_bytes.store(usable_bytes, Ordering::Relaxed);
        self.mark_bytes.store(mark_bytes, Ordering::Relaxed);
        self.is_low.store(is_low, Ordering::Relaxed);
        Ok(Outlook { usable_bytes, mark_bytes, resume_bytes, is_low })
    }

    /// Does what must be possible on a full disk, because it frees space or keeps account of it: when there is none, a slice of the reserve
    /// is given up and it is tried again.
    ///
    /// # Errors
    /// Those of `attempt`: of the last one, when the reserve has nothing left to give.
    pub async fn with_reserve<T>(
        &self,
        disk: &dyn Disk,
        mut attempt: impl AsyncFnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match attempt().await {
                Err(error) if is_full(&error) && self.give_up_slice(disk).await => {}
                result => return result,
            }
        }
    }

    /// Makes a slice of the reserve usable by everybody; false when there is none left.
    pub async fn give_up_slice(&self, disk: &dyn Disk) -> bool {
        let mut reserve = self.reserve.lock().await;
        let Some(file) = reserve.file.clone() else { return false };
        let held_bytes = reserve.held_bytes;
        let slice_bytes = whole_blocks(held_bytes / SLICE_PART).max(SLICE_BYTES_MIN).min(held_bytes);
        if slice_bytes == 0 || disk.set_length(&file, held_bytes - slice_bytes).await.is_err() {
            return false;
        }
        reserve.held_bytes -= slice_bytes;
        // A file system may give freed blocks out again only when its journal says that they are free.
        let _ = disk.sync_all(&file).await;
        let left_bytes = reserve.held_bytes;
        tracing::warn!(dir = %self.dir.display(), slice_bytes, left_bytes, "the disk is full: a slice of the reserve is given up");
        true
    }
}

impl Reserve {
    /// Opens the file, and finds out how much of it holds space; a copy of a data directory may have a hole in its place.
    async fn open(&mut self, disk: &dyn Disk, path: &Path, wanted_bytes: u64) -> io::Result<()> {
        let file = match disk.open(path, OpenHow::ReadWrite).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.open(path, OpenHow::CreateNew).await?,
            opened => opened?,
        };
        let length = disk.info(&file).await?.length;
        if length > wanted_bytes {
            disk.set_length(&file, wanted_bytes).await?;
        }
        let length = whole_blocks(length.min(wanted_bytes));
        let holds = length > 0 && disk.allocate(&file, 0, length).await.is_ok();
        self.held_bytes = if holds { length } else { 0 };
        self.file = Some(file);
        Ok(())
    }

    /// Where space cannot be allocated ahead, nothing is held.
    async fn fill(&mut self, disk: &dyn Disk, wanted_bytes: u64) {
        let Some(file) = &self.file else { return };
        if disk.allocate(file, 0, wanted_bytes).await.is_ok() {
            self.held_bytes = wanted_bytes;
        }
    }
}

fn whole_blocks(bytes: u64) -> u64 {
    bytes / BLOCK_BYTES * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::block_on;
    use crate::disk::sim::{SimOptions, Simulation};

    const MIB: u64 = 1 << 20;

    fn small_disk(capacity_bytes: u64) -> std::rc::Rc<dyn Disk> {
        let options = SimOptions { capacity_bytes: Some(capacity_bytes), ..SimOptions::default() };
        let disk: std::rc::Rc<dyn Disk> = std::rc::Rc::new(Simulation::new(1, options).disk());
        block_on(&*disk, disk.create_dir(Path::new("/data"))).unwrap();
        disk
    }

    fn space(free_bytes_min: u64, reserve_bytes: u64) -> Arc<DiskSpace> {
        DiskSpace::new(Path::new("/data"), SpaceLimits { free_bytes_min, reserve_bytes })
    }

    async fn ballast(disk: &dyn Disk, bytes: u64) -> DiskFile {
        let file = disk.open(Path::new("/data/ballast"), OpenHow::CreateEmpty).await.unwrap();
        disk.allocate(&file, 0, bytes).await.unwrap();
        file
    }

    #[test]
    fn records_are_refused_below_the_mark_and_taken_again_a_quarter_above_it() {
        let disk = small_disk(64 * MIB);
        let space = space(MIB, 0);
        block_on(&*disk, async {
            assert!(space.take(u64::MAX), "before the first look nothing is known");
            let outlook = space.look(&*disk).await.unwrap();
            assert_eq!((outlook.usable_bytes, outlook.mark_bytes, outlook.is_low), (64 * MIB, MIB, false));
            assert!(space.take(62 * MIB) && !space.take(2 * MIB) && space.take(MIB) && !space.take(1));
            space.give_back(2 * MIB);
            assert!(space.take(2 * MIB) && !space.take(1), "what nobody got is there again");
            let file = ballast(&*disk, 63 * MIB + 4096).await;
            assert!(space.look(&*disk).await.unwrap().is_low && space.is_low());
            disk.set_length(&file, 63 * MIB - 4096).await.unwrap();
            assert!(space.look(&*disk).await.unwrap().is_low, "just above the mark is not yet room");
            disk.set_length(&file, 62 * MIB).await.unwrap();
            assert!(!space.look(&*disk).await.unwrap().is_low);
        });
    }

    #[test]
    fn limits_are_at_most_a_part_of_a_small_volume() {
        let disk = small_disk(8 * MIB);
        let space = space(256 * MIB, 8 * MIB);
        let outlook = block_on(&*disk, space.look(&*disk)).unwrap();
        assert_eq!((outlook.mark_bytes, outlook.usable_bytes), (MIB / 4, 8 * MIB - MIB / 8));
        assert!(!outlook.is_low);
    }

    #[test]
    fn what_frees_space_is_possible_when_others_have_taken_the_last_byte() {
        let disk = small_disk(64 * MIB);
        let space = space(MIB, MIB);
        block_on(&*disk, async {
            space.look(&*disk).await.unwrap();
            let _ballast = ballast(&*disk, 63 * MIB).await;
            let file = disk.open(Path::new("/data/small"), OpenHow::CreateNew).await.unwrap();
            assert!(disk.allocate(&file, 0, 4096).await.is_err(), "not a byte is left");
            space.with_reserve(&*disk, async || disk.allocate(&file, 0, 4096).await).await.unwrap();
            let outlook = space.look(&*disk).await.unwrap();
            assert!(outlook.is_low && outlook.usable_bytes == MIB / 4 - 4096);
            // All of it can be used, and then there is an end.
            let all = space.with_reserve(&*disk, async || disk.allocate(&file, 0, MIB).await).await;
            all.unwrap();
            let more = space.with_reserve(&*disk, async || disk.allocate(&file, 0, MIB + 4096).await).await;
            assert!(is_full(&more.unwrap_err()));
        });
    }

    #[test]
    fn the_reserve_comes_before_the_records_when_there_is_room_again_and_survives_a_restart() {
        let disk = small_disk(64 * MIB);
        block_on(&*disk, async {
            let first = space(MIB, MIB);
            first.look(&*disk).await.unwrap();
            let file = ballast(&*disk, 63 * MIB).await;
            assert!(first.look(&*disk).await.unwrap().is_low);
            assert!(first.give_up_slice(&*disk).await);
            // Room for the records, but not for what is missing of the reserve.
            disk.set_length(&file, 62 * MIB - MIB / 4).await.unwrap();
            disk.allocate(&file, 0, 62 * MIB - MIB / 4).await.unwrap();
            let outlook = first.look(&*disk).await.unwrap();
            assert_eq!(
                (outlook.is_low, outlook.usable_bytes),
                (false, MIB + MIB / 4),
                "filled up, and just enough left"
            );
            drop(first);
            let second = space(MIB, MIB);
            let outlook = second.look(&*disk).await.unwrap();
            assert_eq!(outlook.usable_bytes, MIB + MIB / 4, "the reserve that is there is the reserve");
            assert!(second.give_up_slice(&*disk).await);
        });
    }
}
