//! ListGroups (key 16): the groups that a broker keeps.

use crate::wire::schema::message;

message! {
    /// Which states and types are wanted; empty for all.
    ListGroupsRequest<'a>: ListGroups, versions 0..=5, flexible 3.. {
        states_filter: Vec<&'a str>, 4..;
        types_filter: Vec<&'a str>, 5..;
    }

    /// The groups.
    ListGroupsResponse<'a>: ListGroups, versions 0..=5, flexible 3.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, 0..;
        groups: Vec<ListedGroup<'a>>, 0..;
    }

    /// A group.
    ListedGroup<'a> {
        group_id: &'a str, 0..;
        /// `consumer` for consumers; empty for a group that only has offsets.
        protocol_type: &'a str, 0..;
        group_state: &'a str, 4..;
        /// `classic` or `consumer`.
        group_type: &'a str, 5..;
    }
}
