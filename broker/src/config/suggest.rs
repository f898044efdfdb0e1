//! "Did you mean": the known name nearest to an unknown one.
//!
//! Knows only words; the callers phrase the sentence.

/// No name that anybody meant is longer; a stranger may send one of 32 KiB, many times, and each would be compared with all we know.
const UNKNOWN_BYTES_MAX: usize = 200;

/// The candidate nearest to `unknown` by edit distance, if it is near enough to be a slip: at most a third of the letters
/// differ, or two in a word that short (two letters swapped count as two).
pub(super) fn nearest<'a>(unknown: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > UNKNOWN_BYTES_MAX {
        return None;
    }
    let letters = unknown.chars().count();
    let limit = if letters < 4 { 1 } else { (letters / 3).max(2) };
    candidates
        .map(|candidate| (edit_distance(unknown, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added or removed to make one word the other (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (from_index, from_letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = from_index + 1;
        for (to_index, to_letter) in to.iter().enumerate() {
            let changed = diagonal + usize::from(from_letter != *to_letter);
            diagonal = row[to_index + 1];
            row[to_index + 1] = changed.min(diagonal + 1).min(row[to_index] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["retention.ms", "retention.bytes", "segment.ms"];
        let check = |unknown: &str, expected: Option<&str>| {
            assert_eq!(nearest(unknown, known.into_iter()), expected, "{unknown}");
        };
        check("retention.m", Some("retention.ms"));
        check("retentoin.bytes", Some("retention.bytes"));
        check("segement.ms", Some("segment.ms"));
        check("rtention.sm", Some("retention.ms"));
        check("wholly.other.thing", None);
        check("", None);
        check(&format!("retention.ms{}", " ".repeat(UNKNOWN_BYTES_MAX)), None);
    }

    #[test]
    fn distances_are_levenshteins() {
        for (from, to, expected) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(edit_distance(from, to), expected, "{from} → {to}");
        }
    }
}
