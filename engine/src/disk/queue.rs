//! Operations that wait for a worker or for room in the ring: first come, first served, with those that wait for the device held
//! below a cap.
//!
//! A sync can take a device flush or, on a failing disk, forever. Without the cap, blocked ones would take every worker of the
//! pool, and every io-wq worker of the ring, away from reads and writes. The length is bounded by the engine, which has at most
//! one write and one sync per partition under way and a few operations per fetch.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct OpQueue<T> {
    others: VecDeque<(u64, T)>,
    capped: VecDeque<(u64, T)>,
    next_ticket: u64,
    capped_running: usize,
    capped_running_max: usize,
}

impl<T> OpQueue<T> {
    pub(super) fn new(capped_running_max: usize) -> OpQueue<T> {
        assert!(capped_running_max > 0, "nothing capped would ever run");
        OpQueue {
            others: VecDeque::new(),
            capped: VecDeque::new(),
            next_ticket: 0,
            capped_running: 0,
            capped_running_max,
        }
    }

    pub(super) fn push(&mut self, is_capped: bool, item: T) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if is_capped { &mut self.capped } else { &mut self.others }.push_back((ticket, item));
    }

    /// The item that [`take`](Self::take) would give.
    pub(super) fn peek(&self) -> Option<&T> {
        if self.capped_is_next() { self.capped.front() } else { self.others.front() }.map(|(_, item)| item)
    }

    /// The oldest item that may run. After a capped one was taken, [`capped_finished`](Self::capped_finished) is owed.
    pub(super) fn take(&mut self) -> Option<T> {
        let taken = if self.capped_is_next() {
            self.capped_running += 1;
            self.capped.pop_front()
        } else {
            self.others.pop_front()
        };
        taken.map(|(_, item)| item)
    }

    pub(super) fn capped_finished(&mut self) {
        assert!(self.capped_running > 0, "something finished that was never taken");
        self.capped_running -= 1;
    }

    /// Whether something of those that wait for the device has been taken and not finished.
    pub(super) fn capped_are_running(&self) -> bool {
        self.capped_running > 0
    }

    pub(super) fn len(&self) -> usize {
        self.others.len() + self.capped.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn capped_is_next(&self) -> bool {
        let Some((capped, _)) = self.capped.front() else { return false };
        let older = self.others.front().is_none_or(|(other, _)| capped < other);
        older && self.capped_running < self.capped_running_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capped_wait_at_their_cap_while_others_pass() {
        let mut queue = OpQueue::new(1);
        for (is_capped, item) in [(false, "w1"), (true, "s1"), (true, "s2"), (false, "w2")] {
            queue.push(is_capped, item);
        }
        assert_eq!(queue.peek(), Some(&"w1"));
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some("w1"), Some("s1"), Some("w2")]);
        assert_eq!(queue.peek(), None);
        assert_eq!((queue.take(), queue.len()), (None, 1));
        queue.capped_finished();
        assert_eq!(queue.take(), Some("s2"));
        assert!(queue.is_empty());
    }
}
