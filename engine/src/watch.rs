//! A value that others wait for changes of, as tokio's `watch`, but for one thing: who waits is woken in an order that follows from
//! what was done before, so that a run of the simulation can be repeated. Tokio's picks a queue at random.
//!
//! It knows no runtime and no time. Logs show their watermarks by it, the broker its partitions.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// Queues of waiters, so that cores that wait for the same thing seldom meet at one lock.
const QUEUES: usize = 8;

/// Whoever changes the value. Its end is a change, too.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Whoever waits for changes.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that was last looked at.
    seen: usize,
    queue: usize,
}

/// The sender is gone: the value stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody changes the value any more")]
pub struct Closed;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// Rises with each change, after it.
    version: AtomicUsize,
    is_closed: AtomicBool,
    queues: [Notify; QUEUES],
    /// Gives receivers their queues, one after the other.
    next_queue: AtomicUsize,
}

impl<T> Sender<T> {
    /// A value that nobody waits for yet.
    pub fn new(value: T) -> Sender<T> {
        let (version, is_closed, next_queue) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicUsize::new(0));
        let (value, queues) = (RwLock::new(value), Default::default());
        Sender { shared: Arc::new(Shared { value, version, is_closed, queues, next_queue }) }
    }

    /// Looks at the value; changes wait as long as the guard is held.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    /// Changes the value and wakes all who wait.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.shared.value.write().unwrap_or_else(PoisonError::into_inner));
        self.shared.version.fetch_add(1, Ordering::Release);
        self.shared.wake();
    }

    /// Replaces the value.
    pub fn send_replace(&self, value: T) {
        self.send_modify(|held| *held = value);
    }

    /// Somebody who has seen the value as it is now.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::of(&self.shared, self.shared.version.load(Ordering::Acquire))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        self.shared.wake();
    }
}

impl<T> Shared<T> {
    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.queues.iter().for_each(Notify::notify_waiters);
    }
}

impl<T> Receiver<T> {
    fn of(shared: &Arc<Shared<T>>, seen: usize) -> Receiver<T> {
        let queue = shared.next_queue.fetch_add(1, Ordering::Relaxed) % QUEUES;
        Receiver { shared: Arc::clone(shared), seen, queue }
    }

    /// Looks at the value without taking it as seen.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    /// Looks at the value and takes it as seen.
    pub fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        // Before the value: a change in between is then looked at once more, and never missed.
        self.mark_unchanged();
        self.shared.read()
    }

    /// Whether the value has changed since it was last taken as seen.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.shared.version.load(Ordering::Acquire) != self.seen
    }

    /// Takes the value as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.version.load(Ordering::Acquire);
    }

    /// Waits for a change after what was taken as seen, and takes it as seen.
    ///
    /// # Errors
    /// The sender is gone.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // It hears of all wake-ups from here on, so none is lost between the look and the wait.
            let woken = self.shared.queues[self.queue].notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.is_closed.load(Ordering::Acquire) {
                return Err(Closed);
            }
            woken.await;
        }
    }

    /// Waits until the value is as wanted.
    ///
    /// # Errors
    /// The sender is gone, and the value is not as wanted.
    pub async fn wait_for(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        loop {
            let last = self.shared.is_closed.load(Ordering::Acquire);
            if is_wanted(&self.borrow_and_update()) {
                return Ok(());
            }
            if last {
                return Err(Closed);
            }
            // An error means that it has been closed meanwhile: the last value is looked at once more.
            let _ = self.changed().await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver::of(&self.shared, self.seen)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Polls once.
    fn is_ready(future: std::pin::Pin<&mut impl Future>) -> bool {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn a_change_is_seen_once_by_everybody_who_has_not_seen_it() {
        let sender = Sender::new(1);
        let (mut first, mut second) = (sender.subscribe(), sender.subscribe());
        let mut waiting = std::pin::pin!(first.changed());
        assert!(!is_ready(waiting.as_mut()));
        sender.send_replace(2);
        assert!(is_ready(waiting));
        assert!(second.has_changed());
        assert_eq!(*second.borrow_and_update(), 2);
        assert!(!second.has_changed() && !is_ready(std::pin::pin!(second.changed())));
        // A copy has seen what the original had.
        let mut third = second.clone();
        sender.send_modify(|value| *value += 1);
        assert!(is_ready(std::pin::pin!(third.changed())));
        assert_eq!(*third.borrow(), 3);
    }

    #[test]
    fn the_end_of_the_sender_wakes_whoever_waits() {
        let sender = Sender::new(());
        let (mut first, mut second) = (sender.subscribe(), sender.subscribe());
        let mut waiting = std::pin::pin!(first.changed());
        assert!(!is_ready(waiting.as_mut()));
        drop(sender);
        assert!(is_ready(waiting));
        assert!(is_ready(std::pin::pin!(second.wait_for(|()| false))));
    }

    #[tokio::test]
    async fn waiters_wake_in_the_same_order_every_time() {
        let order = async || {
            let (sender, woken) = (Sender::new(0), Rc::new(RefCell::new(Vec::new())));
            let local = tokio::task::LocalSet::new();
            for number in 0..40 {
                let (mut receiver, woken) = (sender.subscribe(), Rc::clone(&woken));
                local.spawn_local(async move {
                    receiver.changed().await.unwrap();
                    woken.borrow_mut().push(number);
                });
            }
            let change = async {
                tokio::task::yield_now().await;
                sender.send_replace(1);
            };
            local.run_until(change).await;
            local.await;
            woken.take()
        };
        let first = order().await;
        assert_eq!(first.len(), 40);
        for _ in 0..5 {
            assert_eq!(order().await, first);
        }
    }
}
