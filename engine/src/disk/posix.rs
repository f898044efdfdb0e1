//! The disk of plain system calls, run by a small pool of threads: the fallback where io_uring is refused, and the yardstick.
//!
//! Completions come back through one list and an eventfd. Operations start in the order given but may overtake each other.
//! Dropping the disk waits for all that was submitted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rustix::event::EventfdFlags;

use super::queue::OpQueue;
use super::{Disk, DiskFile, Done, Op, Pending, PendingHandle, Residency, calls};

/// See the module's page.
#[derive(Debug)]
pub struct PosixDisk {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    waiting: RefCell<HashMap<u64, PendingHandle>>,
    next_number: Cell<u64>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    finished: Mutex<Vec<(u64, io::Result<Done>)>>,
    wake: OwnedFd,
}

#[derive(Debug)]
struct Queue {
    ops: OpQueue<(u64, Op)>,
    closing: bool,
}

impl PosixDisk {
    /// Starts the pool.
    ///
    /// # Errors
    /// When an eventfd or a thread is refused.
    ///
    /// # Panics
    /// When `threads` is 0.
    pub fn new(threads: usize) -> io::Result<PosixDisk> {
        assert!(threads > 0, "a pool without threads would never complete anything");
        let shared = Arc::new(Shared {
            // One worker is kept free of those that wait for the device, if there is more than one.
            queue: Mutex::new(Queue { ops: OpQueue::new((threads - 1).max(1)), closing: false }),
            work: Condvar::new(),
            finished: Mutex::default(),
            wake: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        // Built before the threads, so that a failure half-way drops it, which ends those already started.
        let mut disk =
            PosixDisk { shared, workers: Vec::new(), waiting: RefCell::default(), next_number: Cell::new(0) };
        for number in 0..threads {
            let shared = Arc::clone(&disk.shared);
            let thread = std::thread::Builder::new().name(format!("disk-{number}")).spawn(move || shared.work())?;
            disk.workers.push(thread);
        }
        Ok(disk)
    }
}

impl Disk for PosixDisk {
    fn submit(&self, op: Op) -> Pending {
        let (pending, handle) = Pending::new();
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.waiting.borrow_mut().insert(number, handle);
        locked(&self.shared.queue).ops.push(op.waits_for_device(), (number, op));
        self.shared.work.notify_one();
        pending
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    fn reap(&self) {
        // Emptied before the list is taken: a completion in between signals anew, and none is missed.
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.wake, &mut count);
        let finished = std::mem::take(&mut *locked(&self.shared.finished));
        for (number, result) in finished {
            let handle = self.waiting.borrow_mut().remove(&number).expect("an operation completes once");
            handle.complete(result);
        }
    }

    fn in_flight(&self) -> usize {
        self.waiting.borrow().len()
    }

    fn try_read(&self, file: &DiskFile, position: u64, into: &mut [u8]) -> io::Result<usize> {
        calls::try_read(file, position, into)
    }

    fn residency(&self, file: &DiskFile, position: u64, length: u64) -> Residency {
        calls::residency(file, position, length)
    }
}

impl Drop for PosixDisk {
    fn drop(&mut self) {
        locked(&self.shared.queue).closing = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so on stderr; the others are still waited for.
            let _ = worker.join();
        }
        self.reap();
    }
}

impl Shared {
    /// A worker's life: take, run, report; until the disk closes and nothing is left.
    fn work(&self) {
        while let Some((number, op)) = self.next() {
            let waits_for_device = op.waits_for_device();
            let result = calls::perform(op);
            if waits_for_device {
                locked(&self.queue).ops.capped_finished();
                self.work.notify_all();
            }
            locked(&self.finished).push((number, result));
            // Fails only when the counter is full, and then it is readable anyway.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    fn next(&self) -> Option<(u64, Op)> {
        let mut queue = locked(&self.queue);
        loop {
            if let Some(next) = queue.ops.take() {
                return Some(next);
            }
            if queue.closing && queue.ops.is_empty() {
                return None;
            }
            queue = self.work.wait(queue).expect(NOT_POISONED);
        }
    }
}

const NOT_POISONED: &str = "no thread panics while it holds the pool's locks";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(NOT_POISONED)
}
