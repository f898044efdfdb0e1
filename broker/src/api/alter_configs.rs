//! AlterConfigs (key 33): replaces all that is set on a topic or on this broker; what is not named goes back to its default.

use std::rc::Rc;

use ringmill_net::wire::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::config_resource::{Wanted, alter_each};
use super::{Refusal, decode, respond, too_many, too_many_settings};
use crate::config::alter::{Alteration, shorten};
use crate::core::Core;

/// Answers for each resource on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: AlterConfigsRequest<'_> = decode(request)?;
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
    let response = AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() };
    Ok(respond(request, &response))
}

fn alteration(resource: &AlterConfigsResource<'_>) -> Result<Alteration, Refusal> {
    let values = resource.configs.iter().map(|config| match config.value {
        Some(value) => Ok((config.name.to_owned(), value.to_owned())),
        None => {
            let why = format!("Null value not supported for : {}", shorten(config.name));
            Err(Refusal::new(ErrorCode::InvalidRequest, why))
        }
    });
    values.collect::<Result<_, _>>().map(Alteration::Replace)
}
