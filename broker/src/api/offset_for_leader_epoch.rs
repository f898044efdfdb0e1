//! OffsetForLeaderEpoch (key 23): where the records of an epoch end, so that a client can see what a crash has taken from it (KIP-320).

use ringmill_batch::LeaderEpoch;
use ringmill_net::wire::DecodeError;
use ringmill_net::wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};
use ringmill_net::{Outcome, Request};

use super::{check_epoch, decode, find_reader, respond, too_many_partitions};
use crate::core::Core;

/// Answers for each partition on its own.
pub(super) async fn answer(core: &Core, request: &Request) -> Result<Outcome, DecodeError> {
    let asked: OffsetForLeaderEpochRequest<'_> = decode(request)?;
    if let Some(refused) = too_many_partitions(asked.topics.iter().map(|topic| topic.partitions.len())) {
        return Ok(refused);
    }
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            // A request may name very many partitions; the core's other connections get their turns in between.
            tokio::task::coop::consume_budget().await;
            partitions.push(epoch_end(core, topic.topic, partition));
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    Ok(respond(request, &OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }))
}

/// An epoch that is later than today's, or none (−1), ends nowhere: −1 without an error.
fn epoch_end(core: &Core, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let found = find_reader(core, topic, asked.partition).and_then(|reader| {
        check_epoch(&reader, asked.current_leader_epoch)?;
        Ok(LeaderEpoch::new(asked.leader_epoch).and_then(|epoch| reader.epoch_end(epoch)))
    });
    let answer = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
    match found {
        Ok(Some((epoch, end))) => EpochEndOffset { leader_epoch: epoch.get(), end_offset: end.get(), ..answer },
        Ok(None) => answer,
        Err(error) => EpochEndOffset { error_code: error.code(), ..answer },
    }
}
