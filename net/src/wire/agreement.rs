//! Tests of every table at once: arbitrary messages survive the round trip in every version, the `kafka-protocol` crate reads and
//! writes the same bytes, and hostile frames end in an error that cost nothing.
//!
//! The other crate sees only bytes that were made here: it aborts on hostile ones.

use super::embedded_protocol::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use super::frame::{LENGTH_BYTES, RequestHeader, encode_request, encode_response};
use super::group_records::{classic::*, consumer::*, offsets::*};
use super::messages::{
    alter_configs, consumer_group_describe, describe_groups, describe_producers, describe_topic_partitions, fetch,
    incremental_alter_configs, offset_for_leader_epoch, produce,
};
use super::messages::{
    api_versions::*, consumer_group_heartbeat::*, create_partitions::*, create_topics::*, delete_groups::*,
    delete_records::*, delete_topics::*, describe_cluster::*, describe_configs::*, describe_log_dirs::*,
    find_coordinator::*, heartbeat::*, init_producer_id::*, join_group::*, leave_group::*, list_config_resources::*,
    list_groups::*, list_offsets::*, metadata::*, offset_commit::*, offset_delete::*, offset_fetch::*, sync_group::*,
};
use super::reader::{ARRAY_COUNT_MAX, Problem, Reader};
use super::sample::Entropy;
use super::schema::{Format, Versioned};
use super::writer::{Sink, Writer};
use crate::Piece;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};
use proptest::prelude::*;
use std::fmt::Debug;

/// A message's body with filler for its records.
fn encoded<'a>(message: &impl Versioned<'a>, version: i16) -> Vec<u8> {
    let mut writer = Writer::default();
    message.encode(&mut writer, version);
    let mut body = Vec::new();
    let mut taken = 0;
    for splice in &writer.splices {
        body.extend(&writer.bytes[taken..splice.at]);
        body.extend(std::iter::repeat_n(0x5a, splice.length));
        taken = splice.at;
    }
    body.extend(&writer.bytes[taken..]);
    assert_eq!(body.len(), message.size(version).total_bytes(), "the count is right");
    body
}

/// Equality but for the places of records, which only a decoded message has.
fn without_places(message: &impl Debug) -> String {
    let text = format!("{message:?}");
    let mut parts = text.split("Records { start: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn round_trip<M: Versioned<'static> + Debug + PartialEq>(seed: u64) {
    for version in M::VERSIONS {
        let message = M::sample(&mut Entropy::new(seed), Format::of::<M>(version));
        let body: &'static [u8] = encoded(&message, version).leak();
        let mut reader = Reader::new(body);
        let decoded = M::decode(&mut reader, version).unwrap();
        assert_eq!(reader.remaining(), 0, "{} {version}", M::NAME);
        assert_eq!(without_places(&decoded), without_places(&message), "{} {version}", M::NAME);
        assert_eq!(encoded(&decoded, version), body, "{} {version}", M::NAME);
    }
}

/// Cut anywhere, changed anywhere: an error or another message, never a panic and never a claim believed.
fn survives_damage<M: Versioned<'static> + Debug>(seed: u64) {
    let mut entropy = Entropy::new(seed);
    for version in M::VERSIONS {
        let message = M::sample(&mut entropy, Format::of::<M>(version));
        let body: &'static [u8] = encoded(&message, version).leak();
        for length in 0..body.len() {
            let error = M::decode(&mut Reader::new(&body[..length]), version).expect_err("a cut message is none");
            assert!(error.position() <= length && error.place().is_some(), "{error}");
        }
        for _ in 0..20.min(body.len()) {
            let mut damaged = body.to_vec();
            let at = entropy.below(damaged.len());
            let end = (at + 1 + entropy.below(5)).min(damaged.len());
            damaged[at..end].fill([0xff, 0x80, 0x7f, 0x00][entropy.below(4)]);
            let _ = M::decode(&mut Reader::new(damaged.leak()), version);
        }
    }
}

fn agrees<Ours: Versioned<'static> + Debug, Theirs: TheirMessage + Encodable + Decodable>(seed: u64) {
    for version in Ours::VERSIONS {
        if version < Theirs::VERSIONS.min || version > Theirs::VERSIONS.max {
            continue;
        }
        let ours = encoded(&Ours::sample(&mut Entropy::new(seed), Format::of::<Ours>(version)), version);
        let mut rest = Bytes::from(ours.clone());
        let read = Theirs::decode(&mut rest, version).unwrap();
        assert!(rest.is_empty(), "{} {version}: they leave {} bytes", Ours::NAME, rest.len());
        let mut theirs = BytesMut::new();
        read.encode(&mut theirs, version).unwrap();
        assert_eq!(ours, theirs, "{} {version}", Ours::NAME);
        let again = Ours::decode(&mut Reader::new(theirs.to_vec().leak()), version).unwrap();
        assert_eq!(encoded(&again, version), ours, "{} {version}", Ours::NAME);
    }
}

/// Their idea of a message with nothing said must mean the same to us: it holds the schemas' defaults.
fn defaults_agree<Ours: Versioned<'static> + Debug, Theirs: TheirMessage + Encodable + Decodable + Default>() {
    for version in Ours::VERSIONS {
        let mut theirs = BytesMut::new();
        if version < Theirs::VERSIONS.min || version > Theirs::VERSIONS.max {
            continue;
        }
        // A few of their defaults, such as null in a version without null, cannot be written.
        if Theirs::default().encode(&mut theirs, version).is_ok() {
            assert_eq!(encoded(&Ours::default(), version), theirs, "{} {version}", Ours::NAME);
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    RoundTrip,
    Agreement,
    Damage,
}

fn check<Ours, Theirs>(what: What, seed: u64)
where
    Ours: Versioned<'static> + Debug + PartialEq,
    Theirs: TheirMessage + Encodable + Decodable,
{
    match what {
        What::RoundTrip => round_trip::<Ours>(seed),
        What::Agreement => agrees::<Ours, Theirs>(seed),
        What::Damage => survives_damage::<Ours>(seed),
    }
}

fn check_all(what: What, seed: u64) {
    check::<ApiVersionsRequest<'_>, theirs::ApiVersionsRequest>(what, seed);
    check::<ApiVersionsResponse<'_>, theirs::ApiVersionsResponse>(what, seed);
    check::<MetadataRequest<'_>, theirs::MetadataRequest>(what, seed);
    check::<MetadataResponse<'_>, theirs::MetadataResponse>(what, seed);
    check::<produce::ProduceRequest<'_>, theirs::ProduceRequest>(what, seed);
    check::<produce::ProduceResponse<'_>, theirs::ProduceResponse>(what, seed);
    check::<fetch::FetchRequest<'_>, theirs::FetchRequest>(what, seed);
    check::<fetch::FetchResponse<'_>, theirs::FetchResponse>(what, seed);
    check::<ListOffsetsRequest<'_>, theirs::ListOffsetsRequest>(what, seed);
    check::<ListOffsetsResponse<'_>, theirs::ListOffsetsResponse>(what, seed);
    check::<InitProducerIdRequest<'_>, theirs::InitProducerIdRequest>(what, seed);
    check::<InitProducerIdResponse, theirs::InitProducerIdResponse>(what, seed);
    check::<CreateTopicsRequest<'_>, theirs::CreateTopicsRequest>(what, seed);
    check::<CreateTopicsResponse<'_>, theirs::CreateTopicsResponse>(what, seed);
    check::<DeleteTopicsRequest<'_>, theirs::DeleteTopicsRequest>(what, seed);
    check::<DeleteTopicsResponse<'_>, theirs::DeleteTopicsResponse>(what, seed);
    check::<FindCoordinatorRequest<'_>, theirs::FindCoordinatorRequest>(what, seed);
    check::<FindCoordinatorResponse<'_>, theirs::FindCoordinatorResponse>(what, seed);
    check_admin(what, seed);
    check_groups(what, seed);
    check_group_records(what, seed);
}

fn check_admin(what: What, seed: u64) {
    check::<CreatePartitionsRequest<'_>, theirs::CreatePartitionsRequest>(what, seed);
    check::<CreatePartitionsResponse<'_>, theirs::CreatePartitionsResponse>(what, seed);
    check::<DeleteRecordsRequest<'_>, theirs::DeleteRecordsRequest>(what, seed);
    check::<DeleteRecordsResponse<'_>, theirs::DeleteRecordsResponse>(what, seed);
    check::<DescribeConfigsRequest<'_>, theirs::DescribeConfigsRequest>(what, seed);
    check::<DescribeConfigsResponse<'_>, theirs::DescribeConfigsResponse>(what, seed);
    check::<alter_configs::AlterConfigsRequest<'_>, theirs::AlterConfigsRequest>(what, seed);
    check::<alter_configs::AlterConfigsResponse<'_>, theirs::AlterConfigsResponse>(what, seed);
    check::<incremental_alter_configs::IncrementalAlterConfigsRequest<'_>, theirs::IncrementalAlterConfigsRequest>(
        what, seed,
    );
    check::<incremental_alter_configs::IncrementalAlterConfigsResponse<'_>, theirs::IncrementalAlterConfigsResponse>(
        what, seed,
    );
    check::<ListConfigResourcesRequest, theirs::ListConfigResourcesRequest>(what, seed);
    check::<ListConfigResourcesResponse<'_>, theirs::ListConfigResourcesResponse>(what, seed);
    check::<DescribeClusterRequest, theirs::DescribeClusterRequest>(what, seed);
    check::<DescribeClusterResponse<'_>, theirs::DescribeClusterResponse>(what, seed);
    check::<describe_topic_partitions::DescribeTopicPartitionsRequest<'_>, theirs::DescribeTopicPartitionsRequest>(
        what, seed,
    );
    check::<describe_topic_partitions::DescribeTopicPartitionsResponse<'_>, theirs::DescribeTopicPartitionsResponse>(
        what, seed,
    );
    check::<DescribeLogDirsRequest<'_>, theirs::DescribeLogDirsRequest>(what, seed);
    check::<DescribeLogDirsResponse<'_>, theirs::DescribeLogDirsResponse>(what, seed);
    check::<describe_producers::DescribeProducersRequest<'_>, theirs::DescribeProducersRequest>(what, seed);
    check::<describe_producers::DescribeProducersResponse<'_>, theirs::DescribeProducersResponse>(what, seed);
    check::<offset_for_leader_epoch::OffsetForLeaderEpochRequest<'_>, theirs::OffsetForLeaderEpochRequest>(what, seed);
    check::<offset_for_leader_epoch::OffsetForLeaderEpochResponse<'_>, theirs::OffsetForLeaderEpochResponse>(
        what, seed,
    );
}

fn check_groups(what: What, seed: u64) {
    check::<OffsetCommitRequest<'_>, theirs::OffsetCommitRequest>(what, seed);
    check::<OffsetCommitResponse<'_>, theirs::OffsetCommitResponse>(what, seed);
    check::<OffsetFetchRequest<'_>, theirs::OffsetFetchRequest>(what, seed);
    check::<OffsetFetchResponse<'_>, theirs::OffsetFetchResponse>(what, seed);
    check::<JoinGroupRequest<'_>, theirs::JoinGroupRequest>(what, seed);
    check::<JoinGroupResponse<'_>, theirs::JoinGroupResponse>(what, seed);
    check::<HeartbeatRequest<'_>, theirs::HeartbeatRequest>(what, seed);
    check::<HeartbeatResponse, theirs::HeartbeatResponse>(what, seed);
    check::<LeaveGroupRequest<'_>, theirs::LeaveGroupRequest>(what, seed);
    check::<LeaveGroupResponse<'_>, theirs::LeaveGroupResponse>(what, seed);
    check::<SyncGroupRequest<'_>, theirs::SyncGroupRequest>(what, seed);
    check::<SyncGroupResponse<'_>, theirs::SyncGroupResponse>(what, seed);
    check::<ListGroupsRequest<'_>, theirs::ListGroupsRequest>(what, seed);
    check::<ListGroupsResponse<'_>, theirs::ListGroupsResponse>(what, seed);
    check::<DeleteGroupsRequest<'_>, theirs::DeleteGroupsRequest>(what, seed);
    check::<DeleteGroupsResponse<'_>, theirs::DeleteGroupsResponse>(what, seed);
    check::<OffsetDeleteRequest<'_>, theirs::OffsetDeleteRequest>(what, seed);
    check::<OffsetDeleteResponse<'_>, theirs::OffsetDeleteResponse>(what, seed);
    check::<ConsumerGroupHeartbeatRequest<'_>, theirs::ConsumerGroupHeartbeatRequest>(what, seed);
    check::<ConsumerGroupHeartbeatResponse<'_>, theirs::ConsumerGroupHeartbeatResponse>(what, seed);
    check::<describe_groups::DescribeGroupsRequest<'_>, theirs::DescribeGroupsRequest>(what, seed);
    check::<describe_groups::DescribeGroupsResponse<'_>, theirs::DescribeGroupsResponse>(what, seed);
    check::<consumer_group_describe::ConsumerGroupDescribeRequest<'_>, theirs::ConsumerGroupDescribeRequest>(
        what, seed,
    );
    check::<consumer_group_describe::ConsumerGroupDescribeResponse<'_>, theirs::ConsumerGroupDescribeResponse>(
        what, seed,
    );
    check::<ConsumerProtocolSubscription<'_>, theirs::ConsumerProtocolSubscription>(what, seed);
    check::<ConsumerProtocolAssignment<'_>, theirs::ConsumerProtocolAssignment>(what, seed);
}

/// What the other crate has no tables of.
fn check_own<Ours: Versioned<'static> + Debug + PartialEq>(what: What, seed: u64) {
    match what {
        What::RoundTrip => round_trip::<Ours>(seed),
        What::Agreement => {}
        What::Damage => survives_damage::<Ours>(seed),
    }
}

fn check_group_records(what: What, seed: u64) {
    check_own::<OffsetCommitKey<'_>>(what, seed);
    check_own::<OffsetCommitValue<'_>>(what, seed);
    check_own::<GroupMetadataKey<'_>>(what, seed);
    check_own::<GroupMetadataValue<'_>>(what, seed);
    check_own::<ConsumerGroupMetadataKey<'_>>(what, seed);
    check_own::<ConsumerGroupMetadataValue>(what, seed);
    check_own::<ConsumerGroupPartitionMetadataKey<'_>>(what, seed);
    check_own::<ConsumerGroupMemberMetadataKey<'_>>(what, seed);
    check_own::<ConsumerGroupMemberMetadataValue<'_>>(what, seed);
    check_own::<ConsumerGroupTargetAssignmentMetadataKey<'_>>(what, seed);
    check_own::<ConsumerGroupTargetAssignmentMetadataValue>(what, seed);
    check_own::<ConsumerGroupTargetAssignmentMemberKey<'_>>(what, seed);
    check_own::<ConsumerGroupTargetAssignmentMemberValue>(what, seed);
    check_own::<ConsumerGroupCurrentMemberAssignmentKey<'_>>(what, seed);
    check_own::<ConsumerGroupCurrentMemberAssignmentValue>(what, seed);
    check_own::<ConsumerGroupRegularExpressionKey<'_>>(what, seed);
    check_own::<ConsumerGroupRegularExpressionValue<'_>>(what, seed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_survives_the_round_trip_in_every_version(seed: u64) {
        check_all(What::RoundTrip, seed);
    }

    #[test]
    fn an_independent_codec_reads_and_writes_the_same_bytes(seed: u64) {
        check_all(What::Agreement, seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_messages_end_in_an_error_that_names_the_place(seed: u64) {
        check_all(What::Damage, seed);
    }
}

// Not all: where a schema forgets to say so, an optional text is null here and empty there.
#[test]
fn defaults_are_those_of_the_schemas() {
    defaults_agree::<ApiVersionsRequest<'_>, theirs::ApiVersionsRequest>();
    defaults_agree::<ApiVersionsResponse<'_>, theirs::ApiVersionsResponse>();
    defaults_agree::<MetadataResponse<'_>, theirs::MetadataResponse>();
    defaults_agree::<produce::ProduceResponse<'_>, theirs::ProduceResponse>();
    defaults_agree::<fetch::FetchRequest<'_>, theirs::FetchRequest>();
    defaults_agree::<fetch::FetchResponse<'_>, theirs::FetchResponse>();
    defaults_agree::<CreateTopicsRequest<'_>, theirs::CreateTopicsRequest>();
}

#[test]
fn an_array_that_claims_two_to_the_31_entries_costs_nothing() {
    let claim = i32::MAX.to_be_bytes();
    let error = MetadataRequest::decode(&mut Reader::new(&claim), 1).unwrap_err();
    assert_eq!(error.place(), Some(("MetadataRequest", "topics")));
    assert_eq!(error.problem(), Problem::TooLong { claimed: i32::MAX as usize, most: 0 });
    assert_eq!(error.position(), 4);
}

#[test]
fn an_array_of_a_million_and_one_is_refused_though_the_frame_holds_it() {
    let mut body = Vec::new();
    body.extend(u32::try_from(ARRAY_COUNT_MAX + 1).unwrap().to_be_bytes());
    body.resize(4 + 2 * (ARRAY_COUNT_MAX + 1), 0);
    let error = MetadataRequest::decode(&mut Reader::new(&body), 0).unwrap_err();
    assert_eq!(error.problem(), Problem::TooLong { claimed: ARRAY_COUNT_MAX + 1, most: ARRAY_COUNT_MAX });
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let null = (-1i32).to_be_bytes();
    let error = MetadataRequest::decode(&mut Reader::new(&null), 0).unwrap_err();
    assert_eq!((error.place(), error.problem()), (Some(("MetadataRequest", "topics")), Problem::UnexpectedNull));
    let allowed = [null.as_slice(), &[1]].concat();
    assert_eq!(MetadataRequest::decode(&mut Reader::new(&allowed), 4).unwrap().topics, None);
}

#[test]
fn a_version_without_a_table_is_an_error_to_read() {
    let error = ApiVersionsRequest::decode(&mut Reader::new(&[]), 6).unwrap_err();
    assert_eq!(error.problem(), Problem::UnknownVersion { version: 6 });
}

#[test]
fn tagged_fields_of_the_future_are_skipped() {
    let mut writer = Writer::default();
    ApiVersionsRequest { client_software_name: "future", ..Default::default() }.encode(&mut writer, 3);
    let mut body = writer.bytes.to_vec();
    body.truncate(body.len() - 1);
    body.extend([2, 0x80, 0x01, 3, 1, 2, 3, 0x81, 0x01, 0]);
    let mut reader = Reader::new(&body);
    assert_eq!(ApiVersionsRequest::decode(&mut reader, 3).unwrap().client_software_name, "future");
    assert_eq!(reader.remaining(), 0);
}

fn flattened(pieces: &[Piece]) -> Vec<u8> {
    let mut frame = Vec::new();
    for piece in pieces {
        let Piece::Bytes(bytes) = piece else { panic!("only bytes were given") };
        frame.extend_from_slice(bytes);
    }
    frame
}

#[test]
fn a_request_frame_is_read_back_with_its_records_in_place() {
    let request = produce::ProduceRequest {
        acks: -1,
        topic_data: vec![produce::TopicProduceData {
            name: "logs",
            partition_data: [3, 0, 5]
                .map(|length| produce::PartitionProduceData {
                    index: 0,
                    records: Some(crate::wire::Records::of_length(length)),
                })
                .to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    };
    // Two pieces may share a records field; an empty one has none.
    let records = ["abc", "de", "fgh"].map(|text| Piece::Bytes(Bytes::from_static(text.as_bytes()))).to_vec();
    for version in [7, 9] {
        let frame = flattened(&encode_request(&request, version, 17, Some("me"), records.clone()));
        let (length, frame) = frame.split_at(LENGTH_BYTES);
        assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, frame.len());
        let (header, body_at) = RequestHeader::parse(frame).unwrap();
        assert_eq!((header.api_version, header.correlation_id, header.client_id.as_deref()), (version, 17, Some("me")));
        let body = &frame[body_at..];
        let decoded = produce::ProduceRequest::decode(&mut Reader::new(body), version).unwrap();
        let read: Vec<_> =
            decoded.topic_data[0].partition_data.iter().map(|p| &body[p.records.unwrap().range()]).collect();
        assert_eq!(read, [&b"abc"[..], b"", b"defgh"]);
    }
}

#[test]
fn the_api_versions_response_has_the_old_header_in_every_version() {
    let response = ApiVersionsResponse::default();
    for version in ApiVersionsResponse::VERSIONS {
        let frame = flattened(encode_response(&response, version, 0x0102_0304, Vec::new()).pieces());
        assert_eq!(&frame[4..8], [1, 2, 3, 4]);
        let mut reader = Reader::new(&frame[8..]);
        assert_eq!(ApiVersionsResponse::decode(&mut reader, version), Ok(response.clone()));
        assert_eq!(reader.remaining(), 0);
    }
    let frame = flattened(encode_response(&MetadataResponse::default(), 9, 1, Vec::new()).pieces());
    assert_eq!(frame[8], 0, "other flexible responses have tagged fields in their header");
}

#[test]
fn a_header_is_read_for_apis_and_versions_that_nobody_serves() {
    let mut writer = Writer::default();
    for part in [&999i16.to_be_bytes()[..], &77i16.to_be_bytes(), &5i32.to_be_bytes()] {
        writer.put(part);
    }
    writer.put_string(Some("stranger"), false);
    let (header, _) = RequestHeader::parse(&writer.bytes).unwrap();
    assert_eq!((header.api_key, header.api_version, header.api()), (999, 77, None));
    assert_eq!(header.client_id.as_deref(), Some("stranger"));
    for length in 0..writer.bytes.len() {
        let error = RequestHeader::parse(&writer.bytes[..length]).unwrap_err();
        assert_eq!(error.place().map(|place| place.0), Some("RequestHeader"));
    }
}

#[test]
#[should_panic(expected = "a records field has its pieces")]
fn records_that_were_promised_and_not_given_are_a_bug() {
    let response = fetch::FetchResponse {
        responses: vec![fetch::FetchableTopicResponse {
            partitions: vec![fetch::PartitionData {
                records: Some(crate::wire::Records::of_length(1)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let _ = encode_response(&response, 12, 1, Vec::new());
}
