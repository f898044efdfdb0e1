//! SyncGroup (key 14): the leader of a generation hands in the assignment, every member gets its own part.
//!
//! Assignments are opaque to the protocol; consumers put partitions there, see `wire::embedded_protocol`.

use crate::wire::schema::message;

message! {
    /// From the leader with everybody's assignment, from all others with none.
    SyncGroupRequest<'a>: SyncGroup, versions 0..=5, flexible 4.. {
        group_id: &'a str, 0..;
        generation_id: i32, 0..;
        member_id: &'a str, 0..;
        group_instance_id: Option<&'a str>, 3.., null 3..;
        protocol_type: Option<&'a str>, 5.., null 5..;
        protocol_name: Option<&'a str>, 5.., null 5..;
        assignments: Vec<SyncGroupRequestAssignment<'a>>, 0..;
    }

    /// What a member gets.
    SyncGroupRequestAssignment<'a> {
        member_id: &'a str, 0..;
        assignment: &'a [u8], 0..;
    }

    /// The member's own part.
    SyncGroupResponse<'a>: SyncGroup, versions 0..=5, flexible 4.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, 0..;
        protocol_type: Option<&'a str>, 5.., null 5..;
        protocol_name: Option<&'a str>, 5.., null 5..;
        assignment: &'a [u8], 0..;
    }
}
