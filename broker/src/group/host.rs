//! One shard's life: loaded from its partition, asked, kept in time (`clockwork.rs`), and loaded anew when an append fails.
//!
//! The shard's state runs ahead of the log, and nobody can see that: its answers wait in `held.rs`. When an append fails, nothing of the
//! state can be trusted: everybody who waits is refused, and the shard is made again out of what is durable.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use ringmill_groups::answer::Answer;
use ringmill_groups::request::Request;
use ringmill_groups::{Effects, Now, Random, Shard, Ticket};
use ringmill_net::wire::ErrorCode;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Reply;
use super::load::load;
use super::topics::TopicsOf;
use super::writer::RecordWriter;
use crate::core::Core;
use crate::core::hosting::PartitionId;

mod clockwork;
mod held;
mod shard_settings;

use held::{Failed, Held, refuse, send};

/// How long requests wait for a shard that is loading; then they are told to come again.
const LOADING_PATIENCE: Duration = Duration::from_secs(1);

/// Requests that may wait for it.
const LOADING_REQUESTS_MAX: usize = 1_000;

/// Requests that have waited for it and are taken in one go: a step and an append each, so others on the core have their turn between.
const WAITING_PER_TURN: usize = 64;

/// Between two tries to load a shard whose partition refuses.
const LOAD_AGAIN_AFTER: Duration = Duration::from_millis(500);

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
    /// Requests that the shard has not answered yet. Only JoinGroup and SyncGroup outlive their step, one each of a member at most: members
    /// are limited by `group.max.size` and the shard's memory.
    parked: BTreeMap<Ticket, Reply>,
    next_ticket: u64,
    /// What the steps since the last sync have left. Who waits in it asks for nothing more: there are as many answers as connections, times
    /// the groups that one request asks for at a time.
    held: VecDeque<Held>,
    /// Whether the task waits for the append in front of all that is held.
    releasing: bool,
    /// Whether time stands still because the partition takes no records.
    stalled: bool,
}

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
                    let waiting = self.serve(&core, shard);
                    let Failed(why) = self.keep(&core, waiting).await;
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

    /// Opens for requests, and gives back those that came while it was loading.
    fn serve(&self, core: &Core, mut shard: Shard) -> Vec<(Request, Reply)> {
        let image = core.metadata();
        // They may have changed since the load began; from now on the host hears of it.
        shard.set_settings(self.settings(core));
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
        match before {
            State::Loading { waiting, .. } => waiting,
            State::Serving(_) | State::Closed => Vec::new(),
        }
    }

    /// Keeps the shard until an append fails; first of all it takes those that waited for it.
    async fn keep(&self, core: &Core, waiting: Vec<(Request, Reply)>) -> Failed {
        let taking = async {
            self.take_waiting(core, waiting).await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            failed = self.keep_releasing() => failed,
            never = self.keep_time(core) => match never {},
            never = taking => match never {},
        }
    }

    /// Requests that come meanwhile may pass those that waited, but none of its own connection, which asks for one thing after the other.
    async fn take_waiting(&self, core: &Core, waiting: Vec<(Request, Reply)>) {
        for (number, (request, reply)) in (1..).zip(waiting) {
            self.take(core, request, reply);
            if number % WAITING_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn now(&self, core: &Core) -> Now {
        let monotonic_ms = u64::try_from(self.time_zero.elapsed().as_millis()).expect("no process lives so long");
        Now { monotonic_ms, wall_ms: core.shared().clock.now_ms() }
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

/// Whether a request may wait for other members.
fn parks(request: &Request) -> bool {
    matches!(request, Request::Join(_) | Request::Sync(_))
}
