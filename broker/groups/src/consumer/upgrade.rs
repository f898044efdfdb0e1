//! Upgrade: a classic group becomes one of the consumer protocol, while its members go on (KIP-848, "Upgrade").
//!
//! They are taken over with the generation as their epoch, what they told as their subscriptions, and what they have as theirs. Their
//! next heartbeat tells them to join again, for the member that caused all this has raised the epoch.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::PROTOCOL_TYPE;

use super::assignment::{Assignment, filtered, pairs};
use super::embedded::{self, Subscription};
use super::{ConsumerGroup, reconcile};
use crate::TopicId;
use crate::answer::Refused;
use crate::classic::{ClassicGroup, Member};
use crate::context::Context;
use crate::record::{ClassicMemberPart, ConsumerEpoch, ConsumerMember, ConsumerPart, CurrentAssignment};

impl ConsumerGroup {
    /// The group that a classic one becomes; its records are left. Who has never been in a generation is not in it.
    pub(crate) fn upgraded_from(cx: &mut Context<'_>, classic: &ClassicGroup) -> Result<ConsumerGroup, Refused> {
        let mut group = ConsumerGroup::new(Arc::clone(&classic.id));
        if classic.members.is_empty() {
            return Ok(group);
        }
        check_may_change(cx, classic)?;
        let settled = classic.members.iter().filter(|(_, member)| !member.is_new);
        let mut taken = BTreeSet::new();
        let mut members = Vec::new();
        for (member_id, member) in settled {
            let (told, assigned) = read(cx, classic, member_id, member)?;
            let assigned = take(&mut taken, &assigned);
            members.push(Converted {
                id: Arc::clone(member_id),
                assigned,
                owned: told.owned.clone(),
                described: described(member, told),
            });
        }
        for member in &mut members {
            // What it had when it joined and was not given again: it may not have given it up yet, for it would join once more to say so.
            member.owned = take(&mut taken, &member.owned);
        }
        group.take_over(cx, classic.generation, members);
        Ok(group)
    }

    fn take_over(&mut self, cx: &mut Context<'_>, epoch: i32, members: Vec<Converted>) {
        let copy = Arc::clone;
        for member in &members {
            let value = Some(member.described.clone());
            self.write(cx, ConsumerPart::Member { member_id: copy(&member.id), value });
        }
        let metadata_hash = self.metadata_hash(cx.topics);
        self.write(cx, ConsumerPart::Epoch(Some(ConsumerEpoch { epoch, metadata_hash })));
        for member in &members {
            let value = Some(member.assigned.clone());
            self.write(cx, ConsumerPart::Target { member_id: copy(&member.id), value });
        }
        self.write(cx, ConsumerPart::TargetEpoch(Some(epoch)));
        for Converted { id, assigned, owned, .. } in members {
            let value = Some(CurrentAssignment {
                member_epoch: epoch,
                previous_member_epoch: epoch,
                state: if owned.is_empty() { reconcile::STABLE } else { reconcile::UNREVOKED },
                assigned,
                revoking: owned,
            });
            self.write(cx, ConsumerPart::Current { member_id: copy(&id), value });
            self.start_session(cx, &id);
        }
    }
}

/// A member that is taken over.
struct Converted {
    id: Arc<str>,
    described: ConsumerMember,
    assigned: Assignment,
    /// What else it may own still.
    owned: Assignment,
}

/// Those partitions that nobody has taken before: an assignor of a client's may have given one away twice.
fn take(taken: &mut BTreeSet<(TopicId, i32)>, wanted: &Assignment) -> Assignment {
    let free = filtered(wanted, |topic, partition| !taken.contains(&(*topic, partition)));
    taken.extend(pairs(&free).map(|(topic, partition)| (*topic, partition)));
    free
}

fn check_may_change(cx: &Context<'_>, classic: &ClassicGroup) -> Result<(), Refused> {
    let members = classic.members.len();
    if !cx.settings.migration.allows_upgrade() {
        return Err(cannot(classic, "group.consumer.migration.policy does not allow it"));
    }
    if classic.protocol_type.as_deref() != Some(PROTOCOL_TYPE) {
        return Err(cannot(classic, "its members are no consumers"));
    }
    if members >= cx.settings.consumer_members_max {
        let why = format!("The group has {members} members already, which is as many as it may or more.");
        return Err(Refused { code: ErrorCode::GroupMaxSizeReached, why });
    }
    Ok(())
}

fn read(
    cx: &Context<'_>,
    classic: &ClassicGroup,
    member_id: &str,
    member: &Member,
) -> Result<(Subscription, Assignment), Refused> {
    let told = embedded::subscription(&metadata(classic, member), cx.topics);
    let told =
        told.ok_or_else(|| cannot(classic, &format!("the subscription of member {member_id} cannot be read")))?;
    let assigned = embedded::assignment(&member.assignment, cx.topics);
    let assigned = assigned.ok_or_else(|| {
        cannot(
            classic,
            &format!("the assignment of member {member_id} cannot be read or has data of an assignor's own"),
        )
    })?;
    Ok((told, assigned))
}

/// What a member told for the protocol that was chosen.
fn metadata(classic: &ClassicGroup, member: &Member) -> Bytes {
    let chosen = classic.protocol.as_deref().and_then(|chosen| member.offered(chosen));
    chosen.or(member.protocols.first()).map(|protocol| protocol.metadata.clone()).unwrap_or_default()
}

fn described(member: &Member, told: Subscription) -> ConsumerMember {
    ConsumerMember {
        instance_id: member.instance_id.clone(),
        rack_id: told.rack_id,
        client_id: Arc::clone(&member.client.id),
        client_host: Arc::clone(&member.client.host),
        subscribed_topic_names: told.names,
        subscribed_topic_regex: None,
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: None,
        classic: Some(ClassicMemberPart {
            session_timeout_ms: member.session_timeout_ms,
            protocols: member.protocols.clone(),
        }),
    }
}

fn cannot(classic: &ClassicGroup, why: &str) -> Refused {
    let why = format!("Group {:.249} is a classic one with members and stays so: {why}.", &*classic.id);
    Refused { code: ErrorCode::GroupIdNotFound, why }
}
