//! ConsumerGroupHeartbeat finds its group; where the group speaks the other protocol, it changes if it may.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use super::{Groups, Members};
use crate::answer::{ConsumerBeat, Refused};
use crate::classic::ClassicGroup;
use crate::consumer::ConsumerGroup;
use crate::consumer::check;
use crate::context::Context;
use crate::request::ConsumerHeartbeat;

/// The epoch of a member that joins.
const JOINS: i32 = 0;

impl Groups {
    pub(super) fn consumer_heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerBeat, Refused> {
        check(request)?;
        let joins = request.member_epoch == JOINS;
        if joins && self.is_full(cx, 0) {
            let why = "the groups of this coordinator take all the memory that they may".to_owned();
            return Err(Refused { code: ErrorCode::GroupMaxSizeReached, why });
        }
        if !joins && !self.by_id.contains_key(&request.group) {
            // As a member that was put out: its client joins again.
            let why = format!("there is no group {}", request.group);
            return Err(Refused { code: ErrorCode::UnknownMemberId, why });
        }
        let group = self.group(cx, &request.group);
        if let Members::Classic(classic) = &group.members {
            if !joins || !classic.is_empty() {
                let why = format!("the group {} speaks the classic protocol", request.group);
                return Err(Refused { code: ErrorCode::GroupIdNotFound, why });
            }
            let tombstones = group.members.tombstones(&request.group);
            if group.was_stored() {
                cx.effects.records.extend(tombstones);
            }
            group.members = Members::Consumer(ConsumerGroup::new(Arc::clone(&request.group)));
        }
        match &mut group.members {
            Members::Consumer(consumer) => consumer.heartbeat(cx, request),
            Members::Classic(_) => unreachable!("it was made one of the new protocol"),
        }
    }

    /// Makes a group of the new protocol that has no members a classic one again, for one that comes with that protocol.
    pub(super) fn make_classic_if_empty(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        let Some(group) = self.by_id.get_mut(id) else { return };
        if let Members::Consumer(consumer) = &group.members
            && consumer.is_empty()
        {
            cx.effects.records.extend(consumer.tombstones());
            group.members = Members::Classic(ClassicGroup::new(Arc::clone(id), cx.now.wall_ms));
        }
    }
}
