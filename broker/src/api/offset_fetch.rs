//! OffsetFetch (key 9): where groups have read to, of the topics that are named or of all that they ever read.
//!
//! What was never committed is no error: its offset is −1. No transaction can change an offset yet, so each is stable as it is.

use std::rc::Rc;
use std::sync::Arc;

use ringmill_groups::answer::{Answer, FetchedOffset, TopicOffsets};
use ringmill_groups::request::{self, OffsetFetch};
use ringmill_net::wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use ringmill_net::wire::{DecodeError, ErrorCode, Uuid};
use ringmill_net::{Outcome, Request};

use super::group_calls::ask_each;
use super::{PARTITIONS_MAX, decode, more_than, respond, too_many};
use crate::core::Core;
use crate::core::turns::LONG_REQUEST_BYTES;
use crate::metadata::MetadataImage;

/// From this version on an error stands beside the topics; before, beside each partition.
const ERROR_FROM: i16 = 2;

/// From this version on a request names several groups.
const GROUPS_FROM: i16 = 8;

/// From this version on topics come by id.
const TOPIC_IDS_FROM: i16 = 10;

/// No id.
const NO_ID: Uuid = [0; 16];

/// About what a partition takes in the answer beside its words.
const PARTITION_BYTES: usize = 32;

/// A group that is asked for.
struct Wish<'a> {
    group: &'a str,
    member_id: Option<&'a str>,
    member_epoch: i32,
    /// `None`: all.
    topics: Option<Vec<TopicWish<'a>>>,
}

/// A topic of which offsets are wanted.
struct TopicWish<'a> {
    /// As it was named; empty beside an id.
    name: &'a str,
    id: Uuid,
    /// The name that offsets are kept under.
    kept_as: Option<Arc<str>>,
    partitions: Vec<i32>,
}

/// What is told of a topic.
struct TopicAnswer {
    name: Arc<str>,
    id: Uuid,
    partitions: Vec<(i32, Result<Option<FetchedOffset>, ErrorCode>)>,
}

/// Answers for each group on its own.
pub(super) async fn answer(core: &Rc<Core>, request: &Request) -> Result<Outcome, DecodeError> {
    let is_long = request.body.len() > LONG_REQUEST_BYTES;
    let turn = core.turns().to_change(is_long).await;
    let asked: OffsetFetchRequest<'_> = decode(request)?;
    let image = core.metadata();
    let version = request.header.api_version;
    if let Some(refused) = too_many(asked.groups.len()).or_else(|| too_many_named(&asked)) {
        return Ok(refused);
    }
    let wishes = wishes(asked, version, &image);
    // Small requests with large answers.
    let wants_all = wishes.iter().any(|wish| wish.topics.is_none());
    let _turn = if turn.is_none() && wants_all { core.turns().to_change(true).await } else { turn };
    let asked = wishes.iter().map(|wish| (Arc::from(wish.group), request::Request::Fetch(wish.owned()))).collect();
    let answers = ask_each(core, asked, bytes_of).await;
    let told: Vec<Result<Vec<TopicAnswer>, ErrorCode>> = wishes
        .iter()
        .zip(answers)
        .map(|(wish, answer)| match answer {
            Ok(Answer::Fetch(Ok(fetched))) => Ok(wish.told(fetched, version, &image)),
            Ok(Answer::Fetch(Err(code))) => wish.refused(code, version),
            Ok(other) => unreachable!("groups answer in kind, not {other:?}"),
            Err(refusal) => wish.refused(refusal.code, version),
        })
        .collect();
    let response = match version {
        GROUPS_FROM.. => OffsetFetchResponse {
            groups: wishes.iter().zip(&told).map(|(wish, told)| respond_group(wish.group, told)).collect(),
            ..OffsetFetchResponse::default()
        },
        _ => respond_alone(&told[0]),
    };
    Ok(respond(request, &response))
}

fn too_many_named(asked: &OffsetFetchRequest<'_>) -> Option<Outcome> {
    let alone = asked.topics.iter().flatten().map(|topic| topic.partition_indexes.len());
    let of_groups = asked.groups.iter().flat_map(|group| group.topics.iter().flatten());
    let named = alone.chain(of_groups.map(|topic| topic.partition_indexes.len()));
    more_than(PARTITIONS_MAX, "partitions", named.map(|count| count.max(1)).sum())
}

/// What is wanted, in one form for all versions.
fn wishes<'a>(asked: OffsetFetchRequest<'a>, version: i16, image: &MetadataImage) -> Vec<Wish<'a>> {
    let by_name = |name: &'a str, partitions| TopicWish { name, id: NO_ID, kept_as: Some(name.into()), partitions };
    if version < GROUPS_FROM {
        let topics = asked
            .topics
            .map(|topics| topics.into_iter().map(|topic| by_name(topic.name, topic.partition_indexes)).collect());
        return vec![Wish { group: asked.group_id, member_id: None, member_epoch: -1, topics }];
    }
    let by_id = |id: Uuid, partitions| {
        let kept_as = image.topic_by_id(&id).map(|topic| Arc::clone(&topic.name));
        TopicWish { name: "", id, kept_as, partitions }
    };
    let wish = |group: OffsetFetchRequestGroup<'a>| Wish {
        group: group.group_id,
        member_id: group.member_id,
        member_epoch: group.member_epoch,
        topics: group.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| match version {
                TOPIC_IDS_FROM.. => by_id(topic.topic_id, topic.partition_indexes),
                _ => by_name(topic.name, topic.partition_indexes),
            });
            topics.collect()
        }),
    };
    asked.groups.into_iter().map(wish).collect()
}

impl Wish<'_> {
    /// Without topics that are not there: nothing is kept of them under any name.
    fn owned(&self) -> OffsetFetch {
        let topic =
            |topic: &TopicWish<'_>| topic.kept_as.as_ref().map(|name| (Arc::clone(name), topic.partitions.clone()));
        OffsetFetch {
            group: self.group.into(),
            member_id: self.member_id.map(Arc::from),
            member_epoch: self.member_epoch,
            topics: self.topics.as_ref().map(|topics| topics.iter().filter_map(topic).collect()),
        }
    }

    fn told(&self, fetched: Vec<TopicOffsets>, version: i16, image: &MetadataImage) -> Vec<TopicAnswer> {
        let partitions =
            |fetched: TopicOffsets| fetched.partitions.into_iter().map(|(index, offset)| (index, Ok(offset))).collect();
        let Some(wanted) = &self.topics else {
            // Where topics go by their ids, one that has gone cannot be told.
            let id_of = |name: &str| image.topic(name).map(|topic| topic.id);
            let all = fetched.into_iter().filter_map(|topic| {
                let id = if version >= TOPIC_IDS_FROM { id_of(&topic.topic)? } else { NO_ID };
                Some(TopicAnswer { name: Arc::clone(&topic.topic), id, partitions: partitions(topic) })
            });
            return all.collect();
        };
        let mut fetched = fetched.into_iter();
        let told = |topic: &TopicWish<'_>| match &topic.kept_as {
            Some(_) => {
                let fetched = fetched.next().expect("there is an answer for each topic");
                TopicAnswer { name: Arc::clone(&fetched.topic), id: topic.id, partitions: partitions(fetched) }
            }
            None => topic.all(ErrorCode::UnknownTopicId),
        };
        wanted.iter().map(told).collect()
    }

    /// Puts an error where the version has a place for it.
    fn refused(&self, code: ErrorCode, version: i16) -> Result<Vec<TopicAnswer>, ErrorCode> {
        match &self.topics {
            Some(topics) if version < ERROR_FROM => Ok(topics.iter().map(|topic| topic.all(code)).collect()),
            _ => Err(code),
        }
    }
}

impl TopicWish<'_> {
    /// An error for each partition.
    fn all(&self, code: ErrorCode) -> TopicAnswer {
        let partitions = self.partitions.iter().map(|index| (*index, Err(code))).collect();
        TopicAnswer { name: self.name.into(), id: self.id, partitions }
    }
}

fn bytes_of(answer: &Answer) -> usize {
    let Answer::Fetch(Ok(topics)) = answer else { return 0 };
    let partition = |(_, offset): &(i32, Option<FetchedOffset>)| {
        PARTITION_BYTES + offset.as_ref().map_or(0, |offset| offset.metadata.len())
    };
    topics.iter().map(|topic| topic.topic.len() + topic.partitions.iter().map(partition).sum::<usize>()).sum()
}

/// The answer for the only group of an older version.
fn respond_alone(told: &Result<Vec<TopicAnswer>, ErrorCode>) -> OffsetFetchResponse<'_> {
    let group = respond_group("", told);
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(as_older).collect(),
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
}

fn respond_group<'a>(group_id: &'a str, told: &'a Result<Vec<TopicAnswer>, ErrorCode>) -> OffsetFetchResponseGroup<'a> {
    let partition = |(index, offset): &'a (i32, Result<Option<FetchedOffset>, ErrorCode>)| {
        let (offset, error) = (offset.as_ref().ok().and_then(Option::as_ref), offset.as_ref().err());
        OffsetFetchResponsePartitions {
            partition_index: *index,
            committed_offset: offset.map_or(-1, |offset| offset.offset),
            committed_leader_epoch: offset.map_or(-1, |offset| offset.leader_epoch),
            metadata: Some(offset.map_or("", |offset| &offset.metadata)),
            error_code: error.map_or(0, |code| code.code()),
        }
    };
    let topic = |topic: &'a TopicAnswer| OffsetFetchResponseTopics {
        name: &topic.name,
        topic_id: topic.id,
        partitions: topic.partitions.iter().map(partition).collect(),
    };
    OffsetFetchResponseGroup {
        group_id,
        topics: told.iter().flatten().map(topic).collect(),
        error_code: told.as_ref().err().map_or(0, |code| code.code()),
    }
}

fn as_older<'a>(topic: OffsetFetchResponseTopics<'a>) -> OffsetFetchResponseTopic<'a> {
    let partition = |partition: OffsetFetchResponsePartitions<'a>| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    OffsetFetchResponseTopic { name: topic.name, partitions: topic.partitions.into_iter().map(partition).collect() }
}
