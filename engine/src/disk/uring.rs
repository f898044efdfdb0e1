//! The disk on an io_uring ring of its own, one per core.
//!
//! The ring belongs to the thread that made it (`SINGLE_ISSUER`, `DEFER_TASKRUN`): completions are delivered only inside its own
//! calls of [`Disk::submit`] and [`Disk::reap`], and a registered eventfd tells when there are some. Everything the kernel may
//! touch belongs to the in-flight table until its completion has been taken; dropping the disk waits for all of them.
//!
//! Called by whoever runs the core, through the `Disk` trait. It does not retry syncs, and it starts no thread: buffered writes
//! and syncs run on the kernel's own io-wq workers, whose number it caps.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode};
use rustix::event::EventfdFlags;

use super::probe::{self, Unavailable};
use super::queue::OpQueue;
use super::{Disk, DiskFile, Done, Op, Pending, PendingHandle, Residency, calls, syscalls};
use request::{PIECES_PER_WRITE_MAX, Request};

mod request;
#[cfg(test)]
mod tests;

/// The sizes and caps of one ring.
#[derive(Debug)]
pub struct UringOptions {
    /// Entries of the submission queue, 64 to 4096, rounded up to a power of two. The completion queue has twice as many, which is
    /// also the bound on what is in flight.
    pub entries: u32,
    /// Kernel workers that this thread's rings may use for file operations.
    pub io_wq_workers_max: u32,
    /// Syncs and starts of writeback under way at once; less than `io_wq_workers_max`, so that writes always find a worker.
    pub syncs_in_flight_max: usize,
    /// Writes up to this many bytes are made by a plain `pwritev(2)` inside `submit`, as long as these are quick. Saves the way
    /// through a kernel worker, but a call that meets lagging writeback blocks the core; 0 turns it off.
    pub inline_write_bytes_max: usize,
    /// The data directory's lock. Registered in the ring, it stays locked until the last write has landed, even after `kill -9`.
    pub lock: Option<OwnedFd>,
}

impl Default for UringOptions {
    fn default() -> UringOptions {
        UringOptions {
            entries: 256,
            io_wq_workers_max: 32,
            syncs_in_flight_max: 16,
            inline_write_bytes_max: INLINE_WRITE_BYTES_MAX,
            lock: None,
        }
    }
}

/// An entry is tried again this often after EAGAIN or EINTR before the error is passed on. Never a sync.
const RETRIES_MAX: u32 = 64;

/// A reap ends when so many passes have found nothing, whatever the ring's flag says. The kernel delivers twenty deferred completions per
/// call, and a few dozen calls are enough for all that can be in flight.
const IDLE_PASSES_MAX: u32 = 32;

/// A group of batches, and a single batch up to Kafka's default limit, fit. Against the ring, in alternating runs of 1 MB batches
/// on two cores: 0.7–0.8 instead of 0.8–1.1 CPU seconds per GB, for nobody is woken between the pieces.
const INLINE_WRITE_BYTES_MAX: usize = 2 << 20;

/// An inline write that took longer, and slept, has waited for the device, or for memory that it has yet to free. One that took long
/// without sleeping was kept from the processor, and on the ring would be so too.
const INLINE_WRITE_TIME_MAX: Duration = Duration::from_millis(2);

/// So many writes go through the ring after a slow inline one, before the next is tried.
const RING_WRITES_AFTER_SLOW: u32 = 64;

/// See the module's page.
#[derive(Debug)]
pub struct UringDisk {
    state: RefCell<State>,
    wake: OwnedFd,
    inline_write_bytes_max: usize,
    /// Writes that still have to take the ring because an inline one was slow.
    ring_writes_owed: Cell<u32>,
    /// Since 6.9 the ring can do `ftruncate`; before, it is a plain call.
    ring_sets_lengths: bool,
}

struct State {
    ring: IoUring,
    table: Table,
    waiting: OpQueue<(Request, PendingHandle)>,
    /// Entries to be pushed again, by user data.
    again: VecDeque<u64>,
    /// Kept to save an allocation per reap.
    finished: Vec<(PendingHandle, io::Result<Done>)>,
    /// The flag as it was when a reap did not end.
    #[cfg(test)]
    flag_stays: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("table", &self.table)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl UringDisk {
    /// Makes a ring for the calling thread and tries it out.
    ///
    /// # Errors
    /// What is missing, why, and what to do about it.
    pub fn new(options: UringOptions) -> Result<UringDisk, Unavailable> {
        assert!((64..=4096).contains(&options.entries), "{options:?}");
        assert!(options.syncs_in_flight_max < options.io_wq_workers_max as usize, "{options:?}");
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(options.entries)
            .map_err(|error| probe::setup_refused(&error))?;
        let offered = probe::ring_operations(&ring)?;
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| probe::register_refused("an eventfd", &error.into()))?;
        let submitter = ring.submitter();
        submitter.register_eventfd(wake.as_raw_fd()).map_err(|error| probe::register_refused("its eventfd", &error))?;
        submitter
            .register_iowq_max_workers(&mut [options.io_wq_workers_max, 0])
            .map_err(|error| probe::register_refused("its limit of workers", &error))?;
        if let Some(lock) = &options.lock {
            // The ring takes its own reference; ours may close.
            submitter
                .register_files(&[lock.as_raw_fd()])
                .map_err(|error| probe::register_refused("the data directory's lock", &error))?;
        }
        let disk = UringDisk {
            state: RefCell::new(State {
                ring,
                table: Table::default(),
                waiting: OpQueue::new(options.syncs_in_flight_max),
                again: VecDeque::new(),
                finished: Vec::new(),
                #[cfg(test)]
                flag_stays: false,
            }),
            wake,
            inline_write_bytes_max: options.inline_write_bytes_max,
            ring_writes_owed: Cell::new(0),
            ring_sets_lengths: offered.sets_lengths,
        };
        disk.try_out()?;
        Ok(disk)
    }

    /// Sends one empty operation round the ring, so that a sandbox that only pretends is found out here and not under load.
    fn try_out(&self) -> Result<(), Unavailable> {
        let mut state = self.state.borrow_mut();
        let broken = |error: io::Error| probe::register_refused("an empty operation", &error);
        state.push(&opcode::Nop::new().build());
        state.ring.submit_and_wait(1).map_err(broken)?;
        let completed = state.ring.completion().next().is_some();
        if completed && self.take_signal() { Ok(()) } else { Err(broken(io::ErrorKind::TimedOut.into())) }
    }

    /// Whether an operation is a write to be made right here instead of on the ring: by its size, and by how long the last one took.
    fn writes_inline(&self, op: &Op) -> bool {
        let Op::Write { buffers, .. } = op else { return false };
        let owed = self.ring_writes_owed.get();
        self.ring_writes_owed.set(owed.saturating_sub(1));
        owed == 0
            && self.inline_write_bytes_max > 0
            && buffers.iter().map(bytes::BytesMut::len).sum::<usize>() <= self.inline_write_bytes_max
    }

    /// Whether an inline write that is asked to send early does so. Not beside what waits for the device already: the core would wait for a
    /// full queue, too, and a sync of another log would wait behind these bytes.
    fn sends_early(&self) -> bool {
        !self.state.borrow().waiting.capped_are_running()
    }

    fn write_inline(&self, mut op: Op) -> io::Result<Done> {
        if let Op::Write { send_early, .. } = &mut op {
            *send_early = *send_early && self.sends_early();
        }
        let (begun, sleeps) = (Instant::now(), syscalls::sleeps_of_thread());
        let result = calls::perform(op);
        if begun.elapsed() > INLINE_WRITE_TIME_MAX && syscalls::sleeps_of_thread() > sleeps {
            self.ring_writes_owed.set(RING_WRITES_AFTER_SLOW);
        }
        result
    }

    /// Resets the eventfd; whether it was set.
    fn take_signal(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&self.wake, &mut count).is_ok()
    }

    /// Makes the wake descriptor readable, for work that is left over.
    fn signal(&self) {
        // Fails only when the counter is full, and then it is readable anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Disk for UringDisk {
    fn submit(&self, op: Op) -> Pending {
        let (pending, handle) = Pending::new();
        if self.writes_inline(&op) {
            handle.complete(self.write_inline(op));
            return pending;
        }
        match Request::new(op, self.ring_sets_lengths) {
            Ok(request) => {
                let mut state = self.state.borrow_mut();
                state.waiting.push(request.waits_for_device(), (request, handle));
                state.start_waiting();
                if state.enter() == Entered::Stalled {
                    self.signal();
                }
            }
            Err(op) => handle.complete(calls::perform(op)),
        }
        pending
    }

    fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn reap(&self) {
        let mut idle_passes = 0;
        while idle_passes < IDLE_PASSES_MAX {
            // Before the kernel is asked: what it adds behind this signals anew.
            self.take_signal();
            let mut state = self.state.borrow_mut();
            // Before the completion queue is read: deferred completions are delivered inside this call only.
            let mut entered = state.enter();
            let collected = state.collect();
            if state.start_waiting() || !state.again.is_empty() {
                entered = state.enter();
            }
            // Our own calls signalled what they delivered, so whoever delivers looks once more, in vain as a rule, and takes that back.
            let more = collected > 0 || state.more_to_collect();
            let mut finished = std::mem::take(&mut state.finished);
            drop(state);
            // Outside the borrow: a woken future may submit at once.
            for (handle, result) in finished.drain(..) {
                handle.complete(result);
            }
            self.state.borrow_mut().finished = finished;
            if entered == Entered::Stalled {
                self.signal();
                return;
            }
            if !more {
                return;
            }
            idle_passes = if collected > 0 { 0 } else { idle_passes + 1 };
        }
    }

    fn in_flight(&self) -> usize {
        let state = self.state.borrow();
        state.table.requests_in_flight + state.waiting.len()
    }

    fn try_read(&self, file: &DiskFile, position: u64, into: &mut [u8]) -> io::Result<usize> {
        calls::try_read(file, position, into)
    }

    fn residency(&self, file: &DiskFile, position: u64, length: u64) -> Residency {
        calls::residency(file, position, length)
    }
}

impl Drop for UringDisk {
    /// Waits for everything that was submitted. If even waiting fails, what the kernel may still touch is leaked.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        while state.table.requests_in_flight > 0 || !state.waiting.is_empty() {
            state.start_waiting();
            state.refill_again();
            match state.ring.submit_and_wait(1) {
                Err(error) if !is_passing(&error) => {
                    tracing::error!(%error, "the ring cannot be drained; its buffers are leaked");
                    Box::leak(Box::new(std::mem::take(&mut state.table)));
                    return;
                }
                _ => drop(state.collect()),
            }
            for (handle, result) in state.finished.drain(..) {
                handle.complete(result);
            }
        }
    }
}

/// How an attempt to hand entries to the kernel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entered {
    /// Nothing is left in the submission queue.
    Clear,
    /// The kernel is short of memory or of room for completions: reap, then try again.
    Stalled,
}

impl State {
    /// Starts what waits, oldest first, as far as the ring holds it. Whether any was started.
    fn start_waiting(&mut self) -> bool {
        let mut started = false;
        while let Some((request, _)) = self.waiting.peek() {
            let entries = request.entry_count();
            if !self.has_room_for(entries) {
                break;
            }
            let (request, handle) = self.waiting.take().expect("what was seen at the head is still there");
            let slot = self.table.insert(request, handle);
            for index in 0..entries {
                let entry = self.table.entry(user_data(slot, index));
                self.push(&entry);
            }
            started = true;
        }
        started
    }

    /// Never more in flight than the completion queue holds, so that it cannot overflow.
    fn has_room_for(&mut self, entries: usize) -> bool {
        debug_assert!(entries <= PIECES_PER_WRITE_MAX);
        let queue = self.ring.submission();
        let free_now = queue.capacity() - queue.len();
        drop(queue);
        entries <= free_now && self.table.entries_in_flight + entries <= self.ring.params().cq_entries() as usize
    }

    fn push(&mut self, entry: &io_uring::squeue::Entry) {
        // SAFETY: what the entry points to belongs to the in-flight table and stays in place until its completion is collected
        // (`Table::insert`, `Table::complete`); on drop it is drained or leaked. The empty operation points to nothing.
        let pushed = unsafe { self.ring.submission().push(entry) };
        pushed.expect("room in the submission queue was checked");
    }

    /// Puts entries to be tried again back into the submission queue, as far as there is room.
    fn refill_again(&mut self) {
        while !self.again.is_empty() && !self.ring.submission().is_full() {
            let data = self.again.pop_front().expect("it is not empty");
            let entry = self.table.entry(data);
            self.push(&entry);
        }
    }

    /// Hands the submission queue to the kernel, and lets it deliver what it has deferred.
    fn enter(&mut self) -> Entered {
        self.refill_again();
        // With TASKRUN_FLAG the crate adds GETEVENTS whenever deferred completions wait.
        while !self.ring.submission().is_empty() || self.has_deferred() {
            match self.ring.submit() {
                Ok(_) if self.ring.submission().is_empty() => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_passing(&error) => return Entered::Stalled,
                Err(error) => panic!("io_uring_enter refuses a ring that worked before: {error}"),
            }
        }
        if self.again.is_empty() { Entered::Clear } else { Entered::Stalled }
    }

    fn more_to_collect(&mut self) -> bool {
        self.has_deferred() || !self.ring.completion().is_empty()
    }

    /// Whether completions seem to wait for another call into the kernel. The kernel adds one to its list first and sets the flag then: if
    /// we take it in between, the flag stays with nothing behind it, until the next.
    fn has_deferred(&mut self) -> bool {
        #[cfg(test)]
        if self.flag_stays {
            return true;
        }
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Takes completions off the ring, and tells how many; requests whose last one it was are moved to `finished`.
    fn collect(&mut self) -> usize {
        let State { ring, table, waiting, again, finished, .. } = self;
        let mut collected = 0;
        for completion in ring.completion() {
            collected += 1;
            match table.complete(completion.user_data(), completion.result()) {
                Completed::Part => {}
                Completed::TryAgain => again.push_back(completion.user_data()),
                Completed::Whole(in_flight) => {
                    if in_flight.request.waits_for_device() {
                        waiting.capped_finished();
                    }
                    finished.push((in_flight.handle, in_flight.request.finish(&in_flight.results, adopt)));
                }
            }
        }
        collected
    }
}

fn adopt(descriptor: i32) -> OwnedFd {
    // SAFETY: the kernel has just opened this descriptor for us, in a completion that is collected once; no one else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Errors of `io_uring_enter` that pass by themselves once completions have been taken.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// What the kernel has in hand.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<InFlight>>,
    free: Vec<usize>,
    requests_in_flight: usize,
    entries_in_flight: usize,
}

#[derive(Debug)]
struct InFlight {
    request: Request,
    handle: PendingHandle,
    results: Vec<i32>,
    entries_left: usize,
    retries: u32,
}

/// What a completion meant to its request.
enum Completed {
    Part,
    TryAgain,
    Whole(InFlight),
}

impl Table {
    fn insert(&mut self, request: Request, handle: PendingHandle) -> usize {
        let entries = request.entry_count();
        self.requests_in_flight += 1;
        self.entries_in_flight += entries;
        let in_flight = InFlight { request, handle, results: vec![0; entries], entries_left: entries, retries: 0 };
        match self.free.pop() {
            Some(slot) => {
                assert!(self.slots[slot].replace(in_flight).is_none(), "slot {slot} was free");
                slot
            }
            None => {
                self.slots.push(Some(in_flight));
                self.slots.len() - 1
            }
        }
    }

    fn entry(&mut self, data: u64) -> io_uring::squeue::Entry {
        let (slot, index) = slot_and_index(data);
        let in_flight = self.slots[slot].as_mut().expect("an entry is built while its request is in the table");
        in_flight.request.entry(index).user_data(data)
    }

    fn complete(&mut self, data: u64, result: i32) -> Completed {
        let (slot, index) = slot_and_index(data);
        let in_flight = self.slots[slot].as_mut().expect("a completion belongs to a request in the table");
        let interrupted = matches!(-result, libc::EAGAIN | libc::EINTR) && !in_flight.request.is_sync();
        if interrupted && in_flight.retries < RETRIES_MAX {
            in_flight.retries += 1;
            return Completed::TryAgain;
        }
        in_flight.results[index] = result;
        in_flight.entries_left -= 1;
        self.entries_in_flight -= 1;
        if in_flight.entries_left > 0 {
            return Completed::Part;
        }
        self.requests_in_flight -= 1;
        self.free.push(slot);
        Completed::Whole(self.slots[slot].take().expect("it was there a moment ago"))
    }
}

/// An entry's name: its slot in the table, and which of the request's entries it is.
fn user_data(slot: usize, index: usize) -> u64 {
    (slot as u64) << 32 | index as u64
}

fn slot_and_index(data: u64) -> (usize, usize) {
    let half = |bits: u64| usize::try_from(bits).expect("32 bits fit");
    (half(data >> 32), half(data & u64::from(u32::MAX)))
}
