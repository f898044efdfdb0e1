//! ListConfigResources (key 74): which resources have settings of their own.
//!
//! The resources' types are those of `describe_configs`. Version 0 knew only subscriptions to clients' metrics.

use crate::wire::messages::describe_configs::CLIENT_METRICS_RESOURCE;
use crate::wire::schema::message;

message! {
    /// Which types of resources are wanted.
    ListConfigResourcesRequest: ListConfigResources, versions 0..=1, flexible 0.. {
        /// Empty: all types that there are.
        resource_types: Vec<i8>, 1..;
    }

    /// The resources.
    ListConfigResourcesResponse<'a>: ListConfigResources, versions 0..=1, flexible 0.. {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        config_resources: Vec<ConfigResource<'a>>, 0..;
    }

    /// A resource.
    ConfigResource<'a> {
        resource_name: &'a str, 0..;
        resource_type: i8, 1.., default CLIENT_METRICS_RESOURCE;
    }
}
