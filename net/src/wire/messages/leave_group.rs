//! LeaveGroup (key 13): members of the classic protocol go, or are removed by an administrator who names their instance ids.

use crate::wire::schema::message;

message! {
    /// One member up to version 2, several from 3.
    LeaveGroupRequest<'a>: LeaveGroup, versions 0..=5, flexible 4.. {
        group_id: &'a str, 0..;
        member_id: &'a str, 0..=2;
        members: Vec<MemberIdentity<'a>>, 3..;
    }

    /// A member by its id, or by its instance id with an empty member id.
    MemberIdentity<'a> {
        member_id: &'a str, 3..;
        group_instance_id: Option<&'a str>, 3.., null 3..;
        reason: Option<&'a str>, 5.., null 5..;
    }

    /// Whether they have gone.
    LeaveGroupResponse<'a>: LeaveGroup, versions 0..=5, flexible 4.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, 0..;
        members: Vec<MemberResponse<'a>>, 3..;
    }

    /// Gone, or why not.
    MemberResponse<'a> {
        member_id: &'a str, 3..;
        group_instance_id: Option<&'a str>, 3.., null 3..;
        error_code: i16, 3..;
    }
}
