//! Writes the segment that a compaction makes: batches one behind the other, empty ones where others are gone, and its indexes.
//!
//! It decides nothing and swaps nothing. Nothing written here is ever read by anybody before it was synced and swapped in.

use std::sync::Arc;

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, Offset, check_stored, covering};

use super::compact::Abandoned;
use super::{Log, swap};
use crate::disk::{Op, OpenHow};
use crate::segment::{IndexCursor, SEGMENT_BYTES_MAX, Segment};

/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;

/// The largest segment that is made; tests have small logs.
pub(super) const OUTPUT_BYTES_MAX: u64 = if cfg!(test) { 1 << 20 } else { SEGMENT_BYTES_MAX };

/// A segment in the making.
pub(super) struct Output<'a> {
    log: &'a Log,
    pub(super) segment: Arc<Segment>,
    cursor: IndexCursor,
    interval_bytes: u64,
    buffer: BytesMut,
    /// Where the next byte goes, the buffer counted.
    position: u64,
    written: u64,
    /// What follows the last batch; a gap before the next one is covered.
    next: Offset,
    /// The epoch of what is gone from `next` on, if anything is.
    gone: Option<i32>,
    is_changed: bool,
}

/// Why a segment was not written to its end.
pub(super) enum Unwritten {
    /// A segment that it is made of turned out to be damaged.
    Damaged,
    /// Recompressed, the records need more room than a segment has.
    Outgrown,
    /// The whole pass ends.
    Abandoned(Abandoned),
}

impl From<Abandoned> for Unwritten {
    fn from(why: Abandoned) -> Unwritten {
        Unwritten::Abandoned(why)
    }
}

impl<'a> Output<'a> {
    /// Begins a segment at `base`.
    pub(super) async fn create(log: &'a Log, base: Offset, interval_bytes: u64) -> Result<Output<'a>, Abandoned> {
        let house = log.keep_house().await?;
        let path = swap::unfinished_path(&log.dir, base);
        let file = log.disk().open(&path, OpenHow::CreateEmpty).await.map_err(Abandoned::io("creating a segment"))?;
        drop(house);
        let segment = Arc::new(Segment::new(&log.dir, base, file));
        segment.offset_index.begin_anew(swap::UNFINISHED_EXTENSION);
        segment.time_index.begin_anew(swap::UNFINISHED_EXTENSION);
        Ok(Output {
            log,
            segment,
            cursor: IndexCursor::new(),
            interval_bytes,
            buffer: BytesMut::new(),
            position: 0,
            written: 0,
            next: base,
            gone: None,
            is_changed: false,
        })
    }

    /// Bytes of the segment so far.
    pub(super) fn bytes(&self) -> u64 {
        self.position
    }

    /// Whether it differs from what it was made of.
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Appends a batch that stays as it is.
    pub(super) async fn keep(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), Unwritten> {
        self.cover_up_to(header.base_offset).await?;
        self.push(header, batch).await
    }

    /// Appends what is left of a batch.
    pub(super) async fn put(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), Unwritten> {
        self.is_changed = true;
        self.keep(header, batch).await
    }

    /// The offsets of a batch have no record any more.
    pub(super) fn skip(&mut self, header: &BatchHeader) {
        // A lone empty batch stays what it is.
        self.is_changed |= header.record_count > 0 || header.has_producer() || self.gone.is_some();
        self.gone.get_or_insert(header.leader_epoch);
    }

    /// Completes the segment, which goes up to `end`, and makes its data durable.
    pub(super) async fn finish(&mut self, end: Offset) -> Result<(), Unwritten> {
        self.cover_up_to(end).await?;
        self.write().await?;
        let synced = self.log.disk().sync_all(self.segment.file()).await;
        synced.map_err(Abandoned::io("syncing a compacted segment"))?;
        self.cursor.finish(&self.segment);
        self.segment.set_largest_timestamp_ms(self.cursor.largest());
        self.segment.close(self.position);
        Ok(())
    }

    /// Removes what was written, and counts its space as free again.
    pub(super) async fn discard(self) {
        self.log.env.space.give_back(self.written);
        // The directory may be another partition's by now; the next start removes what stays.
        if let Ok(_house) = self.log.keep_house().await {
            let path = swap::unfinished_path(&self.log.dir, self.segment.base_offset());
            let _ = self.log.disk().remove_file(&path).await;
            self.segment.offset_index.discard_unnamed(self.log.disk()).await;
            self.segment.time_index.discard_unnamed(self.log.disk()).await;
        }
    }

    /// An empty batch stands for what is gone before `offset`.
    async fn cover_up_to(&mut self, offset: Offset) -> Result<(), Unwritten> {
        if let Some(epoch) = self.gone.take() {
            let cover = covering(self.next, offset, epoch);
            let header = check_stored(&cover).expect("a cover is a sound batch");
            self.push(&header, &cover).await?;
        }
        assert_eq!(self.next, offset, "batches follow one another without a gap");
        Ok(())
    }

    async fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), Unwritten> {
        assert_eq!((self.next, header.total_bytes()), (header.base_offset, batch.len()), "a batch behind the last");
        if self.position + batch.len() as u64 > OUTPUT_BYTES_MAX {
            return Err(Unwritten::Outgrown);
        }
        self.cursor.advance(&self.segment, header, self.position, self.interval_bytes);
        self.buffer.extend_from_slice(batch);
        self.position += batch.len() as u64;
        self.next = header.next_offset();
        if self.segment.offset_index.must_spill() || self.segment.time_index.must_spill() {
            let _house = self.log.keep_house().await?;
            self.segment.offset_index.spill(self.log.disk()).await;
            self.segment.time_index.spill(self.log.disk()).await;
        }
        if self.buffer.len() >= WRITE_BYTES {
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Abandoned> {
        let buffer = std::mem::take(&mut self.buffer);
        let length = buffer.len() as u64;
        if length == 0 {
            return Ok(());
        }
        if !self.log.env.space.take_spare(length) {
            return Err(Abandoned::NoSpace);
        }
        let (disk, file, position) = (self.log.disk(), self.segment.file(), self.written);
        self.written += length;
        let mut buffers = disk.write_all_at(file, position, vec![buffer]).await.map_err(Abandoned::io("writing"))?;
        // The sync at the end finds less to do, and others' syncs meanwhile less in their way.
        drop(disk.submit(Op::StartWriteback { file: file.clone(), position, length }));
        // Memory of a large batch is given back.
        self.buffer = buffers.pop().filter(|buffer| buffer.capacity() <= 2 * WRITE_BYTES).unwrap_or_default();
        self.buffer.clear();
        Ok(())
    }
}
