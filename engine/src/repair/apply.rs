//! Does what a plan says, step by step, with a copy of everything before it is changed.
//!
//! Every action turns a damaged file into a sound one at one moment, and none needs another to have been done to be safe: a plan that
//! was stopped is made anew and goes on with what is left.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ringmill_batch::{BatchHeader, Offset, covering};

use super::hand::{Hand, writing};
use super::salvage::Piece;
use super::{Action, Applied, Plan, Step};
use crate::disk::{Disk, OpenHow, PosixDisk, block_on};
use crate::segment::Segment;
use crate::segment::damage::BatchEnd;
use crate::segment::file::{self, FileKind};
use crate::segment::rebuild::rebuild;
use crate::verify::files::COPIES_PREFIX;
use crate::verify::{VerifyOptions, segment};

/// Where rebuilt indexes have their entries; a topic's own distance holds again from its next segment on.
const INDEX_INTERVAL_BYTES: u64 = 4096;

/// Directories of copies that are tried for a free name.
const COPIES_MAX: u32 = 100_000;

pub(super) fn apply(plan: &Plan, hand: &Hand) -> io::Result<Applied> {
    let mut copies = Copies { hand, root: &plan.root, directory: make_copies_dir(&plan.root, hand)?, copied: 0 };
    for action in &plan.actions {
        act(action, &mut copies).map_err(|error| {
            let what =
                format!("{}: {error}; the copies so far are in {}", action.file.display(), copies.directory.display());
            io::Error::new(error.kind(), what)
        })?;
    }
    Ok(Applied { copies: copies.directory, copied: copies.copied })
}

/// The directory that keeps the files of this repair as they were.
struct Copies<'a> {
    hand: &'a Hand,
    root: &'a Path,
    directory: PathBuf,
    copied: u64,
}

/// A new one each time: no copy ever takes the place of an older one.
fn make_copies_dir(root: &Path, hand: &Hand) -> io::Result<PathBuf> {
    for number in 1..COPIES_MAX {
        let directory = root.join(format!("{COPIES_PREFIX}{number}"));
        if !directory.exists() && hand.make_dir(&directory)? {
            return Ok(directory);
        }
    }
    Err(io::Error::other(format!("there are {COPIES_MAX} directories of copies in {}: remove some", root.display())))
}

impl Copies<'_> {
    /// Keeps `file` if it exists, under its path below the root.
    fn keep(&mut self, file: &Path) -> io::Result<()> {
        if !file.exists() {
            return Ok(());
        }
        let below = file.strip_prefix(self.root).expect("a plan's files lie below its root");
        let copy = self.directory.join(below);
        if let Some(directory) = copy.parent().filter(|directory| !directory.exists()) {
            self.hand.make_dir(directory)?;
        }
        self.hand.keep(file, &copy)?;
        self.copied += 1;
        Ok(())
    }
}

fn act(action: &Action, copies: &mut Copies<'_>) -> io::Result<()> {
    let (file, hand) = (&action.file, copies.hand);
    match &action.step {
        Step::MakeDirectory => hand.make_dir(file).map(drop),
        Step::Remove => {
            copies.keep(file)?;
            hand.remove(file)
        }
        Step::Replace(bytes) => {
            copies.keep(file)?;
            hand.replace(file, writing(bytes))
        }
        Step::Rewrite(pieces) => {
            // The indexes go first: none may stand beside a segment that it was not made of.
            for index in ["index", "timeindex"].map(|extension| file.with_extension(extension)) {
                copies.keep(&index)?;
                hand.remove(&index)?;
            }
            copies.keep(file)?;
            hand.replace(file, |new| write_pieces(file, pieces, new))
        }
        Step::Index(base) => {
            let directory = file.parent().expect("an index lies in its partition's directory");
            for kind in [FileKind::OffsetIndex, FileKind::TimeIndex] {
                let index = file::path(directory, *base, kind);
                copies.keep(&index)?;
                // Rebuilding replaces by a rename; what is linked above is never written.
                hand.remove(&index)?;
            }
            build_indexes(directory, *base)?;
            hand.give(&file::path(directory, *base, FileKind::OffsetIndex))?;
            hand.give(&file::path(directory, *base, FileKind::TimeIndex))
        }
    }
}

/// Puts a segment together out of pieces of the old one and empty batches.
fn write_pieces(old: &Path, pieces: &[Piece], new: &mut File) -> io::Result<()> {
    let old = || File::open(old);
    for piece in pieces {
        match piece {
            Piece::Keep { from, to } => {
                let mut old = old()?;
                old.seek(SeekFrom::Start(*from))?;
                let copied = io::copy(&mut old.take(to - from), new)?;
                if copied != to - from {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Piece::Mend { from, to, header } => {
                let mut bytes = vec![0; usize::try_from(to - from).expect("a batch fits into memory")];
                let mut old = old()?;
                old.seek(SeekFrom::Start(*from))?;
                old.read_exact(&mut bytes)?;
                assert_eq!(bytes.len(), header.total_bytes(), "the header is another batch's");
                header.write(&mut bytes[..BatchHeader::BYTES]);
                new.write_all(&bytes)?;
            }
            Piece::Cover { first, end, leader_epoch } => new.write_all(&covering(*first, *end, *leader_epoch))?,
        }
    }
    Ok(())
}

/// Makes both indexes of the segment `base` out of its batches.
fn build_indexes(directory: &Path, base: Offset) -> io::Result<()> {
    let log = file::path(directory, base, FileKind::Log);
    // Secured space behind the newest batches is none of theirs.
    let found = segment::verify(&log, base, true, None, VerifyOptions::default(), &mut Vec::new());
    let end = BatchEnd { position: found.bytes, offset: found.next_offset };
    let disk = PosixDisk::new(1)?;
    block_on(&disk, async {
        let disk: &dyn Disk = &disk;
        let segment = Segment::new(directory, base, disk.open(&log, OpenHow::Read).await?);
        let cursor = rebuild(disk, &segment, end, INDEX_INTERVAL_BYTES).await?;
        cursor.finish(&segment);
        segment.offset_index.finish(disk).await?;
        segment.time_index.finish(disk).await?;
        disk.sync_dir(directory).await
    })
}
