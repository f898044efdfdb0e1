//! What consumers of classic groups tell each other inside JoinGroup and SyncGroup: subscriptions and assignments.
//!
//! To the classic protocol these bytes are opaque; whoever must understand them (a coordinator that upgrades a group, a
//! description of a group) reads them here. Names, versions and defaults are those of `ConsumerProtocol*.json` in the kafka-clients jar.

use super::prefixed;
use super::reader::{DecodeError, Problem};
use super::schema::{Versioned, message};
use bytes::Bytes;

/// The protocol type of groups whose members speak this.
pub const PROTOCOL_TYPE: &str = "consumer";

/// Memory that the lists of one subscription or assignment may take: a member is a stranger like any other peer.
const ARRAY_BYTES_MAX: usize = 16 << 20;

message! {
    /// What a member wants, and what it has.
    ConsumerProtocolSubscription<'a>: data, versions 0..=3, flexible none {
        topics: Vec<&'a str>, 0..;
        user_data: Option<&'a [u8]>, 0.., null 0..;
        owned_partitions: Vec<TopicPartition<'a>>, 1..;
        generation_id: i32, 2.., default -1;
        rack_id: Option<&'a str>, 3.., null 3..;
    }

    /// What a member gets.
    ConsumerProtocolAssignment<'a>: data, versions 0..=3, flexible none {
        assigned_partitions: Vec<TopicPartition<'a>>, 0..;
        user_data: Option<&'a [u8]>, 0.., null 0..;
    }

    /// A topic's partitions.
    TopicPartition<'a> {
        topic: &'a str, 0..;
        partitions: Vec<i32>, 0..;
    }
}

/// Reads a member's metadata. A version of the future is read as the highest one known here, for new fields only ever follow the old.
///
/// # Errors
/// When the bytes are no subscription.
pub fn subscription(bytes: &[u8]) -> Result<ConsumerProtocolSubscription<'_>, DecodeError> {
    read(bytes, *ConsumerProtocolSubscription::VERSIONS.end())
}

/// Reads only which topics a member wants. That stands first in every version, so members are understood whose other fields are not as
/// their version says: some clients call what they send version 1 and leave out what that one adds.
///
/// # Errors
/// When the bytes do not begin with a version and a list of names.
pub fn subscribed_topics(bytes: &[u8]) -> Result<Vec<&str>, DecodeError> {
    read::<ConsumerProtocolSubscription<'_>>(bytes, 0).map(|subscription| subscription.topics)
}

/// Reads a member's assignment. No bytes at all are no partitions: that is what a member gets whom the leader left out.
///
/// # Errors
/// When the bytes are no assignment.
pub fn assignment(bytes: &[u8]) -> Result<ConsumerProtocolAssignment<'_>, DecodeError> {
    if bytes.is_empty() {
        return Ok(ConsumerProtocolAssignment::default());
    }
    read(bytes, *ConsumerProtocolAssignment::VERSIONS.end())
}

/// The bytes of a subscription or an assignment.
///
/// # Panics
/// When the version has no table.
#[must_use]
pub fn encode<'a>(what: &impl Versioned<'a>, version: i16) -> Bytes {
    prefixed::encode(version, what, version)
}

fn read<'a, T: Versioned<'a>>(bytes: &'a [u8], version_max: i16) -> Result<T, DecodeError> {
    let (version, mut reader) = prefixed::split(bytes, ARRAY_BYTES_MAX, T::NAME)?;
    if version < 0 {
        return Err(reader.error(Problem::UnknownVersion { version }).in_field(T::NAME, "version"));
    }
    // What is left behind the last field known here is a newer version's.
    T::decode(&mut reader, version.min(version_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ConsumerProtocolSubscription<'static> {
        ConsumerProtocolSubscription {
            topics: vec!["logs", "metrics"],
            user_data: Some(b"mine"),
            owned_partitions: vec![TopicPartition { topic: "logs", partitions: vec![0, 3] }],
            generation_id: 7,
            rack_id: Some("r1"),
        }
    }

    #[test]
    fn a_subscription_comes_back_as_far_as_its_version_goes() {
        assert_eq!(subscription(&encode(&sample(), 3)), Ok(sample()));
        let old =
            ConsumerProtocolSubscription { topics: sample().topics, user_data: Some(b"mine"), ..Default::default() };
        assert_eq!(subscription(&encode(&sample(), 0)), Ok(old));
    }

    #[test]
    fn a_version_of_the_future_is_read_as_the_newest_known() {
        let mut bytes = encode(&sample(), 3).to_vec();
        bytes[1] = 9;
        bytes.extend(b"what comes next");
        assert_eq!(subscription(&bytes), Ok(sample()));
    }

    #[test]
    fn topics_are_read_from_members_that_leave_out_what_their_version_adds() {
        let mut bytes = encode(&sample(), 0).to_vec();
        bytes[1] = 1;
        assert!(subscription(&bytes).is_err());
        assert_eq!(subscribed_topics(&bytes), Ok(vec!["logs", "metrics"]));
    }

    #[test]
    fn no_bytes_are_no_partitions_and_no_subscription() {
        assert_eq!(assignment(b""), Ok(ConsumerProtocolAssignment::default()));
        assert!(subscription(b"").is_err());
    }

    #[test]
    fn a_negative_version_and_a_claim_of_more_topics_than_bytes_are_refused() {
        assert_eq!(subscription(&[0xff, 0xff, 0]).unwrap_err().problem(), Problem::UnknownVersion { version: -1 });
        let claim = [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1];
        assert!(matches!(subscription(&claim).unwrap_err().problem(), Problem::TooLong { most: 1, .. }));
    }
}
