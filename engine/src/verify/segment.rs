//! Walks the batches of one segment file and checks them, with the indexes beside it.
//!
//! Memory is one batch, bounded by the file's real length. [`SegmentBatches`] is also what `ringmill log dump` prints from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringmill_batch::{
    BatchError, BatchHeader, DecompressLimit, LeaderEpoch, Offset, RecordError, RecordSet, check_stored, read_records,
};

use super::index::{OffsetIndexCheck, TimeIndexCheck};
use super::meaning::in_general;
use super::{Problem, ProblemKind, Problems, SegmentReport, VerifyOptions};
use crate::epochs::EpochList;

/// Bytes read at once while looking at what lies behind the last batch.
const TAIL_READ_BYTES: usize = 64 << 10;

/// The batches of a segment file, one after the other. Ends at the end of the file or of its data (a tail of zeros is secured
/// space), and after the first problem behind which no batch can be found.
#[derive(Debug)]
pub struct SegmentBatches {
    path: PathBuf,
    file: File,
    length: u64,
    position: u64,
    ended: bool,
    zero_bytes: u64,
}

/// A batch as it lies in a segment.
#[derive(Debug)]
pub struct StoredBatch {
    /// Where it begins in the file.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
    /// The checksum that its bytes have; right if it is the header's.
    pub computed_crc: u32,
    bytes: Vec<u8>,
}

impl StoredBatch {
    /// Whether the checksum is right.
    #[must_use]
    pub fn crc_is_right(&self) -> bool {
        self.computed_crc == self.header.crc
    }

    /// The batch as it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its records.
    ///
    /// # Errors
    /// When they do not decompress within `limit`.
    pub fn records(&self, limit: DecompressLimit) -> Result<RecordSet<'_>, RecordError> {
        read_records(&self.bytes, limit)
    }
}

impl SegmentBatches {
    /// Opens a `.log` file for reading.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<SegmentBatches> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(SegmentBatches { path: path.to_owned(), file, length, position: 0, ended: false, zero_bytes: 0 })
    }

    /// Where the batches seen so far end.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    fn problem(&self, kind: ProblemKind, what: String) -> Problem {
        Problem { kind, file: self.path.clone(), position: self.position, what, meaning: in_general(kind) }
    }

    fn unreadable(&self, error: &io::Error) -> Problem {
        self.problem(ProblemKind::Unreadable, error.to_string())
    }

    fn read(&self, length: u64) -> Result<Vec<u8>, Problem> {
        let length =
            usize::try_from(length.min(self.length - self.position)).expect("a file's length fits into memory's");
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.position).map_err(|error| self.unreadable(&error))?;
        Ok(bytes)
    }

    fn batch(&mut self) -> Result<Option<StoredBatch>, Problem> {
        if self.position == self.length {
            return Ok(None);
        }
        let header = match BatchHeader::parse(&self.read(BatchHeader::BYTES as u64)?) {
            Ok(header) => header,
            Err(_) if self.only_zeros_follow()? => {
                self.zero_bytes = self.length - self.position;
                return Ok(None);
            }
            Err(error) => {
                let rest = self.length - self.position;
                return Err(self.problem(ProblemKind::Damage, format!("{error}; {rest} bytes from here are not read")));
            }
        };
        let bytes = self.read(header.total_bytes() as u64)?;
        let computed_crc = match check_stored(&bytes) {
            Ok(_) => header.crc,
            Err(BatchError::Crc { computed, .. }) => computed,
            Err(error) => return Err(self.problem(ProblemKind::Damage, error.to_string())),
        };
        let position = self.position;
        self.position += header.total_bytes() as u64;
        Ok(Some(StoredBatch { position, header, computed_crc, bytes }))
    }

    fn only_zeros_follow(&self) -> Result<bool, Problem> {
        let mut position = self.position;
        let mut bytes = vec![0; TAIL_READ_BYTES];
        while position < self.length {
            let count = self.file.read_at(&mut bytes, position).map_err(|error| self.unreadable(&error))?;
            if count == 0 {
                break;
            }
            if bytes[..count].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            position += count as u64;
        }
        Ok(true)
    }
}

impl Iterator for SegmentBatches {
    type Item = Result<StoredBatch, Problem>;

    fn next(&mut self) -> Option<Result<StoredBatch, Problem>> {
        if self.ended {
            return None;
        }
        let batch = self.batch().transpose();
        self.ended = !matches!(batch, Some(Ok(_)));
        batch
    }
}

/// Checks a segment and its indexes; the epochs of its batches by `reigns` too, where the partition's are known, for serving refuses a
/// batch with any other.
pub(crate) fn verify(
    log: &Path,
    base_offset: Offset,
    is_newest: bool,
    reigns: Option<&EpochList>,
    options: VerifyOptions,
    into: &mut Vec<Problem>,
) -> SegmentReport {
    let mut report = SegmentReport {
        path: log.to_owned(),
        base_offset,
        next_offset: base_offset,
        batches: 0,
        records: 0,
        bytes: 0,
        zero_bytes: 0,
        max_timestamp_ms: None,
        offset_entries: None,
        time_entries: None,
        epochs: Vec::new(),
    };
    let mut batches = match SegmentBatches::open(log) {
        Ok(batches) => batches,
        Err(error) => {
            Problems::of(log, into).add(ProblemKind::Unreadable, 0, error.to_string());
            return report;
        }
    };
    let mut offset_index = OffsetIndexCheck::open(&log.with_extension("index"), base_offset, into);
    let mut time_index = TimeIndexCheck::open(&log.with_extension("timeindex"), base_offset, into);
    let mut problems = Problems::of(log, into);
    let (mut epoch, mut is_whole) = (-1, true);
    for batch in &mut batches {
        let batch = match batch {
            Ok(batch) => batch,
            Err(problem) => {
                problems.add(problem.kind, problem.position, problem.what);
                is_whole = false;
                break;
            }
        };
        check_batch(&batch, &report, options, &mut problems);
        let reigned = reigns.and_then(|reigns| reigns.at(batch.header.base_offset));
        check_epoch(&batch, epoch, reigned, &mut problems);
        epoch = epoch.max(batch.header.leader_epoch);
        offset_index.see(batch.position, &batch.header);
        time_index.see(&batch.header);
        note(&mut report, &batch.header);
    }
    report.zero_bytes = batches.zero_bytes;
    if !is_newest && report.zero_bytes > 0 {
        let what = format!("{} zeros end a segment that others follow", report.zero_bytes);
        problems.add(ProblemKind::Damage, batches.position, what);
    }
    report.offset_entries = offset_index.finish(is_whole, into);
    report.time_entries = time_index.finish(is_whole, into);
    report
}

fn check_batch(batch: &StoredBatch, before: &SegmentReport, options: VerifyOptions, problems: &mut Problems<'_>) {
    let &StoredBatch { position, header, computed_crc, .. } = batch;
    if !batch.crc_is_right() {
        let what = format!("the CRC is {computed_crc:#010x}, the batch says {:#010x}", header.crc);
        problems.add(ProblemKind::Damage, position, what);
    }
    let (base_offset, next_offset) = (header.base_offset, before.next_offset);
    if base_offset < next_offset {
        problems.add(ProblemKind::Damage, position, format!("offset {base_offset} where {next_offset} is next"));
    } else if base_offset > next_offset {
        problems.add(
            ProblemKind::Gap,
            position,
            format!("offsets {next_offset} to {base_offset}, exclusive, are missing"),
        );
    }
    // Records under a wrong checksum are damaged in any case.
    if let Some(limit) = options.records.filter(|_| batch.crc_is_right())
        && let Err(error) =
            batch.records(limit).and_then(|records| records.iter().try_for_each(|record| record.map(drop)))
    {
        problems.add(ProblemKind::Damage, position, error.to_string());
    }
}

fn check_epoch(batch: &StoredBatch, before: i32, reigned: Option<LeaderEpoch>, problems: &mut Problems<'_>) {
    let epoch = batch.header.leader_epoch;
    let what = match reigned.map(LeaderEpoch::get) {
        Some(reigned) if epoch != reigned => format!("leader epoch {epoch} where {reigned} reigned"),
        _ if epoch < before => format!("leader epoch {epoch} behind {before}"),
        _ => return,
    };
    problems.add(ProblemKind::Damage, batch.position, what);
}

fn note(report: &mut SegmentReport, header: &BatchHeader) {
    report.next_offset = report.next_offset.max(header.next_offset());
    if report.epochs.last().is_none_or(|&(epoch, _)| header.leader_epoch > epoch) {
        report.epochs.push((header.leader_epoch, header.base_offset));
    }
    report.batches += 1;
    report.records += u64::from(header.record_count.unsigned_abs());
    report.bytes += header.total_bytes() as u64;
    report.max_timestamp_ms = report.max_timestamp_ms.max(Some(header.max_timestamp));
}
