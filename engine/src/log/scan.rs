//! Reads a segment's bytes and says which batches are whole: for an unclean start and the scrub past a page cache that cannot be trusted, for
//! compaction through it.
//!
//! It decides nothing: what is corruption and what a torn tail is recovery's.

use std::io;
use std::ops::RangeInclusive;

use bytes::BytesMut;
use ringmill_batch::{BatchHeader, Offset, check_stored};

use crate::disk::{Disk, DiskFile};
use crate::segment::damage::is_device_error;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// While batches are looked for behind a damaged place, checksums are computed over at most so many times the bytes there, so
/// that no input makes this search quadratic.
const SEARCH_EFFORT: u64 = 4;

/// Reads one file, mostly forwards.
pub(super) struct Scan<'a> {
    disk: &'a dyn Disk,
    file: &'a DiskFile,
    length: u64,
    /// Only what the device holds counts. Whether a page was really dropped from the cache cannot always be told.
    past_the_cache: bool,
    buffer: BytesMut,
    buffer_position: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(disk: &'a dyn Disk, file: &'a DiskFile, length: u64, past_the_cache: bool) -> Scan<'a> {
        Scan { disk, file, length, past_the_cache, buffer: BytesMut::new(), buffer_position: 0 }
    }

    /// The batch at `position`: whole, with the right checksum, and going neither in offset nor in epoch behind what is given.
    pub(super) async fn batch(
        &mut self,
        position: u64,
        at_least: Offset,
        epochs: &RangeInclusive<i32>,
    ) -> io::Result<Result<BatchHeader, String>> {
        let bytes = self.bytes(position, BatchHeader::BYTES).await?;
        let header = match BatchHeader::parse(bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let size = header.total_bytes() as u64;
        if size > self.length - position {
            return Ok(Err(format!("a batch of {size} bytes passes the end of the file at {}", self.length)));
        }
        if header.base_offset < at_least {
            return Ok(Err(format!("offset {} where {at_least} is next", header.base_offset)));
        }
        if !epochs.contains(&header.leader_epoch) {
            return Ok(Err(format!("leader epoch {} outside {epochs:?}", header.leader_epoch)));
        }
        let bytes = self.bytes(position, header.total_bytes()).await?;
        Ok(check_stored(bytes).map_err(|error| error.to_string()))
    }

    /// Where the last byte that is not zero ends, `from` if there is none: secured space is zeros.
    pub(super) async fn data_end(&mut self, from: u64) -> io::Result<u64> {
        let (mut position, mut end) = (from, from);
        while position < self.length {
            // Asked before the first read: reading turns a hole into pages.
            match self.disk.next_data(self.file, position).await? {
                Some(data) => position = data.max(position),
                None => break,
            }
            let bytes = self.bytes(position, CHUNK_BYTES).await?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len() as u64;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                end = position + last as u64 + 1;
            }
            position += count;
        }
        Ok(end)
    }

    /// Where the last valid batch between the bad byte at `from` and `data_end` ends; `from` if there is none. And the offset behind it,
    /// if one was seen.
    pub(super) async fn last_valid_end(
        &mut self,
        from: u64,
        data_end: u64,
        at_least: Offset,
        epochs: &RangeInclusive<i32>,
    ) -> io::Result<(u64, Option<Offset>)> {
        let mut effort_left = (data_end - from).saturating_mul(SEARCH_EFFORT);
        let (mut position, mut end, mut next) = (from + 1, from, None);
        while position + BatchHeader::BYTES as u64 <= data_end {
            let Some((candidate, size)) = self.next_candidate(position, data_end, at_least, epochs).await? else {
                break;
            };
            if size > effort_left {
                // Not searched to its end: the whole rest counts as written, which errs towards touching nothing.
                return Ok((data_end, next));
            }
            effort_left -= size;
            match self.batch(candidate, at_least, epochs).await? {
                Ok(header) => {
                    position = candidate + header.total_bytes() as u64;
                    end = position;
                    next = next.max(Some(header.next_offset()));
                }
                Err(_) => position = candidate + 1,
            }
        }
        Ok((end, next))
    }

    /// The next place that looks like the header of a batch that fits there, and the size it claims.
    async fn next_candidate(
        &mut self,
        from: u64,
        data_end: u64,
        at_least: Offset,
        epochs: &RangeInclusive<i32>,
    ) -> io::Result<Option<(u64, u64)>> {
        let length = self.length;
        let mut position = from;
        while position + BatchHeader::BYTES as u64 <= data_end {
            let bytes = self.bytes(position, CHUNK_BYTES).await?;
            if bytes.len() < BatchHeader::BYTES {
                return Ok(None);
            }
            let starts = bytes.len() - BatchHeader::BYTES + 1;
            for start in (0..starts).filter(|start| bytes[start + MAGIC_AT] == MAGIC) {
                let Ok(header) = BatchHeader::parse(&bytes[start..start + BatchHeader::BYTES]) else { continue };
                let (candidate, size) = (position + start as u64, header.total_bytes() as u64);
                let fits = size <= length - candidate;
                if fits && header.base_offset >= at_least && epochs.contains(&header.leader_epoch) {
                    return Ok(Some((candidate, size)));
                }
            }
            position += starts as u64;
        }
        Ok(None)
    }

    /// The bytes from `position`, `length` of them or fewer where the file ends.
    pub(super) async fn bytes(&mut self, position: u64, length: usize) -> io::Result<&[u8]> {
        let length = usize::try_from(self.length.saturating_sub(position)).unwrap_or(usize::MAX).min(length);
        let held = position >= self.buffer_position
            && position + length as u64 <= self.buffer_position + self.buffer.len() as u64;
        if !held {
            // Given back first: the next one is as large.
            self.buffer = BytesMut::new();
            self.buffer = match self.read(position, length.max(CHUNK_BYTES)).await {
                // What is asked for may be well, and only something behind it not.
                Err(error) if is_device_error(&error) && length < CHUNK_BYTES => self.read(position, length).await?,
                read => read?,
            };
            self.buffer_position = position;
        }
        let start = usize::try_from(position - self.buffer_position).expect("within the buffer");
        let end = (start + length).min(self.buffer.len());
        Ok(&self.buffer[start..end])
    }

    async fn read(&self, position: u64, length: usize) -> io::Result<BytesMut> {
        if self.past_the_cache {
            return self.disk.read_direct(self.file, position, length).await;
        }
        self.disk.read_at(self.file, position, length).await
    }
}

const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;
