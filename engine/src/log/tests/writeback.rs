//! When bytes leave for the device: early where that saves time, and never in front of a sync that is under way.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::BorrowedFd;

use super::*;
use crate::disk::{DiskFile, Done, Op, Pending, PendingHandle, Residency};

/// What a log asked of its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Write { early: bool },
    StartWriteback,
}

/// A disk that notes what is asked of it, and keeps syncs waiting for as long as it is told to.
struct Watched {
    inner: PosixDisk,
    asked: RefCell<Vec<Asked>>,
    holds_syncs: Cell<bool>,
    held: RefCell<Vec<PendingHandle>>,
}

impl Watched {
    fn new() -> Rc<Watched> {
        let inner = PosixDisk::new(2).unwrap();
        Rc::new(Watched { inner, asked: RefCell::default(), holds_syncs: Cell::new(false), held: RefCell::default() })
    }

    fn release_syncs(&self) {
        self.holds_syncs.set(false);
        self.held.take().into_iter().for_each(|handle| handle.complete(Ok(Done::Nothing)));
    }
}

impl Disk for Watched {
    fn submit(&self, op: Op) -> Pending {
        match &op {
            Op::Write { send_early, .. } => self.asked.borrow_mut().push(Asked::Write { early: *send_early }),
            Op::StartWriteback { .. } => self.asked.borrow_mut().push(Asked::StartWriteback),
            Op::SyncData { .. } if self.holds_syncs.get() => {
                let (pending, handle) = Pending::new();
                self.held.borrow_mut().push(handle);
                return pending;
            }
            _ => {}
        }
        self.inner.submit(op)
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.inner.wake_fd()
    }

    fn reap(&self) {
        self.inner.reap();
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn try_read(&self, file: &DiskFile, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.inner.try_read(file, position, into)
    }

    fn residency(&self, file: &DiskFile, position: u64, length: u64) -> Residency {
        self.inner.residency(file, position, length)
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if condition() {
            return;
        }
        crate::turn::yield_now().await;
    }
    panic!("the log never does what is waited for");
}

#[test]
fn a_group_leaves_early_unless_a_sync_is_under_way() {
    let disk = Watched::new();
    let place = Place::on(Rc::<Watched>::clone(&disk));
    place.run(LogConfig::default(), async |log| {
        let begin = || {
            let batch = batch(NOW_MS, 1, 10);
            let header = BatchHeader::parse(&batch).unwrap();
            log.append(batch, header)
        };
        disk.asked.take();
        disk.holds_syncs.set(true);
        let first = begin();
        until(|| !disk.held.borrow().is_empty()).await;
        let second = begin();
        until(|| disk.asked.borrow().len() == 2).await;
        assert_eq!(disk.asked.take(), [Asked::Write { early: true }, Asked::Write { early: false }]);
        disk.release_syncs();
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        // Nothing is sent in front of the sync by itself either, however much it is.
        append(log, batch(NOW_MS, 3, 1 << 20)).await.unwrap();
        assert_eq!(disk.asked.take(), [Asked::Write { early: true }]);
    });
}

#[test]
fn with_caching_writeback_begins_with_each_mebibyte() {
    let disk = Watched::new();
    let place = Place::on(Rc::<Watched>::clone(&disk));
    let config = LogConfig { write_caching: true, ..LogConfig::default() };
    place.run(config, async |log| {
        disk.asked.take();
        append(log, batch(NOW_MS, 3, 100)).await.unwrap();
        append(log, batch(NOW_MS, 3, 1 << 20)).await.unwrap();
        let write = Asked::Write { early: false };
        assert_eq!(disk.asked.take(), [write, write, Asked::StartWriteback]);
    });
}
