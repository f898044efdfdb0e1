//! ConsumerGroupHeartbeat (key 68): all of the consumer protocol (KIP-848). A member says what it wants and what it has, the broker says
//! what it shall have.
//!
//! Both say only what has changed since the last time; everything else is null.

use crate::wire::schema::{Uuid, message};

/// The epoch of a member that joins.
pub const JOIN_EPOCH: i32 = 0;
/// The epoch of a member that leaves.
pub const LEAVE_EPOCH: i32 = -1;
/// The epoch of a static member that leaves for a moment.
pub const LEAVE_STATIC_EPOCH: i32 = -2;

message! {
    /// A member lives, and wants and has these.
    ConsumerGroupHeartbeatRequest<'a>: ConsumerGroupHeartbeat, versions 0..=1, flexible 0.. {
        group_id: &'a str, 0..;
        /// Made by the member from version 1 on; in version 0 it may be empty at first, and the broker makes it.
        member_id: &'a str, 0..;
        /// The one last heard, or one of [`JOIN_EPOCH`], [`LEAVE_EPOCH`] and [`LEAVE_STATIC_EPOCH`].
        member_epoch: i32, 0..;
        instance_id: Option<&'a str>, 0.., null 0..;
        rack_id: Option<&'a str>, 0.., null 0..;
        /// How long it may take to give up partitions; −1 for as before.
        rebalance_timeout_ms: i32, 0.., default -1;
        subscribed_topic_names: Option<Vec<&'a str>>, 0.., null 0..;
        subscribed_topic_regex: Option<&'a str>, 1.., null 1..;
        server_assignor: Option<&'a str>, 0.., null 0..;
        /// What the member has.
        topic_partitions: Option<Vec<TopicPartitions>>, 0.., null 0..;
    }

    /// A topic's partitions, in both directions.
    TopicPartitions {
        topic_id: Uuid, 0..;
        partitions: Vec<i32>, 0..;
    }

    /// What the member shall have from now on.
    ConsumerGroupHeartbeatResponse<'a>: ConsumerGroupHeartbeat, versions 0..=1, flexible 0.. {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<&'a str>, 0.., null 0..;
        member_id: Option<&'a str>, 0.., null 0..;
        member_epoch: i32, 0..;
        heartbeat_interval_ms: i32, 0..;
        assignment: Option<Assignment>, 0.., null 0..;
    }

    /// All partitions that the member may use; what it has and does not find here it gives up.
    Assignment {
        topic_partitions: Vec<TopicPartitions>, 0..;
    }
}
