//! The record with a classic group's generation and members: kind 2.

use crate::wire::schema::message;

message! {
    /// Which group.
    GroupMetadataKey<'a>: record 2, versions 0..=0, flexible none {
        group: &'a str, 0..;
    }

    /// The generation as it stood when its assignment was known.
    GroupMetadataValue<'a>: record 2, versions 0..=4, flexible 4.. {
        protocol_type: &'a str, 0..;
        generation: i32, 0..;
        protocol: Option<&'a str>, 0.., null 0..;
        leader: Option<&'a str>, 0.., null 0..;
        /// When the group became what it is, from which offsets expire that nobody reads by.
        current_state_timestamp: i64, 2.., default -1;
        members: Vec<MemberMetadata<'a>>, 0..;
    }

    /// A member.
    MemberMetadata<'a> {
        member_id: &'a str, 0..;
        group_instance_id: Option<&'a str>, 3.., null 3..;
        client_id: &'a str, 0..;
        client_host: &'a str, 0..;
        rebalance_timeout: i32, 1.., default -1;
        session_timeout: i32, 0..;
        subscription: &'a [u8], 0..;
        assignment: &'a [u8], 0..;
    }
}
