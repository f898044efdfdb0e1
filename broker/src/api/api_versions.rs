//! ApiVersions (key 18): tells a client what is served.
//!
//! Also the one request that is answered in a version that is not served: in the format of version 0, so that the client can choose. A
//! client that says which broker of which cluster it means (KIP-1242) is sent back to its bootstrap servers when this is another.
//!
//! Of Kafka's features there is `group.version` (KIP-848): level 1 is the consumer protocol of groups. Clients ask for the APIs
//! alone before they speak it; the feature is what tools show.

use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use ringmill_net::wire::{DecodeError, ErrorCode, encode_response};
use ringmill_net::{Outcome, Request};

use super::{decode, respond};
use crate::core::Core;

const GROUP_VERSION: &str = "group.version";

/// Rises when a Ringmill finalises other features than the one before it.
const FEATURES_EPOCH: i64 = 1;

/// Below this version, clients cannot read a supported feature whose lowest level is 0 (KAFKA-17492): it is left out, as by Kafka.
const LEVEL_ZERO_FROM: i16 = 4;

/// Answers a served version.
pub(super) fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ApiVersionsRequest<'_> = decode(request)?;
    if !asked.client_software_name.is_empty() {
        let (name, version) = (asked.client_software_name, asked.client_software_version);
        tracing::debug!(peer = %request.connection.peer, client = name, version, "a client says who it is");
    }
    match check_meant(core, &asked) {
        Ok(()) => Ok(respond(request, &with_features(core, request.header.api_version))),
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

fn with_features(core: &Core, version: i16) -> ApiVersionsResponse<'static> {
    let supported = SupportedFeatureKey { name: GROUP_VERSION, min_version: 0, max_version: 1 };
    // A feature at level 0 is not told, as by Kafka.
    let finalized = FinalizedFeatureKey { name: GROUP_VERSION, max_version_level: 1, min_version_level: 1 };
    ApiVersionsResponse {
        supported_features: (version >= LEVEL_ZERO_FROM).then_some(supported).into_iter().collect(),
        finalized_features_epoch: FEATURES_EPOCH,
        finalized_features: core.shared().config.groups.consumer_protocol.then_some(finalized).into_iter().collect(),
        ..response(ErrorCode::None)
    }
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
