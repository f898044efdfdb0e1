//! DescribeConfigs (key 32): the settings in effect on topics and on this broker, where they come from and what they mean.
//!
//! Clients' metrics and groups have no settings here: the answer for them is empty. Loggers are shown as they were configured.

use std::collections::BTreeSet;
use std::rc::Rc;

use ringmill_net::wire::messages::describe_configs::{
    BOOLEAN_TYPE, BROKER_LOGGER_RESOURCE, BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, DEFAULT_SOURCE, DOUBLE_TYPE,
    DYNAMIC_BROKER_LOGGER_SOURCE, DYNAMIC_BROKER_SOURCE, DYNAMIC_DEFAULT_BROKER_SOURCE, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym, GROUP_RESOURCE, INT_TYPE, LIST_TYPE, LONG_TYPE, STATIC_BROKER_SOURCE, STRING_TYPE,
    TOPIC_RESOURCE, TOPIC_SOURCE,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::config_resource::{check_logger_resource, described_broker};
use super::{Refusal, decode, respond, too_many, too_many_settings};
use crate::config::describe::{self, Described, Synonym, ValueType};
use crate::config::running::Scope;
use crate::config::{BrokerConfig, Origin};
use crate::core::Core;
use crate::metadata::{MetadataImage, check_topic_name};

/// After so many resources the others of this core have their turn: each takes some ten microseconds.
const RESOURCES_AT_A_TIME: usize = 64;

/// About how large an answer gets: room for all settings of ten thousand topics, without their documentation.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is said of the resources that have no room.
const FULL: &str = "the answer would be too large; ask for fewer resources or settings, or without documentation";

/// Answers for each resource on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DescribeConfigsRequest<'_> = decode(request)?;
    let keys = asked.resources.iter().map(|resource| resource.configuration_keys.as_ref().map_or(0, Vec::len));
    if let Some(refused) = too_many(asked.resources.len()).or_else(|| too_many_settings(keys)) {
        return Ok(refused);
    }
    let image = core.metadata();
    let started = &core.shared().config;
    let levels: Vec<(&str, String)> = describe::loggers(started).collect();
    let view = View { image: &image, started, levels: &levels, asked: &asked };
    // Each once: clients look for one answer to each.
    let mut named = BTreeSet::new();
    let resources: Vec<_> =
        asked.resources.iter().filter(|each| named.insert((each.resource_type, each.resource_name))).collect();
    let mut described = Vec::with_capacity(resources.len());
    let mut left = ANSWER_BYTES_MAX;
    for some in resources.chunks(RESOURCES_AT_A_TIME) {
        for resource in some {
            let settings = if left > 0 { view.describe(resource) } else { refuse(FULL) };
            left = left.saturating_sub(settings.iter().flatten().map(bytes_of).sum());
            described.push(settings);
        }
        tokio::task::yield_now().await;
    }
    let results = resources.iter().zip(&mut described).map(|(resource, described)| result(resource, described));
    let response = DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() };
    Ok(respond(request, &response))
}

/// The settings of a resource, or why they are not told.
type Settings<'a> = Result<Vec<DescribeConfigsResourceResult<'a>>, Refusal>;

fn result<'a>(asked: &DescribeConfigsResource<'a>, described: &'a mut Settings<'a>) -> DescribeConfigsResult<'a> {
    let (error_code, error_message, configs) = match described {
        Ok(configs) => (ErrorCode::None, None, std::mem::take(configs)),
        Err(refusal) => (refusal.code, refusal.why.as_deref(), Vec::new()),
    };
    DescribeConfigsResult {
        error_code: error_code.code(),
        error_message,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
        configs,
    }
}

/// On the wire, with ten bytes for numbers and lengths.
fn bytes_of(setting: &DescribeConfigsResourceResult<'_>) -> usize {
    let texts = [Some(setting.name), setting.value, setting.documentation];
    let synonyms = setting.synonyms.iter().map(|synonym| 10 + synonym.name.len() + synonym.value.map_or(0, str::len));
    10 + texts.into_iter().flatten().map(str::len).sum::<usize>() + synonyms.sum::<usize>()
}

/// What is looked at, and how much of it is wanted.
struct View<'a> {
    image: &'a MetadataImage,
    started: &'a BrokerConfig,
    levels: &'a [(&'a str, String)],
    asked: &'a DescribeConfigsRequest<'a>,
}

impl<'a> View<'a> {
    fn describe(&self, resource: &DescribeConfigsResource<'_>) -> Settings<'a> {
        let name = resource.resource_name;
        let running = self.image.running();
        let node_id = self.started.node_id;
        let wanted = Wanted::new(resource.configuration_keys.as_deref());
        match resource.resource_type {
            TOPIC_RESOURCE => {
                check_topic_name(name).map_err(|why| Refusal::new(ErrorCode::InvalidTopicException, why))?;
                let unknown = || Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}"));
                let topic = self.image.topic(name).ok_or_else(unknown)?;
                Ok(self.settings(describe::topic(&topic.config, self.started, running), &wanted))
            }
            BROKER_RESOURCE => match described_broker(name, node_id)? {
                Scope::Cluster => Ok(self.settings(describe::cluster(running), &wanted)),
                Scope::Broker => Ok(self.settings(describe::broker(self.started, running), &wanted)),
            },
            BROKER_LOGGER_RESOURCE => {
                check_logger_resource(name, node_id)?;
                Ok(self.levels.iter().filter(|(logger, _)| wanted.holds(logger)).map(logger_level).collect())
            }
            CLIENT_METRICS_RESOURCE if name.is_empty() => refuse("Client metrics subscription name must not be empty"),
            GROUP_RESOURCE if name.is_empty() => refuse("Group name must not be empty"),
            CLIENT_METRICS_RESOURCE | GROUP_RESOURCE => Ok(Vec::new()),
            other => refuse(format!("Unknown resource type {other}")),
        }
    }

    fn settings(
        &self,
        described: impl Iterator<Item = Described<'a>>,
        wanted: &Wanted<'_>,
    ) -> Vec<DescribeConfigsResourceResult<'a>> {
        described.filter(|setting| wanted.holds(setting.name)).map(|setting| self.setting(setting)).collect()
    }

    fn setting(&self, described: Described<'a>) -> DescribeConfigsResourceResult<'a> {
        let synonyms = if self.asked.include_synonyms { described.synonyms } else { Vec::new() };
        DescribeConfigsResourceResult {
            name: described.name,
            value: described.value,
            read_only: described.read_only,
            config_source: source_code(described.origin),
            is_sensitive: false,
            synonyms: synonyms.into_iter().map(synonym).collect(),
            config_type: type_code(described.value_type),
            documentation: self.asked.include_documentation.then_some(described.doc),
        }
    }
}

/// Which settings of a resource are wanted. Kafka takes an empty list for all of them, as clients do.
struct Wanted<'a>(Option<BTreeSet<&'a str>>);

impl<'a> Wanted<'a> {
    fn new(names: Option<&[&'a str]>) -> Wanted<'a> {
        Wanted(names.filter(|names| !names.is_empty()).map(|names| names.iter().copied().collect()))
    }

    fn holds(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(ErrorCode::InvalidRequest, why))
}

fn logger_level<'a>((logger, level): &'a (&'a str, String)) -> DescribeConfigsResourceResult<'a> {
    DescribeConfigsResourceResult {
        name: logger,
        value: Some(level),
        read_only: true,
        config_source: DYNAMIC_BROKER_LOGGER_SOURCE,
        ..DescribeConfigsResourceResult::default()
    }
}

fn synonym(synonym: Synonym<'_>) -> DescribeConfigsSynonym<'_> {
    DescribeConfigsSynonym { name: synonym.name, value: Some(synonym.value), source: source_code(synonym.origin) }
}

/// The protocol's number for where a value comes from.
pub(super) fn source_code(origin: Origin) -> i8 {
    match origin {
        Origin::Topic => TOPIC_SOURCE,
        Origin::DynamicBroker => DYNAMIC_BROKER_SOURCE,
        Origin::DynamicDefault => DYNAMIC_DEFAULT_BROKER_SOURCE,
        Origin::File | Origin::Environment | Origin::Flag => STATIC_BROKER_SOURCE,
        Origin::Default => DEFAULT_SOURCE,
    }
}

fn type_code(value_type: ValueType) -> i8 {
    match value_type {
        ValueType::Boolean => BOOLEAN_TYPE,
        ValueType::Str => STRING_TYPE,
        ValueType::Int => INT_TYPE,
        ValueType::Long => LONG_TYPE,
        ValueType::Double => DOUBLE_TYPE,
        ValueType::List => LIST_TYPE,
    }
}
