//! A group changes from one protocol to the other: upgraded by the first consumer member, downgraded when the last has gone.

use std::sync::Arc;

use super::{Groups, Members};
use crate::answer::{ConsumerBeat, Refused};
use crate::consumer::ConsumerGroup;
use crate::context::Context;
use crate::request::ConsumerHeartbeat;

impl Groups {
    /// The first consumer member comes: its group is upgraded. If it is refused, nothing has changed.
    pub(super) fn upgrade(
        &mut self,
        cx: &mut Context<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerBeat, Refused> {
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
