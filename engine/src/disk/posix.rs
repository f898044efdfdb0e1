//! The disk of plain system calls, run by a small pool of threads: the fallback where io_uring is refused, and the yardstick.
//!
//! Completions come back through one list and an eventfd. Operations start in the order given but may overtake each other.
//! Dropping the disk waits for all that was submitted.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rustix::event::EventfdFlags;

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
    syncs_running_max: usize,
}

/// What waits for a worker. Its length is bounded by what the engine keeps in flight: one write and one sync per partition.
#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<(u64, Op)>,
    /// Syncs wait apart, so that blocked ones can never take every worker away from reads and writes.
    syncs: VecDeque<(u64, Op)>,
    syncs_running: usize,
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
            queue: Mutex::default(),
            work: Condvar::new(),
            finished: Mutex::default(),
            wake: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            syncs_running_max: (threads - 1).max(1),
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
        let mut queue = locked(&self.shared.queue);
        if op.is_sync() { &mut queue.syncs } else { &mut queue.jobs }.push_back((number, op));
        drop(queue);
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
    }
}

impl Shared {
    /// A worker's life: take, run, report; until the disk closes and nothing is left.
    fn work(&self) {
        while let Some((number, op)) = self.next() {
            let is_sync = op.is_sync();
            let result = calls::perform(op);
            if is_sync {
                locked(&self.queue).syncs_running -= 1;
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
            if let Some(job) = queue.take(self.syncs_running_max) {
                return Some(job);
            }
            if queue.closing && queue.jobs.is_empty() && queue.syncs.is_empty() {
                return None;
            }
            queue = self.work.wait(queue).expect(NOT_POISONED);
        }
    }
}

impl Queue {
    /// The next job in the order given, a sync only while fewer than the limit run.
    fn take(&mut self, syncs_running_max: usize) -> Option<(u64, Op)> {
        let sync_first = match (self.syncs.front(), self.jobs.front()) {
            (Some((sync, _)), Some((job, _))) => sync < job,
            (sync, _) => sync.is_some(),
        };
        if sync_first && self.syncs_running < syncs_running_max {
            self.syncs_running += 1;
            return self.syncs.pop_front();
        }
        self.jobs.pop_front()
    }
}

const NOT_POISONED: &str = "no thread panics while it holds the pool's locks";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(NOT_POISONED)
}
