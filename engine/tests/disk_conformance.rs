//! One suite over every implementation of the `Disk` seam: what the engine may rely on, whichever disk it is given.
//!
//! Faults, crashes and the ring's own bounds are tested beside their implementations, not here.

use std::path::Path;

use bytes::BytesMut;
use ringmill_engine::disk::posix::PosixDisk;
use ringmill_engine::disk::{Disk, OpenHow, block_on};

/// Runs `check` on every disk this machine offers, each with an empty directory of its own.
fn on_every_disk(check: impl AsyncFn(&dyn Disk, &Path)) {
    let posix = PosixDisk::new(2).expect("threads can be started");
    let dir = tempfile::tempdir().expect("a temporary directory");
    block_on(&posix, check(&posix, dir.path()));
}

fn buffer(bytes: &[u8]) -> BytesMut {
    BytesMut::from(bytes)
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
        assert_eq!(disk.info(&file).await.unwrap().length, 16);
    });
}
