//! The one future that every disk operation returns, and a small executor for those who have none.
//!
//! A disk keeps the [`PendingHandle`] in its in-flight table and completes it once; dropping the [`Pending`] cancels nothing.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{Disk, Done};

/// Resolves when the operation has completed. Belongs to the thread of its disk.
#[derive(Debug)]
pub struct Pending(Rc<RefCell<Slot>>);

/// The disk's side of a [`Pending`].
#[derive(Debug)]
pub struct PendingHandle(Rc<RefCell<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    result: Option<io::Result<Done>>,
    waker: Option<Waker>,
}

impl Pending {
    /// A future and the handle that completes it.
    #[must_use]
    pub fn new() -> (Pending, PendingHandle) {
        let slot = Rc::new(RefCell::new(Slot::default()));
        (Pending(Rc::clone(&slot)), PendingHandle(slot))
    }
}

impl PendingHandle {
    /// Stores the result and wakes whoever waits. Consumes the handle: an operation completes once.
    pub fn complete(self, result: io::Result<Done>) {
        let waker = {
            let mut slot = self.0.borrow_mut();
            slot.result = Some(result);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Pending {
    type Output = io::Result<Done>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.borrow_mut();
        match slot.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Runs a future to its end on this thread, reaping the disk whenever it has something to say. For library users, tests and
/// the offline tools; a broker core awaits [`Disk::wake_fd`] in its own runtime instead. The future may only wait for this
/// disk, or for parts of itself.
///
/// # Panics
/// When waiting for the disk's descriptor fails, which no caller can mend.
pub fn block_on<T>(disk: &dyn Disk, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        // One part of the future may have woken another: then there is more to poll before the disk is waited for.
        if woken.0.swap(false, Ordering::AcqRel) {
            disk.reap();
            continue;
        }
        let fd = disk.wake_fd();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("waiting for the disk failed: {error}"),
        }
        disk.reap();
    }
}

/// Remembers that the future asked to be polled again.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}
