//! Fetch (key 1): ranges of segments out, sent without being read here; parks where there is too little.
//!
//! A request is planned on the core of its connection, through the partitions' readers and this core's disk. There are no fetch
//! sessions: every answer carries session id 0, which the protocol allows, and a client that insists is told so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ringmill_batch::Offset;
use ringmill_engine::disk::{Residency, residency_of};
use ringmill_engine::log::{LogReader, ReadPlan};
use ringmill_engine::segment::Segment;
use ringmill_net::wire::messages::fetch::{
    FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use ringmill_net::wire::writer::Writer;
use ringmill_net::wire::{DecodeError, ErrorCode, Message, Records};
use ringmill_net::{FileRange, Outcome, Piece, Request};
use tokio::time::Instant;

use super::{check_epoch, check_readable, decode, read_error_code, respond, respond_with, too_many_partitions};
use crate::core::Core;
use crate::park::{Watched, Woken, park};

/// The longest that a fetch may park, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// A request up to this size parks as it came.
const PARKED_AS_IT_IS_BYTES: usize = 16 * 1024;

/// The largest request that parks, some thirty thousand partitions; a larger one is answered at once with what there is.
const PARKED_BYTES_MAX: usize = 1024 * 1024;

/// From this version on topics come by id.
const TOPIC_IDS_FROM: i16 = 13;

/// Read-committed: from a client that wants to know about aborted transactions.
const READ_COMMITTED: i8 = 1;

/// Answers at once or after parking.
pub(super) async fn answer(core: &Core, mut request: Request) -> Result<Outcome, DecodeError> {
    let asked: FetchRequest<'_> = decode(&request)?;
    if let Some(refused) = too_many_partitions(asked.topics.iter().map(|topic| topic.partitions.len())) {
        return Ok(refused);
    }
    if let Some(error) = session_error(&asked) {
        return Ok(respond(&request, &FetchResponse { error_code: error.code(), ..FetchResponse::default() }));
    }
    let deadline = Instant::now() + wait(asked.max_wait_ms);
    let mut fetch = Fetch::new(core, &request, &asked);
    fetch.plan(core).await;
    if fetch.is_enough(&asked) || Instant::now() >= deadline {
        return Ok(fetch.respond(&request, &asked));
    }
    if request.body.len() > PARKED_AS_IT_IS_BYTES {
        // Whoever waits must not hold the memory that others need for their requests.
        let needed = only_needed(asked, request.header.api_version);
        if needed.len() > PARKED_BYTES_MAX {
            let asked: FetchRequest<'_> = decode(&request)?;
            return Ok(fetch.respond(&request, &asked));
        }
        request.body = needed;
        request.charge.shrink_to(request.body.len());
    }
    let asked: FetchRequest<'_> = decode(&request)?;
    fetch.wait(core, &request, &asked, deadline).await;
    Ok(fetch.respond(&request, &asked))
}

/// The request again, without what no answer needs.
fn only_needed(asked: FetchRequest<'_>, version: i16) -> BytesMut {
    let needed = FetchRequest { cluster_id: None, forgotten_topics_data: Vec::new(), rack_id: "", ..asked };
    let mut writer = Writer::with_capacity(needed.size(version).total_bytes());
    needed.encode(&mut writer, version);
    writer.bytes
}

/// Asking for a session that exists is an error; asking for a new one is not, it is just not given.
fn session_error(asked: &FetchRequest<'_>) -> Option<ErrorCode> {
    match (asked.session_id, asked.session_epoch) {
        // 0 begins a session, −1 wants none or ends one: both fetch everything they name.
        (_, 0 | -1) => None,
        (0, _) => Some(ErrorCode::InvalidFetchSessionEpoch),
        _ => Some(ErrorCode::FetchSessionIdNotFound),
    }
}

fn wait(max_wait_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(max_wait_ms).unwrap_or(0)).min(WAIT_MAX)
}

/// One fetch on its way.
struct Fetch {
    /// In the order of the request.
    partitions: Vec<Asked>,
    bytes_max: u64,
    /// Which partition is planned first: rotates, so that a client that always names them in one order starves none.
    first: usize,
}

/// One partition of a fetch.
struct Asked {
    index: i32,
    offset: i64,
    epoch: i32,
    bytes_max: u64,
    /// Where it is read, or why it is not.
    reader: Result<Arc<LogReader>, ErrorCode>,
    planned: Result<Option<ReadPlan>, ErrorCode>,
}

impl Fetch {
    fn new(core: &Core, request: &Request, asked: &FetchRequest<'_>) -> Fetch {
        // A first batch that is larger than all limits is still sent whole.
        let bytes_max = u64::try_from(asked.max_bytes).unwrap_or(0).min(core.shared().config.fetch_bytes_max);
        let partitions = asked
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|partition| Asked {
                index: partition.partition,
                offset: partition.fetch_offset,
                epoch: partition.current_leader_epoch,
                bytes_max: u64::try_from(partition.partition_max_bytes).unwrap_or(0),
                reader: Err(ErrorCode::UnknownServerError),
                planned: Ok(None),
            })
            .collect();
        let mut fetch = Fetch { partitions, bytes_max, first: core.next_fetch() };
        fetch.look_up(core, request, asked);
        fetch
    }

    /// Finds the partitions' readers as they are now.
    fn look_up(&mut self, core: &Core, request: &Request, asked: &FetchRequest<'_>) {
        let (metadata, hosting) = (core.metadata(), core.hosting());
        let by_id = request.header.api_version >= TOPIC_IDS_FROM;
        let mut partitions = self.partitions.iter_mut();
        for topic in &asked.topics {
            let known = if by_id { metadata.topic_by_id(&topic.topic_id) } else { metadata.topic(topic.topic) };
            for partition in partitions.by_ref().take(topic.partitions.len()) {
                let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
                partition.reader = match known {
                    None => Err(unknown),
                    Some(known) => match hosting.find(known, partition.index) {
                        None => Err(ErrorCode::UnknownTopicOrPartition),
                        Some(hosted) => hosted.reader.clone().ok_or(ErrorCode::KafkaStorageError),
                    },
                };
            }
        }
    }

    /// Plans every partition anew, sharing the bytes out from the first on.
    async fn plan(&mut self, core: &Core) {
        let count = self.partitions.len();
        let mut left = self.bytes_max;
        let mut nothing_yet = true;
        for step in 0..count {
            let partition = &mut self.partitions[(self.first + step) % count];
            let limit = left.min(partition.bytes_max);
            // A request may name a million partitions; the core's other connections get their turns in between.
            tokio::task::coop::consume_budget().await;
            partition.planned = partition.plan(core, limit, nothing_yet).await;
            if let Ok(Some(plan)) = &partition.planned {
                left = left.saturating_sub(plan.length);
                nothing_yet = false;
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.partitions
            .iter()
            .filter_map(|partition| partition.planned.as_ref().ok()?.as_ref())
            .map(|plan| plan.length)
            .sum()
    }

    fn is_enough(&self, asked: &FetchRequest<'_>) -> bool {
        self.partitions.is_empty()
            // More than the most that is wanted can never come.
            || self.bytes() >= u64::try_from(asked.min_bytes).unwrap_or(0).min(self.bytes_max)
            || self.partitions.iter().any(|partition| partition.planned.is_err())
    }

    /// Parks until there is enough, the deadline comes, or the broker stops.
    async fn wait(&mut self, core: &Core, request: &Request, asked: &FetchRequest<'_>, deadline: Instant) {
        let draining = core.watch_draining();
        loop {
            // Anew each time: a topic that was made again under its name has other readers, and those that are gone wake for ever.
            let mut watched = self.watch(core);
            watched.push(Box::new(draining.clone()));
            for each in &mut watched {
                each.mark_seen();
            }
            self.look_up(core, request, asked);
            self.plan(core).await;
            let answered = self.is_enough(asked) || *draining.borrow();
            if answered || park(&mut watched, deadline).await == Woken::Deadline {
                return;
            }
        }
    }

    /// All that can change the answer.
    fn watch(&self, core: &Core) -> Vec<Box<dyn Watched>> {
        let mut watched: Vec<Box<dyn Watched>> = vec![Box::new(core.watch_hosting())];
        for partition in &self.partitions {
            if let Ok(reader) = &partition.reader {
                watched.push(Box::new(reader.watch()));
            }
        }
        watched
    }

    fn respond(self, request: &Request, asked: &FetchRequest<'_>) -> Outcome {
        let read_committed = asked.isolation_level == READ_COMMITTED;
        let mut pieces = Vec::new();
        let mut partitions = self.partitions.into_iter();
        let responses = asked
            .topics
            .iter()
            .map(|&FetchTopic { topic, topic_id, partitions: ref named }| FetchableTopicResponse {
                topic,
                topic_id,
                partitions: partitions
                    .by_ref()
                    .take(named.len())
                    .map(|partition| partition.respond(read_committed, &mut pieces))
                    .collect(),
            })
            .collect();
        respond_with(request, &FetchResponse { responses, ..FetchResponse::default() }, pieces)
    }
}

impl Asked {
    /// A range to send, if there is one; `whole_first` lets its first batch pass `limit`.
    async fn plan(&self, core: &Core, limit: u64, whole_first: bool) -> Result<Option<ReadPlan>, ErrorCode> {
        let reader = self.reader.as_ref().map_err(|error| *error)?;
        check_readable(reader)?;
        check_epoch(reader, self.epoch)?;
        let from = Offset::new(self.offset).ok_or(ErrorCode::OffsetOutOfRange)?;
        match reader.plan(core.disk(), from, limit, whole_first).await {
            Ok(plan) => Ok((plan.length > 0).then_some(plan)),
            Err(error) => Err(read_error_code(&error)),
        }
    }

    fn respond(self, read_committed: bool, pieces: &mut Vec<Piece>) -> PartitionData {
        let mut data = PartitionData {
            partition_index: self.index,
            high_watermark: -1,
            aborted_transactions: read_committed.then(Vec::new),
            records: Some(Records::of_length(0)),
            ..PartitionData::default()
        };
        if let Ok(reader) = &self.reader {
            let watermarks = reader.watermarks();
            data.high_watermark = watermarks.high_watermark.get();
            data.last_stable_offset = data.high_watermark;
            data.log_start_offset = watermarks.log_start.get();
        }
        match (self.planned, self.reader) {
            (Err(error), _) | (_, Err(error)) => data.error_code = error.code(),
            (Ok(Some(plan)), Ok(reader)) => {
                let length = usize::try_from(plan.length).expect("a planned range is far below 2 GiB");
                data.records = Some(Records::of_length(length));
                let (position, length) = (plan.position, plan.length);
                let file = Arc::new(SegmentRange { reader, segment: plan.segment });
                pieces.push(Piece::File { file, position, length });
            }
            (Ok(None), Ok(_)) => {}
        }
        data
    }
}

/// A segment as the transport sees it: a descriptor, and someone to tell when it cannot be read.
struct SegmentRange {
    reader: Arc<LogReader>,
    segment: Arc<Segment>,
}

impl AsFd for SegmentRange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.file().as_fd()
    }
}

impl FileRange for SegmentRange {
    fn is_cached(&self, position: u64, length: u64) -> bool {
        residency_of(self.segment.file(), position, length) == Residency::Cached
    }

    fn read_failed(&self, position: u64, length: u64, error: &io::Error) {
        let identity = self.reader.identity();
        tracing::error!(?identity, segment = %self.segment.base_offset(), position, length, %error, "a range of the log cannot be read");
        self.reader.report_damage(&self.segment, position, length);
    }
}
