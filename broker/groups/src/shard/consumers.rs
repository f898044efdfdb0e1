//! ConsumerGroupHeartbeat finds its group; a classic group is upgraded if it may.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use super::{Groups, Members};
use crate::answer::{ConsumerBeat, Refused};
use crate::consumer::ConsumerGroup;
use crate::consumer::check;
use crate::context::Context;
use crate::request::ConsumerHeartbeat;

/// The epoch of a member that joins.
const JOINS: i32 = 0;

/// Names of topics that a member may tell even when memory is full: those who are in, and say what they said before, go on.
const NAMES_BYTES_ALWAYS: usize = 4_096;

impl Groups {
    pub(super) fn consumer_heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerBeat, Refused> {
        let result = self.try_consumer_heartbeat(cx, request);
        // A group that was made for it may have to go. Mostly it changes nothing: then it leaves no records.
        let may_be_new = result.is_err() || request.member_epoch == JOINS;
        match may_be_new || !cx.effects.records.is_empty() {
            true => self.settle(&request.group, cx.now.monotonic_ms),
            false => self.settle_deadline(&request.group, cx.now.monotonic_ms),
        }
        result
    }

    fn try_consumer_heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerBeat, Refused> {
        check(request)?;
        let joins = request.member_epoch == JOINS;
        let names_bytes: usize = request.subscribed_topic_names.iter().flatten().map(|name| name.len()).sum();
        if (joins || names_bytes > NAMES_BYTES_ALWAYS)
            && let Err(full) = self.room(cx, &request.group, names_bytes)
        {
            cx.no_room(&request.group, "ConsumerGroupHeartbeat", full);
            return Err(Refused { code: ErrorCode::GroupMaxSizeReached, why: full.to_string() });
        }
        let id = &request.group;
        match self.by_id.get_mut(id).map(|group| &mut group.members) {
            Some(Members::Consumer(group)) => {
                let result = group.heartbeat(cx, request);
                self.downgrade_if_due(cx, id);
                result
            }
            _ if joins => self.upgrade(cx, request),
            Some(Members::Classic(_)) => {
                let why = format!("the group {id} speaks the classic protocol");
                Err(Refused { code: ErrorCode::GroupIdNotFound, why })
            }
            None => {
                // As a member that was put out: its client joins again.
                Err(Refused { code: ErrorCode::UnknownMemberId, why: format!("there is no group {id}") })
            }
        }
    }

    /// The first consumer member comes: its group is upgraded. If it is refused, nothing has changed.
    fn upgrade(&mut self, cx: &mut Context<'_>, request: &ConsumerHeartbeat) -> Result<ConsumerBeat, Refused> {
        let id = &request.group;
        let written = cx.effects.records.len();
        let group = self.group(cx, id);
        if group.was_stored() {
            // Before the records of the consumer protocol: behind them it would stand for their end.
            cx.effects.records.extend(group.members.tombstones(id));
        }
        let converted = match &group.members {
            Members::Classic(classic) => ConsumerGroup::upgraded_from(cx, classic),
            Members::Consumer(_) => unreachable!("it is asked for other groups only"),
        };
        let result = converted.and_then(|mut group| group.heartbeat(cx, request).map(|beat| (group, beat)));
        let (converted, beat) = result.inspect_err(|_| cx.effects.records.truncate(written))?;
        let group = self.group(cx, id);
        if let Members::Classic(classic) = &group.members {
            classic.refuse_parked(cx);
        }
        group.members = Members::Consumer(converted);
        Ok(beat)
    }

    /// A group of the consumer protocol is downgraded once only classic members are left.
    pub(super) fn downgrade_if_due(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        let Some(group) = self.by_id.get_mut(id) else { return };
        if let Members::Consumer(consumer) = &group.members
            && consumer.is_due_for_downgrade(cx)
        {
            group.members = Members::Classic(consumer.downgraded(cx));
        }
    }

    /// A group of the consumer protocol that has no members is downgraded for a classic member that comes.
    pub(super) fn downgrade_if_empty(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        let Some(group) = self.by_id.get_mut(id) else { return };
        if let Members::Consumer(consumer) = &group.members
            && consumer.is_empty()
        {
            group.members = Members::Classic(consumer.downgraded_empty(cx));
        }
    }
}
