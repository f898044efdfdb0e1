//! A disk with a cache that forgets: sectors are safe once they were flushed; until then a cut keeps any of them, in any version.
//!
//! Pure: no file, no clock, no thread. `server.rs` shows it to the kernel.

use std::collections::BTreeMap;

use crate::random::Random;

/// What a disk writes as a whole.
pub(crate) const SECTOR_BYTES: usize = 512;
/// What a file system writes as a whole, and a cut may tear.
const BLOCK_SECTORS: u64 = 8;

type Sector = [u8; SECTOR_BYTES];

/// What survives a cut of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing of it.
    Nothing,
    /// All of it, in its newest version.
    Everything,
    /// Each sector with this chance in percent, in any version it ever had since the last flush.
    SectorsPercent(u64),
    /// Each block of eight sectors with this chance in percent, in its newest version.
    BlocksPercent(u64),
}

impl Kept {
    /// One of the ways, by chance.
    pub(crate) fn by_chance(random: &mut Random, may_tear_blocks: bool) -> Kept {
        let percent = [10, 50, 90][usize::try_from(random.below(3)).expect("less than three")];
        match random.below(8) {
            0 => Kept::Nothing,
            1 => Kept::Everything,
            2..=5 if may_tear_blocks => Kept::SectorsPercent(percent),
            _ => Kept::BlocksPercent(percent),
        }
    }
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) sectors_kept: u64,
    pub(crate) sectors_lost: u64,
    /// Blocks of which some sectors were kept and some were lost.
    pub(crate) blocks_torn: u64,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct Sectors {
    stable: Vec<u8>,
    /// By sector number: what was written since the last flush, oldest first.
    cached: BTreeMap<u64, Vec<Sector>>,
}

impl Sectors {
    /// All zeros.
    pub(crate) fn new(bytes: usize) -> Sectors {
        assert_eq!(bytes % SECTOR_BYTES, 0, "a disk is made of sectors");
        Sectors { stable: vec![0; bytes], cached: BTreeMap::new() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.stable.len()
    }

    /// How many sectors would be at stake now.
    pub(crate) fn unflushed(&self) -> usize {
        self.cached.len()
    }

    /// Whether a transfer of `length` bytes at `offset` is one of whole sectors within the disk.
    pub(crate) fn holds(&self, offset: u64, length: usize) -> bool {
        let sector = SECTOR_BYTES as u64;
        let end = offset.checked_add(length as u64);
        offset.is_multiple_of(sector)
            && (length as u64).is_multiple_of(sector)
            && end.is_some_and(|end| end <= self.stable.len() as u64)
    }

    /// Takes whole sectors into the cache.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        assert!(self.holds(offset, data.len()), "{} bytes at {offset}", data.len());
        let first = offset / SECTOR_BYTES as u64;
        for (number, sector) in (first..).zip(data.chunks_exact(SECTOR_BYTES)) {
            let sector: Sector = sector.try_into().expect("the chunk is one sector");
            self.cached.entry(number).or_default().push(sector);
        }
    }

    /// A write that fails half-way: each sector arrives or not.
    pub(crate) fn write_some(&mut self, offset: u64, data: &[u8], random: &mut Random) {
        for (index, sector) in data.chunks_exact(SECTOR_BYTES).enumerate() {
            if random.below(2) == 0 {
                self.write(offset + (index * SECTOR_BYTES) as u64, sector);
            }
        }
    }

    /// What a reader sees while there is power: the newest.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        assert!(self.holds(offset, length), "{length} bytes at {offset}");
        let start = usize::try_from(offset).expect("the disk is in memory");
        let mut data = self.stable[start..start + length].to_vec();
        let first = offset / SECTOR_BYTES as u64;
        for (&number, versions) in self.cached.range(first..first + (length / SECTOR_BYTES) as u64) {
            let at = usize::try_from(number - first).expect("the disk is in memory") * SECTOR_BYTES;
            data[at..at + SECTOR_BYTES].copy_from_slice(newest(versions));
        }
        data
    }

    /// Makes everything that was written safe.
    pub(crate) fn flush(&mut self) {
        for (number, versions) in std::mem::take(&mut self.cached) {
            self.settle(number, newest(&versions));
        }
    }

    /// The power goes. What is left is stable, and the cache is empty.
    pub(crate) fn cut(&mut self, kept: Kept, random: &mut Random) -> Cut {
        let mut cut = Cut::default();
        let mut blocks: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (number, versions) in std::mem::take(&mut self.cached) {
            let (kept_in_block, lost_in_block) = blocks.entry(number / BLOCK_SECTORS).or_default();
            let survivor = match kept {
                Kept::Nothing => None,
                Kept::Everything => Some(newest(&versions)),
                Kept::SectorsPercent(percent) => (random.below(100) < percent).then(|| {
                    let version = random.below(versions.len() as u64);
                    &versions[usize::try_from(version).expect("an index of a list")]
                }),
                // One decision for the block: its first sector makes it.
                Kept::BlocksPercent(percent) => {
                    let keep = if *kept_in_block + *lost_in_block == 0 {
                        random.below(100) < percent
                    } else {
                        *kept_in_block > 0
                    };
                    keep.then(|| newest(&versions))
                }
            };
            if let Some(survivor) = survivor {
                *kept_in_block += 1;
                cut.sectors_kept += 1;
                self.settle(number, survivor);
            } else {
                *lost_in_block += 1;
                cut.sectors_lost += 1;
            }
        }
        cut.blocks_torn =
            blocks.values().filter(|(kept, lost)| *kept > 0 && *lost > 0).count().try_into().unwrap_or(u64::MAX);
        cut
    }

    fn settle(&mut self, number: u64, sector: &Sector) {
        let at = usize::try_from(number).expect("the disk is in memory") * SECTOR_BYTES;
        self.stable[at..at + SECTOR_BYTES].copy_from_slice(sector);
    }
}

fn newest(versions: &[Sector]) -> &Sector {
    versions.last().expect("a cached sector has a version")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> Vec<u8> {
        vec![byte; 8 * SECTOR_BYTES]
    }

    #[test]
    fn what_was_flushed_survives_every_cut_and_the_newest_is_read_before_it() {
        for kept in [Kept::Nothing, Kept::Everything, Kept::SectorsPercent(50), Kept::BlocksPercent(50)] {
            let (mut disk, mut random) = (Sectors::new(1 << 20), Random::new(7));
            disk.write(4096, &block(1));
            disk.flush();
            disk.write(8192, &block(2));
            assert_eq!(disk.read(4096, 8192), [block(1), block(2)].concat());
            disk.cut(kept, &mut random);
            assert_eq!(disk.read(4096, 4096), block(1), "{kept:?}");
            assert_eq!(disk.unflushed(), 0);
        }
    }

    #[test]
    fn a_cut_tears_blocks_and_may_bring_an_older_version_back() {
        let (mut disk, mut random) = (Sectors::new(1 << 20), Random::new(1));
        let mut seen = std::collections::BTreeSet::new();
        let mut torn = 0;
        for _ in 0..50 {
            disk.write(0, &block(0));
            disk.flush();
            disk.write(0, &block(1));
            disk.write(0, &block(2));
            torn += disk.cut(Kept::SectorsPercent(50), &mut random).blocks_torn;
            seen.extend(disk.read(0, 4096));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(torn > 40, "{torn}");
    }

    #[test]
    fn nothing_everything_and_whole_blocks_are_what_they_say() {
        let (mut disk, mut random) = (Sectors::new(1 << 20), Random::new(1));
        disk.write(0, &block(1));
        assert_eq!(disk.cut(Kept::Nothing, &mut random), Cut { sectors_lost: 8, ..Cut::default() });
        assert_eq!(disk.read(0, 4096), block(0));
        disk.write(0, &block(1));
        assert_eq!(disk.cut(Kept::Everything, &mut random), Cut { sectors_kept: 8, ..Cut::default() });
        assert_eq!(disk.read(0, 4096), block(1));
        for _ in 0..50 {
            disk.write(0, &[block(2), block(3)].concat());
            assert_eq!(disk.cut(Kept::BlocksPercent(50), &mut random).blocks_torn, 0);
        }
    }

    #[test]
    fn a_failed_write_may_leave_a_part() {
        let (mut disk, mut random) = (Sectors::new(1 << 20), Random::new(3));
        disk.write_some(0, &block(1), &mut random);
        assert!((1..8).contains(&disk.unflushed()), "{}", disk.unflushed());
    }

    #[test]
    fn only_whole_sectors_within_the_disk_are_taken() {
        let disk = Sectors::new(4096);
        assert!(disk.holds(0, 4096) && disk.holds(3584, 512) && disk.holds(4096, 0));
        assert!(
            !disk.holds(1, 512) && !disk.holds(0, 100) && !disk.holds(4096, 512) && !disk.holds(u64::MAX - 511, 512)
        );
    }
}
