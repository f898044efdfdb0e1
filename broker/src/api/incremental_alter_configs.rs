//! IncrementalAlterConfigs (key 44): changes single settings of a topic or of this broker.

use std::rc::Rc;

use ringmill_net::wire::messages::incremental_alter_configs::{
    APPEND_OPERATION, AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, DELETE_OPERATION,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, SET_OPERATION, SUBTRACT_OPERATION,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::config_resource::{Wanted, alter_each};
use super::{Refusal, decode, respond, too_many, too_many_settings};
use crate::config::alter::{Alteration, Change, Operation, shorten};
use crate::core::Core;

/// Answers for each resource on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: IncrementalAlterConfigsRequest<'_> = decode(request)?;
    let settings = asked.resources.iter().map(|each| each.configs.len());
    if let Some(refused) = too_many(asked.resources.len()).or_else(|| too_many_settings(settings)) {
        return Ok(refused);
    }
    let wanted: Wanted<'_> =
        asked.resources.iter().map(|each| ((each.resource_type, each.resource_name), alteration(each))).collect();
    let results = alter_each(core, wanted, asked.validate_only).await;
    let responses = results.iter().map(|((resource_type, resource_name), result)| {
        let refusal = result.as_ref().err();
        AlterConfigsResourceResponse {
            error_code: refusal.map_or(ErrorCode::None, |refusal| refusal.code).code(),
            error_message: refusal.and_then(|refusal| refusal.why.as_deref()),
            resource_type: *resource_type,
            resource_name,
        }
    });
    let response = IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    };
    Ok(respond(request, &response))
}

fn alteration(resource: &AlterConfigsResource<'_>) -> Result<Alteration, Refusal> {
    resource.configs.iter().map(change).collect::<Result<_, _>>().map(Alteration::Incremental)
}

fn change(config: &AlterableConfig<'_>) -> Result<Change, Refusal> {
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    let operation: fn(String) -> Operation = match config.config_operation {
        SET_OPERATION => Operation::Set,
        APPEND_OPERATION => Operation::Append,
        SUBTRACT_OPERATION => Operation::Subtract,
        // A value means nothing to a deletion; clients send what they like.
        DELETE_OPERATION => |_| Operation::Delete,
        other => {
            let name = shorten(config.name);
            return refuse(format!("Unknown operation {other} on {name}: 0 sets, 1 deletes, 2 appends, 3 subtracts"));
        }
    };
    let value = match config.value {
        Some(value) => value,
        None if config.config_operation == DELETE_OPERATION => "",
        None => return refuse(format!("Null value not supported for : {}", shorten(config.name))),
    };
    Ok(Change { name: config.name.to_owned(), operation: operation(value.to_owned()) })
}
