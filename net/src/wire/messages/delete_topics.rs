//! DeleteTopics (key 20).

use crate::wire::schema::{Uuid, message};

message! {
    /// Topics to delete: by `topics` from version 6, by `topic_names` before.
    DeleteTopicsRequest<'a>: DeleteTopics, versions 1..=6, flexible 4.. {
        topics: Vec<DeleteTopicState<'a>>, 6..;
        topic_names: Vec<&'a str>, 0..=5;
        timeout_ms: i32, 0..;
    }

    /// A topic by its name, or by its id where the name is null.
    DeleteTopicState<'a> {
        name: Option<&'a str>, 6.., null 6..;
        topic_id: Uuid, 6..;
    }

    /// What became of each.
    DeleteTopicsResponse<'a>: DeleteTopics, versions 1..=6, flexible 4.. {
        throttle_time_ms: i32, 1..;
        responses: Vec<DeletableTopicResult<'a>>, 0..;
    }

    /// A topic that is gone, or why it is not.
    DeletableTopicResult<'a> {
        /// Null only for an unknown id.
        name: Option<&'a str>, 0.., null 6..;
        topic_id: Uuid, 6..;
        error_code: i16, 0..;
        error_message: Option<&'a str>, 5.., null 5..;
    }
}
