//! ListConfigResources (key 74): names the resources that have settings: topics, this broker and its loggers.
//!
//! Version 0 asked only for subscriptions to clients' metrics, of which there are none.

use ringmill_net::wire::messages::describe_configs::{
    BROKER_LOGGER_RESOURCE, BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE, TOPIC_RESOURCE,
};
use ringmill_net::wire::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{decode, respond};
use crate::core::Core;

/// The first version that names types.
const TYPES_FROM: i16 = 1;

/// All types, as version 1 means them with an empty list.
const TYPES: [i8; 5] =
    [TOPIC_RESOURCE, BROKER_RESOURCE, BROKER_LOGGER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE];

/// Answers with all resources of the types asked for, or with an error if one of the types is unknown.
pub(super) fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ListConfigResourcesRequest = decode(request)?;
    let wants = |resource_type: i8| match request.header.api_version {
        ..TYPES_FROM => resource_type == CLIENT_METRICS_RESOURCE,
        _ => asked.resource_types.is_empty() || asked.resource_types.contains(&resource_type),
    };
    if asked.resource_types.iter().any(|resource_type| !TYPES.contains(resource_type)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return Ok(respond(request, &ListConfigResourcesResponse { error_code, ..Default::default() }));
    }
    let image = core.metadata();
    let node_id = core.shared().config.node_id.to_string();
    let mut config_resources = Vec::new();
    if wants(TOPIC_RESOURCE) {
        let topics = image.topics().map(|topic| (&*topic.name, TOPIC_RESOURCE));
        config_resources.extend(topics.map(named));
    }
    let brokers = [BROKER_RESOURCE, BROKER_LOGGER_RESOURCE].into_iter().filter(|each| wants(*each));
    config_resources.extend(brokers.map(|each| named((&node_id, each))));
    Ok(respond(request, &ListConfigResourcesResponse { config_resources, ..Default::default() }))
}

fn named((resource_name, resource_type): (&str, i8)) -> ConfigResource<'_> {
    ConfigResource { resource_name, resource_type }
}
