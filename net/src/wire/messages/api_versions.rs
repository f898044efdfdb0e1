//! ApiVersions (key 18): what a broker speaks. The first request of most clients.
//!
//! A broker that does not know the request's version answers in version 0 with UNSUPPORTED_VERSION and the whole list; the response's
//! header is version 0 always, because the client cannot know yet what the broker understands.

use crate::wire::schema::message;

message! {
    /// Who the client is, and (from 5) which broker it believes to talk to.
    ApiVersionsRequest<'a>: ApiVersions, versions 0..=5, flexible 3.. {
        client_software_name: &'a str, 3..;
        client_software_version: &'a str, 3..;
        cluster_id: Option<&'a str>, 5.., null 5..;
        node_id: i32, 5.., default -1;
    }

    /// The APIs of this broker with their versions.
    ApiVersionsResponse<'a>: ApiVersions, versions 0..=5, flexible 3.. {
        error_code: i16, 0..;
        api_keys: Vec<ApiVersion>, 0..;
        throttle_time_ms: i32, 1..;
        supported_features: Vec<SupportedFeatureKey<'a>>, 3.., tag 0;
        /// −1: unknown.
        finalized_features_epoch: i64, 3.., default -1, tag 1;
        finalized_features: Vec<FinalizedFeatureKey<'a>>, 3.., tag 2;
        zk_migration_ready: bool, 3.., tag 3;
    }

    /// One API and its versions, both ends included.
    ApiVersion {
        api_key: i16, 0..;
        min_version: i16, 0..;
        max_version: i16, 0..;
    }

    /// A feature and the levels that the broker could run at.
    SupportedFeatureKey<'a> {
        name: &'a str, 3..;
        min_version: i16, 3..;
        max_version: i16, 3..;
    }

    /// A feature and the levels that the cluster has settled on.
    FinalizedFeatureKey<'a> {
        name: &'a str, 3..;
        max_version_level: i16, 3..;
        min_version_level: i16, 3..;
    }
}
