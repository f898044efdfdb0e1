//! Tests of the group coordinator's records; the bytes were written by Kafka 4.4's own classes.

use super::classic::MemberMetadata;
use super::consumer::{ClassicMemberMetadata, ClassicProtocol, TopicPartitions, UNREVOKED_PARTITIONS_MEMBER};
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Kafka's bytes are read as `value`, and `value` is written as Kafka's bytes.
fn check<'a, V>(value: &V, version: i16, kafkas: &'a [u8])
where
    V: GroupRecordPart<'a> + std::fmt::Debug + PartialEq,
{
    assert_eq!(versioned::<V>(Some(kafkas)).as_ref().map(Option::as_ref), Ok(Some(value)));
    assert_eq!(encode_value(value, version), kafkas);
}

const TOPIC_ID: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];

#[test]
fn a_commit_is_written_as_kafka_writes_it() {
    let mut value = OffsetCommitValue {
        offset: 9,
        leader_epoch: 4,
        metadata: "m",
        commit_timestamp: 11,
        expire_timestamp: -1,
        topic_id: TOPIC_ID,
    };
    let newest = "0004 0000000000000009 00000004 026d 000000000000000b 01 00 10 0000000000000001 0000000000000002";
    check(&value, 4, &bytes(newest));
    value.topic_id = [0; 16];
    check(&value, 3, &bytes("0003 0000000000000009 00000004 0001 6d 000000000000000b"));
    value.leader_epoch = -1;
    check(&value, 1, &bytes("0001 0000000000000009 0001 6d 000000000000000b ffffffffffffffff"));
}

#[test]
fn a_classic_group_is_written_as_kafka_writes_it() {
    let member = MemberMetadata {
        member_id: "m1",
        group_instance_id: Some("s"),
        client_id: "c",
        client_host: "/h",
        rebalance_timeout: 8,
        session_timeout: 9,
        subscription: &[1],
        assignment: &[],
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer",
        generation: 3,
        protocol: Some("range"),
        leader: Some("m1"),
        current_state_timestamp: 77,
        members: vec![member],
    };
    let third = "0003 0008636f6e73756d6572 00000003 000572616e6765 00026d31 000000000000004d 00000001
                 00026d31 000173 000163 00022f68 00000008 00000009 0000000101 00000000";
    check(&value, 3, &bytes(third));
    let fourth = "0004 09636f6e73756d6572 00000003 0672616e6765 036d31 000000000000004d 02
                  036d31 0273 0263 032f68 00000008 00000009 0201 01 00 00";
    check(&value, 4, &bytes(fourth));
}

#[test]
fn a_member_says_that_it_is_not_classic_and_kafka_reads_it_so() {
    let mut value = ConsumerGroupMemberMetadataValue {
        instance_id: Some("i"),
        rack_id: None,
        client_id: "c",
        client_host: "/h",
        subscribed_topic_names: vec!["t"],
        subscribed_topic_regex: Some(""),
        rebalance_timeout_ms: 5,
        server_assignor: Some("uniform"),
        classic_member_metadata: None,
    };
    let plain = "0000 0269 00 0263 032f68 02 0274 01 00000005 08756e69666f726d";
    check(&value, 0, &bytes(&format!("{plain} 01 00 01 00")));
    value.classic_member_metadata = Some(ClassicMemberMetadata::default());
    check(&value, 0, &bytes(&format!("{plain} 00")));
    value.classic_member_metadata = Some(ClassicMemberMetadata {
        session_timeout_ms: 7,
        supported_protocols: vec![ClassicProtocol { name: "range", metadata: &[1, 2] }],
    });
    check(&value, 0, &bytes(&format!("{plain} 01 00 11 01 00000007 02 0672616e6765 03 0102 00 00")));
}

#[test]
fn what_a_member_has_is_written_as_kafka_writes_it() {
    let mut value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 3,
        previous_member_epoch: 2,
        state: UNREVOKED_PARTITIONS_MEMBER,
        assigned_partitions: vec![TopicPartitions {
            topic_id: TOPIC_ID,
            partitions: vec![0, 5],
            assignment_epochs: Some(vec![2, 3]),
        }],
        partitions_pending_revocation: Vec::new(),
    };
    let plain = "0000 00000003 00000002 01 02 0000000000000001 0000000000000002 03 00000000 00000005";
    check(&value, 0, &bytes(&format!("{plain} 01 00 09 03 00000002 00000003 01 00")));
    value.assigned_partitions[0].assignment_epochs = None;
    check(&value, 0, &bytes(&format!("{plain} 01 00 01 00 01 00")));
    value.assigned_partitions[0].assignment_epochs = Some(Vec::new());
    check(&value, 0, &bytes(&format!("{plain} 00 01 00")));
}

#[test]
fn every_kind_is_found_by_its_key() {
    let check = |key: &[u8], expected: GroupRecord<'_>| assert_eq!(GroupRecord::read(key, None), Ok(expected));
    let commit = OffsetCommitKey { group: "g", topic: "t", partition: 3 };
    check(&bytes("0001 0001 67 0001 74 00000003"), GroupRecord::OffsetCommit(commit.clone(), None));
    check(&bytes("0000 0001 67 0001 74 00000003"), GroupRecord::OffsetCommit(commit, None));
    let (group_id, member_id) = ("g", "m");
    let of_group = |kind: u8| [&[0, kind], &bytes("0001 67")[..]].concat();
    let of_member = |kind: u8| [&of_group(kind)[..], &bytes("0001 6d")[..]].concat();
    check(&of_group(2), GroupRecord::GroupMetadata(GroupMetadataKey { group: "g" }, None));
    check(&of_group(3), GroupRecord::ConsumerGroupMetadata(ConsumerGroupMetadataKey { group_id }, None));
    let key = ConsumerGroupPartitionMetadataKey { group_id };
    check(&of_group(4), GroupRecord::ConsumerGroupPartitionMetadata(key));
    let key = ConsumerGroupMemberMetadataKey { group_id, member_id };
    check(&of_member(5), GroupRecord::ConsumerGroupMemberMetadata(key, None));
    let key = ConsumerGroupTargetAssignmentMetadataKey { group_id };
    check(&of_group(6), GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, None));
    let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id };
    check(&of_member(7), GroupRecord::ConsumerGroupTargetAssignmentMember(key, None));
    let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id };
    check(&of_member(8), GroupRecord::ConsumerGroupCurrentMemberAssignment(key, None));
    let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression: "m" };
    check(&of_member(16), GroupRecord::ConsumerGroupRegularExpression(key, None));
}

#[test]
fn keys_are_written_with_their_kind() {
    assert_eq!(encode_key(&GroupMetadataKey { group: "g" }), bytes("0002 0001 67"));
    let key = OffsetCommitKey { group: "g", topic: "t", partition: 3 };
    assert_eq!(encode_key(&key), bytes("0001 0001 67 0001 74 00000003"));
    let key = ConsumerGroupRegularExpressionKey { group_id: "g", regular_expression: "m" };
    assert_eq!(encode_key(&key), bytes("0010 0001 67 0001 6d"));
}

#[test]
fn a_record_of_an_unknown_kind_is_no_error_whatever_it_holds() {
    for kind in [-1i16, 9, 15, 17, i16::MAX] {
        let key = [&kind.to_be_bytes()[..], b"anything"].concat();
        assert_eq!(GroupRecord::read(&key, Some(b"x")), Ok(GroupRecord::Unknown { kind }));
    }
}

#[test]
fn damage_ends_in_an_error_that_names_the_part() {
    let key = encode_key(&GroupMetadataKey { group: "g" });
    let place = |key: &[u8], value: Option<&[u8]>| GroupRecord::read(key, value).unwrap_err().place().map(|at| at.0);
    assert_eq!(place(b"\0", None), Some("record key"));
    assert_eq!(place(&key[..4], None), Some("GroupMetadataKey"));
    assert_eq!(place(&[&key[..], b"x"].concat(), None), Some("GroupMetadataKey"));
    assert_eq!(place(&key, Some(b"")), Some("GroupMetadataValue"));
    // A version that only a newer Kafka writes cannot be guessed.
    assert_eq!(place(&key, Some(&[0, 5, 0, 0])), Some("GroupMetadataValue"));
}
