//! A member, and orders from outside, against a scripted coordinator: what is read, what is committed, and what becomes of both when
//! something goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::scripted::{Fault, Scripted, TOPIC};
use super::super::{ClientError, Cluster, ConnectOptions, Producer, ProducerOptions, ProducerRecord};
use super::{GroupConsumer, GroupEvent, GroupOptions};
use crate::wire::messages::consumer_group_heartbeat::{JOIN_EPOCH, LEAVE_EPOCH};
use crate::wire::{ApiKey, ErrorCode};

const WAIT: Duration = Duration::from_secs(10);

/// A broker that gives partitions to its member, with so many records in each of two.
async fn broker(records: usize, given: &[i32]) -> Scripted {
    let broker = Scripted::start(2).await;
    broker.state().group.given = given.iter().copied().collect();
    let producer = Producer::connect(&broker.address, ProducerOptions::default()).await.unwrap();
    for number in 0..2 * records {
        let record = ProducerRecord {
            topic: TOPIC.into(),
            partition: Some(i32::try_from(number % 2).unwrap()),
            value: Some(Bytes::from((number / 2).to_string())),
            ..ProducerRecord::default()
        };
        producer.send(record).await.unwrap().await.unwrap();
    }
    producer.close().await.unwrap();
    broker
}

async fn cluster(broker: &Scripted) -> Arc<Cluster> {
    Arc::new(Cluster::connect(&broker.address, ConnectOptions::default()).await.unwrap())
}

async fn member(broker: &Scripted) -> GroupConsumer {
    let mut options = GroupOptions::new("g", "m", TOPIC);
    options.consumer.max_wait_ms = 10;
    options.give_up_after_ms = 2_000;
    GroupConsumer::on(cluster(broker).await, options)
}

/// What came, in words: partitions that were begun, given back or lost, and the next offset after records.
async fn next(member: &mut GroupConsumer) -> String {
    let event = member.poll(WAIT).await.unwrap().expect("there is more");
    let partitions = |places: &[(Arc<str>, i32)]| {
        let places: Vec<String> = places.iter().map(|(_, partition)| partition.to_string()).collect();
        places.join(",")
    };
    match event {
        GroupEvent::Records(fetched) => {
            let next = member.position(&fetched.topic, fetched.partition).unwrap();
            member.mark(&fetched.topic, fetched.partition, next);
            format!("records of {} up to {next}", fetched.partition)
        }
        GroupEvent::Assigned(given) => {
            let mut words = Vec::new();
            for (topic, partition, offset) in given {
                member.begin(&topic, partition, offset.unwrap_or(0)).await.unwrap();
                words.push(format!("{partition} from {offset:?}"));
            }
            words.join(", ")
        }
        GroupEvent::Revoked(places, None) => format!("{} given back", partitions(&places)),
        GroupEvent::Revoked(places, Some(error)) => format!("{} given back: {error}", partitions(&places)),
        GroupEvent::Lost(places) => format!("{} lost", partitions(&places)),
    }
}

#[tokio::test]
async fn a_member_reads_what_it_is_given_and_commits_what_is_done_before_it_gives_it_back() {
    let broker = broker(5, &[0, 1]).await;
    broker.state().group.stored.insert(0, 3);
    let mut member = member(&broker).await;
    assert_eq!(next(&mut member).await, "0 from Some(3), 1 from None");
    let came = BTreeSet::from([next(&mut member).await, next(&mut member).await]);
    assert_eq!(came, BTreeSet::from(["records of 0 up to 5".to_owned(), "records of 1 up to 5".to_owned()]));
    assert_eq!(broker.state().group.stored, BTreeMap::from([(0, 3)]), "nothing is committed by itself");
    broker.state().group.given = BTreeSet::from([1]);
    assert_eq!(next(&mut member).await, "0 given back");
    assert_eq!(broker.state().group.stored, BTreeMap::from([(0, 5), (1, 5)]));
    member.mark(TOPIC, 0, 9);
    member.close().await.unwrap();
    let state = broker.state();
    assert_eq!(state.group.stored, BTreeMap::from([(0, 5), (1, 5)]), "what was given back is another's to commit");
    assert_eq!(state.group.words.last(), Some(&LEAVE_EPOCH));
}

#[tokio::test]
async fn what_is_given_again_is_read_from_the_commit_once() {
    let broker = broker(5, &[0]).await;
    let mut member = member(&broker).await;
    assert_eq!(next(&mut member).await, "0 from None");
    broker.state().group.given.clear();
    // Records may come before the word that takes the partition back.
    let mut word = next(&mut member).await;
    while word.starts_with("records") {
        word = next(&mut member).await;
    }
    assert_eq!(word, "0 given back");
    let at = broker.state().group.stored.get(&0).copied();
    broker.state().group.given.insert(0);
    assert_eq!(next(&mut member).await, format!("0 from {at:?}"));
    if at != Some(5) {
        assert_eq!(next(&mut member).await, "records of 0 up to 5");
    }
    assert!(member.poll(Duration::from_millis(200)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_coordinator_that_cannot_answer_yet_is_waited_for() {
    let passing = [
        Fault::Refuse(ErrorCode::CoordinatorNotAvailable),
        Fault::Refuse(ErrorCode::CoordinatorLoadInProgress),
        Fault::Refuse(ErrorCode::NotCoordinator),
        Fault::HangUp,
    ];
    let broker = broker(5, &[0]).await;
    for key in [ApiKey::FindCoordinator, ApiKey::ConsumerGroupHeartbeat, ApiKey::OffsetFetch, ApiKey::OffsetCommit] {
        broker.faults(key, &passing);
    }
    let mut member = member(&broker).await;
    let mut word = next(&mut member).await;
    while word.ends_with("lost") {
        word = next(&mut member).await;
    }
    assert_eq!(word, "0 from None");
    while next(&mut member).await != "records of 0 up to 5" {}
    member.commit().await.unwrap();
    assert_eq!(broker.state().group.stored, BTreeMap::from([(0, 5)]));
}

#[tokio::test]
async fn a_member_that_is_put_out_joins_again_and_reads_from_the_commit() {
    let broker = broker(5, &[0]).await;
    let mut member = member(&broker).await;
    assert_eq!(next(&mut member).await, "0 from None");
    assert_eq!(next(&mut member).await, "records of 0 up to 5");
    broker.faults(ApiKey::ConsumerGroupHeartbeat, &[Fault::Refuse(ErrorCode::UnknownMemberId)]);
    assert_eq!(next(&mut member).await, "0 lost");
    assert_eq!(next(&mut member).await, "0 from None", "what was done and not committed is nobody's");
    assert_eq!(next(&mut member).await, "records of 0 up to 5");
    member.commit().await.unwrap();
    assert_eq!(broker.state().group.stored, BTreeMap::from([(0, 5)]));
    let joined = broker.state().group.words.iter().filter(|word| **word == JOIN_EPOCH).count();
    assert_eq!(joined, 2);
}

#[tokio::test]
async fn a_commit_in_an_epoch_that_has_passed_is_made_again_in_the_next() {
    let broker = broker(5, &[0]).await;
    let mut member = member(&broker).await;
    assert_eq!(next(&mut member).await, "0 from None");
    assert_eq!(next(&mut member).await, "records of 0 up to 5");
    broker.faults(ApiKey::OffsetCommit, &[Fault::Refuse(ErrorCode::StaleMemberEpoch)]);
    member.commit().await.unwrap();
    assert_eq!(broker.state().group.stored, BTreeMap::from([(0, 5)]));
}

#[tokio::test]
async fn a_commit_of_a_member_that_is_none_any_more_is_an_error_and_the_member_joins_again() {
    let broker = broker(5, &[0]).await;
    let mut member = member(&broker).await;
    assert_eq!(next(&mut member).await, "0 from None");
    assert_eq!(next(&mut member).await, "records of 0 up to 5");
    broker.faults(ApiKey::OffsetCommit, &[Fault::Refuse(ErrorCode::FencedMemberEpoch)]);
    let refused = member.commit().await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { code: ErrorCode::FencedMemberEpoch, .. }), "{refused}");
    assert_eq!(next(&mut member).await, "0 lost");
    assert_eq!(next(&mut member).await, "0 from None");
    assert_eq!(broker.state().group.stored, BTreeMap::new());
}

#[tokio::test]
async fn a_group_that_refuses_and_a_coordinator_that_stays_away_are_errors() {
    let broker = broker(1, &[0]).await;
    broker.faults(ApiKey::ConsumerGroupHeartbeat, &[Fault::Refuse(ErrorCode::GroupMaxSizeReached)]);
    let error = member(&broker).await.poll(WAIT).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::GroupMaxSizeReached, .. }), "{error}");
    broker.faults(ApiKey::FindCoordinator, &[Fault::Refuse(ErrorCode::CoordinatorNotAvailable); 1000]);
    let error = member(&broker).await.poll(WAIT).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::CoordinatorNotAvailable, .. }), "{error}");
}

#[tokio::test]
async fn groups_are_told_of_by_a_broker_that_knows_only_the_classic_protocol() {
    let broker = broker(1, &[]).await;
    // The highest version that such a broker has.
    broker.state().offered.insert(ApiKey::ListGroups, 0..=4);
    broker.state().offered.insert(ApiKey::ConsumerGroupDescribe, -1..=-1);
    broker.state().group.stored.insert(1, 7);
    broker.faults(ApiKey::ListGroups, &[Fault::Refuse(ErrorCode::CoordinatorLoadInProgress)]);
    let cluster = cluster(&broker).await;
    let groups = cluster.groups().await.unwrap();
    let (listed, described) = &groups[0];
    assert_eq!((listed.id.as_str(), groups.len()), ("old", 1));
    assert_eq!(described.as_ref().map(|group| (group.group_type, group.state.as_str())), Some(("classic", "Empty")));
    assert_eq!(cluster.describe_group("old").await.unwrap().members, []);
    let error = cluster.describe_group("none").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::GroupIdNotFound, .. }), "{error}");
    let positions = cluster.group_positions("old").await.unwrap();
    assert_eq!(positions[&(TOPIC.to_owned(), 1)].offset, 7);
}

#[tokio::test]
async fn positions_are_set_and_groups_deleted_from_outside() {
    let broker = broker(1, &[]).await;
    let cluster = cluster(&broker).await;
    let wanted = BTreeMap::from([((TOPIC.to_owned(), 0), 1), ((TOPIC.to_owned(), 1), 0)]);
    broker.faults(ApiKey::OffsetCommit, &[Fault::Refuse(ErrorCode::CoordinatorLoadInProgress)]);
    let fates = cluster.set_group_positions("g", &wanted).await.unwrap();
    assert!(fates.len() == 2 && fates.values().all(Result::is_ok), "{fates:?}");
    assert_eq!(broker.state().group.stored, BTreeMap::from([(0, 1), (1, 0)]));
    broker.faults(ApiKey::OffsetCommit, &[Fault::Refuse(ErrorCode::UnknownMemberId)]);
    let error = cluster.set_group_positions("g", &wanted).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::UnknownMemberId, .. }), "{error}");
    broker.faults(ApiKey::DeleteGroups, &[Fault::Refuse(ErrorCode::NonEmptyGroup)]);
    let error = cluster.delete_group("g").await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { code: ErrorCode::NonEmptyGroup, .. }), "{error}");
    cluster.delete_group("g").await.unwrap();
}
