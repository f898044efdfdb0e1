//! The journal: a file whose blocks were all written before, and to which each round is one write, past the page cache and durable when it
//! returns.
//!
//! In front of a round's batches stands what a recovery would need: the round's number, and for each batch whose it is and where it belongs.
//! Whether an entry is whole the batches' own checksums would tell.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::aligned::{ALIGNMENT, Aligned};

/// Zeros are written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;
/// Round number and number of batches.
const ENTRY_HEADER_BYTES: usize = 16;
/// Partition, length and position of each batch.
const BATCH_HEADER_BYTES: usize = 16;

/// See the file's page.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    bytes: u64,
    /// Where the next entry begins.
    position: u64,
    round: u64,
    header: Aligned,
    batches: Aligned,
}

impl Journal {
    /// Makes a journal for rounds of `partitions` batches, all of it written with zeros and durable.
    pub(super) fn create(dir: &Path, bytes: u64, partitions: usize, batch_bytes: usize) -> io::Result<Journal> {
        let path = dir.join("journal");
        let flags = i32::try_from((OFlags::DIRECT | OFlags::DSYNC).bits()).expect("open flags fit an int");
        let opened = OpenOptions::new().read(true).write(true).create_new(true).custom_flags(flags).open(&path);
        let file = opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let header_bytes = (ENTRY_HEADER_BYTES + partitions * BATCH_HEADER_BYTES).next_multiple_of(ALIGNMENT);
        let journal = Journal {
            file,
            bytes: bytes.next_multiple_of(PIECE_BYTES as u64),
            position: 0,
            round: 0,
            header: Aligned::new(header_bytes),
            batches: Aligned::new(partitions * batch_bytes),
        };
        let entry_bytes = journal.entry_bytes();
        if entry_bytes > journal.bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a round takes {entry_bytes} bytes, the journal has {}: --journal-mib gives it more",
                    journal.bytes
                ),
            ));
        }
        journal.write_zeros()?;
        Ok(journal)
    }

    fn write_zeros(&self) -> io::Result<()> {
        fallocate(&self.file, FallocateFlags::empty(), 0, self.bytes)?;
        let zeros = Aligned::new(PIECE_BYTES);
        for piece in 0..self.bytes / PIECE_BYTES as u64 {
            self.file.write_all_at(zeros.bytes(), piece * PIECE_BYTES as u64)?;
        }
        self.file.sync_all()
    }

    fn entry_bytes(&self) -> u64 {
        (self.header.bytes().len() + self.batches.bytes().len()) as u64
    }

    /// Whether the next entry would overwrite the first ones: what they hold must be durable elsewhere before [`Journal::begin_anew`].
    pub(super) fn is_full(&self) -> bool {
        self.position + self.entry_bytes() > self.bytes
    }

    pub(super) fn begin_anew(&mut self) {
        self.position = 0;
    }

    /// Makes a round durable: one batch for each partition, all of which belong at `place` in their files.
    pub(super) fn write(&mut self, batch: &[u8], place: u64) -> io::Result<()> {
        assert!(!self.is_full(), "the journal was not begun anew");
        self.fill(batch, place);
        let slices = [IoSlice::new(self.header.bytes()), IoSlice::new(self.batches.bytes())];
        let count = rustix::io::pwritev(&self.file, &slices, self.position)?;
        if count as u64 != self.entry_bytes() {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "the journal's write stopped short"));
        }
        self.position += self.entry_bytes();
        self.round += 1;
        Ok(())
    }

    /// Batches come in memory of their own, at any address: a copy of each is part of the price.
    fn fill(&mut self, batch: &[u8], place: u64) {
        let batches = self.batches.bytes_mut().chunks_exact_mut(batch.len());
        let count = batches.len() as u64;
        batches.for_each(|copy| copy.copy_from_slice(batch));
        let header = self.header.bytes_mut();
        header[..8].copy_from_slice(&self.round.to_be_bytes());
        header[8..16].copy_from_slice(&count.to_be_bytes());
        let entries = header[ENTRY_HEADER_BYTES..].chunks_exact_mut(BATCH_HEADER_BYTES);
        for (entry, partition) in entries.zip(0..count) {
            let packed = partition << 32 | batch.len() as u64;
            entry[..8].copy_from_slice(&packed.to_be_bytes());
            entry[8..].copy_from_slice(&place.to_be_bytes());
        }
    }
}
