//! One simulated file: what the page cache shows, what the device holds, and what stands between the two.
//!
//! The cache is a memfd, so that its ranges can be sent like any file's. Dirty data is kept by sectors of 512 bytes, each with
//! the number of the write that dirtied it. It knows no names, no operations and no probabilities beyond a crash's.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use bytes::BytesMut;
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::io::Errno;

use super::prng::Prng;

/// The unit of caching and of allocation.
pub(super) const PAGE_BYTES: u64 = 4096;

/// What the device writes as a whole or not at all.
type Sector = [u8; 512];

const ZEROS: Sector = [0; 512];
const SECTOR_BYTES: u64 = ZEROS.len() as u64;

#[derive(Debug)]
pub(super) struct Inode {
    cache: OwnedFd,
    length: u64,
    pub(super) modified_ms: i64,
    /// Sectors on the device; one that is missing reads as zeros.
    durable: BTreeMap<u64, Durable>,
    durable_length: u64,
    /// The write number up to which `durable_length` is right.
    durable_length_at: u64,
    /// The length was set and not grown by writing since: file systems journal that, so a power cut leaves the old one or the new.
    /// Only the synchronous face asks for it; logs have to bear any length in between.
    length_is_whole: bool,
    /// Written or cut and not synced: sector → number of the last write to it.
    dirty: BTreeMap<u64, u64>,
    /// Sectors whose sync failed: the cache shows the new bytes, the device has the old, and nothing tells.
    lost: BTreeSet<u64>,
    /// Pages that are not in the cache, as far as anyone asks.
    cold: BTreeSet<u64>,
    /// Pages that have space on the device.
    allocated: BTreeSet<u64>,
}

#[derive(Debug)]
struct Durable {
    write_number: u64,
    bytes: Sector,
}

/// What a sync has to make durable: the state of the file when the sync was submitted.
#[derive(Debug)]
pub(super) struct Capture {
    write_number: u64,
    length: u64,
    sectors: BTreeMap<u64, Durable>,
}

impl Inode {
    pub(super) fn new(now_ms: i64) -> Result<Inode, Errno> {
        Ok(Inode {
            cache: empty_cache()?,
            length: 0,
            modified_ms: now_ms,
            durable: BTreeMap::new(),
            durable_length: 0,
            durable_length_at: 0,
            length_is_whole: false,
            dirty: BTreeMap::new(),
            lost: BTreeSet::new(),
            cold: BTreeSet::new(),
            allocated: BTreeSet::new(),
        })
    }

    /// A descriptor of the cache's view.
    pub(super) fn descriptor(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.cache, 0)
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn allocated_pages(&self) -> u64 {
        self.allocated.len() as u64
    }

    /// How many pages of a range have no space yet.
    pub(super) fn unallocated_pages(&self, position: u64, length: u64) -> u64 {
        let range = pages(position, length);
        range.end - range.start - self.allocated.range(range).count() as u64
    }

    pub(super) fn read(&mut self, position: u64, length: usize) -> Result<BytesMut, Errno> {
        let bytes = self.peek(position, length)?;
        self.warm(position, bytes.len() as u64);
        Ok(bytes)
    }

    fn warm(&mut self, position: u64, length: u64) {
        for page in pages(position, length) {
            self.cold.remove(&page);
        }
    }

    fn peek(&self, position: u64, length: usize) -> Result<BytesMut, Errno> {
        let mut bytes =
            BytesMut::zeroed(length.min(usize::try_from(self.length.saturating_sub(position)).unwrap_or(usize::MAX)));
        let mut filled = 0;
        while filled < bytes.len() {
            let count = rustix::io::pread(&self.cache, &mut bytes[filled..], position + filled as u64)?;
            assert!(count > 0, "the memfd is as long as the file");
            filled += count;
        }
        Ok(bytes)
    }

    /// What a read past the cache gives: dirty data is written out first, as the kernel does; what a failed sync lost is not.
    pub(super) fn read_direct(&self, position: u64, length: usize) -> Result<BytesMut, Errno> {
        let mut bytes = self.peek(position, length)?;
        for sector in sectors(position, bytes.len() as u64) {
            if self.lost.contains(&sector) {
                overlay(&mut bytes, position, sector, &self.durable_sector(sector));
            }
        }
        Ok(bytes)
    }

    pub(super) fn write(&mut self, position: u64, bytes: &[u8], write_number: u64, now_ms: i64) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        while written < bytes.len() {
            written += rustix::io::pwrite(&self.cache, &bytes[written..], position + written as u64)?;
        }
        let length = bytes.len() as u64;
        self.length_is_whole &= position + length <= self.length;
        self.length = self.length.max(position + length);
        self.modified_ms = now_ms;
        for sector in sectors(position, length) {
            self.dirty.insert(sector, write_number);
            self.lost.remove(&sector);
        }
        self.warm(position, length);
        self.allocated.extend(pages(position, length));
        Ok(())
    }

    /// Cuts or grows. What is cut becomes zeros that are dirty like any other write, so that a crash may bring it back.
    pub(super) fn set_length(&mut self, length: u64, write_number: u64, now_ms: i64) -> Result<(), Errno> {
        rustix::fs::ftruncate(&self.cache, length)?;
        if length < self.length {
            let kept_whole = length / SECTOR_BYTES;
            self.dirty.split_off(&kept_whole);
            self.lost.split_off(&kept_whole);
            let cut_through = (!length.is_multiple_of(SECTOR_BYTES)).then_some(kept_whole);
            let cut = self.durable.range(kept_whole..).map(|(sector, _)| *sector).chain(cut_through);
            self.dirty.extend(cut.map(|sector| (sector, write_number)));
            self.cold.split_off(&length.div_ceil(PAGE_BYTES));
            self.allocated.split_off(&length.div_ceil(PAGE_BYTES));
        }
        self.length = length;
        self.modified_ms = now_ms;
        Ok(())
    }

    /// The same, known to the device as a whole or not at all.
    pub(super) fn set_length_whole(&mut self, length: u64, write_number: u64, now_ms: i64) -> Result<(), Errno> {
        self.set_length(length, write_number, now_ms)?;
        self.length_is_whole = true;
        Ok(())
    }

    /// Secures space; the caller has checked that there is some.
    pub(super) fn allocate(&mut self, position: u64, length: u64, now_ms: i64) -> Result<(), Errno> {
        self.allocated.extend(pages(position, length));
        if position + length > self.length {
            rustix::fs::ftruncate(&self.cache, position + length)?;
            self.length = position + length;
            self.modified_ms = now_ms;
        }
        Ok(())
    }

    pub(super) fn next_data(&self, position: u64) -> Result<Option<u64>, Errno> {
        match rustix::fs::seek(&self.cache, SeekFrom::Data(position)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether any page of a range is cold.
    pub(super) fn is_cold(&self, position: u64, length: u64) -> bool {
        self.cold.range(pages(position, length)).next().is_some()
    }

    /// Drops whole clean pages from the cache: what a failed sync lost is now seen to be lost.
    pub(super) fn drop_cache(&mut self, position: u64, length: u64) -> Result<(), Errno> {
        let end = position.saturating_add(length);
        // The last page of the file counts as whole, as it does to the kernel.
        let whole_end = if end >= self.length { self.length.div_ceil(PAGE_BYTES) } else { end / PAGE_BYTES };
        for page in position.div_ceil(PAGE_BYTES)..whole_end {
            let range = sectors(page * PAGE_BYTES, PAGE_BYTES);
            if self.dirty.range(range.clone()).next().is_some() {
                continue;
            }
            for sector in range {
                if self.lost.remove(&sector) {
                    self.show(sector)?;
                }
            }
            self.cold.insert(page);
        }
        Ok(())
    }

    /// The state that a sync submitted now has to make durable.
    pub(super) fn capture(&self, write_number: u64) -> Result<Capture, Errno> {
        let mut captured = BTreeMap::new();
        for (sector, number) in &self.dirty {
            captured.insert(*sector, Durable { write_number: *number, bytes: self.cached_sector(*sector)? });
        }
        Ok(Capture { write_number, length: self.length, sectors: captured })
    }

    /// A sync has worked: what it captured is on the device, unless a later sync has put something newer there.
    pub(super) fn make_durable(&mut self, capture: Capture) {
        if capture.write_number >= self.durable_length_at {
            self.durable_length = capture.length;
            self.durable_length_at = capture.write_number;
        }
        for (sector, captured) in capture.sectors {
            self.store(sector, captured);
        }
    }

    /// A sync has failed: some of it may be on the device, the rest is forgotten, and the next sync will say that all is well.
    pub(super) fn lose(&mut self, capture: Capture, prng: &mut Prng) {
        for (sector, captured) in capture.sectors {
            if prng.chance(0.3) {
                self.store(sector, captured);
            } else if self.dirty.get(&sector) == Some(&captured.write_number) {
                self.dirty.remove(&sector);
                self.lost.insert(sector);
            }
        }
    }

    fn store(&mut self, sector: u64, captured: Durable) {
        if self.dirty.get(&sector) == Some(&captured.write_number) {
            self.dirty.remove(&sector);
        }
        if self.durable.get(&sector).is_none_or(|held| held.write_number < captured.write_number) {
            self.durable.insert(sector, captured);
        }
    }

    /// The power goes: of what is not synced, chance keeps some, by sectors and in any order. The cache begins anew, cold.
    pub(super) fn lose_power(&mut self, prng: &mut Prng) -> Result<(), Errno> {
        self.keep_by_chance(prng)?;
        self.length = match prng.below(4) {
            0 => self.length,
            1 if !self.length_is_whole => {
                let (low, high) = (self.length.min(self.durable_length), self.length.max(self.durable_length));
                low + prng.below(high - low + 1)
            }
            _ => self.durable_length,
        };
        let kept = self.length.div_ceil(SECTOR_BYTES);
        self.durable.split_off(&kept);
        if let (Some(mut last), tail @ 1..) = (self.durable.last_entry(), self.length % SECTOR_BYTES)
            && *last.key() == kept - 1
        {
            last.get_mut().bytes[usize::try_from(tail).expect("below 512")..].fill(0);
        }
        self.durable_length = self.length;
        self.length_is_whole = false;
        self.dirty.clear();
        self.lost.clear();
        let page_count = self.length.div_ceil(PAGE_BYTES);
        self.allocated.split_off(&page_count);
        self.cold = (0..page_count).collect();
        self.cache = empty_cache()?;
        rustix::fs::ftruncate(&self.cache, self.length)?;
        for sector in self.durable.keys() {
            self.show(*sector)?;
        }
        Ok(())
    }

    /// Which dirty sectors had reached the device. Every crash follows one of five patterns, so that all of them are common:
    /// independent coins alone would never keep a long tail whole.
    fn keep_by_chance(&mut self, prng: &mut Prng) -> Result<(), Errno> {
        let pattern = prng.below(5);
        let cut = prng.below_usize(self.dirty.len() + 1);
        let dirty = std::mem::take(&mut self.dirty);
        for (place, (sector, write_number)) in dirty.into_iter().enumerate() {
            let kept = match pattern {
                0 => false,
                1 => true,
                2 => prng.chance(0.5),
                3 => place < cut,
                _ => place >= cut,
            };
            if kept {
                let bytes = self.cached_sector(sector)?;
                self.durable.insert(sector, Durable { write_number, bytes });
            }
        }
        Ok(())
    }

    /// The device's bytes rot: one bit of what it holds turns over, where nothing newer hides it. Says at which byte.
    pub(super) fn flip_bit(&mut self, prng: &mut Prng) -> Result<Option<u64>, Errno> {
        let visible = |sector: &&u64| !self.dirty.contains_key(sector) && *sector * SECTOR_BYTES < self.length;
        let sectors: Vec<u64> = self.durable.keys().filter(visible).copied().collect();
        if sectors.is_empty() {
            return Ok(None);
        }
        let sector = sectors[prng.below_usize(sectors.len())];
        let used = (self.length - sector * SECTOR_BYTES).min(SECTOR_BYTES);
        let place = prng.below(used);
        let held = self.durable.get_mut(&sector).expect("it has just been listed");
        held.bytes[usize::try_from(place).expect("below 512")] ^= 1 << prng.below(8);
        self.show(sector)?;
        Ok(Some(sector * SECTOR_BYTES + place))
    }

    fn durable_sector(&self, sector: u64) -> Sector {
        self.durable.get(&sector).map_or(ZEROS, |held| held.bytes)
    }

    fn cached_sector(&self, sector: u64) -> Result<Sector, Errno> {
        let mut bytes = ZEROS;
        let held = self.peek(sector * SECTOR_BYTES, bytes.len())?;
        bytes[..held.len()].copy_from_slice(&held);
        Ok(bytes)
    }

    /// Puts the device's bytes of one sector into the cache, as far as the file reaches.
    fn show(&self, sector: u64) -> Result<(), Errno> {
        let start = sector * SECTOR_BYTES;
        let bytes = self.durable_sector(sector);
        let count = usize::try_from(self.length.saturating_sub(start).min(SECTOR_BYTES)).expect("at most 512");
        rustix::io::pwrite(&self.cache, &bytes[..count], start).map(drop)
    }
}

fn empty_cache() -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create("ringmill-simulated", MemfdFlags::CLOEXEC)
}

fn overlay(bytes: &mut [u8], position: u64, sector: u64, with: &Sector) {
    for (place, byte) in (sector * SECTOR_BYTES..).zip(with) {
        let inside = place.checked_sub(position).and_then(|offset| bytes.get_mut(usize::try_from(offset).ok()?));
        if let Some(inside) = inside {
            *inside = *byte;
        }
    }
}

fn sectors(position: u64, length: u64) -> std::ops::Range<u64> {
    units(position, length, SECTOR_BYTES)
}

fn pages(position: u64, length: u64) -> std::ops::Range<u64> {
    units(position, length, PAGE_BYTES)
}

fn units(position: u64, length: u64, unit_bytes: u64) -> std::ops::Range<u64> {
    position / unit_bytes..if length == 0 { position / unit_bytes } else { (position + length).div_ceil(unit_bytes) }
}
