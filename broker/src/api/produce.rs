//! Produce (key 0): record batches in, checked here and appended by the owners of their partitions.
//!
//! The batches are split off the request's frame without a copy and travel to their owners in the order in which they were read; one
//! message per owner. Errors are told per partition. Without acks nothing is answered, and an error closes the connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ringmill_batch::{
    BatchError, BatchHeader, Codec, CodecError, DecompressLimit, RecordError, TimestampType, check_produced,
    check_records, read_records, stamp_max_timestamp,
};
use ringmill_engine::CompactionLimits;
use ringmill_engine::log::{AppendError, Appended, LogState, SealCause};
use ringmill_net::wire::messages::produce::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use ringmill_net::wire::{ErrorCode, Records, Uuid};
use ringmill_net::{Answer, Charge, Outcome, Request};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Refusal, check_not_internal, decode, respond, too_many_partitions, unreadable};
use crate::core::Core;
use crate::core::hosting::{CoreId, Hosted, PartitionId};
use crate::core::mailbox::{AppendRefused, AppendResults, PartitionBatch};
use crate::metadata::Topic;

/// From this version on topics come by id.
const TOPIC_IDS_FROM: i16 = 13;

/// From this version on clients know zstd.
const ZSTD_FROM: i16 = 7;

/// Records of one batch that are named for want of a key; whoever has more has them all.
const UNKEYED_NAMED_MAX: usize = 1000;

/// What each of them is told.
const UNKEYED: &str = "the topic is compacted: a record needs a key";

/// The least time that an append is given: no disk can keep a shorter promise, and clients that send 0 mean "no limit of mine".
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Brings every batch on its way, in the order read; the returned future is the answer.
pub(super) async fn start(core: Rc<Core>, mut request: Request) -> Answer {
    let mut produce = match Produce::read(&core, &request) {
        Ok(produce) => produce,
        Err(refused) => return Box::pin(std::future::ready(refused)),
    };
    let body = std::mem::take(&mut request.body);
    let sent = produce.send(&core, body, request.charge.clone(), request.header.api_version).await;
    Box::pin(produce.answer(request, sent))
}

/// One request on its way.
struct Produce {
    acks: i16,
    deadline: Instant,
    topics: Vec<TopicPart>,
}

struct TopicPart {
    name: String,
    id: Uuid,
    /// The topic, if there is one, as it was when the request came.
    known: Option<Arc<Topic>>,
    partitions: Vec<PartitionPart>,
}

struct PartitionPart {
    index: i32,
    records: Option<Records>,
    /// Which of its records were refused for want of a key.
    unkeyed: Vec<i32>,
    state: State,
}

enum State {
    Refused(Refusal),
    /// The batch is the `place`-th that went to the `owner`-th of the owners.
    Sent {
        owner: usize,
        place: usize,
    },
}

/// What went to one owner.
struct Sent {
    owner: CoreId,
    batches: Vec<PartitionBatch>,
}

impl Produce {
    fn read(core: &Core, request: &Request) -> Result<Produce, Outcome> {
        let asked: ProduceRequest<'_> = decode(request).map_err(|error| unreadable(&error))?;
        if let Some(refused) = too_many_partitions(asked.topic_data.iter().map(|topic| topic.partition_data.len())) {
            return Err(refused);
        }
        let image = core.metadata();
        let by_id = request.header.api_version >= TOPIC_IDS_FROM;
        let timeout = Duration::from_millis(u64::try_from(asked.timeout_ms).unwrap_or(0)).max(TIMEOUT_MIN);
        let topics = asked
            .topic_data
            .iter()
            .map(|topic| {
                let known = if by_id { image.topic_by_id(&topic.topic_id) } else { image.topic(topic.name) };
                let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
                TopicPart {
                    name: topic.name.to_owned(),
                    id: topic.topic_id,
                    known: known.cloned(),
                    partitions: topic
                        .partition_data
                        .iter()
                        .map(|partition| PartitionPart {
                            index: partition.index,
                            records: partition.records,
                            unkeyed: Vec::new(),
                            state: State::Refused(unknown.into()),
                        })
                        .collect(),
                }
            })
            .collect();
        Ok(Produce { acks: asked.acks, deadline: Instant::now() + timeout, topics })
    }
}

impl Produce {
    /// Splits the batches off `body`, checks them and gives them to their owners; what is refused on the way is noted.
    async fn send(
        &mut self,
        core: &Core,
        body: BytesMut,
        charge: Charge,
        version: i16,
    ) -> Vec<oneshot::Receiver<AppendResults>> {
        let now_ms = core.shared().clock.now_ms();
        let hosting = core.hosting();
        let mut body = Splitter { rest: body, position: 0 };
        let mut owners: Vec<Sent> = Vec::new();
        for topic in &mut self.topics {
            let Some(known) = &topic.known else { continue };
            let is_clients = check_not_internal(&known.name);
            for partition in &mut topic.partitions {
                let id = PartitionId { topic: known.id, index: partition.index };
                let mut records = partition.records.map(|records| body.split(records)).unwrap_or_default();
                let admitted = admit_request(self.acks).and(is_clients.clone()).and_then(|()| {
                    let hosted = hosting.find(known, partition.index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
                    check_writable(hosted)?;
                    let header = check_batch(&mut records, known, version, now_ms)?;
                    if known.config.compaction.is_some() {
                        partition.unkeyed = unkeyed(&records, known)?;
                    }
                    if partition.unkeyed.is_empty() { Ok((hosted.owner, header)) } else { Err(unkeyed_refusal()) }
                });
                partition.state = match admitted {
                    Ok((owner, header)) => {
                        let owner_place = place_of(&mut owners, owner);
                        let batches = &mut owners[owner_place].batches;
                        batches.push(PartitionBatch { partition: id, batch: records, header });
                        State::Sent { owner: owner_place, place: batches.len() - 1 }
                    }
                    Err(refusal) => State::Refused(refusal),
                };
            }
        }
        let mut answers = Vec::with_capacity(owners.len());
        for Sent { owner, batches } in owners {
            answers.push(core.append(owner, batches, charge.clone()).await);
        }
        answers
    }

    /// Waits for the owners and tells what became of each batch.
    async fn answer(self, request: Request, sent: Vec<oneshot::Receiver<AppendResults>>) -> Outcome {
        let mut results = Vec::with_capacity(sent.len());
        for answer in sent {
            results.push(match tokio::time::timeout_at(self.deadline, answer).await {
                Ok(Ok(results)) => Ok(results),
                Ok(Err(_)) => Err(append_refusal(&AppendRefused::Lost)),
                Err(_) => Err(Refusal::new(ErrorCode::RequestTimedOut, "not durable in time; it may become so yet")),
            });
        }
        let outcomes = self.outcomes(&results);
        if self.acks == 0 {
            let failed = outcomes.iter().flatten().find_map(|outcome| outcome.as_ref().err());
            return match failed {
                None => Outcome::Silent,
                // Without acks there is no other way to tell.
                Some(Refusal { code, why }) => {
                    Outcome::Close(format!("a produce without acks failed: {code} {}", why.as_deref().unwrap_or("")))
                }
            };
        }
        self.respond(&request, &outcomes)
    }

    /// Per topic and partition.
    fn outcomes(&self, results: &[Result<AppendResults, Refusal>]) -> Vec<Vec<Result<Appended, Refusal>>> {
        let outcome = |partition: &PartitionPart| match &partition.state {
            State::Refused(refusal) => Err(refusal.clone()),
            State::Sent { owner, place } => match &results[*owner] {
                Ok(results) => results[*place].clone().map_err(|error| append_refusal(&error)),
                Err(refusal) => Err(refusal.clone()),
            },
        };
        self.topics.iter().map(|topic| topic.partitions.iter().map(outcome).collect()).collect()
    }

    fn respond(&self, request: &Request, outcomes: &[Vec<Result<Appended, Refusal>>]) -> Outcome {
        let responses = self
            .topics
            .iter()
            .zip(outcomes)
            .map(|(topic, outcomes)| TopicProduceResponse {
                name: &topic.name,
                topic_id: topic.id,
                partition_responses: topic
                    .partitions
                    .iter()
                    .zip(outcomes)
                    .map(|(partition, outcome)| partition_response(partition, outcome))
                    .collect(),
            })
            .collect();
        respond(request, &ProduceResponse { responses, ..ProduceResponse::default() })
    }
}

fn partition_response<'a>(
    partition: &PartitionPart,
    outcome: &'a Result<Appended, Refusal>,
) -> PartitionProduceResponse<'a> {
    let index = partition.index;
    match outcome {
        Ok(appended) => PartitionProduceResponse {
            index,
            base_offset: appended.base_offset.get(),
            log_append_time_ms: appended.append_time_ms.unwrap_or(-1),
            log_start_offset: appended.log_start.get(),
            ..PartitionProduceResponse::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index,
            error_code: refusal.code.code(),
            base_offset: -1,
            record_errors: partition.unkeyed.iter().map(|&number| record_error(number)).collect(),
            error_message: refusal.why.as_deref(),
            ..PartitionProduceResponse::default()
        },
    }
}

fn record_error(batch_index: i32) -> BatchIndexAndErrorMessage<'static> {
    BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(UNKEYED) }
}

/// The owner's place in the list, added if it is new.
fn place_of(owners: &mut Vec<Sent>, owner: CoreId) -> usize {
    match owners.iter().position(|sent| sent.owner == owner) {
        Some(place) => place,
        None => {
            owners.push(Sent { owner, batches: Vec::new() });
            owners.len() - 1
        }
    }
}

/// Takes ranges off a frame, front to back.
struct Splitter {
    rest: BytesMut,
    position: usize,
}

impl Splitter {
    /// The bytes of `records`, uniquely owned and not copied. Ranges come in the order of the frame.
    fn split(&mut self, records: Records) -> BytesMut {
        let range = records.range();
        let before = range.start.checked_sub(self.position).expect("a decoder goes through the frame front to back");
        drop(self.rest.split_to(before));
        self.position = range.end;
        self.rest.split_to(range.len())
    }
}

fn admit_request(acks: i16) -> Result<(), Refusal> {
    match acks {
        -1..=1 => Ok(()),
        _ => Err(Refusal::new(ErrorCode::InvalidRequiredAcks, format!("acks must be -1, 0 or 1, not {acks}"))),
    }
}

/// Refuses what stays so until the next start. A lack of room ends at any moment, so that its refusals are the owner's: it notes whose
/// pipeline is cut, and does not take the next batch for a beginning.
fn check_writable(hosted: &Hosted) -> Result<(), Refusal> {
    let sealed =
        || Refusal::new(ErrorCode::KafkaStorageError, "the partition takes no records now; the broker's log says why");
    match hosted.reader.as_ref().map(|reader| reader.watermarks().state) {
        Some(LogState::Serving | LogState::Sealed(SealCause::NoSpace)) => Ok(()),
        Some(LogState::Sealed(SealCause::Io) | LogState::Quarantined(_)) | None => Err(sealed()),
    }
}

/// All refusals that a batch can earn before it reaches its log.
fn check_batch(records: &mut [u8], topic: &Topic, version: i16, now_ms: i64) -> Result<BatchHeader, Refusal> {
    if records.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRecord, "there is no record batch"));
    }
    let bytes_max = topic.config.max_message_bytes;
    if records.len() > bytes_max {
        let why = format!("the batch has {} bytes, max.message.bytes is {bytes_max}", records.len());
        return Err(Refusal::new(ErrorCode::MessageTooLarge, why));
    }
    let header = check_produced(records).map_err(|error| batch_refusal(&error))?;
    if header.codec() == Codec::Zstd && version < ZSTD_FROM {
        let why = "zstd needs version 7 of Produce";
        return Err(Refusal::new(ErrorCode::UnsupportedCompressionType, why));
    }
    if header.is_transactional() {
        return Err(Refusal::new(ErrorCode::InvalidTxnState, "there is no open transaction"));
    }
    if topic.config.compaction.is_some() {
        check_count(&header)?;
    }
    let header = with_max_timestamp(records, header, topic)?;
    let earliest_ms = if topic.config.strict_records { walked(records, topic)? } else { header.base_timestamp };
    check_timestamps(&header, earliest_ms, topic, now_ms)?;
    Ok(header)
}

/// The smallest timestamp of a batch whose records are what its header says.
fn walked(records: &[u8], topic: &Topic) -> Result<i64, Refusal> {
    check_records(records, decompress_limit(topic))
        .map_err(|error| records_refusal(&error, "strict.records is set on the topic: ", topic))
}

/// Which records of a batch have no key: of a compacted topic they could never be the last of anything. The first of them, where they are
/// many.
fn unkeyed(batch: &[u8], topic: &Topic) -> Result<Vec<i32>, Refusal> {
    let refuse = |error| records_refusal(&error, "the records cannot be read: ", topic);
    let records = read_records(batch, decompress_limit(topic)).map_err(refuse)?;
    let mut found = Vec::new();
    for (number, record) in (0..).zip(&records) {
        if record.map_err(refuse)?.key.is_none() && found.len() < UNKEYED_NAMED_MAX {
            found.push(number);
        }
    }
    Ok(found)
}

fn unkeyed_refusal() -> Refusal {
    let why = "One or more records have been rejected: the topic is compacted (cleanup.policy), and they have no key";
    Refusal::new(ErrorCode::InvalidRecord, why)
}

/// Refuses what no pass of compaction could ever take: it would stay, and with it every tombstone behind it.
fn check_count(header: &BatchHeader) -> Result<(), Refusal> {
    let (count, count_max) = (header.record_count, CompactionLimits::RECORDS_MAX);
    if usize::try_from(count).is_ok_and(|count| count <= count_max) {
        return Ok(());
    }
    Err(uncompactable(&format!("the batch has {count} records, {count_max} records at most can be compacted")))
}

/// What the records of a batch may become.
fn decompress_limit(topic: &Topic) -> DecompressLimit {
    match topic.config.compaction {
        Some(_) => CompactionLimits::decompress(CompactionLimits::DECOMPRESSED_BYTES_MAX),
        None => DecompressLimit::default(),
    }
}

/// A client that is told so of a batch's size sends its records in smaller ones, which helps here too.
fn records_refusal(error: &RecordError, context: &str, topic: &Topic) -> Refusal {
    match error {
        RecordError::Codec(CodecError::TooLarge { .. }) if topic.config.compaction.is_some() => {
            uncompactable(&error.to_string())
        }
        _ => Refusal::new(ErrorCode::InvalidRecord, format!("{context}{error}")),
    }
}

fn uncompactable(what: &str) -> Refusal {
    let why = format!("the topic is compacted (cleanup.policy), and {what}: send its records in smaller batches");
    Refusal::new(ErrorCode::MessageTooLarge, why)
}

/// The batch's largest timestamp is what a search by time goes by, and sarama before 2025 leaves it out: only such a batch is walked.
fn with_max_timestamp(records: &mut [u8], header: BatchHeader, topic: &Topic) -> Result<BatchHeader, Refusal> {
    if !header.lacks_max_timestamp() {
        return Ok(header);
    }
    stamp_max_timestamp(records, decompress_limit(topic)).map_err(|error| records_refusal(&error, "", topic))
}

/// Holds the batch's own bounds against the topic's; records are not walked for it. −1 means that the producer knows no time.
fn check_timestamps(header: &BatchHeader, earliest: i64, topic: &Topic, now_ms: i64) -> Result<(), Refusal> {
    if topic.config.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    let latest = header.max_timestamp.max(header.base_timestamp);
    let before_max_ms = topic.config.timestamp_before_max_ms;
    let after_max_ms = topic.config.timestamp_after_max_ms;
    if earliest >= 0 && now_ms.saturating_sub(earliest) > before_max_ms {
        let why = format!("timestamp {earliest} is more than {before_max_ms} ms (message.timestamp.before.max.ms) ago");
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, why));
    }
    if latest >= 0 && latest.saturating_sub(now_ms) > after_max_ms {
        let why = format!("timestamp {latest} is more than {after_max_ms} ms (message.timestamp.after.max.ms) ahead");
        return Err(Refusal::new(ErrorCode::InvalidTimestamp, why));
    }
    Ok(())
}

fn batch_refusal(error: &BatchError) -> Refusal {
    let code = match error {
        BatchError::Crc { .. } => ErrorCode::CorruptMessage,
        BatchError::LogAppendTime => ErrorCode::InvalidTimestamp,
        _ => ErrorCode::InvalidRecord,
    };
    Refusal::new(code, error.to_string())
}

fn append_refusal(error: &AppendRefused) -> Refusal {
    let code = match error {
        AppendRefused::Log(AppendError::Sealed | AppendError::NoSpace | AppendError::Unwritable) => {
            ErrorCode::KafkaStorageError
        }
        AppendRefused::Log(AppendError::TooLargeForSegment) => ErrorCode::RecordListTooLarge,
        AppendRefused::Log(AppendError::OutOfOrderSequence) => ErrorCode::OutOfOrderSequenceNumber,
        AppendRefused::Log(AppendError::ProducerFenced) => ErrorCode::InvalidProducerEpoch,
        // Not appended, and worth another try: the client asks for the leader anew and comes back.
        AppendRefused::Log(AppendError::QueueFull | AppendError::Closed) | AppendRefused::NotServed => {
            ErrorCode::NotLeaderOrFollower
        }
        // A client takes this code, like a timeout, for "it may have happened".
        AppendRefused::Lost => ErrorCode::KafkaStorageError,
    };
    Refusal::new(code, error.to_string())
}
