//! Who is in a group, whichever protocol they speak.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use crate::answer::Listed;
use crate::classic::ClassicGroup;
use crate::consumer::ConsumerGroup;
use crate::context::Context;
use crate::record::Record;
use crate::request::{OffsetCommit, OffsetFetch};

/// By the protocol that they speak. A group that only keeps offsets is a classic one without members.
pub(super) enum Members {
    /// The classic protocol.
    Classic(ClassicGroup),
    /// The consumer protocol (KIP-848).
    Consumer(ConsumerGroup),
}

impl Members {
    pub(super) fn on_time(&mut self, cx: &mut Context<'_>) {
        match self {
            Members::Classic(group) => group.on_time(cx),
            Members::Consumer(group) => group.on_time(cx),
        }
    }

    /// The group was loaded: sessions begin.
    pub(super) fn start(&mut self, cx: &mut Context<'_>) {
        match self {
            Members::Classic(group) => group.start(cx),
            Members::Consumer(group) => group.start(cx),
        }
    }

    pub(super) fn on_topics_changed(&mut self, cx: &mut Context<'_>) {
        match self {
            // Its members find out by themselves.
            Members::Classic(_) => {}
            Members::Consumer(group) => group.on_topics_changed(cx),
        }
    }

    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        match self {
            Members::Classic(group) => group.next_deadline_ms(),
            Members::Consumer(group) => group.next_deadline_ms(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Members::Classic(group) => group.is_empty(),
            Members::Consumer(group) => group.is_empty(),
        }
    }

    /// About what they take in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Members::Classic(group) => group.bytes(),
            Members::Consumer(group) => group.bytes(),
        }
    }

    /// How much a member has told in its JoinGroup; nothing if it is not in, or is a consumer member.
    pub(super) fn told_bytes(&self, member_id: &str) -> Option<usize> {
        match self {
            Members::Classic(group) => group.told_bytes(member_id),
            Members::Consumer(group) => group.told_bytes(member_id),
        }
    }

    /// How much a leader has given to all members; nothing where the coordinator makes the assignment.
    pub(super) fn assigned_bytes(&self) -> usize {
        match self {
            Members::Classic(group) => group.assigned_bytes(),
            Members::Consumer(_) => 0,
        }
    }

    /// Which of these topics members may read.
    pub(super) fn read_of(&self, topics: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        match self {
            Members::Classic(group) => group.read_of(topics),
            Members::Consumer(group) => group.read_of(&topics),
        }
    }

    /// Since when there have been none; nothing while there are, and for a group that never had any.
    pub(super) fn idle_since_ms(&self) -> Option<i64> {
        match self {
            Members::Classic(group) => group.idle_since_ms(),
            Members::Consumer(group) => group.idle_since_ms(),
        }
    }

    /// Whether this sender may commit offsets now. A classic member's session begins anew by it; consumer members have heartbeats for that
    /// alone.
    pub(super) fn check_commit(&mut self, cx: &Context<'_>, commit: &OffsetCommit) -> Result<(), ErrorCode> {
        let (member_id, instance_id) = (&commit.member_id, commit.instance_id.as_deref());
        match self {
            Members::Classic(group) => {
                group.check_commit(member_id, instance_id, commit.generation)?;
                group.committed(cx, member_id);
                Ok(())
            }
            Members::Consumer(group) => {
                group.check_commit(member_id, instance_id, commit.generation, commit.knows_epochs)
            }
        }
    }

    /// Whether this sender may be told offsets.
    pub(super) fn check_fetch(&self, fetch: &OffsetFetch) -> Result<(), ErrorCode> {
        match self {
            // Only consumer members say who they are.
            Members::Classic(_) => Ok(()),
            Members::Consumer(group) => group.check_fetch(fetch.member_id.as_deref(), fetch.member_epoch),
        }
    }

    /// Its entry in the list of all.
    pub(super) fn listed(&self, id: &Arc<str>) -> Listed {
        let group = Arc::clone(id);
        match self {
            Members::Classic(classic) => Listed {
                group,
                protocol_type: classic.protocol_type.clone().unwrap_or_default(),
                state: classic.state_name(),
                group_type: "classic",
            },
            Members::Consumer(consumer) => {
                Listed { group, protocol_type: "consumer".into(), state: consumer.state(), group_type: "consumer" }
            }
        }
    }

    /// The records that remove all of it but its offsets.
    pub(super) fn tombstones(&self, id: &Arc<str>) -> Vec<Record> {
        match self {
            Members::Classic(_) => vec![Record::Classic { group: Arc::clone(id), value: None }],
            Members::Consumer(group) => group.tombstones(),
        }
    }
}
