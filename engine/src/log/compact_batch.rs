//! What a pass of compaction does with one batch: it notes which keys are in it, and later says what stays of it.
//!
//! No I/O and no waiting: a batch comes in as it is stored, and what stays comes out. The memory that one has taken serves the next; after
//! a large one it is given back.

use bytes::BytesMut;
use ringmill_batch::{
    BatchHeader, BatchRewriter, DecompressLimit, HORIZON_BYTES_MAX, Offset, Record, RecordError, RecordReader,
    Rewritten, check_stored, emptied,
};

use super::compact_unread::Unread;
use crate::compaction::CompactionLimits;
use crate::compaction::fate::{BatchFate, Judge};
use crate::compaction::offset_map::{Full, KeyHash};
use crate::compaction::settled::Stays;

/// Memory for one rewritten batch that is kept for the next.
const SCRATCH_BYTES_MAX: usize = 2 << 20;

/// Memory for one batch's decompressed records that is kept for the next.
const PLAIN_BYTES_MAX: usize = 2 << 20;

/// Keys of one batch for which memory is kept for the next.
const FOUND_MAX: usize = 16 << 10;

/// Cleans one batch after the other.
pub(super) struct BatchCleaner {
    pub(super) judge: Judge,
    /// Batches that could not be read: all of each stays.
    pub(super) unread: Unread,
    /// What the records of a batch may take, decompressed.
    decompressed_bytes_max: usize,
    /// From when on the tombstones may go that are met now.
    horizon_ms: i64,
    /// Bytes of records that the pass has not been told of.
    decompressed_bytes: u64,
    reader: RecordReader,
    rewriter: BatchRewriter,
    /// Empty between two batches.
    scratch: BytesMut,
    /// The keys of one batch.
    found: Vec<(KeyHash, Offset)>,
    /// Where the map has them last.
    lasts: Vec<Option<Offset>>,
}

/// What stays of a batch.
pub(super) enum Left {
    /// All of it, as it is stored.
    Whole,
    /// This one in its place. Its memory goes back by [`BatchCleaner::take_back`].
    Changed(BatchHeader, BytesMut),
    /// Its offsets.
    Nothing,
}

impl BatchCleaner {
    pub(super) fn new(judge: Judge, unread: Unread, decompressed_bytes_max: usize, horizon_ms: i64) -> BatchCleaner {
        BatchCleaner {
            judge,
            unread,
            decompressed_bytes_max,
            horizon_ms,
            decompressed_bytes: 0,
            reader: RecordReader::default(),
            rewriter: BatchRewriter::default(),
            scratch: BytesMut::new(),
            found: Vec::new(),
            lasts: Vec::new(),
        }
    }

    /// Notes where the keys of a batch stand, if they supersede anything.
    ///
    /// # Errors
    /// [`Full`]: then some of them may be noted, and others not.
    pub(super) fn note_keys(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), Full> {
        if self.judge.batch(header) != BatchFate::Judge {
            return Ok(());
        }
        let noted = self.note_records(header, batch);
        self.give_back();
        noted
    }

    fn note_records(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), Full> {
        let limit = self.limit(header, header.delete_horizon_ms().is_some());
        let Ok(records) = self.reader.read(batch, limit) else { return Ok(()) };
        self.decompressed_bytes += records.bytes() as u64;
        self.found.clear();
        let mut is_plain = true;
        for record in &records {
            // All or none: what a batch holds that cannot be read to its end supersedes nothing.
            let Ok(record) = record else { return Ok(()) };
            is_plain &= record.key.is_some() && record.value.is_some();
            if let Some(key) = record.key.filter(|_| record.offset >= self.judge.map.first()) {
                self.found.push((self.judge.map.hash(key), record.offset));
            }
        }
        let Judge { map, settled, .. } = &mut self.judge;
        let noted = self.found.iter().try_for_each(|(hash, offset)| {
            map.put(hash, *offset).map(|superseded| superseded.into_iter().for_each(|offset| settled.supersede(offset)))
        });
        if is_plain && noted.is_ok() {
            settled.know(header);
        }
        noted
    }

    /// What stays of a batch, once all keys were noted.
    pub(super) fn clean(&mut self, header: &BatchHeader, batch: &[u8]) -> Left {
        let rewritten = match self.judge.batch(header) {
            BatchFate::Keep => return Left::Whole,
            BatchFate::Cover => return Left::Nothing,
            BatchFate::KeepUnread => Err(self.judge.why_unread(header)),
            BatchFate::Judge => self.rewrite(header, batch).map_err(|error| error.to_string()),
        };
        // Before what stays is written, which may take a while.
        self.give_back();
        match rewritten {
            Ok(Rewritten::Unchanged) => Left::Whole,
            Ok(Rewritten::Changed(changed)) => Left::Changed(changed, std::mem::take(&mut self.scratch)),
            Ok(Rewritten::Emptied) if self.judge.holds_last_sequence(header) => {
                let mut empty = std::mem::take(&mut self.scratch);
                empty.extend_from_slice(&emptied(header));
                Left::Changed(check_stored(&empty).expect("an emptied batch is a sound one"), empty)
            }
            Ok(Rewritten::Emptied) => Left::Nothing,
            Err(why) => {
                self.judge.tombstones_may_go = false;
                self.unread.note(header, why);
                Left::Whole
            }
        }
    }

    /// The memory of a [`Left::Changed`], once it is written.
    pub(super) fn take_back(&mut self, mut batch: BytesMut) {
        if batch.capacity() <= SCRATCH_BYTES_MAX {
            batch.clear();
            self.scratch = batch;
        }
    }

    /// Bytes of records, decompressed, since the last call.
    pub(super) fn take_decompressed_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.decompressed_bytes)
    }

    fn rewrite(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Rewritten, RecordError> {
        match self.judge.settled.stays(header) {
            Some(Stays::All) => Ok(Rewritten::Unchanged),
            Some(Stays::None) => Ok(Rewritten::Emptied),
            Some(Stays::Some) => self.rewrite_settled(header, batch),
            None => self.rewrite_by_keys(header, batch),
        }
    }

    /// What stays of a batch of which it is known: no key is looked at.
    fn rewrite_settled(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Rewritten, RecordError> {
        let limit = self.limit(header, header.delete_horizon_ms().is_some());
        let records = self.reader.read(batch, limit)?;
        self.decompressed_bytes += records.bytes() as u64;
        let settled = &self.judge.settled;
        let keep = |record: &Record<'_>| !settled.is_superseded(record.offset);
        self.rewriter.rewrite(&records, None, keep, limit, &mut self.scratch)
    }

    fn rewrite_by_keys(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Rewritten, RecordError> {
        let limit = self.limit(header, header.delete_horizon_ms().is_some());
        let next_limit = self.limit(header, true);
        let records = self.reader.read(batch, limit)?;
        self.decompressed_bytes += records.bytes() as u64;
        self.found.clear();
        for record in &records {
            let record = record?;
            self.found.push((self.judge.map.hash(record.key.unwrap_or_default()), record.offset));
        }
        // All look-ups in a row: the map is larger than the caches, and the processor waits for several places at once.
        let judge = &self.judge;
        self.lasts.clear();
        self.lasts.extend(self.found.iter().map(|(hash, _)| judge.map.last(hash)));
        let mut lasts = self.lasts.iter().copied();
        let keep = |record: &Record<'_>| judge.keeps(header, record, lasts.next().expect("one for each record"));
        // The time of a tombstone begins when nothing that it hides is left in front.
        let horizon_ms = judge.tombstones_may_go.then_some(self.horizon_ms);
        self.rewriter.rewrite(&records, horizon_ms, keep, next_limit, &mut self.scratch)
    }

    /// What the records of a batch may become: those of one that has a delete horizon were within the limits before it came.
    fn limit(&self, header: &BatchHeader, has_horizon: bool) -> DecompressLimit {
        let records = usize::try_from(header.record_count).expect("a count is never negative");
        let horizon_bytes = if has_horizon { records * HORIZON_BYTES_MAX } else { 0 };
        CompactionLimits::decompress(self.decompressed_bytes_max + horizon_bytes)
    }

    /// After a large batch its memory, also where it could not be read to its end.
    fn give_back(&mut self) {
        if self.found.capacity() > FOUND_MAX {
            (self.found, self.lasts) = (Vec::new(), Vec::new());
        }
        if self.reader.held_bytes() > PLAIN_BYTES_MAX {
            self.reader = RecordReader::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ringmill_batch::{BatchBuilder, Codec};

    use super::*;
    use crate::compaction::offset_map::OffsetMap;
    use crate::compaction::settled::Settled;

    fn cleaner(decompressed_bytes_max: usize) -> BatchCleaner {
        let judge = Judge {
            map: OffsetMap::new([1, 2], 1 << 20, Offset::ZERO, 1000),
            settled: Settled::new(1 << 20, Offset::ZERO, 1000),
            end: Offset::new(1000).unwrap(),
            records_max: 1000,
            now_ms: 0,
            newest: BTreeSet::new(),
            tombstones_may_go: true,
        };
        BatchCleaner::new(judge, Unread::new(Offset::ZERO), decompressed_bytes_max, 0)
    }

    /// 100 records that are more, decompressed, than is kept from one batch to the next.
    fn large(codec: Codec) -> BytesMut {
        let mut builder = BatchBuilder::new(codec, None);
        let value = vec![b'v'; 2 * PLAIN_BYTES_MAX / 100];
        (0..100_u32).for_each(|key| builder.push(0, Some(&key.to_be_bytes()), Some(&value), &[]));
        builder.finish()
    }

    #[test]
    fn the_memory_of_a_large_batch_is_given_back_whether_or_not_it_could_be_read() {
        // After one whose last record is damaged, or that becomes too large, it was kept until another had been read to its end.
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let whole = large(codec);
            let header = BatchHeader::parse(&whole).unwrap();
            let mut damaged = whole.clone();
            let last_offset_delta = header.last_offset_delta + 1;
            BatchHeader { record_count: header.record_count + 1, last_offset_delta, ..header }.write(&mut damaged);
            for (batch, bytes_max, is_read) in
                [(&whole, 64 << 20, true), (&damaged, 64 << 20, false), (&whole, PLAIN_BYTES_MAX + 1, false)]
            {
                let header = BatchHeader::parse(batch).unwrap();
                let mut cleaner = cleaner(bytes_max);
                cleaner.note_keys(&header, batch).unwrap();
                assert_eq!(cleaner.judge.map.len(), if is_read { 100 } else { 0 }, "{codec}");
                let after_noting = cleaner.reader.held_bytes();
                // Where all of a known batch stays it is not read again.
                cleaner.judge.settled.supersede(Offset::ZERO);
                let left = cleaner.clean(&header, batch);
                assert_eq!(
                    (cleaner.unread.count, matches!(left, Left::Whole)),
                    (u64::from(!is_read), !is_read),
                    "{codec}"
                );
                assert_eq!(cleaner.scratch.len(), 0, "what is written next begins anew");
                for held in [after_noting, cleaner.reader.held_bytes()] {
                    assert!(held <= PLAIN_BYTES_MAX, "{codec}, up to {bytes_max}: {held} bytes are kept");
                }
            }
        }
    }
}
