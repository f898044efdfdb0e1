//! What a load on a server of this machine waits for first, so that it does not pay for what others left behind.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use crate::{machine, progress};

/// A file without blocks, on a disk by the hierarchy standard. It stays, so that what its pages hold stays in use from one command to the next.
const HOLE: &str = "/var/tmp/ringmill-bench.hole";

/// The hole's length. Each filling reads somewhere else in it, where no page is in memory yet; ext4 allows 16 TiB.
const HOLE_BYTES: u64 = 8 << 40;

const READ_BYTES: usize = 1 << 20;

/// All of it, before a load that is long enough to compare.
pub(crate) fn all() {
    disks();
    memory();
}

/// Lets this machine's disks take what others have left to be done: pages that nobody has synced, and blocks of deleted files, which a file
/// system mounted with `discard` gives back behind the commit of the deletion.
pub(crate) fn disks() {
    const TRIM_TIME: Duration = Duration::from_millis(200);
    rustix::fs::sync();
    thread::sleep(TRIM_TIME);
}

/// Fills free memory with page cache, as it is on a host that has run for days, if this is a virtual machine that gives free memory back to
/// its host. A load would pay for each page that it is the first to touch: 2 to 4 s of CPU for a GB of records where 0.6 is its own.
fn memory() {
    if !host_takes_free_memory() {
        return;
    }
    if let Err(error) = fill_memory(Path::new(HOLE)) {
        eprintln!(
            "free memory could not be filled with page cache, so the load pays for memory that is touched first: {HOLE}: {error}"
        );
    }
}

/// Whether a balloon device reports free pages (`VIRTIO_BALLOON_F_REPORTING`, bit 5 of virtio's balloon features).
pub(crate) fn host_takes_free_memory() -> bool {
    let Ok(devices) = fs::read_dir("/sys/bus/virtio/drivers/virtio_balloon") else { return false };
    devices
        .flatten()
        .any(|device| fs::read(device.path().join("features")).is_ok_and(|bits| bits.get(5) == Some(&b'1')))
}

/// Reads as much of the hole as memory is free, so that the kernel hands out all of it before it begins to reclaim. On a file system whose
/// holes take no pages nothing is filled, and no more is read for that.
fn fill_memory(hole: &Path) -> io::Result<()> {
    let no_links = i32::try_from(OFlags::NOFOLLOW.bits()).expect("a flag of open(2)");
    // Everybody may write to the directory: nobody is to lead this to another file.
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(no_links).open(hole)?;
    file.set_len(HOLE_BYTES)?;
    let free_bytes = machine::free_memory_bytes().ok_or_else(|| io::Error::other("/proc/meminfo tells no MemFree"))?;
    let bar = progress::bytes_bar("settle", free_bytes);
    bar.set_message("free memory → page cache");
    let mut buffer = vec![0; READ_BYTES];
    let mut positions = positions_from(somewhere());
    while bar.position() < free_bytes {
        file.read_exact_at(&mut buffer, positions.next().expect("positions never end"))?;
        bar.inc(READ_BYTES as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// All places of the hole in turn, again and again, in steps of a read.
fn positions_from(first: u64) -> impl Iterator<Item = u64> {
    let places = HOLE_BYTES / READ_BYTES as u64;
    (first..).map(move |place| place % places * READ_BYTES as u64)
}

/// Another number for each run.
fn somewhere() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_the_hole_come_in_turn_and_again() {
        let places = HOLE_BYTES / READ_BYTES as u64;
        let positions: Vec<u64> = positions_from(places * 7 + places - 2).take(3).collect();
        assert_eq!(positions, [HOLE_BYTES - 2 * READ_BYTES as u64, HOLE_BYTES - READ_BYTES as u64, 0]);
    }
}
