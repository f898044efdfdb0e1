//! Finds out what of a segment can be kept, and what must stand in place of the rest.
//!
//! Everything that a checksum vouches for is kept. The header's fields outside the checksum (base offset, length, epoch, magic) are put
//! right where their neighbours leave no doubt. Lost offsets get an empty batch, so that no record moves and the log has no hole; only
//! the tail of an unclean stop, which nobody was promised, is cut. Reads and decides; `rewrite` writes.

use std::io;
use std::path::Path;

use ringmill_batch::{BatchHeader, COVERED_OFFSETS_MAX, LeaderEpoch, Offset, check_stored};

use super::Finding;
use super::window::Window;
use crate::epochs::EpochList;
use crate::segment::offset_index::lies_in_segment;

/// While batches are looked for behind damage, checksums are computed over at most so many times the file's bytes.
const SEARCH_EFFORT: u64 = 16;

/// Zeros that may end a batch in secured space, while the end of one whose length is damaged is looked for: its last fields.
const ZEROS_AT_END_MAX: u64 = 64;

const AT_BATCH_LENGTH: usize = 8;
const AT_MAGIC: usize = 16;
const MAGIC: u8 = 2;

/// What a segment is to be judged by.
#[derive(Clone, Debug)]
pub(super) struct Bounds<'a> {
    pub(super) base: Offset,
    /// Where the next segment begins; `None` in the newest.
    pub(super) next_base: Option<Offset>,
    /// The last epoch before this segment.
    pub(super) least_epoch: i32,
    /// No batch has a later one.
    pub(super) largest_epoch: i32,
    /// Which epoch reigned where, by the partition's meta. Serving refuses a batch with any other.
    pub(super) reigns: Option<&'a EpochList>,
    /// Everything before it was durable; `None` when the checkpoint is lost.
    pub(super) recovery_point: Option<Offset>,
    /// How much behind the recovery point may have been unsynced.
    pub(super) unsynced_bytes_max: u64,
    /// The last stop was clean.
    pub(super) clean: bool,
}

/// A stretch of the segment as it will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of the old file as they are.
    Keep { from: u64, to: u64 },
    /// A batch of the old file under a header that was put right.
    Mend { from: u64, to: u64, header: BatchHeader },
    /// An empty batch over offsets whose records are lost.
    Cover { first: Offset, end: Offset, leader_epoch: i32 },
}

/// What is to become of a segment.
#[derive(Debug)]
pub(super) struct Salvage {
    pub(super) pieces: Vec<Piece>,
    /// What is wrong, by position; nothing is to be done without any.
    pub(super) findings: Vec<Finding>,
    /// What follows its last batch.
    pub(super) end: Offset,
    pub(super) last_epoch: i32,
    /// Epochs that begin in it.
    pub(super) epochs: Vec<(i32, Offset)>,
    /// The end was cut, and how many offsets were lost with it is not known.
    pub(super) end_is_unknown: bool,
}

/// Looks at the segment file `log`.
pub(super) fn salvage(log: &Path, bounds: Bounds<'_>) -> io::Result<Salvage> {
    let window = Window::open(log)?;
    let effort_left = window.length().saturating_mul(SEARCH_EFFORT);
    let (next, last_epoch) = (bounds.base, bounds.least_epoch);
    let walk = Walk {
        window,
        bounds,
        at: 0,
        next,
        last_epoch,
        damage_from: None,
        first_damage: None,
        sound_end: 0,
        effort_left,
        pieces: Vec::new(),
        findings: Vec::new(),
        epochs: Vec::new(),
    };
    walk.run()
}

/// The state where damage was met first, to which a torn tail goes back.
#[derive(Clone, Copy)]
struct Mark {
    position: u64,
    next: Offset,
    last_epoch: i32,
    pieces: usize,
    findings: usize,
    epochs: usize,
}

struct Walk<'a> {
    window: Window,
    bounds: Bounds<'a>,
    at: u64,
    /// The offset that follows what was passed.
    next: Offset,
    last_epoch: i32,
    /// Where the damage begins that is being passed.
    damage_from: Option<u64>,
    first_damage: Option<Mark>,
    /// Where the last sound batch ends.
    sound_end: u64,
    effort_left: u64,
    pieces: Vec<Piece>,
    findings: Vec<Finding>,
    epochs: Vec<(i32, Offset)>,
}

impl Walk<'_> {
    fn run(mut self) -> io::Result<Salvage> {
        while self.at < self.window.length() {
            match self.sound(self.at)? {
                Some(header) => self.meet(header)?,
                None if self.window.only_zeros_from(self.at)? => break,
                None => self.pass_damage()?,
            }
        }
        self.finish()
    }

    /// The batch at `position`, if its bytes are what its checksum says; its offsets are not judged.
    fn sound(&mut self, position: u64) -> io::Result<Option<BatchHeader>> {
        let length = self.window.length();
        let Ok(header) = BatchHeader::parse(self.window.at(position, BatchHeader::BYTES)?) else { return Ok(None) };
        if header.total_bytes() as u64 > length - position {
            return Ok(None);
        }
        Ok(check_stored(self.window.at(position, header.total_bytes())?).ok())
    }

    /// Passes a batch whose checksum is right.
    fn meet(&mut self, header: BatchHeader) -> io::Result<()> {
        let size = header.total_bytes() as u64;
        let end = self.at + size;
        let following = self.sound(end)?;
        let Some(base_offset) = self.place(&header, end, following.as_ref())? else {
            // Its records are whole, and whose offsets they are cannot be told.
            self.note_damage();
            self.at = end;
            return Ok(());
        };
        self.cover_up_to(base_offset, self.at);
        let right = BatchHeader { base_offset, ..header };
        let right = BatchHeader { leader_epoch: self.epoch_of(&right, following.as_ref()), ..right };
        self.keep(right, right != header, end);
        Ok(())
    }

    fn keep(&mut self, header: BatchHeader, is_mended: bool, end: u64) {
        let from = self.at;
        if is_mended {
            self.findings.push(Finding {
                position: from,
                bytes: end - from,
                lost: None,
                what: "a header's field outside the checksum is put right by its neighbours; no record is lost"
                    .to_owned(),
            });
            self.pieces.push(Piece::Mend { from, to: end, header });
        } else if let Some(Piece::Keep { to, .. }) = self.pieces.last_mut().filter(|_| from == self.sound_end) {
            *to = end;
        } else {
            self.pieces.push(Piece::Keep { from, to: end });
        }
        self.note_epoch(header.leader_epoch, header.base_offset);
        self.next = header.next_offset();
        self.at = end;
        self.sound_end = end;
    }

    fn note_epoch(&mut self, epoch: i32, start: Offset) {
        if epoch > self.last_epoch || self.epochs.is_empty() {
            self.epochs.push((epoch, start));
        }
        self.last_epoch = epoch;
    }

    /// Which offset a sound batch begins with; `None` when that cannot be told.
    fn place(&mut self, header: &BatchHeader, end: u64, following: Option<&BatchHeader>) -> io::Result<Option<Offset>> {
        let claimed = header.base_offset;
        let fits = |base: Offset, this: &Self| {
            let last = base.checked_add(u64::from(header.last_offset_delta.unsigned_abs()));
            last.is_some_and(|last| {
                lies_in_segment(this.bounds.base, last) && this.bounds.next_base.is_none_or(|next| last < next)
            })
        };
        if self.damage_from.is_some() {
            let contradicted = self.is_contradicted(header.next_offset(), end, following)?;
            return Ok((claimed >= self.next && fits(claimed, self) && !contradicted).then_some(claimed));
        }
        if claimed == self.next {
            return Ok(fits(claimed, self).then_some(claimed));
        }
        let behind = match following {
            Some(following) => Some(following.base_offset),
            None => self.end_of_log(end)?,
        };
        let next_if = |base: Offset| base.checked_add(u64::from(header.last_offset_delta.unsigned_abs()) + 1);
        if fits(self.next, self) {
            let follows = behind.is_some() && behind == next_if(self.next);
            // One flipped bit, or an offset from the future: nothing but rot makes these. A batch from the past may be a stale copy of one
            // that stands before, here or in an older segment.
            let is_rot = (claimed.get() ^ self.next.get()).count_ones() == 1
                && claimed >= self.bounds.base
                && !self.stands_before(header.crc)?;
            if (follows && is_rot) || (behind.is_none() && claimed > self.next) {
                return Ok(Some(self.next));
            }
        }
        let is_gap = claimed > self.next && behind.is_none_or(|behind| behind >= header.next_offset());
        Ok((is_gap && fits(claimed, self)).then_some(claimed))
    }

    /// The offset that follows the last batch of the file, if it ends at `end` and that is known.
    fn end_of_log(&mut self, end: u64) -> io::Result<Option<Offset>> {
        if !self.window.only_zeros_from(end)? {
            return Ok(None);
        }
        Ok(self.bounds.next_base.or(self.bounds.recovery_point.filter(|_| self.bounds.clean)))
    }

    /// Whether what follows says with one voice that a batch cannot reach up to `next_offset`.
    fn is_contradicted(&mut self, next_offset: Offset, end: u64, following: Option<&BatchHeader>) -> io::Result<bool> {
        let Some(first) = following else { return Ok(false) };
        if first.base_offset >= next_offset {
            return Ok(false);
        }
        let second = self.sound(end + first.total_bytes() as u64)?;
        Ok(second.is_none_or(|second| second.base_offset < next_offset))
    }

    /// Whether a batch with this checksum was kept before.
    fn stands_before(&mut self, crc: u32) -> io::Result<bool> {
        let kept: Vec<(u64, u64)> = self
            .pieces
            .iter()
            .filter_map(|piece| match *piece {
                Piece::Keep { from, to } | Piece::Mend { from, to, .. } => Some((from, to)),
                Piece::Cover { .. } => None,
            })
            .collect();
        for (mut at, to) in kept {
            while at < to {
                let Ok(header) = BatchHeader::parse(self.window.at(at, BatchHeader::BYTES)?) else { break };
                if header.crc == crc {
                    return Ok(true);
                }
                at += header.total_bytes() as u64;
            }
        }
        Ok(false)
    }

    /// The epoch that reigned at `offset`, if that is known.
    fn reigned_at(&self, offset: Offset) -> Option<i32> {
        self.bounds.reigns?.at(offset).map(LeaderEpoch::get)
    }

    /// The epoch of a sound batch at its right offset: the one that reigned there. Where that is not known its own, unless it goes back,
    /// passes today's, or what follows shows it too high.
    fn epoch_of(&self, header: &BatchHeader, following: Option<&BatchHeader>) -> i32 {
        if let Some(reigned) = self.reigned_at(header.base_offset) {
            return reigned;
        }
        // Before all reigns that are known none was later than the first of them.
        let first_known = self.bounds.reigns.and_then(|reigns| reigns.entries().first());
        let (least, largest) =
            (self.last_epoch, first_known.map_or(self.bounds.largest_epoch, |(epoch, _)| epoch.get()));
        let claimed = header.leader_epoch;
        let following =
            following.map(|following| following.leader_epoch).filter(|epoch| (least..=largest).contains(epoch));
        let is_wrong = !(least..=largest).contains(&claimed) || following.is_some_and(|following| following < claimed);
        if is_wrong { least.max(0) } else { claimed }
    }

    fn note_damage(&mut self) {
        let mark = Mark {
            position: self.at,
            next: self.next,
            last_epoch: self.last_epoch,
            pieces: self.pieces.len(),
            findings: self.findings.len(),
            epochs: self.epochs.len(),
        };
        self.damage_from.get_or_insert(self.at);
        self.first_damage.get_or_insert(mark);
    }

    /// Moves behind bytes that are no sound batch, or puts their header right.
    fn pass_damage(&mut self) -> io::Result<()> {
        let length = self.window.length();
        let header = BatchHeader::parse(self.window.at(self.at, BatchHeader::BYTES)?);
        if let Some(end) = header.ok().map(|header| self.at + header.total_bytes() as u64)
            && end <= length
            && (end == length || self.window.only_zeros_from(end)? || self.can_follow(end)?)
        {
            self.note_damage();
            self.at = end;
            return Ok(());
        }
        let found = self.search(self.at + 1)?;
        if self.damage_from.is_none() && self.mend_length(found)? {
            return Ok(());
        }
        self.note_damage();
        self.at = found.unwrap_or(length);
        Ok(())
    }

    /// Whether a sound batch stands at `position` whose offsets may follow what was passed.
    fn can_follow(&mut self, position: u64) -> io::Result<bool> {
        let Some(header) = self.sound(position)? else { return Ok(false) };
        let is_below = self.bounds.next_base.is_none_or(|next| header.last_offset() < next);
        Ok(header.base_offset >= self.next && is_below && lies_in_segment(self.bounds.base, header.last_offset()))
    }

    /// The next place from `from` on with a sound batch that may follow.
    fn search(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut position = from;
        while position + BatchHeader::BYTES as u64 <= self.window.length() {
            let bytes = self.window.at(position, BatchHeader::BYTES)?;
            let size =
                BatchHeader::parse(bytes).ok().filter(|_| bytes[AT_MAGIC] == MAGIC).map(|header| header.total_bytes());
            if let Some(size) = size.filter(|&size| size as u64 <= self.window.length() - position) {
                let Some(left) = self.effort_left.checked_sub(size as u64) else { return Ok(None) };
                self.effort_left = left;
                if self.can_follow(position)? {
                    return Ok(Some(position));
                }
            }
            position += 1;
        }
        Ok(None)
    }

    /// Tries whether the bytes up to the next batch are one whose length or magic is damaged; true if it was kept.
    fn mend_length(&mut self, found: Option<u64>) -> io::Result<bool> {
        let length = self.window.length();
        let ends = match found {
            Some(end) => end..=end,
            None if self.bounds.next_base.is_some() => length..=length,
            None => {
                // Secured space may follow the newest batch, and its last bytes may be zeros themselves.
                let end = self.data_end()?;
                end..=(end + ZEROS_AT_END_MAX).min(length)
            }
        };
        for end in ends {
            if let Some(header) = self.under_length(end)? {
                self.keep(header, true, end);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn under_length(&mut self, end: u64) -> io::Result<Option<BatchHeader>> {
        let size = end - self.at;
        let Ok(batch_length) = i32::try_from(size.saturating_sub(BatchHeader::LENGTH_PREFIX_BYTES as u64)) else {
            return Ok(None);
        };
        if size < BatchHeader::BYTES as u64 {
            return Ok(None);
        }
        let (at, size) = (self.at, usize::try_from(size).expect("an i32 and a bit"));
        let mut bytes = self.window.at(at, size)?.to_vec();
        bytes[AT_BATCH_LENGTH..AT_BATCH_LENGTH + 4].copy_from_slice(&batch_length.to_be_bytes());
        bytes[AT_MAGIC] = MAGIC;
        let Ok(header) = check_stored(&bytes) else { return Ok(None) };
        let following = self.sound(end)?;
        let behind = match &following {
            Some(following) => Some(following.base_offset),
            None => self.end_of_log(end)?,
        };
        let is_right = header.base_offset == self.next && behind.is_none_or(|behind| behind == header.next_offset());
        let leader_epoch = self.epoch_of(&header, following.as_ref());
        Ok(is_right.then_some(BatchHeader { leader_epoch, ..header }))
    }

    fn data_end(&mut self) -> io::Result<u64> {
        let (mut position, mut end) = (self.at, self.at);
        while position < self.window.length() {
            let bytes = self.window.at(position, 1 << 16)?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                end = position + last as u64 + 1;
            }
            position += bytes.len() as u64;
        }
        Ok(end)
    }

    /// Ends the damage before `position`, where `offset` follows.
    fn cover_up_to(&mut self, offset: Offset, position: u64) {
        let damage_from = self.damage_from.take();
        if damage_from.is_none() && offset == self.next {
            return;
        }
        let from = damage_from.unwrap_or(position);
        let lost = (offset > self.next).then_some(self.next..offset);
        let what = match (&lost, damage_from) {
            (None, _) => "bytes that are no batch and stand for no offset are taken out",
            (Some(_), None) => "offsets are missing here; an empty batch takes their place",
            (Some(_), Some(_)) => "the batches here are damaged; an empty batch takes the place of their offsets",
        };
        self.findings.push(Finding { position: from, bytes: position - from, lost, what: what.to_owned() });
        while self.next < offset {
            let leader_epoch = self.reigned_at(self.next).unwrap_or(self.last_epoch.max(0));
            self.note_epoch(leader_epoch, self.next);
            let reach = self.next.checked_add(COVERED_OFFSETS_MAX).map_or(offset, |reach| reach.min(offset));
            self.pieces.push(Piece::Cover { first: self.next, end: reach, leader_epoch });
            self.next = reach;
        }
    }

    fn finish(mut self) -> io::Result<Salvage> {
        let length = self.window.length();
        let mut end_is_unknown = false;
        if let Some(torn) = self.torn_tail() {
            self.pieces.truncate(torn.pieces);
            self.findings.truncate(torn.findings);
            self.epochs.truncate(torn.epochs);
            (self.next, self.last_epoch) = (torn.next, torn.last_epoch);
            self.findings.push(Finding {
                position: torn.position,
                bytes: length - torn.position,
                lost: None,
                what: "the torn tail of an unclean stop, never acknowledged, is cut".to_owned(),
            });
        } else {
            let reach = self.bounds.next_base.or(self.bounds.recovery_point).filter(|&reach| reach > self.next);
            // Positions say where the next segment begins; no batch reaches further than a segment can.
            let farthest = self.bounds.base.checked_add(COVERED_OFFSETS_MAX);
            let reach = reach.map(|reach| farthest.map_or(reach, |farthest| reach.min(farthest)));
            if let Some(reach) = reach.filter(|&reach| reach > self.next) {
                self.cover_up_to(reach, self.at);
            } else if let Some(from) = self.damage_from {
                let is_newest = self.bounds.next_base.is_none();
                end_is_unknown = is_newest && self.bounds.recovery_point.is_none();
                let what = match is_newest && (end_is_unknown || !self.bounds.clean) {
                    true => "the end is damaged and cut; how many offsets were behind it is not known",
                    false => "bytes behind the last batch that stand for no offset are cut",
                };
                self.findings.push(Finding { position: from, bytes: length - from, lost: None, what: what.to_owned() });
            } else if self.bounds.next_base.is_some() && self.at < length {
                let (position, bytes) = (self.at, length - self.at);
                let what = "zeros at the end of a segment that others follow are cut".to_owned();
                self.findings.push(Finding { position, bytes, lost: None, what });
            }
        }
        let Walk { pieces, findings, next, last_epoch, epochs, .. } = self;
        Ok(Salvage { pieces, findings, end: next, last_epoch, epochs, end_is_unknown })
    }

    /// Where the tail of an unclean stop begins, by the rule of recovery: in the newest segment, not below the recovery point, and no
    /// further from its last valid batch than what may have been unsynced. Without a checkpoint nothing proves that it was not durable.
    fn torn_tail(&self) -> Option<Mark> {
        let mark = self.first_damage?;
        let recovery_point = self.bounds.recovery_point?;
        let is_open = self.bounds.next_base.is_none() && !self.bounds.clean;
        let reach = self.sound_end.saturating_sub(mark.position);
        (is_open && mark.next >= recovery_point && reach <= self.bounds.unsynced_bytes_max).then_some(mark)
    }
}
