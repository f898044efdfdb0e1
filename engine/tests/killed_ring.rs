//! A process killed in the middle of its ring writes keeps the data directory's lock until the last of them has landed.
//!
//! Without the lock registered in the ring, a write was seen to land after the successor had taken the lock, in 5 of 160 kills.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ringmill_engine::data_dir::{DirLock, LOCK_PATIENCE};
use ringmill_engine::disk::{Disk, Op, OpenHow, UringDisk, UringOptions, block_on};

/// Set for the child, which is this same test binary.
const CHILD_DIR: &str = "RINGMILL_KILLED_RING_DIR";

const KILLS: u64 = 10;
const WRITES: u64 = 16;
const WRITE_BYTES: u64 = 1 << 20;

/// The child of the test below. Run by the test harness itself it finds no directory and has nothing to do.
#[test]
fn writer_to_be_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else { return };
    let lock = DirLock::take(&dir, LOCK_PATIENCE).unwrap();
    // An inline write is over when the process is: only the ring's can land late.
    let options =
        UringOptions { inline_write_bytes_max: 0, lock: Some(lock.descriptor().unwrap()), ..UringOptions::default() };
    let disk = UringDisk::new(options);
    let disk: &dyn Disk = &disk.expect("the parent has made one");
    block_on(disk, async {
        let file = disk.open(&dir.join("data"), OpenHow::CreateEmpty).await.unwrap();
        for round in 1u8.. {
            let fill = || BytesMut::from(&vec![round; 1 << 20][..]);
            let write = |place: u64| {
                let (file, position) = (file.clone(), place * WRITE_BYTES);
                Op::Write { file, position, buffers: vec![fill()], send_early: false }
            };
            let pending: Vec<_> = (0..WRITES).map(|place| disk.submit(write(place))).collect();
            std::fs::write(dir.join("started"), [round]).unwrap();
            for one in pending {
                one.await.unwrap();
            }
        }
    });
}

#[test]
fn nothing_is_written_after_the_successor_has_the_lock() {
    if let Err(refused) = UringDisk::new(UringOptions::default()) {
        eprintln!("SKIPPED, nothing was tested on a ring: {refused}");
        return;
    }
    for kill in 0..KILLS {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_to_be_killed"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for(&dir.path().join("started"));
        std::thread::sleep(Duration::from_millis(kill));
        child.kill().unwrap();
        child.wait().unwrap();
        let _lock = DirLock::take(dir.path(), LOCK_PATIENCE).unwrap();
        let data = dir.path().join("data");
        let taken = std::fs::read(&data).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(std::fs::read(&data).unwrap() == taken, "kill {kill}: a write landed late");
    }
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the child does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
}
