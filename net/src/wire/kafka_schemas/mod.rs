//! Our tables against the schemas inside Kafka's jars: every field in every version, and what that Kafka speaks and we do not.
//!
//! Only compiled for tests. `scripts/test` fetches the newest jars, of the messages and of the group coordinator's records, and names the
//! folder of their schemas in [`FOLDER`]; without it only the comparer itself is tested. What may differ stands in [`EXCEPTIONS`], each with its reason; one that is no longer true fails.

mod compare;
mod comparer_tests;
mod schema;

use super::api::{ApiKey, SERVED};
use super::api_plan::{PLANS, Plan};
use super::description::Table;
use super::embedded_protocol;
use super::group_records::{classic, consumer, offsets};
use super::messages::*;
use super::protocol_page::range;
use compare::{About, Difference, differences};
use schema::Schema;
use std::path::Path;

/// The environment variable with the folder of all `common/message/*.json`.
const FOLDER: &str = "RINGMILL_KAFKA_SCHEMAS";

/// A difference that is meant.
struct Exception {
    covers: fn(&Difference) -> bool,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        covers: |found| found.about == About::Advertised && found.message == "Produce",
        reason: "advertised from 0, served from 3: with a higher minimum librdkafka 2.0 sends compressed batches uncompressed",
    },
    Exception {
        covers: |found| null_for_empty(found) && !found.field.ends_with("[]"),
        reason: "where a schema names no default, an optional text is null here and empty there: nothing said is nothing sent",
    },
    Exception {
        covers: |found| null_for_empty(found) && found.message == "MetadataRequest" && found.field == "topics[]",
        reason: "the default request is for all topics",
    },
    Exception {
        covers: |found| null_for_empty(found) && found.field.ends_with(".aborted_transactions[]"),
        reason: "null for whoever reads uncommitted; the handler says otherwise to the others",
    },
];

fn null_for_empty(found: &Difference) -> bool {
    found.about == About::Default && (found.ours.as_str(), found.kafkas.as_str()) == ("null", "")
}

/// Every table, requests and responses in turn.
fn tables() -> Vec<Table> {
    vec![
        Table::of::<alter_configs::AlterConfigsRequest<'_>>(),
        Table::of::<alter_configs::AlterConfigsResponse<'_>>(),
        Table::of::<api_versions::ApiVersionsRequest<'_>>(),
        Table::of::<api_versions::ApiVersionsResponse<'_>>(),
        Table::of::<consumer_group_describe::ConsumerGroupDescribeRequest<'_>>(),
        Table::of::<consumer_group_describe::ConsumerGroupDescribeResponse<'_>>(),
        Table::of::<consumer_group_heartbeat::ConsumerGroupHeartbeatRequest<'_>>(),
        Table::of::<consumer_group_heartbeat::ConsumerGroupHeartbeatResponse<'_>>(),
        Table::of::<create_partitions::CreatePartitionsRequest<'_>>(),
        Table::of::<create_partitions::CreatePartitionsResponse<'_>>(),
        Table::of::<create_topics::CreateTopicsRequest<'_>>(),
        Table::of::<create_topics::CreateTopicsResponse<'_>>(),
        Table::of::<delete_groups::DeleteGroupsRequest<'_>>(),
        Table::of::<delete_groups::DeleteGroupsResponse<'_>>(),
        Table::of::<delete_records::DeleteRecordsRequest<'_>>(),
        Table::of::<delete_records::DeleteRecordsResponse<'_>>(),
        Table::of::<delete_topics::DeleteTopicsRequest<'_>>(),
        Table::of::<delete_topics::DeleteTopicsResponse<'_>>(),
        Table::of::<describe_cluster::DescribeClusterRequest>(),
        Table::of::<describe_cluster::DescribeClusterResponse<'_>>(),
        Table::of::<describe_configs::DescribeConfigsRequest<'_>>(),
        Table::of::<describe_configs::DescribeConfigsResponse<'_>>(),
        Table::of::<describe_groups::DescribeGroupsRequest<'_>>(),
        Table::of::<describe_groups::DescribeGroupsResponse<'_>>(),
        Table::of::<describe_log_dirs::DescribeLogDirsRequest<'_>>(),
        Table::of::<describe_log_dirs::DescribeLogDirsResponse<'_>>(),
        Table::of::<describe_producers::DescribeProducersRequest<'_>>(),
        Table::of::<describe_producers::DescribeProducersResponse<'_>>(),
        Table::of::<describe_topic_partitions::DescribeTopicPartitionsRequest<'_>>(),
        Table::of::<describe_topic_partitions::DescribeTopicPartitionsResponse<'_>>(),
        Table::of::<fetch::FetchRequest<'_>>(),
        Table::of::<fetch::FetchResponse<'_>>(),
        Table::of::<find_coordinator::FindCoordinatorRequest<'_>>(),
        Table::of::<find_coordinator::FindCoordinatorResponse<'_>>(),
        Table::of::<heartbeat::HeartbeatRequest<'_>>(),
        Table::of::<heartbeat::HeartbeatResponse>(),
        Table::of::<incremental_alter_configs::IncrementalAlterConfigsRequest<'_>>(),
        Table::of::<incremental_alter_configs::IncrementalAlterConfigsResponse<'_>>(),
        Table::of::<init_producer_id::InitProducerIdRequest<'_>>(),
        Table::of::<init_producer_id::InitProducerIdResponse>(),
        Table::of::<join_group::JoinGroupRequest<'_>>(),
        Table::of::<join_group::JoinGroupResponse<'_>>(),
        Table::of::<leave_group::LeaveGroupRequest<'_>>(),
        Table::of::<leave_group::LeaveGroupResponse<'_>>(),
        Table::of::<list_config_resources::ListConfigResourcesRequest>(),
        Table::of::<list_config_resources::ListConfigResourcesResponse<'_>>(),
        Table::of::<list_groups::ListGroupsRequest<'_>>(),
        Table::of::<list_groups::ListGroupsResponse<'_>>(),
        Table::of::<list_offsets::ListOffsetsRequest<'_>>(),
        Table::of::<list_offsets::ListOffsetsResponse<'_>>(),
        Table::of::<metadata::MetadataRequest<'_>>(),
        Table::of::<metadata::MetadataResponse<'_>>(),
        Table::of::<offset_commit::OffsetCommitRequest<'_>>(),
        Table::of::<offset_commit::OffsetCommitResponse<'_>>(),
        Table::of::<offset_delete::OffsetDeleteRequest<'_>>(),
        Table::of::<offset_delete::OffsetDeleteResponse<'_>>(),
        Table::of::<offset_fetch::OffsetFetchRequest<'_>>(),
        Table::of::<offset_fetch::OffsetFetchResponse<'_>>(),
        Table::of::<offset_for_leader_epoch::OffsetForLeaderEpochRequest<'_>>(),
        Table::of::<offset_for_leader_epoch::OffsetForLeaderEpochResponse<'_>>(),
        Table::of::<produce::ProduceRequest<'_>>(),
        Table::of::<produce::ProduceResponse<'_>>(),
        Table::of::<sync_group::SyncGroupRequest<'_>>(),
        Table::of::<sync_group::SyncGroupResponse<'_>>(),
    ]
}

/// Every table of bytes inside records.
fn inner_tables() -> Vec<Table> {
    vec![
        Table::of_data::<embedded_protocol::ConsumerProtocolAssignment<'_>>(),
        Table::of_data::<embedded_protocol::ConsumerProtocolSubscription<'_>>(),
        Table::of_record::<offsets::OffsetCommitKey<'_>>(),
        Table::of_record::<offsets::OffsetCommitValue<'_>>(),
        Table::of_record::<classic::GroupMetadataKey<'_>>(),
        Table::of_record::<classic::GroupMetadataValue<'_>>(),
        Table::of_record::<consumer::ConsumerGroupMetadataKey<'_>>(),
        Table::of_record::<consumer::ConsumerGroupMetadataValue>(),
        Table::of_record::<consumer::ConsumerGroupPartitionMetadataKey<'_>>(),
        Table::of_record::<consumer::ConsumerGroupMemberMetadataKey<'_>>(),
        Table::of_record::<consumer::ConsumerGroupMemberMetadataValue<'_>>(),
        Table::of_record::<consumer::ConsumerGroupTargetAssignmentMetadataKey<'_>>(),
        Table::of_record::<consumer::ConsumerGroupTargetAssignmentMetadataValue>(),
        Table::of_record::<consumer::ConsumerGroupTargetAssignmentMemberKey<'_>>(),
        Table::of_record::<consumer::ConsumerGroupTargetAssignmentMemberValue>(),
        Table::of_record::<consumer::ConsumerGroupCurrentMemberAssignmentKey<'_>>(),
        Table::of_record::<consumer::ConsumerGroupCurrentMemberAssignmentValue>(),
        Table::of_record::<consumer::ConsumerGroupRegularExpressionKey<'_>>(),
        Table::of_record::<consumer::ConsumerGroupRegularExpressionValue<'_>>(),
    ]
}

#[test]
fn the_tables_are_kafkas() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        println!("not compared: {FOLDER} is not set; scripts/test does it");
        return;
    };
    let schemas = read(Path::new(&folder));
    let tables: Vec<_> = tables().into_iter().chain(inner_tables()).collect();
    let found = all_differences(&tables, &schemas);
    println!(
        "compared {} messages in {} versions",
        tables.len(),
        tables.iter().map(|table| table.versions.clone().count()).sum::<usize>()
    );
    for exception in EXCEPTIONS {
        let covered: Vec<_> = found.iter().filter(|difference| (exception.covers)(difference)).collect();
        println!("{} differ on purpose: {}", covered.len(), exception.reason);
        for difference in &covered {
            println!("    {difference}");
        }
        assert!(!covered.is_empty(), "this exception is not needed any more, take it out: {}", exception.reason);
    }
    for line in not_spoken(&schemas) {
        println!("{line}");
    }
    let wrong: Vec<_> =
        found.iter().filter(|found| !EXCEPTIONS.iter().any(|exception| (exception.covers)(found))).collect();
    let lines: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} tables or rows are not Kafka's:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn every_served_api_has_its_tables_here() {
    let tables = tables();
    for api in SERVED {
        let both = tables.iter().filter(|table| table.key == Some(api.key.code())).count();
        assert_eq!(both, 2, "{:?} is served: its request and response belong into `tables`", api.key);
    }
}

fn read(folder: &Path) -> Vec<Schema> {
    let mut schemas = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            schemas.extend(Schema::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    assert!(schemas.len() > 100, "{} holds {} messages: is it the right one?", folder.display(), schemas.len());
    schemas.sort_by(|a, b| (a.key, &a.name).cmp(&(b.key, &b.name)));
    schemas
}

fn all_differences(tables: &[Table], schemas: &[Schema]) -> Vec<Difference> {
    let mut found = Vec::new();
    for table in tables {
        let schema = schemas.iter().find(|schema| schema.name == table.name);
        found.extend(differences(table, schema.unwrap_or_else(|| panic!("Kafka has no {}", table.name))));
    }
    for schema in requests(schemas) {
        found.extend(names_and_ranges(schema));
    }
    found
}

/// What is said of an API outside its tables: its name, what is advertised, and what the page says about Kafka.
fn names_and_ranges(schema: &Schema) -> Vec<Difference> {
    let api = schema.name.trim_end_matches("Request");
    let difference = |about, ours: String, kafkas: String| Difference {
        message: api.to_owned(),
        field: String::new(),
        about,
        ours,
        kafkas,
        versions: Vec::new(),
    };
    let mut found = Vec::new();
    let Some(key) = schema.key.and_then(ApiKey::from_code) else { return found };
    if format!("{key:?}") != api {
        found.push(difference(About::Name, format!("{key:?}"), api.to_owned()));
    }
    let kafkas = schema.versions.clone();
    let inside =
        |first: i16, last: i16| kafkas.as_ref().is_some_and(|range| range.contains(&first) && range.contains(&last));
    if let Some(served) = SERVED.iter().find(|served| served.key == key)
        && !inside(served.advertised_from, served.version_max)
    {
        found.push(difference(About::Advertised, served.advertised_from.to_string(), format!("{kafkas:?}")));
    }
    let told = PLANS.iter().find(|row| row.0 == key).and_then(|row| row.1);
    if let Some((first, last)) = told
        && !inside(first, last)
    {
        found.push(difference(About::Versions, format!("{first}..={last} in api_plan.rs"), format!("{kafkas:?}")));
    }
    found
}

/// One line for each API or version that Kafka has and we have not.
fn not_spoken(schemas: &[Schema]) -> Vec<String> {
    let mut lines = Vec::new();
    for schema in requests(schemas) {
        let Some(versions) = &schema.versions else { continue };
        let Some(key) = schema.key else { continue };
        let api = schema.name.trim_end_matches("Request");
        let Some(served) = SERVED.iter().find(|served| served.key.code() == key) else {
            let plan = PLANS.iter().find(|row| row.0.code() == key);
            let plan = plan.map_or("new to us".to_owned(), |(_, _, plan, words)| match plan {
                Plan::Served => "its handler is missing".to_owned(),
                Plan::NotYet => format!("not yet: {words}"),
                Plan::Never => format!("never: {words}"),
            });
            lines.push(format!("not spoken: {key} {api} {} ({plan})", range(*versions.start(), *versions.end())));
            continue;
        };
        for version in versions.clone().filter(|version| !served.serves(*version)) {
            let unstable = if schema.latest_is_unstable && version == *versions.end() { " (unstable)" } else { "" };
            lines.push(format!("not spoken: {key} {api} {version}{unstable}"));
        }
    }
    lines
}

fn requests(schemas: &[Schema]) -> impl Iterator<Item = &Schema> {
    schemas.iter().filter(|schema| schema.name.ends_with("Request"))
}
