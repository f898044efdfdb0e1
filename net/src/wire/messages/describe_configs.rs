//! DescribeConfigs (key 32): the settings of topics and brokers, where each comes from and what it means.
//!
//! The numbers that stand for resources, sources and types are below; AlterConfigs, IncrementalAlterConfigs and ListConfigResources
//! use the same ones for resources.

use crate::wire::schema::message;

/// A resource of no known type.
pub const UNKNOWN_RESOURCE: i8 = 0;
/// A topic, named by its name.
pub const TOPIC_RESOURCE: i8 = 2;
/// A broker, named by its id; the empty name stands for all of them.
pub const BROKER_RESOURCE: i8 = 4;
/// The log levels of a broker, named by its id.
pub const BROKER_LOGGER_RESOURCE: i8 = 8;
/// A subscription to clients' metrics.
pub const CLIENT_METRICS_RESOURCE: i8 = 16;
/// A consumer group.
pub const GROUP_RESOURCE: i8 = 32;

/// A value of unknown origin.
pub const UNKNOWN_SOURCE: i8 = 0;
/// Set on the topic itself.
pub const TOPIC_SOURCE: i8 = 1;
/// Set while the broker runs, for this broker.
pub const DYNAMIC_BROKER_SOURCE: i8 = 2;
/// Set while the broker runs, for all brokers.
pub const DYNAMIC_DEFAULT_BROKER_SOURCE: i8 = 3;
/// From the broker's configuration file, arguments or environment.
pub const STATIC_BROKER_SOURCE: i8 = 4;
/// Built in.
pub const DEFAULT_SOURCE: i8 = 5;
/// Set on the broker's loggers.
pub const DYNAMIC_BROKER_LOGGER_SOURCE: i8 = 6;
/// Set on a subscription to clients' metrics.
pub const CLIENT_METRICS_SOURCE: i8 = 7;
/// Set on a group.
pub const GROUP_SOURCE: i8 = 8;

/// A value of unknown type.
pub const UNKNOWN_TYPE: i8 = 0;
/// `true` or `false`.
pub const BOOLEAN_TYPE: i8 = 1;
/// Text.
pub const STRING_TYPE: i8 = 2;
/// A number of 32 bits.
pub const INT_TYPE: i8 = 3;
/// A number of 16 bits.
pub const SHORT_TYPE: i8 = 4;
/// A number of 64 bits.
pub const LONG_TYPE: i8 = 5;
/// A fraction.
pub const DOUBLE_TYPE: i8 = 6;
/// Several values with commas between them.
pub const LIST_TYPE: i8 = 7;
/// The name of a Java class.
pub const CLASS_TYPE: i8 = 8;
/// A secret, never shown.
pub const PASSWORD_TYPE: i8 = 9;

message! {
    /// Resources, and which of their settings are wanted.
    DescribeConfigsRequest<'a>: DescribeConfigs, versions 1..=4, flexible 4.. {
        resources: Vec<DescribeConfigsResource<'a>>, 0..;
        include_synonyms: bool, 1..;
        include_documentation: bool, 3..;
    }

    /// A resource and the names of its settings.
    DescribeConfigsResource<'a> {
        resource_type: i8, 0..;
        resource_name: &'a str, 0..;
        /// Null means all of them, and so do many clients with the empty list.
        configuration_keys: Option<Vec<&'a str>>, 0.., null 0.., default Some(Vec::new());
    }

    /// The settings.
    DescribeConfigsResponse<'a>: DescribeConfigs, versions 1..=4, flexible 4.. {
        throttle_time_ms: i32, 0..;
        results: Vec<DescribeConfigsResult<'a>>, 0..;
    }

    /// A resource's settings, or why they are not told.
    DescribeConfigsResult<'a> {
        error_code: i16, 0..;
        error_message: Option<&'a str>, 0.., null 0..;
        resource_type: i8, 0..;
        resource_name: &'a str, 0..;
        configs: Vec<DescribeConfigsResourceResult<'a>>, 0..;
    }

    /// A setting as it is in force.
    DescribeConfigsResourceResult<'a> {
        name: &'a str, 0..;
        /// Null for a secret, and for a setting that has no value.
        value: Option<&'a str>, 0.., null 0..;
        read_only: bool, 0..;
        /// Where the value comes from; −1 unknown.
        config_source: i8, 1.., default -1;
        is_sensitive: bool, 0..;
        synonyms: Vec<DescribeConfigsSynonym<'a>>, 1..;
        config_type: i8, 3..;
        documentation: Option<&'a str>, 3.., null 0..;
    }

    /// A place that has a value for the setting, the one in force first.
    DescribeConfigsSynonym<'a> {
        name: &'a str, 1..;
        value: Option<&'a str>, 1.., null 0..;
        source: i8, 1..;
    }
}
