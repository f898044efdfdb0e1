//! DeleteGroups (key 42): groups without members go, and their offsets with them.

use crate::wire::schema::message;

message! {
    /// Which groups.
    DeleteGroupsRequest<'a>: DeleteGroups, versions 0..=3, flexible 2.. {
        groups_names: Vec<&'a str>, 0..;
    }

    /// What became of each.
    DeleteGroupsResponse<'a>: DeleteGroups, versions 0..=3, flexible 2.. {
        throttle_time_ms: i32, 0..;
        results: Vec<DeletableGroupResult<'a>>, 0..;
    }

    /// Gone, or why not.
    DeletableGroupResult<'a> {
        group_id: &'a str, 0..;
        error_code: i16, 0..;
        error_message: Option<&'a str>, 3.., null 3..;
    }
}
