//! Shows that the comparer sees what it must: a table, the schema that agrees with it, and one fault at a time.
#![allow(unreachable_pub, reason = "`message!` makes its structs for other crates, and these are for none")]

use super::compare::differences;
use super::schema::Schema;
use crate::wire::description::Table;
use crate::wire::schema::{Uuid, message};

message! {
    /// A table with one of everything.
    SampleRequest<'a>: Metadata, versions 1..=4, flexible 3.. {
        count: i32, 0.., default 7;
        title: Option<&'a str>, 2.., null 3..;
        topics: Vec<SampleTopic>, 0..;
        limit: i64, 3.., default i64::MAX, tag 1;
        cursor: Option<SampleCursor>, 4.., null 4..;
    }

    /// In an array.
    SampleTopic {
        id: Uuid, 0..;
        partitions: Vec<i32>, 0..=3;
    }

    /// That may be null.
    SampleCursor {
        at: bool, 4..;
    }
}

const AGREES: &str = r#"
// Licensed to whom it may concern.
{
  "apiKey": 3, "type": "request", "name": "SampleRequest", "validVersions": "0-5", "flexibleVersions": "3+",
  "fields": [
    { "name": "Count", "type": "int32", "versions": "0+", "default": "7", "about": "How many." }, // a note
    { "name": "Title", "type": "string", "versions": "2+", "nullableVersions": "3+", "default": "null" },
    { "name": "Topics", "type": "[]SampleTopic", "versions": "0+", "fields": [
      { "name": "Id", "type": "uuid", "versions": "0+" },
      { "name": "Partitions", "type": "[]int32", "versions": "0-3" }
    ] },
    { "name": "Limit", "type": "int64", "versions": "3+", "taggedVersions": "3+", "tag": 1, "default": "0x7fffffffffffffff" },
    { "name": "Cursor", "type": "SampleCursor", "versions": "4+", "nullableVersions": "4+", "default": "null" }
  ],
  "commonStructs": [ { "name": "SampleCursor", "versions": "4+", "fields": [ { "name": "At", "type": "bool", "versions": "4+" } ] } ]
}"#;

/// What is found when `was` in the schema reads `is` instead.
fn check(was: &str, is: &str, expected: &[&str]) {
    assert!(AGREES.contains(was), "{was} is in no line of the schema");
    let schema = Schema::parse(&AGREES.replacen(was, is, 1)).unwrap().unwrap();
    let found: Vec<_> =
        differences(&Table::of::<SampleRequest<'_>>(), &schema).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{was} → {is}");
}

#[test]
fn a_table_that_agrees_has_no_difference() {
    check("", "", &[]);
    // Versions that only Kafka has are no fault of the table.
    check("\"0-5\"", "\"0-9\"", &[]);
}

#[test]
fn a_wrong_type_is_caught() {
    check(
        "int32",
        "int64",
        &[r#"SampleRequest.count in versions [1, 2, 3, 4]: Type is "int32" here, "int64" in Kafka"#],
    );
    check(
        "[]int32",
        "[]int16",
        &[r#"SampleRequest.topics[].partitions[] in versions [1, 2, 3]: Type is "[]int32" here, "[]int16" in Kafka"#],
    );
    check(
        "\"[]SampleTopic\"",
        "\"[]Other\"",
        &[r#"SampleRequest.topics[] in versions [1, 2, 3, 4]: Type is "[]SampleTopic" here, "[]Other" in Kafka"#],
    );
}

#[test]
fn a_wrong_version_range_is_caught() {
    check("\"0-5\"", "\"0-3\"", &[r#"SampleRequest. in versions [4]: Versions is "a table" here, "none" in Kafka"#]);
    check(
        "\"0-5\"",
        "\"none\"",
        &[r#"SampleRequest. in versions [1, 2, 3, 4]: Versions is "a table" here, "none" in Kafka"#],
    );
    check(
        "\"0-3\"",
        "\"0-2\"",
        &[r#"SampleRequest.topics[].partitions[] in versions [3]: Presence is "a field" here, "none" in Kafka"#],
    );
    check(
        "\"0-3\"",
        "\"0+\"",
        &[r#"SampleRequest.topics[].partitions[] in versions [4]: Presence is "none" here, "a field" in Kafka"#],
    );
    check(
        "\"flexibleVersions\": \"3+\"",
        "\"flexibleVersions\": \"none\"",
        &[r#"SampleRequest. in versions [3, 4]: Flexible is "true" here, "false" in Kafka"#],
    );
    check(
        "\"nullableVersions\": \"3+\"",
        "\"nullableVersions\": \"2+\"",
        &[r#"SampleRequest.title in versions [2]: Nullable is "false" here, "true" in Kafka"#],
    );
}

#[test]
fn a_missing_or_renamed_or_moved_field_is_caught() {
    let added = r#""fields": [ { "name": "New", "type": "bool", "versions": "4+" },"#;
    check(
        "\"fields\": [",
        added,
        &[r#"SampleRequest.new in versions [4]: Presence is "none" here, "a field" in Kafka"#],
    );
    check(
        "\"Title\"",
        "\"Name\"",
        &[
            r#"SampleRequest.name in versions [2, 3, 4]: Presence is "none" here, "a field" in Kafka"#,
            r#"SampleRequest.title in versions [2, 3, 4]: Presence is "a field" here, "none" in Kafka"#,
        ],
    );
    check(
        "{ \"name\": \"Id\", \"type\": \"uuid\", \"versions\": \"0+\" },\n      { \"name\": \"Partitions\", \"type\": \"[]int32\", \"versions\": \"0-3\" }",
        "{ \"name\": \"Partitions\", \"type\": \"[]int32\", \"versions\": \"0-3\" },\n      { \"name\": \"Id\", \"type\": \"uuid\", \"versions\": \"0+\" }",
        &[r#"SampleRequest. in versions [1, 2, 3]: Order is "topics[].id" here, "topics[].partitions[]" in Kafka"#],
    );
}

#[test]
fn a_wrong_default_or_tag_or_name_is_caught() {
    check("\"7\"", "\"8\"", &[r#"SampleRequest.count in versions [1, 2, 3, 4]: Default is "7" here, "8" in Kafka"#]);
    check(
        ", \"default\": \"7\"",
        "",
        &[r#"SampleRequest.count in versions [1, 2, 3, 4]: Default is "7" here, "0" in Kafka"#],
    );
    check("\"tag\": 1", "\"tag\": 2", &[r#"SampleRequest.limit in versions [3, 4]: Tag is "1" here, "2" in Kafka"#]);
    check(
        "\"taggedVersions\": \"3+\"",
        "\"taggedVersions\": \"4+\"",
        &[r#"SampleRequest.limit in versions [3]: Tag is "1" here, "none" in Kafka"#],
    );
    check(
        "\"SampleRequest\"",
        "\"OtherRequest\"",
        &[r#"SampleRequest. in versions []: Name is "SampleRequest" here, "OtherRequest" in Kafka"#],
    );
    check("\"apiKey\": 3", "\"apiKey\": 4", &[r#"SampleRequest. in versions []: Name is "3" here, "4" in Kafka"#]);
}
