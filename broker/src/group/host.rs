//! One shard's life: loaded from its partition, asked, kept in time, and loaded anew when an append fails.
//!
//! The shard's state runs ahead of the log. What makes that invisible is here: an answer waits in `held` until the append that was
//! made last before it is durable, so that nobody learns what a crash could take back. When an append fails, nothing of the state can
//! be trusted: everybody who waits is refused, and the shard is made again out of what is durable.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringmill_engine::log::{AppendError, Appended, LogReader};
use ringmill_groups::answer::Answer;
use ringmill_groups::request::Request;
use ringmill_groups::{Effects, Now, Random, Settings, Shard, Ticket};
use ringmill_net::wire::ErrorCode;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Reply;
use super::load::load;
use super::topics::TopicsOf;
use super::writer::RecordWriter;
use crate::core::Core;
use crate::core::hosting::PartitionId;
use crate::metadata::MetadataImage;

/// How long requests wait for a shard that is loading; then they are told to come again.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// Requests that may wait for it.
const LOADING_REQUESTS_MAX: usize = 1_000;

/// Between two tries to load a shard whose partition refuses.
const LOAD_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The least time between two looks at what the shard wants to do by time.
const DEADLINES_APART: Duration = Duration::from_millis(5);

/// Between two looks while its partition takes no records.
const STALLED_PAUSE: Duration = Duration::from_millis(100);

/// The smallest that the topic of offsets can have been made with.
const SEGMENT_BYTES_MIN: usize = 1 << 20;

/// Topics often come in swarms: one look for all of them.
const TOPICS_SETTLE: Duration = Duration::from_millis(100);

/// A shard and who waits for it.
pub(super) struct Host {
    partition: PartitionId,
    state: RefCell<State>,
    /// The shard's next deadline may have changed.
    rescheduled: Notify,
    /// Something is held.
    to_release: Notify,
    /// Where the shard's monotonic time begins.
    time_zero: Instant,
}

enum State {
    Loading { since: Option<Instant>, waiting: Vec<(Request, Reply)> },
    Serving(Box<Serving>),
    Closed,
}

struct Serving {
    shard: Shard,
    writer: RecordWriter,
    /// How many topics had been deleted when the shard was last told.
    topics_deleted: u64,
    /// Requests that the shard has not answered yet.
    parked: BTreeMap<Ticket, Reply>,
    next_ticket: u64,
    held: VecDeque<Held>,
    /// Whether the task waits for the append in front of all that is held.
    releasing: bool,
    /// Whether time stands still because the partition takes no records.
    stalled: bool,
}

impl Serving {
    fn next_deadline_ms(&mut self) -> Option<u64> {
        // Whether it may go on is to be asked until it may.
        if self.stalled { Some(0) } else { self.shard.next_deadline_ms() }
    }
}

/// Answers, and the append that has to be durable before they go, if there was one after those in front of them.
struct Held {
    append: Option<oneshot::Receiver<Result<Appended, AppendError>>>,
    answers: Vec<(Reply, Answer)>,
}

/// Why a shard no longer serves.
struct Failed(String);

impl Host {
    pub(super) fn new(partition: PartitionId) -> Rc<Host> {
        let state = State::Loading { since: None, waiting: Vec::new() };
        let (rescheduled, to_release) = (Notify::new(), Notify::new());
        Rc::new(Host { partition, state: RefCell::new(state), rescheduled, to_release, time_zero: Instant::now() })
    }

    /// Takes a request; its answer comes now or later.
    pub(super) fn take(&self, core: &Core, request: Request, reply: Reply) {
        let refusal = match &mut *self.state.borrow_mut() {
            // It would wait for others who cannot come any more.
            _ if core.is_draining() && parks(&request) => ErrorCode::CoordinatorNotAvailable,
            State::Serving(serving) if !writes(&request) || core.takes_records(self.partition) => {
                return self.ask(core, serving, request, reply);
            }
            State::Loading { since, waiting }
                if since.is_none_or(|since| since.elapsed() < LOADING_PATIENCE)
                    && waiting.len() < LOADING_REQUESTS_MAX =>
            {
                return waiting.push((request, reply));
            }
            State::Loading { .. } => ErrorCode::CoordinatorLoadInProgress,
            State::Serving(_) | State::Closed => ErrorCode::CoordinatorNotAvailable,
        };
        // Who asked may have gone.
        let _ = reply.send(Err(refusal));
    }

    fn ask(&self, core: &Core, serving: &mut Serving, request: Request, reply: Reply) {
        let ticket = Ticket(serving.next_ticket);
        serving.next_ticket += 1;
        serving.parked.insert(ticket, reply);
        let image = core.metadata();
        if core.takes_records(self.partition) {
            self.go_on_if_stalled(core, serving, &image);
        }
        let effects = serving.shard.handle(self.now(core), &TopicsOf(&image), ticket, request);
        self.carry_out(core, serving, effects);
    }

    /// Appends a step's records, and holds its answers until all before them is durable; tells of a refusal.
    fn carry_out(&self, core: &Core, serving: &mut Serving, effects: Effects) {
        if let Some(no_room) = &effects.no_room {
            core.groups().tell(self.partition, no_room);
        }
        let mut append = None;
        for (batch, header) in serving.writer.batches(&effects.records, core.shared().clock.now_ms()) {
            let appended = core.append_own(self.partition, batch, header).unwrap_or_else(|| {
                // The partition has gone: a receiver whose sender is dropped says so.
                oneshot::channel().1
            });
            if let Some(earlier) = append.replace(appended) {
                serving.held.push_back(Held { append: Some(earlier), answers: Vec::new() });
            }
        }
        let answers: Vec<(Reply, Answer)> = effects
            .answers
            .into_iter()
            .filter_map(|(ticket, answer)| Some((serving.parked.remove(&ticket)?, answer)))
            .collect();
        if append.is_some() || serving.releasing || !serving.held.is_empty() {
            serving.held.push_back(Held { append, answers });
            self.to_release.notify_one();
        } else {
            send(answers);
        }
        self.rescheduled.notify_one();
    }

    /// Loads and serves until the core closes.
    pub(super) async fn live(self: Rc<Self>, core: Rc<Core>) {
        let mut told = false;
        loop {
            let begun = Instant::now();
            if let State::Loading { since, .. } = &mut *self.state.borrow_mut() {
                *since = Some(begun);
            }
            match self.load(&core).await {
                Ok(shard) => {
                    told = false;
                    self.serve(&core, shard);
                    let Failed(why) = self.keep(&core).await;
                    tracing::warn!(partition = self.partition.index, why, "consumer groups are loaded anew");
                    self.fail().await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(partition = self.partition.index, %error, "consumer groups cannot be loaded; trying on");
                    }
                    self.refuse_waiting(ErrorCode::CoordinatorNotAvailable);
                    tokio::time::sleep(LOAD_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Makes the shard, and sends those away that it keeps waiting for too long.
    async fn load(&self, core: &Core) -> Result<Shard, String> {
        let reader = core.own_reader(self.partition).ok_or("the partition is not served")?;
        let shard = Shard::new(self.settings(core), Random::new(self.seed(core, &reader)));
        let begun = Instant::now();
        let mut loading = std::pin::pin!(load(core.disk(), &reader, shard));
        let loaded = tokio::select! {
            biased;
            loaded = &mut loading => loaded,
            () = tokio::time::sleep(LOADING_PATIENCE) => {
                self.refuse_waiting(ErrorCode::CoordinatorLoadInProgress);
                loading.await
            }
        };
        let (shard, loaded) = loaded.map_err(|error| error.to_string())?;
        let (records, unreadable) = (loaded.records, loaded.unreadable);
        let (groups, millis) = (shard.group_count(), begun.elapsed().as_millis());
        if records > 0 {
            tracing::info!(
                partition = self.partition.index,
                records,
                unreadable,
                groups,
                millis,
                "consumer groups are loaded"
            );
        }
        Ok(shard)
    }

    /// Opens for requests; first for those that came while it was loading.
    fn serve(&self, core: &Core, mut shard: Shard) {
        let image = core.metadata();
        // What a start leaves could not be kept while the partition takes no records, and the next load would begin at once: it waits.
        let stalled = !core.takes_records(self.partition);
        let effects = match stalled {
            true => Effects::default(),
            false => shard.start(self.now(core), &TopicsOf(&image)),
        };
        let serving = Serving {
            shard,
            writer: RecordWriter::new(self.segment_bytes(core)),
            topics_deleted: image.deleted(),
            parked: BTreeMap::new(),
            next_ticket: 0,
            held: VecDeque::new(),
            releasing: false,
            stalled,
        };
        let before = self.state.replace(State::Serving(Box::new(serving)));
        self.with(|serving| self.carry_out(core, serving, effects));
        if let State::Loading { waiting, .. } = before {
            for (request, reply) in waiting {
                self.take(core, request, reply);
            }
        }
    }

    /// Keeps the shard until an append fails.
    async fn keep(&self, core: &Core) -> Failed {
        tokio::select! {
            biased;
            failed = self.keep_releasing() => failed,
            never = self.keep_time(core) => match never {},
        }
    }

    /// Sends answers when what they rest on has become durable; until an append fails.
    async fn keep_releasing(&self) -> Failed {
        loop {
            let front = self.with(|serving| {
                let front = serving.held.pop_front();
                serving.releasing = front.is_some();
                front
            });
            match front.flatten() {
                Some(held) => {
                    if let Err(failed) = release(held).await {
                        return failed;
                    }
                }
                None => self.to_release.notified().await,
            }
        }
    }

    /// Has the shard do what its time has come for, and tells it what has changed around it. However often it is woken meanwhile, what is
    /// due is put off by no more than the pauses that have names.
    async fn keep_time(&self, core: &Core) -> Infallible {
        let mut draining = core.watch_draining();
        let mut metadata = core.shared().metadata.watch();
        metadata.mark_unchanged();
        let mut earliest = Instant::now();
        let mut topics_due: Option<Instant> = None;
        loop {
            let next_ms = self.with(Serving::next_deadline_ms).flatten();
            let next = next_ms.map(|at_ms| (self.time_zero + Duration::from_millis(at_ms)).max(earliest));
            tokio::select! {
                biased;
                () = sleep_until(next) => {
                    // Never at once again: a deadline that cannot be met must not keep the core busy.
                    earliest = Instant::now() + if self.on_time(core) { DEADLINES_APART } else { STALLED_PAUSE };
                }
                () = sleep_until(topics_due) => {
                    topics_due = None;
                    self.on_metadata(core, &core.metadata());
                }
                // A rebalance will not end here any more.
                _ = draining.changed() => self.refuse_parked(),
                _ = metadata.changed() => {
                    metadata.mark_unchanged();
                    topics_due.get_or_insert(Instant::now() + TOPICS_SETTLE);
                }
                () = self.rescheduled.notified() => {}
            }
        }
    }

    fn now(&self, core: &Core) -> Now {
        let monotonic_ms = u64::try_from(self.time_zero.elapsed().as_millis()).expect("no process lives so long");
        Now { monotonic_ms, wall_ms: core.shared().clock.now_ms() }
    }

    /// Unlike that of any other shard, and of this one in another life.
    fn seed(&self, core: &Core, reader: &LogReader) -> u64 {
        let topic = self.partition.topic.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let life = core.shared().clock.now_ms().cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let end = reader.watermarks().high_watermark.get().cast_unsigned();
        topic ^ life ^ end.rotate_left(32) ^ u64::from(self.partition.index.unsigned_abs())
    }

    /// False if the partition takes no records, so that time stands still.
    fn on_time(&self, core: &Core) -> bool {
        let takes_records = core.takes_records(self.partition);
        let image = core.metadata();
        self.with(|serving| {
            if !takes_records {
                serving.stalled = true;
                return;
            }
            self.go_on_if_stalled(core, serving, &image);
            let effects = serving.shard.on_time(self.now(core), &TopicsOf(&image));
            self.carry_out(core, serving, effects);
        });
        takes_records
    }

    /// The partition takes records again, if it did not: members were refused meanwhile, so they were not silent.
    fn go_on_if_stalled(&self, core: &Core, serving: &mut Serving, image: &MetadataImage) {
        if std::mem::take(&mut serving.stalled) {
            let effects = serving.shard.start(self.now(core), &TopicsOf(image));
            self.carry_out(core, serving, effects);
        }
    }

    fn on_metadata(&self, core: &Core, image: &MetadataImage) {
        self.with(|serving| {
            serving.shard.set_settings(self.settings(core));
            if !core.takes_records(self.partition) {
                // Topics are looked at when it goes on.
                serving.stalled = true;
                return;
            }
            let (now, topics) = (self.now(core), TopicsOf(image));
            if serving.topics_deleted != image.deleted() {
                serving.topics_deleted = image.deleted();
                let effects = serving.shard.on_topics_deleted(now, &topics);
                self.carry_out(core, serving, effects);
            }
            let effects = serving.shard.on_topics_changed(now, &topics);
            self.carry_out(core, serving, effects);
        });
    }

    /// What groups go by, with this shard's part of the memory, and no group larger than the log can store.
    fn settings(&self, core: &Core) -> Arc<Settings> {
        let image = core.metadata();
        let shards =
            image.topic_by_id(&self.partition.topic).map_or(1, |topic| topic.partition_count.unsigned_abs().max(1));
        let shard_bytes_max = core.shared().config.groups.memory_bytes / shards as usize;
        let group_bytes_max = self.segment_bytes(core) / 2;
        Arc::new(Settings { shard_bytes_max, group_bytes_max, ..Settings::clone(image.running().groups()) })
    }

    /// The largest batch that the partition takes.
    fn segment_bytes(&self, core: &Core) -> usize {
        let image = core.metadata();
        let configured = image.topic_by_id(&self.partition.topic).map(|topic| topic.config.segment_bytes);
        configured.map_or(SEGMENT_BYTES_MIN, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// An append has failed. Those after it may have become durable all the same: what the log says is not known before the last of
    /// them has ended.
    async fn fail(&self) {
        let before = self.state.replace(State::Loading { since: None, waiting: Vec::new() });
        let State::Serving(serving) = before else { return };
        let Serving { parked, held, .. } = *serving;
        refuse(parked.into_values());
        for Held { append, answers } in held {
            refuse(answers.into_iter().map(|(reply, _)| reply));
            if let Some(append) = append {
                let _ = append.await;
            }
        }
    }

    /// The core stops: nobody is answered any more, for a rebalance will not end here.
    pub(super) fn close(&self) {
        match self.state.replace(State::Closed) {
            State::Loading { waiting, .. } => refuse(waiting.into_iter().map(|(_, reply)| reply)),
            State::Serving(serving) => refuse(serving.parked.into_values()),
            State::Closed => {}
        }
    }

    fn refuse_waiting(&self, code: ErrorCode) {
        if let State::Loading { waiting, .. } = &mut *self.state.borrow_mut() {
            for (_, reply) in waiting.drain(..) {
                let _ = reply.send(Err(code));
            }
        }
    }

    fn refuse_parked(&self) {
        self.with(|serving| refuse(std::mem::take(&mut serving.parked).into_values()));
    }

    fn with<R>(&self, act: impl FnOnce(&mut Serving) -> R) -> Option<R> {
        match &mut *self.state.borrow_mut() {
            State::Serving(serving) => Some(act(serving)),
            State::Loading { .. } | State::Closed => None,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether a request may leave records, directly or in a later step.
fn writes(request: &Request) -> bool {
    !matches!(
        request,
        Request::Heartbeat(_)
            | Request::Fetch(_)
            | Request::DescribeClassic(_)
            | Request::DescribeConsumer(_)
            | Request::List(_)
    )
}

/// Waits for an append, if there is one, and sends the answers that rest on it.
async fn release(held: Held) -> Result<(), Failed> {
    let appended = match held.append {
        None => Ok(()),
        Some(append) => match append.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failed(error.to_string())),
            Err(_) => Err(Failed("the log ended".to_owned())),
        },
    };
    match appended {
        Ok(()) => send(held.answers),
        Err(_) => refuse(held.answers.into_iter().map(|(reply, _)| reply)),
    }
    appended
}

/// Whether a request may wait for other members.
fn parks(request: &Request) -> bool {
    matches!(request, Request::Join(_) | Request::Sync(_))
}

fn send(answers: Vec<(Reply, Answer)>) {
    for (reply, answer) in answers {
        // Who asked may have gone.
        let _ = reply.send(Ok(answer));
    }
}

fn refuse(replies: impl Iterator<Item = Reply>) {
    for reply in replies {
        let _ = reply.send(Err(ErrorCode::CoordinatorNotAvailable));
    }
}
