//! Which partition a record goes to: by its key's hash as Kafka's Java client has it, or, without a key, where it fills a batch.
//!
//! Records of one key thus lie in one partition, whichever client wrote them.

/// Kafka's variant of MurmurHash2 (32 bits, seed 0x9747b28c), as all its clients share it.
#[must_use]
pub(super) fn murmur2(key: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // The algorithm counts in 32 bits; a key is far shorter than 4 GiB.
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut bits = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        bits ^= bits >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ bits.wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions` (at least 1).
#[must_use]
pub(super) fn of_key(key: &[u8], partitions: i32) -> i32 {
    let positive = i32::from_be_bytes(murmur2(key).to_be_bytes()) & i32::MAX;
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that Kafka's own documentation of the hash and its clients' tests agree on.
    #[test]
    fn the_hash_is_the_one_all_kafka_clients_share() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(i32::from_be_bytes(murmur2(key.as_bytes()).to_be_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_key_always_goes_to_the_same_partition_in_range() {
        for partitions in 1..20 {
            for key in [&b""[..], b"k", b"another key"] {
                let partition = of_key(key, partitions);
                assert!((0..partitions).contains(&partition));
                assert_eq!(partition, of_key(key, partitions));
            }
        }
    }
}
