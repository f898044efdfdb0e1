//! Which partition of `__consumer_offsets` a group belongs to.

/// Kafka's rule: the hash that Java gives the id, without its sign, by the number of partitions. So what one writes the other finds.
///
/// For example `console` belongs to partition 10 of 16.
///
/// # Panics
/// When there are no partitions.
#[must_use]
pub(super) fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Kafka's `Utils.abs` makes 0 of the one number that has no positive.
    hash.checked_abs().unwrap_or(0) % partitions
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn ids_hash_as_in_java() {
        // "polygenelubricants".hashCode() is the smallest number there is.
        assert_eq!(partition_of("polygenelubricants", 16), 0);
        assert_eq!(partition_of("", 16), 0);
        // "a".hashCode() is 97, "ab".hashCode() 3105.
        assert_eq!((partition_of("a", 16), partition_of("ab", 50)), (1, 5));
        // Beyond the first plane a character counts as two: 0xd83d * 31 + 0xde00.
        assert_eq!(partition_of("\u{1f600}", 1_000_000), 772_899);
    }
}
