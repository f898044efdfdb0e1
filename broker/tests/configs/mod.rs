//! What the tests of the config APIs say to a broker: alterations and descriptions in few words, over the raw client.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test binary compiles this file and uses its own part"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringmill_net::wire::messages::alter_configs::{self, AlterConfigsRequest, AlterConfigsResponse};
use ringmill_net::wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
};
use ringmill_net::wire::messages::incremental_alter_configs::{
    self, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use crate::raw::Raw;

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
pub const SUBTRACT: i8 = 3;

/// A setting, what is done to it, and the value.
pub type Change<'a> = (&'a str, i8, Option<&'a str>);

/// Code and message.
pub type Answer = (i16, String);

pub fn ok() -> Answer {
    (0, String::new())
}

/// One IncrementalAlterConfigs request: `(type, name, changes)` per resource; an answer per resource.
pub fn incrementally(client: &mut Raw, resources: &[(i8, &str, &[Change<'_>])], validate_only: bool) -> Vec<Answer> {
    let resources_wanted = resources.iter().map(|&(resource_type, resource_name, changes)| {
        let configs = changes.iter().map(|change| altered(*change)).collect();
        incremental_alter_configs::AlterConfigsResource { resource_type, resource_name, configs }
    });
    let request = IncrementalAlterConfigsRequest { resources: resources_wanted.collect(), validate_only };
    let frame = client.call(&request, 1);
    let response: IncrementalAlterConfigsResponse<'_> = frame.decode(1);
    let named = response.responses.iter().map(|each| (each.resource_type, each.resource_name));
    assert!(named.eq(resources.iter().map(|(resource_type, name, _)| (*resource_type, *name))));
    response.responses.iter().map(|each| (each.error_code, each.error_message.unwrap_or_default().to_owned())).collect()
}

fn altered((name, config_operation, value): Change<'_>) -> incremental_alter_configs::AlterableConfig<'_> {
    incremental_alter_configs::AlterableConfig { name, config_operation, value }
}

/// Changes one resource.
pub fn change(client: &mut Raw, resource: (i8, &str), changes: &[Change<'_>]) -> Answer {
    incrementally(client, &[(resource.0, resource.1, changes)], false).remove(0)
}

/// Sets one value, which must work.
pub fn set(client: &mut Raw, resource: (i8, &str), name: &str, value: &str) {
    assert_eq!(change(client, resource, &[(name, SET, Some(value))]), ok(), "{resource:?} {name}={value}");
}

/// One AlterConfigs request for one resource.
pub fn replace(client: &mut Raw, resource: (i8, &str), values: &[(&str, Option<&str>)], validate_only: bool) -> Answer {
    let configs = values.iter().map(|&(name, value)| alter_configs::AlterableConfig { name, value }).collect();
    let resource =
        alter_configs::AlterConfigsResource { resource_type: resource.0, resource_name: resource.1, configs };
    let frame = client.call(&AlterConfigsRequest { resources: vec![resource], validate_only }, 2);
    let response: AlterConfigsResponse<'_> = frame.decode(2);
    let answer = &response.responses[0];
    (answer.error_code, answer.error_message.unwrap_or_default().to_owned())
}

/// All that is told of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub value: Option<String>,
    pub source: i8,
    pub read_only: bool,
    pub value_type: i8,
    pub documentation: Option<String>,
    /// `name=value source`.
    pub synonyms: Vec<String>,
}

impl Shown {
    fn of(config: &DescribeConfigsResourceResult<'_>) -> Shown {
        assert!(!config.is_sensitive, "nothing here is a secret");
        let synonym = |each: &ringmill_net::wire::messages::describe_configs::DescribeConfigsSynonym<'_>| {
            format!("{}={} {}", each.name, each.value.unwrap_or("null"), each.source)
        };
        Shown {
            value: config.value.map(str::to_owned),
            source: config.config_source,
            read_only: config.read_only,
            value_type: config.config_type,
            documentation: config.documentation.map(str::to_owned),
            synonyms: config.synonyms.iter().map(synonym).collect(),
        }
    }
}

/// What DescribeConfigs tells of one resource, with everything it can tell.
pub fn describe(
    client: &mut Raw,
    resource: (i8, &str),
    keys: Option<&[&str]>,
) -> Result<BTreeMap<String, Shown>, Answer> {
    describe_at(client, resource, keys, 4)
}

pub fn describe_at(
    client: &mut Raw,
    (resource_type, resource_name): (i8, &str),
    keys: Option<&[&str]>,
    version: i16,
) -> Result<BTreeMap<String, Shown>, Answer> {
    let configuration_keys = keys.map(<[_]>::to_vec);
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource { resource_type, resource_name, configuration_keys }],
        include_synonyms: true,
        include_documentation: true,
    };
    let frame = client.call(&request, version);
    let response: DescribeConfigsResponse<'_> = frame.decode(version);
    let result = &response.results[0];
    assert_eq!((result.resource_type, result.resource_name), (resource_type, resource_name));
    match result.error_code {
        0 => Ok(result.configs.iter().map(|config| (config.name.to_owned(), Shown::of(config))).collect()),
        code => Err((code, result.error_message.unwrap_or_default().to_owned())),
    }
}

/// Value and source of one setting.
pub fn value(client: &mut Raw, resource: (i8, &str), name: &str) -> (String, i8) {
    let shown = describe(client, resource, Some(&[name])).expect("the resource is there");
    let shown = shown.get(name).unwrap_or_else(|| panic!("{resource:?} has no {name}"));
    (shown.value.clone().unwrap_or_else(|| "null".to_owned()), shown.source)
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
