//! What the simulation promises: its own replay, and the rules of durability that the engine's crash tests rest upon.
//!
//! Rules that allow several outcomes are checked over many seeds: none may break the rule, and each outcome must occur.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::*;
use crate::data_dir::durable_file;
use crate::disk::{OpenHow, block_on};

const FILE: &str = "/f";

fn dynamic(disk: &SimDisk) -> &dyn Disk {
    disk
}

fn with_disk<T>(simulation: &Simulation, run: impl AsyncFnOnce(&dyn Disk) -> T) -> T {
    let disk = simulation.disk();
    block_on(&disk, run(dynamic(&disk)))
}

/// Polls and reaps `steps` times; what the future gave, if it got so far.
fn run_for<T>(disk: &SimDisk, steps: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..steps {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        disk.reap();
    }
    None
}

async fn write(disk: &dyn Disk, file: &DiskFile, position: u64, bytes: &[u8]) {
    disk.write_all_at(file, position, vec![BytesMut::from(bytes)]).await.unwrap();
}

/// A file of 2048 times `1`, durable with its name.
fn with_ones(seed: u64, options: SimOptions) -> Simulation {
    let simulation = Simulation::new(seed, SimOptions::default());
    with_disk(&simulation, async |disk| {
        let file = disk.open(Path::new(FILE), OpenHow::CreateNew).await.unwrap();
        write(disk, &file, 0, &[1; 2048]).await;
        disk.sync_data(&file).await.unwrap();
        disk.sync_dir(Path::new("/")).await.unwrap();
    });
    simulation.set_options(options);
    simulation
}

fn content(simulation: &Simulation) -> Option<Vec<u8>> {
    with_disk(simulation, async |disk| {
        let file = disk.open(Path::new(FILE), OpenHow::Read).await.ok()?;
        Some(disk.read_at(&file, 0, 1 << 20).await.unwrap().to_vec())
    })
}

/// The first byte of each sector.
fn sector_heads(content: &[u8]) -> Vec<u8> {
    content.chunks(512).map(|sector| sector[0]).collect()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let simulation = Simulation::new(seed, SimOptions { sync_error: 0.2, keep_log: true, ..SimOptions::busy() });
        for _ in 0..3 {
            let disk = simulation.disk();
            let disk = dynamic(&disk);
            block_on(disk, async {
                let file = disk.open(Path::new(FILE), OpenHow::CreateEmpty).await.unwrap();
                for place in 0..10 {
                    let pending = disk.submit(Op::Write {
                        file: file.clone(),
                        position: place,
                        buffers: vec![BytesMut::zeroed(5000)],
                        send_early: false,
                    });
                    let _ = disk.sync_data(&file).await;
                    pending.await.unwrap();
                    disk.residency(&file, 0, 10);
                }
            });
            simulation.crash_power();
        }
        (simulation.trace_hash(), simulation.log())
    };
    let (hash, log) = run(7);
    assert_eq!(run(7), (hash, log.clone()));
    assert!(log.len() > 100 && log.contains(&"the power goes".to_owned()));
    assert_ne!(run(8).0, hash);
}

#[test]
fn synced_bytes_survive_a_power_cut_and_unsynced_ones_may_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let simulation = with_ones(seed, SimOptions::default());
        with_disk(&simulation, async |disk| {
            let file = disk.open(Path::new(FILE), OpenHow::ReadWrite).await.unwrap();
            write(disk, &file, 512, &[2; 1024]).await;
        });
        simulation.crash_power();
        let heads = sector_heads(&content(&simulation).unwrap());
        assert_eq!((heads[0], heads[3], heads.len()), (1, 1, 4), "seed {seed}");
        seen.insert((heads[1], heads[2]));
    }
    // All of it, nothing, the first part only, and the later part without the earlier.
    assert_eq!(seen, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn a_sync_covers_what_was_complete_when_it_was_submitted() {
    let mut later_write_lost = false;
    for seed in 0..100 {
        let simulation = with_ones(seed, SimOptions { reorder: 0.5, ..SimOptions::default() });
        with_disk(&simulation, async |disk| {
            let file = disk.open(Path::new(FILE), OpenHow::ReadWrite).await.unwrap();
            // The two writes share a sector: the first half of it is covered by the sync, the second is not.
            write(disk, &file, 0, &[2; 100]).await;
            let sync = disk.submit(Op::SyncData { file: file.clone() });
            write(disk, &file, 100, &[3; 412]).await;
            sync.await.unwrap();
        });
        simulation.crash_power();
        let content = content(&simulation).unwrap();
        assert_eq!(content[..100], [2; 100], "seed {seed}");
        later_write_lost |= content[100] == 1;
    }
    assert!(later_write_lost);
}

/// What a file has been since its last successful sync, the newest last. A crash may leave any mixture of them and nothing else.
struct Versions(Vec<Vec<u8>>);

impl Versions {
    fn check(&self, seed: u64, found: &[u8]) {
        let lengths = || self.0.iter().map(Vec::len);
        assert!(lengths().min() <= Some(found.len()) && Some(found.len()) <= lengths().max(), "seed {seed}");
        for (place, byte) in found.iter().enumerate() {
            // Beyond a version's end there are the zeros of a hole.
            let possible = |version: &Vec<u8>| version.get(place).copied().unwrap_or(0) == *byte;
            assert!(self.0.iter().any(possible), "seed {seed}: byte {place} is {byte}");
        }
    }
}

#[test]
fn a_power_cut_leaves_a_mixture_of_what_was_there_since_the_last_sync() {
    for seed in 0..150 {
        let mut prng = prng::Prng::new(seed);
        let simulation = with_ones(seed, SimOptions { short_write: 0.2, ..SimOptions::default() });
        let mut versions = Versions(vec![vec![1; 2048]]);
        for _ in 0..3 {
            with_disk(&simulation, async |disk| {
                let file = disk.open(Path::new(FILE), OpenHow::ReadWrite).await.unwrap();
                for _ in 0..prng.below(12) {
                    let mut now = versions.0.last().unwrap().clone();
                    match prng.below(5) {
                        0 => {
                            disk.sync_data(&file).await.unwrap();
                            versions.0 = vec![now];
                            continue;
                        }
                        1 => {
                            let length = prng.below_usize(4000);
                            disk.set_length(&file, length as u64).await.unwrap();
                            now.resize(length, 0);
                        }
                        _ => {
                            let (start, length) = (prng.below_usize(4000), 1 + prng.below_usize(1500));
                            let byte = u8::try_from(prng.below(256)).unwrap();
                            write(disk, &file, start as u64, &vec![byte; length]).await;
                            now.resize(now.len().max(start + length), 0);
                            now[start..start + length].fill(byte);
                        }
                    }
                    assert!(disk.read_at(&file, 0, 1 << 20).await.unwrap() == now, "seed {seed}");
                    versions.0.push(now);
                }
            });
            simulation.crash_power();
            let found = content(&simulation).unwrap();
            versions.check(seed, &found);
            versions.0 = vec![found];
        }
    }
}

#[test]
fn names_survive_a_power_cut_only_after_their_directory_was_synced() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let simulation = Simulation::new(seed, SimOptions::default());
        with_disk(&simulation, async |disk| {
            disk.create_dir(Path::new("/d")).await.unwrap();
            disk.sync_dir(Path::new("/")).await.unwrap();
            disk.create_dir(Path::new("/d/synced")).await.unwrap();
            disk.sync_dir(Path::new("/d")).await.unwrap();
            let file = disk.open(Path::new("/d/f"), OpenHow::CreateNew).await.unwrap();
            disk.sync_all(&file).await.unwrap();
            disk.create_dir(Path::new("/other")).await.unwrap();
            // Syncs its own names, not that of its parent.
            disk.open(Path::new("/other/x"), OpenHow::CreateNew).await.unwrap();
            disk.sync_dir(Path::new("/other")).await.unwrap();
        });
        assert_eq!((simulation.names(Path::new("/d")).len(), simulation.durable_names(Path::new("/d")).len()), (2, 1));
        simulation.crash_power();
        with_disk(&simulation, async |disk| {
            let names = async |path: &str| disk.list_dir(Path::new(path)).await.map(|entries| entries.len());
            assert!(disk.list_dir(Path::new("/d/synced")).await.is_ok(), "seed {seed}");
            seen.insert((names("/d").await.unwrap(), names("/").await.unwrap()));
        });
    }
    assert_eq!(seen, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

#[test]
fn a_small_file_is_the_old_or_the_new_one_after_a_crash_at_any_step() {
    const FORMAT: durable_file::Format =
        durable_file::Format { magic: *b"RM-tests", version: 1, payload_bytes_max: 5000 };
    let path = Path::new(FILE);
    let mut seen = BTreeSet::new();
    for seed in 0..400u64 {
        let simulation = Simulation::new(seed, SimOptions::default());
        with_disk(&simulation, async |disk| {
            durable_file::write(disk, path, &FORMAT, &[1; 3000]).await.unwrap();
        });
        simulation.set_options(SimOptions::busy());
        let disk = simulation.disk();
        let steps = usize::try_from(seed % 20).unwrap();
        let finished = run_for(&disk, steps, durable_file::write(dynamic(&disk), path, &FORMAT, &[2; 4000])).is_some();
        if seed % 3 == 0 {
            simulation.crash_process()
        } else {
            simulation.crash_power()
        }
        let payload = with_disk(&simulation, async |disk| durable_file::read(disk, path, &FORMAT).await)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let is_new = payload.bytes == [2; 4000][..];
        assert!(is_new || (payload.bytes == [1; 3000][..] && !finished), "seed {seed}");
        seen.insert((finished, is_new));
    }
    assert_eq!(seen, BTreeSet::from([(false, false), (false, true), (true, true)]));
}

#[test]
fn after_a_failed_sync_the_cache_lies_and_the_next_sync_says_ok() {
    let simulation = with_ones(3, SimOptions::default());
    simulation.inject(Path::new(FILE), Fault::SyncFails);
    with_disk(&simulation, async |disk| {
        let file = disk.open(Path::new(FILE), OpenHow::ReadWrite).await.unwrap();
        write(disk, &file, 0, &[2; 2048]).await;
        assert_eq!(disk.sync_data(&file).await.unwrap_err().raw_os_error(), Some(libc::EIO));
        disk.sync_data(&file).await.unwrap();
        assert_eq!(disk.read_at(&file, 0, 2048).await.unwrap(), [2; 2048][..]);
        let on_device = disk.read_direct(&file, 100, 1900).await.unwrap();
        assert!(on_device.contains(&1), "some of it was lost");
        disk.drop_cache(&file, 0, 2048).await.unwrap();
        assert_eq!(disk.residency(&file, 0, 2048), Residency::Cold);
        assert_eq!(disk.read_at(&file, 100, 1900).await.unwrap(), on_device, "the cache was believed before");
    });
    let before = content(&simulation);
    simulation.crash_power();
    assert_eq!(content(&simulation), before);
}

#[test]
fn a_killed_process_leaves_the_cache_and_some_of_its_writes_in_flight() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let simulation = with_ones(seed, SimOptions { late_write: 0.3, ..SimOptions::default() });
        let disk = simulation.disk();
        run_for(&disk, 20, async {
            let disk = dynamic(&disk);
            let file = disk.open(Path::new(FILE), OpenHow::ReadWrite).await.unwrap();
            write(disk, &file, 0, &[2; 512]).await;
            let buffers = vec![BytesMut::from(&[3; 1024][..])];
            drop(disk.submit(Op::Write { file, position: 512, buffers, send_early: false }));
        });
        simulation.crash_process();
        let first = sector_heads(&content(&simulation).unwrap());
        let last = (0..10).map(|_| sector_heads(&content(&simulation).unwrap())).next_back().unwrap();
        assert_eq!((first[0], last[3]), (2, 1), "seed {seed}");
        seen.insert((first[1], first[2], last[2]));
    }
    // Never happened, wholly, in part, and late: seen only by the next process's later reads.
    for outcome in [(1, 1, 1), (3, 3, 3), (3, 1, 1), (1, 1, 3)] {
        assert!(seen.contains(&outcome), "{outcome:?} not in {seen:?}");
    }
}

#[test]
fn what_a_crash_leaves_behind_is_dead() {
    let simulation = with_ones(1, SimOptions::default());
    let old_disk = simulation.disk();
    let old_file = block_on(&old_disk, dynamic(&old_disk).open(Path::new(FILE), OpenHow::ReadWrite)).unwrap();
    let old_sync = simulation.file(Path::new("/s")).unwrap();
    simulation.crash_process();
    assert!(run_for(&old_disk, 5, dynamic(&old_disk).sync_data(&old_file)).is_none());
    assert!(old_disk.try_read(&old_file, 0, &mut [0; 4]).is_err());
    assert!(old_sync.write_at(0, b"x").is_err() && old_sync.len().is_err());
    with_disk(&simulation, async |disk| {
        assert_eq!(disk.sync_data(&old_file).await.unwrap_err().raw_os_error(), Some(libc::EBADF));
    });
}

#[test]
fn a_cut_that_was_not_synced_may_come_back() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let simulation = with_ones(seed, SimOptions::default());
        with_disk(&simulation, async |disk| {
            let file = disk.open(Path::new(FILE), OpenHow::ReadWrite).await.unwrap();
            disk.set_length(&file, 700).await.unwrap();
            if seed % 2 == 0 {
                disk.sync_data(&file).await.unwrap();
            }
        });
        simulation.crash_power();
        let content = content(&simulation).unwrap();
        assert_eq!(content[..700], [1; 700], "seed {seed}");
        assert!(seed % 2 == 1 || content.len() == 700, "seed {seed}");
        lengths.insert(content.len());
    }
    assert!(lengths.contains(&700) && lengths.contains(&2048));
}

#[test]
fn a_full_device_refuses_and_recovers_when_something_is_removed() {
    let simulation = Simulation::new(1, SimOptions { capacity_bytes: Some(40_960), ..SimOptions::default() });
    with_disk(&simulation, async |disk| {
        let first = disk.open(Path::new("/a"), OpenHow::CreateNew).await.unwrap();
        let second = disk.open(Path::new("/b"), OpenHow::CreateNew).await.unwrap();
        disk.allocate(&first, 0, 32_768).await.unwrap();
        let full = disk.allocate(&second, 0, 12_288).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        write(disk, &first, 0, &[1; 32_768]).await;
        write(disk, &second, 0, &[1; 8_192]).await;
        let buffers = vec![BytesMut::zeroed(1)];
        assert_eq!(disk.write_all_at(&second, 8_192, buffers).await.unwrap_err().kind(), ErrorKind::StorageFull);
        disk.remove_file(Path::new("/a")).await.unwrap();
        disk.allocate(&second, 0, 12_288).await.unwrap();
    });
}

#[test]
fn injections_strike_once_and_only_their_file() {
    let simulation = with_ones(1, SimOptions::default());
    let path = Path::new(FILE);
    with_disk(&simulation, async |disk| {
        let other = disk.open(Path::new("/other"), OpenHow::CreateNew).await.unwrap();
        let file = disk.open(path, OpenHow::ReadWrite).await.unwrap();
        simulation.inject(path, Fault::WriteStops { after_bytes: 3 });
        write(disk, &other, 0, b"untouched").await;
        let buffers = vec![BytesMut::from(&b"ab"[..]), BytesMut::from(&b"cdef"[..])];
        let write = Op::Write { file: file.clone(), position: 0, buffers: buffers.clone(), send_early: false };
        match disk.submit(write).await.unwrap() {
            crate::disk::Done::Written { count, .. } => assert_eq!(count, 3),
            other => panic!("a write completed with {other:?}"),
        }
        simulation.inject(path, Fault::WriteStops { after_bytes: 1 });
        assert_eq!(disk.write_all_at(&file, 0, buffers).await.unwrap().len(), 2);
        assert_eq!(&disk.read_at(&file, 0, 7).await.unwrap()[..], b"abcdef\x01");
        simulation.inject(path, Fault::ReadFails);
        assert!(disk.read_at(&file, 0, 7).await.is_err());
        assert!(disk.read_at(&file, 0, 7).await.is_ok());
        simulation.inject(path, Fault::AllocateFindsNoSpace);
        assert_eq!(disk.allocate(&file, 0, 9000).await.unwrap_err().kind(), ErrorKind::StorageFull);
        simulation.inject(path, Fault::SyncFindsNoSpace);
        assert_eq!(disk.sync_all(&file).await.unwrap_err().kind(), ErrorKind::StorageFull);
        simulation.inject(path, Fault::WriteFails);
        assert!(disk.write_all_at(&file, 0, vec![BytesMut::zeroed(1)]).await.is_err());
    });
}

#[test]
fn the_synchronous_face_obeys_the_same_rules() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let simulation = Simulation::new(seed, SimOptions { short_write: 0.5, ..SimOptions::default() });
        let file = simulation.file(Path::new(FILE)).unwrap();
        simulation.sync_dir(Path::new("/")).unwrap();
        file.set_len(2000).unwrap();
        file.write_at(0, &[1; 600]).unwrap();
        file.sync_data().unwrap();
        file.write_at(0, &[2; 600]).unwrap();
        let mut into = [0; 700];
        file.read_at(0, &mut into).unwrap();
        assert_eq!((into[0], into[599], into[600]), (2, 2, 0));
        assert_eq!(file.read_at(1990, &mut into).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        simulation.crash_power();
        let file = simulation.file(Path::new(FILE)).unwrap();
        assert!(!file.is_empty().unwrap() && file.len().unwrap() == 2000);
        file.read_at(0, &mut into).unwrap();
        seen.insert((into[0], into[599]));
        simulation.inject(Path::new(FILE), Fault::SyncFails);
        assert!(file.sync_data().is_err());
    }
    assert_eq!(seen, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
}

/// redb ends some commits by cutting its file, and takes a length that it never set for damage. No journalling file system leaves one.
#[test]
fn a_length_set_at_once_is_old_or_new_after_a_power_cut() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let simulation = Simulation::new(seed, SimOptions::default());
        let file = simulation.file(Path::new(FILE)).unwrap();
        simulation.sync_dir(Path::new("/")).unwrap();
        file.set_len(9000).unwrap();
        file.sync_data().unwrap();
        file.set_len(4000).unwrap();
        file.write_at(0, &[1; 600]).unwrap();
        simulation.crash_power();
        seen.insert(simulation.file(Path::new(FILE)).unwrap().len().unwrap());
    }
    assert_eq!(seen, BTreeSet::from([4000, 9000]));
}

#[test]
fn two_cores_share_one_machine() {
    let simulation = Simulation::new(1, SimOptions::busy());
    let (one, two) = (simulation.disk(), simulation.disk());
    let file = block_on(&one, dynamic(&one).open(Path::new(FILE), OpenHow::CreateNew)).unwrap();
    block_on(&one, write(&one, &file, 0, b"abc"));
    assert_eq!(block_on(&two, dynamic(&two).read_at(&file, 0, 9)).unwrap(), b"abc"[..]);
}

#[test]
fn removed_files_give_their_memory_back() {
    let simulation = Simulation::new(1, SimOptions::default());
    with_disk(&simulation, async |disk| {
        for _ in 0..2000 {
            disk.open(Path::new(FILE), OpenHow::CreateNew).await.unwrap();
            disk.remove_file(Path::new(FILE)).await.unwrap();
            disk.sync_dir(Path::new("/")).await.unwrap();
        }
    });
    assert!(simulation.lock().files.len() <= 64);
}
