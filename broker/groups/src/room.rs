//! A refusal for want of room: what was asked, and which limit stands against it; the broker tells of it in its log.

use std::sync::Arc;

/// A request that was refused because there is no room for what it brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Which group.
    pub group: Arc<str>,
    /// The request, by its name in the protocol.
    pub request: &'static str,
    /// Why.
    pub full: Full,
}

/// A limit that would be passed, and the setting that says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All groups of a shard together.
    #[error(
        "all groups of this partition of __consumer_offsets take {used_bytes} bytes of memory, this would be {more_bytes} more, and the \
         limit is {bytes_max}: an equal part of ringmill.groups.memory.bytes for each partition"
    )]
    Shard {
        /// What they take now.
        used_bytes: usize,
        /// What came.
        more_bytes: usize,
        /// What they may take.
        bytes_max: usize,
    },
    /// The members of one group.
    #[error(
        "the members of the group take {used_bytes} bytes, this would be {more_bytes} more, and the limit is {bytes_max}: half of the \
         segment.bytes of __consumer_offsets, which is made with offsets.topic.segment.bytes"
    )]
    Group {
        /// What they take now.
        used_bytes: usize,
        /// What came.
        more_bytes: usize,
        /// What they may take.
        bytes_max: usize,
    },
}
