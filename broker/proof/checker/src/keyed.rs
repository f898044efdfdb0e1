//! Records of compacted topics: which key one has, and whether it is a tombstone, follows from who made it, so that no event has to say so.
//!
//! A tombstone has no value that could tell who made it; a header does.

use ringmill_batch::{BatchBuilder, Record};

use crate::made::Made;

/// One record in so many has no value.
const TOMBSTONE_ONCE_IN: u64 = 6;

/// The header of a tombstone that says who made it.
const MADE_HEADER: &[u8] = b"made";

/// What a compacted topic knows a record by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Below the topic's number of keys.
    pub key: u32,
    /// It deletes its key.
    pub is_tombstone: bool,
}

impl Made {
    /// The record's key in a topic of so many keys.
    ///
    /// ```
    /// # use ringmill_checker::Made;
    /// let keys: Vec<_> = (0..500).map(|number| Made { producer: 3, number }.key(7)).collect();
    /// assert!((0..7).all(|key| keys.iter().any(|other| other.key == key && other.is_tombstone)));
    /// ```
    #[must_use]
    pub fn key(self, keys: u32) -> Key {
        let mut mixed = (u64::from(self.producer) << 40) ^ self.number;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let key = u32::try_from(mixed % u64::from(keys.max(1))).expect("it is below a u32");
        Key { key, is_tombstone: (mixed >> 32).is_multiple_of(TOMBSTONE_ONCE_IN) }
    }

    /// Appends the record to a batch; with `keys` as it stands in a topic of so many keys.
    pub fn push_onto(self, builder: &mut BatchBuilder, timestamp_ms: i64, keys: Option<u32>, value_bytes: usize) {
        let Some(keys) = keys else {
            return builder.push(timestamp_ms, None, Some(&self.value(value_bytes)), &[]);
        };
        let Key { key, is_tombstone } = self.key(keys);
        let key = key_bytes(keys, key);
        if is_tombstone {
            builder.push(timestamp_ms, Some(&key), None, &[(MADE_HEADER, Some(&self.value(0)))]);
        } else {
            builder.push(timestamp_ms, Some(&key), Some(&self.value(value_bytes)), &[]);
        }
    }

    /// Who made this record, if every byte of it is as it was made.
    pub(crate) fn of(record: &Record<'_>) -> Option<Made> {
        let Some(key) = record.key else {
            return record.value.and_then(Made::parse);
        };
        let made = match record.value {
            Some(value) => Made::parse(value)?,
            None => {
                let header = record.headers.iter().find(|(name, _)| *name == MADE_HEADER)?;
                Made::parse(header.1?)?
            }
        };
        let keys = std::str::from_utf8(key).ok()?.split_once('/')?.0.parse().ok()?;
        let expected = made.key(keys);
        (key_bytes(keys, expected.key) == key && expected.is_tombstone == record.value.is_none()).then_some(made)
    }
}

/// It says how many keys there are, too, so that a record alone can be told from one that nobody made.
fn key_bytes(keys: u32, key: u32) -> Vec<u8> {
    format!("{keys}/{key}").into_bytes()
}

#[cfg(test)]
mod tests {
    use ringmill_batch::Codec;

    use super::*;
    use crate::decode;

    #[test]
    fn a_record_with_a_key_comes_back_and_no_other_under_its_key() {
        let made = |number| Made { producer: 4, number };
        let tombstone = (0..).map(made).find(|made| made.key(5).is_tombstone).expect("one in a few is");
        let batch = |push: &dyn Fn(&mut BatchBuilder)| {
            let mut builder = BatchBuilder::new(Codec::None, None);
            push(&mut builder);
            decode(0, &builder.finish())
        };
        let decoded = batch(&|builder| (0..20).for_each(|number| made(number).push_onto(builder, 0, Some(5), 30)));
        assert_eq!((decoded.runs.len(), decoded.runs[0].count, decoded.foreign), (1, 20, None));
        let other = key_bytes(5, (tombstone.key(5).key + 1) % 5);
        let own = key_bytes(5, tombstone.key(5).key);
        let header: &[(&[u8], Option<&[u8]>)] = &[(MADE_HEADER, Some(&tombstone.value(0)))];
        assert_eq!(batch(&|builder| builder.push(0, Some(&own), None, header)).foreign, None);
        assert!(batch(&|builder| builder.push(0, Some(&other), None, header)).foreign.is_some());
        assert!(batch(&|builder| builder.push(0, Some(&own), Some(&tombstone.value(0)), &[])).foreign.is_some());
        assert!(batch(&|builder| builder.push(0, Some(&own), None, &[])).foreign.is_some());
        assert!(batch(&|builder| builder.push(0, None, None, header)).foreign.is_some());
    }
}
