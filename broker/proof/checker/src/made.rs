//! Records whose content tells who made them: writing them, and reading them back out of fetched batches.

use ringmill_batch::{BatchError, BatchHeader, DecompressLimit, HeaderError, check_stored, read_records};
use serde::{Deserialize, Serialize};

use crate::event::Run;

/// One record as its producer made it; unique in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Made {
    /// Who made it.
    pub producer: u32,
    /// Which of its records, from 0.
    pub number: u64,
}

/// Something in a log that no producer of the history made, or that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Foreign {
    /// Where it is.
    pub offset: i64,
    /// What is wrong, or its first bytes.
    pub words: String,
}

/// What a fetch brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Records from the wanted offset on.
    pub runs: Vec<Run>,
    /// The first thing that is wrong; nothing behind it was read.
    pub foreign: Option<Foreign>,
    /// The offset to fetch next.
    pub next: i64,
    /// The offset behind the last batch that was read.
    behind: Option<i64>,
}

impl Made {
    /// The record's value: `producer:number`, and, if that is shorter than `bytes`, a space and letters that follow from both.
    ///
    /// ```
    /// # use ringmill_checker::Made;
    /// let made = Made { producer: 3, number: 14 };
    /// assert_eq!(made.value(0), b"3:14");
    /// assert_eq!(made.value(100).len(), 100);
    /// assert_eq!(Made::parse(&made.value(100)), Some(made));
    /// ```
    #[must_use]
    pub fn value(self, bytes: usize) -> Vec<u8> {
        let mut value = format!("{}:{}", self.producer, self.number).into_bytes();
        if value.len() + 1 < bytes {
            value.reserve_exact(bytes - value.len());
            value.push(b' ');
            let mut state = (u64::from(self.producer) << 40) ^ self.number;
            while value.len() < bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let letters = (state >> 32).to_be_bytes().map(|byte| b'a' + byte % 26);
                value.extend_from_slice(&letters[4..][..4.min(bytes - value.len())]);
            }
        }
        value
    }

    /// Who made this value, if every byte of it is as it was made.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Made> {
        let head = value.split(|byte| *byte == b' ').next()?;
        let (producer, number) = std::str::from_utf8(head).ok()?.split_once(':')?;
        let made = Made { producer: producer.parse().ok()?, number: number.parse().ok()? };
        (made.value(value.len()) == value).then_some(made)
    }
}

/// Reads the batches of a fetch from `from`: records before it are passed over, a cut last batch is legal.
#[must_use]
pub fn decode(from: i64, batches: &[u8]) -> Decoded {
    let mut decoded = Decoded { next: from, ..Decoded::default() };
    let mut rest = batches;
    while decoded.foreign.is_none() && !rest.is_empty() {
        match check_stored(rest) {
            Ok(header) => {
                let (batch, behind) = rest.split_at(header.total_bytes());
                decoded.add_batch(&header, batch);
                rest = behind;
            }
            Err(error) if is_cut(&error) => break,
            Err(error) => decoded.stop(decoded.next, format!("a batch that does not hold: {error}")),
        }
    }
    decoded
}

/// Only the end is missing.
fn is_cut(error: &BatchError) -> bool {
    matches!(error, BatchError::Header(HeaderError::Short { .. }) | BatchError::Incomplete { .. })
}

impl Decoded {
    /// The offset to fetch next, if it is not right behind the last record: as [`Event::Seen`](crate::Event::Seen) has it.
    #[must_use]
    pub fn next_of_its_own(&self, from: i64) -> Option<i64> {
        let behind = self.runs.last().map_or(from, |run| run.offset.saturating_add_unsigned(run.count));
        (self.next != behind).then_some(self.next)
    }

    /// Records may be missing within a batch, as compaction leaves it; between batches no offset is.
    fn add_batch(&mut self, header: &BatchHeader, batch: &[u8]) {
        let (base, behind) = (header.base_offset.get(), header.next_offset().get());
        if let Some(expected) = self.behind.filter(|expected| *expected != base) {
            return self.stop(base, format!("a batch that follows on offset {}", expected - 1));
        }
        self.add_records(batch);
        if self.foreign.is_none() {
            self.next = self.next.max(behind);
            self.behind = Some(behind);
        }
    }

    fn add_records(&mut self, batch: &[u8]) {
        let records = match read_records(batch, DecompressLimit::default()) {
            Ok(records) => records,
            Err(error) => return self.stop(self.next, format!("records that cannot be read: {error}")),
        };
        for record in records.iter() {
            let record = match record {
                Ok(record) => record,
                Err(error) => return self.stop(self.next, format!("a record that cannot be read: {error}")),
            };
            let offset = record.offset.get();
            if offset < self.next {
                if self.runs.is_empty() {
                    continue;
                }
                return self.stop(offset, format!("it comes after offset {}", self.next - 1));
            }
            let Some(made) = Made::of(&record) else {
                let value = record.value.unwrap_or_default();
                let start = String::from_utf8_lossy(&value[..value.len().min(40)]).into_owned();
                return self.stop(offset, format!("{} bytes that nobody made: {start:?}", value.len()));
            };
            self.add(offset, made);
        }
    }

    fn add(&mut self, offset: i64, Made { producer, number }: Made) {
        self.next = offset + 1;
        if let Some(last) = self.runs.last_mut()
            && last.producer == producer
            && last.number + last.count == number
            && offset.checked_sub_unsigned(last.count) == Some(last.offset)
        {
            last.count += 1;
            return;
        }
        self.runs.push(Run { offset, producer, number, count: 1 });
    }

    fn stop(&mut self, offset: i64, words: String) {
        self.foreign = Some(Foreign { offset, words });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_batch::{BatchBuilder, Codec, LeaderEpoch, Offset, stamp};

    fn batch(base: i64, made: &[Made]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None, None);
        made.iter().for_each(|made| builder.push(0, None, Some(&made.value(30)), &[]));
        let mut bytes = builder.finish().to_vec();
        stamp(&mut bytes, Offset::new(base).expect("not negative"), LeaderEpoch::new(0).expect("not negative"));
        bytes
    }

    fn made(numbers: std::ops::Range<u64>) -> Vec<Made> {
        numbers.map(|number| Made { producer: 4, number }).collect()
    }

    #[test]
    fn records_come_back_as_runs_from_the_wanted_offset_on() {
        let bytes = [batch(10, &made(0..3)), batch(13, &made(3..5)), batch(15, &made(9..10))].concat();
        let run = |offset, number, count| Run { offset, producer: 4, number, count };
        let expected = Decoded { runs: vec![run(11, 1, 4), run(15, 9, 1)], foreign: None, next: 16, behind: Some(16) };
        assert_eq!(decode(11, &bytes), expected);
        // A cut last batch is legal.
        let cut = decode(11, &bytes[..bytes.len() - 1]);
        assert_eq!((cut.runs, cut.foreign, cut.next), (vec![run(11, 1, 4)], None, 15));
    }

    #[test]
    fn what_nobody_made_is_shown() {
        let mut bytes = batch(0, &made(0..1));
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        assert!(decode(0, &bytes).foreign.is_some_and(|foreign| foreign.words.contains("CRC")));
        assert_eq!(Made::parse(b"3:4 x"), None);
        assert_eq!(Made::parse(b"3:4"), Some(Made { producer: 3, number: 4 }));
        for wrong in [&b""[..], b"3:", b":4", b"3:4 ", b"3:4:5", b"-3:4", b"03:4"] {
            assert_eq!(Made::parse(wrong), None, "{wrong:?}");
        }
    }
}
