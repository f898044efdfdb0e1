//! ConsumerGroupHeartbeat finds its group, and memory for what the member tells.

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::consumer_group_heartbeat::JOIN_EPOCH;

use super::{Groups, Members};
use crate::answer::{ConsumerBeat, Refused};
use crate::consumer::check;
use crate::context::Context;
use crate::request::ConsumerHeartbeat;

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
        let may_be_new = result.is_err() || request.member_epoch == JOIN_EPOCH;
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
        let joins = request.member_epoch == JOIN_EPOCH;
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
}
