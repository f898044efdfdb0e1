//! Offsets are committed, fetched and forgotten: in every version, with every error where the version has a place for it.

use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use ringmill_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ringmill_net::wire::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use ringmill_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ringmill_net::wire::{ErrorCode, Uuid};

use crate::member::{Member, code, one_offset};
use crate::raw::Raw;
use crate::{OK, broker, broker_with};

const NOBODYS: Uuid = [7; 16];

pub(crate) fn id_of(client: &mut Raw, name: &str) -> Uuid {
    let topic = MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
    let frame = client.call(&MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }, 12);
    frame.decode::<MetadataResponse<'_>>(12).topics[0].topic_id
}

/// A commit of nobody in particular: of a tool, or of a consumer that assigns itself.
pub(crate) fn commit(
    client: &mut Raw,
    group: &str,
    topic: OffsetCommitRequestTopic<'_>,
    version: i16,
) -> Vec<ErrorCode> {
    let request = OffsetCommitRequest { group_id: group, topics: vec![topic], ..OffsetCommitRequest::default() };
    let frame = client.call(&request, version);
    let answer: OffsetCommitResponse<'_> = frame.decode(version);
    answer.topics[0].partitions.iter().map(|partition| code(partition.error_code)).collect()
}

/// What is told of a partition: offset, leader epoch, words and error.
pub(crate) type Told = (i64, i32, String, ErrorCode);

/// Nothing is committed.
fn nothing() -> Told {
    (-1, -1, String::new(), ErrorCode::None)
}

/// The error of the whole, and what is told by topic and partition.
pub(crate) fn fetch(
    client: &mut Raw,
    group: &str,
    topics: Option<&[(&str, &[i32])]>,
    version: i16,
) -> (ErrorCode, Vec<(String, i32, Told)>) {
    let ids: Vec<Uuid> = topics.iter().flat_map(|topics| topics.iter()).map(|(name, _)| id_of(client, name)).collect();
    let alone = topics.map(|topics| {
        let topic = topics
            .iter()
            .map(|(name, partitions)| OffsetFetchRequestTopic { name, partition_indexes: partitions.to_vec() });
        topic.collect()
    });
    let of_group = topics.map(|topics| {
        let topic = topics.iter().zip(&ids).map(|((name, partitions), id)| OffsetFetchRequestTopics {
            name,
            topic_id: *id,
            partition_indexes: partitions.to_vec(),
        });
        topic.collect()
    });
    let groups =
        vec![OffsetFetchRequestGroup { group_id: group, topics: of_group, ..OffsetFetchRequestGroup::default() }];
    let request = OffsetFetchRequest { group_id: group, topics: alone, groups, require_stable: true };
    let frame = client.call(&request, version);
    let answer: OffsetFetchResponse<'_> = frame.decode(version);
    let mut told = Vec::new();
    for topic in &answer.topics {
        for each in &topic.partitions {
            let words = each.metadata.unwrap_or("null").to_owned();
            let of = (each.committed_offset, each.committed_leader_epoch, words, code(each.error_code));
            told.push((topic.name.to_owned(), each.partition_index, of));
        }
    }
    let mut error = answer.error_code;
    if let Some(group) = answer.groups.first() {
        error = group.error_code;
        for topic in &group.topics {
            let name = if version >= 10 { name_of(client, topic.topic_id) } else { topic.name.to_owned() };
            for each in &topic.partitions {
                let words = each.metadata.unwrap_or("null").to_owned();
                let of = (each.committed_offset, each.committed_leader_epoch, words, code(each.error_code));
                told.push((name.clone(), each.partition_index, of));
            }
        }
    }
    (code(error), told)
}

fn name_of(client: &mut Raw, topic_id: Uuid) -> String {
    let topic = MetadataRequestTopic { topic_id, ..MetadataRequestTopic::default() };
    let frame = client.call(&MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }, 12);
    frame.decode::<MetadataResponse<'_>>(12).topics[0].name.unwrap_or_default().to_owned()
}

fn told(partition: i32, offset: i64, epoch: i32, words: &str) -> (String, i32, Told) {
    ("logs".to_owned(), partition, (offset, epoch, words.to_owned(), ErrorCode::None))
}

/// The words beside an offset come back as they were sent; what was never said is no words, and no null.
#[test]
fn what_is_committed_in_any_version_is_fetched_in_any_other() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let topic_id = id_of(&mut client, "logs");
    for (version, words) in (2..=10).zip([
        Some("one two"),
        None,
        Some(""),
        Some("ä\u{1f600}\n"),
        Some("{}"),
        None,
        Some(" "),
        Some("9"),
        Some("10"),
    ]) {
        let offset = i64::from(version) + 100;
        let topic = OffsetCommitRequestTopic { topic_id, ..one_offset("logs", 2, offset, words) };
        assert_eq!(commit(&mut client, "tool", topic, version), [ErrorCode::None], "version {version}");
        // The leader's epoch travels from version 6 on, and back from 5 on.
        let epoch = if version >= 6 { 3 } else { -1 };
        for fetch_version in 1..=10 {
            let epoch = if fetch_version >= 5 { epoch } else { -1 };
            let expected = vec![told(2, offset, epoch, words.unwrap_or("")), told(0, -1, -1, "")];
            let wanted: &[(&str, &[i32])] = &[("logs", &[2, 0])];
            let got = fetch(&mut client, "tool", Some(wanted), fetch_version);
            assert_eq!(got, (ErrorCode::None, expected), "committed by version {version}, fetched by {fetch_version}");
            if fetch_version >= 2 {
                let all = fetch(&mut client, "tool", None, fetch_version);
                assert_eq!(
                    all,
                    (ErrorCode::None, vec![told(2, offset, epoch, words.unwrap_or(""))]),
                    "all, by {fetch_version}"
                );
            }
        }
    }
    broker.stop();
}

#[test]
fn groups_that_are_not_there_have_committed_nothing() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    for version in 1..=10 {
        let wanted: &[(&str, &[i32])] = &[("logs", &[0, 99])];
        let (error, got) = fetch(&mut client, "nobody", Some(wanted), version);
        assert_eq!(error, ErrorCode::None, "version {version}");
        assert!(got.iter().all(|(_, _, told)| *told == nothing()) && got.len() == 2, "version {version}: {got:?}");
    }
    assert_eq!(fetch(&mut client, "nobody", None, 9), (ErrorCode::None, Vec::new()));
    let long = "n".repeat(1025);
    assert_eq!(commit(&mut client, &long, one_offset("logs", 0, 5, None), 9), [ErrorCode::InvalidGroupId]);
    assert_eq!(fetch(&mut client, &long, None, 9), (ErrorCode::InvalidGroupId, Vec::new()));
    // Kept for very old clients, as in Kafka: a group without a name.
    assert_eq!(commit(&mut client, "", one_offset("logs", 0, 5, None), 9), [ErrorCode::None]);
    assert_eq!(fetch(&mut client, "", None, 9), (ErrorCode::None, vec![told(0, 5, 3, "")]));
    broker.stop();
}

#[test]
fn topics_and_partitions_that_are_not_there_are_refused_beside_those_that_are() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let partitions: Vec<_> = [0, 4, -1, 3]
        .into_iter()
        .map(|partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_offset: 9,
            ..Default::default()
        })
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    for version in 2..=9 {
        let topics = vec![
            OffsetCommitRequestTopic { name: "none", partitions: partitions.clone(), ..Default::default() },
            OffsetCommitRequestTopic { name: "logs", partitions: partitions.clone(), ..Default::default() },
            OffsetCommitRequestTopic { name: "empty", ..Default::default() },
        ];
        let request = OffsetCommitRequest { group_id: "g", topics, ..OffsetCommitRequest::default() };
        let frame = client.call(&request, version);
        let answer: OffsetCommitResponse<'_> = frame.decode(version);
        let told: Vec<_> = answer
            .topics
            .iter()
            .map(|topic| (topic.name, topic.partitions.iter().map(|each| code(each.error_code)).collect::<Vec<_>>()))
            .collect();
        let of_logs = vec![ErrorCode::None, unknown, unknown, ErrorCode::None];
        assert_eq!(told, [("none", vec![unknown; 4]), ("logs", of_logs), ("empty", Vec::new())], "version {version}");
    }
    let topic = OffsetCommitRequestTopic { topic_id: NOBODYS, ..one_offset("logs", 0, 1, None) };
    assert_eq!(
        commit(&mut client, "g", topic, 10),
        [ErrorCode::UnknownTopicId],
        "the name does not count beside an id"
    );
    let groups = vec![OffsetFetchRequestGroup {
        group_id: "g",
        topics: Some(vec![OffsetFetchRequestTopics {
            topic_id: NOBODYS,
            partition_indexes: vec![0],
            ..Default::default()
        }]),
        ..OffsetFetchRequestGroup::default()
    }];
    let frame = client.call(&OffsetFetchRequest { groups, ..OffsetFetchRequest::default() }, 10);
    let answer: OffsetFetchResponse<'_> = frame.decode(10);
    let topic = &answer.groups[0].topics[0];
    assert_eq!((topic.topic_id, code(topic.partitions[0].error_code)), (NOBODYS, ErrorCode::UnknownTopicId));
    assert_eq!(topic.partitions[0].committed_offset, -1);
    broker.stop();
}

#[test]
fn words_that_are_too_long_are_refused_alone() {
    let (broker, _dir) = broker_with(&[("broker.offset.metadata.max.bytes", "8")]);
    let mut client = Raw::connect(broker.address());
    let partition = |partition_index, words| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 1,
        committed_metadata: Some(words),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: "logs",
        partitions: vec![partition(0, "12345678"), partition(1, "123456789")],
        ..Default::default()
    };
    assert_eq!(commit(&mut client, "g", topic, 9), [ErrorCode::None, ErrorCode::OffsetMetadataTooLarge]);
    let wanted: &[(&str, &[i32])] = &[("logs", &[0, 1])];
    assert_eq!(fetch(&mut client, "g", Some(wanted), 9).1, [told(0, 1, -1, "12345678"), told(1, -1, -1, "")]);
    broker.stop();
}

/// Four kilobytes of words beside one offset, and a request of 400 KB that names it a hundred thousand times: the answer would have 400 MB.
#[test]
fn a_small_request_gets_no_answer_of_gigabytes() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let words = "w".repeat(4096);
    assert_eq!(commit(&mut client, "g", one_offset("logs", 0, 1, Some(&words)), 9), [ErrorCode::None]);
    let named = vec![0; 99_999];
    let often: &[(&str, &[i32])] = &[("logs", &named)];
    let invalid = ErrorCode::InvalidRequest;
    assert_eq!(fetch(&mut client, "g", Some(often), 9), (invalid, Vec::new()));
    assert_eq!(fetch(&mut client, "g", Some(often), 7), (invalid, Vec::new()));
    let (error, got) = fetch(&mut client, "g", Some(often), 1);
    assert_eq!((error, got.len()), (ErrorCode::None, 99_999), "version 1 has a place beside each partition only");
    assert!(got.iter().all(|(_, _, told)| *told == (-1, -1, String::new(), invalid)));
    let named = vec![0; 10_000];
    let seldom: &[(&str, &[i32])] = &[("logs", &named)];
    let (error, got) = fetch(&mut client, "g", Some(seldom), 9);
    assert_eq!((error, got.len()), (ErrorCode::None, 10_000));
    assert!(got.iter().all(|(_, _, told)| told.2 == words));
    // One more is too many for a request.
    let groups = vec![OffsetFetchRequestGroup {
        group_id: "g",
        topics: Some(vec![OffsetFetchRequestTopics {
            name: "logs",
            partition_indexes: vec![0; 100_001],
            ..Default::default()
        }]),
        ..OffsetFetchRequestGroup::default()
    }];
    let request = OffsetFetchRequest { groups, ..OffsetFetchRequest::default() };
    assert!(client.try_call(&request, 9, Vec::new()).is_none(), "its connection is closed");
    broker.stop();
}

#[test]
fn who_is_no_member_does_not_commit_for_one() {
    let (broker, _dir) = broker();
    let mut member = Member::stable(broker.address(), "g");
    let mut client = Raw::connect(broker.address());
    assert_eq!(member.commit("logs", 5), ErrorCode::None);
    assert_eq!(commit(&mut client, "g", one_offset("logs", 0, 99, None), 9), [ErrorCode::UnknownMemberId]);
    let mut of = |member_id: &str, generation: i32| {
        let request = OffsetCommitRequest {
            group_id: "g",
            generation_id_or_member_epoch: generation,
            member_id,
            topics: vec![one_offset("logs", 0, 99, None)],
            ..OffsetCommitRequest::default()
        };
        let frame = client.call(&request, 7);
        code(frame.decode::<OffsetCommitResponse<'_>>(7).topics[0].partitions[0].error_code)
    };
    assert_eq!(of("nobody", 1), ErrorCode::UnknownMemberId);
    assert_eq!(of(&member.id, 0), ErrorCode::IllegalGeneration);
    assert_eq!(of(&member.id, 2), ErrorCode::IllegalGeneration);
    let wanted: &[(&str, &[i32])] = &[("logs", &[0])];
    assert_eq!(fetch(&mut client, "g", Some(wanted), 9).1[0].2.0, 5, "nothing of it was taken");
    assert_eq!(member.leave(), ErrorCode::None);
    assert_eq!(
        commit(&mut client, "g", one_offset("logs", 0, 6, None), 9),
        [ErrorCode::None],
        "without members, tools may"
    );
    broker.stop();
}

/// Several groups in one request are answered in their order, each with its own.
#[test]
fn many_groups_are_asked_for_at_once() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let names: Vec<String> = (0..100).map(|number| format!("g{number}")).collect();
    for (name, offset) in names.iter().zip(0..) {
        assert_eq!(commit(&mut client, name, one_offset("logs", 1, offset, None), 8), [ErrorCode::None]);
    }
    let group = |group_id| OffsetFetchRequestGroup {
        group_id,
        topics: Some(vec![OffsetFetchRequestTopics { name: "logs", partition_indexes: vec![1], ..Default::default() }]),
        ..OffsetFetchRequestGroup::default()
    };
    let groups = names.iter().rev().map(|name| group(name.as_str())).collect();
    let frame = client.call(&OffsetFetchRequest { groups, ..OffsetFetchRequest::default() }, 8);
    let answer: OffsetFetchResponse<'_> = frame.decode(8);
    let told: Vec<_> = answer
        .groups
        .iter()
        .map(|group| (group.group_id.to_owned(), group.topics[0].partitions[0].committed_offset))
        .collect();
    let mut expected: Vec<_> = names.iter().cloned().zip(0..).collect();
    expected.reverse();
    assert_eq!(told, expected);
    broker.stop();
}

#[test]
fn offsets_are_forgotten_but_of_topics_that_members_read() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let delete_of = |client: &mut Raw, group: &str, name: &str, partitions: [i32; 2]| {
        let partitions = partitions.map(|partition_index| OffsetDeleteRequestPartition { partition_index }).to_vec();
        let topics = vec![OffsetDeleteRequestTopic { name, partitions }];
        let frame = client.call(&OffsetDeleteRequest { group_id: group, topics }, 0);
        let answer: OffsetDeleteResponse<'_> = frame.decode(0);
        let told = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|each| code(each.error_code)).collect();
        (code(answer.error_code), told)
    };
    let delete = |client: &mut Raw, group: &str| delete_of(client, group, "logs", [0, 1]);
    assert_eq!(delete(&mut client, ""), (ErrorCode::InvalidGroupId, Vec::new()));
    assert_eq!(delete(&mut client, "nobody"), (ErrorCode::GroupIdNotFound, Vec::new()));
    assert_eq!(commit(&mut client, "g", one_offset("logs", 0, 5, None), 9), [ErrorCode::None]);
    assert_eq!(commit(&mut client, "g", one_offset("logs", 3, 5, None), 9), [ErrorCode::None]);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(delete_of(&mut client, "g", "nowhere", [0, 1]), (ErrorCode::None, vec![unknown; 2]));
    assert_eq!(delete_of(&mut client, "nobody", "nowhere", [0, 1]), (ErrorCode::GroupIdNotFound, Vec::new()));
    assert_eq!(delete_of(&mut client, "g", "logs", [99, 0]), (ErrorCode::None, vec![unknown, ErrorCode::None]));
    assert_eq!(fetch(&mut client, "g", None, 9).1, [told(3, 5, 3, "")]);
    assert_eq!(commit(&mut client, "g", one_offset("logs", 0, 5, None), 9), [ErrorCode::None]);
    assert_eq!(delete(&mut client, "g"), (ErrorCode::None, vec![ErrorCode::None; 2]));
    assert_eq!(fetch(&mut client, "g", None, 9).1, [told(3, 5, 3, "")]);
    // What this member told is no subscription that can be read: it may read anything.
    let mut member = Member::stable(broker.address(), "g");
    assert_eq!(delete(&mut client, "g"), (ErrorCode::None, vec![ErrorCode::GroupSubscribedToTopic; 2]));
    assert_eq!(member.leave(), ErrorCode::None);
    assert_eq!(client.delete_topic("logs"), OK);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !fetch(&mut client, "g", None, 9).1.is_empty() {
        assert!(std::time::Instant::now() < patience, "offsets of a deleted topic are forgotten");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    broker.stop();
}
