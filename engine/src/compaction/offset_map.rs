//! The last offset of each key in a part of a log, in memory that is bounded from the start: 20 bytes a place.
//!
//! Keys are held by 128 bits of a keyed hash, so that two keys are taken for one about once in 10²⁶ passes over a million keys, and
//! nobody who does not know the key can bring it about. Open addressing, linear probing. Places that were never used cost no memory.

use std::hash::{DefaultHasher, Hasher};

use ringmill_batch::Offset;

/// 32-bit words of a place: four of the hash, one of the offset.
const WORDS: usize = 5;

/// Bytes of a place.
pub(crate) const PLACE_BYTES: usize = WORDS * 4;

/// So many of four places are used at most: a probe then meets a handful.
const USED_QUARTERS_MAX: usize = 3;

/// Fewer places are not worth the arithmetic.
const PLACES_MIN: usize = 64;

/// See the file's page.
pub(crate) struct OffsetMap {
    /// Both halves' hashers, which have taken their keys already.
    hashers: [DefaultHasher; 2],
    words: Vec<u32>,
    places: usize,
    used: usize,
    /// Offsets are held relative to it.
    first: Offset,
}

/// 128 bits of a keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash([u32; 4]);

/// There is no room for another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl OffsetMap {
    /// A map in at most `bytes_max`, for offsets from `first` on and about `offsets` of them at most.
    pub(crate) fn new(hash_key: [u64; 2], bytes_max: usize, first: Offset, offsets: u64) -> OffsetMap {
        let wanted = usize::try_from(offsets).unwrap_or(usize::MAX).saturating_mul(4) / USED_QUARTERS_MAX;
        let places = wanted.saturating_add(4).min(bytes_max / PLACE_BYTES).max(PLACES_MIN);
        // Zeros come from the system untouched: only places that are used become memory.
        let hashers = [keyed(hash_key[0], hash_key[1]), keyed(hash_key[1] ^ u64::MAX, hash_key[0].rotate_left(32))];
        OffsetMap { hashers, words: vec![0; places * WORDS], places, used: 0, first }
    }

    /// Keys that a map in `bytes_max` takes in any case.
    pub(crate) const fn keys_max(bytes_max: usize) -> usize {
        let places = bytes_max / PLACE_BYTES;
        (if places > PLACES_MIN { places } else { PLACES_MIN }) / 4 * USED_QUARTERS_MAX
    }

    /// Where the part begins that is mapped.
    pub(crate) fn first(&self) -> Offset {
        self.first
    }

    /// What is held of a key.
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        let half = |hasher: &DefaultHasher| {
            let mut hasher = hasher.clone();
            hasher.write(key);
            hasher.finish()
        };
        let [low, high] = self.hashers.each_ref().map(half);
        let halves = [low >> 32, low, high >> 32, high];
        KeyHash(halves.map(|half| u32::try_from(half & u64::from(u32::MAX)).expect("masked")))
    }

    /// Notes that a key stands at `offset`, which lies behind every one noted before; answers where it stood last.
    ///
    /// # Errors
    /// [`Full`], also where the offset is too far from the first one; what was noted before stays.
    pub(crate) fn put(&mut self, hash: &KeyHash, offset: Offset) -> Result<Option<Offset>, Full> {
        assert!(offset >= self.first, "offset {offset} lies before the map's first, {}", self.first);
        let relative = u32::try_from(offset.since(self.first) + 1).map_err(|_| Full)?;
        let at = self.find(hash);
        let before = self.words[at + 4];
        if before == 0 {
            if self.used >= self.places / 4 * USED_QUARTERS_MAX {
                return Err(Full);
            }
            self.used += 1;
            self.words[at..at + 4].copy_from_slice(&hash.0);
        }
        assert!(before <= relative, "offset {offset} goes back");
        self.words[at + 4] = relative;
        Ok(self.absolute(before))
    }

    /// The last offset noted for a key.
    pub(crate) fn last(&self, hash: &KeyHash) -> Option<Offset> {
        self.absolute(self.words[self.find(hash) + 4])
    }

    /// What a place's last word says; a 0 that it is free.
    fn absolute(&self, relative: u32) -> Option<Offset> {
        self.first.checked_add(relative.checked_sub(1)?.into())
    }

    /// Keys noted so far.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// The place of the hash, or the free one where it would stand.
    fn find(&self, KeyHash(hash): &KeyHash) -> usize {
        // Multiplied instead of divided: the hash is as good in its upper bits as in its lower.
        let scaled = u128::from(hash[0]) << 32 | u128::from(hash[1]);
        let mut place = usize::try_from((scaled * self.places as u128) >> 64).expect("below the number of places");
        loop {
            let at = place * WORDS;
            if self.words[at + 4] == 0 || self.words[at..at + 4] == hash[..] {
                return at;
            }
            place = if place + 1 == self.places { 0 } else { place + 1 };
        }
    }
}

/// std's SipHash under a key of ours: it cannot be given one, but what it takes first does the same.
fn keyed(first: u64, second: u64) -> DefaultHasher {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(first);
    hasher.write_u64(second);
    hasher
}

impl std::fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OffsetMap({} keys, {} places)", self.used, self.places)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn offset(value: u64) -> Offset {
        Offset::ZERO.checked_add(value).unwrap()
    }

    proptest! {
        #[test]
        fn it_knows_what_an_ordinary_map_knows(keys in prop::collection::vec(0_u16..300, 0..600), bytes_max in 0_usize..20_000) {
            let mut map = OffsetMap::new([1, 2], bytes_max, offset(1000), keys.len() as u64);
            let mut model = BTreeMap::new();
            for (number, key) in keys.iter().enumerate() {
                let at = offset(1000 + number as u64);
                match map.put(&map.hash(&key.to_be_bytes()), at) {
                    Ok(before) => prop_assert_eq!(before, model.insert(*key, at)),
                    Err(Full) => prop_assert!(!model.contains_key(key) && model.len() == map.places / 4 * 3),
                }
            }
            prop_assert_eq!(map.len(), model.len());
            for key in 0..300_u16 {
                prop_assert_eq!(map.last(&map.hash(&key.to_be_bytes())), model.get(&key).copied());
            }
        }
    }

    #[test]
    fn memory_is_what_was_allowed_and_no_more_than_is_needed() {
        let bytes = |bytes_max, offsets| OffsetMap::new([0; 2], bytes_max, offset(0), offsets).words.len() * 4;
        assert!(bytes(40 << 20, u64::MAX) <= 40 << 20 && bytes(40 << 20, u64::MAX) > 39 << 20);
        assert!(bytes(40 << 20, 300) <= 405 * PLACE_BYTES);
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        let mut map = OffsetMap::new([0; 2], 1 << 20, offset(5), 10);
        assert_eq!(map.put(&map.hash(b""), offset(5)), Ok(None));
        assert_eq!(map.put(&map.hash(b"far"), offset(5 + u64::from(u32::MAX))), Err(Full));
        assert_eq!((map.last(&map.hash(b"")), map.last(&map.hash(b"far"))), (Some(offset(5)), None));
    }
}
