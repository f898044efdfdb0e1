//! Offline checks of what lies on disk, for `ringmill log verify` and `ringmill log dump`.
//!
//! Files are opened for reading only and no byte is changed; the broker should be stopped, or the newest batches may look cut
//! off. It reads with ordinary calls and not through a `Disk`: nobody else waits on this thread. What damage means for serving is
//! recovery's to decide; here it is found and named.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringmill_batch::{DecompressLimit, Offset};

use crate::data_dir::SUPERBLOCK_FILE;

pub(crate) mod index;
mod segment;

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
}

impl Report {
    /// Everything that is not as it should be, in the order of the files.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.partitions.iter().flat_map(|partition| &partition.problems)
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
    /// A file could not be read at all.
    Unreadable,
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
        self.into.push(Problem { kind, file: self.file.to_owned(), position, what });
    }
}

/// Checks a segment (a `.log` file), a partition's directory or a data directory, whichever `path` is.
///
/// # Errors
/// When `path` cannot be listed, or is neither of the three. What is wrong inside is in the report.
pub fn verify(path: &Path, options: VerifyOptions) -> io::Result<Report> {
    let mut report = Report::default();
    for (path, segments) in partitions(path)? {
        let mut partition = PartitionReport { path, segments: Vec::new(), problems: Vec::new() };
        let last = segments.len() - 1;
        for (number, (base_offset, log)) in segments.into_iter().enumerate() {
            let found = segment::verify(&log, base_offset, number == last, options, &mut partition.problems);
            if let Some(before) = partition.segments.last() {
                let mut problems = Problems::of(&log, &mut partition.problems);
                join(before, base_offset, &mut problems);
            }
            partition.segments.push(found);
        }
        report.partitions.push(partition);
    }
    Ok(report)
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
    let partitions = partitions(path)?;
    Ok(partitions.into_iter().flat_map(|(_, segments)| segments).map(|(_, log)| log).collect())
}

type Segments = Vec<(Offset, PathBuf)>;

/// Partition directories with their segments, each with some.
fn partitions(path: &Path) -> io::Result<Vec<(PathBuf, Segments)>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", path.display()));
    if !fs::metadata(path)?.is_dir() {
        let base_offset = base_offset(path).ok_or_else(|| invalid("no segment: they are called <20 digits>.log"))?;
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        return Ok(vec![(directory, vec![(base_offset, path.to_owned())])]);
    }
    let own = segments(path)?;
    if !own.is_empty() {
        return Ok(vec![(path.to_owned(), own)]);
    }
    let mut partitions = Vec::new();
    for entry in fs::read_dir(path)? {
        let directory = entry?.path();
        if directory.is_dir() {
            let segments = segments(&directory)?;
            partitions.push((directory, segments));
        }
    }
    partitions.retain(|(_, segments)| !segments.is_empty());
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
    Ok(segments)
}

/// Reads a segment's name.
fn base_offset(path: &Path) -> Option<Offset> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
    Offset::new(digits.parse().ok().filter(|_| is_number)?)
}
