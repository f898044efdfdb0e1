//! Offline checks of every file of a data directory, for `ringmill log verify`, `ringmill log repair` and `ringmill log dump`.
//!
//! Files are opened for reading only and no byte is changed; the broker should be stopped, or the newest batches may look cut
//! off. Segments are read with ordinary calls: nobody else waits on this thread. What damage means for serving is recovery's to decide;
//! here it is found, named, and said what the next start will make of it. The metadata database is the broker's and not known here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringmill_batch::{DecompressLimit, Offset};

use crate::checkpoint::CheckpointEntry;
use crate::data_dir::{SUPERBLOCK_FILE, Superblock};
use crate::disk::{Disk, PosixDisk};
use crate::epochs::EpochList;
use crate::log::Identity;
use crate::log::swap::Swap;
use crate::partition_meta::{FILE_NAME as META_FILE, PartitionMeta};

pub(crate) mod files;
pub(crate) mod index;
mod meaning;
pub(crate) mod segment;

pub use segment::{SegmentBatches, StoredBatch};

/// How deep to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Walk the records of every batch too, decompressing within this limit; without it headers and checksums are checked.
    pub records: Option<DecompressLimit>,
}

/// What was found at a path.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One per partition directory, by name.
    pub partitions: Vec<PartitionReport>,
    /// What is wrong with the data directory's own files; nothing when a partition alone was asked for.
    pub problems: Vec<Problem>,
    /// Small files that were read and are well.
    pub files_checked: u64,
    /// What lies about and is no problem: temporaries of a stop in the middle, copies that recovery or repair set aside.
    pub leftovers: Vec<Leftover>,
}

/// A file or directory that no start needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Where it lies.
    pub file: PathBuf,
    /// What it is and who may remove it.
    pub what: &'static str,
}

impl Report {
    /// Everything that is not as it should be, in the order of the files.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.partitions.iter().flat_map(|partition| &partition.problems))
    }

    /// Every segment looked at.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentReport> {
        self.partitions.iter().flat_map(|partition| &partition.segments)
    }
}

/// What was found in one partition.
#[derive(Clone, Debug)]
pub struct PartitionReport {
    /// Its directory.
    pub path: PathBuf,
    /// Whose it is by its `partition.meta`; `None` when that was not looked at, or not readable.
    pub identity: Option<Identity>,
    /// Its segments by base offset; only one when a single file was asked for.
    pub segments: Vec<SegmentReport>,
    /// What is wrong with them.
    pub problems: Vec<Problem>,
}

/// What was found in one segment.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// The `.log` file.
    pub path: PathBuf,
    /// From its name.
    pub base_offset: Offset,
    /// What follows its last whole batch.
    pub next_offset: Offset,
    /// Batches whose header is sound, with a right checksum or not.
    pub batches: u64,
    /// Records that they announce.
    pub records: u64,
    /// Bytes of these batches.
    pub bytes: u64,
    /// Zeros behind the last batch: space secured ahead, no damage in the newest segment.
    pub zero_bytes: u64,
    /// The largest timestamp, milliseconds since 1970.
    pub max_timestamp_ms: Option<i64>,
    /// Entries of the offset index; `None` without the file.
    pub offset_entries: Option<u64>,
    /// Entries of the time index; `None` without the file.
    pub time_entries: Option<u64>,
    /// Leader epochs that begin in it, with the offset where they do.
    pub epochs: Vec<(i32, Offset)>,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// An index disagrees with its log, or is no index. The log is well, and the index can be rebuilt from it.
    Index,
    /// Offsets are missing between two batches: natural where compaction has been, a loss elsewhere.
    Gap,
    /// Bytes of the log are not what was written.
    Damage,
    /// A segment that must be there is not.
    Missing,
    /// A file could not be read at all.
    Unreadable,
    /// The superblock is damaged or missing.
    Superblock,
    /// A `partition.meta` is damaged, missing or another partition's.
    Meta,
    /// A recovery checkpoint is damaged.
    Checkpoint,
    /// A producer snapshot is damaged.
    Snapshot,
    /// The metadata database is damaged. Not found here: the broker knows its format.
    Metadata,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {position}: {what}", file.display())]
pub struct Problem {
    /// How much it matters.
    pub kind: ProblemKind,
    /// The file that shows it.
    pub file: PathBuf,
    /// Where in this file.
    pub position: u64,
    /// What was expected and what is there.
    pub what: String,
    /// What the next start, or the first fetch, will make of it.
    pub meaning: &'static str,
}

impl Problem {
    /// A problem of a whole file, with what its kind means in general.
    #[must_use]
    pub fn new(kind: ProblemKind, file: PathBuf, what: impl Into<String>) -> Problem {
        Problem { kind, file, position: 0, what: what.into(), meaning: meaning::in_general(kind) }
    }
}

/// Problems kept per file; more of them say nothing new.
const PROBLEMS_PER_FILE_MAX: usize = 100;

/// Collects the problems of one file.
struct Problems<'a> {
    file: &'a Path,
    into: &'a mut Vec<Problem>,
    found: usize,
}

impl<'a> Problems<'a> {
    fn of(file: &'a Path, into: &'a mut Vec<Problem>) -> Problems<'a> {
        Problems { file, into, found: 0 }
    }

    fn add(&mut self, kind: ProblemKind, position: u64, what: impl Into<String>) {
        self.found += 1;
        let what = match self.found {
            ..PROBLEMS_PER_FILE_MAX => what.into(),
            PROBLEMS_PER_FILE_MAX => "more problems follow, they are not listed".to_owned(),
            _ => return,
        };
        self.into.push(Problem {
            kind,
            file: self.file.to_owned(),
            position,
            what,
            meaning: meaning::in_general(kind),
        });
    }
}

/// What is known about a partition from outside its directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// `None` outside a data directory, or when it cannot be read.
    pub(crate) superblock: Option<Superblock>,
    /// Whether the directory above is a data directory.
    pub(crate) in_data_dir: bool,
    /// The checkpoints of all cores, merged.
    pub(crate) checkpoints: Vec<CheckpointEntry>,
}

impl Surroundings {
    /// Reads what lies in `root`, the directory above the partitions.
    pub(crate) fn read(disk: &dyn Disk, root: &Path, into: &mut Report) -> io::Result<Surroundings> {
        let superblock = files::superblock(disk, root, into);
        let checkpoints = files::checkpoints(disk, root, into)?;
        let in_data_dir = root.join(SUPERBLOCK_FILE).exists() || !checkpoints.is_empty();
        Ok(Surroundings { superblock, in_data_dir, checkpoints })
    }

    /// Whether the last stop was clean.
    pub(crate) fn clean(&self) -> bool {
        self.superblock.as_ref().is_some_and(|superblock| superblock.clean)
    }

    /// The checkpoint's word on the partition of `meta`.
    pub(crate) fn checkpoint_of(&self, meta: Option<&PartitionMeta>) -> Option<&CheckpointEntry> {
        let id = meta?.identity;
        self.checkpoints.iter().find(|entry| (entry.topic_id, entry.partition) == (id.topic_id, id.partition))
    }
}

/// Checks a segment (a `.log` file), a partition's directory or a data directory with every file in it, whichever `path` is.
///
/// # Errors
/// When `path` cannot be listed, or is neither of the three. What is wrong inside is in the report.
pub fn verify(path: &Path, options: VerifyOptions) -> io::Result<Report> {
    let disk = PosixDisk::new(1)?;
    let mut report = Report::default();
    let partitions = partitions(path)?;
    let is_one = partitions.iter().any(|(directory, _)| directory == path) || !fs::metadata(path)?.is_dir();
    let surroundings = if is_one {
        let directory = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        // Only for what it says about this partition: its own damage is not this question.
        Surroundings::read(&disk, &directory.join(".."), &mut Report::default())?
    } else {
        report.leftovers = files::leftovers_of_data_dir(path)?;
        Surroundings::read(&disk, path, &mut report)?
    };
    let whole = fs::metadata(path)?.is_dir();
    for (path, segments) in partitions {
        let mut partition = PartitionReport { path, identity: None, segments: Vec::new(), problems: Vec::new() };
        let mut of_meta = Vec::new();
        let meta = files::meta(&disk, &partition.path, surroundings.in_data_dir, &mut of_meta);
        let reigns = meta.as_ref().map(|meta| &meta.epochs);
        verify_segments(segments, reigns, options, &mut partition);
        if whole {
            partition.problems.append(&mut of_meta);
            report.files_checked += verify_partition(&disk, &surroundings, meta.as_ref(), &mut partition)?;
            report.leftovers.extend(files::leftovers_of_partition(&partition.path)?);
        }
        report.partitions.push(partition);
    }
    Ok(report)
}

fn verify_segments(
    segments: Segments,
    reigns: Option<&EpochList>,
    options: VerifyOptions,
    partition: &mut PartitionReport,
) {
    let count = segments.len();
    for (number, (base_offset, log)) in segments.into_iter().enumerate() {
        let is_newest = number + 1 == count;
        let found = segment::verify(&log, base_offset, is_newest, reigns, options, &mut partition.problems);
        if let Some(before) = partition.segments.last() {
            let mut problems = Problems::of(&log, &mut partition.problems);
            join(before, base_offset, &mut problems);
        }
        partition.segments.push(found);
    }
}

/// Checks the small files of a partition, and its segments against what they say. Gives how many small files are well.
fn verify_partition(
    disk: &dyn Disk,
    surroundings: &Surroundings,
    meta: Option<&PartitionMeta>,
    partition: &mut PartitionReport,
) -> io::Result<u64> {
    let (directory, problems) = (partition.path.clone(), &mut partition.problems);
    let mut checked = files::snapshots(disk, &directory, problems)?;
    checked += u64::from(meta.is_some());
    partition.identity = meta.map(|meta| meta.identity);
    let checkpoint = surroundings.checkpoint_of(meta);
    if let Some(meta) = meta {
        files::presence(&directory, &partition.segments, meta, checkpoint, problems);
    }
    meaning::fill_in(partition, surroundings.clean(), checkpoint);
    Ok(checked)
}

/// Each segment must begin where the one before it ends.
fn join(before: &SegmentReport, base_offset: Offset, problems: &mut Problems<'_>) {
    if base_offset > before.next_offset {
        let what =
            format!("the segment before it ends at offset {}, this one begins at {base_offset}", before.next_offset);
        problems.add(ProblemKind::Gap, 0, what);
    } else if base_offset < before.next_offset {
        let what = format!("the segment before it goes up to offset {}, behind this one's first", before.next_offset);
        problems.add(ProblemKind::Damage, 0, what);
    }
}

/// The `.log` files at `path` in the order of partition and offset, for [`SegmentBatches::open`].
///
/// # Errors
/// As [`verify`].
pub fn segment_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(partitions(path)?.into_iter().flat_map(|(_, segments)| segments).map(|(_, log)| log).collect())
}

/// Ends the name of a deleted topic's partition.
pub(crate) const DELETED_EXTENSION: &str = "deleted";

/// The segments of a partition by base offset, with their `.log` files.
pub(crate) type Segments = Vec<(Offset, PathBuf)>;

/// Partition directories with their segments.
pub(crate) fn partitions(path: &Path) -> io::Result<Vec<(PathBuf, Segments)>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", path.display()));
    if !fs::metadata(path)?.is_dir() {
        let base_offset = base_offset(path).ok_or_else(|| invalid("no segment: they are called <20 digits>.log"))?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        return Ok(vec![(directory, vec![(base_offset, path.to_owned())])]);
    }
    let own = segments(path)?;
    if !own.is_empty() || path.join(META_FILE).exists() {
        return Ok(vec![(path.to_owned(), own)]);
    }
    let mut partitions = Vec::new();
    for entry in fs::read_dir(path)? {
        let directory = entry?.path();
        // What is deleted is only waiting to be removed.
        if directory.is_dir() && directory.extension().is_none_or(|extension| extension != DELETED_EXTENSION) {
            let segments = segments(&directory)?;
            partitions.push((directory, segments));
        }
    }
    partitions.retain(|(directory, segments)| !segments.is_empty() || directory.join(META_FILE).exists());
    partitions.sort();
    // A broker's directory may have no topic yet; any other path without a segment is mistyped.
    if partitions.is_empty() && !path.join(SUPERBLOCK_FILE).exists() {
        return Err(invalid("there is no segment here or one level below"));
    }
    Ok(partitions)
}

fn segments(directory: &Path) -> io::Result<Segments> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(base_offset) = base_offset(&path) {
            segments.push((base_offset, path));
        }
    }
    segments.sort();
    put_swaps_in_place(directory, &mut segments)?;
    Ok(segments)
}

/// What a stop has left of a compaction counts as the next start will have it.
fn put_swaps_in_place(directory: &Path, segments: &mut Segments) -> io::Result<()> {
    for swap in files::names(directory)?.iter().filter_map(|name| Swap::parse(name)) {
        segments.retain(|&(base, _)| !swap.replaces(base));
        segments.push((swap.base, swap.path(directory)));
        segments.sort();
    }
    Ok(())
}

/// Reads a segment's name.
fn base_offset(path: &Path) -> Option<Offset> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    Offset::new(digits.parse().ok().filter(|_| is_number)?)
}
