//! JoinGroup of a classic member in a group of the consumer protocol: it is answered at once, and tells the member's own epoch.
//!
//! Such a member learns by its heartbeats that it must join again (`classic_requests.rs`), gives up what it must, and joins: what it
//! owns then stands in its subscription. From there on it is led like any other.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::embedded_protocol::PROTOCOL_TYPE;

use super::ConsumerGroup;
use super::embedded::{self, Subscription};
use super::members::Entry;
use crate::answer::{Answer, JoinRefused, Joined};
use crate::context::{Context, Ticket};
use crate::record::{ClassicMemberPart, ConsumerMember};
use crate::request::{JoinGroup, PROTOCOLS_MAX};
use crate::settings::Migration;

impl ConsumerGroup {
    /// JoinGroup.
    pub(crate) fn join(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinGroup) {
        let joined = self.try_join(cx, request);
        cx.answer(ticket, Answer::Join(joined));
    }

    fn try_join(&mut self, cx: &mut Context<'_>, request: &JoinGroup) -> Result<Joined, JoinRefused> {
        let refused = |code| JoinRefused { code, member_id: Arc::clone(&request.member_id) };
        let told = self.check_join(cx, request).map_err(refused)?;
        let is_unnamed = request.member_id.is_empty();
        let member_id = match &request.instance_id {
            _ if !is_unnamed => Arc::clone(&request.member_id),
            Some(instance_id) => Arc::from(format!("{instance_id}-{}", cx.random.uuid())),
            None => Arc::from(format!("{}-{}", request.client.id, cx.random.uuid())),
        };
        if is_unnamed && request.instance_id.is_none() && request.knows_member_id_required {
            // KIP-394: it comes back with an id, so that it is known should the answer be lost.
            return Err(JoinRefused { code: ErrorCode::MemberIdRequired, member_id });
        }
        let entry = self.admit_classic(cx, request, &member_id).map_err(refused)?;
        let described = described(request, &told);
        let before = self.before(&entry, &member_id);
        self.check_subscription(before, &described).map_err(|_| refused(ErrorCode::GroupMaxSizeReached))?;
        let described = Some(described).filter(|described| before != Some(described));
        self.carry_out(cx, &entry, &member_id, described, Some(&told.owned));
        self.start_session(cx, &member_id);
        // It asks for its assignment next.
        self.timers.set_rebalance(&member_id, Some(cx.after_ms(request.rebalance_timeout_ms)));
        Ok(Joined {
            generation: self.tables.current_of(&member_id).member_epoch,
            protocol_type: Some(Arc::from(PROTOCOL_TYPE)),
            protocol_name: request.protocols.first().map(|protocol| Arc::clone(&protocol.name)),
            // Nobody makes the assignment.
            leader: Arc::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        })
    }

    fn check_join(&self, cx: &Context<'_>, request: &JoinGroup) -> Result<Subscription, ErrorCode> {
        let timeouts = cx.settings.session_timeout_min_ms..=cx.settings.session_timeout_max_ms;
        if !timeouts.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        if cx.settings.migration == Migration::Disabled {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let offered = &request.protocols;
        let own = self.tables.members.get(&request.member_id).and_then(|member| member.classic.as_ref());
        let others = self.tables.classic_members - usize::from(own.is_some());
        let others_know = |name: &Arc<str>| {
            let knows = own.is_some_and(|own| own.protocols.iter().any(|known| known.name == *name));
            self.tables.supporters.count(name) - usize::from(knows) == others
        };
        // They must be able to go on among themselves, should the group become classic again.
        let agrees = *request.protocol_type == *PROTOCOL_TYPE
            && (1..=PROTOCOLS_MAX).contains(&offered.len())
            && offered.iter().any(|protocol| others_know(&protocol.name));
        let told = offered.first().filter(|_| agrees);
        told.and_then(|protocol| embedded::subscription(&protocol.metadata, cx.topics))
            .ok_or(ErrorCode::InconsistentGroupProtocol)
    }

    /// How a member that joins stands to the group.
    fn admit_classic(&self, cx: &Context<'_>, request: &JoinGroup, member_id: &Arc<str>) -> Result<Entry, ErrorCode> {
        if let Some(instance_id) = &request.instance_id {
            match self.tables.static_members.get(instance_id) {
                // A static process of the classic protocol does not say that it goes.
                Some(holder) if request.member_id.is_empty() => return Ok(Entry::Replaces(Arc::clone(holder))),
                Some(holder) if holder == member_id => {}
                Some(_) => return Err(ErrorCode::FencedInstanceId),
                None if request.member_id.is_empty() => {}
                None => return Err(ErrorCode::UnknownMemberId),
            }
        }
        if self.tables.members.contains_key(member_id) {
            Ok(Entry::Stays)
        } else if self.tables.members.len() >= cx.settings.consumer_members_max {
            Err(ErrorCode::GroupMaxSizeReached)
        } else {
            // Ids that were given out are not remembered: who has one may join with it.
            Ok(Entry::Joins)
        }
    }
}

fn described(request: &JoinGroup, told: &Subscription) -> ConsumerMember {
    ConsumerMember {
        instance_id: request.instance_id.clone(),
        rack_id: told.rack_id.clone(),
        client_id: Arc::clone(&request.client.id),
        client_host: Arc::clone(&request.client.host),
        subscribed_topic_names: told.names.clone(),
        subscribed_topic_regex: None,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        server_assignor: None,
        classic: Some(ClassicMemberPart {
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
        }),
    }
}
