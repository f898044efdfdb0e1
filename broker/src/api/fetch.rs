//! Fetch (key 1): ranges of segments out, sent without being read here; parks where there is too little.
//!
//! A request is planned on the core of its connection, through the partitions' readers and this core's disk: a full one names all that
//! is fetched, an incremental one what has changed in its fetch session.

use std::collections::BTreeMap;
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
use ringmill_net::wire::{DecodeError, ErrorCode, Records, Uuid, Versioned};
use ringmill_net::{FileRange, Outcome, Piece, Request};
use tokio::time::Instant;

use super::{check_epoch, check_readable, decode, read_error_code, respond, respond_with, too_many_partitions};
use crate::core::Core;
use crate::core::turns::{LONG_PARTITIONS, LONG_REQUEST_BYTES};
use crate::fetch_sessions::{Begun, Member, Session};
use crate::park::{Watched, Woken, park};

/// The longest that a fetch may park, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(10 * 60);

/// A request up to this size parks as it came.
const PARKED_AS_IT_IS_BYTES: usize = 16 * 1024;

/// The largest request that parks, some thirty thousand partitions; a larger one is answered at once with what there is.
const PARKED_BYTES_MAX: usize = 1024 * 1024;

/// A fetch that was woken in vain, for it wants more than has come, rests so long for each of its partitions before it looks again: every
/// append to any of them wakes it, and to look costs some microseconds for each.
const REST_PER_PARTITION: Duration = Duration::from_micros(20);

/// Below this it does not rest.
const REST_MIN: Duration = Duration::from_millis(1);

/// From this version on topics come by id.
const TOPIC_IDS_FROM: i16 = 13;

/// Read-committed: from a client that wants to know about aborted transactions.
const READ_COMMITTED: i8 = 1;

/// Answers at once or after parking.
pub(super) async fn answer(core: &Core, mut request: Request) -> Result<Outcome, DecodeError> {
    // Before anything is decoded: what a request is in memory may be many times its size.
    let turn = core.turns().to_read(request.body.len() > LONG_REQUEST_BYTES).await;
    let asked: FetchRequest<'_> = decode(&request)?;
    let named = asked.topics.iter().map(|topic| topic.partitions.len());
    let forgotten = asked.forgotten_topics_data.iter().map(|topic| topic.partitions.len());
    if let Some(refused) = too_many_partitions(named.chain(forgotten)) {
        return Ok(refused);
    }
    let wish = Wish::of(core, &request, &asked);
    let begun = core.fetch_sessions().begin(&asked, wish.by_id);
    let wants_session = match begun {
        Ok(Begun::Full { wants_session }) => wants_session,
        Ok(Begun::Incremental(session)) => {
            drop((asked, turn));
            return Ok(incremental(core, request, wish, session).await);
        }
        Err(error) => {
            let refused = FetchResponse { error_code: error.code(), ..FetchResponse::default() };
            return Ok(respond(&request, &refused));
        }
    };
    let needed = match full(core, &request, asked, wish, wants_session).await {
        Ok(outcome) => return Ok(outcome),
        Err(needed) => needed,
    };
    request.body = needed;
    request.charge.shrink_to(request.body.len());
    let asked: FetchRequest<'_> = decode(&request)?;
    let mut fetch = Fetch::of_request(core, wish, &asked);
    drop(turn);
    fetch.wait(core).await;
    Ok(fetch.respond_in_full(core, &request, wants_session))
}

/// Answers for everything that the request names. Where a large one has to park, gives what is needed of it instead: whoever waits must
/// not hold the memory that others need for their requests.
async fn full(
    core: &Core,
    request: &Request,
    asked: FetchRequest<'_>,
    wish: Wish,
    wants_session: bool,
) -> Result<Outcome, BytesMut> {
    let mut fetch = Fetch::of_request(core, wish, &asked);
    fetch.plan(core).await;
    if !fetch.is_enough() && Instant::now() < wish.deadline {
        if request.body.len() <= PARKED_AS_IT_IS_BYTES {
            fetch.wait(core).await;
        } else {
            let needed = only_needed(asked, request.header.api_version);
            if needed.len() <= PARKED_BYTES_MAX {
                return Err(needed);
            }
        }
    }
    Ok(fetch.respond_in_full(core, request, wants_session))
}

/// Answers with what is new in a session. Its memory is its own: that of the request is given back first.
async fn incremental(core: &Core, mut request: Request, wish: Wish, session: Session) -> Outcome {
    request.body = BytesMut::new();
    request.charge.shrink_to(0);
    let turn = core.turns().to_read(session.partitions() > LONG_PARTITIONS).await;
    let mut fetch = Fetch::of_session(core, wish, &session);
    fetch.plan(core).await;
    drop(turn);
    if !fetch.is_enough() {
        fetch.wait(core).await;
    }
    let outcome = fetch.respond(&request, session.id(), |topic, data| {
        let member = topic.members.and_then(|members| members.get(&data.partition_index));
        member.is_some_and(|member| member.is_news(data))
    });
    core.fetch_sessions().keep(session, Instant::now());
    outcome
}

/// The request again, without what no answer needs.
fn only_needed(asked: FetchRequest<'_>, version: i16) -> BytesMut {
    let needed = FetchRequest { cluster_id: None, forgotten_topics_data: Vec::new(), rack_id: "", ..asked };
    let mut writer = Writer::with_capacity(needed.size(version).total_bytes());
    needed.encode(&mut writer, version);
    writer.bytes
}

fn wait(max_wait_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(max_wait_ms).unwrap_or(0)).min(WAIT_MAX)
}

/// What a request says about all of its partitions.
#[derive(Clone, Copy)]
struct Wish {
    by_id: bool,
    bytes_max: u64,
    bytes_min: u64,
    deadline: Instant,
    read_committed: bool,
}

impl Wish {
    fn of(core: &Core, request: &Request, asked: &FetchRequest<'_>) -> Wish {
        // A first batch that is larger than all limits is still sent whole.
        let bytes_max = u64::try_from(asked.max_bytes).unwrap_or(0).min(core.shared().config.fetch_bytes_max);
        Wish {
            by_id: request.header.api_version >= TOPIC_IDS_FROM,
            bytes_max,
            // More than the most that is wanted can never come.
            bytes_min: u64::try_from(asked.min_bytes).unwrap_or(0).min(bytes_max),
            deadline: Instant::now() + wait(asked.max_wait_ms),
            read_committed: asked.isolation_level == READ_COMMITTED,
        }
    }
}

/// One fetch on its way.
struct Fetch<'a> {
    wish: Wish,
    /// In the order of the request.
    topics: Vec<Topic<'a>>,
    /// Topic by topic.
    partitions: Vec<Asked>,
    /// Which partition is planned first: rotates, so that a client that always names them in one order starves none.
    first: usize,
}

/// A topic of a fetch, and how many partitions of it are wanted.
#[derive(Clone, Copy)]
struct Topic<'a> {
    name: &'a str,
    id: Uuid,
    partitions: usize,
    /// What its session knows of them, in a fetch that belongs to one.
    members: Option<&'a BTreeMap<i32, Member>>,
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

impl<'a> Fetch<'a> {
    fn of_request(core: &Core, wish: Wish, asked: &FetchRequest<'a>) -> Fetch<'a> {
        let topics = asked.topics.iter().map(|&FetchTopic { topic: name, topic_id: id, ref partitions }| Topic {
            name,
            id,
            partitions: partitions.len(),
            members: None,
        });
        let partitions = asked.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|partition| Asked::new(partition.partition, &Member::from(partition)));
        Fetch::new(core, wish, topics.collect(), partitions.collect())
    }

    fn of_session(core: &Core, wish: Wish, session: &'a Session) -> Fetch<'a> {
        let topics = session.topics().map(|(name, id, members)| Topic {
            name,
            id,
            partitions: members.len(),
            members: Some(members),
        });
        let partitions = session.topics().flat_map(|(_, _, members)| members);
        let partitions = partitions.map(|(index, member)| Asked::new(*index, member));
        Fetch::new(core, wish, topics.collect(), partitions.collect())
    }

    fn new(core: &Core, wish: Wish, topics: Vec<Topic<'a>>, partitions: Vec<Asked>) -> Fetch<'a> {
        let mut fetch = Fetch { wish, topics, partitions, first: core.next_fetch() };
        fetch.look_up(core);
        fetch
    }

    /// Finds the partitions' readers as they are now.
    fn look_up(&mut self, core: &Core) {
        let (metadata, hosting) = (core.metadata(), core.hosting());
        let by_id = self.wish.by_id;
        let mut partitions = self.partitions.iter_mut();
        for topic in &self.topics {
            let known = if by_id { metadata.topic_by_id(&topic.id) } else { metadata.topic(topic.name) };
            for partition in partitions.by_ref().take(topic.partitions) {
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
        let mut left = self.wish.bytes_max;
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

    fn is_enough(&self) -> bool {
        self.partitions.is_empty()
            || self.bytes() >= self.wish.bytes_min
            || self.partitions.iter().any(|partition| partition.planned.is_err())
    }

    /// Parks until there is enough, the deadline comes, or the broker stops. Where too much is parked already, it does not.
    async fn wait(&mut self, core: &Core) {
        let partitions = self.partitions.len();
        let Some(_parked) = core.turns().park(partitions) else { return };
        let rest = REST_PER_PARTITION * u32::try_from(partitions).unwrap_or(u32::MAX);
        let draining = core.watch_draining();
        for woken in 0_u64.. {
            if woken > 1 && rest >= REST_MIN {
                tokio::time::sleep_until(self.wish.deadline.min(Instant::now() + rest)).await;
            }
            let turn = core.turns().to_read(partitions > LONG_PARTITIONS).await;
            // Anew each time: a topic that was made again under its name has other readers, and those that are gone wake for ever.
            let mut watched = self.watch(core);
            watched.push(Box::new(draining.clone()));
            for each in &mut watched {
                each.mark_seen();
            }
            self.look_up(core);
            self.plan(core).await;
            drop(turn);
            let answered = self.is_enough() || *draining.borrow();
            if answered || park(&mut watched, self.wish.deadline).await == Woken::Deadline {
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

    /// The answer for all partitions, and a session of them if the client wants one and there is room.
    fn respond_in_full(self, core: &Core, request: &Request, wants_session: bool) -> Outcome {
        let session = wants_session.then(|| self.open_session(core)).flatten();
        let outcome = self.respond(request, session.as_ref().map_or(0, Session::id), |topic, data| {
            if let Some(session) = &session {
                session.tell(topic.name, topic.id, data);
            }
            true
        });
        if let Some(session) = session {
            core.fetch_sessions().keep(session, Instant::now());
        }
        outcome
    }

    fn open_session(&self, core: &Core) -> Option<Session> {
        let mut session = core.fetch_sessions().open(self.wish.by_id, self.partitions.len(), Instant::now())?;
        let mut partitions = self.partitions.iter();
        for topic in &self.topics {
            for Asked { index, offset, epoch, bytes_max, .. } in partitions.by_ref().take(topic.partitions) {
                session.put(topic.name, topic.id, *index, Member::new(*offset, *epoch, *bytes_max));
            }
        }
        Some(session)
    }

    /// The answer for those partitions that are told of, which are at least all that have records.
    fn respond(
        self,
        request: &Request,
        session_id: i32,
        mut is_told: impl FnMut(Topic<'a>, &PartitionData) -> bool,
    ) -> Outcome {
        let read_committed = self.wish.read_committed;
        let mut pieces = Vec::new();
        let mut partitions = self.partitions.into_iter();
        let mut responses = Vec::with_capacity(self.topics.len());
        for topic in self.topics {
            let of_topic = partitions.by_ref().take(topic.partitions);
            let answers = of_topic.map(|partition| partition.respond(read_committed, &mut pieces));
            let told: Vec<_> = answers.filter(|data| is_told(topic, data)).collect();
            // A topic of which nothing was asked is answered so; one without news is left out.
            if topic.partitions == 0 || !told.is_empty() {
                responses.push(FetchableTopicResponse { topic: topic.name, topic_id: topic.id, partitions: told });
            }
        }
        respond_with(request, &FetchResponse { session_id, responses, ..FetchResponse::default() }, pieces)
    }
}

impl Asked {
    fn new(index: i32, wanted: &Member) -> Asked {
        let Member { offset, epoch, bytes_max, .. } = *wanted;
        Asked { index, offset, epoch, bytes_max, reader: Err(ErrorCode::UnknownServerError), planned: Ok(None) }
    }

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
        self.reader.report_unreadable(&self.segment, position, length, error);
    }
}
