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
    match check_meant(core, &asked) {
        Ok(()) => Ok(respond(request, &response(ErrorCode::None))),
        // Who is at the wrong place, or says only half of where that is, is told no more.
        Err(error) => {
            Ok(respond(request, &ApiVersionsResponse { error_code: error.code(), ..ApiVersionsResponse::default() }))
        }
    }
}

/// Whether an address led the client to the broker that it looks for. Who does not know both ids yet says neither.
fn check_meant(core: &Core, asked: &ApiVersionsRequest<'_>) -> Result<(), ErrorCode> {
    match (asked.cluster_id, asked.node_id) {
        (None, -1) => Ok(()),
        (None, _) | (Some(_), -1) => Err(ErrorCode::InvalidRequest),
        (Some(cluster_id), node_id) => {
            let is_this = cluster_id == core.metadata().cluster_id() && node_id == core.shared().config.node_id;
            if is_this { Ok(()) } else { Err(ErrorCode::RebootstrapRequired) }
        }
    }
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
