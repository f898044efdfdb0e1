//! JoinGroup (key 11): a member of the classic protocol enters a group, or enters it anew because it rebalances.
//!
//! What the members tell each other (`metadata`) is opaque to the protocol; consumers put a subscription there, see
//! `wire::embedded_protocol`.

use crate::wire::schema::message;

message! {
    /// Who comes, and which ways of sharing out it knows.
    JoinGroupRequest<'a>: JoinGroup, versions 0..=9, flexible 6.. {
        group_id: &'a str, 0..;
        session_timeout_ms: i32, 0..;
        /// −1 where the version has none: the session's timeout serves for both.
        rebalance_timeout_ms: i32, 1.., default -1;
        /// Empty for one that has no id yet.
        member_id: &'a str, 0..;
        group_instance_id: Option<&'a str>, 5.., null 5..;
        /// `consumer` for consumers.
        protocol_type: &'a str, 0..;
        /// The one liked best first.
        protocols: Vec<JoinGroupRequestProtocol<'a>>, 0..;
        reason: Option<&'a str>, 8.., null 8..;
    }

    /// A way of sharing out, and what the member says to whoever uses it.
    JoinGroupRequestProtocol<'a> {
        name: &'a str, 0..;
        metadata: &'a [u8], 0..;
    }

    /// The new generation; its leader gets the list of all members.
    JoinGroupResponse<'a>: JoinGroup, versions 0..=9, flexible 6.. {
        throttle_time_ms: i32, 2..;
        error_code: i16, 0..;
        generation_id: i32, 0.., default -1;
        protocol_type: Option<&'a str>, 7.., null 7..;
        protocol_name: Option<&'a str>, 0.., null 7..;
        leader: &'a str, 0..;
        /// The leader's former assignment stands, so that it need not share out anew.
        skip_assignment: bool, 9..;
        member_id: &'a str, 0..;
        members: Vec<JoinGroupResponseMember<'a>>, 0..;
    }

    /// A member, as the leader sees it.
    JoinGroupResponseMember<'a> {
        member_id: &'a str, 0..;
        group_instance_id: Option<&'a str>, 5.., null 5..;
        metadata: &'a [u8], 0..;
    }
}
