//! Answers that wait in memory for their readers, and how many bytes of them a core keeps.
//!
//! A request is small and its answer may be large, so peers that ask and never read could fill the memory. The writer of a connection
//! registers what it is about to send; when all of a core's together pass the limit, the connection that has been sending the longest
//! is ended. An honest reader takes its answer within milliseconds and is rarely the oldest. Ranges of files cost no memory and do not
//! count.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::Notify;

/// An answer up to this size is part of what a connection costs.
const SMALL_ANSWER_BYTES: usize = 16 * 1024;

/// The unread answers of one core.
pub(super) struct Unread {
    limit_bytes: usize,
    bytes: Cell<usize>,
    next: Cell<u64>,
    /// Oldest first.
    held: RefCell<BTreeMap<u64, Rc<Answer>>>,
}

struct Answer {
    bytes: usize,
    given_up: Notify,
}

/// An answer on its way; counts until it is dropped.
pub(super) struct Held<'a> {
    unread: &'a Unread,
    number: u64,
    answer: Rc<Answer>,
}

impl Unread {
    pub(super) fn new(limit_bytes: usize) -> Unread {
        Unread { limit_bytes, bytes: Cell::new(0), next: Cell::new(0), held: RefCell::default() }
    }

    /// Counts an answer of `bytes` in memory. Where that is too much in all, the oldest ones are given up, never this one.
    pub(super) fn hold(&self, bytes: usize) -> Option<Held<'_>> {
        if bytes <= SMALL_ANSWER_BYTES {
            return None;
        }
        self.bytes.set(self.bytes.get() + bytes);
        let mut held = self.held.borrow_mut();
        while self.bytes.get() > self.limit_bytes {
            let Some((_, oldest)) = held.pop_first() else { break };
            self.bytes.set(self.bytes.get() - oldest.bytes);
            oldest.given_up.notify_one();
        }
        let number = self.next.replace(self.next.get() + 1);
        let answer = Rc::new(Answer { bytes, given_up: Notify::new() });
        held.insert(number, Rc::clone(&answer));
        Some(Held { unread: self, number, answer })
    }
}

impl Held<'_> {
    /// Ends when its memory is needed for others.
    pub(super) async fn given_up(&self) {
        self.answer.given_up.notified().await;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // One that was given up is not there any more, and not counted.
        if let Some(answer) = self.unread.held.borrow_mut().remove(&self.number) {
            self.unread.bytes.set(self.unread.bytes.get() - answer.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_given_up(held: &Held<'_>) -> bool {
        pin!(held.given_up()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_answer_gives_way_and_the_newest_never_does() {
        let unread = Unread::new(100_000);
        assert!(unread.hold(SMALL_ANSWER_BYTES).is_none());
        let first = unread.hold(40_000).unwrap();
        let second = unread.hold(40_000).unwrap();
        let third = unread.hold(40_000).unwrap();
        assert!(is_given_up(&first) && !is_given_up(&second) && !is_given_up(&third));
        drop(first);
        assert_eq!(unread.bytes.get(), 80_000);
        let huge = unread.hold(1_000_000).unwrap();
        assert!(is_given_up(&second) && is_given_up(&third) && !is_given_up(&huge));
        drop((second, third, huge));
        assert_eq!((unread.bytes.get(), unread.held.borrow().len()), (0, 0));
    }
}
