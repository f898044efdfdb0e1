//! ConsumerGroupHeartbeat: members join, tell what changed, learn what changed, and leave.
//!
//! All that can be refused is looked at before anything is written.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::consumer_group_heartbeat::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH};

use super::ConsumerGroup;
use super::assignment::{Assignment, is_within, normal};
use super::check::{UNCHANGED_MS, check, invalid};
use super::members::Entry;
use super::reconcile;
use crate::answer::{ConsumerBeat, Refused};
use crate::context::Context;
use crate::record::{ConsumerMember, ConsumerPart, CurrentAssignment};
use crate::request::ConsumerHeartbeat;

impl ConsumerGroup {
    /// One heartbeat of a member.
    pub(crate) fn heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<ConsumerBeat, Refused> {
        check(request)?;
        match request.member_epoch {
            LEAVE_EPOCH | LEAVE_STATIC_EPOCH => self.leave(cx, request),
            _ => self.beat(cx, request),
        }
    }

    fn beat(&mut self, cx: &mut Context<'_>, request: &ConsumerHeartbeat) -> Result<ConsumerBeat, Refused> {
        let owned = request.topic_partitions.as_ref().map(normal);
        let member_id =
            if request.member_id.is_empty() { Arc::from(cx.random.uuid()) } else { Arc::clone(&request.member_id) };
        let entry = self.admit(cx, request, &member_id, owned.as_ref())?;
        let before = self.before(&entry, &member_id);
        let described = described(before, request);
        if let Some(described) = &described {
            self.check_subscription(before, described)?;
        }
        // Nothing is refused from here on.
        let changed = self.carry_out(cx, &entry, &member_id, described, owned.as_ref());
        self.start_session(cx, &member_id);
        Ok(self.answer(cx, request, &member_id, changed))
    }

    /// Whether the member may do what it does.
    fn admit(
        &self,
        cx: &Context<'_>,
        request: &ConsumerHeartbeat,
        member_id: &Arc<str>,
        owned: Option<&Assignment>,
    ) -> Result<Entry, Refused> {
        let joins = request.member_epoch == JOIN_EPOCH;
        let member = self.tables.members.get(member_id);
        if let Some(instance_id) = &request.instance_id {
            match self.tables.static_members.get(instance_id) {
                Some(holder) if holder == member_id => {}
                Some(holder) if joins => {
                    self.check_released(instance_id, holder)?;
                    if member.is_some() {
                        return Err(invalid(format!("Member {member_id} is in the group under another InstanceId.")));
                    }
                    return Ok(Entry::Replaces(Arc::clone(holder)));
                }
                Some(_) => return Err(fenced_instance(instance_id)),
                None if joins => {}
                None => return Err(unknown_instance(instance_id)),
            }
        }
        match member {
            None if !joins => Err(unknown_member(member_id)),
            None if self.tables.members.len() >= cx.settings.consumer_members_max => Err(Refused {
                code: ErrorCode::GroupMaxSizeReached,
                why: format!("The group has {} members, which is its limit.", self.tables.members.len()),
            }),
            None => Ok(Entry::Joins),
            Some(_) if joins => Ok(Entry::Returns),
            Some(_) => self.check_epoch(member_id, request.member_epoch, owned).map(|()| Entry::Stays),
        }
    }

    /// A static member's place is free once it left, and to be taken over from one of the classic protocol, which cannot say so.
    fn check_released(&self, instance_id: &str, holder: &Arc<str>) -> Result<(), Refused> {
        let paused = self.tables.current_of(holder).member_epoch == LEAVE_STATIC_EPOCH;
        let is_classic = self.tables.members.get(holder).is_some_and(|member| member.classic.is_some());
        if paused || is_classic {
            return Ok(());
        }
        let why =
            format!("InstanceId {instance_id} is in use by member {holder}: wait until that one left or timed out.");
        Err(Refused { code: ErrorCode::UnreleasedInstanceId, why })
    }

    /// A member has the epoch that it was told last, or the one before if that answer was lost. In that case it must not own what it was
    /// not given, or may belong to others by now.
    fn check_epoch(&self, member_id: &str, epoch: i32, owned: Option<&Assignment>) -> Result<(), Refused> {
        let current = self.tables.current_of(member_id);
        let known = current.member_epoch;
        let missed_the_last = epoch < known
            && epoch == current.previous_member_epoch
            && owned.is_some_and(|owned| is_within(owned, [&current.assigned, &current.revoking]));
        if epoch == known || missed_the_last {
            return Ok(());
        }
        let than = if epoch > known { "larger" } else { "smaller" };
        let why = format!(
            "The member's epoch {epoch} is {than} than {known}, the one known here: it must give up all partitions and join again."
        );
        Err(Refused { code: ErrorCode::FencedMemberEpoch, why })
    }

    fn answer(
        &self,
        cx: &Context<'_>,
        request: &ConsumerHeartbeat,
        member_id: &Arc<str>,
        changed: bool,
    ) -> ConsumerBeat {
        let current = self
            .tables
            .current
            .get(member_id)
            .expect("each heartbeat leaves the member at the target's epoch or before it");
        // Who tells all about itself begins anew, or has missed an answer.
        let tells_all = request.rebalance_timeout_ms != UNCHANGED_MS
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let tell_all = request.member_epoch == JOIN_EPOCH || tells_all || changed;
        ConsumerBeat {
            member_id: Arc::clone(member_id),
            member_epoch: current.member_epoch,
            heartbeat_interval_ms: cx.settings.consumer_heartbeat_interval_ms,
            assignment: tell_all.then(|| current.assigned.clone()),
        }
    }

    fn leave(&mut self, cx: &mut Context<'_>, request: &ConsumerHeartbeat) -> Result<ConsumerBeat, Refused> {
        let member_id = &request.member_id;
        if let Some(instance_id) = &request.instance_id {
            match self.tables.static_members.get(instance_id) {
                Some(holder) if holder == member_id => {}
                Some(_) => return Err(fenced_instance(instance_id)),
                None => return Err(unknown_instance(instance_id)),
            }
        }
        if !self.tables.members.contains_key(member_id) {
            return Err(unknown_member(member_id));
        }
        if request.member_epoch == LEAVE_STATIC_EPOCH {
            self.pause(cx, member_id);
        } else {
            self.remove(cx, member_id);
            self.raise_epoch(cx);
        }
        Ok(ConsumerBeat {
            member_id: Arc::clone(member_id),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        })
    }

    /// A static member's share waits for it, until its session ends. What it was giving up it has given up.
    fn pause(&mut self, cx: &mut Context<'_>, member_id: &Arc<str>) {
        let old = self.tables.current_of(member_id).clone();
        let value = Some(CurrentAssignment {
            member_epoch: LEAVE_STATIC_EPOCH,
            previous_member_epoch: old.member_epoch,
            state: reconcile::STABLE,
            assigned: old.assigned,
            revoking: Assignment::new(),
        });
        self.write(cx, ConsumerPart::Current { member_id: Arc::clone(member_id), value });
        self.time_revocation(cx, member_id);
    }
}

/// A member's description after a heartbeat; nothing if it is as before.
fn described(before: Option<&ConsumerMember>, request: &ConsumerHeartbeat) -> Option<ConsumerMember> {
    let names = request.subscribed_topic_names.as_ref().map(|names| {
        let mut names = names.clone();
        names.sort_unstable();
        names.dedup();
        names
    });
    let regex =
        request.subscribed_topic_regex.as_ref().map(|regex| Some(Arc::clone(regex)).filter(|regex| !regex.is_empty()));
    let told = |new: &Option<Arc<str>>, old: &Option<Arc<str>>| new.is_none() || new == old;
    let timeout_ms = Some(request.rebalance_timeout_ms).filter(|timeout_ms| *timeout_ms != UNCHANGED_MS);
    let same = before.is_some_and(|before| {
        told(&request.instance_id, &before.instance_id)
            && told(&request.rack_id, &before.rack_id)
            && told(&request.server_assignor, &before.server_assignor)
            && request.client.id == before.client_id
            && request.client.host == before.client_host
            && timeout_ms.is_none_or(|timeout_ms| timeout_ms == before.rebalance_timeout_ms)
            && names.as_ref().is_none_or(|names| *names == before.subscribed_topic_names)
            && regex.as_ref().is_none_or(|regex| *regex == before.subscribed_topic_regex)
            && before.classic.is_none()
    });
    if same {
        return None;
    }
    let old = before.cloned().unwrap_or_default();
    Some(ConsumerMember {
        instance_id: request.instance_id.clone().or(old.instance_id),
        rack_id: request.rack_id.clone().or(old.rack_id),
        client_id: Arc::clone(&request.client.id),
        client_host: Arc::clone(&request.client.host),
        subscribed_topic_names: names.unwrap_or(old.subscribed_topic_names),
        subscribed_topic_regex: regex.unwrap_or(old.subscribed_topic_regex),
        rebalance_timeout_ms: timeout_ms.unwrap_or(old.rebalance_timeout_ms),
        server_assignor: request.server_assignor.clone().or(old.server_assignor),
        classic: None,
    })
}

fn unknown_member(member_id: &str) -> Refused {
    Refused { code: ErrorCode::UnknownMemberId, why: format!("Member {member_id:.64} is not in the group.") }
}

fn unknown_instance(instance_id: &str) -> Refused {
    let why = format!("No member of the group has InstanceId {instance_id}.");
    Refused { code: ErrorCode::UnknownMemberId, why }
}

fn fenced_instance(instance_id: &str) -> Refused {
    let why = format!("Another member has taken over InstanceId {instance_id}.");
    Refused { code: ErrorCode::FencedInstanceId, why }
}
