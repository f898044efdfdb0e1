//! IncrementalAlterConfigs (key 44): changes the named settings of a resource and leaves the others.
//!
//! The resources' types are those of `describe_configs`.

use crate::wire::schema::message;

/// Gives the setting the value.
pub const SET_OPERATION: i8 = 0;
/// Takes the setting's own value away, so that the default holds again.
pub const DELETE_OPERATION: i8 = 1;
/// Adds the values to a setting that is a list.
pub const APPEND_OPERATION: i8 = 2;
/// Takes the values out of a setting that is a list.
pub const SUBTRACT_OPERATION: i8 = 3;

message! {
    /// Resources with the changes.
    IncrementalAlterConfigsRequest<'a>: IncrementalAlterConfigs, versions 0..=1, flexible 1.. {
        resources: Vec<AlterConfigsResource<'a>>, 0..;
        validate_only: bool, 0..;
    }

    /// A resource's changes.
    AlterConfigsResource<'a> {
        resource_type: i8, 0..;
        resource_name: &'a str, 0..;
        configs: Vec<AlterableConfig<'a>>, 0..;
    }

    /// A change.
    AlterableConfig<'a> {
        name: &'a str, 0..;
        config_operation: i8, 0..;
        /// Of no meaning to a deletion.
        value: Option<&'a str>, 0.., null 0..;
    }

    /// What became of each.
    IncrementalAlterConfigsResponse<'a>: IncrementalAlterConfigs, versions 0..=1, flexible 1.. {
        throttle_time_ms: i32, 0..;
        responses: Vec<AlterConfigsResourceResponse<'a>>, 0..;
    }

    /// A resource that was altered, or why it was not.
    AlterConfigsResourceResponse<'a> {
        error_code: i16, 0..;
        error_message: Option<&'a str>, 0.., null 0..;
        resource_type: i8, 0..;
        resource_name: &'a str, 0..;
    }
}
