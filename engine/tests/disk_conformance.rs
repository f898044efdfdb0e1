//! One suite over every implementation of the `Disk` seam: what the engine may rely on, whichever disk it is given.
//!
//! Faults, crashes and the ring's own bounds are tested beside their implementations, not here.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;

use bytes::BytesMut;
use ringmill_engine::disk::{
    DirEntry, Disk, DiskFile, Done, Op, OpenHow, PosixDisk, Residency, SimDisk, SimOptions, UringDisk, UringOptions,
    block_on,
};

/// Runs `check` on every disk this machine offers, each with an empty directory of its own.
fn on_every_disk(check: impl AsyncFn(&dyn Disk, &Path)) {
    let run = |name: &str, disk: &dyn Disk, dir: &Path| {
        eprintln!("on the {name} disk");
        block_on(disk, check(disk, dir));
        assert_eq!(disk.in_flight(), 0, "{name}: all that was awaited has completed");
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    run("posix", &PosixDisk::new(2).expect("threads can be started"), dir.path());
    // Short writes and pages that are suddenly cold are allowed too, but would blur what is checked here.
    let disordered = SimOptions { short_write: 0.0, cold: 0.0, ..SimOptions::busy() };
    for (seed, options) in [(0, SimOptions::default()), (1, disordered.clone()), (2, disordered)] {
        let disk = SimDisk::new(seed, options);
        let dir = Path::new("/data");
        block_on(&disk, (&disk as &dyn Disk).create_dir(dir)).expect("the root exists");
        run("simulated", &disk, dir);
    }
    for (name, inline_write_bytes_max) in [("uring", 0), ("uring, small writes inline", 64 * 1024)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        match UringDisk::new(UringOptions { inline_write_bytes_max, ..UringOptions::default() }) {
            Ok(disk) => run(name, &disk, dir.path()),
            Err(refused) => eprintln!("SKIPPED, nothing was tested on a ring: {refused}"),
        }
    }
}

fn buffer(bytes: &[u8]) -> BytesMut {
    BytesMut::from(bytes)
}

/// Bytes that tell their place, so that pieces in the wrong order are seen.
fn pattern(length: usize) -> BytesMut {
    (0..length).map(|place| u8::try_from((place / 7 + place / 4099) % 251).expect("below 251")).collect()
}

#[test]
fn what_was_written_is_read_back() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        let buffers = vec![buffer(b"one "), buffer(b""), buffer(b"two "), buffer(b"three")];
        disk.write_all_at(&file, 3, buffers).await.unwrap();
        assert_eq!(&disk.read_at(&file, 0, 100).await.unwrap()[..], b"\0\0\0one two three");
        assert_eq!(&disk.read_at(&file, 7, 3).await.unwrap()[..], b"two");
        assert!(disk.read_at(&file, 16, 10).await.unwrap().is_empty());
        assert!(disk.read_at(&file, 3, 0).await.unwrap().is_empty());
        assert_eq!(disk.info(&file).await.unwrap().length, 16);
    });
}

#[test]
fn a_write_larger_than_any_single_call_arrives_whole_and_in_order() {
    write_in_uneven_buffers(17 << 20, async |disk, file, buffers| disk.write_all_at(file, 5, buffers).await);
}

#[test]
fn a_write_that_leaves_early_arrives_whole_and_in_order() {
    write_in_uneven_buffers(1 << 20, async |disk, file, buffers| disk.write_all_early_at(file, 5, buffers).await);
}

fn write_in_uneven_buffers(
    bytes: usize,
    write: impl AsyncFn(&dyn Disk, &DiskFile, Vec<BytesMut>) -> std::io::Result<Vec<BytesMut>>,
) {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.expect("a new file");
        let whole = pattern(bytes);
        let mut rest = whole.clone();
        let mut buffers = Vec::new();
        while !rest.is_empty() {
            buffers.push(rest.split_to(rest.len().min(300_001)));
        }
        let count = buffers.len();
        let back = write(disk, &file, buffers).await.expect("the disk is well");
        assert_eq!(back.len(), count, "every buffer comes back");
        assert!(disk.read_at(&file, 5, whole.len()).await.expect("the disk is well") == whole);
        assert_eq!(disk.info(&file).await.expect("the disk is well").length, 5 + whole.len() as u64);
    });
}

#[test]
fn many_small_buffers_are_one_write() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        let buffers: Vec<BytesMut> = (0..3000u32).map(|n| buffer(&n.to_be_bytes())).collect();
        let expected: Vec<u8> = (0..3000u32).flat_map(u32::to_be_bytes).collect();
        let write = Op::Write { file: file.clone(), position: 0, buffers, send_early: true };
        match disk.submit(write).await.unwrap() {
            Done::Written { count, buffers } => assert_eq!((count, buffers.len()), (12_000, 3000)),
            other => panic!("a write completed with {other:?}"),
        }
        assert!(disk.read_at(&file, 0, 20_000).await.unwrap() == expected);
    });
}

#[test]
fn a_write_of_nothing_completes() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        assert_eq!(disk.write_all_at(&file, 9, vec![]).await.unwrap(), Vec::<BytesMut>::new());
        assert_eq!(disk.write_all_at(&file, 9, vec![buffer(b"")]).await.unwrap().len(), 1);
        assert_eq!(disk.info(&file).await.unwrap().length, 0);
    });
}

#[test]
fn files_open_as_asked() {
    on_every_disk(async |disk, dir| {
        let path = dir.join("a");
        let kind = async |how| disk.open(&path, how).await.map_err(|error| error.kind());
        assert_eq!(kind(OpenHow::Read).await.unwrap_err(), ErrorKind::NotFound);
        assert_eq!(kind(OpenHow::ReadWrite).await.unwrap_err(), ErrorKind::NotFound);
        let file = kind(OpenHow::CreateNew).await.unwrap();
        assert_eq!(kind(OpenHow::CreateNew).await.unwrap_err(), ErrorKind::AlreadyExists);
        disk.write_all_at(&file, 0, vec![buffer(b"abc")]).await.unwrap();
        let second = kind(OpenHow::ReadWrite).await.unwrap();
        disk.write_all_at(&second, 1, vec![buffer(b"B")]).await.unwrap();
        assert_eq!(&disk.read_at(&file, 0, 9).await.unwrap()[..], b"aBc");
        let read_only = kind(OpenHow::Read).await.unwrap();
        assert!(disk.write_all_at(&read_only, 0, vec![buffer(b"x")]).await.is_err());
        kind(OpenHow::CreateEmpty).await.unwrap();
        assert!(disk.read_at(&file, 0, 9).await.unwrap().is_empty());
        assert!(kind(OpenHow::Directory).await.is_err());
        assert!(disk.open(&dir.join("no/such"), OpenHow::CreateNew).await.is_err());
    });
}

#[test]
fn lengths_and_allocations_give_zeros() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        disk.write_all_at(&file, 0, vec![buffer(b"abcdef")]).await.unwrap();
        disk.set_length(&file, 3).await.unwrap();
        disk.allocate(&file, 0, 10_000).await.unwrap();
        let bytes = disk.read_at(&file, 0, 20_000).await.unwrap();
        assert_eq!((bytes.len(), &bytes[..5]), (10_000, &b"abc\0\0"[..]));
        disk.set_length(&file, 20_000).await.unwrap();
        assert_eq!(disk.read_at(&file, 9_999, 30_000).await.unwrap(), vec![0; 10_001]);
        assert_eq!(disk.info(&file).await.unwrap().length, 20_000);
        let secured_beyond_the_end = disk.allocate(&file, 15_000, 10_000).await;
        secured_beyond_the_end.unwrap();
        assert_eq!(disk.info(&file).await.unwrap().length, 25_000);
    });
}

#[test]
fn holes_are_found() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        disk.set_length(&file, 8 << 20).await.unwrap();
        assert_eq!(disk.next_data(&file, 0).await.unwrap(), None);
        disk.write_all_at(&file, 1 << 20, vec![buffer(b"abc")]).await.unwrap();
        assert_eq!(disk.next_data(&file, 0).await.unwrap(), Some(1 << 20));
        assert_eq!(disk.next_data(&file, (1 << 20) + 1).await.unwrap(), Some((1 << 20) + 1));
        assert_eq!(disk.next_data(&file, 2 << 20).await.unwrap(), None);
        assert_eq!(disk.next_data(&file, 9 << 20).await.unwrap(), None);
    });
}

#[test]
fn syncs_and_writeback_of_healthy_files_succeed() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        disk.write_all_at(&file, 0, vec![pattern(100_000)]).await.unwrap();
        disk.start_writeback(&file, 0, 50_000).await.unwrap();
        disk.start_writeback(&file, 0, 5 << 32).await.unwrap();
        disk.sync_data(&file).await.unwrap();
        disk.sync_all(&file).await.unwrap();
        disk.sync_dir(dir).await.unwrap();
        assert_eq!(disk.read_direct(&file, 5_001, 90_000).await.unwrap(), pattern(100_000)[5_001..95_001]);
        assert_eq!(disk.read_direct(&file, 99_999, 90_000).await.unwrap(), pattern(100_000)[99_999..]);
        assert!(disk.read_direct(&file, 200_000, 10).await.unwrap().is_empty());
    });
}

#[test]
fn what_is_cached_is_read_without_waiting() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        disk.write_all_at(&file, 0, vec![pattern(100_000)]).await.unwrap();
        assert_eq!(disk.residency(&file, 4_095, 90_000), Residency::Cached);
        assert_eq!(disk.residency(&file, 50, 0), Residency::Cached);
        let mut into = [0; 5_000];
        assert_eq!(disk.try_read(&file, 97_000, &mut into).unwrap(), 3_000);
        assert_eq!(into[..3_000], pattern(100_000)[97_000..]);
        assert_eq!(disk.try_read(&file, 0, &mut []).unwrap(), 0);
        disk.sync_data(&file).await.unwrap();
        disk.drop_cache(&file, 0, 0).await.unwrap();
        assert_eq!(disk.residency(&file, 0, 100_000), Residency::Cached, "nothing was asked to go");
        disk.drop_cache(&file, 0, 100_000).await.unwrap();
        if disk.residency(&file, 0, 100_000) == Residency::Cached {
            eprintln!("this file system keeps its cache (tmpfs), so nothing can be cold");
            return;
        }
        assert!(disk.read_at(&file, 0, 100_000).await.unwrap() == pattern(100_000));
        assert_eq!(disk.residency(&file, 0, 100_000), Residency::Cached);
    });
}

#[test]
fn directories_are_made_listed_and_removed() {
    on_every_disk(async |disk, dir| {
        let entry = |name: &str, is_dir| DirEntry { name: name.to_owned(), is_dir };
        disk.create_dir(&dir.join("b")).await.unwrap();
        assert_eq!(disk.create_dir(&dir.join("b")).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.create_dir(&dir.join("x/y")).await.unwrap_err().kind(), ErrorKind::NotFound);
        disk.open(&dir.join("b/f"), OpenHow::CreateNew).await.unwrap();
        disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        assert_eq!(disk.list_dir(dir).await.unwrap(), [entry("a", false), entry("b", true)]);
        let volume = disk.volume(dir).await.unwrap();
        assert!(volume.total_bytes > 0 && volume.usable_bytes <= volume.total_bytes, "{volume:?}");
        assert_eq!(disk.volume(&dir.join("c")).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.list_dir(&dir.join("b")).await.unwrap(), [entry("f", false)]);
        assert_eq!(disk.list_dir(&dir.join("c")).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.remove_dir(&dir.join("b")).await.unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        assert!(disk.remove_file(&dir.join("b")).await.is_err());
        disk.rename(&dir.join("b"), &dir.join("c")).await.unwrap();
        disk.remove_file(&dir.join("c/f")).await.unwrap();
        disk.remove_dir(&dir.join("c")).await.unwrap();
        assert_eq!(disk.list_dir(dir).await.unwrap(), [entry("a", false)]);
    });
}

#[test]
fn a_rename_replaces_and_the_replaced_file_stays_readable() {
    on_every_disk(async |disk, dir| {
        let (old, new) = (dir.join("old"), dir.join("new"));
        let replaced = disk.open(&new, OpenHow::CreateNew).await.unwrap();
        disk.write_all_at(&replaced, 0, vec![buffer(b"replaced")]).await.unwrap();
        let file = disk.open(&old, OpenHow::CreateNew).await.unwrap();
        disk.write_all_at(&file, 0, vec![buffer(b"renamed")]).await.unwrap();
        disk.rename(&old, &new).await.unwrap();
        assert_eq!(disk.rename(&old, &new).await.unwrap_err().kind(), ErrorKind::NotFound);
        let found = disk.open(&new, OpenHow::Read).await.unwrap();
        assert_eq!(&disk.read_at(&found, 0, 99).await.unwrap()[..], b"renamed");
        assert_eq!(&disk.read_at(&replaced, 0, 99).await.unwrap()[..], b"replaced");
        disk.remove_file(&new).await.unwrap();
        assert_eq!(disk.remove_file(&new).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(&disk.read_at(&found, 0, 99).await.unwrap()[..], b"renamed");
    });
}

#[test]
fn a_dropped_future_still_completes() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        for place in 0..20u64 {
            let (position, buffers) = (place * 4, vec![buffer(b"abcd")]);
            drop(disk.submit(Op::Write { file: file.clone(), position, buffers, send_early: false }));
        }
        drop(disk.submit(Op::Open { path: dir.join("b"), how: OpenHow::CreateNew }));
        while disk.in_flight() > 0 {
            disk.sync_data(&file).await.unwrap();
        }
        assert_eq!(disk.read_at(&file, 0, 99).await.unwrap(), b"abcd".repeat(20));
        assert_eq!(disk.list_dir(dir).await.unwrap().len(), 2);
    });
}

#[test]
fn far_more_operations_than_the_ring_holds_complete() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        let mut pending = Vec::new();
        for place in 0..3000u64 {
            let buffers = vec![buffer(&place.to_be_bytes())];
            let (position, send_early) = (place * 8, place % 2 == 0);
            pending.push(disk.submit(Op::Write { file: file.clone(), position, buffers, send_early }));
            if place % 50 == 0 {
                pending.push(disk.submit(Op::SyncData { file: file.clone() }));
            }
        }
        for one in pending {
            one.await.unwrap();
        }
        let expected: Vec<u8> = (0..3000u64).flat_map(u64::to_be_bytes).collect();
        assert!(disk.read_at(&file, 0, 30_000).await.unwrap() == expected);
    });
}

#[test]
fn a_file_range_has_a_real_descriptor() {
    on_every_disk(async |disk, dir| {
        let file = disk.open(&dir.join("a"), OpenHow::CreateNew).await.unwrap();
        disk.write_all_at(&file, 0, vec![buffer(b"0123456789")]).await.unwrap();
        let mut into = [0; 4];
        let count = rustix::io::pread(file.as_fd(), &mut into, 3).unwrap();
        assert_eq!(&into[..count], b"3456");
    });
}

#[test]
fn paths_with_a_nul_are_refused() {
    on_every_disk(async |disk, dir| {
        let path = dir.join("a\0b");
        assert_eq!(disk.open(&path, OpenHow::CreateNew).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(disk.create_dir(&path).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(disk.list_dir(dir).await.unwrap().is_empty());
    });
}
