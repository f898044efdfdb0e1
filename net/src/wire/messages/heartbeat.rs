//! Heartbeat (key 12): a member of the classic protocol is alive, and learns whether its group rebalances.

use crate::wire::schema::message;

message! {
    /// Who lives.
    HeartbeatRequest<'a>: Heartbeat, versions 0..=4, flexible 4.. {
        group_id: &'a str, 0..;
        generation_id: i32, 0..;
        member_id: &'a str, 0..;
        group_instance_id: Option<&'a str>, 3.., null 3..;
    }

    /// REBALANCE_IN_PROGRESS asks it to join anew.
    HeartbeatResponse: Heartbeat, versions 0..=4, flexible 4.. {
        throttle_time_ms: i32, 1..;
        error_code: i16, 0..;
    }
}
