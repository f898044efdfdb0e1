//! DescribeCluster (key 60): the brokers and the cluster's id, for admin clients.

use crate::wire::messages::metadata::AUTHORIZED_OPERATIONS_UNKNOWN;
use crate::wire::schema::message;

/// Asks for the addresses of brokers.
pub const BROKER_ENDPOINT: i8 = 1;
/// Asks for the addresses of controllers.
pub const CONTROLLER_ENDPOINT: i8 = 2;

message! {
    /// What is wanted beside the brokers.
    DescribeClusterRequest: DescribeCluster, versions 0..=2, flexible 0.. {
        include_cluster_authorized_operations: bool, 0..;
        endpoint_type: i8, 1.., default BROKER_ENDPOINT;
        include_fenced_brokers: bool, 2..;
    }

    /// The brokers.
    DescribeClusterResponse<'a>: DescribeCluster, versions 0..=2, flexible 0.. {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<&'a str>, 0.., null 0..;
        endpoint_type: i8, 1.., default BROKER_ENDPOINT;
        cluster_id: &'a str, 0..;
        controller_id: i32, 0.., default -1;
        brokers: Vec<DescribeClusterBroker<'a>>, 0..;
        cluster_authorized_operations: i32, 0.., default AUTHORIZED_OPERATIONS_UNKNOWN;
    }

    /// Where a broker listens.
    DescribeClusterBroker<'a> {
        broker_id: i32, 0..;
        host: &'a str, 0..;
        port: i32, 0..;
        rack: Option<&'a str>, 0.., null 0..;
        is_fenced: bool, 2..;
    }
}
