//! The settings that groups go by; the broker's configuration fills them in.

/// Times in milliseconds, sizes in bytes. The defaults are Kafka's, where Kafka has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `group.min.session.timeout.ms`: less is refused.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`: more is refused.
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members before its first generation.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members in one classic group.
    pub classic_members_max: usize,
    /// `group.consumer.max.size`: members in one group of the consumer protocol.
    pub consumer_members_max: usize,
    /// `group.consumer.session.timeout.ms`: how long a consumer member may be silent.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: how often consumer members are told to come.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`: the least time between two assignments of a group of the consumer protocol (KIP-1263). Kafka
    /// has 1,000; here it is 0, for large groups pause by themselves.
    pub consumer_assignment_interval_ms: u64,
    /// `group.consumer.migration.policy`.
    pub migration: Migration,
    /// `offsets.retention.minutes`, in milliseconds: how long offsets outlive the last use of a group.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`: how often to look for expired offsets.
    pub expiry_interval_ms: u64,
    /// What all groups and offsets of one shard may take in memory; more members and offsets are refused then.
    pub shard_bytes_max: usize,
    /// What the members of one group may take. A classic group is one record, which must fit into a segment of the log.
    pub group_bytes_max: usize,
    /// `offset.metadata.max.bytes`: of the words that may stand beside a committed offset.
    pub offset_metadata_bytes_max: usize,
}

/// Whether groups may change between the two protocols while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Both ways.
    Bidirectional,
    /// From classic only.
    Upgrade,
    /// To classic only.
    Downgrade,
    /// Not at all, and members of both are never in one group.
    Disabled,
}

impl Migration {
    /// Whether a consumer member may upgrade a classic group.
    #[must_use]
    pub fn allows_upgrade(self) -> bool {
        matches!(self, Migration::Bidirectional | Migration::Upgrade)
    }

    /// Whether a group is downgraded when its last consumer member leaves.
    #[must_use]
    pub fn allows_downgrade(self) -> bool {
        matches!(self, Migration::Bidirectional | Migration::Downgrade)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            classic_members_max: 10_000,
            consumer_members_max: 10_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_assignment_interval_ms: 0,
            migration: Migration::Bidirectional,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            expiry_interval_ms: 600_000,
            shard_bytes_max: 64 << 20,
            group_bytes_max: 50 << 20,
            offset_metadata_bytes_max: 4_096,
        }
    }
}
