//! Which leader epoch began at which offset: what `OffsetForLeaderEpoch` and a diverging fetch are answered from.
//!
//! A list in memory, stored inside `partition.meta`: an epoch begins only where that file is written anyway, so nothing has to
//! be derived from a scan. It is pure; the log keeps it and makes it durable.

use ringmill_batch::{LeaderEpoch, Offset};

/// Older reigns than this many are forgotten: clients ask for the last few.
pub const EPOCHS_MAX: usize = 1024;

/// Epochs and the offsets at which they began, both rising strictly; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochList(Vec<(LeaderEpoch, Offset)>);

impl EpochList {
    /// A new partition's: the first reign, from its first offset.
    #[must_use]
    pub fn new() -> EpochList {
        EpochList(vec![(LeaderEpoch::ZERO, Offset::ZERO)])
    }

    /// Takes a stored list; `None` when it is empty, too long or does not rise.
    #[must_use]
    pub fn from_entries(entries: Vec<(LeaderEpoch, Offset)>) -> Option<EpochList> {
        let rises = entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        (rises && !entries.is_empty() && entries.len() <= EPOCHS_MAX).then_some(EpochList(entries))
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.0
    }

    /// The reign of today.
    #[must_use]
    pub fn current(&self) -> LeaderEpoch {
        self.0.last().expect("the list is never empty").0
    }

    /// The reign in which the record at `offset` was appended; `None` when it is older than all that are known.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let later = self.0.partition_point(|&(_, began)| began <= offset);
        Some(self.0[later.checked_sub(1)?].0)
    }

    /// Begins `epoch` at `start`, the end of the log. Reigns that left no record are forgotten: nobody can ask for them.
    ///
    /// # Panics
    /// When `epoch` is not later than all before it.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        assert!(epoch > self.current(), "epoch {epoch:?} after {:?}", self.current());
        self.0.retain(|&(_, began)| began < start);
        self.0.push((epoch, start));
        if self.0.len() > EPOCHS_MAX {
            self.0.remove(0);
        }
    }

    /// Forgets reigns that ended at or before `log_start`.
    pub fn forget_before(&mut self, log_start: Offset) {
        let first_kept = self.0.partition_point(|&(_, began)| began <= log_start).saturating_sub(1);
        self.0.drain(..first_kept);
    }

    /// The newest reign that is not later than `asked`, and the end of its records (`log_end` for today's). When all known reigns
    /// are later, `asked` itself ended before the first of them began. `None` when `asked` is later than today's.
    ///
    /// Example: with reigns 2 from @10 and 4 from @20, epoch 3 ended where 2 did: (2, @20), and epoch 1 where 2 began: (1, @10).
    #[must_use]
    pub fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if asked > self.current() {
            return None;
        }
        let later = self.0.partition_point(|&(epoch, _)| epoch <= asked);
        let newest = later.checked_sub(1).map_or(asked, |index| self.0[index].0);
        Some((newest, self.0.get(later).map_or(log_end, |&(_, began)| began)))
    }
}

impl Default for EpochList {
    fn default() -> EpochList {
        EpochList::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(value: i32) -> LeaderEpoch {
        LeaderEpoch::new(value).unwrap()
    }

    fn offset(value: i64) -> Offset {
        Offset::new(value).unwrap()
    }

    fn list(entries: &[(i32, i64)]) -> EpochList {
        EpochList::from_entries(entries.iter().map(|&(e, o)| (epoch(e), offset(o))).collect()).unwrap()
    }

    #[test]
    fn every_offset_lies_in_the_reign_that_began_last_before_it() {
        let epochs = list(&[(2, 10), (4, 20)]);
        let at = |value| epochs.at(offset(value)).map(LeaderEpoch::get);
        assert_eq!([at(9), at(10), at(19), at(20), at(99)], [None, Some(2), Some(2), Some(4), Some(4)]);
    }

    #[test]
    fn an_epoch_ends_where_the_next_began() {
        let epochs = list(&[(0, 0), (2, 10), (3, 25)]);
        let ends: Vec<_> = (0..=4).map(|asked| epochs.end_of(epoch(asked), offset(30))).collect();
        let expected = [Some((0, 10)), Some((0, 10)), Some((2, 25)), Some((3, 30)), None];
        assert_eq!(ends, expected.map(|end| end.map(|(e, o)| (epoch(e), offset(o)))));
    }

    #[test]
    fn an_epoch_before_all_that_are_known_ended_where_the_first_of_them_began() {
        let epochs = list(&[(3, 25), (5, 40)]);
        assert_eq!(epochs.end_of(epoch(1), offset(50)), Some((epoch(1), offset(25))));
        assert_eq!(epochs.end_of(epoch(4), offset(50)), Some((epoch(3), offset(40))));
    }

    #[test]
    fn an_epoch_without_records_is_forgotten() {
        let mut epochs = EpochList::new();
        epochs.begin(epoch(1), Offset::ZERO);
        assert_eq!(epochs, list(&[(1, 0)]));
        epochs.begin(epoch(2), offset(5));
        epochs.begin(epoch(3), offset(5));
        assert_eq!(epochs, list(&[(1, 0), (3, 5)]));
    }

    #[test]
    fn epochs_wholly_below_the_log_start_are_forgotten() {
        let mut epochs = list(&[(0, 0), (2, 10), (3, 25)]);
        epochs.forget_before(offset(12));
        assert_eq!(epochs, list(&[(2, 10), (3, 25)]));
        epochs.forget_before(offset(25));
        assert_eq!(epochs, list(&[(3, 25)]));
        epochs.forget_before(offset(99));
        assert_eq!(epochs, list(&[(3, 25)]));
    }

    #[test]
    fn lists_that_do_not_rise_are_refused() {
        for entries in [vec![], vec![(1, 0), (1, 5)], vec![(1, 5), (2, 5)], vec![(3, 0), (2, 5)]] {
            let entries = entries.into_iter().map(|(e, o)| (epoch(e), offset(o))).collect();
            assert_eq!(EpochList::from_entries(entries), None);
        }
    }
}
