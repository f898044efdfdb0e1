//! DescribeCluster (key 60): the cluster's id and its one broker.
//!
//! Versions from 1 on can ask for the controllers instead, which only a controller's own listener answers; here is none.

use ringmill_net::wire::messages::describe_cluster::{
    BROKER_ENDPOINT, CONTROLLER_ENDPOINT, DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::{CLUSTER_OPERATIONS, advertised, decode, operations, respond};
use crate::core::Core;

/// Answers at once.
pub(super) fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: DescribeClusterRequest = decode(request)?;
    let refused = match asked.endpoint_type {
        BROKER_ENDPOINT => None,
        CONTROLLER_ENDPOINT => {
            let why = "this is a broker's endpoint, and a controller's was asked for".to_owned();
            Some((ErrorCode::MismatchedEndpointType, why))
        }
        other => Some((ErrorCode::UnsupportedEndpointType, format!("there is no endpoint of type {other}"))),
    };
    if let Some((error, why)) = refused {
        let response = DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(&why),
            ..DescribeClusterResponse::default()
        };
        return Ok(respond(request, &response));
    }
    let image = core.metadata();
    let (host, port) = advertised(core, request);
    let broker_id = core.shared().config.node_id;
    let broker = DescribeClusterBroker { broker_id, host: &host, port: i32::from(port), ..Default::default() };
    let response = DescribeClusterResponse {
        cluster_id: image.cluster_id(),
        controller_id: broker_id,
        brokers: vec![broker],
        cluster_authorized_operations: operations(asked.include_cluster_authorized_operations, CLUSTER_OPERATIONS),
        ..DescribeClusterResponse::default()
    };
    Ok(respond(request, &response))
}
