//! Operations that wait for a worker or for room in the ring: first come, first served, with syncs held below a cap.
//!
//! A sync can take a device flush or, on a failing disk, forever. Without the cap, blocked syncs would take every worker of the
//! pool, and every io-wq worker of the ring, away from reads and writes. The length is bounded by the engine, which has at most
//! one write and one sync per partition under way and a few operations per fetch.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct OpQueue<T> {
    others: VecDeque<(u64, T)>,
    syncs: VecDeque<(u64, T)>,
    next_ticket: u64,
    syncs_running: usize,
    syncs_running_max: usize,
}

impl<T> OpQueue<T> {
    pub(super) fn new(syncs_running_max: usize) -> OpQueue<T> {
        assert!(syncs_running_max > 0, "no sync would ever run");
        OpQueue { others: VecDeque::new(), syncs: VecDeque::new(), next_ticket: 0, syncs_running: 0, syncs_running_max }
    }

    pub(super) fn push(&mut self, is_sync: bool, item: T) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if is_sync { &mut self.syncs } else { &mut self.others }.push_back((ticket, item));
    }

    /// The item that [`take`](Self::take) would give.
    pub(super) fn peek(&self) -> Option<&T> {
        if self.sync_is_next() { self.syncs.front() } else { self.others.front() }.map(|(_, item)| item)
    }

    /// The oldest item that may run. After a sync was taken, [`sync_finished`](Self::sync_finished) is owed.
    pub(super) fn take(&mut self) -> Option<T> {
        let taken = if self.sync_is_next() {
            self.syncs_running += 1;
            self.syncs.pop_front()
        } else {
            self.others.pop_front()
        };
        taken.map(|(_, item)| item)
    }

    pub(super) fn sync_finished(&mut self) {
        assert!(self.syncs_running > 0, "a sync finished that was never taken");
        self.syncs_running -= 1;
    }

    pub(super) fn len(&self) -> usize {
        self.others.len() + self.syncs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sync_is_next(&self) -> bool {
        let Some((sync, _)) = self.syncs.front() else { return false };
        let older = self.others.front().is_none_or(|(other, _)| sync < other);
        older && self.syncs_running < self.syncs_running_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_wait_at_the_cap_while_others_pass() {
        let mut queue = OpQueue::new(1);
        for (is_sync, item) in [(false, "w1"), (true, "s1"), (true, "s2"), (false, "w2")] {
            queue.push(is_sync, item);
        }
        assert_eq!(queue.peek(), Some(&"w1"));
        assert_eq!([queue.take(), queue.take(), queue.take()], [Some("w1"), Some("s1"), Some("w2")]);
        assert_eq!(queue.peek(), None);
        assert_eq!((queue.take(), queue.len()), (None, 1));
        queue.sync_finished();
        assert_eq!(queue.take(), Some("s2"));
        assert!(queue.is_empty());
    }
}
