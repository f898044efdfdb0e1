//! Compares a segment's indexes with its batches as they go by.
//!
//! The semantics are Kafka's: an offset entry holds the *last* offset of the batch at its position, a time entry a batch's last
//! offset and its maximum timestamp, which is the largest so far. A missing index is no problem; it is built when needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ringmill_batch::{BatchHeader, Offset};

use super::{Problem, ProblemKind, Problems};

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

/// No index is larger: an entry for each of 2³¹ positions would still be a mistake.
pub(crate) const INDEX_BYTES_MAX: u64 = 1 << 30;

/// An index file's bytes and how far they have been compared.
#[derive(Debug)]
struct Entries<const N: usize> {
    file: PathBuf,
    entries: Vec<[u8; N]>,
    exists: bool,
    next: usize,
    found: Vec<(usize, String)>,
}

impl<const N: usize> Entries<N> {
    fn of(file: &Path, read: io::Result<Vec<u8>>, into: &mut Vec<Problem>) -> Entries<N> {
        let mut problems = Problems::of(file, into);
        let (bytes, exists) = match read {
            Ok(bytes) => (bytes, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), false),
            Err(error) => {
                problems.add(ProblemKind::Unreadable, 0, error.to_string());
                (Vec::new(), false)
            }
        };
        let (entries, rest) = bytes.as_chunks::<N>();
        if !rest.is_empty() {
            let what = format!("{} bytes are no whole number of {N}-byte entries", bytes.len());
            problems.add(ProblemKind::Index, (bytes.len() - rest.len()) as u64, what);
        }
        // Kafka keeps the index of its newest segment at full size, filled with zeros.
        let used = entries.iter().rposition(|entry| *entry != [0; N]).map_or(0, |last| last + 1);
        Entries { file: file.to_owned(), entries: entries[..used].to_vec(), exists, next: 0, found: Vec::new() }
    }

    fn wrong(&mut self, entry: usize, what: String) {
        // The listing keeps fewer; counting on would only cost memory.
        if self.found.len() < super::PROBLEMS_PER_FILE_MAX {
            self.found.push((entry, what));
        }
    }

    fn finish(self, into: &mut Vec<Problem>) -> Option<u64> {
        let mut problems = Problems::of(&self.file, into);
        for (entry, what) in self.found {
            problems.add(ProblemKind::Index, (entry * N) as u64, what);
        }
        self.exists.then_some(self.entries.len() as u64)
    }
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(file)?.len();
    if length > INDEX_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes are too many for an index")));
    }
    fs::read(file)
}

fn number<const M: usize>(entry: &[u8], at: usize) -> [u8; M] {
    *entry[at..].first_chunk().expect("the field lies inside its entry")
}

/// The offset index of a segment.
#[derive(Debug)]
pub(crate) struct OffsetIndexCheck {
    entries: Entries<OFFSET_ENTRY_BYTES>,
    base_offset: Offset,
}

impl OffsetIndexCheck {
    pub(super) fn open(file: &Path, base_offset: Offset, into: &mut Vec<Problem>) -> OffsetIndexCheck {
        OffsetIndexCheck::of(file, read_bounded(file), base_offset, into)
    }

    /// Over what was read of `file`.
    pub(crate) fn of(
        file: &Path,
        read: io::Result<Vec<u8>>,
        base_offset: Offset,
        into: &mut Vec<Problem>,
    ) -> OffsetIndexCheck {
        let mut entries = Entries::of(file, read, into);
        let fields = |entry: &[u8; OFFSET_ENTRY_BYTES]| (field_u32(entry, 0), field_u32(entry, 4));
        for index in 1..entries.entries.len() {
            let (before, entry) = (fields(&entries.entries[index - 1]), fields(&entries.entries[index]));
            if before.0 >= entry.0 || before.1 >= entry.1 {
                entries.wrong(index, format!("relative offset and position {entry:?} do not rise from {before:?}"));
            }
        }
        OffsetIndexCheck { entries, base_offset }
    }

    /// The next batch of the log.
    pub(crate) fn see(&mut self, position: u64, header: &BatchHeader) {
        while let Some(entry) = self.entries.entries.get(self.entries.next) {
            let at = u64::from(field_u32(entry, 4));
            if at > position {
                return;
            }
            let last_offset = self.base_offset.checked_add(field_u32(entry, 0).into());
            let index = self.entries.next;
            if at < position {
                self.entries.wrong(index, format!("no batch begins at position {at}"));
            } else if last_offset != Some(header.last_offset()) {
                let what = format!(
                    "the batch at position {at} ends at offset {}, the entry says {last_offset:?}",
                    header.last_offset()
                );
                self.entries.wrong(index, what);
            }
            self.entries.next += 1;
        }
    }

    /// Behind the last batch: reports, and answers the number of entries if there is such a file. What lies behind the damage of a
    /// log that `is_whole` no more was not compared.
    pub(crate) fn finish(mut self, is_whole: bool, into: &mut Vec<Problem>) -> Option<u64> {
        if let Some(entry) = self.entries.entries.get(self.entries.next).filter(|_| is_whole) {
            let what = format!("the log has no batch at position {}", field_u32(entry, 4));
            self.entries.wrong(self.entries.next, what);
        }
        self.entries.finish(into)
    }
}

/// The time index of a segment.
#[derive(Debug)]
pub(crate) struct TimeIndexCheck {
    entries: Entries<TIME_ENTRY_BYTES>,
    base_offset: Offset,
    largest_ms: Option<i64>,
}

impl TimeIndexCheck {
    pub(super) fn open(file: &Path, base_offset: Offset, into: &mut Vec<Problem>) -> TimeIndexCheck {
        TimeIndexCheck::of(file, read_bounded(file), base_offset, into)
    }

    /// Over what was read of `file`.
    pub(crate) fn of(
        file: &Path,
        read: io::Result<Vec<u8>>,
        base_offset: Offset,
        into: &mut Vec<Problem>,
    ) -> TimeIndexCheck {
        let mut entries = Entries::of(file, read, into);
        let fields = |entry: &[u8; TIME_ENTRY_BYTES]| (field_i64(entry, 0), field_u32(entry, 8));
        for index in 1..entries.entries.len() {
            let (before, entry) = (fields(&entries.entries[index - 1]), fields(&entries.entries[index]));
            if before.0 >= entry.0 || before.1 >= entry.1 {
                entries.wrong(index, format!("timestamp and relative offset {entry:?} do not rise from {before:?}"));
            }
        }
        TimeIndexCheck { entries, base_offset, largest_ms: None }
    }

    /// The next batch of the log.
    pub(crate) fn see(&mut self, header: &BatchHeader) {
        self.largest_ms = self.largest_ms.max(Some(header.max_timestamp));
        while let Some(entry) = self.entries.entries.get(self.entries.next) {
            let timestamp_ms = field_i64(entry, 0);
            let offset = self.base_offset.checked_add(field_u32(entry, 8).into());
            if offset.is_some_and(|offset| offset > header.last_offset()) {
                return;
            }
            let index = self.entries.next;
            if offset != Some(header.last_offset()) {
                self.entries.wrong(index, format!("no batch ends at offset {offset:?}"));
            } else if timestamp_ms != header.max_timestamp || Some(timestamp_ms) != self.largest_ms {
                let what = format!(
                    "timestamp {timestamp_ms} where the batch's maximum is {} and the largest so far {}",
                    header.max_timestamp,
                    self.largest_ms.unwrap_or(-1)
                );
                self.entries.wrong(index, what);
            }
            self.entries.next += 1;
        }
    }

    /// Behind the last batch: reports, and answers the number of entries if there is such a file. What lies behind the damage of a
    /// log that `is_whole` no more was not compared.
    pub(crate) fn finish(mut self, is_whole: bool, into: &mut Vec<Problem>) -> Option<u64> {
        if let Some(entry) = self.entries.entries.get(self.entries.next).filter(|_| is_whole) {
            let what = format!("the log has no batch that ends at relative offset {}", field_u32(entry, 8));
            self.entries.wrong(self.entries.next, what);
        }
        self.entries.finish(into)
    }
}

fn field_u32(entry: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(number(entry, at))
}

fn field_i64(entry: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(number(entry, at))
}
