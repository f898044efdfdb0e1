//! What only the ring has: its bounds, its drain, and the lock it keeps.
//!
//! Skipped loudly where io_uring is refused.

use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;

use super::*;
use crate::data_dir::DirLock;
use crate::disk::{OpenHow, block_on};

fn ring(options: UringOptions) -> Option<UringDisk> {
    match UringDisk::new(options) {
        Ok(disk) => Some(disk),
        Err(refused) => {
            eprintln!("SKIPPED, nothing was tested on a ring: {refused}");
            None
        }
    }
}

/// Nothing is written inline, whatever its size.
fn on_the_ring() -> UringOptions {
    UringOptions { inline_write_bytes_max: 0, ..UringOptions::default() }
}

fn create(disk: &UringDisk, path: &Path) -> DiskFile {
    let disk: &dyn Disk = disk;
    block_on(disk, disk.open(path, OpenHow::CreateNew)).unwrap()
}

fn write(file: &DiskFile, position: u64, bytes: &[u8]) -> Op {
    Op::Write { file: file.clone(), position, buffers: vec![BytesMut::from(bytes)], send_early: false }
}

#[test]
fn nothing_is_sent_early_beside_a_sync_of_the_same_ring() {
    let Some(disk) = ring(UringOptions::default()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = create(&disk, &dir.path().join("a"));
    assert!(disk.sends_early());
    let sync = disk.submit(Op::SyncData { file });
    assert!(!disk.sends_early());
    block_on(&disk, sync).unwrap();
    assert!(disk.sends_early());
}

#[test]
fn no_more_is_in_flight_than_the_completion_queue_holds() {
    let Some(disk) = ring(UringOptions { entries: 64, ..on_the_ring() }) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = create(&disk, &dir.path().join("a"));
    let pending: Vec<Pending> = (0..1000).map(|place| disk.submit(write(&file, place * 4, b"abcd"))).collect();
    let start = 4000;
    let large = disk.submit(write(&file, start, &vec![7; 17 << 20]));
    let held = disk.state.borrow().table.entries_in_flight;
    assert!(held <= 128, "{held} entries in flight");
    assert_eq!(disk.in_flight(), 1001, "the rest waits inside");
    block_on(&disk, async {
        for one in pending {
            assert!(matches!(one.await.unwrap(), Done::Written { count: 4, .. }));
        }
        let Done::Written { count, .. } = large.await.unwrap() else { panic!("a write completes as one") };
        // The first piece ends at a boundary of the file.
        assert_eq!(count as u64, (PIECES_PER_WRITE_MAX * calls::WRITE_PIECE_BYTES_MAX) as u64 - start);
    });
    assert_eq!((disk.in_flight(), disk.state.borrow().table.entries_in_flight), (0, 0));
}

/// The trap: the flag can stay set with nothing behind it, and a reap that went on for as long as it was set never ended.
#[test]
fn a_flag_without_completions_behind_it_does_not_keep_a_reap_busy() {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let Some(disk) = ring(on_the_ring()) else { return tell.send(()) };
        disk.state.borrow_mut().flag_stays = true;
        disk.reap();
        let dir = tempfile::tempdir().unwrap();
        let file = create(&disk, &dir.path().join("a"));
        block_on(&disk, disk.submit(write(&file, 0, b"goes on"))).unwrap();
        tell.send(())
    });
    told.recv_timeout(Duration::from_secs(20)).expect("the reap ends");
}

#[test]
fn syncs_never_take_every_worker() {
    let options = UringOptions { syncs_in_flight_max: 3, io_wq_workers_max: 4, ..on_the_ring() };
    let Some(disk) = ring(options) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = create(&disk, &dir.path().join("a"));
    let syncs: Vec<Pending> = (0..50).map(|_| disk.submit(Op::SyncData { file: file.clone() })).collect();
    let under_way =
        |state: &State| state.table.slots.iter().flatten().filter(|in_flight| in_flight.request.is_sync()).count();
    assert_eq!(under_way(&disk.state.borrow()), 3);
    let write = disk.submit(write(&file, 0, b"passes the waiting syncs"));
    block_on(&disk, write).unwrap();
    block_on(&disk, async {
        for sync in syncs {
            sync.await.unwrap();
        }
    });
}

#[test]
fn dropping_the_disk_waits_for_what_was_submitted() {
    let Some(disk) = ring(UringOptions { entries: 64, ..on_the_ring() }) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let file = create(&disk, &path);
    let mut pending: Vec<Pending> = (0..500).map(|place| disk.submit(write(&file, place * 4, b"abcd"))).collect();
    pending.push(disk.submit(Op::SyncData { file }));
    drop(pending.split_off(400));
    drop(disk);
    assert!(std::fs::read(&path).unwrap() == b"abcd".repeat(500));
    let idle = crate::disk::PosixDisk::new(1).unwrap();
    for one in pending {
        // Complete already, so that nothing is waited for.
        assert!(matches!(block_on(&idle, one).unwrap(), Done::Written { count: 4, .. }));
    }
}

#[test]
fn a_registered_lock_is_held_as_long_as_the_ring_lives() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::take(dir.path(), Duration::ZERO).unwrap();
    let options = UringOptions { lock: Some(lock.descriptor().unwrap()), ..on_the_ring() };
    let Some(disk) = ring(options) else { return };
    drop(lock);
    assert!(DirLock::take(dir.path(), Duration::from_millis(50)).is_err(), "every descriptor of ours is closed");
    drop(disk);
    DirLock::take(dir.path(), crate::data_dir::LOCK_PATIENCE).unwrap();
}

#[test]
fn small_writes_can_be_made_inline() {
    let Some(disk) = ring(UringOptions { inline_write_bytes_max: 100, ..on_the_ring() }) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = create(&disk, &dir.path().join("a"));
    let small = disk.submit(write(&file, 0, &[1; 100]));
    assert_eq!(disk.in_flight(), 0);
    let large = disk.submit(write(&file, 100, &[2; 101]));
    assert_eq!(disk.in_flight(), 1);
    block_on(&disk, async {
        assert!(matches!(small.await.unwrap(), Done::Written { count: 100, .. }));
        assert!(matches!(large.await.unwrap(), Done::Written { count: 101, .. }));
    });
}

#[test]
fn an_interrupted_entry_is_tried_again_unless_it_is_a_sync() {
    let file = DiskFile::new(std::fs::File::open("/dev/null").unwrap().into());
    let mut table = Table::default();
    let mut insert = |op| {
        let slot = table.insert(Request::new(op, true).unwrap(), Pending::new().1);
        user_data(slot, 0)
    };
    let read = insert(Op::Read { file: file.clone(), position: 0, length: 10 });
    let sync = insert(Op::SyncData { file });
    for _ in 0..RETRIES_MAX {
        assert!(matches!(table.complete(read, -libc::EAGAIN), Completed::TryAgain));
    }
    assert!(matches!(table.complete(read, -libc::EAGAIN), Completed::Whole(read) if read.results == [-libc::EAGAIN]));
    assert!(matches!(table.complete(sync, -libc::EINTR), Completed::Whole(sync) if sync.results == [-libc::EINTR]));
    assert_eq!((table.requests_in_flight, table.entries_in_flight), (0, 0));
}

#[test]
fn a_reap_leaves_no_signal_for_what_it_has_taken() {
    let Some(disk) = ring(on_the_ring()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = create(&disk, &dir.path().join("a"));
    let mut idle_wakes = 0;
    for place in 0..100 {
        let pending = disk.submit(write(&file, place, b"x"));
        block_on(&disk, pending).unwrap();
        idle_wakes += u32::from(disk.take_signal());
    }
    // Now and then the kernel's signal comes later than the completion it tells of.
    assert!(idle_wakes < 30, "{idle_wakes} of 100 reaps would have been followed by an idle one");
}

#[test]
fn many_completions_at_once_are_all_delivered_by_one_signal() {
    let Some(disk) = ring(on_the_ring()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = create(&disk, &dir.path().join("a"));
    let pending: Vec<Pending> = (0..300).map(|place| disk.submit(write(&file, place, b"x"))).collect();
    // More than the kernel delivers in one call, all of them deferred while nobody looks.
    std::thread::sleep(Duration::from_millis(50));
    disk.reap();
    block_on(&disk, async {
        for one in pending {
            one.await.unwrap();
        }
    });
}
