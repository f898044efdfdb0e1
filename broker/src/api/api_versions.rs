//! ApiVersions (key 18): tells a client what is served.
//!
//! Also the one request that is answered in a version that is not served: in the format of version 0, so that the client can choose. A
//! client that says which broker of which cluster it means (KIP-1242) is sent back to its bootstrap servers when this is another.

use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use ringmill_net::wire::{DecodeError, ErrorCode, encode_response};
use ringmill_net::{Outcome, Request};

use super::{decode, respond};
use crate::core::Core;

/// Answers a served version.
pub(super) fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ApiVersionsRequest<'_> = decode(request)?;
    if !asked.client_software_name.is_empty() {
        let (name, version) = (asked.client_software_name, asked.client_software_version);
        tracing::debug!(peer = %request.connection.peer, client = name, version, "a client says who it is");
    }
    let error = if means_another(core, &asked) { ErrorCode::RebootstrapRequired } else { ErrorCode::None };
    Ok(respond(request, &response(error)))
}

/// Whether an address led the client to a broker that it did not look for. Who does not know both ids yet is not asked.
fn means_another(core: &Core, asked: &ApiVersionsRequest<'_>) -> bool {
    let Some(cluster_id) = asked.cluster_id.filter(|_| asked.node_id >= 0) else { return false };
    cluster_id != core.metadata().cluster_id() || asked.node_id != core.shared().config.node_id
}

/// Answers any other version: in the format of version 0, with the whole list.
pub(super) fn answer_unknown_version(request: &Request) -> Outcome {
    Outcome::Respond(encode_response(
        &response(ErrorCode::UnsupportedVersion),
        0,
        request.header.correlation_id,
        Vec::new(),
    ))
}

fn response(error: ErrorCode) -> ApiVersionsResponse<'static> {
    let api_keys = SERVED
        .iter()
        .map(|api| ApiVersion {
            api_key: api.key.code(),
            min_version: api.advertised_from,
            max_version: api.version_max,
        })
        .collect();
    ApiVersionsResponse { error_code: error.code(), api_keys, ..ApiVersionsResponse::default() }
}
