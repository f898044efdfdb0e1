//! AlterConfigs (key 33): replaces all settings of a resource. What is not named goes back to its default.
//!
//! The resources' types are those of `describe_configs`.

use crate::wire::schema::message;

message! {
    /// Resources with all the settings they are to have.
    AlterConfigsRequest<'a>: AlterConfigs, versions 0..=2, flexible 2.. {
        resources: Vec<AlterConfigsResource<'a>>, 0..;
        validate_only: bool, 0..;
    }

    /// A resource's settings.
    AlterConfigsResource<'a> {
        resource_type: i8, 0..;
        resource_name: &'a str, 0..;
        configs: Vec<AlterableConfig<'a>>, 0..;
    }

    /// A setting.
    AlterableConfig<'a> {
        name: &'a str, 0..;
        value: Option<&'a str>, 0.., null 0..;
    }

    /// What became of each.
    AlterConfigsResponse<'a>: AlterConfigs, versions 0..=2, flexible 2.. {
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
