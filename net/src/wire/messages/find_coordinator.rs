//! FindCoordinator (key 10): which broker keeps a group or a transactional producer.

use crate::wire::schema::message;

/// The key is a group's id.
pub const GROUP_KEY_TYPE: i8 = 0;
/// The key is a transactional id.
pub const TRANSACTION_KEY_TYPE: i8 = 1;
/// The key is that of a share group's partition.
pub const SHARE_KEY_TYPE: i8 = 2;

message! {
    /// One key up to version 3, several from 4.
    FindCoordinatorRequest<'a>: FindCoordinator, versions 0..=6, flexible 3.. {
        key: &'a str, 0..=3;
        key_type: i8, 1..;
        coordinator_keys: Vec<&'a str>, 4..;
    }

    /// The answer to one key stands in the message itself, those to several in `coordinators`.
    FindCoordinatorResponse<'a>: FindCoordinator, versions 0..=6, flexible 3.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, 0..=3;
        error_message: Option<&'a str>, 1..=3, null 1..=3;
        node_id: i32, 0..=3;
        host: &'a str, 0..=3;
        port: i32, 0..=3;
        coordinators: Vec<Coordinator<'a>>, 4..;
    }

    /// The broker that keeps a key, or why there is none.
    Coordinator<'a> {
        key: &'a str, 4..;
        node_id: i32, 4..;
        host: &'a str, 4..;
        port: i32, 4..;
        error_code: i16, 4..;
        error_message: Option<&'a str>, 4.., null 4..;
    }
}
