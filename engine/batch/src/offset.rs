//! Offsets and leader epochs as types of their own, so that neither is taken for a count, a position or the other.
//!
//! Used by every crate that speaks of a place in a partition; arithmetic beyond "the next one" stays with the caller.

use std::fmt;

/// A record's place in its partition: dense, never negative, never reused.
///
/// The end of a log is the offset that its next record will get, so an empty log starts and ends at [`Offset::ZERO`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of a new partition.
    pub const ZERO: Offset = Offset(0);

    /// Takes a number from the wire or from disk; `None` when it is negative.
    #[must_use]
    pub const fn new(value: i64) -> Option<Offset> {
        if value < 0 { None } else { Some(Offset(value)) }
    }

    /// The number as the wire and the disk write it.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `records` further on; `None` past `i64::MAX`.
    #[must_use]
    pub const fn checked_add(self, records: u64) -> Option<Offset> {
        match self.0.checked_add_unsigned(records) {
            Some(value) => Some(Offset(value)),
            None => None,
        }
    }

    /// How many offsets lie from `earlier` up to here, 0 when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Offset) -> u64 {
        if self.0 <= earlier.0 { 0 } else { self.0.abs_diff(earlier.0) }
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Counts the reigns of a partition's leader: it rises whenever records that were once written may have been cut, so that
/// a client can detect the cut (KIP-101, KIP-320).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct LeaderEpoch(i32);

impl LeaderEpoch {
    /// The first reign of a new partition.
    pub const ZERO: LeaderEpoch = LeaderEpoch(0);

    /// Takes a number from the wire or from disk; `None` when it is negative (the wire's −1 means "not known").
    #[must_use]
    pub const fn new(value: i32) -> Option<LeaderEpoch> {
        if value < 0 { None } else { Some(LeaderEpoch(value)) }
    }

    /// The number as the wire and the disk write it.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The reign after this one; `None` past `i32::MAX`.
    #[must_use]
    pub const fn next(self) -> Option<LeaderEpoch> {
        match self.0.checked_add(1) {
            Some(value) => Some(LeaderEpoch(value)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_numbers_are_no_offsets_and_no_epochs() {
        assert_eq!(Offset::new(-1), None);
        assert_eq!(LeaderEpoch::new(-1), None);
    }

    #[test]
    fn the_end_of_the_number_range_is_reported_not_wrapped() {
        let last = Offset::new(i64::MAX).unwrap();
        assert_eq!(last.checked_add(1), None);
        assert_eq!(Offset::ZERO.checked_add(u64::MAX), None);
        assert_eq!(LeaderEpoch::new(i32::MAX).unwrap().next(), None);
    }

    #[test]
    fn distance_never_goes_below_zero() {
        let three = Offset::new(3).unwrap();
        assert_eq!(three.since(Offset::ZERO), 3);
        assert_eq!(Offset::ZERO.since(three), 0);
    }
}
