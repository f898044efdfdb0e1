//! Kafka's rules for topic names.
//!
//! Length and letters are checked here; whether a name is taken is the store's question.

/// The longest name: with `-` and a partition number it must still be a file name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Checks a topic's name.
///
/// # Errors
/// What is wrong with it, as a sentence that can be sent to the client.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Err("the topic's name is empty".to_owned())
    } else if name == "." || name == ".." {
        Err(format!("the topic's name must not be {name:?}"))
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        Err(format!("the topic's name has {} bytes; at most {TOPIC_NAME_BYTES_MAX} are allowed", name.len()))
    } else if !name.bytes().all(legal) {
        Err(format!("the topic's name {name:?} has other letters than a-z, A-Z, 0-9, '.', '_' and '-'"))
    } else {
        Ok(())
    }
}

/// Two names collide when they differ only in `.` and `_`: metrics and file names of other tools cannot tell them apart.
pub(crate) fn names_collide(one: &str, other: &str) -> bool {
    let same = |(one, other): (u8, u8)| one == other || (matches!(one, b'.' | b'_') && matches!(other, b'.' | b'_'));
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_kafka_does() {
        let longest = "a".repeat(249);
        for good in ["logs", "a.b_c-D9", "...", "-", longest.as_str()] {
            assert_eq!(check_topic_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(250);
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", too_long.as_str()] {
            assert!(check_topic_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        let check =
            |one: &str, other: &str, expected: bool| assert_eq!(names_collide(one, other), expected, "{one} {other}");
        check("a.b", "a_b", true);
        check("a.b", "a.b", true);
        check("a.b", "a-b", false);
        check("a.b", "a.bc", false);
        check("_", ".", true);
    }
}
