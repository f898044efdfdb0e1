//! One recovery checkpoint per core for all its partitions: durable lower bounds, and when each segment was appended to.
//!
//! Written about every second and at each roll by the broker; derived: losing a file costs a full scan at start, and append times
//! are then taken from the files' modification times.
//!
//! ```text
//! entries    4 bytes count, then for each:
//!   topic id              16
//!   partition              4
//!   recovery point         8   everything before it is durable
//!   unsynced bytes max     8   the bound that held for what lies behind it
//!   segments               4 bytes count, then for each: base offset 8, first append ms 8, last append ms 8 (i64::MIN: none)
//! ```

use std::io;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use ringmill_batch::Offset;

use crate::data_dir::durable_file::{self, Format};
use crate::disk::Disk;
use crate::fields::{FieldReader, count_field};

/// What the names of the files begin with; the core's number follows.
const NAME_PREFIX: &str = "recovery-checkpoint-";

const FORMAT: Format = Format { magic: *b"RMchkpnt", version: 1, payload_bytes_max: 256 << 20 };

const ENTRY_BYTES_MIN: usize = 40;
const SEGMENT_BYTES: usize = 24;
const NEVER: i64 = i64::MIN;

/// What is known about one partition without looking at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// Its topic.
    pub topic_id: [u8; 16],
    /// Its number.
    pub partition: i32,
    /// Everything before it is durable and was checked.
    pub recovery_point: Offset,
    /// At most so many bytes behind it can have been written and not synced.
    pub unsynced_bytes_max: u64,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentTimes>,
}

/// When the broker appended to a segment, by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentTimes {
    /// Which segment.
    pub base_offset: Offset,
    /// First append, milliseconds since 1970; `None` before it.
    pub first_append_ms: Option<i64>,
    /// Last append so far.
    pub last_append_ms: Option<i64>,
}

impl SegmentTimes {
    /// Of two segments that have become one, which begins where the first did.
    pub(crate) fn join(self, later: SegmentTimes) -> SegmentTimes {
        SegmentTimes {
            base_offset: self.base_offset,
            first_append_ms: [self.first_append_ms, later.first_append_ms].into_iter().flatten().min(),
            last_append_ms: self.last_append_ms.max(later.last_append_ms),
        }
    }
}

/// Replaces the checkpoint of `core` in `dir` durably.
///
/// # Errors
/// The disk's; the older checkpoint then still holds.
pub async fn write(disk: &dyn Disk, dir: &Path, core: usize, entries: &[CheckpointEntry]) -> io::Result<()> {
    durable_file::write(disk, &path(dir, core), &FORMAT, &encode(entries)).await
}

/// Reads the checkpoints of all cores, however many there were, and merges them. Damaged files are left out with a warning.
///
/// # Errors
/// When `dir` cannot be listed.
pub async fn read_all(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<CheckpointEntry>> {
    let mut all = Vec::new();
    for entry in disk.list_dir(dir).await? {
        if !is_checkpoint(&entry.name) || entry.is_dir {
            continue;
        }
        let path = dir.join(&entry.name);
        match read(disk, &path).await {
            Ok(entries) => all.extend(entries),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "unreadable checkpoint: its partitions are scanned")
            }
        }
    }
    Ok(merge(all))
}

/// Whether a file of this name is some core's checkpoint.
pub(crate) fn is_checkpoint(name: &str) -> bool {
    name.strip_prefix(NAME_PREFIX).is_some_and(|core| core.parse::<usize>().is_ok())
}

/// Reads one checkpoint.
///
/// # Errors
/// See [`durable_file::ReadError`].
pub(crate) async fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<CheckpointEntry>, durable_file::ReadError> {
    let payload = durable_file::read(disk, path, &FORMAT).await?;
    decode(&payload.bytes).ok_or_else(|| durable_file::ReadError::Damaged {
        path: path.to_owned(),
        why: "its fields do not make a checkpoint".to_owned(),
    })
}

/// The whole file with these entries.
pub(crate) fn to_file(entries: &[CheckpointEntry]) -> BytesMut {
    durable_file::encode(&FORMAT, &encode(entries))
}

/// Where the checkpoint of `core` lies.
#[must_use]
pub fn path(dir: &Path, core: usize) -> PathBuf {
    dir.join(format!("{NAME_PREFIX}{core}"))
}

/// One entry per partition. After a change of the number of cores a partition may stand in two files: each lower bound is true,
/// so the higher one is taken, with the larger window and the times that keep data longer.
pub(crate) fn merge(mut entries: Vec<CheckpointEntry>) -> Vec<CheckpointEntry> {
    entries.sort_by_key(|entry| (entry.topic_id, entry.partition, entry.recovery_point));
    let mut merged: Vec<CheckpointEntry> = Vec::with_capacity(entries.len());
    for entry in entries {
        match merged.last_mut() {
            Some(same) if (same.topic_id, same.partition) == (entry.topic_id, entry.partition) => {
                let unsynced_bytes_max = same.unsynced_bytes_max.max(entry.unsynced_bytes_max);
                *same = CheckpointEntry { unsynced_bytes_max, ..entry };
            }
            _ => merged.push(entry),
        }
    }
    merged
}

fn encode(entries: &[CheckpointEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + entries.len() * (ENTRY_BYTES_MIN + 2 * SEGMENT_BYTES));
    out.extend_from_slice(&count_field(entries.len()));
    for entry in entries {
        out.extend_from_slice(&entry.topic_id);
        out.extend_from_slice(&entry.partition.to_be_bytes());
        out.extend_from_slice(&entry.recovery_point.get().to_be_bytes());
        out.extend_from_slice(&entry.unsynced_bytes_max.to_be_bytes());
        out.extend_from_slice(&count_field(entry.segments.len()));
        for segment in &entry.segments {
            out.extend_from_slice(&segment.base_offset.get().to_be_bytes());
            out.extend_from_slice(&segment.first_append_ms.unwrap_or(NEVER).to_be_bytes());
            out.extend_from_slice(&segment.last_append_ms.unwrap_or(NEVER).to_be_bytes());
        }
    }
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<CheckpointEntry>> {
    let mut fields = FieldReader::new(bytes);
    let count = fields.count(ENTRY_BYTES_MIN)?;
    let entries = (0..count).map(|_| decode_entry(&mut fields)).collect::<Option<Vec<_>>>()?;
    fields.finish(entries)
}

fn decode_entry(fields: &mut FieldReader<'_>) -> Option<CheckpointEntry> {
    let topic_id = fields.bytes()?;
    let partition = fields.i32()?;
    let recovery_point = Offset::new(fields.i64()?)?;
    let unsynced_bytes_max = fields.u64()?;
    let count = fields.count(SEGMENT_BYTES)?;
    let time = |value: i64| (value != NEVER).then_some(value);
    let segments = (0..count)
        .map(|_| {
            Some(SegmentTimes {
                base_offset: Offset::new(fields.i64()?)?,
                first_append_ms: time(fields.i64()?),
                last_append_ms: time(fields.i64()?),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(CheckpointEntry { topic_id, partition, recovery_point, unsynced_bytes_max, segments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn entry(partition: i32, recovery_point: i64) -> CheckpointEntry {
        CheckpointEntry {
            topic_id: [1; 16],
            partition,
            recovery_point: offset(recovery_point),
            unsynced_bytes_max: 64,
            segments: vec![
                SegmentTimes { base_offset: offset(0), first_append_ms: Some(5), last_append_ms: Some(9) },
                SegmentTimes { base_offset: offset(10), first_append_ms: None, last_append_ms: None },
            ],
        }
    }

    #[test]
    fn the_payload_is_what_the_page_draws() {
        let mut expected = vec![0, 0, 0, 1];
        expected.extend_from_slice(&[1; 16]);
        expected.extend_from_slice(&[0, 0, 0, 3]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 12]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 64]);
        expected.extend_from_slice(&[0, 0, 0, 2]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 10]);
        expected.extend_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&[entry(3, 12)]), expected);
    }

    #[test]
    fn checkpoints_of_all_cores_are_read_and_a_damaged_one_is_passed_over() {
        use crate::disk::{PosixDisk, block_on};
        let dir = tempfile::tempdir().unwrap();
        let disk = PosixDisk::new(1).unwrap();
        block_on(&disk, async {
            let disk: &dyn Disk = &disk;
            write(disk, dir.path(), 0, &[entry(0, 5), entry(1, 7)]).await.unwrap();
            write(disk, dir.path(), 3, &[entry(0, 9)]).await.unwrap();
            assert_eq!(read_all(disk, dir.path()).await.unwrap(), [entry(0, 9), entry(1, 7)]);
            std::fs::write(path(dir.path(), 3), b"rubbish").unwrap();
            assert_eq!(read_all(disk, dir.path()).await.unwrap(), [entry(0, 5), entry(1, 7)]);
        });
    }

    #[test]
    fn entries_are_read_back_and_every_cut_is_refused() {
        let entries = vec![entry(0, 12), entry(1, 0)];
        let bytes = encode(&entries);
        assert_eq!(decode(&bytes), Some(entries));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_claimed_count_is_bounded_by_the_bytes() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0, 0]), None);
    }

    #[test]
    fn of_two_bounds_the_higher_is_taken_with_the_larger_window() {
        let wide = CheckpointEntry { unsynced_bytes_max: 512, ..entry(0, 3) };
        let merged = merge(vec![entry(0, 12), entry(1, 0), wide]);
        assert_eq!(merged, [CheckpointEntry { unsynced_bytes_max: 512, ..entry(0, 12) }, entry(1, 0)]);
    }
}
