//! A sparse index file of fixed-size entries that rise: the newest in memory, the rest in the file.
//!
//! The owner core pushes and spills; any core looks up. Only [`TAIL_ENTRIES_MAX`] entries stay in memory, so that memory is
//! flat however large the partition grows. The file is created at the first spill or at close, opened when first needed, and
//! never trusted: whoever follows an entry checks the batch that it finds. Losing an index costs time, nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

use crate::disk::{Disk, DiskFile, OpenHow};

/// Entries of one index in memory, at most.
pub(crate) const TAIL_ENTRIES_MAX: usize = 512;

/// From so many on the tail spills: a group of appends adds no more than the other half.
const SPILL_ENTRIES: usize = TAIL_ENTRIES_MAX / 2;

/// Entries that stay in memory when the tail spills: the newest, which readers at the end ask for.
const TAIL_ENTRIES_KEPT: usize = 128;

/// What an index file holds.
pub(crate) trait IndexEntry: Copy {
    /// Size in the file.
    const BYTES: usize;
    /// Appends the entry as the file holds it.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads an entry of exactly [`IndexEntry::BYTES`].
    fn decode(bytes: &[u8]) -> Self;
    /// Whether this entry may stand behind `earlier`.
    fn may_follow(&self, earlier: &Self) -> bool;
}

/// See the file's page. One type parameter: the two indexes differ in nothing but their entries.
#[derive(Debug)]
pub(crate) struct SparseIndex<E> {
    path: PathBuf,
    /// Open once somebody needed it.
    file: Mutex<Option<DiskFile>>,
    tail: Mutex<Tail<E>>,
}

#[derive(Debug)]
struct Tail<E> {
    /// Entries in the file, all older than those below.
    spilled: u64,
    entries: Vec<E>,
    /// The newest entry ever pushed.
    last: Option<E>,
    /// Entries were left out: the file must not be taken for whole.
    lacks_entries: bool,
    /// The file is being built anew beside the old one under a name with this extension more, and gets its own when it is whole.
    temporary: Option<&'static str>,
}

impl<E> Tail<E> {
    fn of_file(spilled: u64, last: Option<E>) -> Tail<E> {
        Tail { spilled, entries: Vec::new(), last, lacks_entries: false, temporary: None }
    }
}

impl<E: IndexEntry> SparseIndex<E> {
    /// An empty index whose file, if there is one, counts for nothing.
    pub(crate) fn new(path: PathBuf) -> SparseIndex<E> {
        SparseIndex { path, file: Mutex::new(None), tail: Mutex::new(Tail::of_file(0, None)) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an entry; one that may not follow the last is a bug of the caller.
    pub(crate) fn push(&self, entry: E) {
        let mut tail = self.lock();
        assert!(tail.last.is_none_or(|last| entry.may_follow(&last)), "an index entry goes back in {:?}", self.path);
        tail.entries.push(entry);
        tail.last = Some(entry);
        assert!(tail.entries.len() <= TAIL_ENTRIES_MAX, "{} entries wait to be spilled", tail.entries.len());
    }

    /// The newest entry pushed by this process.
    pub(crate) fn last_pushed(&self) -> Option<E> {
        self.lock().last
    }

    /// Entries that are not in the file yet.
    #[cfg(test)]
    pub(crate) fn entries_in_memory(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether [`SparseIndex::spill`] has something to do.
    pub(crate) fn must_spill(&self) -> bool {
        self.lock().entries.len() >= SPILL_ENTRIES
    }

    /// Moves the older half of the tail into the file, unsynced. When that fails the entries are dropped: lookups then start
    /// from an older entry, which is slower and just as right.
    pub(crate) async fn spill(&self, disk: &dyn Disk) {
        if let Err(error) = self.spill_all_but(disk, TAIL_ENTRIES_KEPT).await {
            tracing::warn!(path = %self.path.display(), %error, "index entries could not be written and are left out");
            let mut tail = self.lock();
            let drop_count = tail.entries.len().saturating_sub(TAIL_ENTRIES_KEPT);
            tail.entries.drain(..drop_count);
            tail.lacks_entries = true;
        }
    }

    /// Writes all entries, cuts the file to them and makes it durable; the memory is given back.
    ///
    /// # Errors
    /// The disk's, and when an earlier spill had left entries out: [`SparseIndex::discard`] it.
    pub(crate) async fn finish(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.lock().lacks_entries {
            return Err(io::Error::other("entries were left out before"));
        }
        self.spill_all_but(disk, 0).await?;
        let length = self.lock().spilled * E::BYTES as u64;
        let file = self.writable(disk).await?;
        disk.set_length(&file, length).await?;
        disk.sync_all(&file).await?;
        let file_path = self.file_path();
        if file_path != self.path {
            disk.rename(&file_path, &self.path).await?;
            self.lock().temporary = None;
        }
        self.lock().entries = Vec::new();
        // Whoever looks something up opens it again: most closed segments are never asked.
        self.set_opened(None);
        Ok(())
    }

    /// Removes the file, so that the next start sees that there is none. Lookups fail until the index is rebuilt, and are then made
    /// without it.
    pub(crate) async fn discard(&self, disk: &dyn Disk) {
        self.set_opened(None);
        self.lock().lacks_entries = true;
        match disk.remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "an index that lacks entries stays");
            }
            _ => {}
        }
    }

    /// Removes a file that has not got its name.
    pub(crate) async fn discard_unnamed(&self, disk: &dyn Disk) {
        if self.lock().temporary.is_some() {
            self.set_opened(None);
            let _ = disk.remove_file(&self.file_path()).await;
        }
    }

    async fn spill_all_but(&self, disk: &dyn Disk, kept: usize) -> io::Result<()> {
        let (position, count, bytes) = {
            let tail = self.lock();
            let count = tail.entries.len().saturating_sub(kept);
            let mut bytes = Vec::with_capacity(count * E::BYTES);
            tail.entries[..count].iter().for_each(|entry| entry.encode(&mut bytes));
            (tail.spilled * E::BYTES as u64, count, bytes)
        };
        if count == 0 {
            return Ok(());
        }
        let file = self.writable(disk).await?;
        disk.write_all_at(&file, position, vec![BytesMut::from(&bytes[..])]).await?;
        let mut tail = self.lock();
        tail.entries.drain(..count);
        tail.spilled += count as u64;
        Ok(())
    }

    /// The file, for the owner. It is made empty when this process has put nothing into it yet.
    async fn writable(&self, disk: &dyn Disk) -> io::Result<DiskFile> {
        if let Some(file) = self.opened() {
            return Ok(file);
        }
        let spilled = self.lock().spilled;
        let how = if spilled == 0 { OpenHow::CreateEmpty } else { OpenHow::ReadWrite };
        let file = disk.open(&self.file_path(), how).await?;
        self.set_opened(Some(file.clone()));
        Ok(file)
    }

    /// The last entry for which `before` holds; it must hold for a prefix of the entries. Never wrong about the tail; about the
    /// file as good as the file.
    ///
    /// # Errors
    /// The disk's, and `UnexpectedEof` when the file is shorter than it was.
    pub(crate) async fn last_where(&self, disk: &dyn Disk, before: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let spilled = {
            let tail = self.lock();
            let count = tail.entries.partition_point(&before);
            if count > 0 {
                return Ok(Some(tail.entries[count - 1]));
            }
            tail.spilled
        };
        if spilled == 0 {
            return Ok(None);
        }
        let file = self.readable(disk).await?;
        let (mut low, mut high, mut found) = (0, spilled, None);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = read_entry::<E>(disk, &file, middle).await?;
            if before(&entry) {
                found = Some(entry);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// The first entry for which `is_reached` holds; it must hold for all behind that. As good as the file.
    ///
    /// # Errors
    /// As [`SparseIndex::last_where`].
    pub(crate) async fn first_where(&self, disk: &dyn Disk, is_reached: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let (spilled, before, in_tail) = {
            let tail = self.lock();
            let before = tail.entries.partition_point(|entry| !is_reached(entry));
            (tail.spilled, before, tail.entries.get(before).copied())
        };
        if before > 0 || spilled == 0 {
            return Ok(in_tail);
        }
        let file = self.readable(disk).await?;
        let (mut low, mut high, mut found) = (0, spilled, in_tail);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = read_entry::<E>(disk, &file, middle).await?;
            if is_reached(&entry) {
                found = Some(entry);
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(found)
    }

    async fn readable(&self, disk: &dyn Disk) -> io::Result<DiskFile> {
        if let Some(file) = self.opened() {
            return Ok(file);
        }
        let file = disk.open(&self.file_path(), OpenHow::Read).await?;
        self.set_opened(Some(file.clone()));
        Ok(file)
    }

    /// Opens the file, if there is one, so that it can still be asked when its name is gone.
    pub(crate) async fn keep_open(&self, disk: &dyn Disk) {
        if self.lock().spilled > 0 {
            // Lookups are made without it else.
            let _ = self.readable(disk).await;
        }
    }

    /// Takes a closed segment's file as it is, after a glance at its size and its last entry.
    ///
    /// # Errors
    /// Missing, of an impossible size, or the disk's: rebuild it.
    pub(crate) async fn adopt(&self, disk: &dyn Disk) -> io::Result<Option<E>> {
        let file = disk.open(&self.path, OpenHow::Read).await?;
        let length = disk.info(&file).await?.length;
        let count = length / E::BYTES as u64;
        if !length.is_multiple_of(E::BYTES as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its size is no multiple of its entries'"));
        }
        let last = match count {
            0 => None,
            _ => Some(read_entry::<E>(disk, &file, count - 1).await?),
        };
        // The descriptor is dropped: an index that nobody asks needs none.
        *self.lock() = Tail::of_file(count, last);
        Ok(last)
    }

    /// Takes the longest prefix of the file whose entries rise and satisfy `keep`, for a segment that goes on being written.
    /// Gives the last kept entry. A missing file is an empty one.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn adopt_prefix(&self, disk: &dyn Disk, keep: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let file = match disk.open(&self.path, OpenHow::ReadWrite).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = disk.info(&file).await?.length;
        let (mut count, mut last): (u64, Option<E>) = (0, None);
        'file: while (count + 1) * E::BYTES as u64 <= length {
            let bytes = disk.read_at(&file, count * E::BYTES as u64, ADOPT_ENTRIES * E::BYTES).await?;
            for entry in bytes.chunks_exact(E::BYTES).map(E::decode) {
                if !keep(&entry) || last.is_some_and(|last| !entry.may_follow(&last)) {
                    break 'file;
                }
                last = Some(entry);
                count += 1;
            }
            if bytes.len() < E::BYTES {
                break;
            }
        }
        self.set_opened(Some(file));
        *self.lock() = Tail::of_file(count, last);
        Ok(last)
    }

    /// Cuts off the file, durably, what is not believed: entries of batches that were lost must not be met by a later start.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn cut_file(&self, disk: &dyn Disk) -> io::Result<()> {
        let length = self.lock().spilled * E::BYTES as u64;
        let file = match disk.open(&self.path, OpenHow::ReadWrite).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if disk.info(&file).await?.length > length {
            disk.set_length(&file, length).await?;
            disk.sync_all(&file).await?;
        }
        Ok(())
    }

    /// Forgets every entry; the next spill begins the file anew.
    pub(crate) fn clear(&self) {
        *self.lock() = Tail::of_file(0, None);
        self.set_opened(None);
    }

    /// Forgets every entry. The file is made beside the old one until [`SparseIndex::finish`], for a start would take a part of it
    /// for the whole; who else does so for the same offset at that time gives its file another extension.
    pub(crate) fn begin_anew(&self, temporary: &'static str) {
        self.clear();
        self.lock().temporary = Some(temporary);
    }

    fn file_path(&self) -> PathBuf {
        match self.lock().temporary {
            Some(temporary) => self.path.with_added_extension(temporary),
            None => self.path.clone(),
        }
    }

    fn opened(&self) -> Option<DiskFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_opened(&self, file: Option<DiskFile>) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    fn lock(&self) -> MutexGuard<'_, Tail<E>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries read at once while a file is taken over.
const ADOPT_ENTRIES: usize = 4096;

async fn read_entry<E: IndexEntry>(disk: &dyn Disk, file: &DiskFile, number: u64) -> io::Result<E> {
    let mut bytes = [0_u8; 16];
    let bytes = &mut bytes[..E::BYTES];
    let position = number * E::BYTES as u64;
    match disk.try_read(file, position, bytes) {
        Ok(count) if count == E::BYTES => return Ok(E::decode(bytes)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    let read = disk.read_at(file, position, E::BYTES).await?;
    if read.len() < E::BYTES {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(E::decode(&read))
}
