//! What the mapping of keys has found out about batches on its way, so that they need not be read again: which of their records have a
//! later one of the same key.
//!
//! A bit for each offset of the new part of a log, as far as memory reaches. Only batches all of whose records were noted, each with a
//! key and a value, are known; of every other one, and of the part that was clean before, the map is asked. What the log says is never
//! contradicted: a bit is set exactly where the map has a key at a later offset.

use ringmill_batch::{BatchHeader, Offset};

const WORD_BITS: usize = u64::BITS as usize;

/// See the file's page.
#[derive(Debug)]
pub(crate) struct Settled {
    first: Offset,
    /// By offset from `first`: its record is superseded.
    superseded: Vec<u64>,
    /// By base offset from `first`: the batch is known.
    known: Vec<u64>,
}

/// What becomes of a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stays {
    /// Every one stays.
    All,
    /// Those of which [`Settled::is_superseded`] says otherwise do not.
    Some,
    /// None stays.
    None,
}

impl Settled {
    /// Nothing is known yet, in at most `bytes_max`, of `offsets` from `first` on.
    pub(crate) fn new(bytes_max: usize, first: Offset, offsets: u64) -> Settled {
        let offsets = usize::try_from(offsets).unwrap_or(usize::MAX);
        let words = offsets.div_ceil(WORD_BITS).min(bytes_max / (2 * size_of::<u64>()));
        Settled { first, superseded: vec![0; words], known: vec![0; words] }
    }

    /// The record at `offset` has a later one.
    pub(crate) fn supersede(&mut self, offset: Offset) {
        if let Some(at) = self.place(offset) {
            self.superseded[at / WORD_BITS] |= 1 << (at % WORD_BITS);
        }
    }

    /// Every record of the batch was noted, and has a key and a value.
    pub(crate) fn know(&mut self, header: &BatchHeader) {
        if let (Some(at), Some(_)) = (self.place(header.base_offset), self.place(header.last_offset())) {
            self.known[at / WORD_BITS] |= 1 << (at % WORD_BITS);
        }
    }

    /// What becomes of the batch's records, once all keys were noted; `None` if it is not known.
    pub(crate) fn stays(&self, header: &BatchHeader) -> Option<Stays> {
        let (first, last) = (self.place(header.base_offset)?, self.place(header.last_offset())?);
        if self.known[first / WORD_BITS] >> (first % WORD_BITS) & 1 == 0 {
            return None;
        }
        // Where a batch has gaps, no bit is set in them: bits count records.
        let superseded = self.superseded_in(first, last);
        Some(match superseded == header.record_count.unsigned_abs() {
            _ if superseded == 0 => Stays::All,
            true => Stays::None,
            false => Stays::Some,
        })
    }

    /// Whether a record of a known batch has a later one.
    pub(crate) fn is_superseded(&self, offset: Offset) -> bool {
        self.place(offset).is_some_and(|at| self.superseded[at / WORD_BITS] >> (at % WORD_BITS) & 1 == 1)
    }

    fn superseded_in(&self, first: usize, last: usize) -> u32 {
        let count = |word: usize| {
            let from = if word == first / WORD_BITS { u64::MAX << (first % WORD_BITS) } else { u64::MAX };
            let to = if word == last / WORD_BITS { u64::MAX >> (WORD_BITS - 1 - last % WORD_BITS) } else { u64::MAX };
            (self.superseded[word] & from & to).count_ones()
        };
        (first / WORD_BITS..=last / WORD_BITS).map(count).sum()
    }

    fn place(&self, offset: Offset) -> Option<usize> {
        if offset < self.first {
            return None;
        }
        let at = usize::try_from(offset.since(self.first)).ok()?;
        (at < self.known.len() * WORD_BITS).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use ringmill_batch::BatchBuilder;
    use ringmill_batch::Codec;

    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::ZERO.checked_add(value).unwrap()
    }

    /// A batch of so many records.
    fn header(base: u64, records: u64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Codec::None, None);
        (0..records).for_each(|_| builder.push(0, Some(b"k"), Some(b"v"), &[]));
        let header = BatchHeader::parse(&builder.finish()).unwrap();
        BatchHeader { base_offset: offset(base), ..header }
    }

    proptest! {
        #[test]
        fn it_says_what_a_list_of_the_superseded_says(
            first in 0_u64..200,
            lengths in prop::collection::vec(1_u64..150, 1..20),
            superseded in prop::collection::btree_set(0_u64..3000, 0..400),
            whole in 0_usize..20,
        ) {
            let mut settled = Settled::new(1 << 20, offset(first), lengths.iter().sum());
            let mut base = first;
            let headers: Vec<BatchHeader> = lengths.iter().map(|&length| { base += length; header(base - length, length) }).collect();
            let mut superseded: BTreeSet<Offset> = superseded.into_iter().map(offset).collect();
            // Seldom by chance: one batch of which nothing stays.
            let emptied = &headers[whole % headers.len()];
            superseded.extend((0..emptied.next_offset().since(emptied.base_offset)).map(|n| emptied.base_offset.checked_add(n).unwrap()));
            superseded.iter().for_each(|&offset| settled.supersede(offset));
            headers.iter().step_by(2).for_each(|header| settled.know(header));
            for (number, header) in headers.iter().enumerate() {
                let gone = superseded.range(header.base_offset..header.next_offset()).count();
                let stays = match gone {
                    0 => Stays::All,
                    _ if gone == usize::try_from(header.record_count).unwrap() => Stays::None,
                    _ => Stays::Some,
                };
                prop_assert_eq!(settled.stays(header), (number % 2 == 0).then_some(stays));
            }
            for at in (first..base).map(offset) {
                prop_assert_eq!(settled.is_superseded(at), superseded.contains(&at));
            }
        }
    }

    #[test]
    fn what_lies_outside_is_not_known() {
        let mut settled = Settled::new(16, offset(100), u64::MAX);
        settled.know(&header(164 - 3, 4));
        settled.know(&header(99, 4));
        settled.supersede(offset(164));
        settled.supersede(offset(99));
        for (base, records) in [(161, 4), (99, 4), (100, 1), (164, 1)] {
            assert_eq!(settled.stays(&header(base, records)), None, "{base}");
        }
        settled.know(&header(160, 4));
        assert_eq!(settled.stays(&header(160, 4)), Some(Stays::All), "up to the last bit");
        assert!(!settled.is_superseded(offset(164)) && !settled.is_superseded(offset(99)));
    }

    #[test]
    fn gaps_are_no_records() {
        let mut settled = Settled::new(1 << 10, offset(0), 1000);
        let sparse = BatchHeader { record_count: 2, ..header(10, 5) };
        settled.know(&sparse);
        settled.supersede(offset(10));
        assert_eq!(settled.stays(&sparse), Some(Stays::Some));
        settled.supersede(offset(14));
        assert_eq!(settled.stays(&sparse), Some(Stays::None));
    }
}
