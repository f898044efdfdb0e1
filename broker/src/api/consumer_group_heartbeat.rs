//! ConsumerGroupHeartbeat (key 68): a consumer member says what it wants and has, and hears what it shall have.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::TopicId;
use ringmill_groups::answer::{Answer, ConsumerBeat, Refused};
use ringmill_groups::request::{self, ConsumerHeartbeat};
use ringmill_net::wire::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use ringmill_net::wire::{DecodeError, ErrorCode};
use ringmill_net::{Outcome, Request};

use super::group_calls::{ask, client_of};
use super::{decode, respond, too_many, too_many_partitions};
use crate::core::Core;

/// Answers at once.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: ConsumerGroupHeartbeatRequest<'_> = decode(request)?;
    let owned = asked.topic_partitions.iter().flatten().map(|topic| topic.partitions.len());
    let subscribed = asked.subscribed_topic_names.as_ref().map_or(0, Vec::len);
    if let Some(refused) = too_many(subscribed).or_else(|| too_many_partitions(owned)) {
        return Ok(refused);
    }
    let heard = beat(core, request, &asked).await;
    Ok(match &heard {
        Ok(beat) => respond(request, &told(beat)),
        Err(Refused { code, why }) => {
            let (error_code, error_message) = (code.code(), Some(why.as_str()));
            let refused = ConsumerGroupHeartbeatResponse { error_code, error_message, ..Default::default() };
            respond(request, &refused)
        }
    })
}

async fn beat(
    core: &Rc<Core>,
    request: &Request,
    asked: &ConsumerGroupHeartbeatRequest<'_>,
) -> Result<ConsumerBeat, Refused> {
    let refuse = |code, why: &str| Err(Refused { code, why: why.to_owned() });
    if !core.shared().config.groups.consumer_protocol {
        let why = "this broker's group.coordinator.rebalance.protocols admits the classic protocol only";
        return refuse(ErrorCode::UnsupportedVersion, why);
    }
    if asked.group_id.is_empty() {
        return refuse(ErrorCode::InvalidRequest, "the group's name is empty");
    }
    match ask(core, asked.group_id, request::Request::ConsumerHeartbeat(owned(asked, request))).await {
        Ok(Answer::ConsumerHeartbeat(heard)) => heard,
        Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
        Err(code) => refuse(code, "the group's coordinator is not ready; come again"),
    }
}

fn owned(asked: &ConsumerGroupHeartbeatRequest<'_>, request: &Request) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: asked.group_id.into(),
        member_id: asked.member_id.into(),
        member_epoch: asked.member_epoch,
        instance_id: asked.instance_id.map(Arc::from),
        rack_id: asked.rack_id.map(Arc::from),
        rebalance_timeout_ms: asked.rebalance_timeout_ms,
        subscribed_topic_names: asked
            .subscribed_topic_names
            .as_ref()
            .map(|names| names.iter().copied().map(Arc::from).collect()),
        subscribed_topic_regex: asked.subscribed_topic_regex.map(Arc::from),
        server_assignor: asked.server_assignor.map(Arc::from),
        topic_partitions: asked.topic_partitions.as_ref().map(|topics| by_topic(topics)),
        client: client_of(request),
        version: request.header.api_version,
    }
}

/// A topic that stands there twice has the partitions of both.
fn by_topic(topics: &[TopicPartitions]) -> BTreeMap<TopicId, Vec<i32>> {
    let mut owned: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for topic in topics {
        owned.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    owned
}

fn told(beat: &ConsumerBeat) -> ConsumerGroupHeartbeatResponse<'_> {
    let topic =
        |(id, partitions): (&TopicId, &Vec<i32>)| TopicPartitions { topic_id: *id, partitions: partitions.clone() };
    ConsumerGroupHeartbeatResponse {
        member_id: Some(&beat.member_id),
        member_epoch: beat.member_epoch,
        heartbeat_interval_ms: beat.heartbeat_interval_ms,
        assignment: beat
            .assignment
            .as_ref()
            .map(|topics| Assignment { topic_partitions: topics.iter().map(topic).collect() }),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
