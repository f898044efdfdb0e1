//! ApiVersions (key 18): tells a client what is served.
//!
//! Also the one request that is answered in a version that is not served: in the format of version 0, so that the client can choose.

use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use ringmill_net::wire::{DecodeError, ErrorCode, encode_response};
use ringmill_net::{Outcome, Request};

use super::{decode, respond};

/// Answers a served version.
pub(super) fn answer(request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ApiVersionsRequest<'_> = decode(request)?;
    if !asked.client_software_name.is_empty() {
        let (name, version) = (asked.client_software_name, asked.client_software_version);
        tracing::debug!(peer = %request.connection.peer, client = name, version, "a client says who it is");
    }
    Ok(respond(request, &response(ErrorCode::None)))
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
