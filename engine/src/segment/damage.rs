//! What is known to be damaged in one segment, and where good batches go on behind damage.
//!
//! A damaged range covers whole batches, so that a fetch can end before it and begin behind it. It is found by whoever walks headers
//! (plans, lookups by time, rebuilt indexes) and by the scrub, lives in memory, and is found again after a restart by the same
//! means: a finding is derived, the bytes on disk are what counts. Nothing on disk is changed here.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use ringmill_batch::{BatchHeader, Offset};

use super::headers::{HeaderFault, HeaderWalk};
use super::{Segment, offset_index::OffsetEntry};
use crate::disk::Disk;

/// More damage than this in one segment is not told apart: ranges beyond it are joined with the one before them.
const DAMAGED_RANGES_MAX: usize = 1024;

/// Index entries behind a damaged place that are tried before the rest of the segment is given up.
const ANCHORS_TRIED_MAX: usize = 64;

/// Bytes behind a damaged place in which the next good batch is looked for.
const SEARCH_BYTES_MAX: u64 = 4 << 20;

/// Bytes read at once in this search: one unreadable page hides no more than its neighbours.
const SEARCH_PIECE_BYTES: u64 = 4096;

/// Headers that must follow one another without a gap, where no index entry bears a place out.
const CHAIN_HEADERS_MIN: usize = 3;

/// A damaged range of a partition: its bytes cannot be served, and with them these offsets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {}: {why}", file.display(), positions.start)]
pub struct DamagedRange {
    /// The segment's file.
    pub file: PathBuf,
    /// The bytes; empty where offsets are missing between two batches or at the end of the file.
    pub positions: Range<u64>,
    /// The offsets that are refused; empty where bytes of no batch stand between two that follow one another.
    pub offsets: Range<Offset>,
    /// What was found there, and what was expected.
    pub why: String,
}

/// All that is known of one segment.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Rising, apart from one another.
    ranges: Vec<DamagedRange>,
    /// Where a send failed: to be looked at batch by batch before it is served again.
    suspects: Vec<Range<u64>>,
}

impl Damage {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.suspects.is_empty()
    }

    pub(super) fn ranges(&self) -> &[DamagedRange] {
        &self.ranges
    }

    /// True when anything of it was not known before.
    pub(super) fn add(&mut self, range: DamagedRange) -> bool {
        let is_known =
            |known: &DamagedRange| known.offsets.start <= range.offsets.start && range.offsets.end <= known.offsets.end;
        if self.ranges.iter().any(is_known) {
            return false;
        }
        self.clear_suspects(range.positions.clone());
        let at = self.ranges.partition_point(|known| known.offsets.start < range.offsets.start);
        self.ranges.insert(at, range);
        let mut number = 1;
        while number < self.ranges.len() {
            let (before, this) = (&self.ranges[number - 1], &self.ranges[number]);
            let is_too_many = self.ranges.len() > DAMAGED_RANGES_MAX && number == at.max(1);
            if this.offsets.start < before.offsets.end || is_too_many {
                let (offsets_end, positions_end) = (this.offsets.end, this.positions.end);
                let before = &mut self.ranges[number - 1];
                before.offsets.end = before.offsets.end.max(offsets_end);
                before.positions.end = before.positions.end.max(positions_end);
                self.ranges.remove(number);
            } else {
                number += 1;
            }
        }
        true
    }

    /// There is a good batch: what was known about its bytes and offsets is forgotten. True if something was.
    pub(super) fn clear(&mut self, positions: &Range<u64>, offsets: &Range<Offset>) -> bool {
        let before = self.ranges.len();
        let mut was_known = false;
        let mut kept = Vec::with_capacity(before);
        for known in self.ranges.drain(..) {
            let shares_offsets = known.offsets.start < offsets.end && offsets.start < known.offsets.end;
            let shares_bytes = known.positions.start < positions.end && positions.start < known.positions.end;
            if !shares_offsets && !shares_bytes {
                kept.push(known);
                continue;
            }
            was_known = true;
            let (first, last) = (known.positions.start, known.positions.end);
            let front = (first..positions.start.clamp(first, last), known.offsets.start..offsets.start);
            let back = (positions.end.clamp(first, last)..last, offsets.end..known.offsets.end);
            let parts = [front, back].into_iter().filter(|(_, offsets)| offsets.start < offsets.end);
            kept.extend(parts.map(|(positions, offsets)| DamagedRange { positions, offsets, ..known.clone() }));
        }
        self.ranges = kept;
        was_known
    }

    pub(super) fn holding(&self, offset: Offset) -> Option<&DamagedRange> {
        self.ranges.iter().find(|known| known.offsets.contains(&offset))
    }

    pub(super) fn end_before(&self, offset: Offset) -> Option<BatchEnd> {
        let last = self.ranges.iter().rev().find(|known| known.offsets.end <= offset)?;
        Some(BatchEnd { position: last.positions.end, offset: last.offsets.end })
    }

    pub(super) fn start_behind(&self, offset: Offset) -> Option<u64> {
        self.ranges.iter().find(|known| known.offsets.start > offset).map(|known| known.positions.start)
    }

    pub(super) fn suspect(&mut self, range: Range<u64>) -> bool {
        if self.suspects.iter().any(|known| known.start <= range.start && range.end <= known.end) {
            return false;
        }
        self.suspects.push(range);
        self.suspects.sort_by_key(|known| known.start);
        if self.suspects.len() > DAMAGED_RANGES_MAX {
            let last = self.suspects.pop().expect("there are many");
            let before = self.suspects.last_mut().expect("there are many");
            before.end = before.end.max(last.end);
        }
        true
    }

    pub(super) fn first_suspect_after(&self, position: u64) -> Option<Range<u64>> {
        self.suspects.iter().find(|known| known.end > position).cloned()
    }

    /// These bytes were looked at.
    pub(super) fn clear_suspects(&mut self, seen: Range<u64>) {
        let parts = self
            .suspects
            .iter()
            .flat_map(|known| [known.start..known.end.min(seen.start), known.start.max(seen.end)..known.end]);
        self.suspects = parts.filter(|part| part.start < part.end).collect();
    }
}

/// Where whole batches end: the byte behind the last of them and the offset that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchEnd {
    pub(crate) position: u64,
    pub(crate) offset: Offset,
}

/// Marks what is damaged from the fault on, which stands where the batch of offset `next` should begin, up to the next good batch
/// before `end`. Gives that batch's place. Where it stands inside the batch `before`, whose header was believed, that one's length is
/// what is wrong, and it is marked instead.
///
/// # Errors
/// The fault's, when it is no damage (too many open files, …).
pub(crate) async fn mark(
    disk: &dyn Disk,
    segment: &Segment,
    fault: HeaderFault,
    before: Option<BatchEnd>,
    next: Offset,
    end: BatchEnd,
) -> io::Result<BatchEnd> {
    let (position, why) = match fault {
        HeaderFault::Io { error, .. } if !is_device_error(&error) => return Err(error),
        HeaderFault::Io { position, error } => (position, format!("it cannot be read: {error}")),
        HeaderFault::Damaged { position, why } => (position, why),
    };
    if let Some(before) = before.filter(|before| before.offset < next && before.position < position)
        && let Some(resumed) = inside(disk, segment, before, BatchEnd { position, offset: next }, end).await
    {
        let why = format!("its length is wrong: the batch behind it begins at byte {}", resumed.position);
        segment.mark_damaged(before.position..resumed.position, before.offset..next, why);
        return Ok(resumed);
    }
    let resumed = next_good(disk, segment, position, next, end).await;
    assert!(resumed.offset >= next && resumed.position >= position, "{resumed:?} behind {position} and {next}");
    assert!(resumed != BatchEnd { position, offset: next }, "nothing is passed over at {position}");
    segment.mark_damaged(position..resumed.position, next..resumed.offset, why);
    Ok(resumed)
}

/// The first good batch behind the bad byte at `bad`, or `end`. Where the bad header's own length and count lead to a batch, it is that.
/// Else an index entry that the batch at its place bears out anchors the search; between `bad` and it, batches count that lead to it
/// without a gap. So nothing that a record holds is ever taken for a batch of the log.
async fn next_good(disk: &dyn Disk, segment: &Segment, bad: u64, next: Offset, end: BatchEnd) -> BatchEnd {
    if let Some(behind) = behind_itself(disk, segment, bad, next, end).await {
        return behind;
    }
    let anchor = anchor_behind(disk, segment, bad, next, end).await;
    // The batch there may be good, and only offsets before it missing; but it counts only if it is not what is bad.
    let least = |at: u64| if at == bad { next.checked_add(1).unwrap_or(next) } else { next };
    search(disk, segment, bad, anchor, least, end.offset).await.unwrap_or(anchor)
}

/// Where the batch begins that is missed at `missed`, if that is inside the batch `before`.
async fn inside(
    disk: &dyn Disk,
    segment: &Segment,
    before: BatchEnd,
    missed: BatchEnd,
    end: BatchEnd,
) -> Option<BatchEnd> {
    let anchor = anchor_behind(disk, segment, before.position, missed.offset, end).await;
    let from = before.position + BatchHeader::BYTES as u64;
    let found = search(disk, segment, from, anchor, |_| missed.offset, end.offset).await.unwrap_or(anchor);
    (found.offset == missed.offset && found.position != missed.position).then_some(found)
}

/// The first batch from `from` on that leads to `anchor` and begins with the offset that is `least` at its place, or a later one.
async fn search(
    disk: &dyn Disk,
    segment: &Segment,
    from: u64,
    anchor: BatchEnd,
    least: impl Fn(u64) -> Offset,
    end: Offset,
) -> Option<BatchEnd> {
    let is_anchored = anchor.position <= from.saturating_add(SEARCH_BYTES_MAX);
    let to = if is_anchored { anchor.position } else { from + SEARCH_BYTES_MAX };
    let (start, bytes) = readable_before(disk, segment, from, to).await?;
    let found = chain_start(&bytes, |at| least(start + at as u64), end, is_anchored.then_some(anchor.offset));
    found.map(|(at, offset)| BatchEnd { position: start + at as u64, offset })
}

/// Behind the batch at `bad`, if only its offset, its reign or its records are wrong.
async fn behind_itself(disk: &dyn Disk, segment: &Segment, bad: u64, next: Offset, end: BatchEnd) -> Option<BatchEnd> {
    let mut walk = HeaderWalk::new(disk, segment, end.position);
    let header = walk.header_at(bad).await.ok()?;
    let behind = BatchEnd {
        position: bad + header.total_bytes() as u64,
        offset: next.checked_add(u64::from(header.last_offset_delta.unsigned_abs()) + 1)?,
    };
    let is_borne_out = behind == end || walk.header(behind.position, behind.offset).await.is_ok();
    (is_borne_out && behind.offset <= end.offset).then_some(behind)
}

async fn anchor_behind(disk: &dyn Disk, segment: &Segment, bad: u64, next: Offset, end: BatchEnd) -> BatchEnd {
    let base = segment.base_offset();
    let mut behind = bad;
    for _ in 0..ANCHORS_TRIED_MAX {
        let is_behind = |entry: &OffsetEntry| u64::from(entry.position) > behind;
        let Ok(Some(entry)) = segment.offset_index.first_where(disk, is_behind).await else { break };
        behind = u64::from(entry.position);
        if behind >= end.position {
            break;
        }
        if let Ok(header) = HeaderWalk::new(disk, segment, end.position).header_at(behind).await
            && Some(header.last_offset()) == entry.last_offset(base)
            && header.base_offset >= next
            && header.next_offset() <= end.offset
        {
            return BatchEnd { position: behind, offset: header.base_offset };
        }
    }
    end
}

/// As much of the bytes before `to` as can be read without a hole, not further back than `from`; and where they begin.
async fn readable_before(disk: &dyn Disk, segment: &Segment, from: u64, to: u64) -> Option<(u64, Vec<u8>)> {
    let mut pieces = Vec::new();
    let mut start = to;
    while start > from {
        let piece_start = ((start - 1) / SEARCH_PIECE_BYTES * SEARCH_PIECE_BYTES).max(from);
        let length = usize::try_from(start - piece_start).expect("a piece is small");
        match disk.read_at(segment.file(), piece_start, length).await {
            Ok(piece) if piece.len() == length => pieces.push(piece),
            _ => break,
        }
        start = piece_start;
    }
    pieces.reverse();
    (start < to).then(|| (start, pieces.concat()))
}

/// The first place in `bytes` from which batches follow one another without a gap up to the end of `bytes`, and its offset. With
/// `anchor`, the batch that begins where `bytes` end has this offset; without, the last batch may reach beyond.
/// A batch counts from the offset on that is `least` at its place, and up to `end`.
fn chain_start(
    bytes: &[u8],
    least: impl Fn(usize) -> Offset,
    end: Offset,
    anchor: Option<Offset>,
) -> Option<(usize, Offset)> {
    // From the back, so that each place is looked at once: what begins there, and how many headers lead to the end.
    let mut good: Vec<(usize, Offset, usize)> = Vec::new();
    let last_start = bytes.len().checked_sub(BatchHeader::BYTES)?;
    for at in (0..=last_start).rev().filter(|&at| bytes[at + AT_MAGIC] == MAGIC) {
        let Ok(header) = BatchHeader::parse(&bytes[at..]) else { continue };
        let behind = at + header.total_bytes();
        let headers = match anchor {
            Some(anchor) if behind == bytes.len() => (header.next_offset() == anchor).then_some(CHAIN_HEADERS_MIN),
            None if behind + BatchHeader::BYTES > bytes.len() => Some(1),
            _ => {
                // Sorted downwards by place.
                let found = good.binary_search_by(|&(place, ..)| behind.cmp(&place)).ok();
                found.filter(|&index| good[index].1 == header.next_offset()).map(|index| good[index].2 + 1)
            }
        };
        if let Some(headers) = headers
            && header.base_offset >= least(at)
            && header.next_offset() <= end
        {
            good.push((at, header.base_offset, headers));
        }
    }
    let first = good.iter().rev().find(|&&(.., headers)| headers >= CHAIN_HEADERS_MIN);
    first.map(|&(at, offset, _)| (at, offset))
}

const AT_MAGIC: usize = 16;
const MAGIC: u8 = 2;

/// Whether the device, or the file system's own checks, say that bytes are lost: EIO and its kin.
pub(crate) fn is_device_error(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const DEVICE: [Errno; 6] = [Errno::IO, Errno::NODATA, Errno::UCLEAN, Errno::BADMSG, Errno::REMOTEIO, Errno::ILSEQ];
    Errno::from_io_error(error).is_some_and(|errno| DEVICE.contains(&errno))
}

#[cfg(test)]
mod tests {
    use ringmill_batch::{BatchBuilder, Codec, LeaderEpoch, stamp};

    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn batch(base: i64, value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.push(5, None, Some(value), &[]);
        let mut batch = builder.finish();
        stamp(&mut batch, offset(base), LeaderEpoch::ZERO);
        batch.to_vec()
    }

    fn range(offsets: Range<i64>, positions: Range<u64>) -> DamagedRange {
        let offsets = offset(offsets.start)..offset(offsets.end);
        DamagedRange { file: PathBuf::from("f"), positions, offsets, why: "test".to_owned() }
    }

    #[test]
    fn a_batch_inside_a_record_is_not_where_the_log_goes_on() {
        let inner = batch(4, b"forged");
        let damaged = batch(3, &inner);
        let bytes = [&damaged[1..], &batch(4, b"a"), &batch(5, b"b")].concat();
        assert_eq!(
            chain_start(&bytes, |_| offset(4), offset(9), Some(offset(6))),
            Some((damaged.len() - 1, offset(4)))
        );
        assert_eq!(
            chain_start(&bytes, |_| offset(4), offset(9), Some(offset(7))),
            None,
            "the chain must lead to the anchor"
        );
        assert_eq!(
            chain_start(&bytes, |_| offset(5), offset(9), Some(offset(6))),
            Some((bytes.len() - batch(5, b"b").len(), offset(5)))
        );
    }

    #[test]
    fn without_an_anchor_some_headers_in_a_row_are_asked_for() {
        let bytes: Vec<u8> = (4..8).flat_map(|base| batch(base, b"value")).collect();
        let rest = [&[0; 7][..], &bytes, &batch(8, &[1; 100])[..90]].concat();
        assert_eq!(chain_start(&rest, |_| offset(4), offset(9), None), Some((7, offset(4))));
        let two = [&[0; 7][..], &batch(4, b"a"), &batch(5, &[1; 100])[..90]].concat();
        assert_eq!(chain_start(&two, |_| offset(4), offset(9), None), None);
    }

    #[test]
    fn ranges_that_overlap_become_one_and_known_ones_are_not_news() {
        let mut damage = Damage::default();
        assert!(damage.add(range(10..20, 100..200)));
        assert!(!damage.add(range(12..15, 120..150)));
        assert!(damage.add(range(40..50, 400..500)));
        assert!(damage.add(range(15..41, 150..410)));
        assert_eq!(damage.ranges(), [range(10..50, 100..500)]);
        assert!(damage.clear(&(200..300), &(offset(20)..offset(30))));
        assert_eq!(damage.ranges(), [range(10..20, 100..200), range(30..50, 300..500)]);
        assert!(!damage.clear(&(200..300), &(offset(20)..offset(30))), "it is known by now");
        assert!(damage.clear(&(90..600), &(offset(0)..offset(60))) && damage.is_empty());
    }

    #[test]
    fn suspicion_shrinks_by_what_was_looked_at() {
        let mut damage = Damage::default();
        assert!(damage.suspect(100..200) && !damage.suspect(120..130));
        damage.clear_suspects(90..120);
        damage.clear_suspects(150..160);
        assert_eq!(damage.first_suspect_after(0), Some(120..150));
        assert_eq!(damage.first_suspect_after(150), Some(160..200));
        damage.add(range(1..2, 110..300));
        assert_eq!(damage.first_suspect_after(0), None);
    }

    #[test]
    fn more_damage_than_can_be_told_apart_is_joined() {
        let mut damage = Damage::default();
        for number in 0..DAMAGED_RANGES_MAX as i64 + 10 {
            let position = number.unsigned_abs() * 100;
            damage.add(range(number * 10..number * 10 + 1, position..position + 10));
        }
        assert_eq!(damage.ranges().len(), DAMAGED_RANGES_MAX);
        let last = offset(DAMAGED_RANGES_MAX as i64 * 10 + 90);
        assert!(damage.holding(last).is_some() && damage.holding(offset(5)).is_none());
    }
}
