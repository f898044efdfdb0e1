//! Which neighbouring segments become one: together no larger than a segment may be, and no further from first to last offset.
//!
//! Counted by what they hold before, so that what becomes of them fits in any case, and small ones come together over time.

use ringmill_batch::Offset;

/// What is known of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) base: Offset,
    /// The next segment's.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// Nothing in it is known to be damaged.
    pub(crate) may_be_read: bool,
}

/// The largest distance from the first offset of a segment to what follows its last.
const OFFSETS_MAX: u64 = i32::MAX as u64;

/// How many of `parts` go into one segment of `segment_bytes`; at least the first. No more of them are asked for than that and one.
pub(crate) fn group(parts: impl IntoIterator<Item = Part>, segment_bytes: u64) -> usize {
    let mut parts = parts.into_iter().peekable();
    let Some(&first) = parts.peek() else { return 0 };
    let mut bytes = 0;
    let fitting = parts.take_while(|part| {
        bytes += part.bytes;
        part.may_be_read && bytes <= segment_bytes && part.end.since(first.base) <= OFFSETS_MAX
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(of: &[(u64, u64)]) -> Vec<Part> {
        let offset = |value| Offset::ZERO.checked_add(value).unwrap();
        let mut base = 0;
        let part = |&(offsets, bytes): &(u64, u64)| {
            let part = Part { base: offset(base), end: offset(base + offsets), bytes, may_be_read: bytes != 13 };
            base += offsets;
            part
        };
        of.iter().map(part).collect()
    }

    #[test]
    fn neighbours_are_joined_as_long_as_they_fit() {
        let check = |of: &[(u64, u64)], expected: usize| assert_eq!(group(parts(of), 100), expected, "{of:?}");
        check(&[], 0);
        check(&[(10, 40), (10, 60), (10, 1)], 2);
        check(&[(10, 500), (10, 1)], 1);
        check(&[(10, 50), (10, 60)], 1);
        check(&[(10, 50), (OFFSETS_MAX - 10, 1), (1, 1)], 2);
        check(&[(10, 20), (10, 13), (10, 20)], 1);
        check(&[(10, 13), (10, 20)], 1);
    }

    #[test]
    fn no_part_is_asked_for_behind_the_first_that_does_not_fit() {
        // All of the rest were looked at for each segment that was written: a log of many took the core for the square of them.
        let mut asked = 0;
        let of = parts(&[(10, 40); 1000]);
        assert_eq!(group(of.into_iter().inspect(|_| asked += 1), 100), 2);
        assert_eq!(asked, 3);
    }
}
