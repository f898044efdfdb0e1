//! DescribeGroups (key 15): the state and the members of classic groups. Those of the consumer protocol answer to ConsumerGroupDescribe.

use crate::wire::schema::message;

message! {
    /// Which groups.
    DescribeGroupsRequest<'a>: DescribeGroups, versions 0..=6, flexible 5.. {
        groups: Vec<&'a str>, 0..;
        include_authorized_operations: bool, 3..;
    }

    /// What they are.
    DescribeGroupsResponse<'a>: DescribeGroups, versions 0..=6, flexible 5.. {
        throttle_time_ms: i32, 1..;
        groups: Vec<DescribedGroup<'a>>, 0..;
    }

    /// A group. One that is not there is `Dead`, and from version 6 also an error.
    DescribedGroup<'a> {
        error_code: i16, 0..;
        error_message: Option<&'a str>, 6.., null 6..;
        group_id: &'a str, 0..;
        group_state: &'a str, 0..;
        protocol_type: &'a str, 0..;
        /// The name of the chosen protocol, which for consumers is the assignor's.
        protocol_data: &'a str, 0..;
        members: Vec<DescribedGroupMember<'a>>, 0..;
        /// The lowest number for "not told".
        authorized_operations: i32, 3.., default i32::MIN;
    }

    /// A member, with what it said and what it got.
    DescribedGroupMember<'a> {
        member_id: &'a str, 0..;
        group_instance_id: Option<&'a str>, 4.., null 4..;
        client_id: &'a str, 0..;
        client_host: &'a str, 0..;
        member_metadata: &'a [u8], 0..;
        member_assignment: &'a [u8], 0..;
    }
}
