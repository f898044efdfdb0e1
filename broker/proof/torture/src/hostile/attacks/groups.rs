//! Attacks by consumer groups: names, members and offsets that are new each time, which cost the broker memory until it refuses them, and
//! lists of all that is kept.
//!
//! What is sent first, until the broker has refused it often, is how these attacks get into place.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ringmill_net::wire::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::field::Field;
use super::frames;

/// Connections that fill the broker's memory for groups.
const FILLERS: usize = 20;

/// Requests of each that leave in one write and are then answered.
const REQUESTS_PER_ROUND: u64 = 50;

/// So many refusals say that the limit is reached, in all partitions of the topic of offsets.
const REFUSALS: u64 = 2_000;

/// Connections that ask for the list of all groups.
const LISTERS: usize = 8;

/// The largest answer that is read: those to lists have some ten megabytes.
const ANSWER_BYTES_MAX: u32 = 128 << 20;

/// Requests that each bring something new, and how their refusal looks.
#[derive(Clone, Copy)]
struct Filling {
    request: fn(u64) -> Vec<u8>,
    /// The error code of an answer, given without its length.
    code: fn(&[u8]) -> Option<i16>,
    refusal: ErrorCode,
}

const COMMITS: Filling = Filling {
    request: frames::commit_as,
    // The last field of an answer about one partition.
    code: |answer| answer.last_chunk().map(|bytes| i16::from_be_bytes(*bytes)),
    refusal: ErrorCode::InvalidCommitOffsetSize,
};

const JOINS: Filling = Filling {
    request: frames::join_as,
    // Behind the correlation id and the throttle time.
    code: |answer| answer.get(8..)?.first_chunk().map(|bytes| i16::from_be_bytes(*bytes)),
    refusal: ErrorCode::GroupMaxSizeReached,
};

const HEARTBEATS: Filling = Filling {
    request: frames::heartbeat_as,
    // The same behind a header that may have tags.
    code: |answer| answer.get(9..)?.first_chunk().map(|bytes| i16::from_be_bytes(*bytes)),
    refusal: ErrorCode::GroupMaxSizeReached,
};

pub(super) async fn groups(field: Rc<Field>) {
    fill(&field, COMMITS, || false).await;
}

pub(super) async fn members(field: Rc<Field>) {
    fill(&field, JOINS, || false).await;
}

pub(super) async fn consumers(field: Rc<Field>) {
    fill(&field, HEARTBEATS, || false).await;
}

/// Fills the memory first; then the lists are what the attack consists in.
pub(super) async fn lists(field: Rc<Field>) {
    let filled = Rc::clone(&field);
    fill(&field, COMMITS, move || filled.refused.get() >= REFUSALS).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..LISTERS {
        let field = Rc::clone(&field);
        tasks.spawn_local(async move { field.flood(&frames::list_groups(), 1, true).await });
    }
    tasks.join_all().await;
}

/// Sends what is new on all connections until the attack is over, or until it `is_enough`.
async fn fill(field: &Rc<Field>, filling: Filling, is_enough: impl Fn() -> bool + Clone + 'static) {
    let next = Rc::new(Cell::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..FILLERS.min(field.connections) {
        let (field, next, is_enough) = (Rc::clone(field), Rc::clone(&next), is_enough.clone());
        tasks.spawn_local(async move {
            while !is_enough()
                && let Some(mut stream) = field.connect_patiently().await
            {
                let rounds = async {
                    while !is_enough() {
                        let first = next.replace(next.get() + REQUESTS_PER_ROUND);
                        round(&field, &mut stream, filling, first).await?;
                        if field.refused.get() >= REFUSALS {
                            field.under_way();
                        }
                    }
                    Ok::<(), io::Error>(())
                };
                tokio::select! {
                    () = field.until_over() => return,
                    ended = rounds => if ended.is_err() {
                        field.lost().await;
                    },
                }
            }
        });
    }
    tasks.join_all().await;
}

async fn round(field: &Field, stream: &mut TcpStream, filling: Filling, first: u64) -> io::Result<()> {
    let requests: Vec<Vec<u8>> = (first..first + REQUESTS_PER_ROUND).map(filling.request).collect();
    stream.write_all(&requests.concat()).await?;
    let mut answer = Vec::new();
    for _ in 0..REQUESTS_PER_ROUND {
        let length = stream.read_u32().await?;
        if length > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        answer.clear();
        stream.take(u64::from(length)).read_to_end(&mut answer).await?;
        field.count(1);
        if (filling.code)(&answer) == Some(filling.refusal.code()) {
            field.refused.set(field.refused.get() + 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ringmill_net::wire::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
    use ringmill_net::wire::messages::join_group::JoinGroupResponse;
    use ringmill_net::wire::messages::offset_commit::{
        OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    };
    use ringmill_net::wire::{Message, encode_response};

    use super::*;

    fn answer<'a, M: Message<'a>>(message: &M, version: i16) -> Vec<u8> {
        let pieces = encode_response(message, version, 1, Vec::new()).into_pieces();
        let frame = frames::bytes_of(pieces);
        frame[4..].to_vec()
    }

    /// A refusal that is not recognised would be a limit that never seems to be reached.
    #[test]
    fn refusals_are_found_in_answers() {
        let partition = |error_code| OffsetCommitResponsePartition { partition_index: 3, error_code };
        let of = |error_code| OffsetCommitResponse {
            topics: vec![OffsetCommitResponseTopic {
                name: "t",
                partitions: vec![partition(error_code)],
                ..OffsetCommitResponseTopic::default()
            }],
            ..OffsetCommitResponse::default()
        };
        let code = COMMITS.refusal.code();
        assert_eq!((COMMITS.code)(&answer(&of(code), frames::COMMIT_VERSION)), Some(code));
        assert_eq!((COMMITS.code)(&answer(&of(0), frames::COMMIT_VERSION)), Some(0));

        let code = JOINS.refusal.code();
        let refused = JoinGroupResponse { error_code: code, ..JoinGroupResponse::default() };
        assert_eq!((JOINS.code)(&answer(&refused, frames::JOIN_VERSION)), Some(code));
        let refused = ConsumerGroupHeartbeatResponse { error_code: code, ..ConsumerGroupHeartbeatResponse::default() };
        assert_eq!((HEARTBEATS.code)(&answer(&refused, frames::HEARTBEAT_VERSION)), Some(code));
    }
}
